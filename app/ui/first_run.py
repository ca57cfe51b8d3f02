"""The demo while it is built behind the app: how far it is, on every page, and a page that shows what has come."""

import streamlit as st

from app.ui.errors import plain
from crossrec.errors import CrossrecError
from crossrec.runs import demo_task, queue

EVERY = 2.0
"""Seconds between two looks."""
WORDS = {"world": "making the world", "vectors": "encoding the texts"}


def show() -> None:
    """How far the demo is, where it is being built; why not, where that failed; otherwise nothing."""
    found = demo_task.task()
    if found is None:
        return
    try:
        status = found.shown()
    except CrossrecError:  # its folder is being made or going
        return
    if status["state"] in ("queued", "running", "stopping"):
        queue.look_after()
        st.session_state["demo_step"] = status.get("step", 0)
        _progress()
    elif status["state"] == "failed":
        why = status.get("error") or "its building failed."
        st.warning(plain(f"The demo is not complete: {why} `crossrec demo` goes on."), icon=":material/change_history:")


def sentence(status: dict) -> str:
    """What is done now: "demo" and "demo-unrelated" are the two worlds."""
    if "step" not in status:
        return "The demo is being built: getting ready."
    doing = str(status["doing"])
    first = doing.split(" ")[0]
    words = doing.replace(first, WORDS[first], 1) if first in WORDS else f"training {doing}"
    return (
        f"The demo is being built: step {status['step']} of {status['steps']}, {words}. The pages fill by themselves."
    )


@st.fragment(run_every=EVERY)
def _progress() -> None:
    # Always one bar and nothing else: what changes its shape beside a page that is drawn too is lost.
    found = demo_task.task()
    status = found.shown() if found is not None else {"state": "finished"}
    st.progress(min(1.0, float(status.get("progress", 0.0))), text=plain(sentence(status)))
    before = st.session_state.get("demo_step")
    if status["state"] not in ("queued", "running", "stopping") or status.get("step", 0) != before:
        st.rerun()
