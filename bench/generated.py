"""Invented events for the measurements: popular and rare items, and a next item that follows from the last one."""

import gzip
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crossrec.data.pair import Domain, DomainPair

DAY = 86_400_000


def domain(label: str, users: int, items: int, events: int, seed: int = 0) -> Domain:
    """A domain of users with about `events` events, at least five each.

    Every item has a successor, and half of the events go to the last one's; the other half are drawn from a Zipf-like
    popularity. A person may have an item twice.
    """
    rng = np.random.default_rng(seed)
    counts = 5 + rng.geometric(1 / max(1.0, events / users - 4), users) - 1
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    total = int(offsets[-1])
    drawn = rng.permutation(items)[_zipf(items, total, rng)] + 1
    after = np.concatenate([[0], rng.permutation(items) + 1])
    follows = rng.random(total) < 0.5
    follows[offsets[:-1]] = False
    # Position by position, so that what follows may itself be followed.
    found = drawn.copy()
    place = np.arange(total) - np.repeat(offsets[:-1], counts)
    for nth in range(1, int(place.max()) + 1):
        at = np.flatnonzero(follows & (place == nth))
        found[at] = after[found[at - 1]]
    times = 1_600_000_000_000 + np.repeat(rng.integers(0, 300, users), counts) * DAY + place * DAY
    return Domain(label, items, offsets, found.astype(np.int32), times.astype(np.int64), None)


def pair(users: int, items: int, events: int, seed: int = 0) -> DomainPair:
    """Two such domains of the same people, in memory alone."""
    source, target = (domain(name, users, items, events, seed + i) for i, name in enumerate(("source", "target")))
    meta = {"counts": {"users": users}, "domains": {}}
    return DomainPair(Path("generated"), meta, source, target)


def sequences(path: Path, users: int = 22_363, items: int = 12_101, events: int = 198_502, seed: int = 0) -> Path:
    """Writes a gzipped file of sequences, a user and their items a line; by default as large as the Beauty file."""
    one = domain("target", users, items, events, seed)
    with gzip.open(path, "wt") as file:
        for user in range(users):
            file.write(" ".join(map(str, [user + 1, *one.sequence(user).tolist()])) + "\n")
    return path


def _zipf(items: int, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """(n,) ranks 0..items-1, the k-th drawn by 1 / (k + 10)."""
    upto = np.cumsum(1 / (np.arange(items) + 10))
    return np.minimum(np.searchsorted(upto, rng.random(n) * upto[-1]), items - 1)
