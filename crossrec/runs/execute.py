"""One run from beginning to end: open the data, train the recipe, test once, write the folder."""

import math
import resource
import shutil
import sys
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from crossrec import processes
from crossrec.data.pair import DomainPair
from crossrec.data.split import Split, open_split
from crossrec.errors import CrossrecError
from crossrec.evaluation import ratings
from crossrec.evaluation.protocol import Evaluation, evaluate, quick, summary
from crossrec.models.recommender import Recommender
from crossrec.runs import controls, finetune, queue
from crossrec.runs.catalog_write import write_run_catalog
from crossrec.runs.folder import Run, RunWriter, is_untested, run_stem
from crossrec.runs.plan import Plan, open_start, plan, reads_text, view, with_text
from crossrec.stopping import Stop
from crossrec.threads import every_core
from crossrec.training.checkpoint import newest
from crossrec.training.job import Job
from crossrec.training.loop import Control, OnEvent
from crossrec.training.mapping import rmse
from crossrec.training.policy import Tuned
from crossrec.training.recipes import find_recipe
from crossrec.training.reviews import ItemReviews
from crossrec.training.spaces import BY_STARS

NO_MEMORY = "There is not enough memory: choose smaller settings, or close other programs."


def train(
    recipe_name: str,
    dataset: str,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    split_kind: str = "next-item",
    source_run: str | None = None,
    name: str | None = None,
    on_event: OnEvent = lambda event: None,
    stop: Stop | None = None,
    track: bool = False,
    split_seed: int | None = None,
    tested: bool = True,
) -> Run:
    """Trains a recipe on a dataset and tests it.

    Args:
        recipe_name: a key of `RECIPES`.
        dataset: its name.
        settings: of the recipe's config; strings are read as the field's type.
        seed: of everything that is drawn: weights, order, dropout, negatives, and a cold-user split.
        split_kind: one of `split.KINDS`, such as "next-item" or "cold-user".
        source_run: for recipes that start from one, such as a bridge; None takes the newest that fits.
        name: the run's folder, or None for a generated one.
        on_event: gets {"event": "start", "run"}, what the loop reports, and {"event": "test"} before the test.
        stop: asked during the training.
        track: whether the events are written as TensorBoard files too.
        split_seed: of a cold-user split, see `plan`.
        tested: False leaves the test part alone: the run has validation figures, and no test, stars or controls.

    Raises:
        CrossrecError: a name or a setting is wrong, before anything is written; or the training failed, and the run's
            folder says so.
        Stopped: it was stopped, and can be resumed.
    """
    planned = plan(
        recipe_name, dataset, settings, seed, split_kind, source_run, track, split_seed=split_seed, tested=tested
    )
    if not processes.is_main():
        return _carry_out(planned, None, on_event, stop)
    return _carry_out(planned, RunWriter(planned.asked, name), on_event, stop)


def enqueue(planned: Plan, name: str | None = None) -> Run:
    """Puts a planned training into the queue; a process of its own will carry it out."""
    stem = name or run_stem(planned.asked)
    return Run(queue.add("run", stem, planned.asked, may_count=name is None).folder)


def resume(
    run: Run,
    on_event: OnEvent = lambda event: None,
    stop: Stop | None = None,
    expect: tuple[str, ...] = ("queued", "stopped", "failed"),
) -> Run:
    """Carries out a run that waits, was stopped or failed, in this process; from its last checkpoint if it has one.

    Raises:
        CrossrecError: another process is at it, its state is none of those expected, or its data are not there as they
            were.
        Stopped: it was stopped again.
    """
    config = run.config()
    writer = RunWriter.resume(run, expect) if processes.is_main() else None
    with _telling(writer):
        if writer is not None:
            writer.event({"event": "open"})
            if newest(run.folder / "checkpoint") is None:  # it begins anew, and tells everything anew
                writer.keep_events(lambda event: False)
        run.pair()
        planned = plan(
            config["recipe"],
            config["dataset"],
            config["settings"],
            config["seed"],
            config["split"]["kind"],
            config["source_run"],
            config.get("track", False),
            split_seed=config["split"]["seed"],
            tested=not run.untested,
        )
    return _carry_out(planned, writer, on_event, stop)


def _carry_out(planned: Plan, writer: RunWriter | None, on_event: OnEvent, stop: Stop | None) -> Run:
    """Trains, tests and writes; of several processes the main one has the writer."""
    run = Run(processes.from_main(writer.folder if writer else Path()))
    started = time.monotonic()

    def report(event: dict[str, Any]) -> None:
        if writer is not None:
            writer.event(event)
            on_event(event)

    with _telling(writer):
        report({"event": "start", "run": run.name})
        recipe, config, seed = planned.recipe, planned.config, planned.asked["seed"]
        pair, split = planned.view
        if reads_text(recipe, config, pair):
            with processes.main_first():
                pair = with_text(pair, config.encoder, config.most_reviews, report)
        start = open_start(planned) if recipe.starts_from else None
        track = run.folder / "tensorboard" if planned.asked["track"] else None
        control = Control(report, run.folder / "checkpoint", stop, track=track)
        job = Job(pair, split, config, seed, lambda r: quick(r, pair, split), control, start)
        recommender, fitted = recipe.train(job)
        seconds = fitted.seconds if fitted else time.monotonic() - started
        tested = None if is_untested(planned.asked) else _test(planned, recommender, pair, split, report)
        valid = _validate(planned, recommender, pair, split)
        tuned = None
        if start is not None and isinstance(fitted, Tuned):
            tuned = finetune.report(start, recommender, pair, split, planned.asked["source_run"], fitted.report)
        if writer is None:
            processes.wait()
            return run
        shutil.rmtree(run.recommender, ignore_errors=True)  # of a run that was stopped while it was written
        run.recommender.mkdir()
        recommender.save(run.recommender)
        seen = (planned.pair, planned.split) if recipe.domain == "source" else (pair, split)
        write_run_catalog(run.folder, recommender, *seen, recipe.domain, report)
        if tested is not None:
            controls.write(run.folder, tested.controls)
        writer.finish(
            {
                **({} if tuned is None else {"finetune": tuned}),
                "valid": valid,
                **({} if tested is None else tested.metrics),
                "fit": {
                    "seconds": round(seconds, 2),
                    "epochs": fitted.epochs if fitted else 0,
                    "best_epoch": fitted.best_epoch if fitted else 0,
                },
                "parameters": sum(int(a.size) for a in recommender.state()[1].values()),
                "peak_memory_mb": peak_memory_mb(),
                "processes": processes.count(),
            },
            None if tested is None else tested.table,
            None if tested is None else tested.rated,
        )
        processes.wait()
    return run


@dataclass(frozen=True)
class _Tested:
    """What the one look at the test part came to."""

    metrics: dict[str, Any]
    table: pd.DataFrame
    rated: pd.DataFrame | None
    controls: dict[str, pd.DataFrame]


def _test(planned: Plan, recommender: Recommender, pair: DomainPair, split: Split, report: OnEvent) -> _Tested:
    """Ranks, rates, and asks the controls."""
    report({"event": "test"})
    found = evaluate(recommender, pair, split, "test")
    rated, beside = None, controls.lists_of(found.table["user"], found.top)
    if planned.recipe.domain == "target":
        rated = _rate_hidden(recommender, pair, split, "test", asdict(planned.config))
        report({"event": "controls"})
        beside |= controls.ask(recommender, pair, split)
    stars = None if rated is None else ratings.summary(rated)
    metrics = {"test": summary(found, split.target_counts(pair)), "ratings": stars}
    return _Tested(metrics, found.table, rated, beside)


def _validate(planned: Plan, recommender: Recommender, pair: DomainPair, split: Split) -> dict[str, float]:
    """What a run is chosen by: its ranking of the validation people, and of what fits stars their RMSE as well."""
    found = quick(recommender, pair, split)
    if planned.recipe.name in BY_STARS and not math.isnan(error := rmse(recommender, pair, split.valid)):
        found["rmse"] = error
    return found


def _telling(writer: RunWriter | None) -> AbstractContextManager[None]:
    if writer is None:  # the main process speaks
        return nullcontext()
    return writer.telling(f"crossrec train --resume {writer.run.name}", NO_MEMORY)


def load(run: Run) -> tuple[Recommender, DomainPair, Split]:
    """The recommender of a finished run with the data that it was trained on, seen from the run's domain.

    Raises:
        CrossrecError: the run is not finished, or its dataset has changed since.
    """
    if not run.finished:
        raise CrossrecError(f"Run {run.name!r} cannot be used: its state is {run.state!r}.")
    config = run.config()
    pair = run.pair()
    split = open_split(pair, config["split"]["kind"], config["split"]["seed"])
    recommender = Recommender.load(run.recommender)
    if recommender.encoder is not None:
        pair = with_text(pair, recommender.encoder, recommender.most_reviews)
    return recommender, *view(find_recipe(config["recipe"]), pair, split)


def ask_controls(run: Run) -> None:
    """Asks the controls of a finished run that was not asked them, such as one of an earlier version, and keeps them.

    Raises:
        CrossrecError: the run or its data cannot be opened, or its folder cannot be written.
    """
    if run.untested:
        raise CrossrecError(f"Run {run.name!r} leaves the test part alone, and the controls belong to the test.")
    recommender, pair, split = load(run)
    with every_core():
        tested = evaluate(recommender, pair, split, "test")
        tables = controls.lists_of(tested.table["user"], tested.top)
        if run.config()["domain"] == "target":
            tables |= controls.ask(recommender, pair, split)
    controls.write(run.folder, tables)


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


def peak_memory_mb() -> int:
    """The most memory that this process has held, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // (1 << 20 if sys.platform == "darwin" else 1 << 10)
