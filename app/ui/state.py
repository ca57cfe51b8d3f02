"""Cached loaders, keyed by what is on disk, and the choice of a dataset that every page shares."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from app.ui.cards import no_datasets
from crossrec import paths
from crossrec.data import explore
from crossrec.data.folder import list_datasets
from crossrec.data.pair import DomainPair
from crossrec.data.split import open_split, read_leak_report
from crossrec.runs.compare import Result, compare_runs
from crossrec.runs.controls import CONTROLS, LISTS, SHOTS
from crossrec.runs.folder import Run, list_runs, open_run

Key = tuple[str, int]
"""A file and when it was last written, in ns: when the file changes, what was cached of it is not found any more."""

FIRST = "demo"
"""The dataset that a page opens with, where there is one of this name."""
CHECKED_AT_ONCE = 20_000
"""Up to so many target people the leak report of a dataset is made when somebody looks."""


def choose_dataset(page: str, *forget: str) -> str:
    """The dataset that this page shows: a selector whose choice is in the URL and is kept from page to page.

    Without any dataset the page ends here, with how to get one.

    Args:
        page: name of the page.
        forget: keys of its widgets whose values make sense for one dataset only: they are reset when it changes.
    """
    names = [meta["name"] for meta in list_datasets()]
    if not names:
        no_datasets()
        st.stop()
    # What is bound to the URL does not outlive a change of page by itself; an address that names a dataset wins.
    before, there = st.session_state.get("data_before", ("", page))
    if there != page and before in names and "data" not in st.query_params:
        st.session_state["data"] = before
    # The one key without a page's prefix: it is the same choice everywhere.
    chosen = st.selectbox(
        "Dataset",
        names,
        index=names.index(FIRST) if FIRST in names else 0,
        key="data",
        bind="query-params",
        width=340,
        on_change=_forget,
        args=(forget,),
        help="Two domains and the people in them. `crossrec data import` and `crossrec data download` make more.",
    )
    st.session_state["data_before"] = (chosen, page)
    return chosen


def _forget(keys: Sequence[str]) -> None:
    for key in keys:
        st.session_state.pop(key, None)


def version(name: str) -> Key:
    file = paths.datasets() / name / "dataset.json"
    return str(file), file.stat().st_mtime_ns


def pair(name: str) -> DomainPair:
    return _pair(name, version(name))


@st.cache_resource(max_entries=4, show_spinner="Reading the dataset")
def _pair(name: str, version: Key) -> DomainPair:
    return DomainPair.open(name)


def profile(name: str) -> dict[str, Any]:
    """Everything that explore draws of a dataset, in small frames."""
    return _profile(name, version(name))


@st.cache_data(max_entries=16, show_spinner="Counting")
def _profile(name: str, version: Key) -> dict[str, Any]:
    pair = _pair(name, version)
    return {
        "overview": explore.overview(pair),
        "sizes": explore.sizes(pair),
        "activity": explore.activity(pair),
        "per_person": explore.events_per_person(pair),
        "history": explore.source_history(pair),
        "began": explore.first_domain(pair),
        "ratings": explore.ratings(pair),
        "popularity": explore.popularity(pair),
        "top_tenth": {which: explore.top_share(pair, which) for which in ("source", "target")},
        "examples": explore.example_users(pair),
    }


def search(name: str, words: str) -> tuple[pd.DataFrame, int]:
    return _search(name, version(name), words)


@st.cache_data(max_entries=64, show_spinner="Searching")
def _search(name: str, version: Key, words: str) -> tuple[pd.DataFrame, int]:
    return explore.search(_pair(name, version), words)


def leak_report(name: str, split: str = "next-item-0") -> dict[str, Any] | None:
    """The leak report of a split; None where it has not been made and the data is too large to make it now."""
    about = pair(name)
    found = read_leak_report(about.folder, split)
    if found is None and split == "next-item-0" and (about.target.counts > 0).sum() <= CHECKED_AT_ONCE:
        open_split(about)
        found = read_leak_report(about.folder, split)
    return found


def asked(chosen: Sequence[Run]) -> tuple[object, ...]:
    """What a comparison of runs is made of: their results and controls, the dataset, and which others are finished."""
    files = ("per_user.parquet", "metrics.json", LISTS, SHOTS, CONTROLS)
    dataset = chosen[0].config()["dataset"]
    own = tuple((run.name, *(written(run.folder / name) for name in files)) for run in chosen)
    # Of other seeds a comparison knows by their runs.
    return own, version(dataset), tuple(run.name for run in list_runs(dataset, finished=True, tested=True))


def result(chosen: Sequence[Run]) -> Result:
    """The comparison of runs; made once for what is on disk."""
    return _result(tuple(run.name for run in chosen), asked(chosen))


@st.cache_data(max_entries=32, show_spinner="Comparing the runs, person by person")
def _result(names: tuple[str, ...], made_of: tuple[object, ...]) -> Result:
    return compare_runs([open_run(name) for name in names])


def written(file: Path) -> int:
    """When a file was last written, in ns; 0 where it is not there."""
    return file.stat().st_mtime_ns if file.exists() else 0


def runs(dataset: str) -> tuple[list[Run], list[Run]]:
    """Runs that recommend in the target domain of a dataset as it is now: finished ones, and the others.

    Those that leave the test part alone, such as the trials of a search, are among neither.
    """
    now = paths.read_json(paths.datasets() / dataset / "dataset.json")["hash"]
    found = [run for run in list_runs(dataset, tested=True) if run.config()["domain"] == "target"]
    found = [run for run in found if run.config()["dataset_hash"] == now]
    return [run for run in found if run.finished], [run for run in found if not run.finished]
