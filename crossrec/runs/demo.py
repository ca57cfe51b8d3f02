"""The demo: an invented world where taste is shared, one where it is not, and the runs that tell them apart."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from crossrec import paths
from crossrec.config import from_dict
from crossrec.data.demo import WORLDS, DemoConfig, World, generate
from crossrec.data.pair import DomainPair
from crossrec.data.prepare import write_tables
from crossrec.errors import CrossrecError
from crossrec.models.simple import Oracle
from crossrec.runs import item_map
from crossrec.runs.catalog_write import renew_catalog
from crossrec.runs.execute import resume, train
from crossrec.runs.folder import Run, open_run
from crossrec.runs.plan import with_text
from crossrec.stopping import Stop
from crossrec.threads import every_core
from crossrec.training.loop import OnEvent
from crossrec.training.recipes import find_recipe

LABELS = ("Screen", "Sound")
SETTINGS = {"lr": 3e-3, "batch_size": 64, "dropout": 0.2, "temperature": 0.2, "epochs": 40, "patience": 6}
"""Of all sequence models on a demo world: it is small, so steps are short and many. Chosen on validation users."""
UNIFIED = SETTINGS | {"dropout": 0.35, "taste": 128, "epochs": 24}
"""Of the unified encoder there, likewise; more epochs bring no more."""
KNOWN = UNIFIED | {"taste_dropout": 0.5, "item_dropout": 0.3, "average": 1.0, "ridge": 100.0}
"""Of the ensemble for known people there."""
COLD = "cold-user-50"
"""Split of the review model and of what it is compared with: half of the people in both domains are strangers to the
target and are tested, which leaves intervals that can tell something."""
RECIPES: list[tuple[str, str, dict[str, Any]]] = [
    ("racrec", COLD, {}),
    ("popularity", COLD, {}),
    ("popular-lately", COLD, {}),
    ("user-knn", COLD, {}),
    ("content", COLD, {}),
    ("biases", COLD, {}),
    ("linear-map", COLD, {"ridge": 100.0}),
    ("ensemble", COLD, {"hidden": 256, "batch_size": 64, "ridge": 100.0, "patience": 8}),  # 42 people say when to stop
    ("unified", COLD, UNIFIED),
    ("popularity", "next-item", {}),
    ("popular-lately", "next-item", {}),
    ("linear-map", "next-item", {"ridge": 100.0}),
    ("item-knn", "next-item", {}),
    ("source-sasrec", "next-item", SETTINGS),
    ("target-sasrec", "next-item", SETTINGS),
    ("transfer-sasrec", "next-item", SETTINGS),
    ("known-ensemble", "next-item", KNOWN),
]
"""Recipe, split and settings of each run of a demo world."""
FIRST = ("popularity", "linear-map", "source-sasrec", "target-sasrec", "transfer-sasrec")
"""Of the split of known people, these come first in both worlds, before the minutes that the texts need: the app's
first answer rests on them."""
TRUTH = "truth.safetensors"


def make_world(name: str, config: DemoConfig, on_event: OnEvent = lambda event: None) -> Path:
    """Writes a demo world as a dataset, its truth beside the events."""
    world = generate(config)

    def keep_truth(folder: Path) -> None:
        save_file(_truth(world), folder / TRUTH)

    return write_tables(
        name,
        events=world.events,
        items=world.items,
        labels=LABELS,
        origin={"kind": "demo", "transfer_strength": config.transfer_strength, "seed": config.seed},
        extra_files=keep_truth,
        on_event=on_event,
    )


def build(seed: int = 0, on_event: OnEvent = lambda event: None, stop: Stop | None = None) -> list[Run]:
    """Makes what is missing of the demo's datasets and runs, and returns its runs.

    A run that was stopped, or whose process died, is gone on with.

    Args:
        seed: of the worlds and of the trainings.
        on_event: gets {"event": "demo", "step", "steps", "doing"} before each step, and what the steps report.
        stop: asked during each training.

    Raises:
        CrossrecError: a dataset of the demo's name is there and is not the demo's, or another process trains one of its
            runs.
        Stopped: it was stopped; what is done is kept.
    """
    steps = len(WORLDS) * (2 + len(RECIPES))
    step = 0
    pairs: dict[str, DomainPair] = {}
    runs: dict[tuple[str, str, str], Run] = {}

    def tell(doing: str) -> None:
        nonlocal step
        step += 1
        on_event({"event": "demo", "step": step, "steps": steps, "doing": doing})

    def one(name: str, recipe: str, split: str, settings: dict[str, Any]) -> None:
        tell(f"{recipe} on {name}" + (f", {split}" if split != "next-item" else ""))
        runs[name, recipe, split] = _run(recipe, split, pairs[name], settings, seed, on_event, stop)

    for name, strength in WORLDS.items():
        tell(f"world {name}")
        if not (paths.datasets() / name).is_dir():
            make_world(name, DemoConfig(transfer_strength=strength, seed=seed), on_event)
        pair = pairs[name] = DomainPair.open(name)
        origin = {"kind": "demo", "transfer_strength": strength, "seed": seed}
        if any(pair.meta["origin"].get(key) != value for key, value in origin.items()):
            raise CrossrecError(
                f"The dataset {name!r} is not the demo's of seed {seed}: remove or rename it in {paths.datasets()}, "
                "or set CROSSREC_HOME."
            )
        for recipe, split, settings in RECIPES:
            if _is_first(recipe, split):
                one(name, recipe, split, settings)
    for name in WORLDS:
        tell(f"vectors of {name}")
        _encode(pairs[name], on_event)
        for (of, _, _), run in runs.items():
            if of == name:
                renew_catalog(run)
        item_map.enqueue(name)
        for recipe, split, settings in RECIPES:
            if not _is_first(recipe, split):
                one(name, recipe, split, settings)
    return [runs[name, recipe, split] for name in WORLDS for recipe, split, _ in RECIPES]


def _is_first(recipe: str, split: str) -> bool:
    return split == "next-item" and recipe in FIRST


def _encode(pair: DomainPair, on_event: OnEvent) -> None:
    """Encodes what the recipes will read, on all cores."""
    with every_core():
        for recipe, _, settings in RECIPES:
            if find_recipe(recipe).needs_text:
                config: Any = from_dict(find_recipe(recipe).config, settings)
                with_text(pair, config.encoder, config.most_reviews, on_event)


def _run(
    recipe: str,
    split: str,
    pair: DomainPair,
    settings: dict[str, Any],
    seed: int,
    on_event: OnEvent,
    stop: Stop | None,
) -> Run:
    name = f"{pair.name}-{recipe}" + ("-cold" if split == COLD else "")
    folder = paths.runs() / name
    if folder.is_dir():
        run = open_run(name)
        config, state = run.config(), run.state
        if state in ("running", "stopping"):
            raise CrossrecError(f"{name} is in training in another process: wait for it, then build the demo again.")
        if config["dataset_hash"] == pair.meta["hash"]:
            if state == "finished":
                return run
            if config["settings"] == asdict(from_dict(find_recipe(recipe).config, settings)) and config["seed"] == seed:
                return resume(run, on_event, stop)
        _set_aside(folder)
    return train(recipe, pair.name, settings, seed, split, name=name, on_event=on_event, stop=stop)


def _set_aside(folder: Path) -> None:
    """Gives an unfinished or outdated demo run another name: nothing of a person's is deleted."""
    for count in range(1, 1000):
        aside = folder.with_name(f"{folder.name}-old{count}")
        if not aside.exists():
            folder.rename(aside)
            return


def oracle(pair: DomainPair) -> Oracle | None:
    """The oracle of a demo world; None for any other dataset."""
    path = pair.folder / TRUTH
    if not path.exists():
        return None
    truth = load_file(path)
    return Oracle(truth["affinity"], truth["transition"])


def _truth(world: World) -> dict[str, np.ndarray[Any, Any]]:
    """Choice weights of both domains, with the columns of items that somebody took: the dataset has no others."""
    return {name: np.ascontiguousarray(world.truth[name]) for name in ("affinity", "transition", "taste_affinity")}
