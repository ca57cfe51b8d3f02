"""Intervals for means and for paired differences over users."""

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap

LEVEL = 0.95


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


def rounded(value: Interval) -> dict[str, float | None]:
    """An interval for a JSON file: six decimals, and None for NaN."""
    return {k: None if np.isnan(v) else round(float(v), 6) for k, v in asdict(value).items()}


def mean_intervals(values: NDArray[np.float64], seed: int = 0, resamples: int = 2000) -> list[Interval]:
    """Percentile bootstrap intervals of M means over the same Q users, resampled together.

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
    found = bootstrap(
        (values,),
        np.mean,
        axis=1,
        n_resamples=resamples,
        confidence_level=LEVEL,
        method="percentile",
        batch=max(1, 4_000_000 // values.size),
        rng=np.random.default_rng(seed),
    ).confidence_interval
    low, high = np.atleast_1d(found.low), np.atleast_1d(found.high)
    return [Interval(*map(float, row)) for row in zip(values.mean(axis=1), low, high, strict=True)]
