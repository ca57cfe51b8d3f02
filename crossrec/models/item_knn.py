"""Nearest items in the order of events: what people took soon after, or shortly before, what this one took last.

For items a and b of both domains, over all training sequences in one order,

    w(a, b) = sum over pairs at distance k <= window of 1/k, times `backward` where b came first
    W(a, b) = w(a, b) / (n_a^p n_b^p)                             n: training events; p: `damping`
    score_b = sum over the person's events a of decay^d W(a, b)   d: events since a

A first-order Markov chain and an item-to-item neighbourhood in one: window 1 without `backward` is the former. Nothing
is trained, and still it beats many sequence models on sparse data (Latifi et al., "Sequence-aware nearest neighbours",
and Ludewig and Jannach, 2018, for sessions). B people, N items of both domains, I target items.
"""

from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from crossrec.data.histories import Histories
from crossrec.data.pair import Domain
from crossrec.models.recommender import Floats, Recommender


class ItemKNN(Recommender):
    """Items that lie near a person's last ones vote; a popularity prior, small beside any vote, orders the rest."""

    kind: ClassVar[str] = "item-knn"
    ordered = True

    def __init__(self, weights: csr_array, popularity: Floats, decay: float):
        """weights: (N+1, I+1) W; popularity: (I+1,) the prior's scores; decay: of a vote with each later event."""
        self.weights, self.popularity, self.decay = weights, popularity, decay
        self.n_items = weights.shape[1] - 1
        self.n_source = weights.shape[0] - 1 - self.n_items

    @classmethod
    def fit(
        cls,
        events: Domain,
        n_source: int,
        window: int = 10,
        backward: float = 0.5,
        damping: float = 0.5,
        decay: float = 0.6,
        prior: float = 1e-4,
    ) -> Self:
        """Counts pairs.

        Args:
            events: the training events of both domains in one order; target items are raised by `n_source`.
            n_source: I_source.
            window: the largest distance of a pair.
            backward: weight of a pair whose second item came first.
            damping: p.
            decay: of a vote with each later event.
            prior: weight of log(1 + training events).
        """
        n = events.n_items + 1
        counts = np.bincount(events.items, minlength=n)
        owner = np.repeat(np.arange(len(events.counts)), events.counts)
        rows, columns, values = [], [], []
        for k in range(1, window + 1):
            first = np.flatnonzero(owner[k:] == owner[:-k])
            earlier, later = events.items[first], events.items[first + k]
            for a, b, weight in ((earlier, later, 1.0), (later, earlier, backward)):
                told = (b > n_source) & (a != b)  # what is asked for is of the target
                rows.append(a[told])
                columns.append(b[told] - n_source)
                values.append(np.full(told.sum(), weight / k, np.float32))
        shape = (n, n - n_source)
        pairs = csr_array((np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), shape=shape)
        pairs.sum_duplicates()
        rare = np.maximum(counts, 1.0) ** -damping
        pairs.data *= np.repeat(rare, np.diff(pairs.indptr)) * rare[n_source:][pairs.indices]
        popularity = np.concatenate([[0.0], np.log1p(counts[n_source + 1 :])])
        return cls(pairs.astype(np.float32), (prior * popularity).astype(np.float32), decay)

    def score(self, histories: Histories) -> Floats:
        merged = histories.merged(self.n_source)
        rows, columns = np.nonzero(merged)
        votes = self.decay ** (merged.shape[1] - 1.0 - columns)
        asked = csr_array(
            (votes.astype(np.float32), (rows, merged[rows, columns])), (len(merged), self.weights.shape[0])
        )
        scores = np.asarray((asked @ self.weights).toarray() + self.popularity, np.float32)
        scores[:, 0] = -np.inf
        return scores

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        arrays: dict[str, NDArray[Any]] = {"popularity": self.popularity, "weights": self.weights.data}
        arrays |= {"indices": self.weights.indices, "indptr": self.weights.indptr}
        return {"decay": self.decay, "source_items": self.n_source}, arrays

    @classmethod
    def from_state(cls, about: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Self:
        shape = (about["source_items"] + about["n_items"] + 1, about["n_items"] + 1)
        weights = csr_array((arrays["weights"], arrays["indices"], arrays["indptr"]), shape=shape)
        return cls(weights, arrays["popularity"], about["decay"])
