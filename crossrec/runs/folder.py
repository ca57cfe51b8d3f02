"""A run on disk: one training in a folder whose files any process can read at any time.

config.json (what was asked, enough to repeat it), status.json (how far it is), events.jsonl (what happened),
metrics.json, per_user.parquet and, of data with stars, ratings.parquet (what came out), recommender/ (safetensors and
JSON).
"""

import json
import os
import platform
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pandas as pd

from crossrec import paths
from crossrec.data.pair import DomainPair
from crossrec.errors import CrossrecError, nearest

RECORDED = ("crossrec", "torch", "numpy", "pandas", "accelerate", "duckdb", "scipy")


@dataclass(frozen=True)
class Run:
    """A run's folder, opened for reading; the files are read anew at each call."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    def config(self) -> dict[str, Any]:
        return paths.read_json(self.folder / "config.json")

    def status(self) -> dict[str, Any]:
        return paths.read_json(self.folder / "status.json")

    @property
    def finished(self) -> bool:
        return self.status()["state"] == "finished"

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
        if not path.exists():
            raise CrossrecError(f"Run {self.name!r} has no results: its state is {self.status()['state']!r}.")
        return pd.read_parquet(path)

    def ratings(self) -> pd.DataFrame | None:
        """The hidden ratings of the test part beside what was predicted; None where the data has none."""
        path = self.folder / "ratings.parquet"
        return pd.read_parquet(path) if path.exists() else None

    def events(self) -> list[dict[str, Any]]:
        """What the training reported so far; a last line that is still being written is left out."""
        path = self.folder / "events.jsonl"
        if not path.exists():
            return []
        lines = path.read_text(encoding="utf-8").split("\n")
        return [json.loads(line) for line in lines[:-1] if line]

    @property
    def recommender(self) -> Path:
        return self.folder / "recommender"


class RunWriter:
    """The writing side of a run: makes its folder, and keeps status and events true."""

    def __init__(self, config: dict[str, Any], name: str | None = None):
        """Makes runs/<name>/ with config.json and status.json.

        Args:
            config: "recipe", "dataset", "seed", "settings" and whatever else repeats the run.
            name: the folder's name, or None for one made of recipe, dataset, seed and time.
        """
        now = datetime.now(UTC)
        stem = name or f"{config['dataset']}-{config['recipe']}-s{config['seed']}-{now:%Y%m%d-%H%M%S}"
        self.folder = _new_folder(paths.runs(), paths.slug(stem, "run"), may_count=name is None)
        self.run = Run(self.folder)
        about = {
            "run": self.folder.name,
            **config,
            "created": now.isoformat(timespec="microseconds"),
            "versions": _versions(),
            "git_commit": _git_commit(),
            "machine": {"system": platform.system(), "processor": platform.machine(), "cpus": os.cpu_count()},
        }
        self._status: dict[str, Any] = {"state": "running", "pid": os.getpid()}
        self.status()
        paths.write_json(self.folder / "config.json", about)

    def status(self, **changes: Any) -> None:
        """Changes what status.json says."""
        self._status |= changes
        paths.write_json(self.folder / "status.json", {**self._status, "updated": _now()})

    def event(self, event: dict[str, Any]) -> None:
        """Appends to events.jsonl, and the epoch to the status."""
        if event["event"] == "epoch":
            with (self.folder / "events.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps({**event, "time": _now()}, allow_nan=False) + "\n")
            self.status(**{key: event[key] for key in ("epoch", "epochs", "best", "seconds", "eta")})

    def finish(self, metrics: dict[str, Any], per_user: pd.DataFrame, ratings: pd.DataFrame | None = None) -> None:
        """Writes the results, then says finished."""
        for name, table in (("per_user", per_user), ("ratings", ratings)):
            if table is not None:
                temporary = self.folder / f".{name}.parquet"
                table.to_parquet(temporary, index=False)
                temporary.replace(self.folder / f"{name}.parquet")
        paths.write_json(self.folder / "metrics.json", metrics)
        self.status(state="finished", eta=0)

    def fail(self, reason: str) -> None:
        """Says failed, and why in one sentence."""
        self.status(state="failed", error=reason)


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


def list_runs(dataset: str | None = None, recipe: str | None = None, finished: bool = False) -> list[Run]:
    """Runs, newest first; optionally only those of a dataset, of a recipe, or finished ones.

    A folder whose files cannot be read is none of them; `damaged_runs` names it.
    """
    found = []
    for run in _folders():
        try:
            config, state = run.config(), run.status()["state"]
            fits = dataset in (None, config["dataset"]) and recipe in (None, config["recipe"])
            if fits and (state == "finished" or not finished):
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


def matching(dataset: str, recipe: str, **wanted: Any) -> list[Run]:
    """The finished runs of a recipe on a dataset whose config agrees with `wanted`, newest first."""

    def agrees(config: dict[str, Any]) -> bool:
        return all(config.get(key) == value for key, value in wanted.items())

    return [run for run in list_runs(dataset, recipe, finished=True) if agrees(run.config())]


def latest(dataset: str, recipe: str, **wanted: Any) -> Run | None:
    """The newest of the `matching` runs, or None."""
    return next(iter(matching(dataset, recipe, **wanted)), None)


def _new_folder(parent: Path, stem: str, may_count: bool) -> Path:
    parent.mkdir(parents=True, exist_ok=True)
    for count in range(1, 1000):
        folder = parent / (stem if count == 1 else f"{stem}-{count}")
        try:
            folder.mkdir()
            return folder
        except FileExistsError as error:
            if not may_count:
                raise CrossrecError(f"There is a run {stem!r} already; give the new one another name.") from error
    raise CrossrecError(f"There are a thousand runs named {stem!r}; remove some.")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


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
