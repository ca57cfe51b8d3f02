"""What a person wrote against what is written about items: a profile of words, and no learning of taste.

B people, K reviews, W width of an encoder's vector, C of a whitened one, I items.
"""

from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from crossrec.data.histories import Histories, Reviews
from crossrec.models.recommender import Floats, Recommender
from crossrec.text.whiten import Whitening


class Content(Recommender):
    """Cosine between a person's mean review vector and the mean text vector of each item (Pazzani and Billsus, 1997).

    A review of s stars counts (s - 3) / 2: from +1 at five to -1 at one, so that what was disliked pushes away. A
    review without stars counts 1. Reviews of both domains count alike, for whitened words mean the same in both. A
    person without any review, or with three stars throughout, gets the popularity prior alone.
    """

    kind: ClassVar[str] = "content"
    uses = frozenset({"source reviews", "target reviews"})

    def __init__(self, whitening: Whitening, items: Floats, popularity: Floats, encoder: str, most_reviews: int = 15):
        """What it scores with.

        Args:
            whitening: of encoder vectors, W -> C.
            items: (I+1, C) of length 1; zeros for an item of which nothing is written.
            popularity: (I+1,) the prior's scores.
            encoder: name of the encoder that made the vectors.
            most_reviews: K.
        """
        self.whitening, self.items, self.popularity = whitening, items, popularity
        self.encoder, self.most_reviews = encoder, most_reviews
        self.n_items = len(items) - 1

    def profiles(self, histories: Histories) -> Floats:
        """(B, C) of length 1; zeros for a person of whom no review counts."""
        total = np.zeros((len(histories), self.items.shape[1]), np.float32)
        for reviews in (histories.source_reviews, histories.target_reviews):
            if reviews is not None and reviews.mask.any():
                newest = self.whitening(reviews.vectors[:, -self.most_reviews :])
                total += np.einsum("bk,bkc->bc", attraction(reviews)[:, -self.most_reviews :], newest)
        return unit(total)

    def score(self, histories: Histories) -> Floats:
        scores = (self.profiles(histories) @ self.items.T + self.popularity).astype(np.float32)
        scores[:, 0] = -np.inf
        return scores

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        arrays: dict[str, NDArray[Any]] = {"items": self.items, "popularity": self.popularity}
        arrays |= {f"whitening.{name}": value for name, value in self.whitening.state().items()}
        return {"encoder": self.encoder, "most_reviews": self.most_reviews}, arrays

    @classmethod
    def from_state(cls, about: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Self:
        parts = {k.removeprefix("whitening."): v for k, v in arrays.items() if k.startswith("whitening.")}
        whitening = Whitening.from_state(parts)
        return cls(whitening, arrays["items"], arrays["popularity"], about["encoder"], about["most_reviews"])


def attraction(reviews: Reviews) -> Floats:
    """(B, K) how much each review attracts, -1..1; 0 where there is none."""
    weight = np.where(np.isnan(reviews.stars), 1.0, (reviews.stars - 3) / 2)
    return np.where(reviews.mask, weight, 0.0).astype(np.float32)


def unit(vectors: Floats) -> Floats:
    """(..., C) of length 1; what is nearly nothing becomes zeros."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 1e-6)
