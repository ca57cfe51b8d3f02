"""A run on disk: one training in a folder whose files any process can read at any time.

Beside what every task has (see `task.py`): checkpoint/ while it is trained, metrics.json, per_user.parquet and, of data
with stars, ratings.parquet (what came out), recommender/ (safetensors and JSON).
"""

import os
import platform
import shutil
import subprocess
import time
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pandas as pd

from crossrec import paths
from crossrec.data.pair import DomainPair
from crossrec.errors import CrossrecError, nearest
from crossrec.runs.task import STATES, Task, TaskWriter, new_task, now

PHASES = {"open": "opening the data", "start": "getting ready", "test": "testing", "controls": "asking the controls"}
"""What a run is doing, beside training."""
RECORDED = ("crossrec", "torch", "numpy", "pandas", "accelerate", "duckdb", "scipy")


class Run(Task):
    """A run's folder, opened for reading; the files are read anew at each call."""

    def pair(self) -> DomainPair:
        """The dataset that it was trained on.

        Raises:
            CrossrecError: the dataset is gone, or has changed since.
        """
        config = self.config()
        pair = DomainPair.open(config["dataset"])
        if pair.meta["hash"] != config["dataset_hash"]:
            raise CrossrecError(
                f"The dataset {pair.name!r} is not the one that run {self.name!r} was trained on: train again."
            )
        return pair

    def metrics(self) -> dict[str, Any]:
        return paths.read_json(self.folder / "metrics.json")

    def per_user(self) -> pd.DataFrame:
        """The per-user table of the test part.

        Raises:
            CrossrecError: the run has not been evaluated.
        """
        path = self.folder / "per_user.parquet"
        if self.untested:
            raise CrossrecError(f"Run {self.name!r} leaves the test part alone: it has no test results.")
        if not path.exists():
            raise CrossrecError(f"Run {self.name!r} has no results: its state is {self.state!r}.")
        return pd.read_parquet(path)

    def ratings(self) -> pd.DataFrame | None:
        """The hidden ratings of the test part beside what was predicted; None where the data has none."""
        path = self.folder / "ratings.parquet"
        return pd.read_parquet(path) if path.exists() else None

    @property
    def recommender(self) -> Path:
        return self.folder / "recommender"

    @property
    def untested(self) -> bool:
        """Whether it was asked to leave the test part alone: it then has validation figures and no others."""
        return is_untested(self.config())


class RunWriter(TaskWriter):
    """The writing side of a run."""

    def __init__(self, config: dict[str, Any], name: str | None = None):
        """Makes runs/<name>/ and works on it.

        Args:
            config: "recipe", "dataset", "seed", "settings" and whatever else repeats the run.
            name: the folder's name, or None for one made of recipe, dataset, seed and time.
        """
        self._open(*new_run(config, name, {"state": "running"}))

    @classmethod
    def resume(cls, run: "Run", expect: tuple[str, ...] = ("queued", "stopped", "failed")) -> "RunWriter":
        """Takes up a run that waits, was stopped or failed.

        Raises:
            CrossrecError: another process is at it, or its state is another.
        """
        writer = cls.__new__(cls)
        writer._open(run.folder, None, expect)
        return writer

    def _open(self, folder: Path, lock: int | None, expect: tuple[str, ...] = STATES) -> None:
        super().__init__(folder, lock, expect)
        self.run = Run(folder)
        self._told = 0.0
        self._describe()

    def _describe(self) -> None:
        """Adds to config.json what the run is carried out with; a later part of it is told beside the first."""
        import torch

        config = self.run.config()
        threads = config.get("threads")
        if threads is not None:  # sums come out the same, to the last bit, with as many threads only
            torch.set_num_threads(threads)
        made: dict[str, Any] = {"versions": _versions(), "git_commit": _git_commit(), "machine": _machine()}
        made["threads"] = torch.get_num_threads()
        if "versions" not in config:
            config |= made
        elif any(config.get(key) != value for key, value in made.items()):
            config["resumed"] = [*config.get("resumed", []), {"time": now(), **made}]
        paths.write_json(self.folder / "config.json", config)

    def event(self, event: dict[str, Any]) -> None:
        """Appends what tells how the training goes to events.jsonl, and where it is to the status."""
        kind = event["event"]
        if kind == "resume":
            at = (event["epoch"], event["step"])
            # An epoch's own event comes after its last step.
            self.keep_events(lambda old: (old["epoch"] + (old["event"] == "epoch"), old.get("step", 0)) <= at)
        elif kind in ("epoch", "step"):
            super().event(event)
            told = ("epoch", "epochs", "step", "steps", "best", "loss", "seconds", "eta", "rate")
            self.status(doing="training", **{key: event[key] for key in told if key in event})
        elif kind in PHASES:
            self.status(doing=PHASES[kind])
        elif kind == "encode" and time.monotonic() - self._told > 1.0:
            self._told = time.monotonic()
            self.status(doing=f"reading the texts, {event['done']:,} of {event['total']:,}")

    def finish(
        self, metrics: dict[str, Any], per_user: pd.DataFrame | None, ratings: pd.DataFrame | None = None
    ) -> None:
        """Writes the results, then says finished; an untested run has no tables."""
        for name, table in (("per_user", per_user), ("ratings", ratings)):
            if table is not None:
                temporary = self.folder / f".{name}.parquet"
                table.to_parquet(temporary, index=False)
                temporary.replace(self.folder / f"{name}.parquet")
        paths.write_json(self.folder / "metrics.json", metrics)
        shutil.rmtree(self.folder / "checkpoint", ignore_errors=True)
        self.end("finished", eta=0)


def new_run(config: dict[str, Any], name: str | None, status: dict[str, Any]) -> tuple[Path, int]:
    """Makes runs/<name>/; its folder and the descriptor of its lock, as `task.new_task`."""
    return new_task(paths.runs(), name or run_stem(config), "run", config, status, may_count=name is None)


def run_stem(config: dict[str, Any]) -> str:
    """The name of a run that was given none."""
    return f"{config['dataset']}-{config['recipe']}-s{config['seed']}-{datetime.now(UTC):%Y%m%d-%H%M%S}"


def open_run(name: str) -> Run:
    """Opens a run by name.

    Raises:
        CrossrecError: there is no such run; the nearest is named.
    """
    folder = paths.runs() / paths.slug(name, "run")
    if not (folder / "config.json").exists():
        known = [run.name for run in list_runs()]
        raise CrossrecError(f"There is no run {name!r}.{nearest(name, known) or ' There is none at all yet.'}")
    return Run(folder)


def is_untested(config: dict[str, Any]) -> bool:
    """Whether a run of this config leaves the test part alone."""
    return config.get("tested") is False


def list_runs(
    dataset: str | None = None,
    recipe: str | None = None,
    finished: bool = False,
    states: tuple[str, ...] = STATES,
    tested: bool = False,
) -> list[Run]:
    """Runs, newest first; optionally only those of a dataset, of a recipe, finished ones or in some states.

    With `tested` those that leave the test part alone are left out: trials of a search are no results.

    A folder whose files cannot be read is none of them; `damaged_runs` names it.
    """
    found = []
    for run in _folders():
        try:
            config, state = run.config(), run.status()["state"]
            fits = dataset in (None, config["dataset"]) and recipe in (None, config["recipe"])
            fits = fits and not (tested and is_untested(config))
            if fits and states != STATES and state == "running":
                state = run.state
            if fits and (state == "finished" or not finished) and state in states:
                found.append((config["created"], run.name, run))
        except (CrossrecError, KeyError):
            continue
    return [run for _, _, run in sorted(found, key=lambda x: x[:2], reverse=True)]


def damaged_runs() -> list[str]:
    """Names of the run folders that cannot be read."""
    readable = {run.name for run in list_runs()}
    return sorted(run.name for run in _folders() if run.name not in readable)


def _folders() -> list[Run]:
    return [Run(path) for path in paths.runs().glob("[!.]*") if path.is_dir()]


def matching(dataset: str, recipe: str, states: tuple[str, ...] = ("finished",), /, **wanted: Any) -> list[Run]:
    """The runs of a recipe on a dataset, finished ones if not told otherwise, whose config agrees; newest first.

    None that leaves the test part alone.
    """

    def agrees(config: dict[str, Any]) -> bool:
        return all(config.get(key) == value for key, value in wanted.items())

    return [run for run in list_runs(dataset, recipe, states=states, tested=True) if agrees(run.config())]


def latest(dataset: str, recipe: str, **wanted: Any) -> Run | None:
    """The newest of the `matching` runs, or None."""
    return next(iter(matching(dataset, recipe, **wanted)), None)


def _machine() -> dict[str, Any]:
    return {"system": platform.system(), "processor": platform.machine(), "cpus": os.cpu_count()}


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in RECORDED:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def _git_commit() -> str | None:
    """The commit of the sources, with "+" when files differ from it; None outside a checkout."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, timeout=10)
        dirty = subprocess.run(["git", "status", "--porcelain"], cwd=root, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return head.stdout.strip() + ("+" if dirty.stdout.strip() else "") if head.returncode == 0 else None
