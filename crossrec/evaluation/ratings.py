"""How well stars are told: each hidden event that has a rating, beside what the plainest predictors say.

E hidden ratings, U users who gave them, R resamples.
"""

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.stats import DegenerateDataWarning, bootstrap

from crossrec import processes
from crossrec.data.histories import Ints, Reviews
from crossrec.data.pair import DomainPair
from crossrec.data.ratings import Ratings
from crossrec.data.split import Split
from crossrec.errors import CrossrecError
from crossrec.evaluation.statistics import LEVEL, Interval, rounded
from crossrec.models.biases import Biases
from crossrec.models.recommender import Recommender

LIKED = 4.0
"""An item is liked with at least so many stars."""
SCALE = (1.0, 5.0)
"""Stars there are; a prediction beyond them is clipped where its error is reported, and nowhere else."""
BASELINES = {"global_mean": "Global mean", "item_mean": "Item mean", "biases": "Mean + item + user"}
REFERENCE = "biases"
METRICS = {"rmse": "RMSE", "mae": "MAE", "auc": "AUC", "auc_user": "AUC per user"}
CHUNK = 1024
Doubles = NDArray[np.float64]


def evaluate_ratings(
    recommender: Recommender,
    pair: DomainPair,
    split: Split,
    part: str = "test",
    item_reviews: Callable[[Ints], Reviews] | None = None,
) -> pd.DataFrame | None:
    """Rates every hidden event of a part that has stars.

    Args:
        recommender: any; one that does not rate is asked for its scores alone.
        pair: the dataset.
        split: whose questions are asked, and on whose training part the baselines are fitted.
        part: "valid" or "test".
        item_reviews: what others wrote about the items of (E,) events, for recommenders whose `rate` reads it.

    Returns:
        One row an event: user, event (its place in the target domain's arrays), item, rating, score (what `score` says
        of that item), predicted (stars, not clipped; NaN where the recommender does not rate), and the stars that
        each of `BASELINES` predicts. None where there are no ratings to learn from or to tell.

    Raises:
        ValueError: the recommender predicted NaN.
    """
    stars = pair.target.ratings
    if stars is None:
        return None
    try:
        known = Ratings.training(pair, split)
    except CrossrecError:
        return None
    questions = split.part(part)
    # Histories of like lengths stand together: little padding.
    questions = questions.take(np.lexsort((questions.source_end, questions.target_end)))
    events, owner = questions.hidden(pair, rated=True)
    if not len(events):
        return None
    items = pair.target.items[events].astype(np.int64)
    biases, means = Biases.fit(known), known.item_means()
    score, bias, predicted = (np.full(len(events), np.nan, np.float32) for _ in range(3))
    for number, (rows, row, asked) in enumerate(_by_question(owner, pair.target.n_items)):
        if not processes.mine(number):
            continue
        histories = questions.take(asked).histories(pair)
        score[rows] = recommender.score(histories)[row, items[rows]]
        bias[rows] = biases.score(histories)[row, items[rows]]
    for number, start in enumerate(range(0, len(events) if recommender.rates else 0, CHUNK)):
        if not processes.mine(number):
            continue
        rows = slice(start, start + CHUNK)
        histories = questions.take(owner[rows]).histories(pair)
        reviews = item_reviews(events[rows]) if item_reviews else None
        predicted[rows] = recommender.rate(histories, items[rows], reviews)
    score, bias, predicted = (processes.combined(values) for values in (score, bias, predicted))
    if np.isnan(score).any() or (recommender.rates and np.isnan(predicted).any()):
        raise ValueError(f"{recommender.kind} predicted NaN")
    table = pd.DataFrame(
        {
            "user": questions.user[owner],
            "event": events,
            "item": items,
            "rating": stars[events],
            "score": score,
            "predicted": predicted,
            "global_mean": np.float32(known.mean),
            "item_mean": means[items],
            "biases": bias,
        }
    )
    return table.sort_values("event", ignore_index=True)


def _by_question(owner: Ints, n_items: int) -> Iterator[tuple[slice, Ints, Ints]]:
    """Events in chunks of at most 16 MiB of scores: where they stand, the row of each in the chunk, and its questions.

    owner: (E,) question of each event, ascending.
    """
    asked, starts, row = np.unique(owner, return_index=True, return_inverse=True)
    size = int(np.clip((4 << 20) // (n_items + 1), 16, CHUNK))
    ends = np.append(starts, len(owner))
    for i in range(0, len(asked), size):
        rows = slice(int(starts[i]), int(ends[min(i + size, len(asked))]))
        yield rows, row[rows] - i, asked[i : i + size]


def summary(table: pd.DataFrame, seed: int = 0, resamples: int = 2000) -> dict[str, Any]:
    """Errors and AUCs of the recommender and of each baseline, and their paired differences to `biases`.

    rmse, mae: of the predicted stars, clipped to the scale. auc: the chance that of two hidden events, one liked (4
    stars or more) and one not, the liked one has the higher prediction, ties count half, pooled over all users; only
    for stars, for scores of different people cannot be compared. auc_user: the same within each user who has both,
    averaged over those users; of a recommender that only ranks, by its scores. 95 % percentile intervals come from
    resampling users, not events: a user's ratings are not independent.

    Returns:
        {"events", "users", "users_auc": those with both classes, "liked": share of the events, "models": {name:
        {metric: {"mean", "low", "high"} or None where undefined}}, "differences": the same, less that of `biases`}.
    """
    users, owner = np.unique(table["user"].to_numpy(), return_inverse=True)
    liked = (table["rating"] >= LIKED).to_numpy()
    counted = _Counted(table, owner, liked, len(users))
    point = counted(np.ones((1, len(users))))[:, 0]
    low, high = np.full((2, len(point)), np.nan)
    if len(users) > 1:
        defined = ~np.isnan(point)
        with warnings.catch_warnings():
            # Of few users, a resample may lack a class: such an interval is NaN, and said to be unknown.
            warnings.simplefilter("ignore", DegenerateDataWarning)
            found = bootstrap(
                (np.arange(len(users)),),
                lambda drawn, axis: counted(_times_drawn(drawn))[defined],
                n_resamples=resamples,
                confidence_level=LEVEL,
                method="percentile",
                vectorized=True,
                batch=max(1, 4_000_000 // len(table)),
                rng=np.random.default_rng(seed),
            ).confidence_interval
        low[defined], high[defined] = found.low, found.high
    values = iter(zip(point, low, high, strict=True))
    models, differences = (
        {name: {metric: _plain(*next(values)) for metric in METRICS} for name in names} for names in counted.blocks
    )
    return {
        "events": len(table),
        "users": len(users),
        "users_auc": int(counted.both.sum()),
        "liked": float(liked.mean()),
        "models": models,
        "differences": differences,
    }


class _Counted:
    """All statistics as functions of how often each user was drawn."""

    def __init__(self, table: pd.DataFrame, owner: Ints, liked: NDArray[np.bool_], n: int):
        rating = table["rating"].to_numpy(float)
        self.names = ["recommender", *BASELINES]
        self.blocks = (self.names, [name for name in self.names if name != REFERENCE])
        self.events = np.bincount(owner, minlength=n).astype(float)  # (U,)
        self.squares, self.misses, self.pooled, self.within = [], [], [], []
        rates = bool(table["predicted"].notna().all())
        for name in self.names:
            column = ("predicted" if rates else "score") if name == "recommender" else name
            value = table[column].to_numpy(float)
            stars = rates or name != "recommender"
            miss = np.clip(value, *SCALE) - rating if stars else np.full(len(value), np.nan)
            self.squares.append(np.bincount(owner, miss**2, n))
            self.misses.append(np.bincount(owner, np.abs(miss), n))
            self.pooled.append(_levels(value, liked, owner, n) if stars else None)
            self.within.append(auc_by_group(value, liked, owner, n))
        self.both = ~np.isnan(self.within[0])  # (U,)

    def __call__(self, times: Doubles) -> Doubles:
        """(R, U) how often each user was drawn -> (M, R): metrics of all models, then the differences."""
        with np.errstate(invalid="ignore", divide="ignore"):
            events, judged = times @ self.events, times @ self.both.astype(float)
            values = {
                name: np.stack(
                    [
                        np.sqrt(times @ self.squares[i] / events),
                        times @ self.misses[i] / events,
                        np.full(len(times), np.nan) if (levels := self.pooled[i]) is None else _pooled(*levels, times),
                        times @ np.where(self.both, self.within[i], 0.0) / judged,
                    ]
                )
                for i, name in enumerate(self.names)
            }
        less = [values[name] - values[REFERENCE] for name in self.blocks[1]]
        return np.concatenate([*values.values(), *less])


def _levels(value: Doubles, liked: NDArray[np.bool_], owner: Ints, n: int) -> tuple[csr_array, csr_array]:
    """(L, U) how many liked and how many other events each user has at each of the L predicted values, ascending."""
    levels, at = np.unique(value, return_inverse=True)

    def table(kind: NDArray[np.bool_]) -> csr_array:
        return csr_array((np.ones(int(kind.sum())), (at[kind], owner[kind])), shape=(len(levels), n))

    return table(liked), table(~liked)


def _pooled(liked: csr_array, other: csr_array, times: Doubles) -> Doubles:
    """(R,) AUC over all events where user u counts times[r, u] times; NaN without both classes."""
    up, down = liked @ times.T, other @ times.T  # (L, R)
    below = np.cumsum(down, axis=0) - down / 2
    return np.asarray((up * below).sum(axis=0) / (up.sum(axis=0) * down.sum(axis=0)), np.float64)


def auc_by_group(value: Doubles, liked: NDArray[np.bool_], owner: Ints, n: int) -> Doubles:
    """(n,) AUC within each group of events by the rank-sum formula, ties count half; NaN without both classes."""
    order = np.lexsort((value, owner))
    groups, values = owner[order], value[order]
    counts = np.bincount(owner, minlength=n)
    begins = (np.cumsum(counts) - counts)[groups]
    new = np.ones(len(values), bool)
    new[1:] = (groups[1:] != groups[:-1]) | (values[1:] != values[:-1])
    tie = np.cumsum(new) - 1
    ranks = (np.flatnonzero(new) + (np.bincount(tie) + 1) / 2)[tie] - begins  # from 1 in its group, the mean of a tie
    up = np.bincount(groups, liked[order], n)
    total = np.bincount(groups, ranks * liked[order], n)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((total - up * (up + 1) / 2) / (up * (counts - up)), np.float64)


def _times_drawn(drawn: Ints) -> Doubles:
    """(R, U) users drawn in each resample -> (R, U) how often each."""
    n = drawn.shape[1]
    flat = (drawn + n * np.arange(len(drawn))[:, None]).ravel()
    return np.bincount(flat, minlength=drawn.size).reshape(-1, n).astype(np.float64)


def _plain(*interval: float) -> dict[str, float | None] | None:
    return None if np.isnan(interval[0]) else rounded(Interval(*interval))
