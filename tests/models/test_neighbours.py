"""Nearest neighbours against plain Python."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array

from crossrec.data.histories import Histories
from crossrec.models import neighbours
from crossrec.models.neighbours import UserKNN


def table(rows: list[set[int]], width: int) -> csr_array:
    dense = np.zeros((len(rows), width), np.float32)
    for at, row in enumerate(rows):
        dense[at, list(row)] = 1
    return csr_array(dense)


def test_votes_by_hand() -> None:
    source, target = table([{1, 2}, {1}, {3}], 4), table([{1}, {2}, {3}], 5)
    counts = np.array([0, 1, 1, 1, 5])
    model = UserKNN.fit(source, target, counts, neighbours=2, prior=0.001)
    scores = model.score(Histories.of([[1], [1, 2, 2], []], [[], [], []]))
    half, one, many = 1 / np.sqrt(2), 0.001 * np.log(2), 0.001 * np.log(6)
    np.testing.assert_allclose(scores[0, 1:], [half + one, 1 + one, one, many], rtol=1e-5)
    np.testing.assert_allclose(scores[1, 1:], [1 + one, half + one, one, many], rtol=1e-5)
    np.testing.assert_allclose(scores[2, 1:], [one, one, one, many], rtol=1e-5)


@given(seed=st.integers(0, 10_000), n=st.integers(1, 12))
def test_against_plain_python(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    people, items = 10, 7

    def draw(rows: int) -> list[set[int]]:
        return [set((1 + np.flatnonzero(rng.random(items) < 0.4)).tolist()) for _ in range(rows)]

    source, target, asked = draw(people), draw(people), draw(4)
    model = UserKNN.fit(table(source, items + 1), table(target, items + 1), np.zeros(items + 1), n, 0.0)
    scores = model.score(Histories.of([sorted(row) for row in asked], [[]] * 4))
    for b, own in enumerate(asked):
        cosine = [len(own & s) / np.sqrt(len(own) * len(s)) if own and s else 0.0 for s in source]
        last = sorted(cosine, reverse=True)[min(n, people) - 1]
        for item in range(1, items + 1):
            votes = sum(c for c, t in zip(cosine, target, strict=True) if c >= last - 1e-9 and item in t)
            assert scores[b, item] == pytest.approx(votes, abs=1e-5)


def test_many_people_are_answered_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    source, target = (csr_array((rng.random((9, 8)) < 0.5).astype(np.float32)) for _ in range(2))
    people = Histories.of([rng.integers(1, 8, 3).tolist() for _ in range(20)], [[]] * 20)
    model = UserKNN.fit(source, target, np.zeros(8), 3, 0.1)
    whole = model.score(people)
    monkeypatch.setattr(neighbours, "BLOCK", 27)
    np.testing.assert_array_equal(model.score(people), whole)
