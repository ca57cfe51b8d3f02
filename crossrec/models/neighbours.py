"""People who have the same source items vote for target items."""

from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from crossrec.data.histories import Histories, Ints
from crossrec.models.linear import read_sets, sets, stored_sets
from crossrec.models.recommender import Floats, Recommender

BLOCK = 8 << 20
"""Similarities that are held at once."""


class UserKNN(Recommender):
    """The n training people whose source sets are nearest by cosine vote for their target items with their similarity.

    All who are as near as the n-th vote too, so that nothing hangs on the order of people. A popularity prior, small
    beside any vote, orders what nobody votes for. It sees source items only.
    """

    kind: ClassVar[str] = "user-knn"
    speaks: ClassVar[str] = "votes"
    uses = frozenset({"source"})

    def __init__(self, source: csr_array, target: csr_array, popularity: Floats, neighbours: int):
        """source: (N, I_source+1) 0/1; target: (N, I+1) 0/1; popularity: (I+1,) the prior's scores; neighbours: n."""
        self.source, self.target, self.popularity, self.neighbours = source, target, popularity, neighbours
        self.lengths = np.sqrt(np.diff(source.indptr)).astype(np.float32)
        self.n_items = target.shape[1] - 1

    @classmethod
    def fit(cls, source: csr_array, target: csr_array, counts: Ints, neighbours: int, prior: float) -> Self:
        """counts: (I+1,) training events of each target item; prior: weight of log(1 + counts)."""
        return cls(source, target, (prior * np.log1p(counts)).astype(np.float32), neighbours)

    def score(self, histories: Histories) -> Floats:
        asked = sets(histories.source, self.source.shape[1])
        step = max(1, BLOCK // max(self.source.shape[0], self.n_items + 1))
        votes = [self._votes(asked[start : start + step]) for start in range(0, len(histories), step)]
        scores = np.concatenate([*votes, np.zeros((0, self.n_items + 1), np.float32)]) + self.popularity
        scores[:, 0] = -np.inf
        return np.asarray(scores, np.float32)

    def _votes(self, asked: csr_array) -> Floats:
        alike = (asked @ self.source.T).toarray()  # (B, N) items in common
        lengths = np.sqrt(np.diff(asked.indptr))[:, None] * self.lengths
        np.divide(alike, lengths, out=alike, where=lengths > 0)
        if alike.shape[1] > self.neighbours:
            last = np.partition(alike, -self.neighbours, axis=1)[:, -self.neighbours, None]
            alike[alike < last] = 0
        return (csr_array(alike) @ self.target).toarray().astype(np.float32)

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        arrays = stored_sets("source", self.source) | stored_sets("target", self.target)
        about = {"neighbours": self.neighbours, "source_items": self.source.shape[1] - 1}
        return about, arrays | {"popularity": self.popularity}

    @classmethod
    def from_state(cls, about: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Self:
        source = read_sets("source", arrays, about["source_items"] + 1)
        target = read_sets("target", arrays, about["n_items"] + 1)
        return cls(source, target, arrays["popularity"], about["neighbours"])
