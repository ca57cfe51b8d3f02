"""Who tells the stars of strangers best: plain biases, maps from the source, one factorisation, and the ensemble.

    python bench/stars.py books_movies --seeds 3
    python bench/stars.py books_movies --seeds 3 --set hidden=64 --set epochs=3

Trains each recipe on splits of cold users, with the same seed for the split and the training, and prints RMSE and MAE
of the hidden stars, means over the seeds. Runs that are there are not trained again. `--set` is for the ensemble alone,
whose learned member ranks and has no part in the stars. Then the paired difference of each to PTUPCDR: the errors are
of people drawn with replacement, all of them for both sides, and pooled over the splits in which they are tested.
"""

import argparse

import numpy as np
import pandas as pd

from crossrec.config import pairs
from crossrec.errors import CrossrecError
from crossrec.evaluation.ratings import SCALE
from crossrec.runs.execute import train
from crossrec.runs.folder import Run, list_runs

KINDS = ("cold-user-20", "cold-user-50", "cold-user-80")
RECIPES = ("emcdr", "ptupcdr", "collective-factors", "ensemble")
BIASES, REFERENCE = "mean + item + user", "ptupcdr"
RESAMPLES = 2000


def trained(recipe: str, dataset: str, kind: str, seed: int, settings: dict[str, str]) -> Run:
    """The finished run of a recipe on a split, trained where it is not there."""
    name = f"{dataset}-stars-{recipe}-{kind}-{seed}"
    found = next((run for run in list_runs(dataset, finished=True) if run.name == name), None)
    if found is not None:
        return found
    print(f"training {name}", flush=True)
    return train(recipe, dataset, settings, seed, kind, name=name)


def misses(runs: dict[str, list[Run]]) -> dict[str, pd.DataFrame]:
    """{who: one row a hidden event: split seed, user, miss}, the predictions brought to the scale."""
    found = {}
    for who, of in runs.items():
        parts = []
        for seed, run in enumerate(of):
            table = run.ratings()
            if table is None or table["predicted"].isna().any():
                raise CrossrecError(f"{run.name} predicted no stars.")
            parts.append(table.assign(seed=seed))
            if who == REFERENCE:
                found.setdefault(BIASES, []).append(table.assign(seed=seed, predicted=table["biases"]))
        found[who] = parts
    return {who: pd.concat(parts).pipe(_missed) for who, parts in found.items()}


def _missed(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(miss=table["predicted"].clip(*SCALE) - table["rating"])[["seed", "user", "event", "miss"]]


def means(table: pd.DataFrame) -> tuple[float, float]:
    """RMSE and MAE, means over the seeds."""
    by_seed = table.assign(square=table["miss"] ** 2, size=table["miss"].abs()).groupby("seed")
    return float(np.sqrt(by_seed["square"].mean()).mean()), float(by_seed["size"].mean().mean())


def differences(one: pd.DataFrame, other: pd.DataFrame) -> list[tuple[float, float, float]]:
    """Of RMSE and of MAE, with a 95 % bootstrap interval over people, who are drawn with all of their events."""
    assert np.array_equal(one[["seed", "event"]], other[["seed", "event"]])
    users, owner = np.unique(one["user"], return_inverse=True)
    times = np.random.default_rng(0).multinomial(len(users), np.full(len(users), 1 / len(users)), RESAMPLES)
    times = np.concatenate([np.ones((1, len(users))), times])  # as they are, first

    def drawn(values: pd.Series) -> np.ndarray:
        """(1 + resamples,) means over events."""
        return times @ np.bincount(owner, values) / (times @ np.bincount(owner))

    found = []
    for error in (lambda t: np.sqrt(drawn(t["miss"] ** 2)), lambda t: drawn(t["miss"].abs())):
        gap = error(one) - error(other)
        found.append((float(gap[0]), *np.percentile(gap[1:], [2.5, 97.5]).tolist()))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="RMSE and MAE of the stars of cold users.")
    parser.add_argument("dataset", help="name of a dataset in CROSSREC_HOME, with stars in both domains")
    parser.add_argument("--seeds", type=int, default=3, help="how many splits of each kind, from seed 0 (3)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of the ensemble")
    asked = parser.parse_args()
    tables = {}
    try:
        settings = pairs(asked.set)
        for kind in KINDS:
            runs = {
                recipe: [
                    trained(recipe, asked.dataset, kind, seed, settings if recipe == "ensemble" else {})
                    for seed in range(asked.seeds)
                ]
                for recipe in RECIPES
            }
            tables[kind] = misses(runs)
    except CrossrecError as error:
        parser.error(str(error))
    names = (BIASES, *RECIPES)
    print(f"\n{asked.dataset}: RMSE / MAE, means of {asked.seeds} splits\n")
    print(f"| | {' | '.join(KINDS)} |")
    print(f"|---|{'---|' * len(KINDS)}")
    for who in names:
        cells = ("{:.4f} / {:.4f}".format(*means(tables[kind][who])) for kind in KINDS)
        print(f"| {who} | {' | '.join(cells)} |")
    print(f"\nDifference to {REFERENCE}, RMSE and MAE, 95 % interval over people\n")
    print(f"| | {' | '.join(KINDS)} |")
    print(f"|---|{'---|' * len(KINDS)}")
    for who in names:
        if who != REFERENCE:
            gaps = (differences(tables[kind][who], tables[kind][REFERENCE]) for kind in KINDS)
            cells = ("; ".join("{:+.4f} ({:+.4f} to {:+.4f})".format(*one) for one in gap) for gap in gaps)
            print(f"| {who} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
