"""Finished runs side by side: which belong together, what they say, and the verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from crossrec.data.pair import DomainPair
from crossrec.data.split import open_split
from crossrec.errors import CrossrecError
from crossrec.evaluation.compare import Comparison, Side, compare
from crossrec.evaluation.protocol import evaluate
from crossrec.evaluation.ratings import BASELINES
from crossrec.evaluation.statistics import Interval, rounded
from crossrec.evaluation.verdict import Verdict, plain_verdict, qualified, verdict
from crossrec.runs import controls
from crossrec.runs.demo import oracle
from crossrec.runs.execute import ask_controls, train
from crossrec.runs.folder import Run, is_untested, latest, matching
from crossrec.runs.insight import Insight, insight
from crossrec.runs.plan import view
from crossrec.training.loop import OnEvent
from crossrec.training.recipes import find_recipe

BASELINE, TRANSFER = "target-sasrec", "transfer-sasrec"
SIMPLE = ("popularity", "popular-lately", "linear-map", "item-knn")
"""Plain recommenders that stand in every comparison of known people; trained where they are missing."""
ORACLE = "oracle"
"""Stands for a run's name where the oracle is a side."""
COLD_START = (
    *("popularity", "popular-lately", "linear-map", "user-knn", "content", "biases"),
    *("emcdr", "ptupcdr", "collective-factors"),
)
"""What is trained for people whom the target domain does not know, where it is missing."""


@dataclass(frozen=True)
class RatingRow:
    """How well one side tells stars; None where it is not defined."""

    run: str | None
    """None for a baseline that is no run."""
    title: str
    values: dict[str, Interval | None]
    """By the names of `ratings.METRICS`."""
    differences: dict[str, Interval | None]
    """Paired, over users, to mean + item + user; empty for that one itself."""

    def to_dict(self) -> dict[str, Any]:
        def plain(values: dict[str, Interval | None]) -> dict[str, Any]:
            return {name: None if value is None else rounded(value) for name, value in values.items()}

        return {"run": self.run, "title": self.title, **plain(self.values), "differences": plain(self.differences)}


@dataclass(frozen=True)
class Result:
    """A comparison with its sides, first the baseline, the verdict, and what it rests on."""

    dataset: str
    sides: list[Side]
    comparison: Comparison
    verdict: Verdict
    insight: Insight
    ratings: list[RatingRow] = field(default_factory=list)
    """Where the data has stars: the sides, then the plain predictors."""

    def to_dict(self) -> dict[str, Any]:
        return {
            "dataset": self.dataset,
            "runs": [{"run": side.run, "title": side.title} for side in self.sides],
            "verdict": asdict(self.verdict),
            "ratings": [row.to_dict() for row in self.ratings],
            "insight": self.insight.to_dict(),
            **self.comparison.to_dict(),
        }


def compare_runs(chosen: Sequence[Run], with_oracle: bool = True) -> Result:
    """Compares runs of one dataset and split; the first is the baseline of all differences.

    On a demo world the oracle stands last: the best that any recommender could do.

    Raises:
        CrossrecError: fewer than two, one twice, not finished, or of different data, splits or domains.
    """
    configs, sides = sides_of(chosen)
    pair = DomainPair.open(configs[0]["dataset"])
    if with_oracle and (best := oracle_side(pair, configs[0])):
        sides.append(best)
    recipes = {run.name: config["recipe"] for run, config in zip(chosen, configs, strict=True)}
    transfer = next((name for name, recipe in recipes.items() if recipe == TRANSFER), None)
    comparison = compare(sides, champion=transfer)
    baseline, challenger = chosen[0].name, transfer
    if challenger in (None, baseline):
        challenger = chosen[1].name
    split = open_split(pair, configs[0]["split"]["kind"], configs[0]["split"]["seed"])
    seen = view(find_recipe(configs[0]["recipe"]), pair, split)
    found = insight(chosen, sides[: len(chosen)], *seen, challenger, baseline)
    labels = pair.source.label, pair.target.label
    about_transfer = challenger == transfer and recipes[baseline] == BASELINE
    if about_transfer:
        simple = [name for name, recipe in recipes.items() if recipe in SIMPLE]
        answer = verdict(comparison, challenger, baseline, simple, *labels)
    else:
        answer = plain_verdict(comparison, challenger, baseline)
    title = next(side.title for side in sides if side.run == challenger)
    test = found.test("with_source" if about_transfer else "all")
    answer = qualified(answer, title, test, found.placebo, found.slices, *labels)
    return Result(pair.name, sides, comparison, answer, found, rating_rows(chosen, sides))


def ask_missing(chosen: Sequence[Run], on_event: OnEvent = lambda event: None) -> None:
    """Asks the controls of the runs that were not asked them; {"event": "note", "text"} says of which.

    One that cannot be asked any more, such as where its model was deleted, is compared without, and told.
    """
    for run in chosen:
        if run.finished and not controls.are_there(run):
            on_event({"event": "note", "text": f"asking the controls of {run.name}"})
            try:
                ask_controls(run)
            except CrossrecError as error:
                on_event({"event": "note", "text": f"{run.name} is compared without its controls: {error}"})


def oracle_side(pair: DomainPair, config: Mapping[str, Any]) -> Side | None:
    """The best that any recommender could do on the questions of a run; None where the truth is not known."""
    best = oracle(pair) if config["domain"] == "target" and config["dataset_hash"] == pair.meta["hash"] else None
    if best is None:
        return None
    split = open_split(pair, config["split"]["kind"], config["split"]["seed"])
    return Side(ORACLE, "Oracle (knows the truth)", evaluate(best, pair, split).table)


def sides_of(chosen: Sequence[Run]) -> tuple[list[dict[str, Any]], list[Side]]:
    """The configs of runs, and the runs as sides of a comparison.

    Raises:
        CrossrecError: fewer than two, one twice, not finished, or of different data, splits or domains.
    """
    if len(chosen) < 2 or len({run.name for run in chosen}) < len(chosen):
        raise CrossrecError("A comparison needs at least two different runs.")
    configs = [run.config() for run in chosen]
    for run, config in zip(chosen, configs, strict=True):
        if is_untested(config):
            raise CrossrecError(f"{run.name} leaves the test part alone: only runs that were tested can be compared.")
    for key in ("dataset", "dataset_hash", "split", "domain"):
        for run, config in zip(chosen, configs, strict=True):
            if config[key] != configs[0][key]:
                raise CrossrecError(
                    f"{chosen[0].name} and {run.name} differ in their {key.replace('_', ' ')} "
                    f"({configs[0][key]} and {config[key]}): only runs of the same questions can be compared."
                )
    titles = _titles(configs)
    return configs, [Side(run.name, title, run.per_user()) for run, title in zip(chosen, titles, strict=True)]


def rating_rows(chosen: Sequence[Run], sides: Sequence[Side]) -> list[RatingRow]:
    """What the runs stored about stars, and the plain predictors once, which are the same for all of them."""
    titles = {side.run: side.title for side in sides}
    rows = [stored_rows(run.metrics().get("ratings"), run.name, titles[run.name]) for run in chosen]
    plain = next((found[1:] for found in rows if found), [])
    return [found[0] for found in rows if found] + plain


def stored_rows(stored: dict[str, Any] | None, run: str, title: str) -> list[RatingRow]:
    """The rows of one run and of the plain predictors from `ratings.summary`; none where there is none."""

    def row(run: str | None, title: str, name: str) -> RatingRow:
        assert stored is not None
        values, differences = (
            {metric: Interval(**_numbers(value)) if value else None for metric, value in block.get(name, {}).items()}
            for block in (stored["models"], stored["differences"])
        )
        return RatingRow(run, title, values, differences)

    if stored is None:
        return []
    return [row(run, title, "recommender"), *(row(None, label, name) for name, label in BASELINES.items())]


def _numbers(stored: dict[str, float | None]) -> dict[str, float]:
    return {name: float("nan") if value is None else value for name, value in stored.items()}


def matching_runs(dataset: str, split: str = "next-item", seed: int = 0) -> list[Run] | None:
    """The newest baseline, the newest transfer run beside it, and the simple recommenders that are there.

    A transfer run is matched with a baseline of the same seed, width and budget if there is one. One whose bridge is
    "none" carries nothing over, and stands for no transfer. None where a baseline or a transfer run is missing.
    """
    meta = DomainPair.open(dataset).meta
    wanted = {"dataset_hash": meta["hash"], "split": {"kind": split, "seed": 0 if split == "next-item" else seed}}
    carries = (run for run in matching(dataset, TRANSFER, **wanted) if run.config()["settings"].get("bridge") != "none")
    transfer = next(carries, None)
    if transfer is None:
        return None
    about = transfer.config()
    baselines = matching(dataset, BASELINE, **wanted)
    if not baselines:
        return None
    # The newest comes first, and min takes the first of the best.
    baseline = min(baselines, key=lambda run: (bool(unlike(run, transfer)), run.config()["seed"] != about["seed"]))
    simple = [run for recipe in SIMPLE if (run := latest(dataset, recipe, **wanted))]
    return [baseline, transfer, *simple]


def unlike(baseline: Run, transfer: Run) -> dict[str, tuple[Any, Any]]:
    """Settings of the sequence model and its budget in which two runs differ; empty for a fair comparison."""
    a, b = baseline.config()["settings"], transfer.config()["settings"]
    return {key: (a[key], b[key]) for key in a if key in b and a[key] != b[key]}


def compare_dataset(
    dataset: str, split: str = "next-item", seed: int = 0, on_event: OnEvent = lambda event: None
) -> Result:
    """Compares the matching runs of a dataset, training the simple recommenders where they are missing.

    One that the data does not allow is left out, and {"event": "note", "text"} says why.

    Raises:
        CrossrecError: the transfer run or its baseline is missing; the sentence says which command makes it.
    """
    found = matching_runs(dataset, split, seed)
    if found is None:
        raise CrossrecError(
            f"{dataset!r} has no finished baseline and transfer run to compare: run `crossrec train-source`, "
            f"`train-target-transfer` and `train-target-baseline` with `--dataset {dataset}` first."
        )
    recipes = {run.config()["recipe"] for run in found}
    missing = [recipe for recipe in SIMPLE if recipe not in recipes]
    for recipe in missing:
        try:
            train(recipe, dataset, seed=seed, split_kind=split, on_event=on_event)
        except CrossrecError as error:
            on_event({"event": "note", "text": f"{recipe} is left out: {error}"})
    return compare_runs(matching_runs(dataset, split, seed) or found)


def _titles(configs: list[dict[str, Any]]) -> list[str]:
    """Titles of recipes; where a recipe occurs twice, with seed or run name."""
    titles = [config["title"] for config in configs]
    if len(set(titles)) < len(titles):
        titles = [f"{t}, seed {c['seed']}" if titles.count(t) > 1 else t for t, c in zip(titles, configs, strict=True)]
    if len(set(titles)) < len(titles):
        titles = [c["run"] if titles.count(t) > 1 else t for t, c in zip(titles, configs, strict=True)]
    return titles
