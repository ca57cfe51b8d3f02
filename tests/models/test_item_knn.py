"""Nearest items in order, against plain Python."""

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossrec.data.histories import Histories
from crossrec.data.pair import Domain
from crossrec.models.item_knn import ItemKNN

SOURCE, TARGET = 3, 4


def domain(rows: list[list[int]]) -> Domain:
    items = np.array([item for row in rows for item in row], np.int32)
    return Domain("both", SOURCE + TARGET, np.cumsum([0, *map(len, rows)]), items, None, None)


@given(
    rows=st.lists(st.lists(st.integers(1, SOURCE + TARGET), max_size=6), min_size=1, max_size=5),
    window=st.integers(1, 4),
    backward=st.sampled_from([0.0, 0.3, 1.0]),
    damping=st.sampled_from([0.0, 0.4]),
    decay=st.sampled_from([0.5, 1.0]),
)
def test_votes_against_plain_python(
    rows: list[list[int]], window: int, backward: float, damping: float, decay: float
) -> None:
    counts = np.bincount([item for row in rows for item in row], minlength=SOURCE + TARGET + 1)
    weight: dict[tuple[int, int], float] = defaultdict(float)
    for row in rows:
        for i, a in enumerate(row):
            for k, b in enumerate(row[i + 1 : i + 1 + window], 1):
                if a != b:
                    weight[a, b] += 1 / k
                    weight[b, a] += backward / k
    made = ItemKNN.fit(domain(rows), SOURCE, window, backward, damping, decay, prior=0.1)
    source, target = [[1, 2], [], [3]], [[1], [4, 2], []]
    scores = made.score(Histories.of(source, target))
    for person, merged in enumerate([[1, 2, 4], [7, 5], [3]]):
        for item in range(1, TARGET + 1):
            b = item + SOURCE
            votes = sum(
                decay ** (len(merged) - 1 - at) * weight[a, b] / (max(counts[a], 1) * max(counts[b], 1)) ** damping
                for at, a in enumerate(merged)
            )
            assert scores[person, item] == pytest.approx(votes + 0.1 * np.log1p(counts[b]), rel=1e-4, abs=1e-6)


def test_what_follows_comes_before_what_went_before() -> None:
    made = ItemKNN.fit(domain([[4, 5, 6]] * 5), SOURCE, window=1, backward=0.3)
    assert made.recommend(Histories.of([[]], [[2]]), 2)[0].tolist() == [[3, 1]]


def test_the_source_tells_the_target_by_their_order() -> None:
    made = ItemKNN.fit(domain([[1, 4, 2, 5]] * 5), SOURCE, window=1)
    first = made.recommend(Histories.of([[1], [2]], [[], []]), 1)[0][:, 0]
    assert first.tolist() == [1, 2]
    # What came last counts most, in whichever domain it was.
    both = Histories(np.array([[1]]), np.array([[3]]), source_before=np.array([[0]]))
    assert made.recommend(both, 1)[0].tolist() == [[1]]
    assert ItemKNN.fit(domain([[]]), SOURCE).score(both)[0, 1:].tolist() == [0] * TARGET
