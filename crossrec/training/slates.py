"""The slates of a feedback log as a recipe learns from them: arrays, the parts of a log, batches, what is left out.

N slates, B of a batch, K items of a slate, C candidates, S sessions.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crossrec import processes
from crossrec.data.histories import Histories, Ints
from crossrec.data.logged import StoredLog
from crossrec.data.pair import DomainPair
from crossrec.data.split import Split
from crossrec.errors import CrossrecError

Doubles = NDArray[np.float64]

MIN_SESSIONS = 10


@dataclass(frozen=True)
class Slates:
    """The slates of a log as arrays: N of them, of at most K items."""

    user: Ints
    """(N,) rows of the user table, -1 for nobody known."""
    session: Ints
    """(N,) 0..S-1."""
    items: Ints
    """(N, K) in the order of their positions, 0 where a slate is shorter."""
    position: Ints
    """(N, K) from 0; -1 where it is unknown."""
    reward: Doubles
    """(N, K)"""
    beta: Doubles
    """(N, K) propensity; 1 where it is not used."""
    used: NDArray[np.bool_]
    """(N, K) which items are learned from and count in the value. The others still stand above those below."""
    candidates: list[Ints | None]
    """Of each slate, what it was chosen from; None where that is unknown."""
    left_out: dict[str, int]
    """{reason in words: shown items that are not used}."""

    def __len__(self) -> int:
        return len(self.user)

    def take(self, rows: Ints) -> "Slates":
        """Those of some rows."""
        arrays = {name: getattr(self, name)[rows] for name in ("user", "session", "items", "position", "reward")}
        chosen = [self.candidates[row] for row in rows]
        return replace(self, **arrays, beta=self.beta[rows], used=self.used[rows], candidates=chosen)


def read_slates(log: StoredLog, pair: DomainPair, split: Split) -> Slates:
    """What of a log can be learned from.

    Raises:
        CrossrecError: the log is of other data, no propensity is known, or too few sessions are left.
    """
    log.check(pair)
    events, n = log.events, len(log.slates)
    slate = events["slate"].to_numpy(np.int64)
    place = np.arange(len(slate)) - np.searchsorted(slate, slate)  # rows are sorted by slate
    width = int(place.max()) + 1

    def table(values: Any, absent: Any) -> Any:
        out = np.full((n, width), absent)
        out[slate, place] = values
        return out

    beta = events["propensity"].to_numpy(float)
    known = (beta > 0) & (beta <= 1)
    if not known.any():
        raise CrossrecError(
            f"No row of the log {log.name!r} has a propensity, the probability with which it was shown: without any, "
            "what the log's policy favoured cannot be told from what people like. Import the log with its "
            "propensities, or collect one on the feedback page, which writes them down."
        )
    user = log.slates["user"].to_numpy(np.int64)
    items = events["item"].to_numpy(np.int64)
    hidden = _hidden(pair, split, user[slate], items)
    candidates = log.slates["candidates"].tolist()
    outside = np.array(
        [candidates[at] is not None and item not in candidates[at] for at, item in zip(slate, items, strict=True)]
    )
    position = events["position"].to_numpy(np.int64)
    below_gap = (position >= 0) & (position != place)  # rows of a slate are in the order of their positions
    used = known
    reasons = {"unknown propensity": ~known}
    for reason, mask in {
        "a held-out event of the same person": hidden,
        "not among the slate's candidates": outside,
        "the log does not hold all that stood above": below_gap,
    }.items():
        reasons[reason], used = used & mask, used & ~mask
    slates = Slates(
        user=user,
        session=np.unique(log.slates["session"].astype(str), return_inverse=True)[1].astype(np.int64),
        items=table(items, 0),
        position=table(position, -1),
        reward=table(events["reward"].to_numpy(float), 0.0),
        beta=table(np.where(used, beta, 1.0), 1.0),
        used=table(used, False),
        candidates=candidates,
        left_out={reason: int(mask.sum()) for reason, mask in reasons.items() if mask.any()},
    )
    slates = slates.take(np.flatnonzero(slates.used.any(axis=1)))
    sessions = len(np.unique(slates.session))
    if sessions < MIN_SESSIONS:
        left = "; ".join(f"{reason}: {rows:,} rows" for reason, rows in slates.left_out.items())
        raise CrossrecError(
            f"The log {log.name!r} has {sessions} sessions that can be learned from, and a gain cannot be told from "
            f"luck with fewer than {MIN_SESSIONS}: collect more.{f' Left out are: {left}.' if left else ''}"
        )
    return slates


def _hidden(pair: DomainPair, split: Split, user: Ints, item: Ints) -> NDArray[np.bool_]:
    """(R,) which shown items are held-out target events of the person who saw them."""
    wide = pair.target.n_items + 1
    owners = np.repeat(np.arange(pair.n_users), pair.target.counts)
    place = np.arange(len(owners)) - pair.target.offsets[owners]
    held = place >= split.target_train_end[owners]
    return np.isin(user * wide + item, owners[held] * wide + pair.target.items[held])


def parts(slates: Slates, held_out: float, seed: int) -> tuple[Slates, Slates, Slates]:
    """The slates that are trained on, that choose the epoch and that judge: whole sessions, by a seeded shuffle."""
    sessions = np.random.default_rng([seed, 7]).permutation(np.unique(slates.session))
    each = max(2, round(len(sessions) * held_out / 2))  # an interval wants two
    cuts = sessions[:each], sessions[each : 2 * each], sessions[2 * each :]
    if not len(cuts[2]):
        raise CrossrecError(f"held_out ({held_out}) leaves none of {len(sessions)} sessions to train on: lower it.")
    choose, judge, train = (slates.take(np.flatnonzero(np.isin(slates.session, cut))) for cut in cuts)
    return train, choose, judge


# --- batches ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SlateBatch:
    """B slates as tensors. Rows of `people` are numbers of the distinct histories."""

    people: Tensor
    """(B,)"""
    items: Tensor
    """(B, K)"""
    ordered: Tensor
    """(B, K) bool, whether the position is known: only then is it known what stood above."""
    used: Tensor
    """(B, K) bool"""
    beta: Tensor
    """(B, K)"""
    advantage: Tensor
    """(B, K)"""
    candidates: Tensor
    """(B, C) padded with 0; a row of zeros where they are unknown."""

    def rows(self, part: slice) -> "SlateBatch":
        return SlateBatch(*(value[part] for value in vars(self).values()))

    def to(self, device: torch.device) -> "SlateBatch":
        return SlateBatch(*(value.to(device) for value in vars(self).values()))


class SlateBatches:
    """Slates in another order each epoch, the same for the same seed and epoch."""

    def __init__(self, slates: Slates, people: Ints, baseline: Doubles, batch_size: int, seed: int):
        """people: (N,) which history goes with each slate; baseline: (K+1,) by position, the last of no position."""
        self.slates, self.people, self.batch_size, self.seed = slates, people, batch_size, seed
        self.advantage = slates.reward - baseline[slates.position]

    def __len__(self) -> int:
        return -(-len(self.slates) // self.batch_size)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[SlateBatch]:
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.slates))
        for at in range(start * self.batch_size, len(order), self.batch_size):
            yield self.batch(processes.part(order[at : at + self.batch_size]))

    def batch(self, rows: Ints) -> SlateBatch:
        slates = self.slates
        sets = [slates.candidates[row] for row in rows]
        width = max((len(one) for one in sets if one is not None), default=0)
        candidates = np.zeros((len(rows), width), np.int64)
        for line, one in zip(candidates, sets, strict=True):
            if one is not None:
                line[: len(one)] = one
        return SlateBatch(
            people=torch.from_numpy(self.people[rows]),
            items=torch.from_numpy(slates.items[rows]),
            ordered=torch.from_numpy(slates.position[rows] >= 0),
            used=torch.from_numpy(slates.used[rows]),
            beta=torch.from_numpy(slates.beta[rows]).float(),
            advantage=torch.from_numpy(self.advantage[rows]).float(),
            candidates=torch.from_numpy(candidates),
        )


def histories_of(pair: DomainPair, split: Split, users: Ints) -> Histories:
    """What the split's training part knows of users; nothing of -1."""
    rows = np.maximum(users, 0)
    there = users >= 0
    return pair.histories(rows, split.source_train_end[rows] * there, split.target_train_end[rows] * there)


def mean_rewards(train: Slates, positions: int) -> Doubles:
    """(P+1,) mean reward by position, and last of no position; of all where the slates have none of a kind.

    Less variance and no bias: the expectation of w grad log pi is 0, so that a constant taken from the reward changes
    nothing on average. By position, for people look at the first more than at the last.
    """
    n = positions + 1
    at, rewards = train.position[train.used] % n, train.reward[train.used]
    seen = np.bincount(at, minlength=n)
    return np.where(seen, np.bincount(at, rewards, n) / np.maximum(1, seen), rewards.mean() if len(rewards) else 0.0)
