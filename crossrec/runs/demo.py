"""The demo: an invented world where taste is shared, one where it is not, and the runs that tell them apart."""

from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from crossrec import paths
from crossrec.data.demo import DemoConfig, World, generate
from crossrec.data.pair import DomainPair
from crossrec.data.prepare import write_tables
from crossrec.errors import CrossrecError
from crossrec.models.simple import Oracle
from crossrec.runs.execute import train
from crossrec.runs.folder import Run, open_run
from crossrec.training.loop import OnEvent

LABELS = ("Screen", "Sound")
WORLDS = {"demo": 1.0, "demo-unrelated": 0.0}
"""Datasets of the demo and the share of taste that their two domains have in common."""
SETTINGS = {"lr": 3e-3, "batch_size": 64, "dropout": 0.2, "temperature": 0.2, "epochs": 40, "patience": 6}
"""Of all sequence models on a demo world: it is small, so steps are short and many. Chosen on validation users."""
RECIPES: dict[str, dict[str, Any]] = {
    "popularity": {},
    "linear-map": {"ridge": 100.0},
    "source-sasrec": SETTINGS,
    "target-sasrec": SETTINGS,
    "transfer-sasrec": SETTINGS,
}
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


def build(seed: int = 0, on_event: OnEvent = lambda event: None) -> list[Run]:
    """Makes what is missing of the demo's datasets and runs, and returns its runs.

    Args:
        seed: of the worlds and of the trainings.
        on_event: gets {"event": "demo", "step", "steps", "doing"} before each step, and what the steps report.

    Raises:
        CrossrecError: a dataset or run of the demo's name is there and is not the demo's.
    """
    steps = len(WORLDS) * (1 + len(RECIPES))
    runs, step = [], 0

    def tell(doing: str) -> None:
        nonlocal step
        step += 1
        on_event({"event": "demo", "step": step, "steps": steps, "doing": doing})

    for name, strength in WORLDS.items():
        tell(f"world {name}")
        if not (paths.datasets() / name).is_dir():
            make_world(name, DemoConfig(transfer_strength=strength, seed=seed), on_event)
        pair = DomainPair.open(name)
        origin = {"kind": "demo", "transfer_strength": strength, "seed": seed}
        if any(pair.meta["origin"].get(key) != value for key, value in origin.items()):
            raise CrossrecError(
                f"The dataset {name!r} is not the demo's of seed {seed}: remove or rename it in {paths.datasets()}, "
                "or set CROSSREC_HOME."
            )
        for recipe, settings in RECIPES.items():
            tell(f"{recipe} on {name}")
            runs.append(_run(recipe, pair, settings, seed, on_event))
    return runs


def _run(recipe: str, pair: DomainPair, settings: dict[str, Any], seed: int, on_event: OnEvent) -> Run:
    name = f"{pair.name}-{recipe}"
    folder = paths.runs() / name
    if folder.is_dir():
        run = open_run(name)
        if run.finished and run.config()["dataset_hash"] == pair.meta["hash"]:
            return run
        _set_aside(folder)
    return train(recipe, pair.name, settings, seed=seed, name=name, on_event=on_event)


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
