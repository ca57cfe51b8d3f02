"""What a recommender may look at: a batch of item sequences in both domains."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Histories:
    """What is known of B users. A user id, a list of picked items and a new person all become this."""

    source: Ints
    """(B, S) source items, left-padded with 0, oldest first."""
    target: Ints
    """(B, T) target items, left-padded with 0, oldest first."""
    users: Ints | None = None
    """(B,) rows in the dataset's user table, or None for people who are not in it. Only an oracle may score by it."""

    def __post_init__(self) -> None:
        if self.source.ndim != 2 or self.target.ndim != 2 or len(self.source) != len(self.target):
            raise ValueError(
                f"source {self.source.shape} and target {self.target.shape} must be (B, S) and (B, T) of one B"
            )

    def __len__(self) -> int:
        return len(self.target)

    @classmethod
    def of(cls, source: Sequence[Sequence[int]], target: Sequence[Sequence[int]]) -> "Histories":
        """Pads lists of item numbers, one list a person and domain, oldest first."""
        return cls(pad(source), pad(target))


def pad(rows: Sequence[Sequence[int]]) -> Ints:
    """Left-pads B lists of item numbers with 0 to the longest of them: (B, T)."""
    out = np.zeros((len(rows), max((len(row) for row in rows), default=0)), dtype=np.int64)
    for i, row in enumerate(rows):
        if len(row):
            out[i, -len(row) :] = row
    return out


def windows(items: NDArray[np.int32], starts: Ints, ends: Ints, longest: int | None = None) -> Ints:
    """Cuts items[starts[b]:ends[b]] for B rows out of one flat array, left-padded with 0: (B, T).

    Args:
        items: (E,) events of all users, one user after the other.
        starts: (B,) first event of each row.
        ends: (B,) one past the last event of each row.
        longest: keep at most so many of the last events of a row.
    """
    width = int((ends - starts).max(initial=0))
    if longest is not None:
        width = min(width, longest)
    at = ends[:, None] + np.arange(-width, 0)
    inside = at >= starts[:, None]
    return (
        np.where(inside, items[np.where(inside, at, 0)], 0).astype(np.int64)
        if width
        else np.zeros((len(ends), 0), np.int64)
    )


def ranges(starts: Ints, counts: Ints) -> tuple[Ints, Ints]:
    """Writes out R ranges: the positions start, start + 1, ... of each, one range after the other, and whose they are.

    Returns:
        positions (sum of counts,) and owners (sum of counts,), 0..R-1.
    """
    owner = np.repeat(np.arange(len(counts)), counts)
    first = np.cumsum(counts) - counts
    return starts[owner] + np.arange(len(owner)) - first[owner], owner
