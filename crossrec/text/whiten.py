"""Whitening of text vectors: raw ones point nearly the same way, and their differences hide in a few directions.

PCA whitening with the covariance shrunk towards a multiple of the identity (Ledoit and Wolf, 2004, with the share given
instead of estimated), or ZCA whitening (Kessy, Lewin and Strimmer, 2018), which stays closest to the vectors as they
were; then L2 normalisation. W is the width of a vector, C the number of components.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
_BLOCK = 65_536


@dataclass(frozen=True)
class Whitening:
    """A fitted map; what it is given later is measured by the statistics of what it was fitted on, and by no other."""

    mean: Floats
    """(W,)"""
    matrix: Floats
    """(W, C)"""

    @classmethod
    def fit(cls, vectors: NDArray[np.floating], components: int | None = None, shrinkage: float = 0.1) -> Self:
        """Fits the map on N vectors; zero rows, which say "no text", are left out.

        Args:
            vectors: (N, W); N may be less than W.
            components: C, the directions of greatest variance that are kept, by PCA; None keeps all W, by ZCA.
            shrinkage: 0..1, the share of the mean variance that is mixed into every direction's own. It keeps
                directions that were hardly seen from being blown up; 0 whitens exactly.

        Raises:
            ValueError: a number is out of its range, the vectors are not (N, W) and finite, or all are zero.
        """
        if vectors.ndim != 2:
            raise ValueError(f"vectors must be (N, W), and are {vectors.shape}")
        width = vectors.shape[1]
        if not 0 <= shrinkage <= 1:
            raise ValueError(f"shrinkage ({shrinkage}) must be from 0 to 1")
        if components is not None and not 1 <= components <= width:
            raise ValueError(f"components ({components}) must be from 1 to the vectors' width ({width})")
        count, total = 0, np.zeros(width)
        for block in _blocks(vectors):
            count, total = count + len(block), total + block.sum(axis=0)
        if not count:
            raise ValueError(f"none of the {len(vectors)} vectors is different from zero: there is nothing to fit")
        mean = total / count
        covariance = np.zeros((width, width))
        for block in _blocks(vectors):
            covariance += (block - mean).T @ (block - mean)
        if not np.isfinite(covariance).all():
            raise ValueError("vectors must be finite")
        variances, directions = np.linalg.eigh(covariance / max(count - 1, 1))
        variances = np.maximum(variances, 0)
        shrunk = (1 - shrinkage) * variances + shrinkage * variances.mean()
        # Directions without any variance carry nothing; with no shrinkage they would be divided by rounding errors.
        seen = shrunk > 1e-10 * max(shrunk.max(), np.finfo(np.float64).tiny)
        scales = np.where(seen, 1 / np.sqrt(np.where(seen, shrunk, 1)), 0)
        if components is None:
            matrix = (directions * scales) @ directions.T
        else:
            kept = np.argsort(-variances, kind="stable")[:components]
            matrix = directions[:, kept] * scales[kept]
            # An eigenvector's sign is arbitrary: its greatest entry is made positive, on every machine.
            matrix *= np.where(matrix[np.abs(matrix).argmax(axis=0), np.arange(components)] < 0, -1, 1)
        # In C order: safetensors stores the bytes of an array as they lie, and a transposed one would come back wrong.
        return cls(mean.astype(np.float32), np.ascontiguousarray(matrix, np.float32))

    def whiten(self, vectors: NDArray[np.floating]) -> Floats:
        """(..., W) -> (..., C) before normalising: with no shrinkage, the covariance of the fitted rows is identity."""
        vectors = np.asarray(vectors, np.float32)
        out = ((vectors - self.mean) @ self.matrix).astype(np.float32, copy=False)
        out[~vectors.any(axis=-1)] = 0
        return out

    def __call__(self, vectors: NDArray[np.floating]) -> Floats:
        """(..., W) -> (..., C) of length 1; a zero row stays zero, and a row that is the mean becomes zero."""
        out = self.whiten(vectors)
        norms = np.linalg.norm(out, axis=-1, keepdims=True)
        np.divide(out, norms, out=out, where=norms > 0)
        return out

    def state(self) -> dict[str, Floats]:
        """The fitted arrays by name, for safetensors."""
        return {"mean": self.mean, "matrix": self.matrix}

    @classmethod
    def from_state(cls, state: Mapping[str, NDArray[np.floating]]) -> Self:
        """The map whose `state` was stored.

        Raises:
            ValueError: the arrays do not fit each other.
        """
        mean, matrix = np.asarray(state["mean"], np.float32), np.asarray(state["matrix"], np.float32)
        if mean.ndim != 1 or matrix.ndim != 2 or len(mean) != len(matrix):
            raise ValueError(f"mean {mean.shape} and matrix {matrix.shape} must be (W,) and (W, C)")
        return cls(mean, matrix)


def _blocks(vectors: NDArray[np.floating]) -> Iterator[NDArray[np.float64]]:
    """The rows that are not zero, in float64, some at a time: the vectors may be a file larger than the memory."""
    for start in range(0, len(vectors), _BLOCK):
        block = np.asarray(vectors[start : start + _BLOCK], np.float64)
        yield block[block.any(axis=1)]
