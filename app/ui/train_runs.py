"""The runs as a table: what is in training, what waits, and what came of the others; and which one is looked at."""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from app.ui import train_words
from crossrec import paths
from crossrec.errors import CrossrecError
from crossrec.evaluation.compare import HEADLINE
from crossrec.runs import queue
from crossrec.runs.folder import Run, is_untested
from crossrec.runs.task import Task

LINGER = 6.0
"""Seconds for which a page goes on looking after nothing is in training any more."""
MOST = 50
"""Most runs in the table."""
POINTS = 40
"""Most points of a small curve."""
CURVE = 300
"""Most points of a large one, beside the best."""
LIVE = ("queued", "running", "stopping")


@dataclass(frozen=True)
class Seen:
    """A run as its files were when they were last read."""

    name: str
    config: dict[str, Any]
    status: dict[str, Any]
    epochs: list[dict[str, Any]]
    """Its events that end an epoch; of very many not all."""
    steps: list[dict[str, Any]]
    """Its last events within an epoch."""
    metrics: dict[str, Any] | None

    @property
    def run(self) -> Run:
        return Run(paths.runs() / self.name)

    @property
    def live(self) -> bool:
        return self.status["state"] in LIVE

    @property
    def seconds(self) -> float | None:
        """How long it was trained, over all of its parts."""
        if self.metrics is not None:
            return self.metrics["fit"]["seconds"]
        return self.status.get("seconds")

    @property
    def score(self) -> str:
        """The best validation score, with its name."""
        for event in self.epochs:
            if event["epoch"] == event_best(self.epochs):
                monitor = event.get("monitor", HEADLINE)
                return f"{metric(monitor)} {abs(event['valid'][monitor]):.4f}"
        if self.metrics is not None and HEADLINE in (self.metrics.get("valid") or {}):
            return f"{metric(HEADLINE)} {self.metrics['valid'][HEADLINE]:.4f}"
        return ""


def event_best(epochs: Sequence[dict[str, Any]]) -> int | None:
    return epochs[-1]["best"] if epochs else None


def metric(monitor: str) -> str:
    return monitor.removeprefix("-").upper()


# --- reading ---------------------------------------------------------------------------------------------------------


def seen(name: str) -> Seen:
    """A run; its files are read again only if they changed.

    Raises:
        CrossrecError: it cannot be read.
    """
    folder = paths.runs() / name
    found = _seen(str(folder), tuple(_stamp(folder / file) for file in ("status.json", "events.jsonl", "config.json")))
    if found.status["state"] == "running":  # whether somebody is at it does not stand in a file
        return Seen(**{**vars(found), "status": found.run.shown()})
    return found


def _stamp(file: Path) -> tuple[int, int]:
    try:
        about = file.stat()
    except OSError:
        return 0, 0
    return about.st_mtime_ns, about.st_size


@st.cache_resource(max_entries=512, show_spinner=False)
def _seen(folder: str, stamps: tuple[tuple[int, int], ...]) -> Seen:
    run = Run(Path(folder))
    events = run.events()
    epochs = [event for event in events if event.get("event") == "epoch"]
    steps = [event for event in events if event.get("event") == "step"]
    status = run.status()
    metrics = run.metrics() if status["state"] == "finished" else None
    try:
        return Seen(run.name, run.config(), status, _thinned(epochs), steps[-CURVE:], metrics)
    except KeyError as error:
        raise CrossrecError(f"Run {run.name!r} cannot be read: it says nothing of {error}.") from error


def _thinned(epochs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Evenly spread epochs of a long training, with the best and the last."""
    step = -(-len(epochs) // CURVE) or 1
    kept = {event["epoch"] for event in epochs[::-step]} | {event_best(epochs)}
    return [event for event in epochs if event["epoch"] in kept]


def all_seen(dataset: str | None) -> tuple[list[Seen], int]:
    """Runs of a dataset, or all, newest first; and how many cannot be read."""
    found, damaged = [], 0
    for folder in paths.runs().glob("[!.]*"):
        if not folder.is_dir():
            continue
        try:
            one = seen(folder.name)
            if dataset in (None, one.config["dataset"]):
                found.append((one.config["created"], one.name, one))
        except (CrossrecError, KeyError, TypeError, OSError):
            damaged += 1
    return [one for *_, one in sorted(found, key=lambda x: x[:2], reverse=True)], damaged


def under_way() -> tuple[list[Task], list[Task]]:
    """What is in training, and what waits, in order."""
    return queue.under_way("run")


def is_live() -> bool:
    """Whether anything is in training or waits, or did a moment ago.

    What ends is drawn a few times more: where a process dies, a page may look before anybody has told how.
    """
    now = time.monotonic()
    if any(under_way()):
        st.session_state["trn_live"] = now
    return now - st.session_state.get("trn_live", -LINGER) < LINGER


# --- the one that is looked at ---------------------------------------------------------------------------------------


def look_at(name: str) -> None:
    """Makes a run the one that is looked at; the address says so too."""
    st.session_state["trn_run"] = name
    st.session_state.setdefault("trn_known", set()).add(name)
    st.query_params["run"] = name


def follow_address(tab: str) -> None:
    """Shows the run that the address names in its tab, when somebody followed a link to it.

    What a browser sends may be older than the last click: a run that was looked at before is no new link, unless the
    page has just been come to.
    """
    asked = st.query_params.get("run")
    if asked and (asked not in st.session_state.get("trn_known", ()) or "trn_tab" not in st.session_state):
        look_at(asked)
        st.session_state["trn_tab"] = tab
    if st.session_state.get("trn_tab") != tab:
        st.query_params.pop("run", None)


def looked_at(rows: Sequence[Seen]) -> str | None:
    """The run that is looked at: the chosen one, else what is in training, else the newest."""
    if chosen := st.session_state.get("trn_run"):
        if st.query_params.get("run") != chosen:
            st.query_params["run"] = chosen
        return chosen
    order = ("running", "stopping", "queued")
    live = sorted((row for row in rows if row.live), key=lambda row: order.index(row.status["state"]))
    return next((row.name for row in (*live, *rows)), None)


# --- the table -------------------------------------------------------------------------------------------------------


def table(rows: Sequence[Seen], waiting: Sequence[Task], looked: str | None) -> None:
    """The runs; a click on a row makes it the one that is looked at."""
    rows = rows[:MOST]
    names = [row.name for row in rows]
    places = {task.name: place for place, task in enumerate(waiting, 1)}
    frame = pd.DataFrame(
        [
            {
                "Run": row.name,
                "State": train_words.state(row.status, places.get(row.name), is_untested(row.config)),
                "Progress": train_words.done(row.status),
                "Loss": thinned([event["losses"].get("loss") for event in row.epochs]),
                "Validation": row.score,
                "Recipe": row.config["title"],
                "Dataset": row.config["dataset"],
                "Begun": datetime.fromisoformat(row.status.get("started") or row.config["created"]),
                "Trained": "" if row.seconds is None else train_words.short(row.seconds),
            }
            for row in rows
        ]
    )
    # The rows that are selected are counted, not named: with other rows it is another table.
    key = f"trn_table_{hashlib.sha256('/'.join(names).encode()).hexdigest()[:10]}"
    at = names.index(looked) if looked in names else None
    column = st.column_config
    st.dataframe(
        frame,
        key=key,
        hide_index=True,
        width="stretch",
        on_select=partial(_select, key, names),
        selection_mode="single-row",
        selection_default=None if at is None else {"selection": {"rows": [at]}},
        alt="Runs with their state, progress, loss and validation score",
        column_config={
            "Run": column.TextColumn(pinned=True, width=215),
            "State": column.TextColumn(width=120),
            "Progress": column.ProgressColumn(
                format="percent", min_value=0, max_value=1, width=95, help="Of at most so many epochs."
            ),
            "Loss": column.LineChartColumn(width=85, help="What is minimised, epoch by epoch. A good one falls."),
            "Validation": column.TextColumn(
                width=140,
                help="The best so far, on what is held out for validation. RMSE is an error: lower is better.",
            ),
            "Recipe": column.TextColumn(width=170),
            "Dataset": column.TextColumn(width=110),
            "Begun": column.DatetimeColumn(format="distance", width=120, help="Or put into the queue."),
            "Trained": column.TextColumn(width=90, help="Time in training, over all of its parts."),
        },
    )


def _select(key: str, names: Sequence[str]) -> None:
    if chosen := st.session_state[key].selection.rows:
        look_at(names[chosen[0]])


def thinned(values: Sequence[float | None]) -> list[float]:
    """At most `POINTS` of the values, evenly spread, the last among them."""
    known = [value for value in values if value is not None]
    step = -(-len(known) // POINTS) or 1
    return known[::-step][::-1]
