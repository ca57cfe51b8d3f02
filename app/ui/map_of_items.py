"""The map of items on explore: both domains by what is written about them, with one person's history and list on it."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from app.ui import models, state
from app.ui.errors import as_sentence, percent, plain
from crossrec.data.pair import DomainPair
from crossrec.recommend.person import Person
from crossrec.report import theme
from crossrec.runs import item_map, queue
from crossrec.runs.folder import Run
from crossrec.runs.item_map import ItemMap
from crossrec.runs.task import Task

DOMAIN, THEME = "Domain", "Theme"
THEMES = 7
"""Themes with a colour of their own; the others share one."""
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#7B61C9")
MOST = 60_000
"""Points that are drawn; of more a fixed part."""
NOBODY = "Nobody"
EVERY = 1.5
"""Seconds between two looks at a map that is being made."""


def tab(name: str, pair: DomainPair, examples: Sequence[str]) -> None:
    """All of the tab."""
    task = item_map.of(name)
    shown = None if task is None else task.shown()
    if task is not None and shown is not None and shown["state"] == "finished":
        with as_sentence():
            drawn(name, pair, _read(task.name, (task.folder / item_map.FILE).stat().st_mtime_ns), examples)
        return
    st.markdown(
        "Items that are written about alike stand near each other. The map is made once, of the titles and the reviews "
        "of the training part: some seconds for the demo, a minute for tens of thousands of items."
    )
    if shown is not None and shown["state"] in ("queued", "running", "stopping"):
        queue.look_after()
        _wait(name)
        return
    if shown is not None:
        st.warning(plain(f"The last try failed: {shown.get('error') or 'it was stopped.'}"), icon=":material/info:")
    if st.button("Draw the map", key="exp_map_make", type="primary", icon=":material/map:"):
        with as_sentence():
            item_map.enqueue(name)
            st.rerun()
    st.caption(f"Or `crossrec data map {name}`.")


@st.fragment(run_every=EVERY)
def _wait(name: str) -> None:
    task = item_map.of(name)
    shown = {"state": "finished"} if task is None else task.shown()
    st.markdown(f":material/hourglass_top: The map is being made: {plain(str(shown.get('doing', 'it waits')))}.")
    if shown["state"] not in ("queued", "running", "stopping"):
        st.rerun()


@st.cache_data(max_entries=4, show_spinner="Reading the map")
def _read(name: str, version: int) -> ItemMap:
    return item_map.read(Task(queue.folder_of("map") / name))


def drawn(name: str, pair: DomainPair, found: ItemMap, examples: Sequence[str]) -> None:
    """The map with its finding, and who stands on it."""
    labels = {"source": pair.source.label, "target": pair.target.label}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        by = st.segmented_control("Colour by", [DOMAIN, THEME], default=DOMAIN, required=True, key="exp_map_by")
        user = st.selectbox(
            "Person on the map",
            [NOBODY, *examples],
            key="exp_map_user",
            width=260,
            accept_new_options=True,
            help="Their history, and what a model would recommend.",
        )
        finished = state.runs(name)[0]
        run = _choose(finished) if user and user != NOBODY and finished else None
    figure = points(found.items, by or DOMAIN, labels)
    said = ""
    if user and user != NOBODY:
        with as_sentence():
            said = person(figure, found, pair, user, run, labels)
    finding = sentence(found, labels)
    st.markdown(f"**{plain(finding)}**{'  ' + chr(10) + plain(said) if said else ''}")
    st.plotly_chart(
        figure,
        width="stretch",
        key="exp_map",
        alt=f"{finding}. {said}".strip(),
        config={"displaylogo": False, "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d"]},
    )
    st.caption(
        plain(
            f"{len(found.items):,} items by the mean vector of what is written about them ({found.encoder}), turned to "
            f"the two directions in which they differ most, which show {percent(found.shown)} of all differences: near "
            "on the map is a hint, far is not. Drag to zoom, press twice to see all."
        )
    )


def sentence(found: ItemMap, labels: dict[str, str]) -> str:
    """Whether the domains are written about alike."""
    if found.mixed is None or found.expected is None:
        return f"{len(found.items):,} items by what is written about them"
    ratio = found.mixed / found.expected if found.expected else 0.0
    how = "hardly overlap" if ratio < 0.1 else "overlap in part" if ratio < 0.6 else "are written about alike"
    return (
        f"{labels['source']} and {labels['target']} {how}: of an item's {item_map.NEAREST} nearest, "
        f"{percent(found.mixed)} are of the other domain; by chance it would be {percent(found.expected)}"
    )


def points(items: pd.DataFrame, by: str, labels: dict[str, str]) -> Any:
    """All items as points, drawn by the graphics card."""
    if len(items) > MOST:
        items = items.sample(MOST, random_state=0)
    if by == DOMAIN:
        groups = [(labels[which], rows, theme.DOMAIN[which]) for which, rows in items.groupby("which", sort=True)]
    else:
        themes = items["category"].fillna("no theme").astype(str)
        first = themes.value_counts().index[:THEMES]
        groups = [(one, items[themes == one], PALETTE[place]) for place, one in enumerate(first)]
        rest = items[~themes.isin(first)]
        groups += [("other themes", rest, theme.MUTED)] if len(rest) else []
    figure = go.Figure()
    for label, rows, colour in groups:
        figure.add_trace(
            go.Scattergl(**_points(rows, label[:40]), marker={"size": 5, "color": colour, "opacity": 0.55})
        )
    axis = {"visible": False, "showgrid": False, "zeroline": False}
    figure.update_layout(
        height=560,
        margin={"l": 0, "r": 0, "t": 10, "b": 0},
        xaxis=axis,
        yaxis=axis | {"scaleanchor": "x"},
        legend={"orientation": "h", "y": -0.02, "itemsizing": "constant"},
        dragmode="zoom",
    )
    return figure


def person(figure: Any, found: ItemMap, pair: DomainPair, user: str, run: str | None, labels: dict[str, str]) -> str:
    """Puts a person's history and a model's list on the map; says what that is."""
    row = pair.user_index(user)
    counted = []
    for which, symbol in (("source", "diamond"), ("target", "square")):
        domain = pair.domain(which)
        own = item_map.place(found, which, domain.items[domain.offsets[row] : domain.offsets[row + 1]])
        counted.append(f"{len(own)} of {labels[which]}")
        _marks(figure, own, f"{user}: {labels[which]}", theme.DOMAIN[which], symbol, 11)
    said = f"{user} has {' and '.join(counted)} on the map"
    if run is None:
        return said + "."
    answer = models.answer(run, Person(user), False)
    shelf = models.opened(run).shelf
    list_ = item_map.place(found, "target", [shelf.numbers[one.item_id] for one in answer.items])
    _marks(figure, list_, f"Recommended to {user}", theme.TRANSFER, "star", 15)
    return f"{said}; the stars are the {len(list_)} items that are recommended."


def _marks(figure: Any, rows: pd.DataFrame, name: str, colour: str, symbol: str, size: int) -> None:
    marker = {"size": size, "color": colour, "symbol": symbol, "line": {"width": 1.5, "color": "#FFFFFF"}}
    figure.add_trace(go.Scatter(**_points(rows, name[:60]), marker=marker))


def _points(rows: pd.DataFrame, name: str) -> dict[str, Any]:
    """What all points of a trace have: places, the trace's name, and a title on hover."""
    return {
        "x": rows["x"],
        "y": rows["y"],
        "mode": "markers",
        "name": name,
        "text": [_safe(title) for title in rows["title"]],
        "hovertemplate": "%{text}<extra>%{fullData.name}</extra>",
    }


def _choose(finished: Sequence[Run]) -> str:
    titles = models.titles(finished)
    usual = models.usual(finished)[0]
    return st.selectbox(
        "Model", list(titles), list(titles).index(usual), format_func=titles.__getitem__, key="exp_map_run", width=260
    )


def _safe(title: object) -> str:
    """A title in which plotly finds no markup."""
    return str(title)[:80].replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
