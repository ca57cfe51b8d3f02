"""One run from beginning to end: open the data, train the recipe, test once, write the folder."""

import resource
import shlex
import shutil
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from crossrec import paths, processes
from crossrec.config import from_dict
from crossrec.data.pair import DomainPair
from crossrec.data.split import Split, open_split, split_next_item
from crossrec.errors import CrossrecError
from crossrec.evaluation import ratings
from crossrec.evaluation.protocol import Evaluation, evaluate, quick, summary
from crossrec.models.recommender import Recommender
from crossrec.models.sasrec import SASRec, SASRecRecommender
from crossrec.runs import controls, queue
from crossrec.runs.catalog_write import write_run_catalog
from crossrec.runs.folder import Run, RunWriter, matching, open_run, run_stem
from crossrec.runs.task import os_error, told_of_disk
from crossrec.stopping import Stop, Stopped
from crossrec.text.dataset import with_vectors
from crossrec.text.encoder import load_encoder
from crossrec.training.checkpoint import newest
from crossrec.training.job import Job, Recipe
from crossrec.training.loop import Control, OnEvent
from crossrec.training.recipes import find_recipe
from crossrec.training.reviews import ItemReviews


@dataclass(frozen=True)
class Plan:
    """A training that was looked through before anything is written: what it will be, and what is open already."""

    recipe: Recipe
    config: Any
    asked: dict[str, Any]
    """What goes to config.json."""
    pair: DomainPair
    split: Split

    @property
    def view(self) -> tuple[DomainPair, Split]:
        return view(self.recipe, self.pair, self.split)


def plan(
    recipe_name: str,
    dataset: str,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    split_kind: str = "next-item",
    source_run: str | None = None,
    track: bool = False,
    later: bool = False,
    split_seed: int | None = None,
) -> Plan:
    """Looks through what `train` is asked for.

    Args:
        split_seed: of a cold-user split, where it is another than that of the training: several seeds can then be
            compared on the same people.
        later: the source model may still be in training, for by then it will be finished.

    Raises:
        CrossrecError: a name or a setting is wrong.
    """
    recipe = find_recipe(recipe_name)
    config: Any = from_dict(recipe.config, settings or {})
    pair = DomainPair.open(dataset)
    if recipe.domain == "source" or recipe.needs_source:
        _require_source(pair)
    with processes.main_first():
        split = open_split(pair, split_kind, seed if split_seed is None else split_seed)
    if recipe.needs_source:
        source_run = _source_run(pair, split, source_run, seed, later).name
    elif source_run is not None:
        raise CrossrecError(f"{recipe.name} reads no source model: leave the source run {source_run!r} out.")
    seen = view(recipe, pair, split)[1]
    if not (len(seen.valid) and len(seen.test)):
        raise CrossrecError(
            f"The {split_kind} split of {dataset!r} leaves nobody to validate or to test on: it needs more users "
            "with at least two target events."
        )
    if recipe.needs_text:
        load_encoder(config.encoder)  # it is found, or told
    if track:
        _require_tracking()
    asked = {
        "recipe": recipe.name,
        "title": recipe.title,
        "domain": recipe.domain,
        "dataset": dataset,
        "dataset_hash": pair.meta["hash"],
        "split": {"kind": split.kind, "seed": split.seed},
        "seed": seed,
        "settings": asdict(config),
        "source_run": source_run,
        "track": track,
        "command": command_line(recipe_name, dataset, settings or {}, seed, split, source_run, track),
    }
    return Plan(recipe, config, asked, pair, split)


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
        stop: asked during the training.
        track: whether the events are written as TensorBoard files too.
        split_seed: of a cold-user split, see `plan`.

    Raises:
        CrossrecError: a name or a setting is wrong, before anything is written; or the training failed, and the run's
            folder says so.
        Stopped: it was stopped, and can be resumed.
    """
    planned = plan(recipe_name, dataset, settings, seed, split_kind, source_run, track, split_seed=split_seed)
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
    with _told_by(writer):
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

    with _told_by(writer):
        report({"event": "start", "run": run.name})
        recipe, config, seed = planned.recipe, planned.config, planned.asked["seed"]
        pair, split = planned.view
        if recipe.needs_text:
            with processes.main_first():
                pair = with_text(pair, config.encoder, config.most_reviews, report)
        source_model = None
        if recipe.needs_source:
            source_model = open_source_model(planned)
        track = run.folder / "tensorboard" if planned.asked["track"] else None
        control = Control(report, run.folder / "checkpoint", stop, track=track)
        job = Job(pair, split, config, seed, lambda r: quick(r, pair, split), control, source_model)
        recommender, fitted = recipe.train(job)
        seconds = fitted.seconds if fitted else time.monotonic() - started
        report({"event": "test"})
        tested = evaluate(recommender, pair, split, "test")
        valid = quick(recommender, pair, split)
        rated, beside = None, controls.lists_of(tested.table["user"], tested.top)
        if recipe.domain == "target":
            rated = _rate_hidden(recommender, pair, split, "test", asdict(config))
            report({"event": "controls"})
            beside |= controls.ask(recommender, pair, split)
        if writer is None:
            processes.wait()
            return run
        shutil.rmtree(run.recommender, ignore_errors=True)  # of a run that was stopped while it was written
        run.recommender.mkdir()
        recommender.save(run.recommender)
        seen = (planned.pair, planned.split) if recipe.domain == "source" else (pair, split)
        write_run_catalog(run.folder, recommender, *seen, recipe.domain, report)
        controls.write(run.folder, beside)
        writer.finish(
            {
                "valid": valid,
                "test": summary(tested, split.target_counts(pair)),
                "ratings": None if rated is None else ratings.summary(rated),
                "fit": {
                    "seconds": round(seconds, 2),
                    "epochs": fitted.epochs if fitted else 0,
                    "best_epoch": fitted.best_epoch if fitted else 0,
                },
                "parameters": sum(int(a.size) for a in recommender.state()[1].values()),
                "peak_memory_mb": peak_memory_mb(),
                "processes": processes.count(),
            },
            tested.table,
            rated,
        )
        processes.wait()
    return run


@contextmanager
def _told_by(writer: RunWriter | None) -> Iterator[None]:
    """A block whose failure the run's folder tells: in one sentence, with the rest in the log."""
    try:
        yield
    except BaseException as error:
        told: BaseException = error
        if isinstance(error, Stopped | KeyboardInterrupt):
            begun = str(error) or "It was interrupted."
            name = "RUN" if writer is None else writer.run.name
            told = Stopped(f"{begun} Go on with `crossrec train --resume {name}`.")
        elif (disk := os_error(error)) is not None:
            told = told_of_disk(disk, paths.home())
        elif isinstance(error, MemoryError):
            told = CrossrecError("There is not enough memory: choose smaller settings, or close other programs.")
        if writer is not None:
            with suppress(OSError):  # the disk may be full: then the dead process says it
                if isinstance(told, Stopped):
                    writer.end("stopped")
                elif isinstance(told, CrossrecError):
                    writer.fail(str(told))
                else:
                    writer.fail(f"{type(told).__name__}: see the log")
                if not isinstance(told, Stopped):
                    with (writer.folder / "log.txt").open("a", encoding="utf-8") as log:
                        traceback.print_exc(file=log)
            writer.close()
        if told is not error:
            raise told from error
        raise


def command_line(
    recipe: str,
    dataset: str,
    settings: Mapping[str, Any],
    seed: int,
    split: Split,
    source_run: str | None,
    track: bool = False,
) -> str:
    """The command that repeats a training."""
    words = ["crossrec", "train", recipe, "--dataset", dataset, "--seed", str(seed)]
    words += ["--split", split.kind] if split.cold else []
    words += ["--split-seed", str(split.seed)] if split.cold and split.seed != seed else []
    words += ["--source-run", source_run] if source_run else []
    words += ["--track"] if track else []
    return shlex.join(words + [word for key, value in settings.items() for word in ("--set", f"{key}={value}")])


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
    recommender, pair, split = load(run)
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


def _source_run(pair: DomainPair, split: Split, name: str | None, seed: int, later: bool) -> Run:
    """The run of the source model: the one that is named, or the newest on the same data and split, of the seed first.

    later: one that waits or is in training will do.
    """
    wanted = {"dataset_hash": pair.meta["hash"], "split": {"kind": split.kind, "seed": split.seed}}
    states = ("finished", "queued", "running") if later else ("finished",)
    if name is None:
        asked = pair.name, "source-sasrec", states
        found = matching(*asked, **wanted, seed=seed) or matching(*asked, **wanted)
        if not found:
            raise CrossrecError(
                f"There is no finished source model for {pair.name!r} with this data and split: "
                f"run `crossrec train-source --dataset {pair.name}` first."
            )
        return found[0]
    run = open_run(name)
    config = run.config()
    wanted |= {"recipe": "source-sasrec", "dataset": pair.name}
    if any(config[key] != value for key, value in wanted.items()):
        raise CrossrecError(f"Run {name!r} is not a source model of {pair.name!r} with this data and split.")
    if (state := run.state) not in states:
        raise CrossrecError(f"The source model {name!r} is not there yet: its state is {state!r}.")
    return run


def open_source_model(planned: Plan) -> SASRec:
    """The frozen source model that a plan names.

    Raises:
        CrossrecError: its run is not finished, or is gone.
    """
    name, seed = planned.asked["source_run"], planned.asked["seed"]
    recommender = Recommender.load(_source_run(planned.pair, planned.split, name, seed, later=False).recommender)
    assert isinstance(recommender, SASRecRecommender)
    return recommender.model


def _require_tracking() -> None:
    if find_spec("tensorboard") is None and find_spec("tensorboardX") is None:
        raise CrossrecError(
            "TensorBoard is not installed: `pip install 'crossrec[tracking]'`, or train without --track."
        )


def peak_memory_mb() -> int:
    """The most memory that this process has held, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // (1 << 20 if sys.platform == "darwin" else 1 << 10)
