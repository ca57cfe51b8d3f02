"""RACRec under the contract: histories with review vectors in, scores and stars out."""

from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray

from crossrec.data.histories import Histories, Reviews
from crossrec.data.pair import DOMAINS
from crossrec.errors import CrossrecError
from crossrec.models.biases import Biases
from crossrec.models.racrec import RACRec, RACRecConfig, Side, as_side, habits
from crossrec.models.recommender import Floats, Recommender
from crossrec.models.sasrec import weights_of, with_weights
from crossrec.text.whiten import Whitening


@dataclass(frozen=True)
class Reading:
    """How reviews are read before they reach the towers."""

    encoder: str
    """Name of the encoder whose vectors are read."""
    ranks: bool
    """Whether the ranking logits were trained; else it ranks by predicted stars."""
    most_reviews: int = 15
    """K, newest reviews of a person in a domain."""


class RACRecRecommender(Recommender):
    """Reads what people wrote. It needs no item of a person's, so that a stranger's words are as good as a history."""

    kind: ClassVar[str] = "racrec"
    uses = frozenset({"source reviews", "target reviews"})
    rates = True

    def __init__(
        self,
        model: RACRec,
        whitening: Whitening | None,
        items: NDArray[np.float32],
        about: Reading,
        expected: tuple[Floats, Floats],
        biases: Biases | None = None,
        context: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None,
    ):
        """What it answers with.

        Args:
            model: trained.
            whitening: of encoder vectors, or None to take them as they are.
            items: (I+1, C) vector of what the training part says of each item, see `RACRec.item_vector`.
            about: how reviews are read.
            expected: (I+1,) usual stars of source and target items, see `as_side`.
            biases: for b_u from the stars of a target history; None where there are no ratings.
            context: (I+1, C) of source and target items, see `as_side`; None where reviews are read alone.
        """
        self.model, self.whitening, self.reading = model.eval(), whitening, about
        self.encoder, self.most_reviews = about.encoder, about.most_reviews
        self.expected, self.biases, self.context = expected, biases, context
        self.items = torch.from_numpy(np.ascontiguousarray(items))
        self.products: torch.Tensor | None = None
        """(I+1, 2D) p of every item, where the weights do not change any more."""
        self.n_items = len(items) - 1
        if self.reading.ranks and biases is None:
            self.rates = False  # it never saw a star

    @torch.inference_mode()
    def score(self, histories: Histories) -> Floats:
        self.model.eval()
        source, target = self.sides(histories)
        query = self.model.tastes(source, target).query
        products = self.products if self.products is not None else self.model.product(self.items.to(query.device))
        scores = self.model.ranking(query, products) if self.reading.ranks else self.model.all_stars(query, products)
        scores[:, 0] = -torch.inf
        return scores.float().cpu().numpy()

    @torch.inference_mode()
    def rate(self, histories: Histories, items: NDArray[np.int64], reviews: Reviews | None = None) -> Floats:
        if not self.rates:
            raise CrossrecError("This review model was trained on data without ratings, and predicts no stars.")
        self.model.eval()
        source, target = self.sides(histories)
        usual, bias = self._usual(histories), self._bias(histories)
        number = torch.from_numpy(items).to(bias.device)
        if reviews is not None:
            item = as_side(self._whitened(reviews), device=bias.device)
            return self.model(source, target, item, number, usual, bias)[0].float().cpu().numpy()
        product = self.model.product(self.items.to(bias.device)[number])
        query = self.model.tastes(source, target).query
        return self.model.stars(query, product, number, self.model.person(usual, bias)).float().cpu().numpy()

    def sides(self, histories: Histories) -> tuple[Side, Side]:
        """What B people wrote in source and target, as the model reads it: the newest K."""
        both = (histories.source_reviews, histories.target_reviews)
        source, target = (
            as_side(
                self._whitened(reviews.newest(self.most_reviews) if reviews else Reviews.none(len(histories), 0, 0)),
                self.expected[which],
                self.context[which] if self.context else None,
                self.model.product.weight.device,
            )
            for which, reviews in enumerate(both)
        )
        return source, target

    def _whitened(self, reviews: Reviews) -> Reviews:
        if not reviews.mask.size:  # nobody wrote anything, and the width says nothing
            return Reviews.none(len(reviews), reviews.mask.shape[1], self.items.shape[1])
        return replace(reviews, vectors=self.whitening(reviews.vectors)) if self.whitening else reviews

    def _usual(self, histories: Histories) -> torch.Tensor:
        """(B,) see `habits`."""
        return torch.from_numpy(habits(histories, self.expected[0])).to(self.model.product.weight.device)

    def _bias(self, histories: Histories) -> torch.Tensor:
        """(B,) b_u."""
        known = np.zeros(len(histories), np.float32) if self.biases is None else self.biases.users(histories)
        return torch.from_numpy(known).to(self.model.product.weight.device)

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        about: dict[str, Any] = {"config": vars(self.model.config), "reading": asdict(self.reading)}
        arrays = {f"model.{name}": value for name, value in weights_of(self.model).items()}
        arrays["items"] = self.items.numpy()
        if self.whitening is not None:
            arrays |= {f"whitening.{name}": value for name, value in self.whitening.state().items()}
        arrays |= {f"expected.{which}": stars for which, stars in zip(DOMAINS, self.expected, strict=True)}
        if self.context is not None:
            arrays |= {f"context.{which}": table for which, table in zip(DOMAINS, self.context, strict=True)}
        if self.biases is not None:
            about["biases"], found = self.biases.state()
            arrays |= {f"biases.{name}": value for name, value in found.items()}
        return about, arrays

    @classmethod
    def from_state(cls, about: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Self:
        def part(prefix: str) -> dict[str, NDArray[Any]]:
            return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}

        items, whitening = arrays["items"], part("whitening.")
        context, expected = part("context."), part("expected.")
        model = RACRec(RACRecConfig(**about["config"]), items.shape[1], about["n_items"])
        made = cls(
            with_weights(model, part("model.")),
            Whitening.from_state(whitening) if whitening else None,
            items,
            Reading(**about["reading"]),
            (expected["source"], expected["target"]),
            Biases.from_state(about["biases"], part("biases.")) if "biases" in about else None,
            (context["source"], context["target"]) if context else None,
        )
        with torch.inference_mode():
            made.products = made.model.product(made.items)
        return made
