"""Which people a comparison is about: those of the next-item split, or strangers of a cold-user split."""

from collections.abc import Sequence

import streamlit as st

from app.ui.errors import capital
from crossrec.data.split import ALL_SOURCE
from crossrec.runs.folder import Run

NEXT = "next-item"
SHARES = {"cold-user": "a tenth", "cold-user-20": "a fifth", "cold-user-50": "half", "cold-user-80": "four fifths"}
HELP = (
    "Known people are asked for their next item. Strangers are people of both domains whose whole target history is "
    "hidden: all that is known of them is what they did in the source. A command makes each of these splits: "
    "`crossrec train RECIPE --split cold-user-50`."
)


def slug(run: Run) -> str:
    """The name of a run's split: cold-user-50, or cold-user-50-s1 for one that was drawn with seed 1."""
    split = run.config()["split"]
    return split["kind"] + (f"-s{split['seed']}" if split["seed"] else "")


def read(name: str) -> tuple[str, int]:
    """The kind and seed of a slug."""
    kind, found, seed = name.rpartition("-s")
    return (kind, int(seed)) if found and seed.isdigit() else (name, 0)


def label(name: str) -> str:
    """A split as it is chosen; it also stands in the address: ?cmp_split=Strangers, cold-user-50."""
    return "Known people" if name == NEXT else f"Strangers, {name}"


def words(name: str) -> str:
    """Who is asked, and what, in a few words."""
    kind, seed = read(name)
    if kind == NEXT:
        return "Asked for their next item"
    said = f"{capital(SHARES[kind.removesuffix(ALL_SOURCE)])} of the people in both domains"
    said += ", with their later source history" if kind.endswith(ALL_SOURCE) else ""
    return said + (f", drawn with seed {seed}" if seed else "")


def offered(finished: Sequence[Run]) -> list[str]:
    """Next item, and each cold-user split on which a run is finished."""
    return [NEXT, *sorted({slug(run) for run in finished} - {NEXT})]


def choose(finished: Sequence[Run]) -> str:
    """The slug of the split that the page is about."""
    names = offered(finished)
    if len(names) == 1:
        return NEXT
    counts = {name: sum(slug(run) == name for run in finished) for name in names}
    return st.radio(
        "Which people",
        names,
        index=next(at for at, name in enumerate(names) if counts[name]),
        format_func=label,
        captions=[f"{words(name)}: {counts[name]} run{'s' if counts[name] != 1 else ''}" for name in names],
        key="cmp_split",
        bind="query-params",
        horizontal=True,
        on_change=_forget,
        help=HELP,
    )


def _forget() -> None:
    for key in ("cmp_cold", "cmp_learned"):
        st.session_state.pop(key, None)
