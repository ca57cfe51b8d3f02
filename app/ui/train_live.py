"""One run, live: where it is, its curves, what can be done with it, and what came out."""

from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from app.ui import cards, splits, train_form, train_settings, train_words
from app.ui.errors import capital, plain
from app.ui.train_runs import Seen, event_best, look_at, metric
from crossrec.errors import CrossrecError
from crossrec.report import charts, learning
from crossrec.runs import queue
from crossrec.runs.compare import BASELINE
from crossrec.runs.folder import is_untested, open_run
from crossrec.runs.task import Task
from crossrec.training.recipes import RECIPES

PAGES = Path(__file__).resolve().parents[2] / "pages"
COLUMNS = ["epoch", "value", "best"]
VERBS = {
    "cancel": "{} was asked to stop; it keeps what it has learned.",
    "out": "{} was taken out of the queue.",
    "resume": "{} was put into the queue; it goes on from where it was.",
    "first": "{} is the next one.",
    "up": "{} was moved up.",
    "down": "{} was moved down.",
}


# --- what the buttons do ---------------------------------------------------------------------------------------------


def act(what: str, name: str) -> None:
    """Carries out the press of a button, and keeps what is to be said of it."""
    try:
        task = Task(open_run(name).folder)
        if what in ("cancel", "out"):
            queue.cancel(task)
        elif what == "resume":
            queue.resume(task)
        else:
            queue.move(task, what)
        st.session_state["trn_said"] = ("success", VERBS[what].format(name))
    except CrossrecError as error:
        st.session_state["trn_said"] = ("warning", str(error))


def duplicate(config: dict[str, Any], recipe: str | None = None, source: str | None = None) -> None:
    """Puts what a run was asked for into the form, and shows the form."""
    name = recipe or config["recipe"]
    state = st.session_state
    state["data"] = config["dataset"]
    state["trn_recipe"], state["trn_seed"], state["trn_split"] = name, config["seed"], config["split"]["kind"]
    state["trn_source"] = source or config["source_run"] or train_form.NEWEST
    train_settings.fill(RECIPES[name], config["settings"])
    state["trn_tab"] = "New training"
    st.query_params.pop("run", None)


def ask_to_delete(name: str) -> None:
    """The question is put by the page."""
    st.session_state["trn_delete"] = name


def _asked() -> None:
    st.session_state.pop("trn_delete", None)


@st.dialog("Delete this run?", icon=":material/delete:", on_dismiss=_asked)
def delete(name: str) -> None:
    st.markdown(plain(f"{name}, with its model and its results, will be gone for good. Its command makes it again."))
    with st.container(horizontal=True):
        sure = st.button("Delete", type="primary", key="trn_delete_yes")
        kept = st.button("Keep it", key="trn_delete_no")
    if sure:
        try:
            queue.remove(Task(open_run(name).folder))
            st.session_state["trn_said"] = ("success", f"{name} was deleted.")
            st.session_state.pop("trn_run", None)
            st.query_params.pop("run", None)
        except CrossrecError as error:
            st.session_state["trn_said"] = ("warning", str(error))
    if sure or kept:
        _asked()
        st.rerun()


def actions(one: Seen) -> None:
    state, name = one.status["state"], one.name
    buttons = {
        "queued": [
            ("first", "Train it next", "vertical_align_top"),
            ("up", "Move up", "arrow_upward"),
            ("down", "Move down", "arrow_downward"),
            ("out", "Cancel", "cancel"),
        ],
        "running": [("cancel", "Cancel", "stop_circle")],
        "stopped": [("resume", "Resume", "resume")],
        "failed": [("resume", "Resume", "resume")],
    }.get(state, [])
    with st.container(horizontal=True, gap="small"):
        for what, label, icon in buttons:
            st.button(
                label,
                key=f"trn_act_{what}",
                icon=f":material/{icon}:",
                on_click=act,
                args=(what, name),
                width="content",
            )
        st.button(
            "Duplicate with changes",
            key="trn_act_duplicate",
            icon=":material/content_copy:",
            on_click=duplicate,
            args=(one.config,),
            disabled=one.config["recipe"] not in RECIPES,
        )
        if state in ("stopped", "failed", "finished", "queued"):
            st.button("Delete", key="trn_act_delete", icon=":material/delete:", on_click=ask_to_delete, args=(name,))


# --- the run ---------------------------------------------------------------------------------------------------------


def detail(one: Seen, place: int | None) -> None:
    """All of a run.

    Args:
        one: the run.
        place: its place in the queue, if it waits.
    """
    config, status = one.config, one.status
    st.header(plain(one.name), anchor=False)
    about = [config["title"], config["dataset"], train_form.split_words(config["split"]["kind"])]
    about += [f"seed {config['seed']}", *([f"from {config['source_run']}"] if config["source_run"] else [])]
    st.caption(plain(" · ".join(about)))
    _state(one, place)
    actions(one)
    if status["state"] == "finished":
        _result(one)
    if one.epochs or one.steps:
        _numbers(one)
        _curves(one)
    with st.expander("Settings, and how to repeat it", icon=":material/terminal:", key="trn_repeat"):
        if config["command"]:
            cards.commands(config["command"])
        values = {key: "" if value is None else str(value) for key, value in config["settings"].items()}
        if values:
            table = pd.DataFrame({"Setting": values.keys(), "Value": values.values()})
            st.dataframe(table, hide_index=True, key="trn_values", alt="Settings of the run", width="stretch")
    if status["state"] in ("failed", "stopped") and (log := one.run.log()):
        with st.expander("The end of its log", icon=":material/receipt_long:", key="trn_log"):
            st.code(log, language=None, wrap_lines=True)


def _state(one: Seen, place: int | None) -> None:
    status = one.status
    state, kept = status["state"], (one.run.folder / "checkpoint").exists()
    from_where = "where it was" if kept else "the beginning: it had not come to a point that could be kept"
    if state == "queued":
        order = "It is the next in the queue." if place == 1 else f"It is number {place} in the queue."
        st.progress(train_words.done(status), text=f"{order} It starts by itself, also when this page is closed.")
    elif state in ("running", "stopping"):
        said = (
            "Stopping at the next point that can be gone on from"
            if state == "stopping"
            else (capital(train_words.where(status)) + train_words.left(status))
        )
        st.progress(train_words.done(status), text=plain(f"{said}."))
    elif state == "stopped":
        at = f"Stopped in epoch {status['epoch']} of at most {status['epochs']}" if "epoch" in status else "Stopped"
        st.progress(train_words.done(status), text=f"{at}.")
        st.caption(f"Resume goes on from {from_where}.")
    elif state == "failed":
        st.error(plain(status.get("error") or "It failed, and its log is all that is known."), icon=":material/error:")
        st.caption(
            f"Resume goes on from {from_where}. If it fails again in the same way, change what the sentence above "
            "names: “Duplicate with changes” opens the form with these settings."
        )


def _numbers(one: Seen) -> None:
    status, best = one.status, event_best(one.epochs)
    row = []
    if "epoch" in status:
        most = f"of at most {status['epochs']:,}"
        help_ = "Passes over the data."
        row.append(cards.Number("Epoch", f"{status['epoch']:,}", help_, most, delta_color="off", arrow="off"))
    if score := one.score:
        name, value = score.split(" ")
        help_ = f"The best {name} on what is held out for validation; early stopping goes by it."
        row.append(cards.Number(f"Best {name}", value, help_, f"epoch {best}", delta_color="off", arrow="off"))
    if "rate" in status:
        row.append(cards.Number("Speed", f"{status['rate']:,.0f}/s", "Training examples a second."))
    if status["state"] == "running" and status.get("doing") == "training":
        row.append(
            cards.Number("Left, at most", train_words.short(status["eta"]), "If every epoch is trained to the last.")
        )
    elif one.seconds is not None:
        row.append(cards.Number("Trained", train_words.short(one.seconds), "Time in training, over all of its parts."))
    cards.numbers(row)


def frames(one: Seen) -> dict[str, tuple[learning.Curve, pd.DataFrame]]:
    """{name of a loss or a validation score: (how to read it, epoch, value, best)}."""
    best = event_best(one.epochs)
    found = {}
    for source in ("valid", "losses"):
        for name in dict.fromkeys(name for event in one.epochs for name in event.get(source) or {}):
            if name.startswith("-") and name[1:] in one.epochs[-1][source]:
                continue  # the same number, told once more as what is watched
            values = [(event["epoch"], (event.get(source) or {}).get(name)) for event in one.epochs]
            if source == "valid":  # an error is watched as a negative number
                values = [(epoch, None if value is None else abs(value)) for epoch, value in values]
            rows = [(epoch, value, epoch == best) for epoch, value in values if value is not None]
            table = pd.DataFrame(rows, columns=COLUMNS)
            found[f"{source}_{name}"] = _curve(one, source, name.removeprefix("-")), table
    return found


def _curve(one: Seen, source: str, name: str) -> learning.Curve:
    """How to read a curve; the losses of the review model are explained one by one."""
    told = learning.CURVES | (learning.CLASSIC if one.config["settings"].get("mode") == "classic" else {})
    if name in told and (source == "valid" or one.config["recipe"] == learning.REVIEW):
        return told[name]
    if source == "valid":
        what = (
            "Share of the people with a hidden item in their first ten."
            if name.startswith("hr")
            else "How it validates."
        )
        return learning.Curve(f"Validation {metric(name)}", what, "rises, then flattens.")
    title = "Training loss" if name == "loss" else f"Loss {name}"
    return learning.Curve(title, "What is minimised.", "falls, then flattens; it says nothing of other people.")


def _curves(one: Seen) -> None:
    recipe = one.config["recipe"]
    if not one.epochs:
        rows = [(event["epoch"] - 1 + event["step"] / event["steps"], event["loss"], False) for event in one.steps]
        said = f"Loss within the first epoch: {rows[0][1]:.3f} → {rows[-1][1]:.3f}"
        note = "The first epoch is under way: the loss of single steps goes up and down. Validation comes with its end."
        _draw(said, learning.Curve("Loss", note, ""), pd.DataFrame(rows, columns=COLUMNS), recipe, "steps")
        return
    found = frames(one)
    order = sorted(found, key=lambda name: (not name.startswith("valid"), name != "losses_loss"))
    with st.grid(3 if len(order) > 2 else 2, min_column_width=230, gap="small"):
        for name in order:
            curve, frame = found[name]
            with st.container(border=True, height="stretch"):
                _draw(learning.change(curve, frame), curve, frame, recipe, name)
    st.caption("The diamond is the best epoch so far: its weights are the ones that are kept.")


def _draw(said: str, curve: learning.Curve, frame: pd.DataFrame, recipe: str, name: str) -> None:
    """A curve below what it shows. Its form is made once; from then on only its numbers change."""
    st.markdown(f"**{plain(said)}**")
    form = _form(curve.title, recipe, curve.mark)
    st.vega_lite_chart(frame, form, width="stretch", key=f"trn_curve_{name.replace('@', '_')}", alt=said)
    st.caption(plain(f"{curve.what} A good one {curve.good}" if curve.good else curve.what))


@st.cache_data(max_entries=64, show_spinner=False)
def _form(title: str, recipe: str, mark: float | None) -> dict[str, Any]:
    """The chart of a curve without its numbers, in Vega-Lite's words."""
    some = pd.DataFrame([(1, 0.0, True)], columns=COLUMNS)
    form = charts.curve(some, title, recipe, mark).to_dict()
    data = form.pop("datasets")
    for part in (form, *form["layer"]):
        if name := part.pop("data", {}).get("name"):
            values = data[name]
            if len(values[0]) < len(COLUMNS):  # a marked value; the curve's own come with each drawing
                part["data"] = {"values": values}
    return form


def _result(one: Seen) -> None:
    metrics, config = one.metrics or {}, one.config
    if is_untested(config):
        valid = ", ".join(f"{metric(name)} {value:.4f}" for name, value in metrics["valid"].items())
        st.markdown(f":material/visibility_off: **Not tested; on the validation people:** {plain(valid)}.")
        st.caption("The test part was left alone, as a search does with its trials: no test figure of this run exists.")
        return
    full = metrics["test"]["groups"]["all"]
    memory = f", {train_words.memory(metrics['peak_memory_mb'])} of memory" if "peak_memory_mb" in metrics else ""
    st.markdown(
        f":material/check_circle: **Tested on {full['users']:,} people:** NDCG@10 {full['full']['ndcg@10']:.3f}, hit "
        f"rate@10 {full['full']['hr@10']:.3f} with the whole catalogue ranked; {metrics['parameters']:,} "
        f"parameters{memory}."
    )
    if config["domain"] == "source":
        st.markdown("A source model recommends nothing here by itself: transfer starts from it.")
        st.button(
            "Train transfer from it",
            key="trn_act_transfer",
            icon=":material/arrow_forward:",
            on_click=duplicate,
            args=(config, "transfer-sasrec", one.name),
        )
        return
    split, there = splits.slug(one.run), {"data": config["dataset"]}
    compare = there | ({"cmp_split": splits.label(split)} if split != splits.NEXT else {})
    if split == splits.NEXT and config["recipe"] != BASELINE:
        compare |= {"cmp_runs": one.name}
    with st.container(horizontal=True, gap="medium"):
        st.page_link(
            PAGES / "compare.py", label="Compare it with the others", icon=":material/balance:", query_params=compare
        )
        st.page_link(PAGES / "recommend.py", label="Let it recommend", icon=":material/recommend:", query_params=there)


def started(run: Any, said: str) -> None:
    """After a start: the run is looked at, and what happened is said."""
    look_at(run.name)
    st.session_state["trn_tab"] = "Runs"
    st.session_state["trn_said"] = ("success", said)
