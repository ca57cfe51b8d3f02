"""The models of a page that asks: which there are, what they are called, and their answers, cached.

An opened run is shared by everybody; an answer, which is made of what somebody wrote, stays in their session.
"""

from collections.abc import Sequence

import streamlit as st

from crossrec.recommend import explain as why
from crossrec.recommend.person import Person
from crossrec.recommend.recommender import Answer, RunRecommender
from crossrec.runs.catalog import Catalog
from crossrec.runs.folder import Run, open_run

PREFERRED = (("racrec", "transfer-sasrec"), ("transfer-sasrec", "linear-map"))
"""Recipes that either side begins with."""


def titles(runs: Sequence[Run]) -> dict[str, str]:
    """A title for each run that no other one has: split, seed and name are added where they are needed."""
    parts = {}
    for run in runs:
        config = run.config()
        parts[run.name] = (config["title"], config["split"]["kind"], f"seed {config['seed']}", run.name)
    found = {}
    for name, mine in parts.items():
        alone = (n for n in range(1, 5) if sum(other[:n] == mine[:n] for other in parts.values()) == 1)
        found[name] = " · ".join(mine[: next(alone)])
    return found


def usual(runs: Sequence[Run], champion: str | None = None) -> list[str]:
    """One or two runs to begin with: the strangers' champion, one that reads reviews, and one that knows events only.

    Args:
        runs: that are there.
        champion: run of the champion.
    """
    chosen = [run.name for run in runs if run.name == champion]
    for recipes in PREFERRED[: 2 - len(chosen)]:
        rest = [run for run in runs if run.name not in chosen]
        fits = [run for recipe in recipes for run in rest if run.config()["recipe"] == recipe]
        chosen += [run.name for run in (fits or rest)[:1]]
    return chosen


def opened(name: str) -> RunRecommender:
    return _opened(name, version(name))


@st.cache_resource(max_entries=4, show_spinner="Opening the model")
def _opened(name: str, version: int) -> RunRecommender:
    return RunRecommender(open_run(name))


def version(name: str) -> int:
    """When the run's recommender and catalogue were written: what is cached of it is keyed by that."""
    run = open_run(name)
    written = (run.recommender, run.folder / "catalog")
    return max((folder.stat().st_mtime_ns for folder in written if folder.exists()), default=0)


def catalog(name: str) -> Catalog:
    """The items that a run knows; the model is opened only where its catalogue has to be made first."""
    written = (open_run(name).folder / "catalog" / "catalog.json").exists()
    return _catalog(name, version(name)) if written else opened(name).catalog


@st.cache_resource(max_entries=4, show_spinner="Reading the catalogue")
def _catalog(name: str, version: int) -> Catalog:
    return Catalog.open(open_run(name).folder / "catalog")


def answer(name: str, person: Person, fallback: bool) -> Answer:
    return _answer(name, version(name), person, fallback)


@st.cache_data(max_entries=32, scope="session", show_spinner="Looking for what fits")
def _answer(name: str, version: int, person: Person, fallback: bool) -> Answer:
    return _opened(name, version).ask(person, fallback=fallback)


def explanation(name: str, person: Person, item_id: str, fallback: bool) -> why.Explanation:
    return _explanation(name, version(name), person, item_id, fallback)


@st.cache_data(max_entries=32, scope="session", show_spinner="Leaving out each piece in turn")
def _explanation(name: str, version: int, person: Person, item_id: str, fallback: bool) -> why.Explanation:
    return why.explain(_opened(name, version), person, item_id, fallback=fallback)


def what_if(name: str, person: Person, changes: tuple[why.Change, ...], fallback: bool) -> why.WhatIf:
    return _what_if(name, version(name), person, changes, fallback)


@st.cache_data(max_entries=32, scope="session", show_spinner="Asking again")
def _what_if(name: str, version: int, person: Person, changes: tuple[why.Change, ...], fallback: bool) -> why.WhatIf:
    return why.what_if(_opened(name, version), person, changes, fallback=fallback)
