"""What was taken around a time: the share of each item in the events of a while, beside its share in all of them.

    share(t, i) = sum of k(t - s) over the training events of i at times s, by that of all events of its domain
    rise(t, i)  = log((share(t, i) / p_i + FLOOR) / (1 + FLOOR))           p_i: share over all the time
    k(d)        = exp(-|d| / reach); of "past", nothing for events after the week of t

Goods come and go: what sells this month is hardly what sold three years ago, and a person who takes one thing of a
season takes another. "past" looks at the weeks up to that of t, as a live system can at the end of that week. "both"
looks at both sides of t, as every model does that is trained on all but each person's last events.

Time is cut into W buckets: weeks, or longer where there are many items. I items, with padding; B people.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from crossrec.config import require
from crossrec.data.histories import Histories, Ints
from crossrec.models.recommender import Floats, Recommender

SIDES = ("past", "both")
MOMENTS = ("last", "all")
DAY = 86_400_000
FLOOR = 0.05
"""Share of what an item has over all the time that it is granted at any time."""
LEAST = 7 * DAY
"""Narrowest bucket, in milliseconds; buckets are wider where there are many items."""
CELLS = 16_000_000
"""Most numbers of a table of buckets times items."""


@dataclass(frozen=True)
class Clock:
    """How time is cut, and how far events are felt."""

    start: int
    """Milliseconds since 1970 of the first bucket."""
    width: int
    """Milliseconds of each."""
    buckets: int
    """W."""
    reach: float
    """Milliseconds."""
    sides: str
    """"past" or "both"."""

    def __post_init__(self) -> None:
        require(self.sides in SIDES, f"sides ({self.sides!r}) must be one of {', '.join(SIDES)}")
        for name in ("width", "buckets", "reach"):
            require(getattr(self, name) > 0, f"{name} ({getattr(self, name)}) must be positive")

    def bucket(self, times: Ints) -> Ints:
        """The bucket of each time; what is before the first or after the last one counts as there."""
        return np.clip((np.maximum(times, self.start) - self.start) // self.width, 0, self.buckets - 1)

    @property
    def felt(self) -> Floats:
        """(W, W) how much an event in one bucket (column) is felt in another (row)."""
        later = np.arange(self.buckets)[None, :] - np.arange(self.buckets)[:, None]
        felt = np.exp(-np.abs(later) * (self.width / self.reach))
        return np.where((later <= 0) | (self.sides == "both"), felt, 0).astype(np.float32)


class Trend:
    """The training events by bucket, and what follows from them."""

    def __init__(self, clock: Clock, counts: csr_array, parts: Sequence[int]):
        """clock; counts: (W, I+1) training events; parts: the rows at which a domain's items begin, in order."""
        self.clock, self.counts, self.parts = clock, counts, tuple(parts)

    @classmethod
    def fit(
        cls, times: Ints, items: NDArray[Any], rows: int, parts: Sequence[int], days: float, sides: str
    ) -> "Trend | None":
        """Counts events.

        Args:
            times: (E,) milliseconds since 1970.
            items: (E,) 1..I.
            rows: I+1.
            parts: at which the items of each domain begin; shares are of a domain.
            days: over which an event fades to 1/e.
            sides: one of `SIDES`.

        Returns:
            None where all events are of one time, or there are none.
        """
        if not len(times) or times.min() == times.max():
            return None
        start, span = int(times.min()), int(times.max() - times.min()) + 1
        width = max(LEAST, -(-span * rows // CELLS))
        clock = Clock(start, width, -(-span // width), days * DAY, sides)
        ones = np.ones(len(items), np.float32)
        counts = csr_array((ones, (clock.bucket(times), items)), shape=(clock.buckets, rows))
        counts.sum_duplicates()
        return cls(clock, counts, parts)

    def shares(self) -> tuple[Floats, Floats, Floats]:
        """Shares of items in their domain, at a time (W, I+1) and over all (I+1,); of one event in G domains (G, W)."""
        felt, counts = self.clock.felt, self.counts
        total = counts.sum(axis=0)
        around = np.asarray(felt @ counts, np.float32)
        overall, one = np.zeros(counts.shape[1], np.float32), []
        for first, last in zip(self.parts, (*self.parts[1:], counts.shape[1]), strict=True):
            there = np.maximum(around[:, first:last].sum(axis=1), 1e-6)
            around[:, first:last] /= there[:, None]
            one.append(1 / there)
            overall[first:last] = total[first:last] / max(float(total[first:last].sum()), 1.0)
        return around, overall, np.asarray(one, np.float32)

    def rises(self) -> Floats:
        """(W, I+1) rise; 0 for items without an event."""
        around, overall, _ = self.shares()
        known = overall > 0
        rise = np.log((around / np.where(known, overall, 1) + FLOOR) / (1 + FLOOR))
        return np.where(known, rise, 0).astype(np.float32)

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        found = self.counts.tocoo()
        arrays = {"bucket": found.row.astype(np.int32), "item": found.col.astype(np.int32), "count": found.data}
        about = {"clock": asdict(self.clock), "rows": self.counts.shape[1], "parts": list(self.parts)}
        return about, {f"trend_{name}": values for name, values in arrays.items()}

    @classmethod
    def from_state(cls, about: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> "Trend":
        clock = Clock(**about["clock"])
        at = (arrays["trend_bucket"], arrays["trend_item"])
        counts = csr_array((arrays["trend_count"], at), shape=(clock.buckets, about["rows"]))
        return cls(clock, counts, about["parts"])


class Lately(Recommender):
    """Popularity at the time at which a person was last seen, or over all the times at which they were."""

    kind: ClassVar[str] = "popular-lately"
    speaks: ClassVar[str] = "votes"

    def __init__(self, trend: Trend, moments: str):
        """trend: of the target items; moments: the "last" or "all" of a person's events say when they are there."""
        self.trend, self.moments = trend, moments
        self.n_items = trend.counts.shape[1] - 1
        around, overall, _ = trend.shares()
        self._table = around + np.float32(FLOOR) * overall

    def score(self, histories: Histories) -> Floats:
        clock = self.trend.clock
        at = clock.bucket(histories.last)
        scores = self._table[at]
        if self.moments == "all":
            there = np.zeros((len(histories), clock.buckets), np.float32)
            for times in (histories.source_times, histories.target_times):
                if times is not None:
                    rows, columns = np.nonzero(times)
                    np.add.at(there, (rows, clock.bucket(times[rows, columns])), 1)
            seen = there.any(axis=1)
            scores[seen] = (there[seen] / there[seen].sum(axis=1, keepdims=True)) @ self._table
        scores[:, 0] = -np.inf
        return scores

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        about, arrays = self.trend.state()
        return {"moments": self.moments, "trend": about}, arrays

    @classmethod
    def from_state(cls, about: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Self:
        return cls(Trend.from_state(about["trend"], arrays), about["moments"])
