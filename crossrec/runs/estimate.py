"""What a training will cost on this machine, before it is started: from a short part of it that is really trained.

A measurement is the training itself in a child process: some seconds of its first epoch, one validation, the test. Its
figures are kept, and found again for the same recipe, data and settings; finished runs of the same kind are better
still, for they show when early stopping comes.
"""

import hashlib
import json
import os
import sys
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from crossrec import paths
from crossrec.config import from_dict
from crossrec.data.pair import DomainPair
from crossrec.errors import CrossrecError
from crossrec.evaluation.protocol import evaluate, quick
from crossrec.models.recommender import Recommender
from crossrec.models.sasrec import SASRec, SASRecRecommender
from crossrec.models.transfer import TransferRecommender, TransferSASRec
from crossrec.runs.disk import disk_errors
from crossrec.runs.execute import peak_memory_mb
from crossrec.runs.folder import Run, list_runs, open_run
from crossrec.runs.locks import BusyError, locked, take_lock
from crossrec.runs.plan import Plan, open_start, plan, reads_text, with_text
from crossrec.runs.queue import spawn
from crossrec.threads import set_threads, step_back
from crossrec.training.job import Job
from crossrec.training.loop import Control
from crossrec.training.recipes import find_recipe
from crossrec.training.sequence import TransferConfig

SAMPLE = 3.0
"""Seconds of training that are measured."""
LONGEST = 300
"""Seconds after which a measurement is given up."""
WITHOUT_EFFECT = {"epochs", "patience", "lr", "beta2", "weight_decay", "warmup"}
"""Settings that do not change what an epoch costs."""


@dataclass(frozen=True)
class Estimate:
    """What a training will take."""

    seconds: float
    """Likely; with early stopping where runs of the kind have shown when it comes."""
    most_seconds: float
    """If every epoch is trained."""
    memory_mb: int
    """Peak memory of the process."""
    epoch_seconds: float | None
    """An epoch with its validation; None for recipes without epochs."""
    basis: str
    """What it rests on, one sentence."""


def known(planned: Plan) -> Estimate | None:
    """What earlier runs or a measurement say; None where there is neither."""
    runs = _like(planned)
    if runs:
        return _from_runs(planned, runs)
    measured = _read(planned).get("measured")
    return None if measured is None else _from_measurement(planned, measured)


def begin(planned: Plan) -> None:
    """Starts a measurement in a process of its own, if none of this training is under way.

    Raises:
        CrossrecError: nothing can be written.
    """
    file = _file(planned)
    if locked(file.with_suffix(".lock")):
        return
    with disk_errors(file.parent):
        file.parent.mkdir(parents=True, exist_ok=True)
        paths.write_json(file, {"asked": planned.asked, "begun": time.time()})
        with (file.parent / "log.txt").open("ab") as log:
            spawn("crossrec.runs.estimate", [file.stem], log)


def under_way(planned: Plan) -> bool:
    """Whether a measurement is being made."""
    about = _read(planned)
    if not about or {"measured", "failed"} & set(about):
        return False
    # The child needs a moment before it holds the lock.
    return locked(_file(planned).with_suffix(".lock")) or time.time() - about["begun"] < 15


def failure(planned: Plan) -> str | None:
    """Why the last measurement came to nothing, in one sentence; None where it did not fail."""
    about = _read(planned)
    if not about or "measured" in about or under_way(planned):
        return None
    return str(about.get("failed", "The measurement took more than five minutes, or too much memory."))


def free_memory_mb() -> int:
    """What the machine has to spare, in MiB."""
    return int(psutil.virtual_memory().available) >> 20


def measure(planned: Plan, sample: float = SAMPLE) -> dict[str, Any]:
    """Trains for some seconds, validates and tests, in this process; nothing is kept.

    Returns:
        "prepare", "train" (an epoch), "valid", "test" in seconds, "memory_mb"; train and valid are None for recipes
        without epochs, whose whole training is in "prepare".
    """
    recipe, config = planned.recipe, planned.config
    began = time.monotonic()
    pair, split = planned.view
    if reads_text(recipe, config, pair):
        pair = with_text(pair, config.encoder, config.most_reviews)
    start = _start(planned) if recipe.starts_from else None

    def validate(recommender: Recommender) -> dict[str, float]:
        return quick(recommender, pair, split)

    control = Control(sample=sample)
    job = Job(pair, split, config, planned.asked["seed"], validate, control, start)
    recommender, fitted = recipe.train(job)
    trained = time.monotonic()
    evaluate(recommender, pair, split, "test")
    tested = time.monotonic()
    train = valid = None
    prepare = trained - began
    if fitted is not None:
        event = fitted.history[-1]
        train = event["steps"] * config.batch_size / event["rate"]
        valid = event["valid_seconds"]
        prepare -= fitted.seconds
    return {
        "prepare": prepare,
        "train": train,
        "valid": valid,
        "test": tested - trained,
        "memory_mb": peak_memory_mb(),
    }


def main(stem: str) -> int:
    """The child process: measures what `<stem>.json` asks for."""
    import signal

    file = _folder() / f"{paths.slug(stem, 'measurement')}.json"
    try:
        take_lock(file.with_suffix(".lock"))
    except BusyError:
        return 0
    step_back()
    signal.alarm(LONGEST)
    set_threads()
    about = paths.read_json(file)
    asked = about["asked"]
    try:
        again = (asked["recipe"], asked["dataset"], asked["settings"], asked["seed"], asked["split"]["kind"])
        about["measured"] = measure(plan(*again, asked["source_run"], later=True, split_seed=asked["split"]["seed"]))
    except CrossrecError as error:
        about["failed"] = str(error)
    paths.write_json(file, about)
    return 0


def _start(planned: Plan) -> Recommender:
    """What the training starts from; while that run still waits, one of its size, which costs the same."""
    run = open_run(planned.asked["source_run"])
    return open_start(planned) if run.finished else _untrained(planned.pair, run)


def _untrained(pair: DomainPair, run: Run) -> SASRecRecommender | TransferRecommender:
    """A recommender of the size of a run that is a SASRec, with or without a bridge."""
    about = run.config()
    config: Any = from_dict(find_recipe(about["recipe"]).config, about["settings"])
    model = SASRec(config.sasrec, pair.domain(about["domain"]).n_items)
    if not isinstance(config, TransferConfig):
        return SASRecRecommender(model)
    source = _untrained(pair, open_run(about["source_run"])).model
    assert isinstance(source, SASRec)
    bridged = TransferSASRec(config.sasrec, config.bridging, pair.target.n_items, source.config.dim)
    return TransferRecommender(bridged, source, config.bridging)


def _from_measurement(planned: Plan, measured: dict[str, Any]) -> Estimate:
    outside = measured["prepare"] + measured["test"]
    if measured["train"] is None:
        return Estimate(outside, outside, measured["memory_mb"], None, "Trained once on this machine, to measure it.")
    config = planned.config
    epoch = measured["train"] + measured["valid"] / config.validate_every
    most = outside + config.epochs * epoch
    shown = [run.metrics()["fit"]["epochs"] for run in list_runs(recipe=planned.recipe.name, finished=True)]
    likely = min(float(config.epochs), median(shown)) if shown else float(config.epochs)
    like = f"in {len(shown)} finished runs" if len(shown) > 1 else "in the finished run of this recipe"
    stops = f"; early stopping as {like}" if shown else "; early stopping may end it sooner"
    basis = f"Measured on this machine in a few seconds of training{stops}."
    return Estimate(outside + likely * epoch, most, measured["memory_mb"], epoch, basis)


def _from_runs(planned: Plan, runs: list[Run]) -> Estimate:
    """Of runs with the same cost an epoch: what an epoch took, what stood around it, and how many there were."""
    fits = [run.metrics()["fit"] | {"memory": run.metrics()["peak_memory_mb"]} for run in runs]
    whole = [_lasted(run, fit["seconds"]) for run, fit in zip(runs, fits, strict=True)]
    memory = max(fit["memory"] for fit in fits)
    name = f"the run {runs[0].name}" if len(runs) == 1 else f"{len(runs)} runs of the kind"
    if not fits[0]["epochs"]:
        return Estimate(median(whole), max(whole), memory, None, f"As {name} took.")
    epoch = median(fit["seconds"] / fit["epochs"] for fit in fits)
    outside = median(max(0.0, total - fit["seconds"]) for total, fit in zip(whole, fits, strict=True))
    epochs = planned.config.epochs
    likely = min(float(epochs), median(fit["epochs"] for fit in fits))
    return Estimate(outside + likely * epoch, outside + epochs * epoch, memory, epoch, f"As {name} took.")


def _lasted(run: Run, trained: float) -> float:
    """Seconds from the start to the end of a run; those of its training where the folder does not tell."""
    status = run.status()
    if "resumed" in run.config() or not {"started", "ended"} <= set(status):
        return trained
    return (datetime.fromisoformat(status["ended"]) - datetime.fromisoformat(status["started"])).total_seconds()


def _like(planned: Plan) -> list[Run]:
    found = list_runs(planned.asked["dataset"], planned.recipe.name, finished=True, tested=True)
    wanted = _key(planned.asked)
    return [run for run in found if _key(run.config()) == wanted and run.metrics().get("processes", 1) == 1]


def _key(asked: dict[str, Any]) -> str:
    """What decides on the cost of an epoch, as a short name."""
    settings = {key: value for key, value in asked["settings"].items() if key not in WITHOUT_EFFECT}
    about = [asked["recipe"], asked["dataset_hash"], asked["split"]["kind"], settings, os.cpu_count()]
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:20]


def _folder() -> Path:
    return paths.home() / "estimates"


def _file(planned: Plan) -> Path:
    return _folder() / f"{_key(planned.asked)}.json"


def _read(planned: Plan) -> dict[str, Any]:
    try:
        return dict(paths.read_json(_file(planned)))
    except CrossrecError:
        return {}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
