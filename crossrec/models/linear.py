"""The closed-form linear map from what people have in the source domain to what they have in the target domain."""

from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from crossrec.data.histories import Histories, Ints
from crossrec.models.recommender import Floats, Recommender


class LinearMap(Recommender):
    """Ridge regression from source sets to target sets, solved in the dual, plus a popularity prior.

    W = (Xs' Xs + lambda I)^-1 Xs' Xt over N training people with both domains; in the dual
    scores = x Xs' (Xs Xs' + lambda I)^-1 Xt, so that the cost is N^3 and not I^3. It sees source items only: what a
    person has in the target domain does not change the scores.
    """

    kind: ClassVar[str] = "linear-map"

    def __init__(self, weights: Floats, popularity: Floats):
        """weights: (I_source+1, I+1); popularity: (I+1,) the prior that is added."""
        self.weights, self.popularity = weights, popularity
        self.n_items = weights.shape[1] - 1

    @classmethod
    def fit(cls, source: csr_array, target: csr_array, counts: Ints, ridge: float = 400.0, prior: float = 0.003) -> Self:
        """Solves for the weights.

        Args:
            source: (N, I_source+1) 0/1, the source items of N training people.
            target: (N, I+1) 0/1, their target items.
            counts: (I+1,) training events of each target item.
            ridge: lambda.
            prior: weight of log(1 + counts).
        """
        gram = (source @ source.T).toarray() + ridge * np.eye(source.shape[0])
        dual = np.linalg.solve(gram, target.toarray())
        return cls((source.T @ dual).astype(np.float32), (prior * np.log1p(counts)).astype(np.float32))

    def score(self, histories: Histories) -> Floats:
        scores = sets(histories.source, self.weights.shape[0]) @ self.weights + self.popularity
        scores = np.ascontiguousarray(scores, np.float32)
        scores[:, 0] = -np.inf
        return scores

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        return {}, {"weights": self.weights, "popularity": self.popularity}

    @classmethod
    def from_state(cls, about: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Self:
        return cls(arrays["weights"], arrays["popularity"])


def sets(items: Ints, width: int) -> csr_array:
    """(B, width) 0/1 rows of left-padded item lists (B, T); column 0, padding, stays empty."""
    rows, columns = np.nonzero(items)
    out = csr_array((np.ones(len(rows), np.float32), (rows, items[rows, columns])), shape=(len(items), width))
    out.data[:] = 1.0  # an item twice in a list is still one item
    return out
