"""Collective factors against least squares that are written out, and what they find where it was planted."""

import numpy as np
import pytest

from crossrec.data.histories import Histories, pad
from crossrec.data.ratings import Ratings
from crossrec.models.collective import CollectiveFactors, shared_biases
from crossrec.models.factors import Factors

USERS, SOURCE, TARGET = 300, 40, 50


def ratings(seed: int, n_items: int, users: int = 30, n: int = 200) -> Ratings:
    rng = np.random.default_rng(seed)
    stars = rng.integers(1, 6, n).astype(np.float32)
    return Ratings(rng.integers(0, users, n), rng.integers(1, n_items + 1, n), stars, users, n_items)


def by_hand() -> CollectiveFactors:
    rng = np.random.default_rng(1)
    draw = lambda *shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731
    source = Factors(3.5, draw(6), draw(6, 2), 1.0, 2.0, 0.0)
    target = Factors(3.0, draw(8), draw(8, 2), 1.0, 4.0, 0.0)
    return CollectiveFactors(source, target, draw(6, 2), draw(2), 5.0, draw(4))


def test_shared_biases_are_the_least_squares_of_both_domains() -> None:
    one, two = ratings(0, 5), ratings(1, 7)
    items, others, user = shared_biases(one, two, damping=3.0)
    width = 6 + 8 + 30  # a column for each bias, and a row for each rating and each damping
    rows = np.zeros((400, width))
    rows[np.arange(200), one.items] = rows[np.arange(200, 400), 6 + two.items] = 1
    rows[np.arange(400), 14 + np.concatenate([one.users, two.users])] = 1
    rest = np.concatenate([one.stars - one.mean, two.stars - two.mean])
    expected = np.linalg.solve(rows.T @ rows + 3 * np.eye(width), rows.T @ rest)
    np.testing.assert_allclose(np.concatenate([items, others, user]), expected, atol=1e-4)


def test_a_person_is_a_ridge_regression_on_stars_and_on_what_was_taken() -> None:
    model = by_hand()
    items, stars = np.array([[0, 1, 2, 5], [0, 0, 0, 0]]), np.array([[np.nan, 5, 4, np.nan]] * 2, np.float32)
    rest = np.array([5, 4]) - 3.5 - model.source.item_bias[[1, 2]].astype(float)
    bias = rest.sum() / (2 + 2)
    q, y = model.source.vectors[[1, 2]].astype(float), model.takes.astype(float)
    told = y[[1, 2, 5]].sum(0) / np.sqrt(3) - model.usual
    p = np.linalg.solve(q.T @ q + 5 * y.T @ y + np.eye(2), q.T @ (rest - bias) + 5 * told)
    rows, columns = np.nonzero(items)
    found = model.fold_in(rows, items[rows, columns], stars[rows, columns], 2)
    np.testing.assert_allclose(found[0], [bias, 1, *p], rtol=1e-5)
    np.testing.assert_allclose(found[1], [0, 1, 0, 0], atol=1e-12)
    carried = bias * model.carry[0] + model.carry[1] + p @ model.carry[2:]
    cold = Histories(items, np.zeros((2, 0), np.int64), source_stars=stars)
    expected = 3.0 + model.target.item_bias[6] + p @ model.target.vectors[6] + carried
    assert model.rate(cold, np.array([6, 6]))[0] == pytest.approx(expected, rel=1e-5)
    # Nothing is made up for the one of whom nothing is known.
    assert model.rate(cold, np.array([6, 6]))[1] == pytest.approx(3.0 + model.target.item_bias[6], rel=1e-6)
    # What the formula misses of target stars, over their number and the damping, is added to all.
    warm = Histories(items, np.array([[6], [0]]), source_stars=stars, target_stars=np.array([[1], [np.nan]], "f4"))
    assert model.rate(warm, np.array([6, 6]))[0] == pytest.approx(expected + (1 - expected) / 5, rel=1e-4)


def planted(seed: int = 0, slope: float = 0.5) -> tuple[Ratings, Ratings, Ratings, np.ndarray]:
    """Source and target ratings, and hidden target ones of the last hundred people, who have no other; what was taken.

    A person is as generous in the target as `slope` times in the source, and half a star more where they took odd
    items; what they took is all odd or all even.
    """
    rng = np.random.default_rng(seed)
    mood, odd = rng.normal(0, 0.8, USERS), rng.random(USERS) < 0.5

    def domain(n_items: int, likes: np.ndarray, kind: bool) -> Ratings:
        people = np.repeat(np.arange(USERS), 12)
        items = (
            rng.integers(0, n_items // 2, len(people)) * 2
            + 1
            + (~odd[people] if kind else rng.random(len(people)) < 0.5)
        )
        item_mood = rng.normal(0, 0.4, n_items + 1)
        stars = 3 + likes[people] + item_mood[items] + rng.normal(0, 0.3, len(people))
        return Ratings(people, items.astype(int), stars.astype(np.float32), USERS, n_items)

    source = domain(SOURCE, mood, kind=True)
    target = domain(TARGET, slope * mood + np.where(odd, 0.5, -0.5), kind=False)
    known = target.users < USERS - 100
    parts = (Ratings(target.users[m], target.items[m], target.stars[m], USERS, TARGET) for m in (known, ~known))
    return source, *parts, odd


def asked(source: Ratings, hidden: Ratings) -> tuple[Histories, np.ndarray]:
    rows = [np.flatnonzero(source.users == user) for user in hidden.users]
    stars = np.stack([source.stars[row] for row in rows])
    return Histories(
        pad([source.items[row].tolist() for row in rows]), pad([[] for _ in rows]), source_stars=stars
    ), hidden.items


def miss(model: CollectiveFactors, source: Ratings, hidden: Ratings) -> float:
    return float(np.sqrt(np.mean((model.rate(*asked(source, hidden)) - hidden.stars) ** 2)))


def test_how_much_of_generosity_carries_over_is_learned_and_so_is_what_takes_tell() -> None:
    source, known, hidden, _ = planted()
    events = source.users, source.items, source.stars
    given = {"factors": 2, "ridge": 50.0, "carry_ridge": 1.0}
    blind = miss(CollectiveFactors.fit(source, known, events, **given | {"taken": 0.0}), source, hidden)
    model = CollectiveFactors.fit(source, known, events, **given)
    assert model.carry[0] == pytest.approx(0.5, abs=0.1)
    told = miss(model, source, hidden)
    spread = float(hidden.stars.std())
    assert told < 0.33 < 0.4 < blind < 0.5 < spread  # the noise is 0.3
    held = CollectiveFactors.fit(source, known, events, **given | {"carry_ridge": 1e9})
    np.testing.assert_allclose(held.carry, [1, 0, 0, 0], atol=1e-4)


def test_events_without_stars_tell_what_was_taken() -> None:
    source, known, _, odd = planted()
    none = np.full(len(source.stars), np.nan, np.float32)
    half = source.users % 2 == 0
    seen = Ratings(source.users[half], source.items[half], source.stars[half], USERS, SOURCE)
    events = source.users, source.items, np.where(half, source.stars, none)
    model = CollectiveFactors.fit(seen, known, events, factors=2, ridge=50.0, carry_ridge=1.0)
    people = np.flatnonzero((np.arange(USERS) % 2 == 1) & (np.arange(USERS) >= USERS - 100))
    told = model.fold_in(*events, USERS)[people] @ model.carry
    assert told[odd[people]].mean() - told[~odd[people]].mean() > 0.6
    assert (model.fold_in(*events, USERS)[people, 0] == 0).all()  # no stars, no bias


def test_the_seed_decides_and_factors_are_those_of_any_start() -> None:
    source, known, _, _ = planted()
    events = source.users, source.items, source.stars
    one, again, other = (
        CollectiveFactors.fit(source, known, events, factors=2, rounds=2, seed=seed) for seed in (0, 0, 1)
    )
    for name, value in one.state()[1].items():
        np.testing.assert_array_equal(value, again.state()[1][name])
    assert not np.array_equal(one.takes, other.takes)
    deviation = one.fold_in(*events, USERS)[:, 2:].std(axis=0)
    assert ((deviation > 0.5) & (deviation < 1.5)).all()
