"""Step through: one update taken apart, each number with its formula, and a slider for each constant."""

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import streamlit as st

from app.ui import cards, play_who
from app.ui.errors import plain
from app.ui.play_who import Chosen
from crossrec.feedback.policy import PolicyConfig, Step
from crossrec.feedback.rewards import DEFAULT_REWARDS
from crossrec.feedback.session import SKIP, Session, textbook
from crossrec.report import loop
from crossrec.runs.catalog import shortened

BOOK = "The textbook's two items"
BOOK_CONFIG = PolicyConfig(temperature=1.0, epsilon=0.0, kl=0.0, lr=1.0, k=1)
BOOK_NAMES = {1: "The item that was shown", 2: "The other item"}


def tab(chosen: Chosen, session: Session) -> None:
    """All of the tab."""
    turns = len(session.turns)
    options = [*range(turns, 0, -1), 0]
    if st.session_state.get("fb_step_of", options[0]) not in options:
        st.session_state.pop("fb_step_of")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        of = st.selectbox(
            "The update of",
            options,
            format_func=lambda n: f"slate {n}" if n else BOOK,
            key="fb_step_of",
            width=240,
            help="Every slate that was answered in this session, the last one first; or the smallest example.",
        )
    if not turns:
        st.caption("Answer a slate on the first tab, and its update can be taken apart here. Until then, an example.")
    if of:
        played(chosen, session, of - 1)
    else:
        book()


def played(chosen: Chosen, session: Session, turn: int) -> None:
    """An update of the session, as it was or with other constants."""
    real, config = session.turns[turn], session.policy.config
    shelf = play_who.starts(chosen.run).opened.shelf
    names = {item.item: shortened(item.name, 34) for item in shelf.items(session.policy.items)}
    changed, given = constants(config, real.step.rewards, f"fb_step_{session.name[:8]}_{turn}", real.actions)
    step, state = session.replay(turn, changed, given)
    same = changed == config and (given == real.step.rewards).all()
    position = st.segmented_control(
        "The item that is followed",
        range(len(step.slate.at)),
        default=int(np.argmax(given)),
        format_func=lambda place: f"{place + 1}. {names[int(step.slate.items[place])]}",
        key=f"fb_follow_{session.name[:8]}_{turn}",
        required=True,
    )
    place = position if position is not None else 0
    scores = session.policy.scores
    show(step, changed, state, float(scores[step.slate.at[place]]), place, real.actions, names, session.policy.items)
    if not same:
        st.caption(
            ":material/info: With the constants above, not those of the session: what the update would have been. The "
            "session itself stays as it is."
        )


def book() -> None:
    """Two items with equal scores; one is shown."""
    config, rewards = constants(BOOK_CONFIG, np.array([DEFAULT_REWARDS["click"]]), "fb_book", ("click",))
    policy = textbook(config)
    state = policy.state()
    step = policy.step(policy.slate(np.array([0])), rewards)
    show(step, policy.config, state, 0.0, 0, ("click",), BOOK_NAMES, policy.items)


def constants(
    config: PolicyConfig, rewards: Any, key: str, actions: tuple[str, ...]
) -> tuple[PolicyConfig, "np.ndarray[Any, np.dtype[np.float64]]"]:
    """A slider for each constant, and one for the reward of what was pressed."""
    acted = next((place for place, action in enumerate(actions) if action != SKIP), 0)
    values = {}
    folder = st.expander("Constants of this update", icon=":material/tune:", expanded=True, key="fb_step_constants")
    with folder, st.grid(4, min_column_width=170, gap="medium"):
        reward = st.slider(
            "Reward of the press",
            -1.0,
            1.0,
            float(np.clip(rewards[acted], -1, 1)),
            0.05,
            format="%g",
            key=f"{key}_reward",
            help="Of the item that was pressed, or of the first one where all were skipped.",
        )
        for name, (label, low, high, step, meaning) in play_who.CONSTANTS.items():
            usual = float(getattr(config, name))
            given_key = f"{key}_{name}"
            values[name] = float(st.slider(label, low, high, usual, step, format="%g", help=meaning, key=given_key))
    given = np.array(rewards, float)
    given[acted] = reward
    return replace(config, **values), given


def show(
    step: Step,
    config: PolicyConfig,
    state: dict[str, Any],
    score: float,
    position: int,
    actions: tuple[str, ...],
    names: dict[int, str],
    items: Any,
) -> None:
    """The parts of an update one below the other, and what it came to."""
    moves = loop.moves(step, actions, names.__getitem__, items)
    parts = loop.apart(step, config, state, score, position)
    with st.grid(3, min_column_width=290, gap="small"):
        for number, part in enumerate(parts, 1):
            with st.container(border=True, height="stretch", vertical_alignment="distribute", gap="xsmall"):
                st.markdown(f"**{number}. {plain(part.title)}**  \n{plain(part.words)}")
                with st.container(gap=None):
                    st.latex(part.formula)
                    st.latex(part.numbers)
    note = "Bars: after the update; ticks: before it. It is computed by `step` in crossrec/feedback/policy.py."
    cards.chart(loop.move_sentence(moves), partial(loop.bars, moves, "unified"), "fb_step_bars", note)
    table = loop.slate_table(step, actions, names.__getitem__, items)
    st.markdown("**The whole slate in numbers**")
    number = st.column_config.NumberColumn(format="%.4f", width="small")
    st.dataframe(
        table,
        hide_index=True,
        width="stretch",
        key="fb_step_table",
        alt="Every number of the update for each position of the slate",
        column_config={
            "Position": st.column_config.NumberColumn(width=70, pinned=True),
            "Item": st.column_config.TextColumn(width="medium"),
            "Action": st.column_config.TextColumn(width=80),
            **{name: number for name in table.columns[3:]},
        },
    )
