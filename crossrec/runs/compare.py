"""Finished runs side by side: which belong together, what they say, and the verdict."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from crossrec.data.pair import DomainPair
from crossrec.data.split import open_split
from crossrec.errors import CrossrecError
from crossrec.evaluation.compare import Comparison, Side, Verdict, compare, verdict
from crossrec.evaluation.protocol import evaluate
from crossrec.runs.demo import oracle
from crossrec.runs.execute import train
from crossrec.runs.folder import Run, latest, matching
from crossrec.training.loop import OnEvent

BASELINE, TRANSFER = "target-sasrec", "transfer-sasrec"
SIMPLE = ("popularity", "linear-map")


@dataclass(frozen=True)
class Result:
    """A comparison with its sides, first the baseline, and a verdict where transfer and baseline are among them."""

    dataset: str
    sides: list[Side]
    comparison: Comparison
    verdict: Verdict | None

    def to_dict(self) -> dict[str, Any]:
        return {
            "dataset": self.dataset,
            "runs": [{"run": side.run, "title": side.title} for side in self.sides],
            "verdict": asdict(self.verdict) if self.verdict else None,
            **self.comparison.to_dict(),
        }


def compare_runs(chosen: Sequence[Run], with_oracle: bool = True) -> Result:
    """Compares runs of one dataset and split; the first is the baseline of all differences.

    On a demo world the oracle stands last: the best that any recommender could do.

    Raises:
        CrossrecError: fewer than two, one twice, not finished, or of different data, splits or domains.
    """
    if len(chosen) < 2 or len({run.name for run in chosen}) < len(chosen):
        raise CrossrecError("A comparison needs at least two different runs.")
    configs = [run.config() for run in chosen]
    for key in ("dataset", "dataset_hash", "split", "domain"):
        for run, config in zip(chosen, configs, strict=True):
            if config[key] != configs[0][key]:
                raise CrossrecError(
                    f"{chosen[0].name} and {run.name} differ in their {key.replace('_', ' ')} "
                    f"({configs[0][key]} and {config[key]}): only runs of the same questions can be compared."
                )
    titles = _titles(configs)
    sides = [Side(run.name, title, run.per_user()) for run, title in zip(chosen, titles, strict=True)]
    pair = DomainPair.open(configs[0]["dataset"])
    best = oracle(pair) if with_oracle and configs[0]["domain"] == "target" else None
    if best is not None and pair.meta["hash"] == configs[0]["dataset_hash"]:
        split = open_split(pair, configs[0]["split"]["kind"], configs[0]["split"]["seed"])
        sides.append(Side("oracle", "Oracle (knows the truth)", evaluate(best, pair, split).table))
    recipes = {run.name: config["recipe"] for run, config in zip(chosen, configs, strict=True)}
    transfer = next((name for name, recipe in recipes.items() if recipe == TRANSFER), None)
    comparison = compare(sides, champion=transfer)
    answer = None
    if transfer is not None and recipes[chosen[0].name] == BASELINE:
        answer = verdict(
            comparison,
            transfer,
            chosen[0].name,
            [name for name, recipe in recipes.items() if recipe in SIMPLE],
            pair.source.label,
            pair.target.label,
        )
    return Result(pair.name, sides, comparison, answer)


def matching_runs(dataset: str, split: str = "next-item", seed: int = 0) -> list[Run] | None:
    """The newest baseline, the newest transfer run beside it, and the simple recommenders that are there.

    A transfer run is matched with a baseline of the same seed, width and budget if there is one. None where a baseline
    or a transfer run is missing.
    """
    meta = DomainPair.open(dataset).meta
    wanted = {"dataset_hash": meta["hash"], "split": {"kind": split, "seed": 0 if split == "next-item" else seed}}
    transfer = latest(dataset, TRANSFER, **wanted)
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
