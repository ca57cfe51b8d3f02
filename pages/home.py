"""Does taste carry over? The verdict, the numbers behind it, and where to go next."""

from functools import partial
from pathlib import Path

import streamlit as st

from app.ui import cards, champions, results, state
from app.ui.errors import percent
from crossrec.data.folder import list_datasets, load_meta
from crossrec.errors import CrossrecError
from crossrec.report import charts, findings, frames
from crossrec.runs.compare import Result, matching_runs

PAGES = Path(__file__).resolve().parent
WORLDS = {1.0: "Shared taste", 0.0: "Nothing shared: the control"}


# --- cards -----------------------------------------------------------------------------------------------------------


def world(dataset: str, strength: float, shown: str) -> None:
    """One of the demo's worlds, with its verdict."""
    found = result(dataset)
    with st.container(border=True, height="stretch"):
        st.markdown(f"**{WORLDS.get(strength, f'{percent(strength)} of taste is shared')}**")
        if strength == 0:
            st.caption("The two domains' tastes are independent, so transfer must not help here.")
        else:
            st.caption(f"{percent(strength)} of a person's taste is the same in both domains, so transfer should help.")
        if found is None:
            st.markdown("There is no trained pair of models yet.")
        else:
            row = found.comparison.difference(found.insight.challenger, "with_source")
            kind, words, colour = {
                "yes": ("check_circle", "Transfer helps", "green"),
                "harm": ("change_history", "Transfer does harm", "orange"),
            }.get(found.verdict.answer, ("drag_handle", "No evidence of a gain", "blue"))
            st.badge(words, icon=f":material/{kind}:", color=colour)
            if row:
                st.markdown(
                    f"NDCG@10 **{row.value.mean:+.3f}**, 95 % interval {row.value.low:+.3f} to {row.value.high:+.3f}"
                )
        if dataset == shown:
            st.caption(":material/visibility: Shown above")
        else:
            st.page_link(
                PAGES / "home.py", label="Show this one", icon=":material/visibility:", query_params={"data": dataset}
            )


def worlds(shown: str) -> None:
    """The demo's worlds side by side: the effect must be there in one and absent in the other."""
    found = [(meta["name"], meta["origin"]["transfer_strength"]) for meta in list_datasets() if is_demo(meta)]
    if len(found) < 2:
        return
    st.header("Is it the taste, or just a bigger model?", anchor=False)
    st.markdown("The demo's worlds differ in one thing only: how much of a person's taste the two domains share.")
    with st.grid(len(found), min_column_width=280):
        for name, strength in sorted(found, key=lambda one: -one[1]):
            world(name, strength, shown)


def next_steps(dataset: str, trained: bool) -> None:
    st.header("Where to go next", anchor=False)
    link = {"data": dataset}
    with st.container(horizontal=True, gap="medium"):
        st.page_link(
            PAGES / "explore.py",
            label="See who is in both domains",
            icon=":material/travel_explore:",
            query_params=link,
        )
        if trained:
            st.page_link(
                PAGES / "compare.py", label="See whom transfer helped", icon=":material/balance:", query_params=link
            )
            st.page_link(
                PAGES / "recommend.py",
                label="Try it: what would this person like?",
                icon=":material/recommend:",
                query_params=link,
            )
            st.page_link(
                PAGES / "feedback.py", label="Let it learn from clicks", icon=":material/cycle:", query_params=link
            )
        else:
            cards.to_train(dataset, "See what training takes")


def is_demo(meta: dict) -> bool:
    return meta["origin"].get("kind") == "demo" and "transfer_strength" in meta["origin"]


def result(dataset: str) -> Result | None:
    try:
        chosen = matching_runs(dataset)
        return state.result(chosen) if chosen else None
    except CrossrecError:
        return None


# --- page ------------------------------------------------------------------------------------------------------------

st.title("Does taste carry over?", anchor=False)
dataset = state.choose_dataset("home")
meta = load_meta(dataset)
source, target = (meta["domains"][which]["name"] for which in ("source", "target"))
chosen = matching_runs(dataset)

if chosen is None:
    if meta["counts"]["source_events"]:
        cards.answer(
            f"Not known yet for {source} and {target}: no model with transfer and its baseline have been trained.",
            "unknown",
        )
    else:
        cards.answer(f"{dataset} has one domain only, {target}: there is nothing that could carry over.", "unknown")
    finished, others = state.runs(dataset)
    if meta["counts"]["source_events"]:
        cards.no_runs(dataset, others)
else:
    found = state.result(chosen)
    cards.answer(found.verdict.headline, found.verdict.answer)
    cards.numbers(results.numbers(found, source))
    frame = frames.means(found)
    oracle = "oracle" in set(frame["recipe"])
    cards.chart(
        findings.lead_sentence(found),
        partial(charts.dots, frame, "NDCG@10", list(frame["label"])),
        key="home_means",
        note="Means over all people tested, with 95 % intervals; the whole catalogue is ranked."
        + (" The oracle knows the invented world's true probabilities: nothing can do better." if oracle else ""),
    )
    with st.expander("What else the numbers say", icon=":material/format_list_bulleted:"):
        cards.points(found.verdict.details)
champions.section(dataset)
if chosen is not None and is_demo(meta):
    worlds(dataset)
next_steps(dataset, chosen is not None)
