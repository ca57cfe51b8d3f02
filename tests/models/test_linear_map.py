"""The dual solution against the primal ridge formula, and the popularity prior."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array

from crossrec.data.histories import Histories
from crossrec.models.linear import LinearMap, sets
from crossrec.models.simple import Oracle, Popularity


@given(seed=st.integers(0, 10_000), ridge=st.floats(0.5, 500), prior=st.floats(0, 1))
def test_it_equals_the_primal_formula(seed: int, ridge: float, prior: float) -> None:
    rng = np.random.default_rng(seed)
    n, i_source, i_target = int(rng.integers(1, 15)), int(rng.integers(1, 9)), int(rng.integers(1, 9))
    xs, xt = (rng.random((n, 1 + i_source)) < 0.4) * 1.0, (rng.random((n, 1 + i_target)) < 0.4) * 1.0
    xs[:, 0] = xt[:, 0] = 0
    counts = rng.integers(0, 50, 1 + i_target)
    model = LinearMap.fit(csr_array(xs), csr_array(xt), counts, ridge, prior)
    rows = [(1 + np.flatnonzero(rng.random(i_source) < 0.5)).tolist() for _ in range(4)]
    x = np.zeros((4, 1 + i_source))
    for b, row in enumerate(rows):
        x[b, row] = 1
    w = np.linalg.inv(xs.T @ xs + ridge * np.eye(1 + i_source)) @ xs.T @ xt
    expected = x @ w + prior * np.log1p(counts)
    scores = model.score(Histories.of(rows, [[]] * 4))
    np.testing.assert_allclose(scores[:, 1:], expected[:, 1:], rtol=2e-3, atol=2e-4)


def test_one_person_by_hand() -> None:
    # One training person with source item 1 and target item 2: score = x.x' / (1 + lambda) on item 2.
    model = LinearMap.fit(
        csr_array([[0.0, 1.0, 0.0]]), csr_array([[0.0, 0.0, 1.0]]), np.array([0, 0, 1]), ridge=3.0, prior=0.5
    )
    scores = model.score(Histories.of([[1, 2], [2], []], [[], [], []]))
    popular = 0.5 * np.log(2)
    np.testing.assert_allclose(scores[:, 1:], [[0, 0.25 + popular], [0, popular], [0, popular]], rtol=1e-6)


def test_an_item_twice_in_a_history_is_one_item() -> None:
    np.testing.assert_array_equal(sets(np.array([[0, 2, 2], [1, 3, 1]]), 4).toarray(), [[0, 0, 1, 0], [0, 1, 0, 1]])
    assert sets(np.zeros((2, 0), np.int64), 4).toarray().sum() == 0


def test_the_target_history_changes_no_score() -> None:
    rng = np.random.default_rng(0)
    table = (rng.random((6, 5)) < 0.5) * 1.0
    table[:, 0] = 0
    model = LinearMap.fit(csr_array(table), csr_array(table), np.arange(5))
    one, two = (model.score(Histories.of([[1, 3]], [target])) for target in ([], [2, 4]))
    np.testing.assert_array_equal(one, two)


def test_popularity_scores_are_the_counts() -> None:
    scores = Popularity(np.array([9, 3, 0, 7])).score(Histories.of([[], [1]], [[], [2]]))
    assert scores[:, 1:].tolist() == [[3, 0, 7]] * 2
    items, _ = Popularity(np.array([9, 3, 0, 7])).recommend(Histories.of([[]], [[3]]), 2)
    assert items.tolist() == [[1, 2]]


def test_the_oracle_adds_affinity_and_transition() -> None:
    affinity = np.array([[0, 1, 2], [0, 5, 6]], np.float32)
    transition = np.array([[0, 0, 0], [0, 10, 20], [0, 30, 40]], np.float32)
    people = Histories(np.zeros((3, 0), np.int64), np.array([[0, 1], [1, 2], [0, 0]]), np.array([1, 0, 0]))
    scores = Oracle(affinity, transition).score(people)
    assert scores[:, 1:].tolist() == [[15, 26], [31, 42], [1, 2]]
    assert affinity[0, 0] == 0  # what it was given is left alone


def test_the_oracle_refuses_strangers() -> None:
    from crossrec.errors import CrossrecError

    with pytest.raises(CrossrecError, match="demo world"):
        Oracle(np.zeros((1, 3), np.float32), np.zeros((3, 3), np.float32)).score(Histories.of([[]], [[]]))
