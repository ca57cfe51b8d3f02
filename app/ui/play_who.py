"""Who plays and with which model: somebody of the data, or the one before the screen; and the policy's constants."""

from dataclasses import dataclass
from typing import Any

import streamlit as st

from app.ui import models, people, person_form, state
from app.ui.errors import plain
from crossrec.data.folder import load_meta
from crossrec.data.pair import DomainPair
from crossrec.errors import CrossrecError
from crossrec.feedback.demo import Starts
from crossrec.feedback.policy import PolicyConfig
from crossrec.feedback.rewards import DEFAULT_REWARDS, RewardTable
from crossrec.feedback.session import SKIP, About, Session
from crossrec.feedback.simulator import SimulatedUsers
from crossrec.recommend.person import Person
from crossrec.runs.demo import TRUTH
from crossrec.runs.folder import Run

SOMEBODY, MYSELF = "Somebody of the data", "Myself"
PREFERRED = ("transfer-sasrec", "target-sasrec", "racrec", "popularity")
"""Recipes from whose scores a session usually starts."""
MOST_K = 8
MOST_REWARD = 10.0
CONSTANTS: dict[str, tuple[str, float, float, float, str]] = {
    "temperature": ("Temperature τ", 0.05, 5.0, 0.05, "Divides the scores: low is greedy, high tries everything."),
    "epsilon": ("Exploration floor ε", 0.0, 0.9, 0.05, "Share of pure chance: nothing is ever out of reach."),
    "lr": ("Learning rate η", 0.0, 20.0, 0.5, "How far one update goes; 0 learns nothing."),
    "momentum": ("Momentum μ", 0.0, 0.99, 0.01, "How slowly the expected reward follows what comes."),
    "entropy": ("Entropy bonus α", 0.0, 0.5, 0.01, "What staying undecided is worth."),
    "kl": ("Pull to the start β", 0.0, 1.0, 0.01, "The price of leaving what the recommender knew."),
}
"""Label, least, most, step and meaning of what can be set; on every slider of the page."""


@dataclass(frozen=True)
class Chosen:
    """Who plays what."""

    dataset: str
    run: str
    title: str
    recipe: str
    person: Person
    known: bool
    """Whether the person's true taste is known."""
    config: PolicyConfig
    rewards: tuple[tuple[str, float], ...]
    seed: int

    @property
    def who(self) -> str:
        return self.person.user_id or "you"


# --- controls --------------------------------------------------------------------------------------------------------


def choose_model(finished: list[Run]) -> str:
    """The run whose scores the policy starts from."""
    titles = models.titles(finished)
    if st.session_state.get("fb_run", next(iter(titles))) not in titles:
        st.session_state.pop("fb_run")
    return st.selectbox(
        "Starts from",
        list(titles),
        index=list(titles).index(usual(finished)),
        format_func=titles.__getitem__,
        key="fb_run",
        bind="query-params",
        persist_state="session",
        width=240,
        help="The finished run whose scores the policy starts from. What you press teaches a small head above them; "
        "the run itself stays as it is.",
    )


def usual(finished: list[Run]) -> str:
    recipes = {run.config()["recipe"]: run.name for run in reversed(finished)}
    return next((recipes[recipe] for recipe in PREFERRED if recipe in recipes), finished[0].name)


def choose_way() -> str:
    return (
        st.segmented_control(
            "Who plays",
            [SOMEBODY, MYSELF],
            default=SOMEBODY,
            required=True,
            key="fb_way",
            persist_state="session",
        )
        or SOMEBODY
    )


def choose_user(dataset: str) -> str | None:
    known = people.example_people(dataset)
    options = list(known)
    kept = st.session_state.get("fb_user")
    if kept and kept not in options:
        options.append(kept)
    return st.selectbox(
        "User id",
        options,
        key="fb_user",
        bind="query-params",
        persist_state="session",
        accept_new_options=True,
        placeholder="Choose one, or type any id",
        width=220,
        help="Some worth a look; any id of the dataset can be typed.",
    )


def myself(dataset: str, run: str) -> Person:
    """What is told of the one before the screen: the same that stands on the recommend page."""
    meta = load_meta(dataset)
    source = meta["domains"]["source"]["name"] or "the other domain"
    kept = st.session_state.get("fb_session")
    began = kept is not None and kept[1].about.user is None and bool(kept[1].turns)
    with st.expander("What you like already", icon=":material/person:", expanded=not began):
        st.caption("The policy starts from what the model makes of this; with nothing here, from what it does for all.")
        written, picked_tab = st.tabs(["Reviews", "Picked items"])
        with written:
            person_form.write_reviews(meta, source)
        with picked_tab:
            picked = person_form.pick_items(run)
    return Person(None, people.reviews()[0], **picked)


def constants() -> tuple[PolicyConfig, tuple[tuple[str, float], ...], int]:
    """The policy's constants and the table of rewards, behind a button."""
    usual_config = PolicyConfig()
    with st.popover("Constants", icon=":material/tune:", key="fb_constants", width="content"):
        st.caption("Another constant begins another session; the log keeps the one before.")
        values: dict[str, Any] = {
            "k": st.slider("Items of a slate K", 1, MOST_K, usual_config.k, key="fb_k", persist_state="session")
        }
        for name in CONSTANTS:
            values[name] = slider(name, getattr(usual_config, name), "fb")
        st.markdown("**Rewards**")
        rewards = []
        with st.grid(2, min_column_width=110, gap="small"):
            for action, usual_reward in DEFAULT_REWARDS.items():
                reward = st.number_input(
                    words(action),
                    -MOST_REWARD,
                    MOST_REWARD,
                    usual_reward,
                    step=0.1,
                    format="%g",
                    key=f"fb_reward_{action}",
                    persist_state="session",
                )
                rewards.append((action, float(reward)))
        seed = st.number_input("Seed", 0, 2**31 - 1, 0, key="fb_seed", persist_state="session")
    return PolicyConfig(**values), tuple(rewards), int(seed)


def slider(name: str, value: float, prefix: str) -> float:
    label, low, high, step, meaning = CONSTANTS[name]
    return float(
        st.slider(
            label,
            low,
            high,
            float(value),
            step,
            format="%g",
            help=meaning,
            key=f"{prefix}_{name}",
            persist_state="session",
        )
    )


def words(action: str) -> str:
    return action.replace("_", " ").capitalize()


# --- the session -----------------------------------------------------------------------------------------------------


def session(chosen: Chosen) -> Session:
    """The session of this browser, or a new one where somebody else plays or a constant was changed.

    Raises:
        CrossrecError: the person is not known, or the log cannot be written.
    """
    signature = (chosen, st.session_state.get("fb_round", 0))
    kept = st.session_state.get("fb_session")
    if kept is None or kept[0] != signature:
        begun = _begin(chosen)
        if kept is not None and kept[1].turns:
            n = len(kept[1].turns)
            st.toast(f"A new session begins; the {n} slate{'s' if n > 1 else ''} before stay in the log.")
        st.session_state["fb_session"] = (signature, begun)
    return st.session_state["fb_session"][1]


def _begin(chosen: Chosen) -> Session:
    begins = starts(chosen.run)
    scores = begins.scores_for(chosen.person)
    visitor = None
    if chosen.known and chosen.person.user_id is not None:
        visitor = truth(chosen.dataset).visitor(state.pair(chosen.dataset).user_index(chosen.person.user_id))
    about = About(chosen.dataset, chosen.run, chosen.person.user_id)
    rewards = RewardTable(dict(chosen.rewards))
    if SKIP not in rewards.values:
        raise CrossrecError("A skip has no reward: give it one.")
    return Session(begins, scores, about, chosen.config, rewards, visitor=visitor, seed=chosen.seed)


def starts(run: str) -> Starts:
    return _starts(run, models.version(run))


@st.cache_resource(max_entries=4, show_spinner="Making ready")
def _starts(run: str, version: int) -> Starts:
    return Starts(models.opened(run))


def has_truth(pair: DomainPair) -> bool:
    return (pair.folder / TRUTH).exists()


def truth(dataset: str) -> SimulatedUsers:
    return _truth(dataset, state.version(dataset))


@st.cache_resource(max_entries=2, show_spinner="Reading the truth")
def _truth(dataset: str, version: state.Key) -> SimulatedUsers:
    return SimulatedUsers.of(state.pair(dataset))


def again() -> None:
    """Begins anew with the same person and constants."""
    st.session_state["fb_round"] = st.session_state.get("fb_round", 0) + 1


def told(chosen: Chosen) -> str:
    """What the person is, in a few words."""
    if chosen.person.user_id is None:
        return "yourself"
    return plain(f"{chosen.person.user_id}{', whose true taste is known' if chosen.known else ''}")
