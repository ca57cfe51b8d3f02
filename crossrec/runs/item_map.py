"""The map of a dataset's items: what is written about them, in two dimensions, made once by a process of its own.

A task in maps/ for each dataset, with map.parquet beside its status once it is finished. Nothing of a person is in it.

I items of both domains, W width of an encoder's vector.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crossrec import paths
from crossrec.data.pair import DOMAINS, DomainPair
from crossrec.data.split import open_split, split_unstored
from crossrec.errors import CrossrecError
from crossrec.runs import queue
from crossrec.runs.catalog import Floats
from crossrec.runs.catalog_write import item_vectors, read_items, usual_encoder
from crossrec.runs.disk import disk_errors
from crossrec.runs.locks import BusyError, take_lock
from crossrec.runs.task import Task, TaskWriter
from crossrec.stopping import Stop

NEAREST = 10
"""Items whose domain is looked at around each."""
ASKED = 2_000
"""Items of which that is asked, drawn by a fixed seed; of fewer all."""
NO_MEMORY = "There is not enough memory for the map: close other programs."
FILE = "map.parquet"
WORDLESS = "Nothing is written about the items of {name!r}: without titles and reviews there is no map."


@dataclass(frozen=True)
class ItemMap:
    """Where the items are, and how far the domains talk alike."""

    items: pd.DataFrame
    """which, item (number), title, category, x, y; only items of which something is written."""
    encoder: str
    shown: float
    """Share of the variance of the vectors that two dimensions show, 0 to 1."""
    mixed: float | None
    """Mean share of an item's `NEAREST` that are of the other domain; None with one domain."""
    expected: float | None
    """The same, were the domains told alike."""


def of(dataset: str) -> Task | None:
    """The newest task for a dataset as it is now; None where there is none."""
    hash_ = paths.read_json(paths.datasets() / paths.slug(dataset, "dataset") / "dataset.json")["hash"]
    found = []
    for task in queue.tasks("map"):
        try:
            config = task.config()
        except CrossrecError:  # it is being made or going
            continue
        if config["dataset"] == dataset and config["dataset_hash"] == hash_:
            found.append((config["created"], task))
    return max(found, key=lambda one: one[0])[1] if found else None


def read(task: Task) -> ItemMap:
    """The map that a finished task has made."""
    about = task.status()["map"]
    return ItemMap(pd.read_parquet(task.folder / FILE), **about)


def enqueue(dataset: str) -> Task:
    """Sees to it that the map of a dataset is made; one that is there or under way is left alone.

    Raises:
        CrossrecError: there is no such dataset, or nothing can be written.
    """
    pair = DomainPair.open(dataset)
    with disk_errors(paths.home()):
        paths.maps().mkdir(parents=True, exist_ok=True)
        try:
            with_lock = take_lock(paths.maps() / ".lock", wait=10.0)
        except BusyError as error:
            raise CrossrecError("Another map is being put into the queue: try again.") from error
        try:
            there = of(dataset)
            if there is not None and there.state in ("queued", "running", "stopping", "finished"):
                return there
            asked = {"dataset": dataset, "dataset_hash": pair.meta["hash"], "command": f"crossrec data map {dataset}"}
            return queue.add("map", dataset, asked)
        finally:
            os.close(with_lock)


def carry_out(folder: Path, stop: Stop | None = None) -> None:
    """Makes the map of a task that waits; its status says how it ended.

    Raises:
        CrossrecError: it does not wait, or another process is at it; or what made it fail.
    """
    writer = TaskWriter(folder, expect=("queued",))
    config = writer.task.config()
    with writer.telling(config["command"], NO_MEMORY):
        writer.status(doing="reading what is written about the items")
        made = make(DomainPair.open(config["dataset"]))
        whole = folder / f".{FILE}"
        made.items.to_parquet(whole, index=False)
        whole.replace(folder / FILE)
        about = {"encoder": made.encoder, "shown": made.shown, "mixed": made.mixed, "expected": made.expected}
        writer.end("finished", map=about)


def make(pair: DomainPair) -> ItemMap:
    """Reads the vectors of what the training part says of each item, and turns them to their two widest directions.

    Raises:
        CrossrecError: nothing is written about the items.
    """
    encoder = usual_encoder(pair)
    if encoder is None:
        raise CrossrecError(WORDLESS.format(name=pair.name))
    try:
        split = open_split(pair)
    except CrossrecError:  # nobody can be tested on it
        split = split_unstored(pair)
    parts, vectors = [], []
    for which, reviews in read_items(pair, split, encoder).items():
        found, known, _ = item_vectors(reviews)
        about = pair.items(which).sort_values("item")[["item", "item_id", "title", "category"]]
        about = about.assign(title=about["title"].fillna(about["item_id"])).drop(columns="item_id")
        parts.append(about[known[1:]].assign(which=which))
        vectors.append(found[1:][known[1:]].astype(np.float32))
    items, all_vectors = pd.concat(parts, ignore_index=True), np.concatenate(vectors)
    if len(items) < 3:
        raise CrossrecError(WORDLESS.format(name=pair.name))
    at, shown = plane(all_vectors)
    first = (items["which"] == DOMAINS[0]).to_numpy()
    mixed, expected = mixture(all_vectors, first) if first.any() and not first.all() else (None, None)
    items = items.assign(x=at[:, 0], y=at[:, 1])[["which", "item", "title", "category", "x", "y"]]
    return ItemMap(items, encoder, shown, mixed, expected)


def plane(vectors: Floats) -> tuple[Floats, float]:
    """(I, W) -> (I, 2) along the two directions of the largest variance (PCA), and the share of it that they show.

    Signs are settled, so that the same vectors give the same map.
    """
    centred = vectors - vectors.mean(axis=0)
    values, directions = np.linalg.eigh((centred.T @ centred).astype(np.float64))
    two = directions[:, ::-1][:, :2]
    two = two * np.sign(two[np.abs(two).argmax(axis=0), np.arange(2)])
    total = float(values.sum())
    return (centred @ two).astype(np.float32), float(values[-2:].sum() / total) if total else 0.0


def mixture(vectors: Floats, first: NDArray[np.bool_]) -> tuple[float, float]:
    """How often an item's nearest are of the other domain, and how often they would be by chance.

    Args:
        vectors: (I, W) of length 1.
        first: (I,) whether an item is of the first domain.

    Returns:
        Both as means over items, of both domains alike: so that a large domain does not decide.
    """
    rng, n = np.random.default_rng(0), len(vectors)
    shares: dict[bool, list[float]] = {True: [], False: []}
    k = min(NEAREST, n - 1)
    for side in (True, False):
        mine = np.flatnonzero(first == side)
        for some in np.array_split(rng.permutation(mine)[:ASKED], max(1, len(mine[:ASKED]) // 256)):
            match = vectors[some] @ vectors.T
            match[np.arange(len(some)), some] = -np.inf
            nearest = np.argpartition(-match, k - 1, axis=1)[:, :k]
            shares[side] += (first[nearest] != side).mean(axis=1).tolist()
    chance = [float((first != side).sum() / (n - 1)) for side in (True, False)]
    return float(np.mean([np.mean(one) for one in shares.values()])), float(np.mean(chance))


def place(found: ItemMap, which: str, numbers: Any) -> pd.DataFrame:
    """The rows of some items of a domain, in the order of their numbers as given; those not on the map are left out."""
    rows = found.items[found.items["which"] == which].set_index("item")
    there = [int(one) for one in numbers if int(one) in rows.index]
    return rows.loc[there].reset_index()
