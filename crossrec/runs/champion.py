"""The champion: of all that was trained and tested on the same people, what ranks best on the validation part.

Whatever its recipe; the test part judges it and has not chosen it. Beside it stands the best plain recommender, chosen
in the same way, for what is learned must be worth more than what is counted or solved.
"""

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossrec.data.folder import load_meta
from crossrec.errors import CrossrecError
from crossrec.evaluation.compare import HEADLINE
from crossrec.evaluation.statistics import Interval, mean_intervals
from crossrec.runs.coldstart import is_leaky
from crossrec.runs.folder import Run, list_runs

PLAIN = ("popularity", "popular-lately", "linear-map", "user-knn", "item-knn", "content", "biases")
"""Recipes that count, or are solved in one equation."""
APART = ("policy-finetune",)
"""Recipes that learn from something else than the others: from a feedback log."""
WEIGHED = ("ensemble", "known-ensemble")
"""Recipes that fit a part of themselves on the validation people."""
NEXT = "next-item"


@dataclass(frozen=True)
class Champion:
    """The best by validation on one split, and what the test says of it."""

    dataset: str
    split: str
    seed: int
    run: str
    recipe: str
    title: str
    valid: float
    """Its validation NDCG@10."""
    among: int
    """Recommenders that it was chosen from, and"""
    learned: int
    """how many of them are not plain."""
    users: int
    """Who were tested."""
    test: Interval
    """Its test NDCG@10."""
    plain: str | None
    """Run of the best plain recommender by validation; itself, where it is plain; None where there is none."""
    plain_title: str | None
    difference: Interval | None
    """Paired over users, to the best plain recommender; None where it is that itself, or there is none."""

    @property
    def is_plain(self) -> bool:
        return self.recipe in PLAIN

    @property
    def answer(self) -> str:
        """Whether it is shown to be better than what is plain: "yes", "no", "harm" (worse), "plain" or "unknown"."""
        if self.is_plain:
            return "plain"
        if self.difference is None:
            return "unknown"
        return "yes" if self.difference.positive else "harm" if self.difference.negative else "no"


def contenders(dataset: str, split: str = NEXT, seed: int = 0) -> list[Run]:
    """The finished runs on a split that were tested, do not read their answers and rank target items; the best first.

    By validation NDCG@10; of equals the newest goes first.
    """
    wanted = {"kind": split, "seed": 0 if split == NEXT else seed}
    found = [(valid, run) for run, about, valid in _eligible(dataset) if about["split"] == wanted]
    return [run for _, run in sorted(found, key=lambda one: -one[0])]


def strangers_split(dataset: str) -> tuple[str, int] | None:
    """Kind and seed of the cold-user split on which most runs contend; None where there is none."""
    counts = Counter((about["split"]["kind"], about["split"]["seed"]) for _, about, _ in _eligible(dataset))
    del counts[NEXT, 0]
    return min(counts, key=lambda split: (-counts[split], split), default=None)


def champion(dataset: str, split: str = NEXT, seed: int = 0) -> Champion | None:
    """The champion of a split; None where nothing was tested on it.

    Raises:
        CrossrecError: a run cannot be read, or two of them were not tested on the same people.
    """
    runs = contenders(dataset, split, seed)
    if not runs:
        return None
    first, about = runs[0], runs[0].config()
    plain = next((run for run in runs if run.config()["recipe"] in PLAIN), None)
    users, mine = _ndcg(first)
    difference = None
    if plain is not None and plain.name != first.name:
        others, theirs = _ndcg(plain)
        if not np.array_equal(users, others):
            raise CrossrecError(f"{first.name} and {plain.name} were not tested on the same people: train them again.")
        (difference,) = mean_intervals((mine - theirs)[None])
    return Champion(
        dataset=dataset,
        split=split,
        seed=about["split"]["seed"],
        run=first.name,
        recipe=about["recipe"],
        title=about["title"],
        valid=_valid(first),
        among=len(runs),
        learned=sum(run.config()["recipe"] not in PLAIN for run in runs),
        users=len(users),
        test=mean_intervals(mine[None])[0],
        plain=None if plain is None else plain.name,
        plain_title=None if plain is None else plain.config()["title"],
        difference=difference,
    )


def _eligible(dataset: str) -> list[tuple[Run, dict[str, Any], float]]:
    """Runs that may be a champion on some split of the dataset as it is now, with config and validation score."""
    now, found = load_meta(dataset)["hash"], []
    for run in list_runs(dataset, finished=True, tested=True):
        about = run.config()
        fits = about["dataset_hash"] == now and about["domain"] == "target" and about["recipe"] not in APART
        if fits and not is_leaky(run) and not math.isnan(valid := _valid(run)):
            found.append((run, about, valid))
    return found


def _valid(run: Run) -> float:
    return float((run.metrics().get("valid") or {}).get(HEADLINE, math.nan))


def _ndcg(run: Run) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """(U,) people of the test in their order, and the NDCG@10 of each."""
    table = run.per_user().sort_values("user")
    return table["user"].to_numpy(np.int64), table[HEADLINE].to_numpy(float)
