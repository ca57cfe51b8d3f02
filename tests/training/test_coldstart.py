"""Recipes for cold users: what they learn, what they refuse, and that nothing hidden reaches them."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from crossrec.config import from_dict
from crossrec.data.histories import Histories
from crossrec.data.pair import Domain, DomainPair, EventVectors
from crossrec.data.split import Split, _split, cold_user
from crossrec.errors import CrossrecError
from crossrec.models.content import Content
from crossrec.models.recommender import Recommender
from crossrec.training.job import Job
from crossrec.training.mapping import rmse
from crossrec.training.recipes import find_recipe
from crossrec.training.reviews import mean_vectors

MakePair = Callable[..., DomainPair]
RECIPES = (
    "user-knn",
    "content",
    "biases",
    "emcdr",
    "ptupcdr",
    "collective-factors",
    "racrec",
    "autoencoder",
    "ensemble",
)
RATERS = ("biases", "emcdr", "ptupcdr", "collective-factors")
SHORT: dict[str, dict[str, Any]] = {
    "emcdr": {"factors": 3, "ridge": 1.0},
    "ptupcdr": {"factors": 3, "ridge": 1.0, "epochs": 2, "batch_size": 64},
    "collective-factors": {"factors": 3, "ridge": 5.0},
    "content": {"components": 3},
    "autoencoder": {"components": 3, "hidden": 6, "epochs": 2, "batch_size": 32, "input_dropout": 0.0},
    "ensemble": {"components": 3, "hidden": 6, "epochs": 2, "batch_size": 32, "encoder": "static"},
    "racrec": {"components": 3, "taste_dim": 2, "most_reviews": 4, "epochs": 2, "batch_size": 64},
}
MLP = {"factors": 3, "ridge": 1.0, "mapping": "mlp", "epochs": 2}


@pytest.fixture
def pair(rated_pair: MakePair, with_words: Callable[[DomainPair], DomainPair]) -> DomainPair:
    return with_words(rated_pair(0, users=120, n_items=25, longest=10, fewest=1))


def held_out(pair: DomainPair) -> Split:
    return _split(pair, "cold-user", 0, *cold_user(pair, 0, share=0.2))


def train(name: str, pair: DomainPair, split: Split, seed: int = 0, settings: Any = None) -> Recommender:
    recipe = find_recipe(name)
    config = from_dict(recipe.config, SHORT.get(name, {}) if settings is None else settings)
    return recipe.train(Job(pair, split, config, seed, lambda r: {"ndcg@10": 0.0}))[0]


def same(one: Recommender, other: Recommender) -> bool:
    (about, arrays), (others, more) = one.state(), other.state()
    return about == others and all(np.array_equal(arrays[k], more[k]) for k in arrays | more)


@pytest.mark.parametrize("name", RECIPES)
def test_the_seed_repeats_a_training_and_leaves_the_global_generator_alone(name: str, pair: DomainPair) -> None:
    split = held_out(pair)
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    one = train(name, pair, split)
    assert torch.equal(torch.rand(2), expected)
    assert same(one, train(name, pair, split))
    if name in ("emcdr", "ptupcdr", "collective-factors", "autoencoder"):
        assert not same(one, train(name, pair, split, seed=1))


def hidden(domain: Domain, users: np.ndarray) -> np.ndarray:
    return np.isin(np.repeat(np.arange(len(domain.counts)), domain.counts), users)


@pytest.mark.parametrize(("name", "settings"), [*((name, None) for name in RECIPES), ("emcdr", MLP)])
def test_nothing_of_a_held_out_user_reaches_a_model(name: str, settings: Any, pair: DomainPair) -> None:
    """Other stars, other items and other words of held-out people in the target domain: the same model.

    What is trained in epochs is stopped by the validation users, and an ensemble is weighed by them, so only the test
    users are changed for it.
    """
    split = held_out(pair)
    stops = name in ("ptupcdr", "ensemble") or settings is not None
    users = split.test.user if stops else np.concatenate([split.test.user, split.valid.user])
    target, vectors = pair.target, pair.vectors
    assert target.ratings is not None
    assert vectors is not None
    there = hidden(target, users)
    assert there.sum() > 30
    other = dataclasses.replace(
        pair,
        target=dataclasses.replace(
            target,
            ratings=np.where(there, 6 - target.ratings, target.ratings).astype(np.float32),
            items=np.where(there, target.n_items + 1 - target.items, target.items).astype(np.int32),
        ),
        vectors=dataclasses.replace(
            vectors, rows=vectors.rows | {"target": np.where(there, vectors.rows["source"][0], vectors.rows["target"])}
        ),
    )
    assert same(train(name, pair, split, settings=settings), train(name, other, split, settings=settings))
    # And the same change to people of the training part is noticed.
    known = np.setdiff1d(np.flatnonzero(pair.overlap), np.concatenate([split.test.user, split.valid.user]))
    seen = hidden(target, known)
    changed = dataclasses.replace(
        pair,
        target=dataclasses.replace(
            target,
            ratings=np.where(seen, 6 - target.ratings, target.ratings).astype(np.float32),
            items=np.where(seen, target.n_items + 1 - target.items, target.items).astype(np.int32),
        ),
    )
    assert not same(train(name, pair, split, settings=settings), train(name, changed, split, settings=settings))


@pytest.mark.parametrize("name", RATERS)
def test_data_without_stars_is_one_sentence(name: str, pair: DomainPair) -> None:
    split = held_out(pair)
    bare = dataclasses.replace(pair, target=dataclasses.replace(pair.target, ratings=None))
    with pytest.raises(CrossrecError, match="The Target domain of 'nowhere' has no ratings to learn stars from"):
        train(name, bare, split)
    if name != "biases":
        bare = dataclasses.replace(pair, source=dataclasses.replace(pair.source, ratings=None))
        with pytest.raises(CrossrecError, match="The Source domain of 'nowhere' has no ratings"):
            train(name, bare, split)


@pytest.mark.parametrize("name", ["user-knn", "emcdr", "ptupcdr"])
def test_nobody_in_both_domains_is_one_sentence(name: str, pair: DomainPair) -> None:
    split = held_out(pair)
    alone = dataclasses.replace(split, source_train_end=np.where(split.target_train_end > 0, 0, split.source_train_end))
    with pytest.raises(CrossrecError, match="needs people with training events in both domains"):
        train(name, pair, alone)


def test_no_words_is_one_sentence(pair: DomainPair) -> None:
    vectors = pair.vectors
    assert vectors is not None
    parts = {"rows": vectors.rows, "titles": vectors.titles}
    nothing = {name: {k: np.full_like(v, -1) for k, v in part.items()} for name, part in parts.items()}
    with pytest.raises(CrossrecError, match="neither review texts nor titles"):
        train("content", dataclasses.replace(pair, vectors=dataclasses.replace(vectors, **nothing)), held_out(pair))


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("emcdr", {}),
        ("emcdr", {"mapping": "mlp", "epochs": 30}),
        ("collective-factors", {}),
        ("ptupcdr", {"epochs": 10, "batch_size": 64}),
        ("ptupcdr", {"epochs": 10, "batch_size": 64, "factors": 2, "meta_hidden": 8}),
    ],
)
def test_generosity_carries_over(name: str, settings: dict[str, Any], random_pair: MakePair) -> None:
    """People who give five stars or two in both domains: a bridge sees it, and biases of a cold user cannot."""
    pair = random_pair(1, users=150, longest=10, fewest=4, timed=False)
    generous = np.random.default_rng(0).random(pair.n_users) < 0.5

    def rated(domain: Domain) -> Domain:
        owner = np.repeat(generous, domain.counts)
        return dataclasses.replace(domain, ratings=np.where(owner, 5, 2).astype(np.float32))

    pair = dataclasses.replace(pair, source=rated(pair.source), target=rated(pair.target))
    split = held_out(pair)
    plain = rmse(train("biases", pair, split), pair, split.test)
    assert plain > 1.3
    assert rmse(train(name, pair, split, settings=settings), pair, split.test) < 0.5 * plain


def test_words_find_the_item_that_they_are_about(make_pair: MakePair) -> None:
    """Source reviews and target titles of two topics; popularity says nothing."""
    source = [[1 + u % 2] for u in range(20)]
    target = [[1 + u % 2] for u in range(20)]
    pair = make_pair(source, target, n_source=2, n_target=4)
    rng = np.random.default_rng(0)
    topics = np.eye(4)[[0, 1]] * 4
    table = topics[[*(u % 2 for u in range(20)), 0, 1, 0, 1, 0, 1]] + rng.normal(0, 0.1, (26, 4))
    vectors = EventVectors(
        "by hand", "static", table.astype(np.float16),
        {"source": np.arange(20), "target": np.full(20, -1)},
        {"source": np.array([-1, 24, 25]), "target": np.array([-1, 20, 21, 22, 23])},
    )  # fmt: skip
    pair = dataclasses.replace(pair, vectors=vectors)
    split = _split(pair, "cold-user", 0, *cold_user(pair, 0))
    model = train("content", pair, split, settings={"components": 2, "prior": 0.0})
    assert isinstance(model, Content)
    assert (model.encoder, model.most_reviews) == ("minilm", 15)
    scores = model.score(split.test.histories(pair))
    for row, user in enumerate(split.test.user):
        topic = user % 2
        assert set(np.argsort(-scores[row, 1:])[:2] % 2) == {topic}


def test_mean_vectors_are_those_of_the_catalogue_in_any_chunks(pair: DomainPair) -> None:
    split = held_out(pair)
    whole = mean_vectors(pair, split, "target")
    np.testing.assert_array_equal(mean_vectors(pair, split, "target", chunk=4), whole)
    vectors = pair.vectors
    assert vectors is not None
    assert not whole[0].any()
    item = 3
    starts = pair.target.offsets[:-1]
    trained = [e for start, n in zip(starts, split.target_train_end, strict=True) for e in range(start, start + n)]
    events = [e for e in trained if pair.target.items[e] == item]
    when = pair.target.times
    assert when is not None
    newest = sorted(events, key=lambda e: when[e])[-pair.most_reviews :]
    rows = [vectors.titles["target"][item], *vectors.rows["target"][newest]]
    if len(events) <= pair.most_reviews:  # with ties at the cut, which ones are read is the reader's affair
        np.testing.assert_allclose(whole[item], vectors.table[rows].astype("f4").mean(0), rtol=1e-3, atol=1e-3)


def test_rmse_of_hidden_stars_by_hand(pair: DomainPair) -> None:
    split = held_out(pair)
    model = train("biases", pair, split)
    assert pair.target.ratings is not None
    misses = []
    for user in split.test.user:
        for event in range(pair.target.offsets[user], pair.target.offsets[user + 1]):
            stars = pair.target.ratings[event]
            if not np.isnan(stars):
                told = model.rate(Histories.of([[]], [[]]), pair.target.items[[event]].astype(np.int64))[0]
                misses.append(min(5, max(1, told)) - stars)
    assert rmse(model, pair, split.test) == pytest.approx(np.sqrt(np.mean(np.square(misses))), rel=1e-5)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("user-knn", {"neighbours": 0}, r"neighbours \(0\) must be positive"),
        ("content", {"shrinkage": 2}, r"shrinkage \(2.0\)"),
        ("content", {"components": 0}, r"components \(0\)"),
        ("biases", {"item_damping": -1}, r"item_damping \(-1.0\)"),
        ("emcdr", {"mapping": "cubic"}, r"mapping \('cubic'\) must be linear or mlp"),
        ("emcdr", {"ridge": 0}, r"ridge \(0.0\)"),
        ("ptupcdr", {"meta_hidden": 0}, r"meta_hidden \(0\)"),
        ("collective-factors", {"factors": 0}, r"factors \(0\)"),
        ("collective-factors", {"carry_ridge": 0}, r"carry_ridge \(0.0\)"),
        ("collective-factors", {"taken": -1}, r"taken \(-1.0\) must not be negative"),
        ("ptupcdr", {"epochs": 0}, r"epochs \(0\)"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(name: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(CrossrecError, match=message):
        from_dict(find_recipe(name).config, settings)
