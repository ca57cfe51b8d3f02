"""Padding and cutting against plain lists."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossrec.data.histories import Histories, pad, windows

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
    assert windows(items, starts, ends, longest).tolist() == pad(slices).tolist()


def test_domains_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(2, 1\).*\(1, 3\)"):
        Histories(np.zeros((2, 1), np.int64), np.zeros((1, 3), np.int64))
    assert len(Histories.of([[], []], [[1], []])) == 2
