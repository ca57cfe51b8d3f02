"""Ranks against brute force, ties, and what the sampled protocol hides."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crossrec.data.pair import DomainPair
from crossrec.evaluation.metrics import ranking_metrics
from crossrec.evaluation.protocol import full_ranks, sampled_ranks
from crossrec.training.batches import Negatives

MakePair = Callable[..., DomainPair]


@given(
    seed=st.integers(0, 100_000),
    b=st.integers(1, 5),
    n_items=st.integers(1, 12),
    levels=st.integers(1, 20),
    r=st.integers(0, 14),
)
def test_against_brute_force(seed: int, b: int, n_items: int, levels: int, r: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, levels, (b, n_items + 1)).astype(np.float32)  # few levels: many ties
    scores[rng.random(scores.shape) < 0.1] = -np.inf
    scores[:, 0] = -np.inf
    row = np.sort(rng.integers(0, b, r))
    truth = rng.integers(1, n_items + 1, r)
    scores[row, truth] = rng.integers(0, levels, r)
    shuffle = rng.permutation(n_items + 1)
    drawn = rng.integers(1, n_items + 1, (r, 4))

    def better(one: int, other: int, person: int) -> bool:
        if scores[person, one] != scores[person, other]:
            return bool(scores[person, one] > scores[person, other])
        return bool(shuffle[one] < shuffle[other])

    full = [1 + sum(better(j, t, p) for j in range(1, n_items + 1) if j != t) for t, p in zip(truth, row, strict=True)]
    assert full_ranks(scores, truth, row, shuffle).tolist() == full
    sampled = [
        1 + sum(better(j, t, p) for j in others if j != t) for t, p, others in zip(truth, row, drawn, strict=True)
    ]
    assert sampled_ranks(scores, truth, row, drawn, shuffle).tolist() == sampled


def test_one_truth_a_row_in_order_is_the_common_case() -> None:
    # The same numbers whether the rows are 0..B-1, which takes a shorter way, or come several times and shuffled.
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 4, (6, 9)).astype(np.float32)
    truth, shuffle = rng.integers(1, 9, 6), rng.permutation(9)
    straight = full_ranks(scores, truth, np.arange(6), shuffle)
    order = np.array([3, 3, 0, 5, 1, 2, 4, 0, 5, 5, 2, 1, 1])
    np.testing.assert_array_equal(full_ranks(scores, truth[order], order, shuffle), straight[order])


def test_equal_scores_are_all_ranks_once() -> None:
    scores = np.zeros((1, 51), np.float32)
    scores[:, 0] = -np.inf
    shuffle = np.random.default_rng(0).permutation(51)
    ranks = full_ranks(scores, np.arange(1, 51), np.zeros(50, np.int64), shuffle)
    assert sorted(ranks) == list(range(1, 51))


def test_rank_1000_of_50000_is_a_sampled_hit(make_pair: MakePair) -> None:
    """The trap of facts.md, section 1: the 1 + 99 protocol calls a miserable ranking perfect."""
    n_items, asked = 50_000, 2000
    pair = make_pair([[]], [[1]], n_target=n_items)
    scores = -np.arange(n_items + 1, dtype=np.float32)[None]  # item j is ranked j-th
    scores[0, 0] = -np.inf
    shuffle = np.random.default_rng(0).permutation(n_items + 1)
    truth, row = np.full(asked, 1000), np.zeros(asked, np.int64)
    drawn = Negatives(n_items, pair.target, 0).outside(torch.zeros(asked, dtype=torch.long), 99).numpy()
    sampled = sampled_ranks(scores, truth, row, drawn, shuffle)
    full = full_ranks(scores, truth[:20], row[:20], shuffle)
    assert (full == 1000).all()
    owner = np.arange(asked)
    assert ranking_metrics(sampled, owner, asked)["hr@10"].mean() > 0.999
    assert ranking_metrics(full, owner[:20], 20)["hr@10"].mean() == 0
    # 1 + Binomial(99, 998/49999), for item 1 is owned and never drawn.
    assert sampled.mean() == pytest.approx(1 + 99 * 998 / 49_999, abs=0.13)
