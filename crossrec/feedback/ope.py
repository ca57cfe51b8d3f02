"""What another policy would have earned, from a log with propensities; and whether the log can tell at all.

Every estimator is a ratio of sums over the rows, with the weights w = pi_e / pi_b (Dudik et al. 2011; Swaminathan and
Joachims 2015):

    IPS      sum(w r) / N                    free of bias, wild where weights are large
    clipped  sum(min(w, c) r) / N            calmer, too low where rewards are positive
    SNIPS    sum(w r) / sum(w)               a weighted mean of rewards
    DM       sum(V) / N                      as good as the reward model
    DR       sum(V + w (r - q)) / N          right where the weights or the model are

Intervals are bootstrap-t over groups of rows (sessions), which depend on each other. It is better calibrated than the
percentile and BCa intervals where weights are skewed: with 60 rows and an effective sample of 13 % of them, 95 % of IPS
cover the truth in 96, 86 and 89 of a hundred logs, of SNIPS in 95, 90 and 92. Those of DR cover 92 to 94 with some
hundred rows, whatever the method. From 1,000 rows on all keep what they claim.

N rows, G groups, R resamples.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossrec.errors import CrossrecError
from crossrec.evaluation.statistics import LEVEL, RESAMPLES, Interval, resampled_means, rounded

Doubles = NDArray[np.float64]

CLIP = 10.0
"""c, the largest weight of clipped IPS."""
MIN_ROWS, MIN_SHARE = 50, 0.05
"""The effective sample size that a ranking needs: so many rows, and this share of the log."""
MIN_GROUPS = 30
MAX_WEIGHT = 0.1
"""The largest share of all weight that one row may carry."""
MAX_DRIFT, DRIFT_ERRORS = 0.05, 4.0
"""Weights average 1 where the propensities are right and nothing is out of the log's reach: they may be off by so much,
or by so many standard errors."""
MAX_GROUPS = 10_000
"""Beyond them groups are joined at random, which costs no validity and bounds the resampling."""
EDGES = (0.0, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, float("inf"))
"""Of the histogram of the weights; an edge belongs to the bin above it."""
_I, _J = np.triu_indices(4)
LOGGED = "the log's own policy"


@dataclass(frozen=True)
class Logged:
    """What was shown and what came back.

    Raises:
        CrossrecError: lengths differ, there is no row, a reward is not finite, or a propensity not from 0 to 1.
    """

    rewards: Doubles
    """(N,) r."""
    propensities: Doubles
    """(N,) pi_b, probability with which the logging policy took the row's action; NaN where unknown."""
    groups: NDArray[Any] | None = None
    """(N,) session of each row: what is drawn together in a resample. None: each row is its own."""

    def __post_init__(self) -> None:
        if not len(self.rewards):
            raise CrossrecError("The log has no rows: there is nothing to judge a policy by.")
        _check("reward", self.rewards, len(self.rewards))
        _check("propensity", self.propensities, len(self.rewards), 0, 1, unknown=True)
        if self.groups is not None and len(self.groups) != len(self.rewards):
            raise CrossrecError(f"There are {len(self.groups)} groups for {len(self.rewards)} rows: give one each.")


@dataclass(frozen=True)
class Target:
    """A policy to be judged, at the rows of a log.

    Raises:
        CrossrecError: a probability is not from 0 to 1, or only one of `q` and `v` is given.
    """

    name: str
    probabilities: Doubles
    """(N,) pi_e of the row's action."""
    q: Doubles | None = None
    """(N,) reward that a model expects of the row's action. It must not have been fitted on the same rows: fit it on
    other sessions, or in folds."""
    v: Doubles | None = None
    """(N,) sum over all actions a of pi_e(a) q(a): what the model expects of the policy in the row's place."""
    unsupported: Doubles | None = None
    """(N,) probability that the policy gives to actions that the logging policy could not take there, if known."""

    def __post_init__(self) -> None:
        rows = len(self.probabilities)
        if (self.q is None) != (self.v is None):
            raise CrossrecError(f"The reward model of {self.name!r} needs both q and v; only one was given.")
        for what, values in (("probability", self.probabilities), ("unsupported probability", self.unsupported)):
            if values is not None:
                _check(what, values, rows, 0, 1)
        for what, values in (("q", self.q), ("v", self.v)):
            if values is not None:
                _check(what, values, rows)


@dataclass(frozen=True)
class Diagnostics:
    """How much of a log speaks of a policy."""

    rows: int
    groups: int
    ess: float
    """Effective sample size (sum w)^2 / sum w^2: so many rows of weight 1 would tell as much. NaN, as the others, where
    a weight is unknown."""
    largest: float
    """Share of the largest weight in the sum."""
    mean: float
    """Of the weights; 1 is expected."""
    histogram: tuple[int, ...]
    """Rows with a weight between two of `EDGES`."""


@dataclass(frozen=True)
class Judgement:
    """What a log says of a policy beside another one."""

    target: str
    against: str
    estimates: dict[str, dict[str, Interval]]
    """By policy and estimator: reward per row; NaN where it cannot be known."""
    differences: dict[str, Interval]
    """By estimator: target minus the other, paired on the same rows."""
    diagnostics: dict[str, Diagnostics]
    primary: str
    """The estimator that the verdict goes by: DR with a reward model, else SNIPS."""
    verdict: str
    refusals: tuple[str, ...] = field(default=())
    """Why the policies are not ranked; empty where they are."""

    def plain(self) -> dict[str, Any]:
        """For a JSON file: None for NaN."""
        told = asdict(self)
        told["estimates"] = {who: {k: rounded(v) for k, v in one.items()} for who, one in self.estimates.items()}
        told["differences"] = {name: rounded(value) for name, value in self.differences.items()}
        for one in told["diagnostics"].values():
            one |= {k: None if np.isnan(one[k]) else one[k] for k in ("ess", "largest", "mean")}
        return told


def estimate(
    log: Logged, target: Target, clip: float = CLIP, seed: int = 0, resamples: int = RESAMPLES
) -> dict[str, Interval]:
    """Reward per row of a policy by every estimator; DM and DR where it has a reward model.

    Raises:
        CrossrecError: the policy has another number of rows than the log, or the clip is not above 0.
    """
    terms = _terms(log.rewards, weights(log, target), target, clip)
    return dict(zip(terms, _intervals([*terms.values()], log, seed, resamples), strict=True))


def judge(
    log: Logged,
    target: Target,
    against: Target | None = None,
    clip: float = CLIP,
    seed: int = 0,
    resamples: int = RESAMPLES,
    doubts: Sequence[str] = (),
) -> Judgement:
    """Compares two policies on one log, and refuses to rank them where it cannot tell.

    Args:
        log: what happened.
        target: the policy in question.
        against: another one; None is the policy that made the log, whose value is the mean reward.
        clip: the largest weight of clipped IPS.
        seed: of the resampling.
        resamples: how many.
        doubts: reasons not to rank that the rows do not show, each a clause; the first ones to be told.

    Raises:
        CrossrecError: a policy has another number of rows than the log, or both have one name.
    """
    ones = np.ones(len(log.rewards))
    other = against or Target(LOGGED, np.nan_to_num(log.propensities), target.q, target.q)
    if target.name == other.name:
        raise CrossrecError(f"Both policies are called {target.name!r}: give each a name of its own.")
    both = [(target, weights(log, target)), (other, weights(log, other) if against else ones)]
    one, two = (_terms(log.rewards, w, policy, clip) for policy, w in both)
    shared = [name for name in one if name in two]
    contrasts = [*one.values(), *two.values(), *((*one[name], *two[name]) for name in shared)]
    found = iter(_intervals(contrasts, log, seed, resamples))
    estimates = {policy.name: {k: next(found) for k in terms} for policy, terms in ((target, one), (other, two))}
    differences = {name: next(found) for name in shared}
    diagnostics = {policy.name: diagnose(w, log) for policy, w in both}
    refusals = tuple(dict.fromkeys([*doubts, *(one for policy, w in both for one in _refusals(log, policy, w))]))
    primary = "DR" if "DR" in differences else "SNIPS"
    verdict = _verdict(target.name, other.name, primary, differences[primary], refusals)
    return Judgement(target.name, other.name, estimates, differences, diagnostics, primary, verdict, refusals)


def weights(log: Logged, target: Target) -> Doubles:
    """(N,) w = pi_e / pi_b; NaN where pi_b is unknown, or is 0 and pi_e is not.

    Raises:
        CrossrecError: the policy has another number of rows than the log.
    """
    pi_e, pi_b = target.probabilities, log.propensities
    if len(pi_e) != len(pi_b):
        raise CrossrecError(f"The policy {target.name!r} has {len(pi_e)} rows and the log {len(pi_b)}.")
    known = pi_b > 0
    w = np.where(np.isnan(pi_b) | (pi_e > 0), np.nan, 0.0)
    np.divide(pi_e, pi_b, out=w, where=known)
    return w


def diagnose(w: Doubles, log: Logged) -> Diagnostics:
    """What the weights (N,) of a policy say of how far the log can judge it."""
    total = w.sum()
    known = w[~np.isnan(w)]
    bins = np.searchsorted(EDGES, known, side="right") - 1
    counts = np.bincount(bins, minlength=len(EDGES) - 1)
    groups = len(w) if log.groups is None else len(np.unique(log.groups))
    ess, largest = (total**2 / (w**2).sum(), w.max() / total) if total != 0 else (0.0, float("nan"))
    return Diagnostics(len(w), groups, float(ess), float(largest), float(w.mean()), tuple(counts.tolist()))


def _terms(r: Doubles, w: Doubles, policy: Target, clip: float) -> dict[str, tuple[Doubles, Doubles]]:
    """Numerator and denominator, each (N,), of every estimator."""
    if not clip > 0:
        raise CrossrecError(f"The clip of the weights is {clip:g}; give a number above 0.")
    ones = np.ones(len(r))
    terms = {"IPS": (w * r, ones), "clipped IPS": (np.minimum(w, clip) * r, ones), "SNIPS": (w * r, w)}
    if policy.q is not None and policy.v is not None:
        terms |= {"DM": (policy.v, ones), "DR": (policy.v + w * (r - policy.q), ones)}
    return terms


def _refusals(log: Logged, policy: Target, w: Doubles) -> Iterator[str]:
    """Why this log cannot judge the policy: clauses of a sentence."""
    rows, name, found = len(w), f"{policy.name!r}", diagnose(w, log)
    if unknown := int(np.isnan(log.propensities).sum()):
        yield f"{unknown:,} of {rows:,} rows have no propensity"
    beyond = (log.propensities == 0) & (policy.probabilities > 0)
    if policy.unsupported is not None:
        beyond |= policy.unsupported > 1e-9
    if beyond.any():
        yield f"{name} may take actions that the log's policy never takes (in {beyond.sum():,} of {rows:,} rows)"
    if (log.propensities == 1).all() and (w != 1).any():
        yield "the log's policy left nothing to chance (every propensity is 1), so it tells nothing of other actions"
    if found.groups < MIN_GROUPS:
        what = "rows" if log.groups is None else "sessions"
        yield f"the log has {found.groups} {what} and a ranking needs {MIN_GROUPS}"
    if np.ptp(log.rewards) == 0:
        yield "every reward in the log is the same"
    if np.isnan(w).any():
        return
    least = max(MIN_ROWS, MIN_SHARE * rows)
    if found.ess < least:
        yield f"for {name} the {rows:,} rows are worth {found.ess:,.1f}, and a ranking needs {least:,.0f}"
    if found.largest > MAX_WEIGHT:
        yield f"one row carries {found.largest:.0%} of the weight of {name}, more than {MAX_WEIGHT:.0%}"
    drift = _grouped([w - 1], log, 0)[0]
    error = np.sqrt((drift**2).sum()) / rows
    if abs(found.mean - 1) > max(MAX_DRIFT, DRIFT_ERRORS * error):
        yield (
            f"the weights of {name} average {found.mean:.2f} where 1 is expected, so it takes actions that the log's "
            "policy never takes, or the propensities are wrong"
        )


def _verdict(target: str, other: str, primary: str, value: Interval, refusals: tuple[str, ...]) -> str:
    target, other = (name if name == LOGGED else repr(name) for name in (target, other))
    if refusals:
        return f"{target} and {other} are not ranked: {'; '.join(refusals)}."
    told = f"{primary}, {LEVEL:.0%} interval {value.low:+.4f} to {value.high:+.4f}"
    if value.positive or value.negative:
        more = "more" if value.positive else "less"
        return f"{target} would have earned {abs(value.mean):.4f} a row {more} than {other} ({told})."
    return f"No evidence that {target} and {other} differ: {value.mean:+.4f} a row ({told})."


# --- intervals -------------------------------------------------------------------------------------------------------


def _intervals(contrasts: Sequence[tuple[Doubles, ...]], log: Logged, seed: int, resamples: int) -> list[Interval]:
    """Bootstrap-t intervals of A / B, or A / B - C / D, for S contrasts, all over the same resamples of the groups.

    The standard error of each resample is that of the linearised ratios, sqrt(g' M g / G) with g the gradient and M the
    mean products of the groups' sums: no resample needs resamples of its own.
    """
    nothing = np.zeros(len(log.rewards)), np.ones(len(log.rewards))
    sums = _grouped([column for one in contrasts for column in (*one, *nothing)[:4]], log, seed)
    sums = sums.reshape(len(contrasts), 4, -1)
    known = np.isfinite(sums).all(axis=(1, 2))
    out = [Interval(np.nan, np.nan, np.nan)] * len(contrasts)
    sums, groups = sums[known], sums.shape[-1]
    if not len(sums):
        return out
    parts = np.concatenate([sums, sums[:, _I] * sums[:, _J]], axis=1)  # (S, 14, G)
    rng = np.random.default_rng(seed)
    drawn = resampled_means(parts.reshape(-1, groups), rng, resamples).reshape(*parts.shape[:2], -1)  # (S, 14, R)
    value, error = _with_error(parts.mean(axis=2, keepdims=True), groups)
    found = zip(np.flatnonzero(known), value[:, 0], error[:, 0], *_with_error(drawn, groups), strict=True)
    for place, *numbers in found:
        out[place] = _bootstrap_t(*numbers)
    return out


def _with_error(means: Doubles, groups: int) -> tuple[Doubles, Doubles]:
    """(S, 14, R) means of four sums and of their products -> (S, R) the differences of ratios, and their errors."""
    a, b, c, d = (means[:, place] for place in range(4))
    with np.errstate(divide="ignore", invalid="ignore"):
        gradient = np.stack([1 / b, -a / b**2, -1 / d, c / d**2], axis=1)
        parts = np.where(_I == _J, 1, 2)[:, None] * gradient[:, _I] * gradient[:, _J] * means[:, 4:]
        squared, size = parts.sum(axis=1), np.abs(parts).sum(axis=1)
        # What is left of a spread of 0 is rounding.
        squared = np.where(squared <= 1e-12 * size, 0 if groups > 1 else np.nan, squared)
        return a / b - c / d, np.sqrt(squared / groups)


def _bootstrap_t(mean: float, error: float, means: Doubles, errors: Doubles) -> Interval:
    if not error > 0:
        return Interval(float(mean), *[float(mean + error)] * 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = (means - mean) / errors
    # Resamples without any spread are infinitely far off: where they reach into a tail there is no bound.
    low, high = np.percentile(t[~np.isnan(t)], [50 * (1 - LEVEL), 50 * (1 + LEVEL)], method="inverted_cdf")
    bounds = [mean - edge * error if np.isfinite(edge) else np.nan for edge in (high, low)]
    return Interval(float(mean), *map(float, bounds))


def _grouped(columns: list[Doubles], log: Logged, seed: int) -> Doubles:
    """(k, G) sums of the rows of each group."""
    rows = len(log.rewards)
    place = np.arange(rows) if log.groups is None else np.unique(log.groups, return_inverse=True)[1]
    count = int(place.max()) + 1
    if count > MAX_GROUPS:
        place = (np.random.default_rng([seed, 1]).permutation(count) % MAX_GROUPS)[place]
        count = MAX_GROUPS
    return np.stack([np.bincount(place, one, count) for one in columns])


def _check(
    what: str, values: Doubles, rows: int, low: float = -np.inf, high: float = np.inf, unknown: bool = False
) -> None:
    if np.shape(values) != (rows,):
        raise CrossrecError(f"The {what} has the shape {np.shape(values)}: give one number for each of {rows} rows.")
    good = np.isfinite(values) & (values >= low) & (values <= high + 1e-6)  # sums in single precision
    if not (good := good | (unknown & np.isnan(values))).all():
        at = int(np.argmin(good))
        expected = "a finite number" if low == -np.inf else "a number from 0 to 1"
        raise CrossrecError(f"The {what} of row {at + 1} is {values[at]:g}; give {expected}.")
