"""What a search may try of each recipe: ranges and choices of the settings that are worth searching.

They are wide enough to hold what was best on every dataset that was tried, and narrow enough for some tens of trials. A
recipe that is not named here has nothing to search for.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from crossrec.errors import CrossrecError, nearest
from crossrec.training.recipes import find_recipe

BY_STARS = ("emcdr", "ptupcdr", "collective-factors")
"""Recipes that fit stars: they are chosen by the RMSE on the validation people, for they rank by nothing else."""
RMSE, NDCG = "rmse", "ndcg@10"


@dataclass(frozen=True)
class Range:
    """Numbers from low to high, both included; whole ones where both ends are."""

    low: float
    high: float
    log: bool = False
    """Whether equal steps are equal factors."""


Space = dict[str, Range | tuple[Any, ...]]
"""By setting: a range, or the choices."""

LOOP: Space = {"lr": Range(3e-4, 1e-2, log=True), "batch_size": (64, 128, 256, 512)}
FACTORS: Space = {"factors": Range(5, 40, log=True), "ridge": Range(2.0, 60.0, log=True), "damping": Range(0.5, 20.0)}
SEQUENCE: Space = LOOP | {
    "dim": (32, 64, 128),
    "dropout": Range(0.1, 0.6),
    "temperature": Range(0.05, 0.4, log=True),
    "weight_decay": (0.0, 1e-3, 1e-2, 1e-1),
    "average": (0.0, 1.0, 3.0),
}
AUTOENCODER: Space = LOOP | {
    "hidden": (128, 256, 512, 1024),
    "dropout": Range(0.1, 0.7),
    "input_dropout": Range(0.2, 0.8),
    "popularity": Range(0.0, 1.2),
    "source_loss": Range(0.0, 1.0),
    "weight_decay": Range(1e-3, 0.3, log=True),
}
UNIFIED: Space = SEQUENCE | {
    "taste": (0, 64, 128, 256),
    "taste_dropout": Range(0.1, 0.7),
    "input_dropout": Range(0.0, 0.7),
    "item_dropout": Range(0.0, 0.6),
    "next_loss": Range(0.1, 3.0, log=True),
    "cold_loss": Range(0.1, 3.0, log=True),
}
MAP: Space = {"ridge": Range(10.0, 4_000.0, log=True)}
VOTES: Space = {"neighbours": Range(20, 1_000, log=True)}
SPACES: dict[str, Space] = {
    "linear-map": MAP | {"prior": Range(1e-4, 0.1, log=True)},
    "user-knn": VOTES | {"prior": Range(1e-6, 1e-2, log=True)},
    "item-knn": {"damping": Range(0.0, 1.0), "prior": Range(1e-3, 0.5, log=True)},
    "emcdr": FACTORS | {"map_ridge": Range(0.1, 100.0, log=True)},
    "ptupcdr": FACTORS | {"meta_hidden": (10, 20, 50, 100), "lr": Range(1e-3, 3e-2, log=True)},
    "source-sasrec": SEQUENCE,
    "target-sasrec": SEQUENCE,
    "transfer-sasrec": SEQUENCE
    | {
        "bridge_hidden": (64, 128, 256),
        "bridge_dropout": Range(0.1, 0.7),
        "source_dropout": Range(0.0, 0.5),
        "fusion": ("gate", "add", "concat"),
    },
    "racrec": LOOP
    | {
        "taste_dim": (16, 32, 64),
        "components": (32, 64, 128),
        "dropout": Range(0.2, 0.7),
        "target_dropout": Range(0.2, 0.9),
        "context_dropout": Range(0.0, 0.6),
        "weight_decay": Range(1e-2, 0.5, log=True),
        "rank": Range(0.3, 3.0, log=True),
    },
    "collective-factors": {
        "factors": Range(5, 40, log=True),
        "ridge": Range(50.0, 2_000.0, log=True),
        "damping": Range(0.5, 20.0),
        "taken": Range(30.0, 3_000.0, log=True),
    },
    "autoencoder": AUTOENCODER,
    "unified": UNIFIED,
    # Its learned member is for known people: what strangers would teach it has no weight unless asked for.
    "known-ensemble": {name: space for name, space in UNIFIED.items() if name != "cold_loss"},
    "ensemble": AUTOENCODER | MAP | VOTES,
}
"""By recipe."""


def measure(recipe: str) -> str:
    """The validation figure by which a recipe is chosen."""
    return RMSE if recipe in BY_STARS else NDCG


def score(recipe: str, valid: Mapping[str, float]) -> float:
    """What a search makes as large as it can: NDCG@10, or minus the RMSE; NaN where it is not there."""
    value = valid.get(measure(recipe), float("nan"))
    return -value if measure(recipe) == RMSE else value


def space_of(recipe: str, fixed: Mapping[str, Any], config: Any) -> Space:
    """What is searched: the space of a recipe without what is fixed.

    The first trial has the settings of `config`; a space that they lie outside of, as those of a preset may, is widened
    to hold them.

    Raises:
        CrossrecError: the recipe has no space, or all of it is fixed.
    """
    if recipe not in SPACES:
        find_recipe(recipe)  # an unknown one is told with the nearest
        raise CrossrecError(f"{recipe} has no settings worth a search.{nearest(recipe, SPACES)}")
    found = {name: _holding(one, getattr(config, name)) for name, one in SPACES[recipe].items() if name not in fixed}
    if not found:
        raise CrossrecError(f"All that could be searched of {recipe} is fixed: leave some of the --set out.")
    assert set(found) <= {one.name for one in fields(config)}
    return found


def _holding(one: Range | tuple[Any, ...], value: Any) -> Range | tuple[Any, ...]:
    if isinstance(one, Range):
        log = one.log and value > 0  # nought has no place on a logarithmic scale
        return Range(min(one.low, value), max(one.high, value), log)
    return one if value in one else (*one, value)
