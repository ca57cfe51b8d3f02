"""The recipe of popularity at the time: what it counts, what it chooses, and where it cannot be."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from crossrec.config import from_dict
from crossrec.data.pair import DomainPair
from crossrec.data.split import split_unstored
from crossrec.errors import CrossrecError
from crossrec.evaluation.protocol import quick
from crossrec.models.trend import DAY, Lately
from crossrec.training.ensemble import plain_members
from crossrec.training.job import Job
from crossrec.training.recipes import RECIPES
from crossrec.training.simple import PopularLatelyConfig, popular_lately

MakePair = Callable[..., DomainPair]
WEEKS = 60


@pytest.fixture(scope="module")
def fashion(make_pair: MakePair) -> DomainPair:
    """People who take, in each of three weeks of theirs, one of the three items of that week."""
    rng = np.random.default_rng(0)
    begin = rng.integers(1, WEEKS - 3, 300)
    weeks = begin[:, None] + np.arange(3)
    items = 3 * weeks + rng.integers(1, 4, weeks.shape)
    times = (weeks * 7 * DAY + rng.integers(0, DAY, weeks.shape)).tolist()
    return make_pair([[]] * 300, items.tolist(), [[]] * 300, times, n_source=1, n_target=3 * WEEKS + 3)


def job(pair: DomainPair, **settings: Any) -> Job:
    split = split_unstored(pair)
    return Job(pair, split, from_dict(PopularLatelyConfig, settings), 0, lambda r: quick(r, pair, split))


def test_where_goods_come_and_go_it_beats_popularity(fashion: DomainPair) -> None:
    work = job(fashion, sides="both")
    lately = quick(popular_lately(work)[0], fashion, work.split, "test")
    popular = quick(RECIPES["popularity"].train(work)[0], fashion, work.split, "test")
    assert lately["ndcg@10"] > 0.3
    assert popular["ndcg@10"] < 0.1


def test_what_ranks_the_validation_people_best_is_kept(fashion: DomainPair) -> None:
    work = job(fashion)
    found = popular_lately(work)[0]
    assert isinstance(found, Lately)
    best = quick(found, fashion, work.split)["ndcg@10"]
    for days in (7.0, 30.0, 90.0):
        for moments in ("last", "all"):
            other = popular_lately(job(fashion, days=days, moments=moments))[0]
            assert isinstance(other, Lately)
            assert (other.trend.clock.reach, other.moments) == (days * DAY, moments)
            assert quick(other, fashion, work.split)["ndcg@10"] <= best


def test_hidden_events_are_not_counted(fashion: DomainPair) -> None:
    work = job(fashion, days=30)
    found = popular_lately(work)[0]
    assert isinstance(found, Lately)
    assert found.trend.counts.sum() == work.split.target_train_end.sum()


def test_it_needs_times_and_several_of_them(fashion: DomainPair) -> None:
    bare = dataclasses.replace(fashion, target=dataclasses.replace(fashion.target, times=None))
    with pytest.raises(CrossrecError, match="Target has no times"):
        popular_lately(job(bare))
    assert fashion.target.times is not None
    still = dataclasses.replace(fashion, target=dataclasses.replace(fashion.target, times=fashion.target.times * 0 + 5))
    with pytest.raises(CrossrecError, match="All Target events are of one time"):
        popular_lately(job(still))


def test_an_ensemble_asks_it_where_there_are_times(fashion: DomainPair) -> None:
    config = from_dict(RECIPES["known-ensemble"].config, {})
    asked = dataclasses.replace(job(fashion), config=config)
    assert "popular-lately" in plain_members(asked)
    bare = dataclasses.replace(fashion, target=dataclasses.replace(fashion.target, times=None))
    assert "popular-lately" not in plain_members(dataclasses.replace(asked, pair=bare))


def test_settings_say_what_is_wrong() -> None:
    with pytest.raises(ValueError, match=r"sides \('left'\)"):
        PopularLatelyConfig(sides="left")
    with pytest.raises(ValueError, match=r"days \(-1\)"):
        PopularLatelyConfig(days=-1)
    with pytest.raises(ValueError, match=r"moments \('some'\)"):
        PopularLatelyConfig(moments="some")
