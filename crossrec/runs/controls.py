"""What is asked of a run beside its test: the controls, the shots, and whom it recommended what.

Asked once, at the end of the training, and kept in the run's folder, so that every comparison has it at hand.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crossrec.data.pair import DomainPair
from crossrec.data.split import Questions, Split
from crossrec.errors import CrossrecError
from crossrec.evaluation.controls import control, controls_of, shots, stacked
from crossrec.evaluation.protocol import BRIEF, ranked
from crossrec.evaluation.statistics import mean_intervals
from crossrec.models.recommender import Recommender
from crossrec.runs.disk import disk_errors
from crossrec.runs.folder import Run

CONTROLS, SHOTS, LISTS = "controls.parquet", "shots.parquet", "lists.parquet"


def ask(recommender: Recommender, pair: DomainPair, split: Split) -> dict[str, pd.DataFrame]:
    """{file: table} of one recommender on the test part.

    controls: "control", and what `ranked` gives for the people who have a source history, by each control that can
    change anything. shots: "shots", and the same for the people who have enough target events. Empty where there is
    nothing to ask.
    """
    questions = split.test
    known = questions.take(np.flatnonzero(questions.source_end > 0))
    names = controls_of(recommender) if len(known) else []
    asked = {name: ranked(recommender, pair, known, control(name, pair, known).histories) for name in names}
    some, shown = shots(pair, questions, split.cold)
    revealed: dict[str, pd.DataFrame] = {}
    for k, one in shown.items():
        # To one that reads nothing of the target, every number of shots is the same.
        same = next(iter(revealed.values()), None) if not {"target", "target reviews"} & recommender.uses else None
        revealed[str(k)] = ranked(recommender, pair, some, one.histories) if same is None else same
    empty = ranked(recommender, pair, questions.take(np.zeros(0, np.int64)))
    tables = {CONTROLS: stacked(asked or {"": empty}, "control"), SHOTS: stacked(revealed or {"0": empty}, "shots")}
    tables[SHOTS]["shots"] = tables[SHOTS]["shots"].astype("int64")
    return tables


def under(recommender: Recommender, pair: DomainPair, questions: Questions, name: str) -> dict[str, Any]:
    """One control of a recommender, over the people of the questions who have a source history.

    Returns:
        {"users", "metrics": {metric: {"real", "value" under the control, "loss", paired}}}, each with its interval.

    Raises:
        CrossrecError: there is no such control, it cannot change anything, or nobody has a source history.
    """
    known = questions.take(np.flatnonzero(questions.source_end > 0))
    shown = control(name, pair, known)
    if name not in controls_of(recommender):
        what = "the order of the source history" if "source" in recommender.uses else "the source history"
        raise CrossrecError(f"A {recommender.kind} recommender does not read {what}: {name} changes nothing for it.")
    if not len(known):
        raise CrossrecError("Nobody who is asked has a source history: there is nothing to take away.")
    tables = ranked(recommender, pair, known), ranked(recommender, pair, known, shown.histories)
    real, value = (table[list(BRIEF)].to_numpy(float).T for table in tables)
    found = iter(mean_intervals(np.concatenate([real, value, real - value])))
    parts = {part: dict(zip(BRIEF, found, strict=False)) for part in ("real", "value", "loss")}
    return {"users": len(known), "metrics": {m: {part: of[m] for part, of in parts.items()} for m in BRIEF}}


def lists_of(users: Any, top: NDArray[np.int64]) -> dict[str, pd.DataFrame]:
    """{file: table} of the items (Q, 10) that each user was recommended in the test, best first."""
    columns = {f"place {place}": top[:, place - 1].astype(np.int32) for place in range(1, top.shape[1] + 1)}
    return {LISTS: pd.DataFrame({"user": np.asarray(users, np.int32), **columns})}


def write(folder: Path, tables: dict[str, pd.DataFrame]) -> None:
    """Stores them in a run's folder.

    Raises:
        CrossrecError: it cannot be written.
    """
    with disk_errors(folder):
        for name, table in tables.items():
            temporary = folder / f".{name}"
            table.to_parquet(temporary, index=False)
            temporary.replace(folder / name)


def are_there(run: Run) -> bool:
    """Whether a run was asked; one of an earlier version was not."""
    return all((run.folder / name).exists() for name in (CONTROLS, SHOTS, LISTS))


def read(run: Run) -> tuple[dict[str, pd.DataFrame], dict[int, pd.DataFrame]]:
    """Per-user tables by control, and by number of shots; empty where they were not asked."""
    if not are_there(run):
        return {}, {}
    controls, revealed = pd.read_parquet(run.folder / CONTROLS), pd.read_parquet(run.folder / SHOTS)
    return (
        {str(name): table.reset_index(drop=True) for name, table in controls.groupby("control", sort=False)},
        {int(k): table.reset_index(drop=True) for k, table in revealed.groupby("shots")},  # type: ignore[arg-type]
    )


def read_lists(run: Run) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """Users (Q,) and the items (Q, 10) that they were recommended; None where they were not kept."""
    if not (run.folder / LISTS).exists():
        return None
    table = pd.read_parquet(run.folder / LISTS)
    return table["user"].to_numpy(np.int64), table.drop(columns="user").to_numpy(np.int64)
