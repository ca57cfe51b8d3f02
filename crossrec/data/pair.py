"""A dataset folder opened for reading: two domains, one user numbering, sequences as flat arrays."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import duckdb
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crossrec import paths
from crossrec.data.histories import Histories, Ints, Reviews, take, windows
from crossrec.errors import CrossrecError, nearest

DOMAINS = ("source", "target")


@dataclass(frozen=True)
class Domain:
    """The events of U users on I items, sorted by user and then by time."""

    label: str
    """The domain's name for people, such as "Kitchen"."""
    n_items: int
    """I; items are 1..I and 0 is padding."""
    offsets: Ints
    """(U+1,) the events of user u are offsets[u]:offsets[u+1]."""
    items: NDArray[np.int32]
    """(E,) item of each event."""
    times: NDArray[np.int64] | None
    """(E,) milliseconds since 1970, or None where only the order is known."""
    ratings: NDArray[np.float32] | None
    """(E,) stars, NaN where absent, or None where the data has none at all."""

    @property
    def counts(self) -> Ints:
        """(U,) events of each user."""
        return np.diff(self.offsets)

    def sequence(self, user: int) -> NDArray[np.int32]:
        """Items of one user, oldest first."""
        return self.items[self.offsets[user] : self.offsets[user + 1]]

    def first(self, ends: Ints) -> "Domain":
        """The same domain with only the first ends[u] events of each user."""
        keep = first_mask(self.offsets, ends)
        return replace(
            self,
            offsets=np.concatenate([[0], np.cumsum(np.minimum(ends, self.counts))]).astype(np.int64),
            items=self.items[keep],
            times=None if self.times is None else self.times[keep],
            ratings=None if self.ratings is None else self.ratings[keep],
        )


def first_mask(offsets: Ints, ends: Ints) -> NDArray[np.bool_]:
    """(E,) which events of a domain are among the first ends[u] of their user."""
    position = np.arange(offsets[-1]) - np.repeat(offsets[:-1], np.diff(offsets))
    return position < np.repeat(ends, np.diff(offsets))


def _read_domain(folder: Path, meta: dict[str, Any], which: str) -> Domain:
    about = meta["domains"][which]
    columns = ["user", "item"] + ["time"] * bool(about["has_time"]) + ["rating"] * bool(about["has_rating"])
    path = folder / f"{which}.events.parquet"
    again = f"remove the dataset {folder.name!r} and make it again"
    try:
        frame = pd.read_parquet(path, columns=columns)
    except (OSError, ValueError) as error:
        raise CrossrecError(f"{path} is not readable; {again}.") from error
    if len(frame) != about["events"]:
        raise CrossrecError(f"{path} has {len(frame)} events, and dataset.json says {about['events']}; {again}.")
    counts = np.bincount(frame["user"].to_numpy(), minlength=int(meta["counts"]["users"]))
    return Domain(
        label=about["name"],
        n_items=int(about["items"]),
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        items=frame["item"].to_numpy(np.int32),
        times=frame["time"].to_numpy(np.int64) if about["has_time"] else None,
        ratings=frame["rating"].to_numpy(np.float32) if about["has_rating"] else None,
    )


@dataclass(frozen=True)
class EventVectors:
    """Where the text vectors of a dataset are: one table on disk, and the row of each event and of each title."""

    key: str
    """Which encoder made them, with revision and precision: the name of their folder."""
    name: str
    """The encoder's name, under which it is loaded."""
    table: NDArray[np.float16]
    """(N, W), memory-mapped."""
    rows: dict[str, Ints]
    """{"source": (E,), "target": (E,)} row of each event's review, -1 where it has none."""
    titles: dict[str, Ints]
    """{"source": (I+1,), "target": (I+1,)} row of each item's title, -1 where it has none."""

    @property
    def width(self) -> int:
        """W."""
        return self.table.shape[1]

    def look_up(self, rows: Ints) -> NDArray[np.float32]:
        """(..., W) vectors of rows; zeros for -1."""
        out = np.zeros((*rows.shape, self.width), np.float32)
        there = rows >= 0
        out[there] = self.table[rows[there]]
        return out

    def texts(self, domain: Domain, which: str, events: Ints) -> Ints:
        """(...,) row of what was written at events of a domain: the review, or else the title of its item."""
        rows = self.rows[which][events]
        return np.where(rows >= 0, rows, self.titles[which][domain.items[events]])


@dataclass(frozen=True)
class DomainPair:
    """A dataset: `source` and `target` domains over one user numbering 0..U-1.

    Sequences are in memory (4 bytes an event); titles and review texts are read from the Parquet files when asked for.
    """

    folder: Path
    meta: dict[str, Any]
    """dataset.json."""
    source: Domain
    target: Domain
    vectors: EventVectors | None = None
    """Where there are some, histories carry the newest reviews as vectors."""
    most_reviews: int = 15
    """K, reviews a history carries a domain."""
    exchanged: bool = False
    """Whether what the folder calls source stands in the target's place, see `swapped`."""

    @classmethod
    def open(cls, name: str) -> "DomainPair":
        """Opens a dataset by name.

        Raises:
            CrossrecError: there is no such dataset (the nearest is named), or its files do not belong together.
        """
        folder = paths.datasets() / paths.slug(name, "dataset")
        if not folder.is_dir():
            known = sorted(p.parent.name for p in paths.datasets().glob("[!.]*/dataset.json"))
            hint = nearest(name, known) or " There is none yet: `crossrec demo` or `crossrec data import` makes one."
            raise CrossrecError(f"There is no dataset {name!r}.{hint}")
        meta = paths.read_json(folder / "dataset.json")
        source, target = (_read_domain(folder, meta, which) for which in DOMAINS)
        return cls(folder, meta, source, target)

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def n_users(self) -> int:
        return len(self.target.offsets) - 1

    def domain(self, which: str) -> Domain:
        return self.source if which == "source" else self.target

    def source_alone(self, ends: Ints) -> "DomainPair":
        """The source domain up to the first ends[u] events of each user, in the target's place, beside an empty source.

        What trains and tests a target recommender then trains and tests one of the source domain.
        """
        nothing = Domain("nothing", 0, np.zeros_like(self.source.offsets), self.source.items[:0], None, None)
        return replace(self, source=nothing, target=self.source.first(ends), vectors=None)

    def swapped(self) -> "DomainPair":
        """The same people and events with source and target exchanged: the other direction of the same data."""
        turned = dict(zip(DOMAINS, reversed(DOMAINS), strict=True))
        vectors = self.vectors
        if vectors is not None:
            rows, titles = ({turned[w]: one for w, one in of.items()} for of in (vectors.rows, vectors.titles))
            vectors = replace(vectors, rows=rows, titles=titles)
        meta = {**self.meta, "domains": {turned[w]: about for w, about in self.meta.get("domains", {}).items()}}
        return replace(
            self,
            meta=meta,
            source=self.target,
            target=self.source,
            vectors=vectors,
            exchanged=not self.exchanged,
        )

    @property
    def has_time(self) -> bool:
        """Whether events of both domains can be put on one time line."""
        return self.source.times is not None and self.target.times is not None

    @property
    def overlap(self) -> NDArray[np.bool_]:
        """(U,) users with events in both domains."""
        return (self.source.counts > 0) & (self.target.counts > 0)

    @cached_property
    def source_before(self) -> NDArray[np.int32]:
        """(E_target,) for each target event, how many of its user's source events came strictly before it.

        Events of the same instant are not before it: what cannot be known to be earlier stays hidden. Where a domain
        has no times, nothing can be hidden and each count is the user's whole source history.
        """
        return self._before("left")

    @cached_property
    def merged_before(self) -> NDArray[np.int32]:
        """(E_target,) the same in one order of both domains, in which events of one instant have a place too.

        Of those the domain whose label sorts first comes first: an order that is the same from either side.
        """
        return self._before("right" if self.source.label <= self.target.label else "left")

    def _before(self, side: Literal["left", "right"]) -> NDArray[np.int32]:
        """(E_target,) source events before each target event; "right" counts those of the same instant too."""
        users = np.repeat(np.arange(self.n_users), self.target.counts)
        if self.source.times is None or self.target.times is None:
            return self.source.counts[users].astype(np.int32)
        # Ranks of the instants instead of milliseconds, so that (user, time) fits one 64-bit key.
        instants = np.unique(np.concatenate([self.source.times, self.target.times]))
        span = len(instants) + 1
        owners = np.repeat(np.arange(self.n_users), self.source.counts)
        keys = owners * span + np.searchsorted(instants, self.source.times)
        at = np.searchsorted(keys, users * span + np.searchsorted(instants, self.target.times), side=side)
        return (at - self.source.offsets[users]).astype(np.int32)

    def histories(self, users: Ints, source_end: Ints, target_end: Ints) -> Histories:
        """The first `source_end[b]` source and `target_end[b]` target events of users[b], as a batch of B."""
        parts: dict[str, Any] = {}
        for which, end in (("source", source_end), ("target", target_end)):
            domain = self.domain(which)
            start = domain.offsets[users]
            at, inside = windows(start, start + end)
            parts[which] = take(domain.items, at, inside).astype(np.int64)
            if domain.ratings is not None:
                parts[f"{which}_stars"] = take(domain.ratings, at, inside, np.nan)
            if domain.times is not None:
                parts[f"{which}_times"] = take(domain.times, at, inside)
            if self.vectors is not None:
                k = self.most_reviews
                parts[f"{which}_reviews"] = self.reviews(which, at[:, -k:], inside[:, -k:])
            if which == "target":
                parts["source_before"] = np.minimum(take(self.merged_before, at, inside), source_end[:, None])
        return Histories(users=np.asarray(users, np.int64), **parts)

    def reviews(self, which: str, events: Ints, inside: NDArray[np.bool_]) -> Reviews:
        """What was written at events (B, K) of a domain, where `inside`: the review, or else the item's title.

        Raises:
            ValueError: the pair was opened without vectors.
        """
        if self.vectors is None:
            raise ValueError("the pair has no vectors: open it with text.dataset.with_vectors")
        domain = self.domain(which)
        rows = np.full(events.shape, -1, np.int64)
        rows[inside] = self.vectors.texts(domain, which, events[inside])
        there = rows >= 0
        stars = np.full(events.shape, np.nan, np.float32)
        if domain.ratings is not None:
            stars[there] = domain.ratings[events[there]]
        items = np.where(inside, domain.items[events] if inside.any() else 0, 0).astype(np.int64)
        return Reviews(self.vectors.look_up(rows), there, stars, items)

    def items(self, which: str) -> pd.DataFrame:
        """The item table of "source" or "target": item, item_id, title, creator, category, year."""
        return pd.read_parquet(self.folder / f"{self.filed(which)}.items.parquet")

    def filed(self, which: str) -> str:
        """The name under which the folder keeps a domain."""
        return DOMAINS[1 - DOMAINS.index(which)] if self.exchanged else which

    def users(self) -> pd.DataFrame:
        """The user table: user, user_id, source_events, target_events."""
        return pd.read_parquet(self.folder / "users.parquet")

    def user_index(self, user_id: str) -> int:
        """Finds the row of a raw user id.

        Raises:
            CrossrecError: the id is not in the dataset; the sentence names the nearest ids.
        """
        with duckdb.connect() as con:
            path = str(self.folder / "users.parquet")
            row = con.execute("select user from read_parquet(?) where user_id = ?", [path, user_id]).fetchone()
            if row:
                return int(row[0])
            close = con.execute(
                "select user_id from read_parquet(?) "
                "order by jaro_winkler_similarity(user_id, ?) desc, user_id limit 3",
                [path, user_id[:200]],
            ).fetchall()
        raise CrossrecError(
            f"User {user_id[:80]!r} is not in {self.name!r}; the nearest ids are {', '.join(r[0] for r in close)}."
        )
