"""What lists of recommendations look like, beyond whether they hit.

Q lists of K items, 0 where the catalogue ended; I items; W width of a vector.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


def describe(lists: Ints, counts: Ints, vectors: NDArray[Any] | None = None) -> dict[str, float | None]:
    """Coverage, novelty and diversity of lists (Q, K).

    Args:
        lists: items, best first.
        counts: (I+1,) training events of each item.
        vectors: (I+1, W) unit text vectors of the items, zeros where nothing is known.

    Returns:
        coverage: share of the catalogue that is shown to anyone. novelty: mean of log2(N / n) bits over what is shown,
        n the training events of the item, at least 1, and N of all items (Castells et al.). diversity: mean cosine
        distance between two items of a list whose texts are known, by their text vectors; None without vectors.
    """
    shown = lists[lists > 0]
    if not len(shown):
        return {"coverage": 0.0, "novelty": None, "diversity": None}
    return {
        "coverage": len(np.unique(shown)) / max(1, len(counts) - 1),
        "novelty": float(np.log2(max(1, counts.sum()) / np.maximum(counts[shown], 1)).mean()),
        "diversity": None if vectors is None else _diversity(lists, vectors),
    }


def _diversity(lists: Ints, vectors: NDArray[Any]) -> float | None:
    total = pairs = 0.0
    for start in range(0, len(lists), 1024):
        part = vectors[lists[start : start + 1024]].astype(np.float32)  # (Q, K, W)
        known = part.any(axis=2)
        n = known.sum(axis=1)
        # The sum over pairs of unit vectors, from the length of their sum: |sum|^2 = n + 2 * sum over pairs.
        length = np.square(part.sum(axis=1)).sum(axis=1)
        alike = (length - np.square(part).sum(axis=(1, 2))) / 2
        total += float((n * (n - 1) / 2 - alike).sum())
        pairs += float((n * (n - 1) / 2).sum())
    return total / pairs if pairs else None
