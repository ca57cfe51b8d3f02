"""Factors against least squares that are written out."""

import numpy as np
import pytest

from crossrec.data.histories import pad
from crossrec.data.ratings import Ratings
from crossrec.models.factors import Factors


def planted(seed: int = 0, users: int = 60, items: int = 30, share: float = 0.6) -> tuple[Ratings, np.ndarray]:
    """Ratings of rank one beside their biases."""
    rng = np.random.default_rng(seed)
    taste = np.outer(rng.choice([-1.0, 1.0], users), rng.choice([-1.0, 1.0], items))
    u, i = np.nonzero(rng.random((users, items)) < share)
    stars = (3 + taste[u, i]).astype(np.float32)
    return Ratings(u, i + 1, stars, users, items), 3 + taste


def test_it_finds_a_planted_taste() -> None:
    ratings, truth = planted()
    model = Factors.fit(ratings, factors=2, ridge=1.0)
    rows = [ratings.items[ratings.users == u].tolist() for u in range(60)]
    items = pad(rows)
    stars = np.full(items.shape, np.nan, np.float32)
    for u, row in enumerate(rows):
        stars[u, -len(row) :] = ratings.stars[ratings.users == u]
    vectors = model.fold_in(items, stars)
    assert vectors.shape == (60, model.width) == (60, 3)
    told = vectors @ model.keys()[1:].T + model.expected(np.arange(1, 31))
    hidden = np.ones((60, 30), bool)
    hidden[ratings.users, ratings.items - 1] = False
    assert np.sqrt(np.mean((told - truth)[hidden] ** 2)) < 0.4 < 0.9 < np.std(truth[hidden])


def test_a_person_is_a_ridge_regression() -> None:
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(6, 2)).astype(np.float32)
    vectors[0] = 0
    model = Factors(3.5, np.array([0, 0.5, -0.5, 0, 0, 0], np.float32), vectors, ridge=2.0, damping=1.0, unrated=0.5)
    given = model.fold_in(np.array([[0, 1, 2, 5], [0, 0, 0, 0]]), np.array([[np.nan, 5, 4, np.nan]] * 2, np.float32))
    # Residuals 5 - 4 and 4 - 3 make b_u = 2 / (2 + 1); item 5 has no stars and counts as 0.5 above expectation.
    rest, q = np.array([1 / 3, 1 / 3, 0.5]), vectors[[1, 2, 5]].astype(float)
    p = np.linalg.solve(q.T @ q + 2 * np.eye(2), q.T @ rest)
    np.testing.assert_allclose(given[0], [*p, 2 / 3], rtol=1e-5)
    np.testing.assert_array_equal(given[1], 0)
    # Without any stars, every item counts as liked and there is no bias.
    unknown = model.fold_in(np.array([[1, 2]]), None)
    p = np.linalg.solve(q[:2].T @ q[:2] + 2 * np.eye(2), q[:2].T @ [0.5, 0.5])
    np.testing.assert_allclose(unknown[0], [*p, 0], rtol=1e-5)


def test_keys_and_expectation() -> None:
    model = Factors(3.0, np.array([0, 1, -1], "f4"), np.ones((3, 2), "f4"), 1.0, 1.0, 0.5)
    assert model.keys().tolist() == [[1, 1, 1]] * 3
    assert model.expected(np.array([2, 1])).tolist() == [2, 4]


def test_the_seed_decides() -> None:
    ratings, _ = planted()
    one, again, other = (Factors.fit(ratings, factors=2, seed=s, rounds=2).vectors for s in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)
    assert one[0].tolist() == pytest.approx([0, 0])  # padding has no factors
