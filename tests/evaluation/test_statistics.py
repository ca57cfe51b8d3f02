"""Bootstrap intervals against SciPy's own, their coverage, and pairing."""

import numpy as np
import pytest
from scipy.stats import bootstrap

from crossrec.evaluation import statistics
from crossrec.evaluation.statistics import Interval, mean_intervals, paired


def test_each_metric_gets_what_scipy_gives_it_alone() -> None:
    values = np.random.default_rng(0).exponential(size=(3, 80))
    for row, found in zip(values, mean_intervals(values, seed=4, resamples=500), strict=True):
        alone = bootstrap(
            (row,), np.mean, n_resamples=500, confidence_level=0.95, method="percentile", rng=np.random.default_rng(4)
        ).confidence_interval
        assert found.mean == pytest.approx(row.mean())
        assert (found.low, found.high) == (pytest.approx(alone.low), pytest.approx(alone.high))


def test_coverage_is_about_nominal() -> None:
    rng = np.random.default_rng(1)
    hits = above = 0
    for sim in range(300):
        interval = mean_intervals(rng.normal(0.3, 1, (1, 60)), seed=sim, resamples=300)[0]
        hits += interval.low <= 0.3 <= interval.high
        above += interval.low > 0.3
    # 95 % nominal, a little less for 60 users; 300 simulations have a standard error of 1.3 points.
    assert 0.89 <= hits / 300 <= 0.98
    assert 0.005 <= above / 300 <= 0.06  # and both sides have their share


def test_width_is_that_of_the_normal_theory() -> None:
    values = np.random.default_rng(2).normal(0, 2, (1, 1000))
    found = mean_intervals(values, resamples=4000)[0]
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * values.std() / 1000**0.5, rel=0.06)


def test_users_with_nan_anywhere_are_left_out() -> None:
    values = np.random.default_rng(3).normal(size=(2, 50))
    holes = np.concatenate([values, np.full((2, 2), np.nan)], axis=1)
    holes[0, 50] = 1e6  # the other metric of this user is NaN: it must not count
    assert mean_intervals(holes, seed=1) == mean_intervals(values, seed=1)


def test_metrics_are_resampled_together() -> None:
    rng = np.random.default_rng(4)
    one = rng.normal(size=200)
    # A constant shift has no uncertainty when paired, whatever the spread of both sides.
    values = np.stack([one, one + 0.25, (one + 0.25) - one])
    first, second, difference = mean_intervals(values)
    assert difference == Interval(pytest.approx(0.25), pytest.approx(0.25), pytest.approx(0.25))
    assert (second.low - first.low, second.high - first.high) == (pytest.approx(0.25), pytest.approx(0.25))
    assert first.high - first.low > 0.2


def test_the_seed_decides_and_batches_do_not() -> None:
    values = np.random.default_rng(5).normal(size=(2, 40))
    assert mean_intervals(values, seed=1) == mean_intervals(values, seed=1)
    assert mean_intervals(values, seed=1) != mean_intervals(values, seed=2)
    # So many metrics that few resamples fit in memory at once: the intervals of the first two stay.
    many = np.concatenate([values, np.random.default_rng(6).normal(size=(900, 40))])
    for one, other in zip(mean_intervals(many, seed=1)[:2], mean_intervals(values, seed=1), strict=True):
        assert (one.low, one.high) == (pytest.approx(other.low), pytest.approx(other.high))


def test_fewer_than_two_users_have_no_interval() -> None:
    one = mean_intervals(np.array([[0.5], [0.25]]))
    assert [i.mean for i in one] == [0.5, 0.25]
    assert np.isnan([[i.low, i.high] for i in one]).all()
    nobody = mean_intervals(np.full((1, 3), np.nan))[0]
    assert np.isnan([nobody.mean, nobody.low, nobody.high]).all()
    assert not nobody.positive
    assert not nobody.negative


def test_differences_that_are_all_the_same_have_no_effect_size() -> None:
    found = paired(np.full((1, 35), 0.1))[0]
    assert np.isnan(found.effect)


def test_people_without_a_difference_change_no_p() -> None:
    rng = np.random.default_rng(3)
    some = rng.normal(0.2, 1, (2, 60))
    many = np.concatenate([some, np.zeros((2, 300))], axis=1)
    assert [one.p for one in paired(many)] == [one.p for one in paired(some)]
    assert [one.p for one in paired(np.zeros((2, 30)))] == [1.0, 1.0]


def test_signs() -> None:
    assert [Interval(1, 0.1, 2).positive, Interval(1, 0, 2).positive, Interval(1, 0.1, 2).negative] == [
        True,
        False,
        False,
    ]
    assert [Interval(-1, -2, -0.1).negative, Interval(-1, -2, 0).negative] == [True, False]


def test_what_is_kept_of_a_resampling_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of few people, and of so many that a part of the resamples is worked on at a time."""
    many = np.random.default_rng(8).exponential(size=(4, 3000))

    def asked() -> list[Interval]:
        return [one for users in (2, 299, 300, 3000, 300) for one in mean_intervals(many[:, :users], seed=3)]

    found = asked()
    monkeypatch.setattr(statistics, "KEPT_FEW", 0)
    monkeypatch.setattr(statistics, "KEPT_MANY", 0)
    for one, other in zip(found, asked(), strict=True):
        assert (one.low, one.high) == pytest.approx((other.low, other.high), rel=1e-12)
