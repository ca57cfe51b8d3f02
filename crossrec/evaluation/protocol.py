"""Evaluation: every question of a split, the whole catalogue ranked, one row a user.

B questions in a chunk, R truths, N negatives, I items.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from crossrec import processes
from crossrec.data.histories import Histories
from crossrec.data.pair import DomainPair
from crossrec.data.split import Questions, Split
from crossrec.evaluation.metrics import CUTOFFS, METRICS, mean_by_question, ranking_metrics
from crossrec.models.recommender import Floats, Recommender, hide_seen, top_k
from crossrec.training.batches import Negatives

COLD = 3
"""A user is cold with at most so many target events in the training part."""
SAMPLED = 99
"""Negatives of the sampled protocol."""
LOOKED_AT = 100_000
"""Most questions of `quick`: they tell NDCG@10 to about .001, and millions of people times millions of items would take
longer than the training that they are to stop."""
BRIEF = ("hr@10", "ndcg@10", "mrr@10")
"""Metrics of `ranked`."""
GROUPS = {
    "all": "All users",
    "cold": f"Cold users (at most {COLD} training events)",
    "warm": f"Warm users (more than {COLD})",
    "with_source": "Users with a source history",
    "without_source": "Users without one",
    "cold_with_source": "Cold users with a source history",
}


@dataclass(frozen=True)
class Evaluation:
    """What came out of one part of a split."""

    table: pd.DataFrame
    """One row a question: user, n_source and n_target (events that were shown), n_train (target events in the training
    part), n_truth, rank (of the best truth, full ranking), the metrics, and the same as "sampled.<metric>"."""
    top: NDArray[np.int64]
    """(Q, 10) what was recommended, best first, 0 where the catalogue ended."""


def evaluate(
    recommender: Recommender,
    pair: DomainPair,
    split: Split,
    part: str = "test",
    seed: int = 0,
    sampled: int = SAMPLED,
) -> Evaluation:
    """Ranks the whole catalogue for each question, and beside it each truth among `sampled` drawn items.

    Of several processes each scores a part of the questions, and all get the whole answer.

    A person's own items are left out of the ranking. Items with equal scores are ordered by one seeded shuffle of the
    catalogue that is the same for every recommender: ties neither help nor harm anyone on average. Sampled negatives
    are items that the person does not have at all, the same ones for every recommender.

    Raises:
        ValueError: the recommender scored NaN, or another number of items than the target domain has.
    """
    questions = split.part(part)
    shuffle = np.random.default_rng(seed).permutation(pair.target.n_items + 1)
    negatives = Negatives(pair.target.n_items, pair.target, seed)
    n = len(questions)
    owners, ranks, drawn_ranks = [], [], []
    top = np.zeros((n, 10), np.int64)
    for number, rows in enumerate(_chunks(questions, pair.target.n_items)):
        part_of = questions.take(rows)
        truth, row = _truths(pair, part_of)
        # Drawn by every process, that each chunk meets the same ones whoever takes it.
        drawn = negatives.outside(torch.from_numpy(part_of.user[row]), sampled).numpy()
        if not processes.mine(number):
            continue
        scores = _scores(recommender, pair, part_of)
        top[rows] = top_k(scores, 10)[0]
        ranks.append(full_ranks(scores, truth, row, shuffle))
        drawn_ranks.append(sampled_ranks(scores, truth, row, drawn, shuffle))
        owners.append(rows[row])
    rank, owner, drawn_rank = (_together(x) for x in (ranks, owners, drawn_ranks))
    top = np.max(processes.gather(top), axis=0)
    best = np.full(n, pair.target.n_items + 1)
    np.minimum.at(best, owner, rank)
    # With several truths a user, the sampled protocol asks for each alone, and the user's value is the mean.
    alone = ranking_metrics(drawn_rank, np.arange(len(drawn_rank)), len(drawn_rank))
    table = pd.DataFrame(
        {
            "user": questions.user,
            "n_source": questions.source_end,
            "n_target": questions.target_end,
            "n_train": split.target_train_end[questions.user],
            "n_truth": questions.truth_end - questions.target_end,
            "rank": best,
            **ranking_metrics(rank, owner, n),
            **{f"sampled.{name}": mean_by_question(values, owner, n) for name, values in alone.items()},
        }
    )
    return Evaluation(table, top)


def quick(recommender: Recommender, pair: DomainPair, split: Split, part: str = "valid") -> dict[str, float]:
    """NDCG@10 and HR@10 by full ranking over a part, NaN without questions: what early stopping looks at.

    Of more than `LOOKED_AT` questions it asks that many, always the same ones.
    """
    questions = split.part(part)
    if len(questions) > LOOKED_AT:
        chosen = np.random.default_rng(0).choice(len(questions), LOOKED_AT, replace=False)
        questions = questions.take(np.sort(chosen))
    table = ranked(recommender, pair, questions)
    return {name: float(table[name].mean()) for name in ("ndcg@10", "hr@10")}


def ranked(
    recommender: Recommender,
    pair: DomainPair,
    questions: Questions,
    shown: Callable[[NDArray[np.int64]], Histories] | None = None,
) -> pd.DataFrame:
    """Ranks the whole catalogue for each question, as `evaluate` does, and nothing else.

    Args:
        recommender: any.
        pair: the dataset.
        questions: that are asked.
        shown: rows of the questions -> the histories that the recommender is shown in place of what is known. A
            person's own items are left out of the ranking all the same.

    Returns:
        One row a question: user, rank (of the best truth), hr@10, ndcg@10, mrr@10.
    """
    shuffle = np.random.default_rng(0).permutation(pair.target.n_items + 1)
    ranks, owners = [], []
    for number, rows in enumerate(_chunks(questions, pair.target.n_items)):
        if not processes.mine(number):
            continue
        part_of = questions.take(rows)
        truth, row = _truths(pair, part_of)
        scores = _scores(recommender, pair, part_of, shown(rows) if shown else None)
        ranks.append(full_ranks(scores, truth, row, shuffle))
        owners.append(rows[row])
    rank, owner = _together(ranks), _together(owners)
    best = np.full(len(questions), pair.target.n_items + 1)
    np.minimum.at(best, owner, rank)
    metrics = ranking_metrics(rank, owner, len(questions), (10,))
    return pd.DataFrame({"user": questions.user, "rank": best, **{name: metrics[name] for name in BRIEF}})


def full_ranks(
    scores: Floats, truth: NDArray[np.int64], row: NDArray[np.int64], shuffle: NDArray[np.int64]
) -> NDArray[np.int64]:
    """(R,) rank of each truth, from 1, in its row of (B, I+1) scores; ties in the order of `shuffle` (I+1,)."""
    value = scores[row, truth]
    rank = np.empty(len(truth), np.int64)
    for start in range(0, len(truth), len(scores) or 1):
        part = slice(start, start + len(scores))
        seen = scores if np.array_equal(row[part], np.arange(len(scores))) else scores[row[part]]
        mine = value[part, None]
        rank[part] = 1 + _count(seen > mine)
        tied = np.flatnonzero(_count(seen == mine) > 1)
        before = shuffle < shuffle[truth[part][tied], None]
        rank[part][tied] += _count((seen[tied] == mine[tied]) & before)
    return rank


def _count(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(B,) how many of each row are true: row by row, which NumPy does several times as fast as along an axis."""
    return np.fromiter((np.count_nonzero(row) for row in mask), np.int64, len(mask))


def sampled_ranks(
    scores: Floats,
    truth: NDArray[np.int64],
    row: NDArray[np.int64],
    drawn: NDArray[np.int64],
    shuffle: NDArray[np.int64],
) -> NDArray[np.int64]:
    """(R,) rank of each truth among itself and its drawn items (R, N)."""
    mine, others = scores[row, truth][:, None], scores[row[:, None], drawn]
    before = (others == mine) & (shuffle[drawn] < shuffle[truth][:, None])
    return 1 + np.count_nonzero((others > mine) | before, axis=1)


def summary(evaluation: Evaluation, counts: NDArray[np.int64]) -> dict[str, Any]:
    """Means of every metric for every group, and what the lists look like.

    Args:
        evaluation: of one part.
        counts: (I+1,) training events of each target item.

    Returns:
        {"groups": {group: {"users", "full": {metric: mean}, "sampled": {...}}}, "coverage@10": share of the catalogue
        that is recommended to anyone, "popularity@10": mean training events of what is recommended}. Groups without
        users have no means.
    """
    shown = evaluation.top[evaluation.top > 0]
    masks = group_masks(evaluation.table)
    return {
        "groups": {name: _means(evaluation.table[mask]) for name, mask in masks.items()},
        "coverage@10": len(np.unique(shown)) / max(1, len(counts) - 1),
        "popularity@10": float(counts[shown].mean()) if len(shown) else None,
        "popularity_catalogue": float(counts[1:].mean()) if len(counts) > 1 else None,
    }


def group_masks(table: pd.DataFrame) -> dict[str, NDArray[np.bool_]]:
    """{group: (Q,) bool} for the groups of `GROUPS`."""
    cold, source = (table["n_train"] <= COLD).to_numpy(), (table["n_source"] > 0).to_numpy()
    return {
        "all": np.ones(len(table), bool),
        "cold": cold,
        "warm": ~cold,
        "with_source": source,
        "without_source": ~source,
        "cold_with_source": cold & source,
    }


def metric_names(cutoffs: tuple[int, ...] = CUTOFFS) -> list[str]:
    return [f"{metric}@{k}" for metric in METRICS for k in cutoffs]


def _means(table: pd.DataFrame) -> dict[str, Any]:
    if table.empty:
        return {"users": 0}
    names = metric_names()
    return {
        "users": len(table),
        "full": {name: float(table[name].mean()) for name in names},
        "sampled": {name: float(table[f"sampled.{name}"].mean()) for name in names},
    }


def _together(parts: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    """One array of the parts of all processes."""
    return np.concatenate([np.zeros(0, np.int64), *(one for parts in processes.gather(parts) for one in parts)])


def _chunks(questions: Questions, n_items: int) -> list[NDArray[np.int64]]:
    """Rows of the questions in chunks: like lengths together for the models, (B, I+1) scores of at most 16 MiB."""
    order = np.lexsort((questions.source_end, questions.target_end))
    size = int(np.clip((4 << 20) // (n_items + 1), 16, 1024))
    return [order[start : start + size] for start in range(0, len(order), size)]


def _scores(recommender: Recommender, pair: DomainPair, questions: Questions, shown: Histories | None = None) -> Floats:
    histories = questions.histories(pair)
    scores = recommender.score(shown or histories)
    if scores.shape != (len(questions), pair.target.n_items + 1):
        raise ValueError(f"scores {scores.shape} should be ({len(questions)}, {pair.target.n_items + 1})")
    if scores.size and np.isnan(scores.min()):  # in one pass, and no table of answers
        raise ValueError(f"{recommender.kind} scored NaN")
    return hide_seen(scores, histories)


def _truths(pair: DomainPair, questions: Questions) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(R,) the hidden items of all questions, and the row of each."""
    at, row = questions.hidden(pair)
    return pair.target.items[at].astype(np.int64), row
