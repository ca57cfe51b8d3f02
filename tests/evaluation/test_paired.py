"""Paired tests against independent computations, and how often they cry wolf."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import permutation_test

from crossrec.evaluation.statistics import holm, paired, seed_spread


def test_the_permutation_p_is_the_exact_one_of_scipy() -> None:
    rng = np.random.default_rng(0)
    for shift in (0.0, 0.3, 0.8):
        row = rng.normal(shift, 1, 11)
        exact = permutation_test(
            (row, np.zeros(11)),
            lambda x, y, axis: (x - y).mean(axis=axis),
            permutation_type="samples",
            vectorized=True,
            n_resamples=np.inf,
        ).pvalue
        (found,) = paired(row[None], permutations=40_000)
        # 40,000 flips of 2**11 possible ones: a standard error of at most 0.0025.
        assert found.p == pytest.approx(exact, abs=0.01)


def test_ties_and_zeros_are_not_evidence() -> None:
    row = np.array([1.0] * 3 + [0.0] * 40)
    (found,) = paired(row[None])
    # Of three differences the most extreme sign pattern has p = 2 / 2**3, whatever the number of zeros.
    assert found.p == pytest.approx(0.25, abs=0.02)
    assert (found.helped, found.hurt) == (pytest.approx(3 / 43), 0.0)
    assert found.unchanged == pytest.approx(40 / 43)
    (nothing,) = paired(np.zeros((1, 50)))
    assert (nothing.p, nothing.value.mean, math.isnan(nothing.effect)) == (1.0, 0.0, True)


def test_effect_is_cohens_d_of_the_differences() -> None:
    row = np.random.default_rng(1).normal(0.4, 2, 500)
    (found,) = paired(row[None])
    assert found.effect == pytest.approx(row.mean() / row.std(ddof=1))
    assert found.users == 500


def test_users_with_nan_anywhere_are_left_out_and_one_user_is_no_test() -> None:
    values = np.random.default_rng(3).normal(size=(2, 50))
    holes = np.concatenate([values, np.full((2, 2), np.nan)], axis=1)
    holes[0, 50] = 1e6
    assert paired(holes, seed=1) == paired(values, seed=1)
    (one,) = paired(np.array([[0.5]]))
    assert (one.users, one.value.mean, math.isnan(one.p), math.isnan(one.p_holm)) == (1, 0.5, True, True)


def test_holm_by_hand() -> None:
    # Sorted .01, .02, .03, .04 with factors 4, 3, 2, 1: .04, .06, .06, .06.
    np.testing.assert_allclose(holm([0.04, 0.01, 0.03, 0.02]), [0.06, 0.04, 0.06, 0.06])
    np.testing.assert_allclose(holm([0.9, 0.8]), [1.0, 1.0])
    np.testing.assert_allclose(holm([0.01, np.nan, 0.5]), [0.02, np.nan, 0.5])


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=8))
def test_holm_never_lowers_and_keeps_the_order(p: list[float]) -> None:
    corrected = holm(p)
    assert (corrected >= np.minimum(p, 1.0) - 1e-12).all()
    assert (corrected <= 1).all()
    assert (np.diff(corrected[np.argsort(p, kind="stable")]) >= -1e-12).all()


def copies(seed: int, users: int = 150) -> np.ndarray:
    """NDCG-like values of two trainings of one model: the same users, the same chances, other luck; (2, M, Q)."""
    rng = np.random.default_rng(seed)
    chance = rng.beta(0.6, 2.0, users)
    hit = rng.random((2, users)) < chance
    rank = rng.integers(1, 11, (2, users))
    return np.stack([hit / np.log2(rank + 1), hit * 1.0, hit / rank], axis=1)


def test_two_copies_of_one_model_alarm_as_often_as_promised() -> None:
    """600 comparisons of equals: 5 % of the p values fall below .05, and of the intervals 5 % leave 0 out."""
    alarms, outside, family = [], [], []
    for seed in range(600):
        one, two = copies(seed)
        found = paired(two - one, seed=seed, resamples=400, permutations=399)
        alarms.append(found[0].p <= 0.05)
        outside.append(found[0].value.positive or found[0].value.negative)
        family.append(any(each.p_holm <= 0.05 for each in found))
    # Standard error 0.9 points; percentile intervals of 150 users are a little too short.
    assert 0.025 <= np.mean(alarms) <= 0.078
    assert 0.025 <= np.mean(outside) <= 0.088
    assert np.mean(family) <= 0.078


def test_a_real_difference_is_found() -> None:
    found = 0
    for seed in range(60):
        one, _ = copies(seed)
        better = one + np.random.default_rng(seed).normal(0.05, 0.15, one.shape)
        found += paired(better - one, seed=seed, resamples=300, permutations=299)[0].p <= 0.05
    assert found >= 55


def test_seeds_that_do_not_differ_add_nothing() -> None:
    rng = np.random.default_rng(0)
    before, after = rng.normal(size=300), rng.normal(0.2, 1, 300)
    spread = seed_spread(np.stack([after] * 3), np.stack([before] * 3), resamples=4000)
    assert spread.both.high - spread.both.low == pytest.approx(spread.users.high - spread.users.low, rel=0.06)
    assert spread.by_seed == pytest.approx([(after - before).mean()] * 3)


def test_seeds_that_differ_widen_the_interval() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(2, 4000)) * 0.1
    luck = np.array([[-0.3], [0.0], [0.3]])
    spread = seed_spread(noise[0] + luck, noise[1] - luck)
    assert spread.users.high - spread.users.low < 0.02
    assert spread.both.high - spread.both.low > 0.3
    assert spread.by_seed == pytest.approx([-0.6, 0.0, 0.6], abs=0.01)
    assert spread.users.mean == spread.both.mean == pytest.approx(0.0, abs=0.01)


def test_the_interval_over_users_and_seeds_covers_the_truth() -> None:
    """Another training on other users: the interval over both holds its mean as often as promised, or nearly.

    With four seeds a side a bootstrap knows little of their spread, and is too short by a known amount; the interval
    over users alone misses far more often.
    """
    hits = alone = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        users, luck = rng.normal(0, 1, 200), rng.normal(0, 0.1, (2, 4, 1))
        after, before = (users + luck[i] + rng.normal(0, 0.5, (4, 200)) + 0.2 * (i == 0) for i in range(2))
        spread = seed_spread(after, before, seed=seed, resamples=400)
        hits += spread.both.low <= 0.2 <= spread.both.high
        alone += spread.users.low <= 0.2 <= spread.users.high
    assert hits / 200 >= 0.85
    assert alone < hits
