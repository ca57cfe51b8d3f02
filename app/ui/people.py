"""Somebody who asks on a page: what they entered, and what a link carries of it.

Reviews stand in rows, numbered from 1. The page writes the address after what was entered; it reads the address where
somebody else wrote it: when a session begins, on coming from another page, and when the browser goes back.
"""

import re
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import duckdb
import streamlit as st

from app.ui import state
from crossrec.data.explore import example_users
from crossrec.data.pair import DomainPair
from crossrec.errors import CrossrecError
from crossrec.recommend.person import MOST_REVIEWS, Person, Review
from crossrec.runs.catalog import shortened

ROWS = 3
"""Rows for reviews that are always there."""
LINKED, LONGEST_LINKED = 3, 300
"""A link carries so many reviews, each of at most so many characters."""
LINKED_ITEMS = 30
ENTERED = ("rec_a", "rec_b", "rec_pick", "rec_have")
"""Keys of widgets that the page itself writes into the address."""
ALL_THE_SAME = "Answer all the same: by what else is told or, where nothing is, by what most people take"
LAG = 5.0
"""Seconds in which a browser may still send the address from before it was written."""
Example = tuple[str, str, int | None]
"""A label, a review and its stars."""
DEMO_EXAMPLES: tuple[Example, ...] = (
    (
        "A rainy night",
        "A private eye, a wet street and too much bad coffee after midnight. Slow and sad, and I did not want it to "
        "end.",
        5,
    ),
    (
        "Pure slapstick",
        "Somebody slips on a peel, the waiter drops forty plates and the goose gets away. So silly, I cried with "
        "laughter.",
        5,
    ),
    (
        "Love, too late",
        "Two people write each other letters for years and meet once, on a platform, too late. Tender and lovely.",
        4,
    ),
    ("Alone in space", "One astronaut, a dead radio and the dark between the stars. Dreamy, and very quiet.", 5),
    ("Dirty politics", "Ministers, bribes and a stolen file. Angry, cold, and it does not let you go.", 4),
    ("A heist, disliked", "Yet another gang cracks yet another vault. Frantic and hollow; I was bored stiff.", 1),
)


class Wrote(NamedTuple):
    """What the page wrote into the address, and when."""

    address: dict[str, list[str]]
    entered: tuple[Any, ...]
    before: dict[str, list[str]]
    """What was there."""
    lag: float
    """Until when that may still come, by the monotonic clock."""


# --- examples --------------------------------------------------------------------------------------------------------


def example_people(name: str) -> dict[str, tuple[int, int]]:
    """Ids worth a look, with their events in the source and in the target."""
    return _example_people(name, state.version(name))


@st.cache_data(max_entries=16, show_spinner="Looking for examples")
def _example_people(name: str, version: state.Key) -> dict[str, tuple[int, int]]:
    pair = state.pair(name)
    rows = {user: pair.user_index(user) for user in example_users(pair)}
    return {user: (int(pair.source.counts[row]), int(pair.target.counts[row])) for user, row in rows.items()}


def example_reviews(meta: dict[str, Any]) -> Sequence[Example]:
    """Reviews to begin with: invented ones for the demo, else some of the dataset's own source domain."""
    if meta["origin"].get("kind") == "demo":
        return DEMO_EXAMPLES
    about = meta["domains"]["source"]
    return _sampled(meta["name"], state.version(meta["name"])) if about["has_text"] else ()


@st.cache_data(max_entries=16, show_spinner="Looking for examples")
def _sampled(name: str, version: state.Key) -> list[Example]:
    return sampled(state.pair(name))


def sampled(pair: DomainPair, n: int = 6) -> list[Example]:
    """Reviews of the source domain as long as a person would type, the same ones each time."""
    events, items = (str(pair.folder / f"source.{what}.parquet") for what in ("events", "items"))
    with duckdb.connect() as con:
        rows = con.execute(
            """with short as (
                select item, text, rating from read_parquet($events)
                where length(trim(text)) between 40 and 280 order by hash(text), text limit $n)
            select coalesce(i.title, i.item_id), s.text, s.rating
            from short s join read_parquet($items) i using (item) order by hash(s.text), s.text""",
            {"events": events, "items": items, "n": n},
        ).fetchall()
    return [(shortened(title, 28), text, _stars(rating)) for title, text, rating in rows]


def _stars(rating: float | None) -> int | None:
    return round(rating) if rating is not None and 1 <= rating <= 5 else None  # NaN is neither


# --- rows of reviews -------------------------------------------------------------------------------------------------


def rows() -> list[tuple[str, int | None]]:
    """Text and stars of every row."""
    many = st.session_state.setdefault("rec_rows", ROWS)
    return [_row(number) for number in range(1, many + 1)]


def _row(number: int) -> tuple[str, int | None]:
    stars = st.session_state.get(f"rec_stars_{number}")  # counts from 0
    return st.session_state.get(f"rec_review_{number}") or "", None if stars is None else stars + 1


def fill(reviews: Sequence[tuple[str, int | None]]) -> None:
    """Puts reviews into the rows, and nothing into the rest."""
    reviews, had = reviews[:MOST_REVIEWS], len(rows())
    st.session_state["rec_rows"] = many = max(ROWS, len(reviews))
    for number in range(1, max(had, many) + 1):
        text, stars = reviews[number - 1] if number <= len(reviews) else ("", None)
        st.session_state[f"rec_review_{number}"] = text
        st.session_state[f"rec_stars_{number}"] = None if stars is None else stars - 1


def add_row() -> None:
    fill([*rows(), ("", None)])


def remove_row(number: int) -> None:
    """Takes a row away; those below it move up."""
    fill([one for i, one in enumerate(rows(), 1) if i != number])


def use_example(text: str, stars: int | None) -> None:
    """Puts an example into the first free row; one that is there already is not doubled."""
    there = rows()
    if all(one != text for one, _ in there):
        free = next((i for i, (one, _) in enumerate(there) if not one.strip()), len(there))
        fill([*there[:free], (text, stars), *there[free + 1 :]])


def start_again() -> None:
    fill([])
    st.session_state["rec_user"], st.session_state["rec_why"] = None, None
    st.session_state["rec_pick"], st.session_state["rec_have"] = [], []


def reviews() -> tuple[tuple[Review, ...], dict[int, str]]:
    """The reviews that can be read, and of the other rows why they cannot."""
    found, trouble = [], {}
    for number, (text, stars) in enumerate(rows(), 1):
        if not text.strip():
            continue
        try:
            one = Review(text.strip(), stars and float(stars))
            Person(reviews=(one,))
            found.append(one)
        except CrossrecError as error:
            trouble[number] = re.sub("^Review 1 ", f"Review {number} ", str(error))
    return tuple(found), trouble


# --- the address -----------------------------------------------------------------------------------------------------


def read_link(page: str) -> None:
    """Takes what is in the address where somebody else wrote it; bounds are checked where the values are used."""
    st.session_state.setdefault("rec_first_way", 0)
    here, wrote = _address(), st.session_state.get("rec_wrote")
    if wrote is None or st.session_state.get("data_before", ("", ""))[1] != page:
        if not any(here.values()) and "rec_user" not in st.query_params:
            return  # what was entered before is still there
    elif (
        here == wrote.address or _entered() != wrote.entered or (here == wrote.before and time.monotonic() < wrote.lag)
    ):
        return
    stars = [int(one) if one in ("1", "2", "3", "4", "5") else None for one in here["rec_stars"]]
    texts = [text[:LONGEST_LINKED] for text in here["rec_review"][:LINKED]]
    fill([(text, stars[i] if i < len(stars) else None) for i, text in enumerate(texts)])
    if "rec_user" in st.query_params or here["rec_pick"]:
        st.session_state["rec_first_way"] = 0 if texts else 1 if "rec_user" in st.query_params else 2
    for key in ENTERED:
        st.session_state.pop(key, None)
        if here[key]:
            st.session_state[key] = here[key][0] if key in ("rec_a", "rec_b") else here[key][:LINKED_ITEMS]


def write_link(usual: dict[str, str]) -> bool:
    """Writes what was entered into the address, except what a page begins with; returns whether all of it fits."""
    told = [(text.strip(), stars) for text, stars in rows() if text.strip()]
    short = [(text, stars) for text, stars in told if len(text) <= LONGEST_LINKED][:LINKED]
    wanted: dict[str, list[str]] = {key: [] for key in (*ENTERED, "rec_review", "rec_stars")}
    wanted["rec_review"] = [_unicode(text) for text, _ in short]
    wanted["rec_stars"] = [str(stars or 0) for _, stars in short] if any(stars for _, stars in short) else []
    picked = 0
    for key in ENTERED:
        value = st.session_state.get(key)
        if isinstance(value, list):
            wanted[key], picked = value[:LINKED_ITEMS], max(picked, len(value))
        elif value is not None and value != usual[key]:
            wanted[key] = [value]
    before = _address()
    if wanted != before:
        st.query_params.update(wanted)  # at once: each change of the address is a step of the browser's history
        st.session_state["rec_wrote"] = Wrote(wanted, _entered(), before, time.monotonic() + LAG)
    elif "rec_wrote" in st.session_state:
        st.session_state["rec_wrote"] = st.session_state["rec_wrote"]._replace(address=wanted, entered=_entered())
    else:
        st.session_state["rec_wrote"] = Wrote(wanted, _entered(), before, 0.0)
    return len(short) == len(told) and picked <= LINKED_ITEMS


def _address() -> dict[str, list[str]]:
    return {key: st.query_params.get_all(key) for key in (*ENTERED, "rec_review", "rec_stars")}


def _entered() -> tuple[Any, ...]:
    return (rows(), *(st.session_state.get(key) for key in ENTERED))


def _unicode(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
