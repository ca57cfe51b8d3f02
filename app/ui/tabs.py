"""Tabs that a press elsewhere on the page can open too, such as that of the run that was just started.

Which tab is open stands under a key of the session's own. Where a press opens another one, the tabs are drawn under a
new name: what a browser still sends of the old ones, as of a field that the press has left, then names no tab at all.
"""

from collections.abc import Sequence
from typing import Any

import streamlit as st


def clicked(key: str) -> None:
    """Takes over the tab that a person opened; called before anything looks at which one is open."""
    state, drawn = st.session_state, _drawn(key)
    if state.get(key) != drawn["open"]:
        return  # a press has opened another one since
    if (name := _name(key, drawn)) in state:
        state[key] = state[name]
        state[f"{key}_drawn"] = {**drawn, "open": state[name]}
    else:  # the page has just been come to, or come back to
        state.pop(key, None)


def tabs(key: str, labels: Sequence[str]) -> Sequence[Any]:
    """The tabs, the one of `st.session_state[key]` open; without one the first."""
    wanted, drawn = st.session_state.setdefault(key, labels[0]), _drawn(key)
    if wanted != drawn["open"]:
        drawn = {"open": wanted, "number": drawn["number"] + 1, "first": wanted}
        st.session_state[f"{key}_drawn"] = drawn
    return st.tabs(labels, default=drawn["first"], key=_name(key, drawn), on_change="rerun")


def _drawn(key: str) -> dict[str, Any]:
    """What is drawn: the tab that is open, how often a press opened one, and which one the last press did."""
    return dict(st.session_state.get(f"{key}_drawn", {"open": None, "number": 0, "first": None}))


def _name(key: str, drawn: dict[str, Any]) -> str:
    return f"{key}_{drawn['number']}"
