"""What was taken around a time: worked by hand, and without the event that is to be told."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from crossrec.data.histories import TODAY, Histories, pad
from crossrec.models.trend import CELLS, DAY, FLOOR, LEAST, Clock, Lately, Trend
from crossrec.models.unified import Unified, UnifiedConfig, UnifiedRecommender

WEEK = 7 * DAY
ITEMS = np.array([1, 1, 2, 3, 3, 3])
TIMES = np.array([0, 0, 0, 2, 2, 3]) * WEEK


def fitted(sides: str = "past", days: float = 7.0, parts: tuple[int, ...] = (0,)) -> Trend:
    trend = Trend.fit(TIMES, ITEMS, 5, parts, days, sides)
    assert trend is not None
    return trend


def test_shares_are_those_of_the_weeks_before() -> None:
    around, overall, one = fitted().shares()
    e = np.exp(-np.arange(4.0))
    assert around.shape == (4, 5)
    np.testing.assert_allclose(around[0], [0, 2 / 3, 1 / 3, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(around[1], [0, 2 / 3, 1 / 3, 0, 0], rtol=1e-6)
    felt = np.array([2 * e[2], e[2], 2.0])
    np.testing.assert_allclose(around[2, 1:4], felt / felt.sum(), rtol=1e-6)
    np.testing.assert_allclose(one[0, 2], 1 / felt.sum(), rtol=1e-6)
    np.testing.assert_allclose(overall, [0, 1 / 3, 1 / 6, 1 / 2, 0], rtol=1e-6)


def test_both_sides_see_what_came_after() -> None:
    around, *_ = fitted("both").shares()
    e = np.exp(-np.arange(4.0))
    felt = np.array([2.0, 1.0, 2 * e[2] + e[3]])
    np.testing.assert_allclose(around[0, 1:4], felt / felt.sum(), rtol=1e-6)


def test_what_comes_after_changes_nothing_of_the_past() -> None:
    later = np.append(TIMES, 3 * WEEK + 1)
    other = Trend.fit(later, np.append(ITEMS, 4), 5, (0,), 7.0, "past")
    assert other is not None
    np.testing.assert_array_equal(other.shares()[0][:3], fitted().shares()[0][:3])


def test_domains_have_shares_of_their_own() -> None:
    around, overall, _ = fitted(parts=(0, 3)).shares()
    np.testing.assert_allclose(overall, [0, 2 / 3, 1 / 3, 1, 0], rtol=1e-6)
    np.testing.assert_allclose(around[3, 1:3].sum(), 1, rtol=1e-6)
    np.testing.assert_allclose(around[3, 3:].sum(), 1, rtol=1e-6)


def test_a_rise_is_the_log_of_how_much_more_and_nothing_is_known_of_what_nobody_took() -> None:
    rise = fitted().rises()
    around, overall, _ = fitted().shares()
    want = np.log((around[2, 3] / overall[3] + FLOOR) / (1 + FLOOR))
    assert rise[2, 3] == pytest.approx(want, rel=1e-5)
    assert rise[0, 3] == pytest.approx(np.log(FLOOR / (1 + FLOOR)), rel=1e-5)
    assert (rise[:, 4] == 0).all()
    assert (rise[:, 0] == 0).all()


def test_times_before_and_after_count_as_the_first_and_the_last_week() -> None:
    clock = fitted().clock
    assert clock.bucket(np.array([-5, 0, WEEK - 1, WEEK, 3 * WEEK, 99 * WEEK, TODAY])).tolist() == [0, 0, 0, 1, 3, 3, 3]


def test_many_items_make_wide_buckets() -> None:
    rows = 3_000_000
    trend = Trend.fit(np.array([0, 1000 * WEEK]), np.array([1, 2]), rows, (0,), 30.0, "past")
    assert trend is not None
    assert trend.clock.width > LEAST
    assert trend.clock.buckets * rows <= CELLS + rows


def test_nothing_can_be_said_where_time_stands_still() -> None:
    assert Trend.fit(np.array([5, 5]), np.array([1, 2]), 3, (0,), 30.0, "past") is None
    assert Trend.fit(np.zeros(0, np.int64), np.zeros(0, np.int64), 3, (0,), 30.0, "past") is None


def test_a_clock_says_what_is_wrong() -> None:
    with pytest.raises(ValueError, match=r"sides \('left'\) must be one of past, both"):
        Clock(0, 1, 1, 1.0, "left")
    with pytest.raises(ValueError, match=r"reach \(0\) must be positive"):
        Clock(0, 1, 1, 0, "past")


def people(source: list[list[int]], target: list[list[int]]) -> Histories:
    """Source and target events by their weeks alone; each is of item 1."""
    ones = [pad([[1] * len(row) for row in rows]) for rows in (source, target)]
    weeks = [pad([[week * WEEK for week in row] for row in rows]) for rows in (source, target)]
    return Histories(*ones, source_times=weeks[0], target_times=weeks[1])


def test_lately_asks_about_the_last_event_or_about_all_of_them() -> None:
    trend = fitted()
    around, overall, _ = trend.shares()
    table = around + FLOOR * overall
    asked = people([[1, 3], [2], []], [[2], [], []])
    last, whole = (Lately(trend, memory).score(asked) for memory in ("last", "all"))
    np.testing.assert_allclose(last[:, 1:], table[[3, 2, 3], 1:], rtol=1e-6)  # nobody's time is today
    np.testing.assert_allclose(whole[0, 1:], table[[1, 3, 2], 1:].mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(whole[1:, 1:], table[[2, 3], 1:], rtol=1e-6)


def test_without_times_it_is_today() -> None:
    bare = Histories.of([[1]], [[1]])
    assert bare.last.tolist() == [TODAY]
    np.testing.assert_array_equal(Lately(fitted(), "last").score(bare), Lately(fitted(), "all").score(bare))


def test_the_last_event_is_that_of_either_domain() -> None:
    asked = people([[1, 3], [2]], [[2], [5]])
    assert (asked.last // WEEK).tolist() == [3, 5]
    with pytest.raises(ValueError, match=r"times \(1, 2\) must have the shape of their items \(1, 1\)"):
        dataclasses.replace(Histories.of([[1]], [[1]]), source_times=np.zeros((1, 2), np.int64))


def test_it_is_the_same_after_it_was_kept() -> None:
    about, arrays = fitted("both", parts=(0, 3)).state()
    again = Trend.from_state(about, arrays)
    np.testing.assert_array_equal(again.rises(), fitted("both", parts=(0, 3)).rises())


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["past", "both"]))
def test_the_rise_without_an_event_is_that_of_data_without_it(seed: int, sides: str) -> None:
    rng = np.random.default_rng(seed)
    n_source, rows = 3, 8
    items, weeks = rng.integers(1, rows, 60), rng.integers(0, 6, 60)
    weeks[:2] = 0, 5
    trend = Trend.fit(weeks * WEEK, items, rows, (0, n_source + 1), 10.0, sides)
    assert trend is not None
    net = Unified(UnifiedConfig(dim=4, taste=0, trend=sides), n_source, np.zeros((rows, 0), np.float32), trend=trend)
    one = int(rng.integers(60))
    when = torch.arange(6)
    item, own = torch.full((6,), int(items[one])), torch.full((6,), int(weeks[one]))
    got = net.risen_without(when, item, torch.zeros(6, dtype=torch.bool), own).detach()
    # Shares stay those of all events, so that only the item's own count changes.
    around, overall, per = trend.shares()
    without = trend.counts.toarray()
    without[weeks[one], items[one]] -= 1
    left = (trend.clock.felt @ csr_array(without)) * per[int(items[one] > n_source)][:, None]
    want = np.log((left[:, items[one]] / overall[items[one]] + FLOOR) / (1 + FLOOR))
    np.testing.assert_allclose(got.numpy(), 0.5 * want, atol=2e-3)
    assert np.isfinite(around).all()


def test_the_unified_encoder_adds_the_rise_of_the_domain_that_is_asked_for() -> None:
    rng = np.random.default_rng(0)
    n_source, rows = 3, 8
    trend = Trend.fit(rng.integers(0, 9, 80) * WEEK, rng.integers(1, rows, 80), rows, (0, n_source + 1), 20.0, "past")
    assert trend is not None
    words = np.zeros((rows, 0), np.float32)
    net = Unified(UnifiedConfig(dim=4, taste=3), n_source, words, np.ones(rows, np.int64), trend)
    with torch.no_grad():
        net.rise_weight.copy_(torch.tensor([[0.1, 0.2], [0.3, 0.4]]))
    asked = people([[1, 4], [2]], [[3], []])
    shown, rise = UnifiedRecommender(net).score(asked), trend.rises()
    with torch.no_grad():
        net.rise_weight.zero_()
    flat = UnifiedRecommender(net).score(asked)
    np.testing.assert_allclose(shown[0, 1:] - flat[0, 1:], 0.4 * rise[4, n_source + 1 :], atol=1e-5)  # known
    np.testing.assert_allclose(shown[1, 1:] - flat[1, 1:], 0.3 * rise[2, n_source + 1 :], atol=1e-5)  # a stranger
