"""Ranking metrics: hand-worked numbers and a naive implementation over random cases."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossrec.evaluation.metrics import mean_by_question, ranking_metrics


def one(ranks: list[int], name: str) -> float:
    """A metric of a single question with truths at these ranks."""
    return float(ranking_metrics(np.array(ranks), np.zeros(len(ranks), np.int64), 1)[name][0])


@pytest.mark.parametrize(("rank", "ndcg"), [(1, 1), (2, 0.63093), (3, 0.5), (10, 0.289065), (11, 0)])
def test_ndcg_at_ten(rank: int, ndcg: float) -> None:
    assert one([rank], "ndcg@10") == pytest.approx(ndcg, abs=5e-6)


@pytest.mark.parametrize(("rank", "five", "ten"), [(1, 1, 1), (5, 1, 1), (6, 0, 1), (10, 0, 1), (11, 0, 0)])
def test_hits_and_reciprocal_ranks(rank: int, five: int, ten: int) -> None:
    for k, hit in ((5, five), (10, ten)):
        assert one([rank], f"hr@{k}") == one([rank], f"recall@{k}") == hit
        assert one([rank], f"mrr@{k}") == pytest.approx(hit / rank)
        assert one([rank], f"precision@{k}") == pytest.approx(hit / k)


def test_several_truths_by_hand() -> None:
    ranks = [2, 7, 30]
    assert one(ranks, "hr@10") == 1
    assert one(ranks, "recall@10") == pytest.approx(2 / 3)
    assert one(ranks, "precision@10") == 0.2
    assert one(ranks, "mrr@10") == 0.5
    gain, ideal = 1 / math.log2(3) + 1 / math.log2(8), 1 + 1 / math.log2(3) + 1 / 2
    assert one(ranks, "ndcg@10") == pytest.approx(gain / ideal)
    assert one(list(range(1, 13)), "ndcg@10") == pytest.approx(1)  # more truths than places
    assert one(list(range(1, 13)), "recall@10") == pytest.approx(10 / 12)


def naive(ranks: list[int], k: int) -> dict[str, float]:
    if not ranks:
        return dict.fromkeys(("hr", "recall", "ndcg", "mrr", "precision"), math.nan)
    places = [1 if place in ranks else 0 for place in range(1, k + 1)]
    perfect = [1 if place <= len(ranks) else 0 for place in range(1, k + 1)]

    def dcg(hits: list[int]) -> float:
        return sum(hit / math.log2(place + 1) for place, hit in enumerate(hits, start=1))

    return {
        "hr": float(any(places)),
        "recall": sum(places) / len(ranks),
        "precision": sum(places) / k,
        "mrr": next((1 / place for place, hit in enumerate(places, start=1) if hit), 0.0),
        "ndcg": dcg(places) / dcg(perfect),
    }


questions = st.lists(st.lists(st.integers(1, 40), unique=True, max_size=25), min_size=1, max_size=6)


@given(
    truths=questions, cutoffs=st.lists(st.integers(1, 30), min_size=1, max_size=3, unique=True), seed=st.integers(0, 99)
)
def test_against_the_naive_implementation(truths: list[list[int]], cutoffs: list[int], seed: int) -> None:
    rank = np.array([r for ranks in truths for r in ranks], np.int64)
    owner = np.repeat(np.arange(len(truths)), [len(ranks) for ranks in truths])
    order = np.random.default_rng(seed).permutation(len(rank))  # truths may come in any order
    found = ranking_metrics(rank[order], owner[order], len(truths), tuple(cutoffs))
    assert len(found) == 5 * len(cutoffs)
    for k in cutoffs:
        for q, ranks in enumerate(truths):
            for name, value in naive(ranks, k).items():
                assert found[f"{name}@{k}"][q] == pytest.approx(value, nan_ok=True), (name, k, ranks)


def test_without_truth_there_is_no_number() -> None:
    found = ranking_metrics(np.array([1]), np.array([1]), 3)
    for values in found.values():
        assert np.isnan(values[[0, 2]]).all()
        assert values[1] > 0
    assert all(values.shape == (0,) for values in ranking_metrics(np.zeros(0, int), np.zeros(0, int), 0).values())


def test_mean_by_question() -> None:
    means = mean_by_question(np.array([1.0, 4.0, 2.0]), np.array([2, 0, 2]), 3)
    np.testing.assert_array_equal(means, [4.0, np.nan, 1.5])
