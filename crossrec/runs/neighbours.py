"""The nearest of many vectors: by comparing with all of them, or with FAISS where there are too many.

B queries, I items, W width of a vector, k neighbours. Row 0 of the items is padding and never found.
"""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from crossrec.models.recommender import largest

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

ANN_FROM = 1_000_000
"""Items from which on an index is built where FAISS is installed (`pip install crossrec[ann]`); it finds most of the
nearest, not surely all. Below it all are compared, which takes milliseconds and misses nothing."""
BLOCK = 4096
"""Items compared at once: as float32 they fit the processor's cache, and no second copy of the table is ever made."""
PROBED = 32
"""Cells of an index that are searched for a query."""
CELLS = 1_000_000
"""Most similarities held at once, so that memory does not grow with queries times items."""


def exact(table: NDArray[np.float16], known: NDArray[np.bool_], queries: Floats, k: int) -> tuple[Ints, Floats]:
    """The k items whose vectors have the largest products with each query, by comparing with every one.

    Args:
        table: (I+1, W).
        known: (I+1,) which items have a vector at all.
        queries: (B, W).
        k: at most I.

    Returns:
        items (B, k), nearest first, and products (B, k); 0 and -inf where fewer than k items have a vector.
    """
    rows = torch.from_numpy(table)
    absent = torch.from_numpy(~known)
    absent[0] = True
    items, values = [], []
    block = torch.empty(BLOCK, table.shape[1])
    for some in torch.from_numpy(queries).split(max(1, CELLS // len(table))):
        products = torch.empty(len(some), len(table))
        for start in range(0, len(table), BLOCK):
            part = rows[start : start + BLOCK]
            torch.mm(some, block[: len(part)].copy_(part).T, out=products[:, start : start + len(part)])
        best, at = largest(products.masked_fill_(absent, -torch.inf), min(k, len(table)))
        values.append(best)
        items.append(at.masked_fill(best.isneginf(), 0))
    return torch.cat(items).numpy(), torch.cat(values).numpy()


def has_faiss() -> bool:
    return importlib.util.find_spec("faiss") is not None


def write_index(table: NDArray[np.float16], known: NDArray[np.bool_], path: Path) -> None:
    """Builds an inverted file over the known rows of a table (I+1, W), with vectors of 2 bytes a number.

    The cells are trained on a sample; adding goes in blocks, so that the table is never held as float32.
    """
    import faiss

    numbers = np.flatnonzero(known).astype(np.int64)
    cells = int(np.clip(4 * np.sqrt(len(numbers)), 1, max(1, len(numbers) // 39)))
    width = table.shape[1]
    index = faiss.IndexIVFScalarQuantizer(
        faiss.IndexFlatIP(width), width, cells, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
    )
    sample = np.random.default_rng(0).permutation(numbers)[: 64 * cells]
    index.train(table[np.sort(sample)].astype(np.float32))
    for start in range(0, len(numbers), 1 << 16):
        some = numbers[start : start + (1 << 16)]
        index.add_with_ids(table[some].astype(np.float32), some)
    faiss.write_index(index, str(path))


def read_index(path: Path) -> Any:
    import faiss

    index: Any = faiss.read_index(str(path))
    index.nprobe = PROBED
    return index


def approximate(index: Any, queries: Floats, k: int) -> tuple[Ints, Floats]:
    """As `exact`, from an index; k at most the vectors that it holds."""
    values, items = index.search(np.ascontiguousarray(queries), k)
    return np.maximum(items, 0), np.where(items < 0, -np.inf, values).astype(np.float32)
