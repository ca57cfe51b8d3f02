"""Recommenders that learn next to nothing: the ones that every other has to beat, and the oracle that none can."""

from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from crossrec.data.histories import Histories
from crossrec.errors import CrossrecError
from crossrec.models.recommender import Floats, Recommender


class Popularity(Recommender):
    """Scores each item by how often it occurs in the training part, the same for everybody."""

    kind: ClassVar[str] = "popularity"
    speaks: ClassVar[str] = "votes"
    uses = frozenset()

    def __init__(self, counts: NDArray[np.int64]):
        """counts: (I+1,) training events of each target item."""
        self.counts = counts
        self.n_items = len(counts) - 1

    def score(self, histories: Histories) -> Floats:
        row = self.counts.astype(np.float32)
        row[0] = -np.inf
        return np.repeat(row[None], len(histories), axis=0)

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        return {}, {"counts": self.counts}

    @classmethod
    def from_state(cls, about: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Self:
        return cls(arrays["counts"])


class Oracle(Recommender):
    """Scores by the choice weights from which the demo world drew its events. It exists only where truth is known.

    P(next = j | user, last item i) is proportional to exp(affinity[user, j] + transition[i, j]) over items not yet
    chosen, so ranking by the exponent is the best that any recommender can do on average.
    """

    kind: ClassVar[str] = "oracle"

    def __init__(self, affinity: Floats, transition: Floats):
        """affinity: (U, I+1); transition: (I+1, I+1), row 0 for people without a last item."""
        self.affinity, self.transition = affinity, transition
        self.n_items = affinity.shape[1] - 1

    def score(self, histories: Histories) -> Floats:
        if histories.users is None:
            raise CrossrecError("The oracle knows only the people of the demo world; ask for one of them by user id.")
        last = histories.target[:, -1] if histories.target.shape[1] else np.zeros(len(histories), np.int64)
        scores = self.affinity[histories.users] + self.transition[last]
        scores[:, 0] = -np.inf
        return scores

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        return {}, {"affinity": self.affinity, "transition": self.transition}

    @classmethod
    def from_state(cls, about: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Self:
        return cls(arrays["affinity"], arrays["transition"])
