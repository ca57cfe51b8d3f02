"""Every recommender for cold users side by side, and a sentence about whether learning paid."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from crossrec.data.pair import DOMAINS, DomainPair
from crossrec.data.split import check_kind
from crossrec.errors import CrossrecError
from crossrec.evaluation.compare import HEADLINE, Comparison, Side, compare
from crossrec.evaluation.statistics import Interval
from crossrec.runs.compare import COLD_START, RatingRow, rating_rows, sides_of
from crossrec.runs.execute import train
from crossrec.runs.folder import Run, matching
from crossrec.training.loop import OnEvent

REFERENCE_RECIPE = "linear-map"
"""Whose NDCG all others are compared with."""
LEARNED = ("emcdr", "ptupcdr", "racrec", "transfer-sasrec", "target-sasrec")
"""Recipes that are fitted step by step, or map fitted factors; the others count, or are solved in closed form."""
ADDED = ("racrec", "transfer-sasrec", "target-sasrec")
"""Recipes that are compared where a run of them is there, and not trained for it."""


@dataclass(frozen=True)
class ColdResult:
    """The comparison; the first side is the linear map, where it could be trained."""

    dataset: str
    split: str
    users: int
    sides: list[Side]
    comparison: Comparison
    ratings: list[RatingRow]
    headline: str
    """One sentence: the best learned ranking against the best simple one."""
    stars: str | None
    """One sentence about stars; None where the data has none."""
    notes: list[str]
    """What was left out, and why."""

    def to_dict(self) -> dict[str, Any]:
        return {
            "dataset": self.dataset,
            "split": self.split,
            "users": self.users,
            "headline": self.headline,
            "stars": self.stars,
            "notes": self.notes,
            "runs": [{"run": side.run, "title": side.title} for side in self.sides],
            "ratings": [row.to_dict() for row in self.ratings],
            **self.comparison.to_dict(),
        }


def compare_cold(
    dataset: str, split: str = "cold-user", seed: int = 0, on_event: OnEvent = lambda event: None
) -> ColdResult:
    """Compares the cold-start recommenders of a dataset on one split, training those that are missing.

    Finished runs of RACRec, of the transfer model and of its baseline on that split stand beside them. What the data
    does not allow is left out, and {"event": "note", "text"} says why.

    Raises:
        CrossrecError: the split is none of cold users, or fewer than two recommenders are left.
    """
    check_kind(split)
    if split == "next-item":
        raise CrossrecError("Cold users are those of a cold-user split: give --split cold-user, or one of its kin.")
    pair = DomainPair.open(dataset)
    wanted = {"dataset_hash": pair.meta["hash"], "split": {"kind": split, "seed": seed}}
    chosen, notes = [], []
    for recipe in (*COLD_START, *ADDED):
        # A model that reads its answers is shown to show the leak, and is no result.
        found = [r for r in matching(dataset, recipe, **wanted) if not r.config()["settings"].get("leaky_item_vectors")]
        if found:
            chosen.append(found[0])
        elif recipe in COLD_START:
            try:
                _require(recipe, pair)
                chosen.append(train(recipe, dataset, seed=seed, split_kind=split, on_event=on_event))
            except CrossrecError as error:
                notes.append(f"{recipe} is left out: {error}")
                on_event({"event": "note", "text": notes[-1]})
    chosen.sort(key=lambda run: run.config()["recipe"] != REFERENCE_RECIPE)  # stable: the others keep their order
    return _result(dataset, split, chosen, notes)


def _require(recipe: str, pair: DomainPair) -> None:
    """Raises CrossrecError for what is known beforehand to be missing, so that no failed run is left behind."""
    needed = {"biases": ("target",), "emcdr": DOMAINS, "ptupcdr": DOMAINS}.get(recipe, ())
    for which in needed:
        if pair.domain(which).ratings is None:
            raise CrossrecError(f"{pair.domain(which).label} has no ratings.")
    if recipe == "content":
        for which in DOMAINS:
            if not pair.meta["domains"][which]["has_text"] and not pair.items(which)["title"].notna().any():
                raise CrossrecError(f"{pair.domain(which).label} has neither review texts nor titles.")


def _result(dataset: str, split: str, chosen: Sequence[Run], notes: list[str]) -> ColdResult:
    configs, sides = sides_of(chosen)
    learned = [config["recipe"] in LEARNED for config in configs]
    # The best of each kind is chosen by the validation part: the test part judges it, and has not chosen it.
    valid = {run.name: run.metrics()["valid"][HEADLINE] for run in chosen}
    best = {
        kind: max(kin, key=lambda side: valid[side.run])
        for kind in (True, False)
        if (kin := [side for side, is_learned in zip(sides, learned, strict=True) if is_learned is kind])
    }
    champion = best[False].run if False in best else None
    comparison = compare(sides, champion)
    rows = rating_rows(chosen, sides)
    return ColdResult(
        dataset=dataset,
        split=split,
        users=len(sides[0].table),
        sides=sides,
        comparison=comparison,
        ratings=rows,
        headline=_ranking_sentence(comparison, best),
        stars=_stars_sentence(rows, {run.name for run in chosen if run.config()["recipe"] == "biases"}),
        notes=notes,
    )


def _ranking_sentence(comparison: Comparison, best: dict[bool, Side]) -> str:
    if len(best) < 2:
        return "There is no learned model beside a simple one, so nothing can be said about learning."
    learned, simple = best[True], best[False]
    gap = next(r for r in comparison.versus if (r.run, r.group, r.metric, r.protocol) == _headline_of(learned))
    means = [comparison.mean(side.run) for side in (learned, simple)]
    numbers = " against ".join(f"{mean.value.mean:.4f}" for mean in means if mean)
    verdict = _against(gap.value, simple.title, better=1)
    return f"{learned.title} {verdict}: {HEADLINE.upper()} {numbers}, {_told(gap.value)}."


def _headline_of(side: Side) -> tuple[str, str, str, str]:
    return side.run, "all", HEADLINE, "full"


def _stars_sentence(rows: Sequence[RatingRow], biases: set[str]) -> str | None:
    """The best run that predicts stars against mean + item + user; biases: runs that are no more than that."""
    reference = next((row for row in rows if row.run is None and not row.differences), None)
    told = [(rmse.mean, row) for row in rows if row.run not in (None, *biases) and (rmse := row.values.get("rmse"))]
    if reference is None or not told:
        return None
    value, best = min(told, key=lambda pair: pair[0])
    gap, base = best.differences["rmse"], reference.values["rmse"]
    if gap is None or base is None:
        return None
    verdict = _against(gap, reference.title, better=-1)
    return f"{best.title} {verdict}: RMSE {value:.4f} against {base.mean:.4f}, {_told(gap)}."


def _against(gap: Interval, other: str, better: int) -> str:
    """In words, how a gap with an interval turned out; better: the sign of an improvement."""
    if gap.positive or gap.negative:
        return f"{'beats' if gap.positive == (better > 0) else 'does not beat'} {other}"
    return f"is not shown to beat {other}"


def _told(gap: Interval) -> str:
    return f"difference {gap.mean:+.4f}, 95 % interval {gap.low:+.4f} to {gap.high:+.4f}"
