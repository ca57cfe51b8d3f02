"""Who benefits: every user in one slice of each kind, tests with Holm, and words."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossrec.evaluation.benefit import KINDS, POPULAR, members, popularity_of, slices
from crossrec.evaluation.lists import describe


def table(n_target: list[int], ndcg: np.ndarray | None = None, n_source: int = 4) -> pd.DataFrame:
    n = len(n_target)
    values = np.zeros(n) if ndcg is None else ndcg
    return pd.DataFrame({"user": np.arange(n), "n_source": n_source, "n_target": n_target, "ndcg@10": values})


@given(st.lists(st.integers(0, 60), min_size=2, max_size=60), st.lists(st.integers(0, 60), min_size=60, max_size=60))
def test_everybody_is_in_one_slice_of_each_kind(target: list[int], source: list[int]) -> None:
    frame = table(target).assign(n_source=source[: len(target)])
    for kind, of in members(frame).items():
        together = np.concatenate(list(of.values()))
        assert sorted(together.tolist()) == list(range(len(frame)))
        for label, found in of.items():
            numbers = frame[f"n_{kind}"].to_numpy()[found]
            if " or more" in label:
                assert numbers.min() >= int(label.split()[0])
            else:
                low, high = (int(x) for x in label.split(" to ")) if " to " in label else (int(label), int(label))
                assert low <= numbers.min() <= numbers.max() <= high


def test_a_slice_that_is_hurt_is_told_and_small_ones_are_not_judged() -> None:
    rng = np.random.default_rng(0)
    counts = [0] * 20 + [1] * 60 + [4] * 200 + [12] * 80
    before = table(counts, rng.uniform(0.2, 0.6, 360))
    gain = rng.normal(0.05, 0.05, 360)
    gain[80:280] -= 0.1
    gain[:20] -= 0.5
    after = before.assign(**{"ndcg@10": before["ndcg@10"] + gain})
    found = {one.label: one for one in slices(before, after) if one.kind == "target"}
    assert [one.users for one in found.values()] == [20, 60, 200, 80]
    assert [label for label, one in found.items() if one.hurt] == ["3 to 4"]
    assert [label for label, one in found.items() if one.helped] == ["1", "10 to 19"]
    assert np.isnan(found["0"].difference.p_holm)  # twenty people are too few to judge
    one = found["3 to 4"]
    assert one.difference.p_holm == pytest.approx(min(1, 3 * one.difference.p), abs=1e-9)
    assert one.after - one.before == pytest.approx(one.difference.value.mean)
    assert one.whom("Screen", "Sound") == "people with 3 to 4 events in Sound"
    assert found["1"].whom("Screen", "Sound") == "people with 1 event in Sound"
    assert found["0"].whom("Screen", "Sound") == "people with no event in Sound"
    assert set(one.to_dict()) >= {"kind", "label", "users", "mean", "low", "high", "p", "p_holm", "effect"}


def test_a_kind_with_a_single_slice_says_nothing() -> None:
    assert slices(table([4] * 50), table([4] * 50)) == []
    assert set(members(table([0, 5] * 20))) == {"target"}


def test_popularity_by_hand() -> None:
    # Twenty items: two are taken most, eight come next, the rest less; the last was never taken.
    counts = np.array([0, 90, 80, *range(40, 48), *range(1, 10), 0])
    items, owner = np.array([1, 2, 5, 15, 20, 1, 15]), np.array([0, 1, 2, 3, 4, 5, 5])
    found = popularity_of(items, owner, 6, counts)
    assert found.tolist() == ["most", "most", "middle", "least", "never", "middle"]
    assert set(found) <= set(POPULAR)
    frame = table([3] * 3 + [8] * 3)
    assert sorted(members(frame, found)["popularity"]) == sorted(POPULAR.values())
    assert set(KINDS) == {"target", "source", "popularity"}


# --- lists ------------------------------------------------------------------------------------------------------------


def test_lists_by_hand() -> None:
    counts = np.array([0, 8, 4, 4, 0])
    vectors = np.array([[0, 0], [1, 0], [0, 1], [1, 0], [0, 0]], np.float16)
    found = describe(np.array([[1, 2, 0], [1, 3, 4]]), counts, vectors)
    assert found["coverage"] == 1.0
    # Bits: 16 events in all; 8 -> 1, 4 -> 2, never taken counts as once -> 4.
    assert found["novelty"] == pytest.approx((1 + 2 + 1 + 2 + 4) / 5)
    # Pairs whose texts are known: (1, 2) at right angles, (1, 3) alike.
    assert found["diversity"] == pytest.approx((1 + 0) / 2)
    assert describe(np.array([[1, 2]]), counts)["diversity"] is None
    assert describe(np.zeros((2, 3), np.int64), counts, vectors) == {
        "coverage": 0.0,
        "novelty": None,
        "diversity": None,
    }


def test_diversity_is_the_mean_over_pairs() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(31, 5))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[0] = 0
    lists = np.stack([rng.permutation(np.arange(1, 31))[:6] for _ in range(40)])
    slow = [1 - vectors[a] @ vectors[b] for row in lists for i, a in enumerate(row) for b in row[i + 1 :]]
    assert describe(lists, np.ones(31, np.int64), vectors)["diversity"] == pytest.approx(np.mean(slow), abs=1e-5)
