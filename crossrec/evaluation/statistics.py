"""Intervals, tests and effect sizes for means and paired differences over users.

M metrics, Q users, R resamples, S seeds of a side.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
RESAMPLES = 2000
PERMUTATIONS = 9_999
"""Sign flips; the smallest p that they can show is 0.0001."""
CHUNK = 4_000_000
"""Numbers of a resampling that are in memory at a time."""
KEPT_FEW, KEPT_MANY = 2_000_000, 20_000_000
"""Up to so many numbers, which are bytes, a resampling is kept for the next interval over as many users: of the former
sixteen, of the latter three."""
Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A mean over users with its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float

    @property
    def positive(self) -> bool:
        return self.low > 0

    @property
    def negative(self) -> bool:
        return self.high < 0


@dataclass(frozen=True)
class Paired:
    """What the differences of the same users say, and how surely."""

    users: int
    value: Interval
    p: float
    """Two-sided sign-flip permutation p: how often a mean as far from 0 comes about where each user's difference may as
    well have had the other sign. NaN with fewer than two users."""
    p_holm: float
    """The same after Holm's correction over the metrics that were tested together."""
    effect: float
    """Mean over standard deviation of the differences (Cohen's d_z); NaN where they do not differ."""
    helped: float
    """Share of the users with a difference above 0, and"""
    unchanged: float
    hurt: float


@dataclass(frozen=True)
class Spread:
    """A difference between two sides with several seeds each: what comes of the users, and what of the seeds."""

    users: Interval
    """Over users, each side averaged over its seeds."""
    both: Interval
    """Over users and seeds, resampled together: what another training on other users would give."""
    by_seed: list[float]
    """Difference of the means, seed by seed in their order, as far as both sides have one."""


def rounded(value: Interval) -> dict[str, float | None]:
    """An interval for a JSON file: six decimals, and None for NaN."""
    return {k: None if np.isnan(v) else round(float(v), 6) for k, v in asdict(value).items()}


def mean_intervals(values: Doubles, seed: int = 0, resamples: int = RESAMPLES) -> list[Interval]:
    """Percentile bootstrap intervals of M means over the same Q users, resampled together.

    The same resamples and numbers as SciPy's `bootstrap`, which gathers every resample of every metric; here a resample
    is how often each user was drawn, and all metrics are one product with it.

    Args:
        values: (M, Q); for a paired difference, the difference of each user. A user with NaN anywhere is left out.
        seed: of the resampling.
        resamples: how many.

    Returns:
        M intervals; NaN where fewer than two users are left.
    """
    values = values[:, ~np.isnan(values).any(axis=0)]
    if values.shape[1] < 2:
        return [Interval(float(row.mean()) if row.size else float("nan"), float("nan"), float("nan")) for row in values]
    numbers = values.shape[1] * resamples
    kept = _few if numbers <= KEPT_FEW else _many if numbers <= KEPT_MANY else None
    times = kept(seed, values.shape[1], resamples) if kept else None
    found = resampled_means(values, np.random.default_rng(seed), resamples, times)
    return [_interval(mean, row) for mean, row in zip(values.mean(axis=1), found, strict=True)]


def paired(
    differences: Doubles, seed: int = 0, resamples: int = RESAMPLES, permutations: int = PERMUTATIONS
) -> list[Paired]:
    """Interval, permutation p with Holm's correction, effect size and who was helped, for M metrics of the same users.

    Args:
        differences: (M, Q) challenger minus baseline. A user with NaN anywhere is left out.
        seed: of the resampling and of the sign flips.
        resamples: of the bootstrap.
        permutations: how many sign flips.
    """
    differences = differences[:, ~np.isnan(differences).any(axis=0)]
    users = differences.shape[1]
    intervals = mean_intervals(differences, seed, resamples)
    p = _sign_flip_p(differences, np.random.default_rng([seed, 1]), permutations)
    found = []
    for row, value, one, corrected in zip(differences, intervals, p, holm(p), strict=True):
        deviation = float(row.std(ddof=1)) if users > 1 else 0.0
        shares = [float((sign == np.sign(row)).mean()) if users else float("nan") for sign in (1, 0, -1)]
        # Where all differ by the same, a deviation is left of the rounding.
        effect = value.mean / deviation if deviation > 1e-12 * np.abs(row).max(initial=0) else float("nan")
        found.append(Paired(users, value, float(one), float(corrected), effect, *shares))
    return found


def holm(p: Sequence[float] | Doubles) -> Doubles:
    """(M,) p values corrected for being looked at together: Holm's step-down; NaN is not counted, and stays."""
    p = np.asarray(p, float)
    out = np.full(p.shape, np.nan)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    steps = p[order] * np.arange(len(order), 0, -1)
    out[order] = np.minimum(1.0, np.maximum.accumulate(steps))
    return out


def seed_spread(after: Doubles, before: Doubles, seed: int = 0, resamples: int = RESAMPLES) -> Spread:
    """Difference of two sides that were trained with several seeds each, on the same users.

    Args:
        after: (S, Q) a metric by seed and user; before: (S', Q) likewise. A user with NaN anywhere is left out.
        seed: of the resampling.
        resamples: how many.
    """
    known = ~np.isnan(np.concatenate([after, before])).any(axis=0)
    after, before = after[:, known], before[:, known]
    (users,) = mean_intervals((after.mean(axis=0) - before.mean(axis=0))[None], seed, resamples)
    rng = np.random.default_rng([seed, 2])
    means = resampled_means(np.concatenate([after, before]), rng, resamples)  # (S + S', R): the same users for all

    def drawn(rows: Doubles) -> Doubles:
        """(R,) mean over seeds that are drawn with replacement, for each resample of the users."""
        which = rng.integers(0, len(rows), (len(rows), resamples))
        return np.asarray(np.take_along_axis(rows, which, axis=0).mean(axis=0))

    both = drawn(means[: len(after)]) - drawn(means[len(after) :])
    paired_seeds = [float(a.mean() - b.mean()) for a, b in zip(after, before, strict=False)]
    return Spread(users, _interval(users.mean, both), paired_seeds)


def _interval(mean: float, resampled: Doubles) -> Interval:
    low, high = np.percentile(resampled, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    return Interval(float(mean), float(low), float(high))


def resampled_means(
    values: Doubles, rng: np.random.Generator, resamples: int, times: NDArray[np.uint8] | None = None
) -> Doubles:
    """(M, Q) -> (M, R) means of users drawn with replacement, the same draws for all metrics.

    What every bootstrap here is made of; `mean_intervals` takes its percentiles.

    Args:
        values: (M, Q)
        rng: that draws; not asked where `times` are given.
        resamples: R.
        times: (R, Q) how often each resample has each user, where that is known.
    """
    users = values.shape[1]
    parts = []
    for part in _blocks(users, resamples):
        drawn = _times(rng, users, part.stop - part.start) if times is None else times[part]
        parts.append(values @ drawn.T.astype(float))
    return np.concatenate(parts, axis=1) / users


def _blocks(users: int, resamples: int) -> list[slice]:
    """Resamples of which as many at a time are in memory as `CHUNK` says."""
    size = max(1, CHUNK // users)
    return [slice(start, min(start + size, resamples)) for start in range(0, resamples, size)]


def _times(rng: np.random.Generator, users: int, resamples: int) -> NDArray[np.int64]:
    """(R, Q) how often each resample has each user."""
    drawn = rng.integers(0, users, (resamples, users)) + users * np.arange(resamples)[:, None]
    return np.bincount(drawn.ravel(), minlength=resamples * users).reshape(resamples, users)


def _of_seed(seed: int, users: int, resamples: int) -> NDArray[np.uint8]:
    """`_times` of a seed. A page asks for dozens of intervals over the same people, and to draw is most of the work."""
    rng, out = np.random.default_rng(seed), np.empty((resamples, users), np.uint8)
    for part in _blocks(users, resamples):
        # A byte is enough: once on average, and of few people none more often than they are many.
        out[part] = _times(rng, users, part.stop - part.start)
    return out


_few, _many = lru_cache(maxsize=16)(_of_seed), lru_cache(maxsize=3)(_of_seed)


def _sign_flip_p(differences: Doubles, rng: np.random.Generator, permutations: int) -> Doubles:
    """(M,) two-sided p of the means, over random signs of the users' differences."""
    if differences.shape[1] < 2:
        return np.full(len(differences), np.nan)
    differences = differences[:, differences.any(axis=0)]  # the others change no sum, whatever their sign
    users = differences.shape[1]
    if not users:
        return np.ones(len(differences))
    seen = np.abs(differences.sum(axis=1))
    # A sum that differs from the observed one by rounding alone is as extreme.
    edge = seen - 1e-9 * np.abs(differences).sum(axis=1)
    extreme = np.zeros(len(differences))
    size = max(1, CHUNK // users)
    for start in range(0, permutations, size):
        count = min(size, permutations - start)
        bits = np.frombuffer(rng.bytes(-(-count * users // 8)), np.uint8)
        signs = 1.0 - 2.0 * np.unpackbits(bits)[: count * users].reshape(count, users)
        extreme += (np.abs(signs @ differences.T) >= edge).sum(axis=0)
    return np.asarray((extreme + 1) / (permutations + 1))
