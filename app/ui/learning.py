"""How it learned: the losses of the review model one by one, and loss and validation of the others."""

from collections.abc import Mapping, Sequence
from functools import partial

import pandas as pd
import streamlit as st

from app.ui import cards
from app.ui.errors import plain
from crossrec.evaluation.compare import HEADLINE
from crossrec.report import charts
from crossrec.report.learning import REVIEW, best_sentence, change, curves, epochs, loss_sentence, review_curves
from crossrec.runs.folder import Run

# --- cards -----------------------------------------------------------------------------------------------------------


def section(chosen: Sequence[Run], titles: Mapping[str, str]) -> None:
    """All curves of the chosen runs that were trained step by step; nothing where there are none."""
    others = curves(chosen, titles)
    reviews = {run.name: run for run in chosen if run.config()["recipe"] == REVIEW and epochs(run)}
    if not others and not reviews:
        return
    st.header("How it learned", anchor=False)
    if reviews:
        name = next(iter(reviews))
        if len(reviews) > 1:
            name = st.selectbox(
                "Review model", list(reviews), format_func=titles.get, key="cmp_learned", bind="query-params", width=340
            )
        _review(reviews[name], titles[name])
    for monitor, frames in others.items():
        _others(monitor, frames)


def _review(run: Run, title: str) -> None:
    fit, monitor = run.metrics()["fit"], epochs(run)[0].get("monitor", HEADLINE)
    st.markdown(
        plain(
            f"{title} minimises several losses at once; each curve has an axis of its own. The diamond is the epoch "
            f"that was kept, {fit['best_epoch']} of {fit['epochs']}, the best by validation {_metric(monitor)}; the "
            "numbers go from the first epoch to that one."
        )
    )
    if run.config()["settings"].get("mode") == "classic":
        st.caption(plain("This run has the losses of the first review system, faults included."))
    with st.grid(3, min_column_width=280, gap="medium"):
        for name, (curve, frame) in review_curves(run).items():
            with st.container(border=True, height="stretch"):
                drawn = partial(charts.curve, frame, curve.title, REVIEW, curve.mark)
                key = f"cmp_curve_{name.replace('@', '_')}"
                cards.chart(change(curve, frame), drawn, key, f"{curve.what} A good one {curve.good}")


def _metric(monitor: str) -> str:
    return monitor.removeprefix("-").upper()


def _others(monitor: str, frames: Mapping[str, pd.DataFrame]) -> None:
    metric = _metric(monitor)
    error = ": an error, so lower is better" if monitor.startswith("-") else ""
    key = monitor.replace("@", "_").strip("-")
    left, right = st.columns(2, gap="large")
    if len(frames["valid"]):
        with left:
            drawn = partial(charts.learning, frames["valid"], f"Validation {metric}")
            note = f"{metric} of what is held out for validation{error}. A good curve improves, then flattens."
            cards.chart(best_sentence(frames["valid"]), drawn, f"cmp_valid_{key}", note)
    if len(frames["loss"]):
        with right:
            note = "What is minimised. A good curve falls; on its own it says nothing about other people."
            drawn = partial(charts.learning, frames["loss"], "Training loss")
            cards.chart(loss_sentence(frames["loss"]), drawn, f"cmp_loss_{key}", note)
