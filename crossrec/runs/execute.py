"""One run from beginning to end: open the data, train the recipe, test once, write the folder."""

import resource
import shlex
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pandas as pd
import torch

from crossrec.config import from_dict
from crossrec.data.pair import DomainPair
from crossrec.data.split import Split, open_split, split_next_item
from crossrec.errors import CrossrecError
from crossrec.evaluation import ratings
from crossrec.evaluation.protocol import Evaluation, evaluate, quick, summary
from crossrec.models.recommender import Recommender
from crossrec.models.sasrec import SASRec, SASRecRecommender
from crossrec.runs.catalog_write import write_run_catalog
from crossrec.runs.folder import Run, RunWriter, latest, open_run
from crossrec.text.dataset import with_vectors
from crossrec.training.job import Job, Recipe
from crossrec.training.loop import OnEvent
from crossrec.training.recipes import find_recipe
from crossrec.training.reviews import ItemReviews


def train(
    recipe_name: str,
    dataset: str,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    split_kind: str = "next-item",
    source_run: str | None = None,
    name: str | None = None,
    on_event: OnEvent = lambda event: None,
) -> Run:
    """Trains a recipe on a dataset and tests it.

    Args:
        recipe_name: a key of `RECIPES`.
        dataset: its name.
        settings: of the recipe's config; strings are read as the field's type.
        seed: of everything that is drawn: weights, order, dropout, negatives, and a cold-user split.
        split_kind: one of `split.KINDS`, such as "next-item" or "cold-user".
        source_run: for recipes with a bridge, the run of the source model; None takes the newest that fits.
        name: the run's folder, or None for a generated one.
        on_event: gets {"event": "start", "run"}, what the loop reports, and {"event": "test"} before the test.

    Raises:
        CrossrecError: a name or a setting is wrong, before anything is written; or the training failed, and the run's
            folder says so.
    """
    recipe = find_recipe(recipe_name)
    config: Any = from_dict(recipe.config, settings or {})
    pair = DomainPair.open(dataset)
    if recipe.domain == "source" or recipe.needs_source:
        _require_source(pair)
    split = open_split(pair, split_kind, seed)
    if recipe.needs_source:
        source_run, source_model = _source_model(pair, split, source_run, seed)
    else:
        source_run, source_model = None, None
    asked = {"kind": split.kind, "seed": split.seed}
    whole = pair, split
    pair, split = view(recipe, pair, split)
    if not (len(split.valid) and len(split.test)):
        raise CrossrecError(
            f"The {split_kind} split of {dataset!r} leaves nobody to validate or to test on: it needs more users "
            "with at least two target events."
        )
    if recipe.needs_text:
        pair = with_text(pair, config.encoder, config.most_reviews, on_event)
    writer = RunWriter(
        {
            "recipe": recipe.name,
            "title": recipe.title,
            "domain": recipe.domain,
            "dataset": dataset,
            "dataset_hash": pair.meta["hash"],
            "split": asked,
            "seed": seed,
            "settings": asdict(config),
            "source_run": source_run,
            "threads": torch.get_num_threads(),
            "command": command_line(recipe_name, dataset, settings or {}, seed, split_kind, source_run),
        },
        name,
    )
    on_event({"event": "start", "run": writer.run.name})
    started = time.monotonic()

    def report(event: dict[str, Any]) -> None:
        writer.event(event)
        on_event(event)

    try:
        checkpoint = writer.folder / "checkpoint"
        job = Job(pair, split, config, seed, lambda r: quick(r, pair, split), report, source_model, checkpoint)
        recommender, fitted = recipe.train(job)
        seconds = time.monotonic() - started
        on_event({"event": "test"})
        tested = evaluate(recommender, pair, split, "test")
        rated = None
        if recipe.domain == "target":
            rated = _rate_hidden(recommender, pair, split, "test", asdict(config))
        writer.run.recommender.mkdir()
        recommender.save(writer.run.recommender)
        seen = whole if recipe.domain == "source" else (pair, split)
        write_run_catalog(writer.folder, recommender, *seen, recipe.domain, on_event)
        writer.finish(
            {
                "valid": quick(recommender, pair, split),
                "test": summary(tested, split.target_counts(pair)),
                "ratings": None if rated is None else ratings.summary(rated),
                "fit": {
                    "seconds": round(seconds, 2),
                    "epochs": fitted.epochs if fitted else 0,
                    "best_epoch": fitted.best_epoch if fitted else 0,
                },
                "parameters": sum(int(a.size) for a in recommender.state()[1].values()),
                "peak_memory_mb": peak_memory_mb(),
            },
            tested.table,
            rated,
        )
    except BaseException as error:
        reason = str(error) if isinstance(error, CrossrecError) else f"{type(error).__name__}: see the log"
        writer.fail("It was interrupted." if isinstance(error, KeyboardInterrupt) else reason)
        raise
    return writer.run


def command_line(
    recipe: str, dataset: str, settings: Mapping[str, Any], seed: int, split_kind: str, source_run: str | None
) -> str:
    """The command that repeats a training."""
    words = ["crossrec", "train", recipe, "--dataset", dataset, "--seed", str(seed)]
    words += ["--split", split_kind] if split_kind != "next-item" else []
    words += ["--source-run", source_run] if source_run else []
    return shlex.join(words + [word for key, value in settings.items() for word in ("--set", f"{key}={value}")])


def load(run: Run) -> tuple[Recommender, DomainPair, Split]:
    """The recommender of a finished run with the data that it was trained on, seen from the run's domain.

    Raises:
        CrossrecError: the run is not finished, or its dataset has changed since.
    """
    if not run.finished:
        raise CrossrecError(f"Run {run.name!r} cannot be used: its state is {run.status()['state']!r}.")
    config = run.config()
    pair = run.pair()
    split = open_split(pair, config["split"]["kind"], config["split"]["seed"])
    recommender = Recommender.load(run.recommender)
    if recommender.encoder is not None:
        pair = with_text(pair, recommender.encoder, recommender.most_reviews)
    return recommender, *view(find_recipe(config["recipe"]), pair, split)


def evaluate_run(run: Run, part: str = "test") -> tuple[Evaluation, dict[str, Any]]:
    """Evaluates a finished run again; the results equal those stored with it."""
    recommender, pair, split = load(run)
    evaluation = evaluate(recommender, pair, split, part)
    return evaluation, summary(evaluation, split.target_counts(pair))


def rate_run(run: Run, part: str = "test") -> dict[str, Any] | None:
    """Rates the hidden events of a part again: errors and AUCs as stored with the run; None without ratings."""
    config = run.config()
    if config["domain"] != "target":
        return None
    rated = _rate_hidden(*load(run), part, config["settings"])
    return None if rated is None else ratings.summary(rated)


def _rate_hidden(
    recommender: Recommender, pair: DomainPair, split: Split, part: str, settings: Mapping[str, Any]
) -> pd.DataFrame | None:
    """The hidden stars and the predicted ones. Who reads reviews gets those of the item by others and before."""
    reviews = None
    if recommender.rates and pair.vectors is not None:
        reviews = ItemReviews(pair, split, leaky=bool(settings.get("leaky_item_vectors"))).before
    return ratings.evaluate_ratings(recommender, pair, split, part, reviews)


def view(recipe: Recipe, pair: DomainPair, split: Split) -> tuple[DomainPair, Split]:
    """The pair and split as a recipe sees them: a source recipe has the visible source domain in the target's place."""
    if recipe.domain == "target":
        return pair, split
    alone = pair.source_alone(split.source_train_end)
    return alone, split_next_item(alone)


def with_text(pair: DomainPair, encoder: str, most_reviews: int, on_event: OnEvent = lambda event: None) -> DomainPair:
    """The pair with the vectors of what is read of it: source reviews of people in both domains, all target reviews."""
    wanted = {"source": np.repeat(pair.overlap, pair.source.counts), "target": np.ones(len(pair.target.items), bool)}
    return replace(with_vectors(pair, encoder, wanted, on_event), most_reviews=most_reviews)


def _require_source(pair: DomainPair) -> None:
    if not pair.source.n_items:
        raise CrossrecError(f"The dataset {pair.name!r} has a single domain: only target recipes can be trained on it.")


def _source_model(pair: DomainPair, split: Split, name: str | None, seed: int) -> tuple[str, SASRec]:
    """The frozen source model, from a run that was trained on the same data and split."""
    wanted = {"dataset_hash": pair.meta["hash"], "split": {"kind": split.kind, "seed": split.seed}}
    if name is None:
        run = latest(pair.name, "source-sasrec", **wanted, seed=seed) or latest(pair.name, "source-sasrec", **wanted)
        if run is None:
            raise CrossrecError(
                f"There is no finished source model for {pair.name!r} with this data and split: "
                f"run `crossrec train-source --dataset {pair.name}` first."
            )
    else:
        run = open_run(name)
        config = run.config()
        wanted |= {"recipe": "source-sasrec", "dataset": pair.name}
        if any(config[key] != value for key, value in wanted.items()):
            raise CrossrecError(f"Run {name!r} is not a source model of {pair.name!r} with this data and split.")
    recommender = Recommender.load(run.recommender)
    assert isinstance(recommender, SASRecRecommender)
    return run.name, recommender.model


def peak_memory_mb() -> int:
    """The most memory that this process has held, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // (1 << 20 if sys.platform == "darwin" else 1 << 10)
