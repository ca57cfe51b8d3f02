"""Pieces of a page: the answer, a row of numbers, a chart with its finding, and what to do where nothing is."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import streamlit as st

from app.ui.errors import capital, plain
from crossrec.data.demo import WORLDS
from crossrec.evaluation.verdict import Verdict
from crossrec.report import charts
from crossrec.report.charts import Drawing
from crossrec.report.figures import Figure
from crossrec.runs import demo_task
from crossrec.runs.folder import Run

TRAIN = Path(__file__).resolve().parents[2] / "pages" / "train.py"
ANSWERS = {
    "yes": (st.success, ":material/check_circle:"),
    "no": (st.info, ":material/drag_handle:"),
    "harm": (st.warning, ":material/change_history:"),
    "unknown": (st.info, ":material/help:"),
    "busy": (st.info, ":material/model_training:"),
    "idle": (st.info, ":material/pause_circle:"),
    "how": (st.info, ":material/school:"),
    "loop": (st.info, ":material/cycle:"),
}
STATES = {
    "queued": "waits for its turn",
    "running": "is in training",
    "stopping": "is stopping",
    "stopped": "was stopped",
    "failed": "failed",
}


@dataclass(frozen=True)
class Number:
    """One number of the row below the answer."""

    label: str
    value: str
    help: str
    """Its definition."""
    delta: str | None = None
    delta_description: str | None = None
    delta_color: Literal["normal", "off"] = "normal"
    arrow: Literal["auto", "off"] = "auto"


def answer(sentence: str, kind: str = "no", details: Sequence[str] = ()) -> None:
    """The page's answer, the first thing after the title, and what else must be said with it."""
    show, icon = ANSWERS[kind]
    show(plain(sentence), icon=icon)
    points(details)


def points(sentences: Sequence[str]) -> None:
    if sentences:
        st.markdown("\n".join(f"* {plain(one)}" for one in sentences))


def verdict(found: Verdict) -> None:
    answer(found.headline, found.answer, found.details)


def numbers(row: Sequence[Number]) -> None:
    """At most four numbers, each with its definition on hover."""
    with st.grid(len(row), min_column_width=160, gap="small"):
        for one in row:
            st.metric(
                capital(one.label),
                one.value,
                one.delta,
                help=one.help,
                delta_description=one.delta_description,
                delta_color=one.delta_color,
                delta_arrow=one.arrow,
                border=True,
                height="stretch",
            )


def chart(finding: str, drawing: Drawing, key: str, note: str | None = None) -> None:
    """A chart below what it shows, in words."""
    finding = capital(finding)
    st.markdown(f"**{plain(finding)}**")
    draw(drawing, key, finding)
    if note:
        st.caption(plain(note))


def draw(drawing: Drawing, key: str, alt: str) -> None:
    """A chart alone, with what is said of it to who does not see it."""
    spec = _spec(drawing.func.__qualname__, drawing.args, drawing.keywords, drawing)
    st.vega_lite_chart(spec, width="stretch", key=key, alt=alt)


@st.cache_data(max_entries=512, show_spinner=False)
def _spec(what: str, args: tuple[Any, ...], options: dict[str, Any], _drawing: Drawing) -> dict[str, Any]:
    """Drawn once for the same numbers: a page runs again at every press."""
    return charts.spec(_drawing)


def figures(drawn: Iterable[Figure | None], columns: int = 2) -> None:
    """Figures beside each other; what is not there leaves no gap."""
    there = [one for one in drawn if one is not None]
    for at in range(0, len(there), columns):
        for place, one in zip(st.columns(columns, gap="large"), there[at : at + columns], strict=False):
            with place:
                figure(one)


def figure(one: Figure) -> None:
    chart(one.finding, one.chart, f"cmp_{one.key}", one.note)


def absent(title: str, sentence: str) -> None:
    """What stands in a chart's place where the data has nothing to draw."""
    st.markdown(f"**{plain(title)}**")
    st.caption(f":material/block: {plain(sentence)}")


def commands(words: str) -> None:
    """Commands to copy, a line each; without colours, which are too faint for that on a light ground."""
    st.code(words, language=None, wrap_lines=True)


def no_datasets() -> None:
    if demo_task.under_way():
        answer("The first world is being made: this page shows it in some seconds, by itself.", "busy")
        return
    with st.container(border=True):
        st.header("There is no data yet", anchor=False)
        st.markdown(
            "The demo builds two small invented worlds of **Screen** (films and series) and **Sound** (albums). In "
            "one, people have the same taste in both; in the other, nothing is shared. In each it then trains a model "
            "with and one without transfer. It takes a few minutes and downloads nothing."
        )
        commands("crossrec demo")
        st.markdown("Or bring two files of reviews or purchases; CSV, JSON lines and Parquet are read as they are:")
        commands("crossrec data import mine --source books.csv --target films.csv")
        st.caption("Reload this page afterwards.")


def no_runs(dataset: str, others: Sequence[Run] = ()) -> None:
    if demo_task.under_way() and dataset in WORLDS:
        st.caption(":material/model_training: Its models are being trained: this page shows what they say by itself.")
        return
    with st.container(border=True):
        st.header("Nothing has been trained on this data yet", anchor=False)
        st.markdown("Three trainings answer the question: the source model, the model with transfer, and its baseline.")
        verbs = ("train-source", "train-target-transfer", "train-target-baseline")
        to_train(dataset, "Train them here")
        st.markdown("Or with commands:")
        commands("\n".join(f"crossrec {verb} --dataset {dataset}" for verb in verbs))
        st.caption("Reload this page afterwards.")
    unfinished(others)


def to_train(dataset: str, label: str, **query: str) -> None:
    """The way to the page of trainings."""
    st.page_link(TRAIN, label=label, icon=":material/model_training:", query_params={"data": dataset, **query})


def unfinished(runs: Sequence[Run]) -> None:
    """Says which runs have no results, and why."""
    for run in runs:
        status = run.shown()
        words = f"{run.name} {STATES.get(status['state'], status['state'])}"
        if status["state"] == "running" and "epoch" in status:
            words += f", epoch {status['epoch']} of {status['epochs']}"
        if status.get("error"):
            words += f": {status['error']}"
        st.caption(f":material/hourglass_empty: {plain(words)}")
    if runs:
        newest = runs[0].name
        to_train(runs[0].config()["dataset"], "See how they go" if len(runs) > 1 else "See how it goes", run=newest)


def leaks(report: dict[str, Any] | None) -> None:
    """The leak report of a split, in words and as a table."""
    if report is None:
        st.caption("The split of this data has not been made yet: the first training makes it, with its leak report.")
        return
    checks = report["checks"]
    skipped = sum(check["found"] is None for check in checks)
    if report["leaks"]:
        st.warning(f"{report['leaks']:,} leaks were found.", icon=":material/change_history:")
    else:
        words = f"No leak was found in {len(checks) - skipped} checks"
        words += f"; {skipped} could not be made, because the data has no times." if skipped else "."
        st.markdown(f":material/verified: {words}")
    st.dataframe(
        [
            {
                "Check": check["name"],
                "Found": "cannot be checked" if check["found"] is None else f"{check['found']:,}",
                "Among": check["checked"],
                "What is counted": check["meaning"],
            }
            for check in checks
        ],
        hide_index=True,
        width="stretch",
        column_config={
            "Check": st.column_config.TextColumn(width=280, pinned=True),
            "Found": st.column_config.TextColumn(width="small"),
            "Among": st.column_config.NumberColumn(width="small", format="localized"),
            "What is counted": st.column_config.TextColumn(width="large"),
        },
        alt="Leak report: each check with what it found",
    )
    for note in report["notes"]:
        st.caption(plain(note))
