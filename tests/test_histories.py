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


@given(data=st.data(), rows=st.integers(0, 5))
def test_merged_puts_each_target_item_after_the_source_items_before_it(rows: int, data: st.DataObject) -> None:
    source, target, before, expected = [], [], [], []
    for _ in range(rows):
        order = data.draw(st.lists(st.tuples(st.booleans(), st.integers(1, 9)), max_size=7))
        source.append([item for first, item in order if first])
        target.append([item for first, item in order if not first])
        before.append([sum(f for f, _ in order[:at]) for at, (first, _) in enumerate(order) if not first])
        expected.append([item if first else item + 9 for first, item in order])
    histories = Histories(pad(source), pad(target), source_before=pad(before))
    merged = histories.merged(9)
    assert merged.shape == (rows, histories.source.shape[1] + histories.target.shape[1])
    assert [[item for item in row if item] for row in merged.tolist()] == expected
    assert merged.tolist() == [[0] * (merged.shape[1] - len(row)) + row for row in expected]
    # Where no order between the domains is known, the source comes first.
    plain = Histories(pad(source), pad(target)).merged(9)
    assert [[item for item in row if item] for row in plain.tolist()] == [
        [*s, *(item + 9 for item in t)] for s, t in zip(source, target, strict=True)
    ]


def test_an_order_of_another_shape_is_refused() -> None:
    items = np.zeros((2, 3), np.int64)
    with pytest.raises(ValueError, match=r"source_before \(2, 2\).*\(2, 3\)"):
        Histories(items, items, source_before=np.zeros((2, 2), np.int64))


def test_parts_of_another_shape_are_refused() -> None:
    items = np.zeros((2, 3), np.int64)
    with pytest.raises(ValueError, match=r"\(2, 2\).*\(2, 3\)"):
        Histories(items, items, source_stars=np.zeros((2, 2), np.float32))
    with pytest.raises(ValueError, match="reviews of 1 people"):
        Histories(items, items, target_reviews=Reviews.none(1, 2, 3))
    with pytest.raises(ValueError, match=r"\(1, 2, 3\)"):
        Reviews(np.zeros((1, 2, 3), np.float32), np.zeros((1, 1), bool), np.zeros((1, 2), np.float32))
