"""Bridges side by side: the transfer model with each of them, and with none, at the same settings and seeds.

    python bench/bridges.py demo --seeds 3
    python bench/bridges.py demo --seeds 3 --set epochs=10 --set fusion=add

Each seed trains a source model, `transfer-sasrec` with every bridge upon it, and the same model without a source. Runs
that are there are not trained again. The table is of the people who have a source history: their NDCG@10, averaged over
the seeds, and the paired difference to no bridge with its 95 % interval: over people, and over people and seeds.
"""

import argparse
import dataclasses

import numpy as np

from crossrec.config import pairs
from crossrec.errors import CrossrecError
from crossrec.evaluation.compare import HEADLINE
from crossrec.evaluation.statistics import Interval, mean_intervals, seed_spread
from crossrec.models.bridge import BRIDGES
from crossrec.runs.execute import train
from crossrec.runs.folder import Run, list_runs
from crossrec.training.recipes import RECIPES

SOURCE, TRANSFER, NONE = "source-sasrec", "transfer-sasrec", "none"


def trained(recipe: str, name: str, dataset: str, settings: dict, seed: int, source: str | None = None) -> Run:
    """The finished run of a name, trained where it is not there."""
    found = next((run for run in list_runs(dataset, finished=True) if run.name == name), None)
    if found is not None:
        return found
    print(f"training {name}", flush=True)
    return train(recipe, dataset, settings, seed, source_run=source, name=name)


def runs_of(dataset: str, seeds: int, settings: dict[str, str]) -> dict[str, list[Run]]:
    """{bridge: its runs, by seed}."""
    shared = {f.name for f in dataclasses.fields(RECIPES[SOURCE].config)}
    below = {key: value for key, value in settings.items() if key in shared}
    found: dict[str, list[Run]] = {kind: [] for kind in BRIDGES}
    for seed in range(seeds):
        source = trained(SOURCE, f"{dataset}-bridge-source-{seed}", dataset, below, seed)
        for kind in BRIDGES:
            name, own = f"{dataset}-bridge-{kind}-{seed}", {**settings, "bridge": kind}
            found[kind].append(trained(TRANSFER, name, dataset, own, seed, source.name))
    return found


def values_of(runs: list[Run]) -> np.ndarray:
    """(S, Q) NDCG@10 of the people with a source history, by seed and user."""
    tables = [run.per_user().sort_values("user") for run in runs]
    return np.stack([table.loc[table["n_source"] > 0, HEADLINE].to_numpy(float) for table in tables])


def told(value: Interval) -> str:
    return f"{value.mean:+.4f} ({value.low:+.4f} to {value.high:+.4f})"


def main() -> None:
    parser = argparse.ArgumentParser(description="The transfer model with each bridge, and with none.")
    parser.add_argument("dataset", help="name of a dataset in CROSSREC_HOME")
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 0 (3)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of all of them")
    asked = parser.parse_args()
    try:
        runs = runs_of(asked.dataset, asked.seeds, pairs(asked.set))
    except CrossrecError as error:
        parser.error(str(error))
    values = {kind: values_of(runs[kind]) for kind in runs}
    people = values[NONE].shape[1]
    print(f"\n{asked.dataset}: {people:,} people with a source history, {asked.seeds} seeds\n")
    print("| Bridge | NDCG@10 | Difference to none, over people | over people and seeds | Weights of the bridge |")
    print("|---|---|---|---|---|")
    for kind, value in values.items():
        (mean,) = mean_intervals(value.mean(axis=0)[None])
        weights = runs[kind][0].metrics()["parameters"] - runs[NONE][0].metrics()["parameters"]
        row = f"| {kind} | {mean.mean:.4f} ({mean.low:.4f} to {mean.high:.4f}) |"
        if kind == NONE:
            print(f"{row} | | 0 |")
        else:
            gap = seed_spread(value, values[NONE])
            print(f"{row} {told(gap.users)} | {told(gap.both)} | {weights:,} |")


if __name__ == "__main__":
    main()
