"""Every recommender for cold users side by side, and a sentence about whether learning paid."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap

from crossrec.data.folder import load_meta
from crossrec.data.pair import DOMAINS, DomainPair
from crossrec.data.split import check_kind, open_split
from crossrec.errors import CrossrecError
from crossrec.evaluation.compare import HEADLINE, Comparison, Side, compare
from crossrec.evaluation.statistics import LEVEL, Interval
from crossrec.evaluation.verdict import Verdict, qualified
from crossrec.runs.compare import COLD_START, RatingRow, oracle_side, rating_rows, sides_of
from crossrec.runs.execute import train
from crossrec.runs.folder import Run, list_runs
from crossrec.runs.insight import Insight, insight
from crossrec.training.loop import OnEvent

Doubles = NDArray[np.float64]
REFERENCE_RECIPE = "linear-map"
"""Whose NDCG all others are compared with."""
PLAINEST = "popularity"
"""Where the way to the oracle begins."""
LEARNED = (
    "emcdr",
    "ptupcdr",
    "collective-factors",
    "racrec",
    "autoencoder",
    "unified",
    "ensemble",
    "known-ensemble",
    "transfer-sasrec",
    "target-sasrec",
)
"""Recipes that are fitted step by step, or map fitted factors; the others count, or are solved in closed form."""
ADDED = ("racrec", "autoencoder", "unified", "ensemble", "transfer-sasrec", "target-sasrec")
"""Recipes that are compared where a run of them is there, and not trained for it."""


@dataclass(frozen=True)
class ColdResult:
    """The comparison; the first side is the linear map, where there is one, and the last the oracle, where truth is
    known."""

    dataset: str
    split: str
    users: int
    sides: list[Side]
    comparison: Comparison
    ratings: list[RatingRow]
    learned: str | None
    """Run of the best learned recommender, and"""
    simple: str | None
    """of the best simple one, both by the validation part."""
    answer: str
    """Whether learning paid: "yes", "no" (not shown), "harm" (worse than simple) or "unknown"."""
    headline: str
    """One sentence: the best learned ranking against the best simple one."""
    linear: str | None
    """One sentence against the linear map; None where the headline says it, or where one of the two is missing."""
    way: str | None
    """One sentence: how far the best learned ranking is from the best possible; None where the truth is not known."""
    stars: str | None
    """One sentence about stars; None where the data has none."""
    notes: list[str]
    """What was left out, and why."""
    details: list[str]
    """What qualifies the headline: tests, the placebo, people who are harmed."""
    insight: Insight | None
    """What the headline rests on; None where the best learned or the best simple recommender is missing."""

    @property
    def sentences(self) -> list[str]:
        """What the numbers say, the headline first."""
        return [one for one in (self.headline, self.linear, self.way, self.stars, *self.details) if one]

    def to_dict(self) -> dict[str, Any]:
        names = ("dataset", "split", "users", "answer", "headline", "linear", "way", "stars", "notes", "details")
        return {
            **{name: getattr(self, name) for name in names},
            "runs": [{"run": side.run, "title": side.title} for side in self.sides],
            "ratings": [row.to_dict() for row in self.ratings],
            "insight": None if self.insight is None else self.insight.to_dict(),
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
    _require_cold(split)
    pair = DomainPair.open(dataset)
    there = {run.config()["recipe"] for run in cold_runs(dataset, split, seed)}
    notes = []
    for recipe in COLD_START:
        if recipe not in there:
            try:
                _require(recipe, pair)
                train(recipe, dataset, seed=seed, split_kind=split, on_event=on_event)
            except CrossrecError as error:
                notes.append(f"{recipe} is left out: {error}")
                on_event({"event": "note", "text": notes[-1]})
    return compare_cold_runs(cold_runs(dataset, split, seed), notes)


def cold_runs(dataset: str, split: str = "cold-user", seed: int = 0) -> list[Run]:
    """The newest finished run of each cold-start recipe on a split, the linear map first; nothing is trained.

    Of the review model the corrected form goes before the classic one, whenever it was trained.
    """
    _require_cold(split)
    wanted = {"dataset_hash": load_meta(dataset)["hash"], "split": {"kind": split, "seed": seed}}
    found: dict[str, Run] = {}
    classic = set()
    for run in list_runs(dataset, finished=True, tested=True):
        config = run.config()
        if any(config[key] != value for key, value in wanted.items()) or is_leaky(run):
            continue
        recipe, is_classic = config["recipe"], config["settings"].get("mode") == "classic"
        if recipe not in found or (recipe in classic and not is_classic):
            found[recipe] = run
            classic.discard(recipe)
            if is_classic:
                classic.add(recipe)
    order = sorted((*COLD_START, *ADDED), key=lambda recipe: recipe != REFERENCE_RECIPE)  # stable: the others stay
    return [found[recipe] for recipe in order if recipe in found]


def is_leaky(run: Run) -> bool:
    """Whether a run reads its answers: it is there to show the leak, and is no result."""
    return bool(run.config()["settings"].get("leaky_item_vectors"))


def missing(pair: DomainPair, chosen: Sequence[Run], split: str, seed: int = 0) -> tuple[list[str], list[str]]:
    """Commands that train what could stand beside the chosen runs, and sentences on what the data does not allow."""
    there = {run.config()["recipe"] for run in chosen}
    possible, notes = [], []
    for recipe in (*COLD_START, "racrec"):
        if recipe not in there:
            try:
                _require(recipe, pair)
                possible.append(recipe)
            except CrossrecError as error:
                notes.append(f"{recipe} is left out: {error}")
    where = ["--dataset", pair.name, "--split", split, *(["--seed", str(seed)] if seed else [])]
    commands = [["eval-cold", *where]] if set(possible) & set(COLD_START) else []
    commands += [["train", "racrec", *where]] if "racrec" in possible else []
    return [shlex.join(["crossrec", *words]) for words in commands], notes


def _require_cold(split: str) -> None:
    check_kind(split)
    if split == "next-item":
        raise CrossrecError("Cold users are those of a cold-user split: give --split cold-user, or one of its kin.")


def _require(recipe: str, pair: DomainPair) -> None:
    """Raises CrossrecError for what is known beforehand to be missing, so that no failed run is left behind."""
    needed = {"biases": ("target",), "emcdr": DOMAINS, "ptupcdr": DOMAINS, "collective-factors": DOMAINS}.get(
        recipe, ()
    )
    for which in needed:
        if pair.domain(which).ratings is None:
            raise CrossrecError(f"{pair.domain(which).label} has no ratings.")
    if recipe in ("content", "racrec"):
        for which in DOMAINS:
            if not pair.meta["domains"][which]["has_text"] and not pair.items(which)["title"].notna().any():
                raise CrossrecError(f"{pair.domain(which).label} has neither review texts nor titles.")


def compare_cold_runs(chosen: Sequence[Run], notes: Sequence[str] = ()) -> ColdResult:
    """Compares finished runs of one cold-user split; the linear map, where it is among them, is the baseline.

    Runs that read their answers are left out. On a demo world the oracle stands last.

    Args:
        chosen: the runs.
        notes: what is missing, and why.

    Raises:
        CrossrecError: fewer than two are left, or they are not of one dataset and split.
    """
    notes = [*notes, *(f"{run.name} is left out: it reads its answers." for run in chosen if is_leaky(run))]
    chosen = [run for run in chosen if not is_leaky(run)]
    chosen = sorted(chosen, key=lambda run: run.config()["recipe"] != REFERENCE_RECIPE)
    configs, sides = sides_of(chosen)
    recipes = {run.name: config["recipe"] for run, config in zip(chosen, configs, strict=True)}
    # The best of each kind is chosen by the validation part: the test part judges it, and has not chosen it.
    valid = {run.name: run.metrics()["valid"][HEADLINE] for run in chosen}
    best = {
        kind: max(kin, key=lambda side: valid[side.run])
        for kind in (True, False)
        if (kin := [side for side in sides if (recipes[side.run] in LEARNED) is kind])
    }
    learned, simple = best.get(True), best.get(False)
    named = {recipe: side for side in reversed(sides) if (recipe := recipes[side.run]) in (REFERENCE_RECIPE, PLAINEST)}
    pair = DomainPair.open(configs[0]["dataset"])
    oracle = oracle_side(pair, configs[0])
    comparison = compare([*sides, oracle] if oracle else sides, simple.run if simple else None)
    rows = rating_rows(chosen, sides)
    found = Verdict(*_ranking(comparison, learned, simple), [])
    rests_on = None
    if learned and simple:
        split = open_split(pair, configs[0]["split"]["kind"], configs[0]["split"]["seed"])
        rests_on = insight(chosen, sides, pair, split, learned.run, simple.run)
        labels = pair.source.label, pair.target.label
        test, slices = rests_on.test("all"), rests_on.slices
        found = qualified(found, learned.title, test, rests_on.placebo, slices, *labels, whom="the strangers")
    linear = named.get(REFERENCE_RECIPE)
    return ColdResult(
        dataset=configs[0]["dataset"],
        split=configs[0]["split"]["kind"],
        users=len(sides[0].table),
        sides=[*sides, oracle] if oracle else sides,
        comparison=comparison,
        ratings=rows,
        learned=learned.run if learned else None,
        simple=simple.run if simple else None,
        answer=found.answer,
        headline=found.headline,
        linear=_linear_sentence(comparison, learned) if simple and linear and simple.run != linear.run else None,
        way=_way_sentence(learned, named.get(PLAINEST), oracle),
        stars=_stars_sentence(rows, {run for run, recipe in recipes.items() if recipe == "biases"}),
        notes=notes,
        details=found.details,
        insight=rests_on,
    )


def _ranking(comparison: Comparison, learned: Side | None, simple: Side | None) -> tuple[str, str]:
    if learned is None or simple is None:
        return "unknown", "There is no learned model beside a simple one, so nothing can be said about learning."
    gap = next(r for r in comparison.versus if (r.run, r.group, r.metric, r.protocol) == _headline_of(learned)).value
    answer = "yes" if gap.positive else "harm" if gap.negative else "no"
    means = [comparison.mean(side.run) for side in (learned, simple)]
    numbers = " against ".join(f"{mean.value.mean:.4f}" for mean in means if mean)
    verdict = _against(gap, simple.title, better=1)
    return answer, f"{learned.title} {verdict}: {HEADLINE.upper()} {numbers}, {_told(gap)}."


def _linear_sentence(comparison: Comparison, learned: Side | None) -> str | None:
    """The best learned ranking against the linear map, which all differences are to."""
    if learned is None or (row := comparison.difference(learned.run)) is None:
        return None
    verdict = _against(row.value, "the linear map", better=1)
    mean = comparison.mean(learned.run)
    assert mean is not None
    numbers = f"{mean.value.mean:.4f} against {mean.value.mean - row.value.mean:.4f}"
    return f"{learned.title} {verdict}: {HEADLINE.upper()} {numbers}, {_told(row.value)}."


def _way_sentence(learned: Side | None, popularity: Side | None, oracle: Side | None) -> str | None:
    if learned is None or popularity is None or oracle is None:
        return None
    value, start, end = (
        side.table.sort_values("user")[HEADLINE].to_numpy(float) for side in (learned, popularity, oracle)
    )
    share = share_of_the_way(value, start, end)
    low, high = float(start.mean()), float(end.mean())
    if share is None or high <= low:
        return f"Popularity ({low:.4f}) is as good as the oracle ({high:.4f}): there is nothing to learn here."
    percent = [round(100 * part) for part in (share.mean, share.low, share.high)]
    return (
        f"From popularity ({low:.4f}) to the oracle ({high:.4f}), which knows the truth, {learned.title} goes "
        f"{percent[0]} % of the way, 95 % interval {percent[1]} to {percent[2]} %."
    )


def share_of_the_way(value: Doubles, start: Doubles, end: Doubles, seed: int = 0) -> Interval | None:
    """How far the mean of `value` is on the way from that of `start` to that of `end`: 0 is start, 1 is end.

    Args:
        value, start, end: (U,) of the same users in the same order, who are resampled together.
        seed: of the resampling.

    Returns:
        The share with its 95 % bootstrap interval; None where start and end are level, or with a single user.
    """

    def share(value: Doubles, start: Doubles, end: Doubles, axis: int = -1) -> Any:
        means = [part.mean(axis=axis) for part in (value, start, end)]
        return (means[0] - means[1]) / (means[2] - means[1])

    if len(value) < 2 or start.mean() == end.mean():
        return None
    with np.errstate(invalid="ignore", divide="ignore"):
        found = bootstrap(
            (value, start, end),
            share,
            n_resamples=2000,
            confidence_level=LEVEL,
            method="percentile",
            paired=True,
            vectorized=True,
            batch=max(1, 4_000_000 // len(value)),
            rng=np.random.default_rng(seed),
        ).confidence_interval
    return Interval(float(share(value, start, end)), float(found.low), float(found.high))


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
