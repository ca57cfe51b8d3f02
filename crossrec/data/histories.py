"""What a recommender may look at: a batch of item sequences in both domains."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
TODAY = np.iinfo(np.int64).max
"""The time of what somebody tells now: after everything in the data."""


@dataclass(frozen=True)
class Reviews:
    """Text vectors of the newest reviews of B people (or of B items) in one domain: at most K each, newest last."""

    vectors: Floats
    """(B, K, W), zeros where there is no review."""
    mask: NDArray[np.bool_]
    """(B, K) where there is one."""
    stars: Floats
    """(B, K) rating that goes with each review, NaN where none was given."""
    items: Ints | None = None
    """(B, K) item of the domain that each review is about, 0 where it is not known; None where none is."""

    def __post_init__(self) -> None:
        if self.vectors.ndim != 3 or not self.vectors.shape[:2] == self.mask.shape == self.stars.shape:
            raise ValueError(
                f"vectors {self.vectors.shape}, mask {self.mask.shape} and stars {self.stars.shape} must be "
                "(B, K, W), (B, K) and (B, K)"
            )
        if self.items is not None and self.items.shape != self.mask.shape:
            raise ValueError(f"items {self.items.shape} must have the shape of the mask {self.mask.shape}")

    def __len__(self) -> int:
        return len(self.mask)

    def newest(self, k: int) -> "Reviews":
        """The last k of each."""
        items = None if self.items is None else self.items[:, -k:]
        return Reviews(self.vectors[:, -k:], self.mask[:, -k:], self.stars[:, -k:], items)

    @classmethod
    def of(
        cls,
        vectors: Sequence[Floats],
        stars: Sequence[Sequence[float]] | None = None,
        items: Sequence[Sequence[int]] | None = None,
    ) -> "Reviews":
        """Left-pads B arrays (n, W) of vectors, B lists of n stars and B lists of n items to the longest."""
        width = max((len(one) for one in vectors), default=0)
        out = cls.none(len(vectors), width, vectors[0].shape[-1] if len(vectors) else 0)
        assert out.items is not None
        for b, one in enumerate(vectors):
            if len(one):
                out.vectors[b, -len(one) :] = one
                out.mask[b, -len(one) :] = True
                if stars is not None:
                    out.stars[b, -len(one) :] = stars[b]
                if items is not None:
                    out.items[b, -len(one) :] = items[b]
        return out

    @classmethod
    def none(cls, people: int, most: int, width: int) -> "Reviews":
        """(B, K, W) without a single review."""
        empty = np.zeros((people, most, width), np.float32)
        stars, items = np.full((people, most), np.nan, np.float32), np.zeros((people, most), np.int64)
        return cls(empty, np.zeros((people, most), bool), stars, items)


@dataclass(frozen=True)
class Histories:
    """What is known of B users. A user id, a list of picked items and a new person all become this."""

    source: Ints
    """(B, S) source items, left-padded with 0, oldest first."""
    target: Ints
    """(B, T) target items, left-padded with 0, oldest first."""
    users: Ints | None = None
    """(B,) rows in the dataset's user table, or None for people who are not in it. Only an oracle may score by it."""
    source_stars: Floats | None = None
    """(B, S) stars of the source items, NaN where there are none; None where nothing is known of them."""
    target_stars: Floats | None = None
    """(B, T) likewise."""
    source_reviews: Reviews | None = None
    """Vectors of the newest source reviews; None where they were not asked for. They need not belong to `source`: a
    new person's review has words, stars, and no item."""
    target_reviews: Reviews | None = None
    source_before: Ints | None = None
    """(B, T) how many of the source items shown came before each target item, in `DomainPair.merged_before`'s order;
    None where no order between the domains is known: the source then comes first, as it does for a stranger."""
    source_times: Ints | None = None
    """(B, S) milliseconds since 1970 of the source events, `TODAY` of what is told now, 0 where it is not known; None
    where no times are."""
    target_times: Ints | None = None
    """(B, T) likewise."""

    def __post_init__(self) -> None:
        if self.source.ndim != 2 or self.target.ndim != 2 or len(self.source) != len(self.target):
            raise ValueError(
                f"source {self.source.shape} and target {self.target.shape} must be (B, S) and (B, T) of one B"
            )
        for items, stars in ((self.source, self.source_stars), (self.target, self.target_stars)):
            if stars is not None and stars.shape != items.shape:
                raise ValueError(f"stars {stars.shape} must have the shape of their items {items.shape}")
        for reviews in (self.source_reviews, self.target_reviews):
            if reviews is not None and len(reviews) != len(self):
                raise ValueError(f"reviews of {len(reviews)} people beside histories of {len(self)}")
        for items, times in ((self.source, self.source_times), (self.target, self.target_times)):
            if times is not None and times.shape != items.shape:
                raise ValueError(f"times {times.shape} must have the shape of their items {items.shape}")
        if self.source_before is not None and self.source_before.shape != self.target.shape:
            raise ValueError(f"source_before {self.source_before.shape} must have the shape of {self.target.shape}")

    def __len__(self) -> int:
        return len(self.target)

    @property
    def last(self) -> Ints:
        """(B,) time of the newest event of either domain that is shown; `TODAY` for people of whom none is known."""
        newest = np.zeros(len(self), np.int64)
        for times in (self.source_times, self.target_times):
            if times is not None and times.shape[1]:
                newest = np.maximum(newest, times.max(axis=1))
        return np.where(newest == 0, TODAY, newest)

    def merged(self, shift: int) -> Ints:
        """(B, S+T) the items of both domains in one order, left-padded; target items are raised by `shift`."""
        there = self.target > 0
        n_source, n_target = (self.source > 0).sum(1), there.sum(1)
        total = n_source + n_target
        before = n_source[:, None] if self.source_before is None else self.source_before
        width = self.source.shape[1] + self.target.shape[1]
        # A target item stands after the target items before it and the source items before it.
        nth = np.arange(self.target.shape[1]) - (self.target.shape[1] - n_target)[:, None]
        rows, at = np.nonzero(there)
        columns = (width - total[:, None] + nth + before)[rows, at]
        out = np.zeros((len(self), width), np.int64)
        out[rows, columns] = self.target[rows, at] + shift
        free = np.arange(width) >= (width - total)[:, None]
        free[rows, columns] = False
        out[free] = self.source[self.source > 0]
        return out

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


def windows(starts: Ints, ends: Ints, longest: int | None = None) -> tuple[Ints, NDArray[np.bool_]]:
    """Positions starts[b]..ends[b]-1 of a flat array for B rows, left-padded.

    Args:
        starts: (B,) first position of each row.
        ends: (B,) one past the last position of each row.
        longest: keep at most so many of the last positions of a row.

    Returns:
        at (B, T), 0 where a row has no position, and inside (B, T), where it has one.
    """
    width = int((ends - starts).max(initial=0))
    if longest is not None:
        width = min(width, longest)
    at = ends[:, None] + np.arange(-width, 0)
    inside = at >= starts[:, None]
    return np.where(inside, at, 0), inside


def take(values: NDArray[Any], at: Ints, inside: NDArray[np.bool_], absent: float = 0) -> NDArray[Any]:
    """values[at] where `inside`, and `absent` elsewhere; `values` may be empty where nothing is inside."""
    if not inside.any():
        return np.full(at.shape, absent, values.dtype)
    return np.where(inside, values[at], np.asarray(absent, values.dtype))


def ranges(starts: Ints, counts: Ints) -> tuple[Ints, Ints]:
    """Writes out R ranges: the positions start, start + 1, ... of each, one range after the other, and whose they are.

    Returns:
        positions (sum of counts,) and owners (sum of counts,), 0..R-1.
    """
    owner = np.repeat(np.arange(len(counts)), counts)
    first = np.cumsum(counts) - counts
    return starts[owner] + np.arange(len(owner)) - first[owner], owner
