"""The three ways to tell who asks: reviews, a user id, picked items. What is entered in each counts together."""

from typing import Any

import streamlit as st

from app.ui import answers, models, people
from app.ui.errors import as_sentence, plain
from crossrec.recommend.person import MOST_REVIEWS

WAYS = ("Reviews", "A person", "Picked items")
EVERY = 1000
"""Of a domain with up to so many items all are offered; of a larger one those that a search finds."""
FOUND = 50
MOST_PICKED = 50
SHOWN_PEOPLE = 6


def write_reviews(meta: dict[str, Any], source: str) -> None:
    if not meta["counts"]["source_events"]:
        st.caption("This data has one domain only: there is no other that somebody could write about.")
        return
    rows, (_, trouble) = people.rows(), people.reviews()
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        for number, (label, text, stars) in enumerate(people.example_reviews(meta)):
            st.button(
                plain(label),
                key=f"rec_example_{number}",
                help=plain(f"{text} ({stars} of 5 stars)" if stars else text),
                on_click=people.use_example,
                args=(text, stars),
            )
    with st.grid(3, min_column_width=240, gap="small"):
        for number, (text, _) in enumerate(rows, 1):
            with st.container(border=True, gap="xsmall"):
                st.text_area(
                    f"Review {number}",
                    key=f"rec_review_{number}",
                    height=104,
                    placeholder=f"Something in {source}: what was it like?",
                    persist_state="session",
                )
                if number in trouble:
                    st.caption(f":material/info: {plain(trouble[number])} It is left out.")
                with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
                    st.feedback("stars", key=f"rec_stars_{number}", persist_state="session")
                    st.button(
                        "Remove",
                        key=f"rec_remove_{number}",
                        icon=":material/close:",
                        type="tertiary",
                        on_click=people.remove_row,
                        args=(number,),
                        disabled=not text and len(rows) <= people.ROWS,
                    )
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "Recommend",
            key="rec_go",
            type="primary",
            icon=":material/recommend:",
            help="The lists also follow when you leave a box, or press Ctrl and Enter in it. Stars are optional.",
        )
        st.button(
            "Add a review",
            key="rec_add",
            icon=":material/add:",
            on_click=people.add_row,
            disabled=len(rows) >= MOST_REVIEWS,
        )
        st.button("Start again", key="rec_clear", icon=":material/restart_alt:", on_click=people.start_again)


def name_person(dataset: str, source: str, target: str) -> str | None:
    """The id of a user, known or not."""
    known = people.example_people(dataset)
    if st.session_state.get("rec_user_of", dataset) != dataset:  # people of other data are unknown here
        st.session_state["rec_user"] = None
    st.session_state["rec_user_of"] = dataset
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        for example, (n_source, n_target) in list(known.items())[:SHOWN_PEOPLE]:
            st.button(
                plain(example),
                key=f"rec_try_{example}",
                icon=":material/person:",
                help=plain(f"{n_source} events in {source} and {n_target} in {target}"),
                on_click=st.session_state.__setitem__,
                args=("rec_user", example),
            )
    user = st.selectbox(
        "User id",
        list(known),
        index=None,
        key="rec_user",
        bind="query-params",
        accept_new_options=True,
        placeholder="Choose one, or type any id of the dataset",
        width=340,
    )
    return user or None


def pick_items(run: str) -> dict[str, tuple[str, ...]]:
    """Ids of picked items: "source_items" and "target_items", in the order in which they were picked."""
    picked: dict[str, tuple[str, ...]] = {}
    with as_sentence():
        catalog = models.catalog(run)
        for which, key, label in (
            ("source", "rec_pick", "What they like in {}"),
            ("target", "rec_have", "What they have in {} already (it is kept out of the lists)"),
        ):
            if which in catalog.shelves:
                picked[f"{which}_items"] = _pick(catalog, which, key, label)
    return picked


def _pick(catalog: models.Catalog, which: str, key: str, label: str) -> tuple[str, ...]:
    shelf = catalog.shelf(which)
    if shelf.n_items > EVERY:
        typed = st.text_input(
            plain(f"Search in {shelf.label}"),
            key=f"{key}_words",
            max_chars=200,
            icon=":material/search:",
            placeholder=f"{shelf.n_items:,} items: a part of a title or of a name",
        )
        offered = catalog.search(which, typed or "", FOUND)
    else:
        offered = catalog.items(which, range(1, shelf.n_items + 1))
    kept = [one for one in st.session_state.get(key) or [] if one in shelf.numbers]
    if key in st.session_state:  # a link may name what is not there
        st.session_state[key] = kept
    items = {one.item_id: one for one in offered}
    items |= {one: catalog.by_id(which, one) for one in kept if one not in items}
    titles = answers.labels(list(items.values()))
    chosen = st.multiselect(
        plain(label.format(shelf.label)),
        list(items),
        format_func=titles.__getitem__,
        key=key,
        max_selections=MOST_PICKED,
        placeholder="Type a part of a title",
        select_all=False,
        persist_state="session",
    )
    return tuple(chosen)
