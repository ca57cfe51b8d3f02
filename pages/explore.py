"""Can these domains help each other? Sizes, overlap, activity, one person's path, the reviews, the leak report."""

from functools import partial
from pathlib import Path

import pandas as pd
import streamlit as st

from app.ui import cards, domains, state
from app.ui.errors import as_sentence, capital, plain
from crossrec.data import explore
from crossrec.data.pair import DomainPair
from crossrec.report import charts

PAGES = Path(__file__).resolve().parent
TABS = ("The two domains", "One person", "Reviews", "Map of items", "Is the test fair?")


# --- cards -----------------------------------------------------------------------------------------------------------


def two_domains(pair: DomainPair, about: dict) -> None:
    seen, single = about["overview"], not pair.source.n_items
    left, right = st.columns(2, gap="large")
    with left:
        if single:
            cards.absent("Overlap", f"There is only one domain, {pair.target.label}, so nobody can be in both.")
        else:
            frame = domains.parts(seen, pair.source.label, pair.target.label)
            cards.chart(
                domains.overlap_sentence(seen, pair.source.label, pair.target.label),
                partial(charts.overlap, frame),
                "exp_overlap",
            )
    with right:
        st.markdown(f"**{plain(capital(domains.size_sentence(about['sizes'])))}**")
        st.dataframe(
            domains.size_table(about["sizes"]),
            width="stretch",
            hide_index=True,
            alt="Sizes of the domains",
            key="exp_sizes",
        )
        if not single:
            with_history(about)

    left, right = st.columns(2, gap="large")
    with left:
        if len(about["activity"]):
            cards.chart(
                domains.activity_sentence(about["activity"]),
                partial(charts.activity, about["activity"]),
                "exp_activity",
            )
        else:
            cards.absent(
                "Activity over time", "The data has no times: only the order of each person's events is known."
            )
    with right:
        cards.chart(
            domains.tail_sentence(about["per_person"]),
            partial(charts.shares, about["per_person"], "Events a person", "Share of people", "people", "order"),
            "exp_tail",
        )

    left, right = st.columns(2, gap="large")
    with left:
        cards.chart(
            domains.popularity_sentence(about["top_tenth"], pair.source.label, pair.target.label),
            partial(charts.popularity, about["popularity"]),
            "exp_popularity",
            note="The dashed grey line is a catalogue in which all items are taken equally often.",
        )
    with right:
        if len(about["ratings"]):
            frame = about["ratings"].assign(bin=about["ratings"]["rating"].map("{:g}".format))
            cards.chart(
                domains.rating_sentence(about["ratings"]),
                partial(charts.shares, frame, "Stars", "Share of ratings", "events", "rating"),
                "exp_ratings",
            )
        else:
            cards.absent("Ratings", "The data has no ratings: every event counts as one choice.")


def with_history(about: dict) -> None:
    """In which order people came to the domains."""
    if len(about["began"]):
        st.caption(plain(domains.began_sentence(about["began"], about["sizes"])))


def one_person(name: str, pair: DomainPair, examples: list[str]) -> None:
    # People of the dataset that was shown before are unknown here.
    if st.session_state.get("exp_user_of", name) != name and st.session_state.get("exp_user") not in examples:
        st.session_state["exp_user"] = examples[0]
    st.session_state["exp_user_of"] = name
    user = st.selectbox(
        "User id",
        examples,
        key="exp_user",
        bind="query-params",
        accept_new_options=True,
        help="A few people worth a look, or type any id of the dataset.",
    )
    if not user:
        return
    with as_sentence():
        path = explore.path(pair, user)
        cards.chart(
            domains.path_sentence(path, user),
            partial(charts.timeline, path, pair.has_time),
            "exp_path",
            note=None if pair.has_time else "The data has no times in both domains: each row is in its own order.",
        )
        shown = path.drop(columns=["which"]).dropna(axis="columns", how="all")
        st.dataframe(
            shown,
            width="stretch",
            hide_index=True,
            key="exp_path_table",
            alt=f"Every event of {user}",
            column_config=domains.event_columns(),
        )
        st.page_link(
            PAGES / "recommend.py",
            label="What would this person like?",
            icon=":material/recommend:",
            query_params={"data": name, "rec_user": user},
        )


def reviews(name: str, pair: DomainPair) -> None:
    if not explore.has_text(pair):
        cards.absent("Search in the reviews", f"{name} has no texts, so there is nothing to search in.")
        return
    words = st.text_input(
        "Words that the reviews must have",
        key="exp_words",
        bind="query-params",
        max_chars=200,
        placeholder="for example: gentle piano",
        icon=":material/search:",
        help="Reviews whose title or text has every one of these words, in either domain.",
    )
    if not words.strip():
        st.caption("Type one or more words: the newest reviews that have all of them are shown.")
        return
    with as_sentence():
        found, total = state.search(name, words)
        if not total:
            st.markdown(f"No review has all of: {plain(words)}. Try fewer words, or a part of one.")
            return
        st.markdown(f"**{plain(domains.search_sentence(total, len(found), words))}**")
        st.dataframe(
            domains.search_table(found),
            width="stretch",
            hide_index=True,
            row_height=70,
            key="exp_found",
            alt=f"Reviews with {words}",
            column_config=domains.event_columns(),
        )


def fair_test(name: str) -> None:
    st.markdown(
        "Each person's last target event is hidden and must be guessed from what came before it. A model that can see "
        "anything later than the hidden event would look better than it is. These checks count such events, one by one."
    )
    cards.leaks(state.leak_report(name))


# --- page ------------------------------------------------------------------------------------------------------------

st.title("Can these domains help each other?", anchor=False)
dataset = state.choose_dataset("explore")
pair = state.pair(dataset)
about = state.profile(dataset)

cards.answer(*domains.answer(about["overview"], pair.source.label, pair.target.label, single=not pair.source.n_items))
cards.numbers(domains.numbers(about["overview"], about["sizes"], pair.source.label, pair.target.label))

tabs = st.tabs(TABS, key="exp_tab", bind="query-params", on_change="rerun")
with tabs[0]:
    two_domains(pair, about)
    if pair.source.n_items and about["overview"].both:
        history: pd.DataFrame = about["history"].assign(which="source", domain=pair.source.label)
        cards.chart(
            domains.history_sentence(about["overview"], pair.source.label, pair.target.label),
            partial(
                charts.shares,
                history,
                f"{pair.source.label} events before a {pair.target.label} event",
                "Share of events",
                "n",
                "order",
            ),
            "exp_history",
            note="Over all target events of people in both domains."
            + (
                ""
                if about["overview"].has_time
                else " The data has no times, so a person's whole source history counts."
            ),
        )
with tabs[1]:
    one_person(dataset, pair, about["examples"])
with tabs[2]:
    reviews(dataset, pair)
if tabs[3].open:  # what it takes to draw thousands of points is loaded where they are looked at
    with tabs[3]:
        from app.ui import map_of_items

        map_of_items.tab(dataset, pair, about["examples"])
with tabs[4]:
    fair_test(dataset)
