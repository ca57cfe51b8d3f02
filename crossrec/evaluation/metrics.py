"""Ranking metrics as arrays over questions; the mean is taken once, at the edge.

Q questions (one a user), R truths in all. With a single truth HR equals Recall.
"""

import numpy as np
from numpy.typing import NDArray

METRICS = ("hr", "recall", "ndcg", "mrr", "precision")
CUTOFFS = (5, 10, 20)
Doubles = NDArray[np.float64]


def ranking_metrics(
    rank: NDArray[np.int64], question: NDArray[np.int64], n: int, cutoffs: tuple[int, ...] = CUTOFFS
) -> dict[str, Doubles]:
    """Per-question metrics from the ranks of the truths.

    hr@k: 1 if any truth is among the first k. recall@k: share of the truths there. precision@k: share of the k places
    that hold a truth. mrr@k: 1 / best rank, 0 beyond k. ndcg@k: sum of 1 / log2(rank + 1) over truths among the first
    k, divided by what a perfect list would have.

    Args:
        rank: (R,) rank of each truth, from 1.
        question: (R,) which question each truth belongs to, 0..n-1.
        n: Q.
        cutoffs: the k.

    Returns:
        {"hr@5": (Q,), ...}; NaN for a question without truth.
    """
    truths = np.bincount(question, minlength=n)
    none = truths == 0
    best = np.full(n, np.iinfo(np.int64).max)
    np.minimum.at(best, question, rank)
    ideal = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(2, max(cutoffs) + 2)))])
    out: dict[str, Doubles] = {}
    with np.errstate(invalid="ignore", divide="ignore"):
        for k in cutoffs:
            hit = rank <= k
            hits = np.bincount(question, weights=hit, minlength=n)
            gain = np.bincount(question, weights=np.where(hit, 1 / np.log2(rank + 1), 0.0), minlength=n)
            out[f"hr@{k}"] = (hits > 0).astype(float)
            out[f"recall@{k}"] = hits / truths
            out[f"ndcg@{k}"] = gain / ideal[np.minimum(truths, k)]
            out[f"mrr@{k}"] = np.where(best <= k, 1 / best, 0.0)
            out[f"precision@{k}"] = hits / k
    for values in out.values():
        values[none] = np.nan
    return out


def mean_by_question(values: Doubles, question: NDArray[np.int64], n: int) -> Doubles:
    """(R,) values of truths -> (Q,) their mean within each question; NaN without truth."""
    with np.errstate(invalid="ignore"):
        return np.bincount(question, weights=values, minlength=n) / np.bincount(question, minlength=n)
