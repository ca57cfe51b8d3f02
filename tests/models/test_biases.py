"""The biases against the normal equations, and by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossrec.data.histories import Histories, pad
from crossrec.data.ratings import Ratings
from crossrec.models.biases import Biases, shrunken, solve


def ratings(users: list[int], items: list[int], stars: list[float]) -> Ratings:
    return Ratings(np.array(users), np.array(items), np.array(stars, np.float32), max(users) + 1, max(items) + 1)


@given(seed=st.integers(0, 10_000), damping=st.sampled_from([0.5, 5.0, 30.0]))
def test_the_biases_solve_the_normal_equations(seed: int, damping: float) -> None:
    rng = np.random.default_rng(seed)
    n, u, i = 40, 6, 8
    given_ = ratings(rng.integers(0, u, n).tolist(), rng.integers(1, i, n).tolist(), rng.integers(1, 6, n).tolist())
    mean, item, user = solve(given_, damping, 2 * damping)
    # One column a bias: users, then items 0..I.
    columns = len(user) + len(item)
    design = np.zeros((n, columns))
    design[np.arange(n), given_.users] = 1
    design[np.arange(n), len(user) + given_.items] = 1
    ridge = np.diag(np.r_[np.full(len(user), 2 * damping), np.full(len(item), damping)])
    exact = np.linalg.solve(design.T @ design + ridge, design.T @ (given_.stars - given_.stars.mean()))
    assert mean == pytest.approx(given_.stars.mean())
    np.testing.assert_allclose(np.r_[user, item], exact, atol=1e-4)


def test_a_person_is_folded_in_by_hand() -> None:
    model = Biases(4.0, np.array([0, 0.5, -0.5, 0.0], np.float32), damping=2.0)
    people = Histories(
        pad([[], [], [1]]), pad([[1, 2], [], [3]]), target_stars=np.array([[5, 2.5], [np.nan] * 2, [np.nan] * 2])
    )
    # Residuals 5 - 4.5 and 2.5 - 3.5, over 2 + 2.
    np.testing.assert_allclose(model.users(people), [-0.125, 0, 0])
    np.testing.assert_allclose(model.rate(people, np.array([1, 2, 3])), [4.375, 3.5, 4.0])
    np.testing.assert_allclose(model.score(people)[0, 1:], [4.375, 3.375, 3.875])
    without = Histories(people.source, people.target)
    np.testing.assert_allclose(model.rate(without, np.array([1, 2, 3])), [4.5, 3.5, 4.0])


def test_source_stars_are_not_looked_at() -> None:
    model = Biases(4.0, np.array([0, 0.5], np.float32), damping=2.0)
    people = Histories(pad([[1]]), pad([[]]), source_stars=np.array([[1.0]], np.float32))
    np.testing.assert_array_equal(model.rate(people, np.array([1])), [4.5])


def test_shrunken() -> None:
    np.testing.assert_allclose(shrunken(np.array([0, 0, 2]), np.array([3.0, 1.0, 5.0]), 4, 2.0), [1, 0, 5 / 3, 0])
    assert shrunken(np.array([1]), np.array([2.0]), 2, 0.0).tolist() == [0, 2]
