"""Off-policy estimators by hand, their intervals against worlds whose truth is known, and what is refused."""

import json
from typing import Any, NamedTuple

import numpy as np
import pytest

from crossrec.errors import CrossrecError
from crossrec.feedback import ope
from crossrec.feedback.ope import Logged, Target, diagnose, estimate, judge, weights

R = np.array([1.0, 0, 1, 0])
PI_E = np.array([0.5, 0.2, 0.1, 0.4])
PI_B = np.array([0.25, 0.4, 0.2, 0.4])
Q, V = np.array([0.6, 0.3, 0.4, 0.2]), np.array([0.5, 0.35, 0.45, 0.3])


def test_numbers_worked_by_hand() -> None:
    log, target = Logged(R, PI_B), Target("t", PI_E, Q, V)
    assert weights(log, target) == pytest.approx([2, 0.5, 0.5, 1])
    means = {name: one.mean for name, one in estimate(log, target, clip=1.0).items()}
    assert means == pytest.approx({"IPS": 0.625, "SNIPS": 0.625, "clipped IPS": 0.375, "DM": 0.4, "DR": 0.5875})
    found = diagnose(weights(log, target), log)
    assert found.ess == pytest.approx(2.909, abs=5e-4)
    assert found.largest == 0.5
    assert found.mean == 1.0
    assert dict(zip(ope.EDGES, found.histogram, strict=False)) == dict.fromkeys(ope.EDGES[:-1], 0) | {
        0.5: 2,
        1: 1,
        2: 1,
    }
    assert "DR" not in estimate(log, Target("t", PI_E))


def test_the_linearised_error_is_that_of_the_jackknife() -> None:
    """An independent standard error of every estimator and of their differences, from leaving one group out."""
    rng = np.random.default_rng(0)
    columns = rng.gamma(2.0, size=(4, 300))
    sums = columns[None]
    means = np.concatenate([sums, sums[:, ope._I] * sums[:, ope._J]], axis=1).mean(axis=2, keepdims=True)
    value, error = ope._with_error(means, 300)
    a, b, c, d = columns.sum(axis=1, keepdims=True) - columns
    left_out = a / b - c / d
    assert value.item() == pytest.approx(columns[0].sum() / columns[1].sum() - columns[2].sum() / columns[3].sum())
    assert error.item() == pytest.approx(np.sqrt(299 * left_out.var()), rel=0.01)


# --- worlds with a known truth ---------------------------------------------------------------------


class World(NamedTuple):
    """Contexts x arms with Bernoulli rewards."""

    reward: Any
    logging: Any
    target: Any
    model: Any
    """A reward model that is wrong."""

    def value(self, policy: Any) -> float:
        return float((policy * self.reward).sum(axis=1).mean())

    def log(self, rows: int, rng: np.random.Generator) -> tuple[Logged, Target]:
        context = rng.integers(0, len(self.reward), rows)
        arm = (rng.random(rows)[:, None] > self.logging[context].cumsum(axis=1)).sum(axis=1)
        arm = np.minimum(arm, self.reward.shape[1] - 1)
        reward = (rng.random(rows) < self.reward[context, arm]).astype(float)
        expected = (self.target * self.model).sum(axis=1)[context]
        target = Target("new", self.target[context, arm], self.model[context, arm], expected)
        return Logged(reward, self.logging[context, arm]), target


def world(pull: float = 3.0) -> World:
    """The target leans towards arms that are good, the more the larger `pull`."""
    rng = np.random.default_rng(1)
    reward, base = rng.beta(1, 4, (6, 8)), rng.normal(size=(6, 8))

    def soft(x: Any) -> Any:
        return 0.9 * np.exp(x) / np.exp(x).sum(axis=1, keepdims=True) + 0.1 / 8

    return World(reward, soft(base), soft(0.2 * base + pull * reward), 0.5 * reward + 0.1)


def test_estimators_find_the_truth_of_a_large_log() -> None:
    one = world()
    log, target = one.log(400_000, np.random.default_rng(0))
    truth = one.value(one.target)
    found = {name: value.mean for name, value in estimate(log, target, resamples=2).items()}
    for name in ("IPS", "SNIPS", "DR"):
        assert found[name] == pytest.approx(truth, abs=0.006), name
    assert found["DM"] == pytest.approx((one.target * one.model).sum(axis=1).mean(), abs=0.002)
    assert abs(found["DM"] - truth) > 0.02, "the model is wrong, and DR repairs it"
    assert estimate(log, target, clip=2.0, resamples=2)["clipped IPS"].mean < truth - 0.02


@pytest.mark.parametrize(("rows", "logs", "least"), [(1000, 500, 0.925), (250, 400, 0.9)])
def test_intervals_cover_the_truth_as_often_as_they_claim(rows: int, logs: int, least: float) -> None:
    """Of 500 logs the share that covers has a standard error of 0.01; with few rows DR covers 92 to 94 %."""
    one = world()
    rng = np.random.default_rng(2)
    truth, before = one.value(one.target), one.value(one.logging)
    covered: dict[str, list[bool]] = {}
    for turn in range(logs):
        found = judge(*one.log(rows, rng), seed=turn, resamples=400)
        for name in ("IPS", "SNIPS", "DR"):
            value, difference = found.estimates["new"][name], found.differences[name]
            covered.setdefault(name, []).append(value.low <= truth <= value.high)
            covered.setdefault(f"{name} gain", []).append(difference.low <= truth - before <= difference.high)
        value = found.estimates[ope.LOGGED]["SNIPS"]
        covered.setdefault("logged", []).append(value.low <= before <= value.high)
    shares = {name: float(np.mean(hits)) for name, hits in covered.items()}
    assert len(shares) == 7
    assert all(least <= share <= 0.975 for share in shares.values()), shares


def test_skewed_weights_are_covered_too() -> None:
    """Where percentile intervals of IPS cover 86 of a hundred."""
    one = world(pull=12.0)
    rng = np.random.default_rng(3)
    covered: dict[str, list[bool]] = {"IPS": [], "SNIPS": []}
    for turn in range(400):
        found = estimate(*one.log(60, rng), seed=turn, resamples=400)
        for name, hits in covered.items():
            hits.append(found[name].low <= one.value(one.target) <= found[name].high)
    shares = {name: float(np.mean(one)) for name, one in covered.items()}
    assert all(0.92 <= share <= 0.99 for share in shares.values()), shares


def test_sessions_are_resampled_whole() -> None:
    """Rows of a session share their luck; to resample rows would claim more than the log knows."""
    rng = np.random.default_rng(4)
    sessions = np.repeat(np.arange(60), 8)
    inside = {"sessions": 0, "rows": 0}
    for turn in range(300):
        reward = (rng.random(480) < rng.beta(0.5, 0.5, 60)[sessions]).astype(float)
        for name, groups in (("sessions", sessions), ("rows", None)):
            log = Logged(reward, np.full(480, 0.5), groups)
            value = estimate(log, Target("t", np.full(480, 0.5)), seed=turn, resamples=300)["SNIPS"]
            inside[name] += value.low <= 0.5 <= value.high
    assert 0.91 <= inside["sessions"] / 300 <= 0.985
    assert inside["rows"] / 300 < 0.8


def test_many_groups_are_joined_without_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    log, target = world().log(4000, np.random.default_rng(5))
    whole = estimate(log, target)
    monkeypatch.setattr(ope, "MAX_GROUPS", 400)
    joined = estimate(log, target)
    for name, one in whole.items():
        assert joined[name].mean == pytest.approx(one.mean)
        assert joined[name].high - joined[name].low == pytest.approx(one.high - one.low, rel=0.15), name


# --- judgements ------------------------------------------------------------------------------------


def test_a_better_policy_is_found_better_and_the_same_one_is_not() -> None:
    log, target = world(6.0).log(4000, np.random.default_rng(6))
    found = judge(log, target)
    assert found.refusals == ()
    assert found.primary == "DR"
    gain = found.differences["DR"]
    assert gain.low > 0
    assert found.verdict.startswith(
        f"'new' would have earned {gain.mean:.4f} a row more than the log's own policy (DR,"
    )
    assert found.estimates[ope.LOGGED]["SNIPS"].mean == pytest.approx(log.rewards.mean())
    assert found.estimates[ope.LOGGED]["DR"].mean == pytest.approx(log.rewards.mean())
    back = judge(log, Target("old", log.propensities), Target("new", target.probabilities))
    assert back.primary == "SNIPS"
    assert "less than 'new' (SNIPS" in back.verdict
    assert back.differences["SNIPS"].mean == pytest.approx(-found.differences["SNIPS"].mean)
    same = judge(log, Target("same", log.propensities))
    assert (same.differences["IPS"].low, same.differences["IPS"].high) == (0, 0)
    assert same.verdict.startswith("No evidence that 'same' and the log's own policy differ")
    assert json.loads(json.dumps(found.plain(), allow_nan=False))["differences"]["DR"]["mean"] == round(gain.mean, 6)


def test_two_policies_are_compared_on_the_same_rows() -> None:
    """They differ in few rows: the difference is known better than either value."""
    rng = np.random.default_rng(7)
    log, target = world().log(3000, rng)
    close = np.where(rng.random(3000) < 0.05, log.propensities, target.probabilities)
    found = judge(log, Target("a", target.probabilities), Target("b", close))
    values = [found.estimates[name]["SNIPS"] for name in ("a", "b")]
    difference = found.differences["SNIPS"]
    assert difference.mean == pytest.approx(values[0].mean - values[1].mean)
    assert difference.high - difference.low < 0.5 * min(one.high - one.low for one in values)


def log_of(rows: int, rng: np.random.Generator) -> Logged:
    return Logged((rng.random(rows) < 0.3).astype(float), np.full(rows, 0.5))


def refused(log: Logged, target: Target, against: Target | None = None) -> str:
    found = judge(log, target, against, resamples=100)
    assert found.refusals
    against = ope.LOGGED if found.against == ope.LOGGED else repr(found.against)
    assert found.verdict == f"{found.target!r} and {against} are not ranked: {'; '.join(found.refusals)}."
    json.dumps(found.plain(), allow_nan=False)
    return found.verdict


def test_missing_support_is_refused() -> None:
    rng = np.random.default_rng(8)
    log = log_of(200, rng)
    half = np.full(200, 0.5)
    unknown = Logged(log.rewards, np.where(np.arange(200) < 3, np.nan, 0.5))
    verdict = refused(unknown, Target("t", half))
    assert "3 of 200 rows have no propensity" in verdict
    found = judge(unknown, Target("t", half, half, half), resamples=100)
    assert np.isnan(found.estimates["t"]["IPS"].mean)
    assert found.estimates["t"]["DM"].mean == 0.5, "which needs no propensities"
    assert found.estimates[ope.LOGGED]["IPS"].mean == log.rewards.mean()
    never = Logged(log.rewards, np.where(np.arange(200) < 2, 0.0, 0.5))
    assert "'t' may take actions that the log's policy never takes (in 2 of 200 rows)" in refused(
        never, Target("t", half)
    )
    beyond = Target("t", half, unsupported=np.where(np.arange(200) < 7, 0.2, 0.0))
    assert "(in 7 of 200 rows)" in refused(log, beyond)
    assert "left nothing to chance" in refused(Logged(log.rewards, np.ones(200)), Target("t", half))


def test_what_the_log_cannot_reach_shows_in_the_mean_weight() -> None:
    """Half of the target's probability is on an arm that is never shown; no row says so."""
    rng = np.random.default_rng(9)
    assert "average 0.50 where 1 is expected" in refused(log_of(500, rng), Target("t", np.full(500, 0.25)))
    varied = Target("t", rng.choice([0.25, 0.75], 500))
    assert judge(log_of(500, rng), varied, resamples=100).refusals == ()


def test_too_little_is_refused() -> None:
    rng = np.random.default_rng(10)
    log = log_of(4000, rng)
    few = np.where(np.arange(4000) % 40 == 0, 0.5, 0.0)
    verdict = refused(log, Target("t", few), Target("u", log.propensities))
    assert "for 't' the 4,000 rows are worth 100.0, and a ranking needs 200" in verdict
    heavy = np.full(1000, 0.45)
    heavy[0] = 1.0
    odd = Logged(log.rewards[:1000], np.where(np.arange(1000) == 0, 0.005, 0.5))
    assert "one row carries 18% of the weight of 't', more than 10%" in refused(odd, Target("t", heavy))
    sessions = Logged(log.rewards, log.propensities, np.arange(4000) % 12)
    assert "the log has 12 sessions and a ranking needs 30" in refused(sessions, Target("t", log.propensities))
    dull = Logged(np.zeros(100), np.full(100, 0.5))
    assert "every reward in the log is the same" in refused(dull, Target("t", np.full(100, 0.5)))
    nothing = Target("t", np.zeros(100))
    assert "worth 0.0" in refused(log_of(100, rng), nothing)
    one = Logged(np.ones(1), np.ones(1))
    assert np.isnan(judge(one, Target("t", np.ones(1))).estimates["t"]["IPS"].low)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Logged(np.array([]), np.array([])), "no rows"),
        (lambda: Logged(np.array([1, np.nan]), np.ones(2)), "The reward of row 2 is nan; give a finite number"),
        (lambda: Logged(np.ones(2), np.array([0.5, 1.2])), "The propensity of row 2 is 1.2; give a number from 0 to 1"),
        (lambda: Logged(np.ones(2), np.ones(3)), "one number for each of 2 rows"),
        (lambda: Logged(np.ones(2), np.ones(2), np.zeros(3)), "3 groups for 2 rows"),
        (lambda: Target("t", np.array([-0.1])), "The probability of row 1 is -0.1"),
        (lambda: Target("t", np.array([np.nan])), "The probability of row 1 is nan"),
        (lambda: Target("t", np.ones(1), q=np.ones(1)), "needs both q and v"),
        (lambda: judge(Logged(R, PI_B), Target("t", np.ones(3))), "'t' has 3 rows and the log 4"),
        (lambda: judge(Logged(R, PI_B), Target("t", PI_E), Target("t", PI_E)), "Both policies are called 't'"),
        (lambda: estimate(Logged(R, PI_B), Target("t", PI_E), clip=0), "clip of the weights is 0"),
    ],
)
def test_bad_input_is_told(make: Any, said: str) -> None:
    with pytest.raises(CrossrecError, match=said):
        make()
