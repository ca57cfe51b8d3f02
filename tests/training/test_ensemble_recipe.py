"""The recipe of the ensemble: its members, and weights that the validation people choose."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize

from crossrec.config import from_dict
from crossrec.data.histories import Histories
from crossrec.data.pair import DomainPair
from crossrec.data.ratings import Ratings
from crossrec.data.split import Split, _split, cold_user, split_unstored
from crossrec.errors import CrossrecError
from crossrec.evaluation.protocol import quick
from crossrec.models.ensemble import POOLS, Ensemble
from crossrec.models.recommender import Floats, Recommender
from crossrec.models.simple import Oracle, Popularity
from crossrec.training import ensemble as recipe
from crossrec.training.ensemble import (
    EnsembleConfig,
    candidates,
    ensemble,
    fit_stars,
    fit_weights,
    held_weights,
    star_members,
    weighed,
)
from crossrec.training.job import Job
from crossrec.training.loop import Control

MakePair = Callable[..., DomainPair]
SHORT = {"hidden": 6, "epochs": 3, "batch_size": 32, "components": 3, "encoder": "static"}


def job(pair: DomainPair, split: Split | None = None, seed: int = 0, **settings: Any) -> Job:
    split = split or _split(pair, "cold-user", 0, *cold_user(pair, 0, share=0.2))
    config = from_dict(EnsembleConfig, SHORT | settings)
    return Job(pair, split, config, seed, lambda r: quick(r, pair, split))


def noise(pair: DomainPair, seed: int) -> Recommender:
    """Scores of people drawn once."""
    shape = pair.n_users, pair.target.n_items + 1
    rng = np.random.default_rng(seed)
    return Oracle(rng.normal(size=shape).astype("f4"), np.zeros((shape[1], shape[1]), np.float32))


def truth(pair: DomainPair, split: Split, people: slice) -> Recommender:
    """Knows what some of the validation people took, and of the others nothing."""
    scores: Floats = np.random.default_rng(5).random((pair.n_users, pair.target.n_items + 1)).astype("f4")
    for user in split.valid.user[people]:
        scores[user, pair.target.sequence(int(user))] += 9
    return Oracle(scores, np.zeros((scores.shape[1],) * 2, np.float32))


@pytest.mark.parametrize("kind", ["cold", "next"])
def test_its_ndcg_is_that_of_the_evaluation(random_pair: MakePair, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    pair = random_pair(2, users=150, n_items=40, fewest=1, longest=14)
    work = job(pair, None if kind == "cold" else split_unstored(pair))
    member = noise(pair, 1)
    for most in (200, 12):  # of 40 items, all and some
        monkeypatch.setattr(recipe, "TOP", most)
        monkeypatch.setattr(recipe, "BLOCK", 700)
        asked = candidates(work, {"noise": member, "other": noise(pair, 2)}, "ranks")
        assert asked.ndcg(asked.said[0]) == pytest.approx(work.validate(member)["ndcg@10"])
        assert asked.there.sum(axis=1).max() <= min(40, 2 * most)
        assert len(asked.number) == len(work.split.valid)


def test_of_more_people_than_fit_the_memory_some_are_taken(
    random_pair: MakePair, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = random_pair(2, users=150, fewest=1)
    monkeypatch.setattr(recipe, "CELLS", 7 * recipe.TOP)
    asked = candidates(job(pair), {"noise": noise(pair, 1)}, "ranks")
    assert asked.said.shape[:2] == (1, 7)


@pytest.mark.parametrize("seed", range(4))
def test_the_weighted_sum_is_never_worse_than_its_best_member(random_pair: MakePair, seed: int) -> None:
    pair = random_pair(seed, users=100, n_items=40, fewest=1)
    work = job(pair)
    members = {f"noise {s}": noise(pair, s) for s in range(3)} | {
        "popularity": Popularity(work.split.target_counts(pair))
    }
    weights, best = fit_weights(work, members)
    assert (weights >= 0).all()
    together = work.validate(Ensemble(members, weights.tolist()))["ndcg@10"]
    assert together == pytest.approx(best)
    assert together >= max(work.validate(Ensemble(members, row))["ndcg@10"] for row in np.eye(4).tolist()) - 1e-9


@pytest.mark.parametrize("seed", range(3))
def test_of_two_pools_the_better_is_kept(random_pair: MakePair, seed: int) -> None:
    work = job(random_pair(seed, users=100, n_items=40, fewest=1))
    members = {f"noise {s}": noise(work.pair, s) for s in range(2)} | {
        "popularity": Popularity(work.split.target_counts(work.pair))
    }
    best = {pool: fit_weights(work, members, pool)[1] for pool in POOLS}
    found = weighed(work, members)
    assert best[found.pool] == max(best.values())
    assert work.validate(found)["ndcg@10"] == pytest.approx(max(best.values()))


def test_who_knows_other_people_is_taken_in_and_who_knows_nothing_is_not(random_pair: MakePair) -> None:
    pair = random_pair(1, users=300, n_items=60, fewest=2)
    work = job(pair)
    half = len(work.split.valid) // 2
    members = {"first": truth(pair, work.split, slice(half + 3)), "rest": truth(pair, work.split, slice(half, None))}
    weights, _ = fit_weights(work, members | {"alike": Popularity(np.ones(61, np.int64))})
    assert weights[0] >= 1
    assert weights[1] > 0
    assert weights[2] == 0
    assert fit_weights(job(pair, rounds=0), members)[0].tolist() == [1, 0]


def test_members_are_those_that_the_data_allows(
    random_pair: MakePair, with_words: Callable[[DomainPair], DomainPair]
) -> None:
    pair = random_pair(0, users=100, n_items=25, longest=10, fewest=1)
    names = ["autoencoder", "popularity", "popular-lately", "linear-map", "user-knn"]
    plain, fitted = ensemble(job(pair))
    assert isinstance(plain, Ensemble)
    assert list(plain.members) == names
    assert 1 <= fitted.epochs <= 3
    told = ensemble(job(with_words(pair)))[0]
    assert isinstance(told, Ensemble)
    assert list(told.members) == [*names, "content"]
    work = job(pair)
    alone = dataclasses.replace(work.split, source_train_end=np.zeros_like(work.split.source_train_end))
    bare = ensemble(job(pair, alone))[0]
    assert isinstance(bare, Ensemble)
    assert list(bare.members) == names[:3]
    scores = bare.score(Histories.of([[], [3]], [[], [2]]))
    assert np.isfinite(scores[:, 1:]).all()


def test_the_weights_of_stars_have_the_least_absolute_error_and_are_held_to_the_usual_ones() -> None:
    rng = np.random.default_rng(0)
    told = rng.normal(size=(2000, 3))
    stars = told @ [0.7, 0.3, -0.5] + rng.laplace(0, 0.3, 2000)
    usual = np.array([0.0, 1.0, 0.0])

    def cost(weights: Any, held: float) -> float:
        return float(np.abs(told @ weights - stars).sum() + held * ((weights - usual) ** 2).sum() / 2)

    for held in (1e-6, 300.0):
        found = held_weights(told, stars, usual, held, rounds=60)
        assert found[2] == 0  # it would be negative
        best = minimize(cost, [0.5, 0.5, 0.1], (held,), method="Powell", bounds=[(0, 2)] * 3, options={"xtol": 1e-6})
        assert cost(found, held) < best.fun * 1.001
        np.testing.assert_allclose(found, best.x, atol=0.02)
    np.testing.assert_allclose(held_weights(told, stars, usual, held=1e9), usual, atol=1e-4)


def test_stars_are_told_where_both_domains_have_them(rated_pair: MakePair) -> None:
    pair = rated_pair(2, users=150, longest=10, fewest=2)
    events: list[dict[str, Any]] = []
    work = dataclasses.replace(job(pair), control=Control(events.append))
    found, fitted = ensemble(work)
    assert isinstance(found, Ensemble)
    assert found.stars is not None
    assert list(found.stars.members) == ["biases", "emcdr", "ptupcdr", "collective-factors"]
    mean = Ratings.training(pair, work.split).mean
    assert found.stars.offset == pytest.approx(mean * (1 - sum(found.stars.weights)))
    # It ranks as it does without stars, and only the autoencoder is told of.
    bare = dataclasses.replace(
        pair,
        source=dataclasses.replace(pair.source, ratings=None),
        target=dataclasses.replace(pair.target, ratings=None),
    )
    silent = ensemble(job(bare))[0]
    assert not silent.rates
    people = pair.histories(np.arange(20), pair.source.counts[:20], pair.target.counts[:20] // 2)
    np.testing.assert_array_equal(found.score(people), silent.score(people))
    assert [event["epoch"] for event in events if event["event"] == "epoch"] == list(range(1, fitted.epochs + 1))


def test_a_checkpoint_is_of_the_autoencoder_alone(rated_pair: MakePair, tmp_path: Path) -> None:
    pair = rated_pair(2, users=150, longest=10, fewest=2)
    once = dataclasses.replace(job(pair), control=Control(checkpoint=tmp_path / "kept"))
    one = ensemble(once)[0]
    again = ensemble(once)[0]  # goes on from the checkpoint, which is that of a finished autoencoder
    assert isinstance(one, Ensemble)
    (about, arrays), (others, more) = one.state(), again.state()
    assert about == others
    assert all(np.array_equal(arrays[key], more[key]) for key in arrays | more)


@pytest.mark.parametrize("without", ["source", "target", "valid"])
def test_without_stars_on_one_side_nobody_tells_them(rated_pair: MakePair, without: str) -> None:
    pair = rated_pair(3, users=100, longest=10, fewest=2)
    work = job(pair)
    if without == "valid":
        stars = pair.target.ratings
        assert stars is not None
        hidden = work.split.valid.hidden(pair)[0]
        stars = stars.copy()
        stars[hidden] = np.nan
        pair = dataclasses.replace(pair, target=dataclasses.replace(pair.target, ratings=stars))
    else:
        pair = dataclasses.replace(pair, **{without: dataclasses.replace(pair.domain(without), ratings=None)})
    work = dataclasses.replace(work, pair=pair)
    assert star_members(work) == {}
    assert fit_stars(work, {}) is None


def test_maps_that_would_fill_the_memory_are_left_out(rated_pair: MakePair, monkeypatch: pytest.MonkeyPatch) -> None:
    work = job(rated_pair(3, users=100, longest=10, fewest=2))
    monkeypatch.setattr("crossrec.training.ensemble.PADDED", 10)
    members = star_members(work)
    assert list(members) == ["biases", "collective-factors"]
    found = fit_stars(work, members)
    assert found is not None
    assert found.weights[1] > 0.5


def test_the_best_member_of_stars_weighs_most(rated_pair: MakePair) -> None:
    pair = rated_pair(4, users=200, longest=10, fewest=4, timed=False)
    generous = np.random.default_rng(0).random(pair.n_users) < 0.5
    domains = {
        which: dataclasses.replace(
            pair.domain(which), ratings=np.where(np.repeat(generous, pair.domain(which).counts), 5, 2).astype("f4")
        )
        for which in ("source", "target")
    }
    work = job(dataclasses.replace(pair, **domains))
    members = star_members(work)
    found = fit_stars(work, members)
    assert found is not None
    weights = dict(zip(found.members, found.weights, strict=True))
    assert weights["biases"] == min(weights.values())
    questions = work.split.test
    events, owner = questions.hidden(work.pair)
    items = work.pair.target.items[events].astype(np.int64)
    told = found(questions.take(owner).histories(work.pair), items)
    assert np.abs(told - domains["target"].ratings[events]).mean() < 0.6


def test_a_part_of_the_people_will_do(random_pair: MakePair, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = random_pair(1, users=100, fewest=1)
    monkeypatch.setattr("crossrec.training.ensemble.CELLS", 5 * 16 * 2)
    found, _ = ensemble(job(pair))
    assert isinstance(found, Ensemble)
    assert found.weights.max() >= 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"neighbours": 0}, r"neighbours \(0\)"), ({"ridge": 0}, r"ridge \(0.0\)"), ({"rounds": -1}, r"rounds \(-1\)")],
)
def test_numbers_that_make_no_sense_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(CrossrecError, match=message):
        from_dict(EnsembleConfig, settings)
