"""What does it take? A form with its cost, the queue, and each training as it goes."""

import streamlit as st

from app.ui import bring_data, cards, state, tabs, train_form, train_live, train_runs, train_words
from app.ui.errors import as_sentence, plain
from crossrec import paths
from crossrec.data.folder import list_datasets
from crossrec.runs import queue
from crossrec.runs.folder import list_runs, open_run

NEW, RUNS, BRING = "New training", "Runs", "Bring data"
ICONS = {"success": ":material/check_circle:", "warning": ":material/info:"}


# --- cards -----------------------------------------------------------------------------------------------------------


def tick() -> None:
    """Draws the whole page anew, every second but when the page itself has just called it.

    Parts that draw themselves would be cheaper, but where one of them changes its shape while the page is drawn too,
    Streamlit's frontend finds no place for what it is sent and shows an empty page.
    """
    if not st.session_state.pop("trn_drawn", False):
        st.rerun()


def headline(dataset: str) -> None:
    """What is in training now."""
    queue.look_after()
    if st.session_state.pop("trn_whole", False):
        st.rerun()
    working, waiting = train_runs.under_way()
    told = [(task.name, task.shown()) for task in working]
    finished = len(list_runs(dataset, finished=True))
    cards.answer(train_words.now(told, len(waiting), finished, dataset), "busy" if told or waiting else "idle")
    if told and st.session_state.get("trn_tab", NEW) != RUNS:
        name, status = told[0]
        st.progress(train_words.done(status))
        st.button("Look at it", key="trn_look", icon=":material/visibility:", on_click=look, args=(name,))


def look(name: str) -> None:
    train_runs.look_at(name)
    st.session_state["trn_tab"], st.session_state["trn_whole"] = RUNS, True


def runs(dataset: str) -> None:
    """The table, and the run that is looked at."""
    everything = st.toggle("Runs on all datasets", key="trn_all", persist_state="session")
    rows, damaged = train_runs.all_seen(None if everything else dataset)
    name = train_runs.looked_at(rows)
    if said := st.session_state.pop("trn_said", None):
        st.toast(plain(said[1]), icon=ICONS[said[0]], duration="long")
    if rows:
        _, waiting = train_runs.under_way()
        train_runs.table(rows, waiting, name)
        if len(rows) > train_runs.MOST:
            st.caption(f"The newest {train_runs.MOST} of {len(rows)} runs.")
    else:
        with st.container(border=True):
            st.header("Nothing has been trained on this data yet", anchor=False)
            st.markdown("The first tab starts a training; it will stand here with its progress.")
    if damaged:
        where = f"{damaged} folder{'s' if damaged > 1 else ''} in {paths.runs()} cannot be read and"
        st.caption(plain(f"{where} {'are' if damaged > 1 else 'is'} left out."))
    if name:
        with as_sentence():
            one = train_runs.seen(open_run(name).name)
            places = [task.name for task in train_runs.under_way()[1]]
            train_live.detail(one, places.index(name) + 1 if name in places else None)


# --- page ------------------------------------------------------------------------------------------------------------

st.title("What does it take?", anchor=False)
if not list_datasets():
    cards.answer("There is no data to train on yet.", "unknown")
    cards.no_datasets()
    bring_data.section()
    st.stop()
tabs.clicked("trn_tab")
train_runs.follow_address(RUNS)
dataset = state.choose_dataset("train", "trn_source")
every = "1s" if train_runs.is_live() else None
if st.session_state.get("trn_tab", NEW) == RUNS:
    st.session_state["trn_drawn"] = True
    st.fragment(tick, run_every=every)()
    headline(dataset)
else:  # a form is not drawn anew while somebody fills it in
    st.fragment(headline, run_every=every)(dataset)
new, listed, brought = tabs.tabs("trn_tab", [NEW, RUNS, BRING])
if new.open:
    with new:
        train_form.form(dataset, train_live.started)
if listed.open:
    with listed:
        runs(dataset)
if brought.open:
    with brought:
        bring_data.section()
if name := st.session_state.get("trn_delete"):
    train_live.delete(name)
