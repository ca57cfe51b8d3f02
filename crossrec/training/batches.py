"""Next-item batches: windows over sequences, grouped by length so that little of the work is padding; negatives.

B users, T time, P positions, N negatives.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from crossrec import processes
from crossrec.data.histories import Ints
from crossrec.data.pair import Domain


@dataclass(frozen=True)
class Batch:
    """B windows. State k of row b, after its first k items, is to predict targets[b, k]."""

    items: Tensor
    """(B, T) right-padded with 0."""
    targets: Tensor
    """(B, T+1) the next item at each state; 0 where nothing is to be predicted."""
    users: Tensor
    """(B,) rows of the user table."""
    events: Tensor
    """(B, T+1) index in the domain's flat event array of each target; 0 where there is none."""

    def to(self, device: torch.device) -> "Batch":
        return Batch(*(tensor.to(device) for tensor in (self.items, self.targets, self.users, self.events)))


class SequenceBatches:
    """Windows over the training part of one domain, in another order each epoch.

    A sequence of up to max_len + 1 items is one window. A longer one is cut into several, so that every item is
    predicted once and none is thrown away.
    """

    def __init__(self, domain: Domain, ends: Ints, max_len: int, batch_size: int, seed: int):
        """domain: whose events; ends: (U,) how many first events of each user are in the training part."""
        self.domain, self.batch_size, self.seed = domain, batch_size, seed
        self.users, self.starts, self.stops = _cut(ends, max_len)
        self.items = torch.from_numpy(domain.items.astype(np.int64))
        self.offsets = domain.offsets

    def __len__(self) -> int:
        """Batches an epoch."""
        return -(-len(self.users) // self.batch_size)

    @property
    def positions(self) -> int:
        """Predictions an epoch."""
        return int((self.stops - self.starts - (self.starts > 0)).sum())

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from step `start` on; the same for the same seed and epoch.

        Windows are sorted by length after a small random shift, cut into batches, and the batches shuffled: each batch
        is nearly free of padding, and no two epochs have the same batches.
        """
        rng = np.random.default_rng([self.seed, epoch])
        length = self.stops - self.starts
        order = np.argsort(length + rng.random(len(length)) * (1 + 0.1 * length), kind="stable")
        cuts = np.arange(0, len(order), self.batch_size)
        for cut in rng.permutation(cuts)[start:]:
            yield self._batch(processes.part(order[cut : cut + self.batch_size]))

    def _batch(self, rows: Ints) -> Batch:
        users, start, stop = self.users[rows], self.starts[rows], self.stops[rows]
        first = self.offsets[users] + start
        length = stop - start
        at = np.arange(int(length.max()))
        inside = at < length[:, None]
        events = torch.from_numpy(np.where(inside, first[:, None] + at, 0))  # (B, T+1)
        items = self.items[events] * torch.from_numpy(inside)
        targets = items.clone()
        # A later window starts in mid-sequence, where the state without items is not the start state.
        targets[torch.from_numpy(start > 0), 0] = 0
        return Batch(items[:, :-1], targets, torch.from_numpy(users), events)


def _cut(ends: Ints, max_len: int) -> tuple[Ints, Ints, Ints]:
    """Windows (user, start, stop) that cover the first ends[u] items of each user, last window full."""
    users = np.flatnonzero(ends > 0)
    stops = ends[users]
    out = []
    while len(users):
        # Neighbouring windows share one item: the last of the earlier is the first input of the later.
        starts = np.maximum(stops - max_len - 1, 0)
        out.append((users, starts, stops))
        more = starts > 0
        users, stops = users[more], starts[more] + 1
    if not out:
        return (np.zeros(0, np.int64),) * 3
    return tuple(np.concatenate(parts) for parts in zip(*out, strict=True))  # type: ignore[return-value]


class Negatives:
    """Draws uniform negative items with a seeded generator."""

    def __init__(self, n_items: int, domain: Domain, seed: int):
        """n_items: I; domain: whose events say what a user has, for draws outside it."""
        self.n_items = n_items
        self.generator = torch.Generator().manual_seed(seed)
        users = np.repeat(np.arange(len(domain.offsets) - 1), domain.counts)
        self.owned = torch.from_numpy(np.unique(users * (n_items + 1) + domain.items))

    def shared(self, n: int) -> Tensor:
        """(N,) items for a whole batch."""
        return torch.randint(1, self.n_items + 1, (n,), generator=self.generator)

    def outside(self, users: Tensor, n: int, rounds: int = 8) -> Tensor:
        """(P, N) items that each position's user (P,) does not have in the domain.

        What still collides after some rounds of drawing again stays: that is a user with nearly the whole catalogue.
        """
        draw = torch.randint(1, self.n_items + 1, (len(users), n), generator=self.generator)
        for _ in range(rounds):
            bad = self._owned(users[:, None], draw)
            count = int(bad.sum())
            if not count:
                break
            draw[bad] = torch.randint(1, self.n_items + 1, (count,), generator=self.generator)
        return draw

    def _owned(self, users: Tensor, items: Tensor) -> Tensor:
        if not len(self.owned):
            return torch.zeros_like(items, dtype=torch.bool)
        keys = users * (self.n_items + 1) + items
        at = torch.searchsorted(self.owned, keys).clamp(max=len(self.owned) - 1)
        return self.owned[at] == keys
