"""Which people a comparison is about: those of the next-item split, or strangers of a cold-user split."""

from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from crossrec.data.split import ALL_SOURCE
from crossrec.runs.folder import Run

PAGE = Path(__file__).resolve().parents[2] / "pages" / "compare.py"
NEXT = "next-item"
SHARES = {"cold-user": "a tenth", "cold-user-20": "a fifth", "cold-user-50": "half", "cold-user-80": "four fifths"}
HELP = (
    "Known people are asked for their next item. Strangers are people of both domains whose whole target history is "
    "hidden: all that is known of them is what they did in the source. A command makes each of these splits: "
    "`crossrec train RECIPE --split cold-user-50`."
)


def slug(run: Run) -> str:
    """The name of a run's split in an address: cold-user-50, or cold-user-50-s1 for one that was drawn with seed 1."""
    split = run.config()["split"]
    return split["kind"] + (f"-s{split['seed']}" if split["seed"] else "")


def read(name: str) -> tuple[str, int]:
    """The kind and seed of a slug."""
    kind, found, seed = name.rpartition("-s")
    return (kind, int(seed)) if found and seed.isdigit() else (name, 0)


def words(name: str) -> str:
    """A split in words."""
    kind, seed = read(name)
    if kind == NEXT:
        return "Known people, their next item"
    said = f"Strangers, {SHARES[kind.removesuffix(ALL_SOURCE)]} of the people in both domains"
    said += ", with their later source history" if kind.endswith(ALL_SOURCE) else ""
    return said + (f", drawn with seed {seed}" if seed else "")


def offered(finished: Sequence[Run]) -> list[str]:
    """Next item, and each cold-user split on which a run is finished."""
    return [NEXT, *sorted({slug(run) for run in finished} - {NEXT})]


def choose(finished: Sequence[Run]) -> str:
    """The split that the page is about; its slug in the address (cmp_split) works as well as its words."""
    names = offered(finished)
    if len(names) == 1:
        return NEXT
    counts = {name: sum(slug(run) == name for run in finished) for name in names}
    asked = st.query_params.get("cmp_split")
    if asked in names:
        # A bound widget has its words in the address: one with a slug leads to the one with the words.
        st.switch_page(PAGE, query_params=st.query_params.to_dict() | {"cmp_split": words(asked)})
    return st.radio(
        "Which people",
        names,
        index=next(at for at, name in enumerate(names) if counts[name]),
        format_func=words,
        captions=[f"{name}, {counts[name]} run{'s' if counts[name] != 1 else ''}" for name in names],
        key="cmp_split",
        bind="query-params",
        horizontal=True,
        on_change=_forget,
        help=HELP,
    )


def _forget() -> None:
    for key in ("cmp_cold", "cmp_learned"):
        st.session_state.pop(key, None)
