"""The imports: those at work with their progress, and what came of the others."""

from pathlib import Path
from typing import Any

import streamlit as st

from app.ui import cards
from app.ui.errors import capital, plain
from crossrec import paths
from crossrec.data.folder import list_datasets
from crossrec.data.split import read_leak_report
from crossrec.errors import CrossrecError
from crossrec.runs import queue
from crossrec.runs.imports import forget, list_imports, open_import
from crossrec.runs.task import Task

PAGES = Path(__file__).resolve().parents[2] / "pages"
SHOWN = 8
"""Most imports that are shown, the newest ones."""
STATES = {
    "queued": "waits for its turn",
    "running": "at work",
    "stopping": "is being stopped",
    "stopped": "was cancelled",
    "failed": "failed",
    "finished": "finished",
}
ICONS = {
    "queued": "hourglass_empty",
    "running": "sync",
    "stopping": "sync",
    "stopped": "do_not_disturb_on",
    "failed": "change_history",
    "finished": "check_circle",
}
BUTTONS = {
    "queued": [("cancel", "Cancel", "cancel")],
    "running": [("cancel", "Cancel", "stop_circle")],
    "stopped": [("resume", "Run again", "replay"), ("forget", "Forget", "delete")],
    "failed": [("resume", "Run again", "replay"), ("forget", "Forget", "delete")],
    "finished": [("forget", "Forget", "delete")],
}
LINKS = (
    ("explore.py", "Explore it", ":material/travel_explore:"),
    ("train.py", "Train on it", ":material/model_training:"),
)
HELP = {
    "cancel": "Nothing is left of a dataset that was begun; what was downloaded is kept.",
    "resume": "It begins anew; a download goes on from where it was.",
    "forget": "Removes this entry and the files uploaded for it. A dataset that was made stays.",
}
ORIGIN = {"files": "from files of this machine", "upload": "from uploaded files", "download": "from the hub"}


def datasets() -> None:
    """What is there, in one line each."""
    found = list_datasets()
    words = f"{len(found)} dataset{'s are' if len(found) != 1 else ' is'} there" if found else "There is no dataset yet"
    with st.expander(words, icon=":material/database:", key="bring_there"):
        if found:
            st.markdown("\n".join(f"* **{plain(meta['name'])}**: {plain(sizes(meta))}" for meta in found))
        else:
            st.markdown("An import makes the first one; so does the demo, with `crossrec demo`.")


def sizes(meta: dict[str, Any]) -> str:
    """How large a dataset is, in words."""
    counts, names = meta["counts"], {which: meta["domains"][which]["name"] for which in ("source", "target")}
    if not counts["source_events"]:
        return f"{names['target']}, {counts['users']:,} people, {counts['target_events']:,} events"
    events = " and ".join(f"{counts[f'{which}_events']:,} events of {name}" for which, name in names.items())
    return f"{counts['users']:,} people, {counts['overlap_users']:,} of them in both, {events}"


def any_imports() -> bool:
    return bool(list_imports())


def is_live() -> bool:
    return any(task.shown()["state"] in ("queued", "running", "stopping") for task in list_imports())


def imports(live: bool) -> None:
    """All imports; drawn again every second while one is at work, and with the whole page when that ends.

    Args:
        live: whether one was at work when the page was drawn.
    """
    queue.look_after()
    if is_live() != live:
        st.rerun()
    found = list_imports()
    for task in found[:SHOWN]:
        try:
            _one(task)
        except CrossrecError:  # it was removed in this moment
            continue
    if len(found) > SHOWN:
        st.caption(f"The newest {SHOWN} of {len(found)} imports.")


def _one(task: Task) -> None:
    config, status = task.config(), task.shown()
    state = status["state"]
    with st.container(border=True):
        words = f"**{plain(task.name)}** {STATES[state]} · {ORIGIN[config['kind']]}"
        st.markdown(f":material/{ICONS[state]}: {words}")
        if state in ("running", "stopping"):
            st.progress(status.get("progress") or 0.0, text=plain(capital(_doing(status))))
        elif state == "failed":
            st.warning(plain(status["error"]), icon=":material/change_history:")
        elif state == "finished":
            _came_of_it(config["dataset"], status)
        with st.container(horizontal=True, gap="small", vertical_alignment="center"):
            if state == "finished" and (paths.datasets() / config["dataset"]).exists():
                for page, label, icon in LINKS:
                    st.page_link(PAGES / page, label=label, icon=icon, query_params={"data": config["dataset"]})
            for what, label, icon in BUTTONS.get(state, []):
                st.button(
                    label,
                    key=f"bring_{what}_{task.name}",
                    icon=f":material/{icon}:",
                    help=HELP[what],
                    on_click=act,
                    args=(what, task.name),
                )
        with st.expander("How to repeat it", icon=":material/terminal:", key=f"bring_command_{task.name}"):
            cards.commands(config["command"])
            if config["kind"] == "upload":
                st.caption("With the names that the uploaded files have on your machine.")
        if state == "failed" and (log := task.log()):
            with st.expander("The end of its log", icon=":material/receipt_long:", key=f"bring_log_{task.name}"):
                st.code(log, language=None, wrap_lines=True)


def _came_of_it(name: str, status: dict[str, Any]) -> None:
    """What the dataset is, and whether its test is fair."""
    meta = next((one for one in list_datasets() if one["name"] == name), None)
    if meta is None:
        st.caption("The dataset has been removed since.")
        return
    st.markdown(plain(f"{capital(sizes(meta))}."))
    if note := status.get("split", {}).get("note"):
        st.info(plain(note), icon=":material/info:")
    if report := read_leak_report(paths.datasets() / name, "next-item-0"):
        words = "No leak was found" if not report["leaks"] else f"{report['leaks']:,} leaks were found"
        box = st.expander(words, icon=":material/verified:", key=f"bring_leaks_{name}", on_change="rerun")
        if box.open:
            with box:
                cards.leaks(report)


def _doing(status: dict[str, Any]) -> str:
    doing = "stopping" if status["state"] == "stopping" else status.get("doing") or "getting ready"
    done, total = status.get("bytes"), status.get("bytes_total")
    if done is None:
        return doing
    whole = f" of {total / 1e6:,.1f}" if total else ""
    return f"{doing}: {done / 1e6:,.1f}{whole} MB"


def act(what: str, name: str) -> None:
    """Carries out the press of a button, and keeps what is to be said of it."""
    try:
        {"cancel": queue.cancel, "resume": queue.resume, "forget": forget}[what](open_import(name))
    except CrossrecError as error:
        st.session_state["bring_said"] = str(error)
