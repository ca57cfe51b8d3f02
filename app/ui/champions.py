"""The champion on the pages: who it is for known people and for strangers, and whether it beats what is plain."""

from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from app.ui import splits, state
from app.ui.errors import plain
from crossrec.errors import CrossrecError
from crossrec.report import champion as words
from crossrec.runs.champion import NEXT, Champion, champion, strangers_split
from crossrec.runs.folder import Run, list_runs

COMPARE = Path(__file__).resolve().parents[2] / "pages" / "compare.py"
LOOKS = {
    "yes": ("check_circle", "green"),
    "no": ("drag_handle", "blue"),
    "harm": ("change_history", "orange"),
    "plain": ("horizontal_rule", "gray"),
    "unknown": ("help", "gray"),
}
"""Icon and colour of each answer."""
MadeOf = tuple[tuple[str, int], ...]


def of(dataset: str, kind: str = NEXT, seed: int = 0) -> Champion | None:
    """The champion of a split; worked out once for what is on disk. None, too, where a run cannot be read."""
    return _champion(dataset, kind, seed, _made_of(dataset))


def of_strangers(dataset: str) -> Champion | None:
    """The champion of the cold-user split that has most runs."""
    return _of_strangers(dataset, _made_of(dataset))


def _made_of(dataset: str) -> MadeOf:
    """The dataset and the results that a champion is chosen by."""
    runs = list_runs(dataset, finished=True, tested=True)
    return state.version(dataset), *((run.name, state.written(run.folder / "metrics.json")) for run in runs)


@st.cache_data(max_entries=64, show_spinner=False)
def _champion(dataset: str, kind: str, seed: int, made_of: MadeOf) -> Champion | None:
    try:
        return champion(dataset, kind, seed)
    except CrossrecError:
        return None


@st.cache_data(max_entries=64, show_spinner=False)
def _of_strangers(dataset: str, made_of: MadeOf) -> Champion | None:
    try:
        split = strangers_split(dataset)
    except CrossrecError:
        return None
    return None if split is None else _champion(dataset, *split, made_of)


# --- cards -----------------------------------------------------------------------------------------------------------


def section(dataset: str) -> None:
    """The champion of known people and that of strangers; nothing where nothing was tested."""
    found = [one for one in (of(dataset), of_strangers(dataset)) if one is not None]
    if not found:
        return
    st.header("The champion", anchor=False)
    st.markdown(
        "Which one to use, whatever its kind: the recommender that ranks best on people held out for validation. The "
        "test did not choose it; it judges it, beside the best of those that only count or solve one equation. Whether "
        "taste carries over is another question."
    )
    with st.grid(len(found), min_column_width=280):
        for one in found:
            _card(one)


def _card(one: Champion) -> None:
    icon, colour = LOOKS[one.answer]
    name = one.split + (f"-s{one.seed}" if one.seed else "")
    with st.container(border=True, height="stretch"):
        st.markdown(f"**{plain(splits.label(name))}**")
        st.caption(plain(f"{splits.words(name)}."))
        st.markdown(f"### {plain(one.title)}")
        st.badge(words.BADGES[one.answer], icon=f":material/{icon}:", color=colour)
        told = (words.chosen_sentence(one), words.test_sentence(one), words.worth_sentence(one), words.caution(one))
        st.markdown(plain(" ".join(sentence for sentence in told if sentence)))
        if one.among > 1:
            query = {"data": one.dataset, "cmp_split": splits.label(name)}
            st.page_link(COMPARE, label="Compare them", icon=":material/balance:", query_params=query)


def line(dataset: str, kind: str, seed: int, chosen: Sequence[Run]) -> None:
    """One line that names the champion where runs are compared."""
    if (one := of(dataset, kind, seed)) is not None:
        said = words.line(one, one.run in {run.name for run in chosen})
        st.caption(f":material/trophy: {plain(said)}", help=plain(_help(one)))


def _help(one: Champion) -> str:
    return " ".join(sentence for sentence in (words.worth_sentence(one), words.caution(one)) if sentence)


def among(usual: Sequence[str], dataset: str, kind: str, seed: int, known: Sequence[str]) -> list[str]:
    """The runs that are chosen by default, and the champion, if it is there to be chosen."""
    one = of(dataset, kind, seed)
    add = one is not None and one.run in known and one.run not in usual
    return [*usual, one.run] if one is not None and add else list(usual)
