"""Bring data: from an upload, from files on this machine, or from the hub; a process of its own makes the dataset."""

import re
import zlib
from pathlib import Path
from typing import Any

import streamlit as st

from app.ui import bring_list, cards
from app.ui.errors import as_sentence, capital, plain, say
from crossrec.data.hub import CATEGORIES
from crossrec.data.prepare import PrepareOptions, ReadOptions
from crossrec.data.preview import Preview, preview
from crossrec.errors import CrossrecError
from crossrec.runs import incoming
from crossrec.runs.imports import check_free, download_config, enqueue, files_config

UPLOAD, DISK, HUB = "Upload files", "Files on this machine", "Amazon reviews from the hub"
ENDINGS = ["csv", "tsv", "json", "jsonl", "gz", "parquet"]
ROLES = {"user": "User id", "item": "Item id", "rating": "Rating", "time": "Time", "text": "Text", "title": "Title"}
SUBSETS = {
    "raw": "Reviews with texts",
    "5core": "Ratings only, of people and items with at least five",
    "0core": "Ratings only, all of them",
}
FIRST_PAIR = ("All_Beauty", "Video_Games")
LABEL = 60
"""Characters of a domain's name."""


def section() -> None:
    """The whole section: what is there, the form, and the imports."""
    bring_list.datasets()
    if st.session_state.pop("bring_emptied", False):
        st.session_state["bring_name"] = ""
    if said := st.session_state.pop("bring_said", None):
        st.toast(plain(said), icon=":material/info:", duration="long")
    way = st.segmented_control("Where from", [UPLOAD, DISK, HUB], default=UPLOAD, required=True, key="bring_way")
    with as_sentence():
        hub() if way == HUB else two_files(way)
    live = bring_list.is_live()
    if bring_list.any_imports():
        st.header("Imports", anchor=False)
    st.fragment(bring_list.imports, run_every="1s" if live else None)(live)


# --- the three ways ---------------------------------------------------------------------------------------------------


def two_files(way: str) -> None:
    """Two files of events, and of items where there are any; uploaded, or chosen from a list."""
    if way == UPLOAD:
        most = f"{incoming.UPLOAD_BYTES >> 20} MB"
        st.caption(f"CSV, TSV, JSON lines, gzip of these, or Parquet; one event a row or line, up to {most} a file.")
        choose = _uploaded
    else:
        names = incoming.inbox_files()
        if not names:
            st.info(
                plain(f"Put files of events into {incoming.inbox()} on this machine; they will be listed here."),
                icon=":material/folder_open:",
            )
            return
        st.caption(plain(f"The files in {incoming.inbox()}."))
        choose = _chosen
    files: dict[str, tuple[Path, str]] = {}
    reads: list[ReadOptions | None] = []
    labels: list[str] = []
    for column, which in zip(st.columns(2, gap="large"), ("source", "target"), strict=True):
        with column:
            st.markdown(f"**{capital(which)} domain**" + (" (may be left out)" if which == "source" else ""))
            if given := choose(which, f"Events of the {which} domain"):
                files[which] = given
            usual = _label(files[which][1]) if which in files else capital(which)
            labels.append(_typed(f"bring_{which}_label", "What people call it", usual))
            reads.append(_look(which, *files[which]) if which in files else ReadOptions())
            with st.expander("Titles of the items", icon=":material/title:", key=f"bring_{which}_more"):
                st.caption("A second file with an item id and a title in each row; items are shown by their ids else.")
                if given := choose(f"{which}_items", f"Items of the {which} domain"):
                    files[f"{which}_items"] = given
    if "target" not in files:
        st.caption("Give a file of the target domain to go on.")
        return
    first, second = reads
    if first is None or second is None:
        return
    options = filters("files")
    name = _name("-".join(labels) if "source" in files else labels[1])
    if "source" not in files:
        files.pop("source_items", None)
    at = {role: path for role, (path, _) in files.items()}
    with as_sentence():
        config = files_config(
            name,
            at.get("source"),
            at["target"],
            source_items=at.get("source_items"),
            target_items=at.get("target_items"),
            read=(first, second),
            options=options(),
            labels=(labels[0] if "source" in files else "", labels[1]),
            called={role: word for role, (_, word) in files.items()} if way == UPLOAD else None,
        )
        start(config)


def hub() -> None:
    """Two categories of the Amazon reviews of 2023."""
    st.caption(
        "The Amazon reviews of 2023 by McAuley Lab. Whole files are fetched, and kept for the next time: a small "
        "category has some megabytes, a large one tens of gigabytes. A download that was cancelled goes on from where "
        "it was."
    )
    words = {category: category.replace("_", " ") for category in CATEGORIES}
    pair = []
    for column, which, first in zip(st.columns(2, gap="large"), ("source", "target"), FIRST_PAIR, strict=True):
        with column:
            usual = CATEGORIES.index(first)
            label, key = f"{capital(which)} category", f"bring_hub_{which}"
            pair.append(st.selectbox(label, CATEGORIES, usual, format_func=lambda c: words.get(c, c), key=key))
    subset = st.selectbox("What to fetch", list(SUBSETS), format_func=lambda s: SUBSETS.get(s, s), key="bring_subset")
    options = filters("hub")
    name = _name("-".join(pair))
    with as_sentence():
        start(download_config(name, *pair, subset, options()))


# --- the parts of the form --------------------------------------------------------------------------------------------


def filters(way: str) -> Any:
    """The filters; returns what makes `PrepareOptions` of them, which may find them wrong."""
    row = st.columns(4, vertical_alignment="bottom")
    k_core = row[0].number_input(
        "Events at least",
        min_value=1,
        max_value=100,
        value=1,
        key=f"bring_{way}_core",
        help="Each person and each item of a domain keeps at least so many events there; those below are dropped, "
        "again and again, until nothing changes. 5 is usual, 1 keeps everything.",
    )
    most = row[1].number_input(
        "Events at most",
        min_value=1,
        value=300_000 if way == "hub" else None,
        placeholder="all of them",
        key=f"bring_{way}_events",
        help="Most events of each domain, taken by whole people, those in both domains first. Training takes longer "
        "with more.",
    )
    people = row[2].number_input(
        "People at most",
        min_value=1,
        value=None,
        placeholder="all of them",
        key=f"bring_{way}_people",
        help="Most people over both domains, those in both first.",
    )
    both = row[3].toggle(
        "Only people in both",
        key=f"bring_{way}_both",
        help="Drops everybody who has events in one domain only. Transfer is learned from people in both; the others "
        "still teach what goes together in a domain.",
    )
    with st.expander("More filters", icon=":material/tune:", key=f"bring_{way}_filters"):
        left, right = st.columns(2)
        lowest = left.number_input(
            "Rating at least",
            value=None,
            placeholder="any rating",
            key=f"bring_{way}_rating",
            help="Drops events rated lower, and those without a rating.",
        )
        seed = right.number_input(
            "Seed",
            min_value=0,
            max_value=2**31 - 1,
            value=0,
            key=f"bring_{way}_seed",
            help="Settles which people are taken where there is a most.",
        )
    return lambda: PrepareOptions(int(k_core), both, most, people, lowest, int(seed))


def start(config: dict[str, Any]) -> None:
    """The button, and the command that does the same; says what keeps it from starting."""
    problem = None
    try:
        check_free(config["dataset"])
    except CrossrecError as error:
        problem = error
    if st.button("Start the import", type="primary", icon=":material/play_arrow:", key="bring_start"):
        with as_sentence():
            enqueue(config)
            st.session_state["bring_said"] = f"{config['dataset']} is being made."
            if config["kind"] == "upload":  # those files belong to the import now
                st.session_state["bring_round"] = st.session_state.get("bring_round", 0) + 1
                st.session_state["bring_emptied"] = True
                st.session_state.pop("bring_stored", None)
            st.rerun()
    elif problem is not None:
        say(problem)
    with st.expander("The same as a command", icon=":material/terminal:", key="bring_same"):
        cards.commands(config["command"])


def _uploaded(role: str, label: str) -> tuple[Path, str] | None:
    """The file that was uploaded for a role, stored once, and what the person calls it."""
    key = f"bring_up_{role}_{st.session_state.get('bring_round', 0)}"
    given = st.file_uploader(label, ENDINGS, key=key, max_upload_size=incoming.UPLOAD_BYTES >> 20)
    stored = st.session_state.setdefault("bring_stored", {})
    before = stored.get(role)
    if before and (given is None or before[0] != given.file_id or not before[1].exists()):
        incoming.remove_upload(stored.pop(role)[1])
    if given is None:
        return None
    if role not in stored:
        with as_sentence():
            stored[role] = (given.file_id, incoming.store_upload(given, given.name, role))
    return (stored[role][1], incoming.shown_name(given.name)) if role in stored else None


def _chosen(role: str, label: str) -> tuple[Path, str] | None:
    """The file of the inbox that was chosen for a role."""
    names = incoming.inbox_files()
    name = st.selectbox(label, names, index=None, placeholder="Choose a file", key=f"bring_disk_{role}")
    if name is None:
        return None
    with as_sentence():
        return incoming.inbox_file(name), name
    return None


def _look(which: str, path: Path, called: str) -> ReadOptions | None:
    """The first rows with the columns that were recognised, and a mapping; None while the file will not do."""
    mark = f"bring_{which}_{zlib.crc32(str(path).encode())}"
    keys = {role: f"{mark}_{role}" for role in ROLES}
    told = st.empty()
    try:
        written = path.stat().st_mtime_ns if path.exists() else 0
        guess = _preview(str(path), written, ())
        box = st.expander(
            "Columns and first rows", icon=":material/table:", key=f"{mark}_box", expanded=bool(guess.problem)
        )
        given = {}
        with box:
            if guess.rows:
                st.dataframe(guess.rows, hide_index=True, key=f"{mark}_rows", alt=f"First rows of {called}")
            for at, role in enumerate(ROLES if guess.columns else ()):
                if at % 3 == 0:
                    row = st.columns(3)
                given[role] = row[at % 3].selectbox(
                    ROLES[role],
                    guess.columns,
                    index=None,
                    placeholder=guess.roles[role] or "none",
                    key=keys[role],
                    help="Another column than the one that was recognised.",
                )
        chosen = {f"{role}_column": column for role, column in given.items() if column is not None}
        found = _preview(str(path), written, tuple(chosen.items())) if chosen else guess
    except CrossrecError as error:
        with told:
            say(_called(error, path, called))
        return None
    with told:
        if found.problem:
            say(CrossrecError(f"{called}: choose the columns of the user's and the item's id below."))
        else:
            st.caption(f":material/check: {plain(_recognised(found))}")
    return None if found.problem else ReadOptions.from_dict(chosen)


@st.cache_data(max_entries=64, show_spinner=False)
def _preview(path: str, mtime: int, chosen: tuple[tuple[str, str], ...]) -> Preview:
    return preview(Path(path), ReadOptions.from_dict(dict(chosen)))


def _recognised(found: Preview) -> str:
    kind = capital(found.kind.replace("csv", "CSV").replace("tsv", "TSV").replace("json", "JSON"))
    if not found.columns:
        return f"{kind}: a person and the items in order on each line."
    known = ", ".join(f"{ROLES[role].lower()} from {column}" for role, column in found.roles.items() if column)
    none = [ROLES[role].lower() for role, column in found.roles.items() if column is None]
    return f"{kind}: {known}" + (f"; no {', no '.join(none)}." if none else ".")


def _called(error: CrossrecError, path: Path, called: str) -> CrossrecError:
    """The sentence with the name that the person gave the file."""
    return CrossrecError(str(error).replace(path.name, called))


def _name(proposed: str) -> str:
    """The name of the dataset: what is typed, or a proposal."""
    usual = re.sub(r"[^a-z0-9]+", "-", proposed.lower()).strip("-")[:60] or "mine"
    return _typed("bring_name", "Name of the dataset", usual, "Letters, digits, '_', '.' and '-'.", 100)


def _typed(key: str, label: str, usual: str, help: str | None = None, most: int = LABEL) -> str:
    """What was typed, or the usual where nothing was."""
    return (st.text_input(label, key=key, placeholder=usual, max_chars=most, help=help) or "").strip()[:most] or usual


def _label(name: str) -> str:
    return capital(re.sub(r"[_\s]+", " ", name.split(".")[0])).strip()[:LABEL] or "Events"
