"""Lists of one or two models for the same person, and below an item why it is there, when that is asked."""

from functools import partial

import streamlit as st

from app.ui import answers, cards, models
from app.ui.errors import as_sentence, plain
from crossrec.recommend.explain import Explanation
from crossrec.recommend.person import Person
from crossrec.recommend.recommender import Answer, Recommendation
from crossrec.report import charts


def reasons(side: int, found: Explanation, source: str) -> None:
    """Why an item stands where it stands."""
    st.markdown(plain(answers.why(found)))
    if found.gate is not None:
        st.caption(f":material/call_merge: {plain(answers.gate(found.gate, source))}")
    if found.members:
        st.caption(f":material/join_full: {plain(answers.members(found.members))}")
    if found.contributions:
        frame = answers.bars(found.contributions)
        said = f"What each piece of evidence does for the item. {answers.why(found)}"
        cards.draw(partial(charts.contributions, frame), f"rec_bars_{side}", said)
    if found.quotes:
        st.markdown("**What others said of it**")
    for lead, text in answers.quotes(found):
        st.caption(f":material/format_quote: {plain(text)}" + (f"  \n*{plain(lead)}*" if lead else ""))
    for note in found.notes:
        st.caption(plain(note))


def one_item(key: str, item: Recommendation, both: bool, asked: bool) -> bool:
    """A row of a list; returns whether it is open.

    Args:
        key: of its button.
        item: what is recommended.
        both: whether the other list has it too.
        asked: whether there is a reason that can be asked for.
    """
    shown = asked and st.session_state.get("rec_why") == key
    with st.container(horizontal=True, wrap=False, gap="small"):
        with st.container(gap=None):
            badge = f" :gray-badge[{plain(item.category)}]" if item.category else ""
            st.markdown(f"{item.rank}\\. **{plain(answers.name(item))}**{badge}")
            lines = (answers.about(item), answers.facts(item, both))
            st.caption("  \n".join(plain(line) for line in lines))
        if asked:
            st.button(
                "Close" if shown else "Why",
                key=key,
                icon=":material/expand_less:" if shown else ":material/help:",
                type="tertiary",
                on_click=st.session_state.__setitem__,
                args=("rec_why", None if shown else key),
            )
    return shown


@st.fragment
def side_by_side(
    found: dict[str, Answer], titles: dict[str, str], person: Person, fallback: bool, source: str, target: str
) -> None:
    """The list of each model."""
    both: set[str] = set()
    if len(found) == 2:
        both, words = answers.shared(*found.values())
        st.markdown(f":material/join_inner: {plain(words)}")
    for side, (place, (run, answer)) in enumerate(zip(st.columns(len(found), gap="large"), found.items(), strict=True)):
        with place:
            st.header(plain(titles[run]), anchor=False)
            badge = answers.badge(answer.basis, source, target)
            st.badge(plain(badge.words), icon=badge.icon, color=badge.colour, help=plain(badge.help))
            for note in (*answer.notes, *answers.readings(answer.evidence)):
                st.caption(f":material/info: {plain(note)}")
            for item in answer.items:
                key = f"rec_why_{side}_{item.item_id}"
                if one_item(key, item, item.item_id in both, answer.basis != answers.FALLBACK):
                    with st.container(border=True), as_sentence():
                        reasons(side, models.explanation(run, person, item.item_id, fallback), source)
