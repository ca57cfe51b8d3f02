"""Padding and cutting against plain lists."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossrec.data.histories import Histories, Reviews, pad, take, windows

rows_of_items = st.lists(st.lists(st.integers(1, 50), max_size=6), max_size=6)


@given(rows=rows_of_items)
def test_pad_is_on_the_left(rows: list[list[int]]) -> None:
    width = max(map(len, rows), default=0)
    assert pad(rows).tolist() == [[0] * (width - len(row)) + row for row in rows]
    assert pad(rows).dtype == np.int64


@given(rows=rows_of_items, data=st.data())
def test_windows_are_slices(rows: list[list[int]], data: st.DataObject) -> None:
    items = np.array([i for row in rows for i in row], np.int32)
    bounds = [sorted(data.draw(st.tuples(*[st.integers(0, len(items))] * 2))) for _ in range(4)]
    starts, ends = np.array(bounds, np.int64).T
    longest = data.draw(st.none() | st.integers(1, 5))
    slices = [items[a:b][-longest if longest else None :].tolist() for a, b in bounds]
    at, inside = windows(starts, ends, longest)
    assert take(items, at, inside).tolist() == pad(slices).tolist()
    assert take(items, at, inside).dtype == np.int32


def test_domains_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(2, 1\).*\(1, 3\)"):
        Histories(np.zeros((2, 1), np.int64), np.zeros((1, 3), np.int64))
    assert len(Histories.of([[], []], [[1], []])) == 2


def test_reviews_are_padded_on_the_left_and_masked() -> None:
    two = np.array([[1, 2], [3, 4]], np.float32)
    reviews = Reviews.of([two, two[:0], two[:1]], [[5, np.nan], [], [1]])
    assert reviews.vectors.shape == (3, 2, 2)
    assert reviews.mask.tolist() == [[True, True], [False, False], [False, True]]
    assert reviews.vectors[2].tolist() == [[0, 0], [1, 2]]
    assert np.isnan(reviews.stars).tolist() == [[False, True], [True, True], [True, False]]
    assert reviews.stars[2, 1] == 1


def test_parts_of_another_shape_are_refused() -> None:
    items = np.zeros((2, 3), np.int64)
    with pytest.raises(ValueError, match=r"\(2, 2\).*\(2, 3\)"):
        Histories(items, items, source_stars=np.zeros((2, 2), np.float32))
    with pytest.raises(ValueError, match="reviews of 1 people"):
        Histories(items, items, target_reviews=Reviews.none(1, 2, 3))
    with pytest.raises(ValueError, match=r"\(1, 2, 3\)"):
        Reviews(np.zeros((1, 2, 3), np.float32), np.zeros((1, 1), bool), np.zeros((1, 2), np.float32))
