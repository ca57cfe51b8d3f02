"""Judge: a log in, and what it says of a policy out; or why it says nothing."""

from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from app.ui import cards, models, play_who, state
from app.ui.errors import as_sentence, capital, plain
from app.ui.play_who import Chosen
from crossrec import paths
from crossrec.data.logged import StoredLog, list_logs, open_log, remove_log
from crossrec.errors import CrossrecError
from crossrec.feedback.events import MAX_BYTES, look
from crossrec.feedback.judging import Judged, judge_run
from crossrec.feedback.log import FeedbackLog
from crossrec.feedback.ope import LOGGED
from crossrec.feedback.policy import PolicyConfig
from crossrec.feedback.ready import import_file, import_played
from crossrec.feedback.simulated import CLICKS, simulated_log
from crossrec.report import charts, judging
from crossrec.runs import incoming
from crossrec.runs.folder import Run, open_run

NONE = "not in the file"
ENDINGS = [suffix.removeprefix(".") for suffix in incoming.SUFFIXES]
ROLES = {
    "session": "Session",
    "user": "User id",
    "item": "Item id",
    "action": "Action",
    "reward": "Reward",
    "propensity": "Propensity",
    "position": "Position",
    "slate": "Slate",
    "candidates": "Candidates",
    "time": "Time",
}
MOST_UPLOAD = 200
"""MB of a log that is uploaded; the command reads larger ones."""
AT_ONCE = 500_000
"""Rows that are judged in the page; more are judged by the command."""
PEOPLE, SLATES = 200, 20
"""Of a simulated log."""
PAGES = Path(__file__).resolve().parents[2] / "pages"


def tab(dataset: str, finished: list[Run], chosen: Chosen, said: DeltaGenerator) -> None:
    """All of the tab; the verdict goes where the page's answer stands."""
    if news := st.session_state.pop("fb_log_said", None):
        st.toast(plain(news), icon=":material/check_circle:", duration="long")
    names = list_logs(dataset)
    if made := st.session_state.pop("fb_log_new", None):
        st.session_state["fb_log"] = made
    if st.session_state.get("fb_log") not in names:
        st.session_state.pop("fb_log", None)
    if not names:
        with said:
            cards.answer(
                f"Nobody can tell yet how another policy would have done: there is no log of {dataset}.", "unknown"
            )
        st.markdown(
            "A **log** tells what was shown to whom, how probably, and what came back. From it one can tell what "
            "*another* policy would have earned, without showing it to anybody. Make one here:"
        )
        new_log(dataset, chosen)
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.selectbox("Log", names, key="fb_log", persist_state="session", width=260)
        titles = models.titles(finished)
        policy = st.selectbox(
            "Policy to judge",
            list(titles),
            index=list(titles).index(usual(finished, name)),
            format_func=titles.__getitem__,
            key="fb_policy",
            width=240,
            help="A run as a policy: a softmax over its scores, as on the first tab.",
        )
        others = [LOGGED, *(one for one in titles if one != policy)]
        if st.session_state.get("fb_against") not in others:
            st.session_state.pop("fb_against", None)
        against = st.selectbox(
            "Beside", others, format_func=lambda one: titles.get(one, one.capitalize()), key="fb_against", width=260
        )
        with st.popover("Constants", icon=":material/tune:", key="fb_judge_constants", width="content"):
            temperature = play_who.slider("temperature", PolicyConfig().temperature, "fb_judge")
            epsilon = play_who.slider("epsilon", PolicyConfig().epsilon, "fb_judge")
            clip = st.slider("Largest weight of clipped IPS", 1.0, 100.0, 10.0, 1.0, format="%g", key="fb_judge_clip")
    with as_sentence():
        log = opened(name)
        assume = False
        if not log.known:
            unknown = int(log.events["propensity"].isna().sum())
            st.warning(
                f"{unknown:,} of {len(log.events):,} rows do not say how probable the item was. What another policy "
                "would have earned cannot be known from them.",
                icon=":material/info:",
            )
            assume = st.toggle(
                "Assume that every candidate was equally likely",
                key="fb_assume",
                help="Nothing in the file supports it. The numbers are then an illustration, and no policies are "
                "ranked.",
            )
        if len(log.events) > AT_ONCE:
            st.info(f"The log has {len(log.events):,} rows: too many to judge in a page.", icon=":material/info:")
            cards.commands(command(name, policy, against, temperature, epsilon))
        else:
            found = judged(name, policy, against, temperature, epsilon, float(clip), assume)
            show(found, titles, policy, against, said)
            below(log, command(name, policy, against, temperature, epsilon, assume))
    with st.expander("Another log", icon=":material/add:", key="fb_more_logs"):
        new_log(dataset, chosen)


def usual(finished: list[Run], log: str) -> str:
    """A run that is not the one that made the log, where there is another."""
    with as_sentence():
        made = set(opened(log).slates["policy"].dropna())
        others = [run for run in finished if not any(run.name in one for one in made)]
        return play_who.usual(others or finished)
    return play_who.usual(finished)


# --- the result ------------------------------------------------------------------------------------------------------


def show(found: Judged, titles: dict[str, str], policy: str, against: str, said: DeltaGenerator) -> None:
    verdict = found.judgement
    words = verdict.verdict
    for run, title in titles.items():
        words = words.replace(repr(run), title)
    with said:
        cards.answer(capital(words), judging.answer(verdict), found.notes[:1] if found.assumed else ())
    named = {one: titles.get(one, LOGGED) for one in verdict.estimates}
    recipes = {named[run]: open_run(run).config()["recipe"] for run in (policy, against) if run in titles}
    frame = judging.estimates(verdict, recipes | {LOGGED: "popularity"})
    left, right = st.columns([3, 2], gap="large")
    with left:
        if len(frame):
            frame["title"] = frame["title"].map(named)
            frame["recipe"] = frame["title"].map(recipes | {LOGGED: "popularity"})
            order = list(dict.fromkeys(frame["label"]))
            finding = f"Reward a row, by {len(order)} estimators; the verdict goes by {verdict.primary}"
            cards.chart(
                finding,
                partial(charts.dots, frame, "Reward a row", order),
                "fb_estimates",
                note="95 % intervals, over sessions.",
            )
            with st.expander("What the estimators are", icon=":material/help:", key="fb_estimators"):
                cards.points([f"{one}: {judging.MEANINGS[one]}" for one in order])
        else:
            cards.absent("Reward a row", "Without propensities nothing can be estimated.")
    with right:
        one = verdict.diagnostics[verdict.target]
        note = "The more rows stand far to the right, the fewer speak for all: the effective sample size says how many."
        cards.chart(judging.support(one, titles[policy]), partial(judging.weights, one), "fb_weights", note)
    with st.expander("What this rests on", icon=":material/info:", key="fb_rests"):
        notes = [*found.notes]
        for run, title in titles.items():
            notes = [note.replace(repr(run), title) for note in notes]
        cards.points(notes)


def below(log: StoredLog, same: str) -> None:
    """Where the log comes from, what can be done with it, the same thing as a command."""
    meta = log.meta
    left_out = sum(meta.get("left_out", {}).values())
    about = (
        f"{meta['origin']}: {meta['events']:,} events in {meta['slates']:,} slates of {meta['sessions']:,} sessions."
    )
    st.caption(plain(capital(about) + (f" {left_out:,} rows were left out." if left_out else "")))
    if left_out:
        with st.expander("What was left out", icon=":material/block:", key="fb_left_out"):
            cards.points([f"{rows:,} rows: {why}" for why, rows in meta["left_out"].items()])
            cards.points(meta.get("errors", []))
    with st.container(horizontal=True, vertical_alignment="center"):
        st.page_link(
            PAGES / "train.py",
            label="Fine-tune a model on it",
            icon=":material/model_training:",
            query_params={"data": meta["dataset"], "trn_recipe": "policy-finetune"},
        )
        st.button("Remove this log", key="fb_log_remove", icon=":material/delete:", on_click=remove, args=(log.name,))
    with st.expander("The same as a command", icon=":material/terminal:", key="fb_same"):
        cards.commands(same)


def command(name: str, policy: str, against: str, temperature: float, epsilon: float, assume: bool = False) -> str:
    usual = PolicyConfig()
    words = ["crossrec", "feedback", "ope", name, "--policy", policy]
    words += ["--against", against] if against != LOGGED else []
    words += ["--temperature", f"{temperature:g}"] if temperature != usual.temperature else []
    words += ["--epsilon", f"{epsilon:g}"] if epsilon != usual.epsilon else []
    return " ".join([*words, *(["--assume-uniform"] if assume else [])])


def opened(name: str) -> StoredLog:
    return _opened(name, _written(name))


def _written(name: str) -> int:
    file = paths.logs() / name / "log.json"
    return file.stat().st_mtime_ns if file.exists() else 0


@st.cache_resource(max_entries=4, show_spinner="Reading the log")
def _opened(name: str, version: int) -> StoredLog:
    return open_log(name)


def judged(
    name: str, policy: str, against: str, temperature: float, epsilon: float, clip: float, assume: bool
) -> Judged:
    versions = (_written(name), models.version(policy), against == LOGGED or models.version(against))
    return _judged(name, policy, against, temperature, epsilon, clip, assume, versions)


@st.cache_resource(max_entries=32, show_spinner="Going through the log")
def _judged(
    name: str,
    policy: str,
    against: str,
    temperature: float,
    epsilon: float,
    clip: float,
    assume: bool,
    versions: tuple[int, ...],
) -> Judged:
    config = PolicyConfig(temperature=temperature, epsilon=epsilon)
    other = None if against == LOGGED else models.opened(against)
    return judge_run(opened(name), models.opened(policy), other, config, clip, assume_uniform=assume)


def remove(name: str) -> None:
    try:
        remove_log(name)
        st.session_state["fb_log_said"] = f"{name} was removed."
    except CrossrecError as error:
        st.session_state["fb_log_said"] = str(error)


# --- a new log -------------------------------------------------------------------------------------------------------


def new_log(dataset: str, chosen: Chosen) -> None:
    """Three ways to a log: what was played here, a file, simulated people."""
    ways = ["What was played here", "A file", "Simulated people"]
    way = st.segmented_control("Where from", ways, default=ways[0], required=True, key="fb_log_way") or ways[0]
    with as_sentence():
        if way == ways[0]:
            played(dataset)
        elif way == ways[1]:
            uploaded(dataset, chosen)
        else:
            simulated(dataset, chosen)


def keep(name: str, made: Any) -> None:
    """Makes a log, and shows it."""
    with as_sentence():
        log = made(name)
        st.session_state["fb_log_new"] = log.name
        st.session_state["fb_log_said"] = f"{log.name} is ready: {log.meta['events']:,} events."
        st.rerun()


def named(usual: str, key: str) -> str:
    taken = set(list_logs())
    name = next(one for one in (usual, *(f"{usual}-{n}" for n in range(2, 1000))) if one not in taken)
    return st.text_input("Name of the log", name, key=f"{key}_{name}", max_chars=80, width=300).strip() or name


def played(dataset: str) -> None:
    st.caption("Every slate that was answered on the first tab, by anybody in this browser or another.")
    name = named(f"{dataset}-played-{datetime.now():%m%d}", "fb_played")
    if st.button("Take what was played", key="fb_take", icon=":material/cycle:", type="primary"):
        keep(name, lambda name: import_played(name, FeedbackLog(), state.pair(dataset)))


def simulated(dataset: str, chosen: Chosen) -> None:
    pair = state.pair(dataset)
    if not play_who.has_truth(pair):
        st.caption("People can be simulated where their true taste is known: in a demo dataset.")
        return
    st.caption(
        plain(
            f"{PEOPLE} people of the demo meet {SLATES} slates each, drawn by the policy of the first tab "
            f"({chosen.title}, temperature {chosen.config.temperature:g}, floor {chosen.config.epsilon:g}); it does "
            "not learn meanwhile."
        )
    )
    clicks = st.segmented_control(
        "They click",
        CLICKS,
        default=CLICKS[0],
        required=True,
        format_func={"taste": "by their taste", "random": "at random"}.__getitem__,
        key="fb_sim_clicks",
    )
    name = named(f"{dataset}-simulated" + ("-random" if clicks == "random" else ""), "fb_sim")
    if st.button("Simulate", key="fb_simulate", icon=":material/smart_toy:", type="primary"):
        people = np.flatnonzero(pair.overlap)
        users = np.random.default_rng(chosen.seed).permutation(people)[:PEOPLE]
        build = play_who.starts(chosen.run).builds(chosen.config)["frozen"]
        about = f"softmax over {chosen.run}"
        with st.spinner("Showing them slates"):
            keep(
                name,
                lambda name: simulated_log(
                    name, pair, play_who.truth(dataset), build, users, SLATES, chosen.seed, about, clicks or CLICKS[0]
                ),
            )


def uploaded(dataset: str, chosen: Chosen) -> None:
    """A file of one's own: its columns are mapped, and what cannot be read is told by row."""
    st.caption(
        "CSV, JSON lines or Parquet; a row an item that was shown: a session or user, the item's id in this dataset, "
        "and an action or a reward. With the propensity (the probability with which it was shown), policies can be "
        "judged; without, the page says what would have to be assumed."
    )
    given = st.file_uploader(
        "File of events", ENDINGS, key="fb_file", max_upload_size=min(MOST_UPLOAD, MAX_BYTES >> 20)
    )
    stored = st.session_state.get("fb_stored")
    if stored and (given is None or stored[0] != given.file_id or not stored[1].exists()):
        incoming.remove_upload(stored[1])
        st.session_state.pop("fb_stored")
        stored = None
    if given is None:
        return
    if stored is None:
        stored = (given.file_id, incoming.store_upload(given, given.name, incoming.LOG))
        st.session_state["fb_stored"] = stored
    path = stored[1]
    columns, guess = look(path)
    st.markdown("**Which column is what**")
    roles: dict[str, str] = {}
    with st.grid(5, min_column_width=140, gap="small"):
        for role, label in ROLES.items():
            options = [NONE, *columns]
            usual = options.index(guess[role]) if guess.get(role) in columns else 0
            picked = st.selectbox(label, options, usual, key=f"fb_role_{given.file_id}_{role}")
            if picked != NONE:
                roles[role] = picked
    rewards = ", ".join(f"{play_who.words(action)} {value:g}" for action, value in chosen.rewards)
    st.caption(plain(f"Rewards, where the file has none: {rewards}. They are changed under Constants, above."))
    name = named(incoming.shown_name(given.name).split(".")[0] or "uploaded", "fb_up")
    if st.button("Make it ready", key="fb_import", icon=":material/upload:", type="primary"):
        keep(name, lambda name: import_file(name, path, state.pair(dataset), roles, dict(chosen.rewards)))
