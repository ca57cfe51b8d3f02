"""Strangers in rotation: everybody who is in both domains is held out once, over ten folds, and asked in full ranking.

A test part of a tenth of the people is too small to tell recommenders a few per cent apart. Here each fold trains
everything anew without its tenth, weighs the ensemble on the next tenth, and asks; people of all folds are then one
test. `python bench/cold.py DATASET` needs an imported dataset; `--swap` goes the other way, from target to source.
Tables of finished folds are kept in `--keep`, so that a rotation can be gone on with.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crossrec.config import from_dict, pairs
from crossrec.data.pair import DomainPair
from crossrec.data.split import cold_fold
from crossrec.evaluation.protocol import quick, ranked
from crossrec.evaluation.statistics import mean_intervals
from crossrec.models.ensemble import Ensemble
from crossrec.runs.plan import reads_text, with_text
from crossrec.training.ensemble import EnsembleConfig, ensemble
from crossrec.training.job import Job
from crossrec.training.recipes import find_recipe

PLAIN = ("popularity", "content", "user-knn", "linear-map")


def fold_table(pair: DomainPair, fold: int, all_source: bool, settings: dict[str, str]) -> pd.DataFrame:
    """One row a test person and recommender: user, recommender, ndcg@10, hr@10, and its validation NDCG@10."""
    config = from_dict(EnsembleConfig, settings)
    split = cold_fold(pair, fold, all_source=all_source)
    job = Job(pair, split, config, fold, lambda recommender: quick(recommender, pair, split))
    together, fitted = ensemble(job)
    assert isinstance(together, Ensemble)
    tables = []
    for name, recommender in (*together.members.items(), ("ensemble", together)):
        found = ranked(recommender, pair, split.test)[["user", "ndcg@10", "hr@10"]]
        valid = quick(recommender, pair, split)["ndcg@10"]
        tables.append(found.assign(recommender=name, valid=valid, fold=fold))
    weights = {name: round(float(w), 2) for name, w in zip(together.members, together.weights, strict=True)}
    print(f"fold {fold}: {len(split.test)} people, {fitted.best_epoch} epochs, weights {weights}", flush=True)
    return pd.concat(tables)


def ratios(values: NDArray[np.float64], base: NDArray[np.float64], resamples: int = 2000) -> tuple[float, float, float]:
    """Ratio of the means of the same people's values, with its 95 % bootstrap interval over people."""
    rng, n = np.random.default_rng(0), len(values)
    drawn = [rng.integers(0, n, n) for _ in range(resamples)]
    found = np.array([values[rows].mean() / base[rows].mean() for rows in drawn])
    low, high = np.quantile(found, [0.025, 0.975])
    return float(values.mean() / base.mean()), float(low), float(high)


def report(table: pd.DataFrame) -> None:
    valid = table.groupby("recommender")["valid"].mean()
    best = valid[[name for name in PLAIN if name in valid.index]].idxmax()
    # Of people whose number does not divide by ten, a few are asked in two folds.
    wide = table.pivot_table(index="user", columns="recommender", values="ndcg@10")
    hits = table.groupby("recommender")["hr@10"].mean()
    print(f"\n{len(wide):,} people; the best simple one by validation: {best}\n")
    print(f"| | NDCG@10 | HR@10 | beside {best} | difference |\n|---|---|---|---|---|")
    for name in wide.mean().sort_values(ascending=False).index:
        values, base = wide[name].to_numpy(float), wide[best].to_numpy(float)
        mean, gap = mean_intervals(np.stack([values, values - base]))
        ratio = "{:.2f} ({:.2f} to {:.2f})".format(*ratios(values, base))
        print(
            f"| {name} | {mean.mean:.4f} ({mean.low:.4f} to {mean.high:.4f}) | {hits[name]:.4f} | {ratio} | "
            f"{gap.mean:+.4f} ({gap.low:+.4f} to {gap.high:+.4f}) |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset")
    parser.add_argument("--folds", type=int, default=10)
    parser.add_argument("--first", type=int, default=0, help="the first fold")
    parser.add_argument("--swap", action="store_true", help="from the target domain to the source domain")
    parser.add_argument("--all-source", action="store_true", help="show source events that came later too")
    parser.add_argument("--keep", type=Path, help="folder of the folds' tables")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of the ensemble")
    asked = parser.parse_args()
    settings = pairs(asked.set)
    pair, config = DomainPair.open(asked.dataset), from_dict(EnsembleConfig, settings)
    if reads_text(find_recipe("ensemble"), config, pair):
        assert config.encoder is not None
        pair = with_text(pair, config.encoder, config.most_reviews)
    pair = pair.swapped() if asked.swap else pair
    tables = []
    for fold in range(asked.first, asked.first + asked.folds):
        way = "-swapped" * asked.swap + "-all-source" * asked.all_source
        path = None if asked.keep is None else asked.keep / f"{asked.dataset}{way}-{fold}.parquet"
        if path is not None and path.exists():
            tables.append(pd.read_parquet(path))
            continue
        began = time.monotonic()
        tables.append(fold_table(pair, fold, asked.all_source, settings))
        print(f"  {time.monotonic() - began:.0f} s", flush=True)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            tables[-1].to_parquet(path, index=False)
    print(f"{pair.source.label} -> {pair.target.label}, settings {settings or 'as they are'}")
    report(pd.concat(tables))


if __name__ == "__main__":
    main()
