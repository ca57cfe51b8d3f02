"""What does the loop learn? Play it, take one update apart, judge a policy from a log."""

import streamlit as st

from app.ui import cards, judge, play, play_step, play_who, state
from app.ui.errors import as_sentence
from app.ui.play_who import Chosen
from crossrec.feedback.session import Session
from crossrec.recommend.person import Person
from crossrec.report import loop
from crossrec.runs.folder import open_run

PLAY, STEP, JUDGE = "Play", "Step through", "Judge"

st.title("What does the loop learn?", anchor=False)
said = st.container()
with st.container(horizontal=True, vertical_alignment="bottom"):
    dataset = state.choose_dataset("feedback", "fb_run", "fb_user", "rec_pick", "rec_have")
    finished, others = state.runs(dataset)
    if finished:
        way = play_who.choose_way()
        user = play_who.choose_user(dataset) if way == play_who.SOMEBODY else None
        run = play_who.choose_model(finished)
        config, rewards, seed = play_who.constants()
if not finished:
    with said:
        cards.answer(f"Nothing can be learned yet: no model has been trained on {dataset}.", "unknown")
    cards.no_runs(dataset, others)
    st.stop()
about = open_run(run).config()
person = Person(user) if way == play_who.SOMEBODY else play_who.myself(dataset, run)
known = user is not None and play_who.has_truth(state.pair(dataset))
chosen = Chosen(dataset, run, about["title"], about["recipe"], person, known, config, rewards, seed)
session: Session | None = None
tabs = st.tabs([PLAY, STEP, JUDGE], key="fb_tab", on_change="rerun", bind="query-params")
playing, stepping, judging = tabs
with said, as_sentence():
    session = play_who.session(chosen)
    if not judging.open:
        cards.answer(loop.sentence(session), "loop", loop.details(session))
if playing.open and session:
    with playing:
        play.tab(chosen, session)
if stepping.open and session:
    with stepping:
        play_step.tab(chosen, session)
if judging.open:
    with judging:
        judge.tab(dataset, finished, chosen, said)
