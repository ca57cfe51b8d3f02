"""How recommenders learned: losses and validation by epoch, and how to read them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log
from typing import Any

import pandas as pd

from crossrec.evaluation.compare import HEADLINE
from crossrec.report.words import listed
from crossrec.runs.folder import Run

REVIEW = "racrec"
GUESSING = 2 * log(2)
"""Of the domain classifier: the sum over both domains when it cannot tell them apart."""


@dataclass(frozen=True)
class Curve:
    """One value per epoch, and how to read it."""

    title: str
    what: str
    good: str
    mark: float | None = None
    """A value that is marked by a dashed line."""


CURVES = {
    "pred": Curve(
        "Stars (MSE)",
        "Squared error of the predicted stars on what it is trained on.",
        "falls, then flattens. Falling on while the validation error rises is learning by heart.",
    ),
    "diff": Curve(
        "Shared apart from specific",
        "How much a person's shared and specific taste say the same: 0 when they have nothing in common.",
        "falls at once and stays near 0.",
    ),
    "class": Curve(
        "Telling the domains apart",
        "Error of a classifier that guesses the domain from the shared taste, which is taught to hide it.",
        "stays at the dashed line, 1.386: the classifier can only guess. Far below it, the shared taste betrays its "
        "domain.",
        GUESSING,
    ),
    "rec": Curve(
        "Reconstruction of what a person wrote",
        "How far the reviews, rebuilt from both tastes, are from the real ones.",
        "falls and flattens: the tastes keep what was written.",
    ),
    "irec": Curve(
        "Reconstruction of the item",
        "The same of what is written about an item, rebuilt from its vector.",
        "falls and flattens.",
    ),
    "rank": Curve(
        "Choice among all items",
        "Softmax over the catalogue: how surprised the model is by the item that a person took.",
        "falls slowly to the end; this is what the list of recommendations is made by.",
    ),
    "align": Curve(
        "Shared tastes alike",
        "How far the shared taste from the source is from that from the target, of people who have both.",
        "falls.",
    ),
    HEADLINE: Curve(
        "Validation NDCG@10",
        "How well items are ranked for people whom it is not trained on.",
        "rises, then flattens; training stops some epochs after the best.",
    ),
    "rmse": Curve(
        "Validation RMSE",
        "Error of the stars of people whom it is not trained on.",
        "falls with the training error; rising means learning by heart.",
    ),
}
"""In the order in which they are drawn."""
CLASSIC = {
    "diff": Curve(
        CURVES["diff"].title,
        "The first system's form, a signed cosine of shared and specific taste.",
        "does not exist: its least value is -1, not 0, so the two are pushed to opposite directions instead of apart.",
    ),
    "class": Curve(
        CURVES["class"].title,
        "The first system's form: the classifier's error counts negative, so the classifier itself learns to be wrong.",
        "does not exist: it rises without end, and says nothing about the shared taste. Guessing is the dashed line.",
        GUESSING,
    ),
}


def epochs(run: Run) -> list[dict[str, Any]]:
    return [event for event in run.events() if event.get("event") == "epoch"]


def review_curves(run: Run) -> dict[str, tuple[Curve, pd.DataFrame]]:
    """{name of a loss or of a validation metric: (how to read it, epoch, value, best)} of a review model."""
    best, classic = run.metrics()["fit"]["best_epoch"], run.config()["settings"].get("mode") == "classic"
    told = epochs(run)
    found = {}
    for name, curve in (CURVES | CLASSIC if classic else CURVES).items():
        source = "valid" if name in (HEADLINE, "rmse") else "losses"
        rows = [
            (event["epoch"], value, event["epoch"] == best)
            for event in told
            if (value := (event.get(source) or {}).get(name)) is not None
        ]
        if rows:
            found[name] = curve, pd.DataFrame(rows, columns=["epoch", "value", "best"])
    return found


def change(curve: Curve, frame: pd.DataFrame) -> str:
    """From the first epoch to the one that was kept."""
    kept = frame[frame["best"]]["value"]
    end = kept.iloc[0] if len(kept) else frame["value"].iloc[-1]
    return f"{curve.title}: {frame['value'].iloc[0]:.3f} → {end:.3f}"


def curves(runs: Sequence[Run], titles: Mapping[str, str]) -> dict[str, dict[str, pd.DataFrame]]:
    """{monitor: {"valid", "loss"}}: title, recipe, epoch, value, best (the epoch that was kept).

    Of the runs that have epochs and are no review models; those that watch the same number stand together.
    """
    found: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for run in runs:
        best, recipe = run.metrics()["fit"]["best_epoch"], run.config()["recipe"]
        for event in epochs(run) if recipe != REVIEW else ():
            rows = found.setdefault(event.get("monitor", HEADLINE), {"valid": [], "loss": []})
            about = {"title": titles[run.name], "recipe": recipe, "epoch": event["epoch"]}
            about["best"] = event["epoch"] == best
            for key, values, name in (("valid", "valid", event.get("monitor", HEADLINE)), ("loss", "losses", "loss")):
                if (value := (event.get(values) or {}).get(name)) is not None:
                    rows[key].append(about | {"value": abs(value)})  # an error is watched as a negative number
    return {monitor: {key: pd.DataFrame(rows) for key, rows in both.items()} for monitor, both in found.items()}


def best_sentence(valid: pd.DataFrame) -> str:
    """Which epoch of each run was kept."""
    kept = [f"{row.title} was best in epoch {row.epoch}" for row in valid[valid["best"]].itertuples()]
    said = listed(kept)
    return said + (" (the diamonds)" if len(kept) > 1 else " (the diamond)")


def loss_sentence(loss: pd.DataFrame) -> str:
    """Whether fitting went on after validation was best: what stopping early is for."""
    if loss.empty:
        return ""
    for _, part in loss.groupby("title"):
        last, kept = part["value"].iloc[-1], part.loc[part["best"], "value"].min()
        if not (last < kept and last < 1.001 * part["value"].min()):  # else it only goes up and down
            return "Training loss by epoch"
    return "Training loss goes on falling after the epoch that was kept"
