"""Known people by the protocol of ABXI (WWW 2025): the last event over both domains, in whichever it falls.

Both domains are put into one order, the last event is the test, the one before it the validation, and each is ranked
among itself and 999 uniform items of its own domain that the person does not have; figures are means over the people
whose last event is in that domain. One training of the unified encoder answers both. Beside it stands full ranking.

Amazon's times are dates, so many events tie, and the published order of a day, by domain and then by item, can be
learned in part. `--shuffle` puts the events of each day into a random order and shows what is left. `--set trend=both`
lets the encoder see what other people took shortly after the last event that is shown, as the training part of this
protocol holds it; `past` only the weeks up to that of the event.
`python bench/warm.py DATASET` needs an imported dataset whose source is the domain that goes first within a day.
"""

import argparse
import time
from dataclasses import replace

import numpy as np

from crossrec.config import from_dict, pairs
from crossrec.data.pair import Domain, DomainPair
from crossrec.data.split import MERGED, Split, split_unstored
from crossrec.evaluation.protocol import evaluate, quick
from crossrec.models.recommender import Recommender
from crossrec.models.trend import SIDES
from crossrec.models.unified import UnifiedRecommender
from crossrec.runs.plan import reads_text, with_text
from crossrec.training.ensemble import weighed
from crossrec.training.job import Job
from crossrec.training.known_ensemble import KnownEnsembleConfig
from crossrec.training.loop import Control
from crossrec.training.recipes import find_recipe
from crossrec.training.simple import ItemKNNConfig, PopularLatelyConfig, item_knn, popular_lately
from crossrec.training.unified import UnifiedRecipeConfig, unified

NEGATIVES = 999
DAY = 86_400_000
SHOWN = ("sampled.hr@10", "sampled.ndcg@10", "sampled.mrr@10", "hr@10", "ndcg@10")


def shuffled(pair: DomainPair, seed: int) -> DomainPair:
    """The pair with the events of each person's day in a random order, over both domains."""
    rng = np.random.default_rng(seed)

    def mixed(domain: Domain) -> Domain:
        assert domain.times is not None
        times = domain.times + rng.integers(0, DAY, len(domain.times))
        order = np.lexsort((times, np.repeat(np.arange(pair.n_users), domain.counts)))
        stars = None if domain.ratings is None else domain.ratings[order]
        return replace(domain, items=domain.items[order], times=times[order], ratings=stars)

    return replace(pair, source=mixed(pair.source), target=mixed(pair.target))


def measured(recommender: Recommender, pair: DomainPair, split: Split, part: str) -> dict[str, float]:
    """{"people", metric: mean}"""
    table = evaluate(recommender, pair, split, part, sampled=NEGATIVES).table
    return {"people": len(table), **{name: float(table[name].mean()) for name in SHOWN}}


def beside(recommender: Recommender, pair: DomainPair, split: Split, sides: str) -> dict[str, Recommender]:
    """The unified encoder, nearest items, what was popular at the time, and all together, weighed by full ranking."""
    job = Job(pair, split, ItemKNNConfig(), 0, lambda asked: quick(asked, pair, split))
    members = {"unified": recommender, "item-knn": item_knn(job)[0]}
    if sides in SIDES:
        timed = replace(job, config=PopularLatelyConfig(sides, moments="last"))
        members["popular-lately"] = popular_lately(timed)[0]
    return members | {"known-ensemble": weighed(replace(job, config=KnownEnsembleConfig()), members)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--shuffle", action="store_true", help="events of a day in random order")
    parser.add_argument("--validation", action="store_true", help="the validation part alone: to choose settings by")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of the recipe")
    asked = parser.parse_args()
    config = from_dict(UnifiedRecipeConfig, pairs(asked.set))
    pair = DomainPair.open(asked.dataset)
    if reads_text(find_recipe("unified"), config, pair):
        assert config.encoder is not None
        pair = with_text(pair, config.encoder, config.most_reviews)
    pair = shuffled(pair, 0) if asked.shuffle else pair
    ways = [(one, split_unstored(one, MERGED)) for one in (pair.swapped(), pair)]
    runs: list[dict[tuple[str, str], dict[str, float]]] = []

    def both(recommender: Recommender) -> list[tuple[Recommender, DomainPair, Split]]:
        assert isinstance(recommender, UnifiedRecommender)
        return [(one, *way) for one, way in zip((recommender.swapped(), recommender), ways, strict=True)]

    def validate(recommender: Recommender) -> dict[str, float]:
        found = [measured(*asked, "valid") for asked in both(recommender)]
        people = np.array([one["people"] for one in found])
        # Chosen by the protocol's own figure: by full ranking training stops where that has begun to fall.
        return {
            name: float(np.average([one[f"sampled.{name}"] for one in found], weights=people))
            for name in ("ndcg@10", "hr@10")
        }

    def tell(event: dict) -> None:
        if event["event"] == "epoch":
            told = {name: round(value, 4) for name, value in (event["losses"] | event["valid"]).items()}
            print(f"  epoch {event['epoch']}: {told}, {event['train_seconds']:.0f} s", flush=True)

    for seed in range(asked.first, asked.first + asked.seeds):
        began = time.monotonic()
        recommender, fitted = unified(Job(*ways[1], config, seed, validate, Control(tell)))
        took = time.monotonic() - began
        part = "valid" if asked.validation else "test"
        runs.append(
            {
                (way.target.label, name): measured(each, way, split, part)
                for one, way, split in both(recommender)
                for name, each in beside(one, way, split, config.trend).items()
            }
        )
        print(f"seed {seed}: best epoch {fitted.best_epoch} of {fitted.epochs}, {took:.0f} s", flush=True)
    order = "in random order" if asked.shuffle else "by domain, then as in the file"
    print(f"\n{'Validation' if asked.validation else 'Test'}, events of a day {order}, {len(runs)} seeds:\n")
    print("| | | people | HR@10 of 1,000 | NDCG@10 of 1,000 | MRR@10 of 1,000 | HR@10, all | NDCG@10, all |")
    print("|---|---|---|---|---|---|---|---|")
    for label, name in runs[0]:
        values = np.array([[run[label, name][metric] for metric in SHOWN] for run in runs])
        deviation = values.std(axis=0, ddof=1) if len(runs) > 1 else np.zeros(len(SHOWN))
        cells = [f"{mean:.4f} ± {spread:.4f}" for mean, spread in zip(values.mean(axis=0), deviation, strict=True)]
        print(f"| {label} | {name} | {runs[0][label, name]['people']:,} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
