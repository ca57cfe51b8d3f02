"""The closed-form linear map from what people have in the source domain to what they have in the target domain."""

from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse import csr_array

from crossrec.data.histories import Histories, Ints
from crossrec.models.recommender import Floats, Recommender


class LinearMap(Recommender):
    """Ridge regression from source sets to target sets, solved in the dual, plus a popularity prior.

    W = (Xs' Xs + lambda I)^-1 Xs' Xt over N training people with both domains. In the dual
    scores = x Xs' (Xs Xs' + lambda I)^-1 Xt, so that the cost is N^3 and not I^3, and what is kept is (N, N) and two
    sparse tables. It sees source items only: what a person has in the target domain does not change the scores.
    """

    kind: ClassVar[str] = "linear-map"
    uses = frozenset({"source"})

    def __init__(self, source: csr_array, target: csr_array, inverse: Floats, popularity: Floats):
        """source: (N, I_source+1) 0/1; target: (N, I+1) 0/1; inverse: (N, N); popularity: (I+1,) the prior's scores."""
        self.source, self.target, self.inverse, self.popularity = source, target, inverse, popularity
        self.n_items = target.shape[1] - 1

    @classmethod
    def fit(
        cls, source: csr_array, target: csr_array, counts: Ints, ridge: float = 400.0, prior: float = 0.003
    ) -> Self:
        """Solves for the weights.

        Args:
            source: (N, I_source+1) 0/1, the source items of N training people.
            target: (N, I+1) 0/1, their target items.
            counts: (I+1,) training events of each target item.
            ridge: lambda.
            prior: weight of log(1 + counts).
        """
        gram = (source @ source.T).toarray().astype(np.float32)
        gram[np.diag_indices_from(gram)] += ridge
        inverse = cho_solve(cho_factor(gram, overwrite_a=True), np.eye(len(gram), dtype=np.float32), overwrite_b=True)
        return cls(source, target, np.asarray(inverse, np.float32), (prior * np.log1p(counts)).astype(np.float32))

    def score(self, histories: Histories) -> Floats:
        alike = (sets(histories.source, self.source.shape[1]) @ self.source.T).toarray()  # (B, N) items in common
        scores = np.ascontiguousarray((alike @ self.inverse) @ self.target + self.popularity, np.float32)
        scores[:, 0] = -np.inf
        return scores

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        arrays: dict[str, NDArray[Any]] = {"inverse": self.inverse, "popularity": self.popularity}
        arrays |= stored_sets("source", self.source) | stored_sets("target", self.target)
        return {"source_items": self.source.shape[1] - 1}, arrays

    @classmethod
    def from_state(cls, about: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Self:
        source = read_sets("source", arrays, about["source_items"] + 1)
        target = read_sets("target", arrays, about["n_items"] + 1)
        return cls(source, target, arrays["inverse"], arrays["popularity"])


def sets(items: Ints, width: int) -> csr_array:
    """(B, width) 0/1 rows of left-padded item lists (B, T); column 0, padding, stays empty."""
    rows, columns = np.nonzero(items)
    out = csr_array((np.ones(len(rows), np.float32), (rows, items[rows, columns])), shape=(len(items), width))
    out.data[:] = 1.0  # an item twice in a list is still one item
    return out


def stored_sets(name: str, table: csr_array) -> dict[str, NDArray[Any]]:
    """0/1 rows as arrays for a file."""
    return {f"{name}.indices": table.indices, f"{name}.indptr": table.indptr}


def read_sets(name: str, arrays: dict[str, NDArray[Any]], width: int) -> csr_array:
    """(N, width) 0/1 rows from what `stored_sets` stored."""
    indices, indptr = arrays[f"{name}.indices"], arrays[f"{name}.indptr"]
    return csr_array((np.ones(len(indices), np.float32), indices, indptr), shape=(len(indptr) - 1, width))
