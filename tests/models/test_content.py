"""The words of reviews against the words of items."""

import numpy as np
import pytest

from crossrec.data.histories import Histories, Reviews, pad
from crossrec.models.content import Content, attraction, unit
from crossrec.text.whiten import Whitening

EAST, NORTH = np.array([1.0, 0.0], np.float32), np.array([0.0, 1.0], np.float32)
PLAIN = Whitening(np.zeros(2, np.float32), np.eye(2, dtype=np.float32))
ITEMS = np.stack([np.zeros(2), EAST, NORTH, -EAST, np.zeros(2)]).astype(np.float32)
PRIOR = np.array([0, 0.0, 0.0, 0.0, 0.01], np.float32)


def scores(vectors: list[np.ndarray], stars: list[float], target: bool = False, most: int = 15) -> list[float]:
    reviews = Reviews.of([np.array(vectors, np.float32).reshape(-1, 2)], [stars])
    people = Histories(pad([[]]), pad([[]]), **{"target_reviews" if target else "source_reviews": reviews})
    return Content(PLAIN, ITEMS, PRIOR, "static", most).score(people)[0, 1:].tolist()


@pytest.mark.parametrize("target", [False, True])
def test_what_was_liked_attracts_and_what_was_disliked_pushes_away(target: bool) -> None:
    assert scores([EAST], [5], target) == pytest.approx([1, 0, -1, 0.01])
    assert scores([EAST], [1], target) == pytest.approx([-1, 0, 1, 0.01])
    assert scores([EAST], [2], target) == pytest.approx([-1, 0, 1, 0.01])
    assert scores([EAST], [np.nan], target) == pytest.approx([1, 0, -1, 0.01])
    # Five stars count 1 and four 1/2: (1, 1/2) of length 1.
    length = np.sqrt(1.25)
    assert scores([EAST, NORTH], [5, 4], target) == pytest.approx([1 / length, 0.5 / length, -1 / length, 0.01])


def test_without_a_word_that_counts_popularity_decides() -> None:
    assert scores([], []) == pytest.approx([0, 0, 0, 0.01])
    assert scores([EAST, NORTH], [3, 3]) == pytest.approx([0, 0, 0, 0.01])
    assert scores([EAST, EAST], [5, 1]) == pytest.approx([0, 0, 0, 0.01])


def test_only_the_newest_reviews_are_read() -> None:
    assert scores([EAST, EAST, NORTH], [5, 5, 5], most=1) == pytest.approx([0, 1, 0, 0.01])


def test_attraction() -> None:
    reviews = Reviews.of([np.ones((5, 1), "f4"), np.ones((2, 1), "f4")], [[1, 2, 3, 4, 5], [np.nan, 5]])
    assert attraction(reviews).tolist() == [[-1, -0.5, 0, 0.5, 1], [0, 0, 0, 1, 1]]


def test_unit() -> None:
    np.testing.assert_allclose(unit(np.array([[3, 4], [0, 0], [1e-9, 0]], np.float32)), [[0.6, 0.8], [0, 0], [0, 0]])
