"""Playing: a slate of cards, one press an answer, and what the policy made of it."""

import tempfile
from functools import partial
from pathlib import Path

import streamlit as st

from app.ui import cards, play_who, state
from app.ui.errors import plain
from app.ui.play_who import Chosen
from crossrec.errors import CrossrecError
from crossrec.feedback.log import FeedbackLog
from crossrec.feedback.session import SKIP, Session
from crossrec.report import loop
from crossrec.runs.catalog import Item, shortened

SEVERAL = 10
"""Slates that a simulated person answers at a time."""
FAVOURITES = 8
"""Items of the true taste that are shown."""
LONGEST = 60
"""Letters of a title on a card."""


# --- what the buttons do ---------------------------------------------------------------------------------------------


def press(number: int, position: int | None) -> None:
    """Takes a press on a card, or on skip (None), of the slate that was seen."""
    with_session(lambda one: one.react(position, st.session_state.get("fb_action") or "click", number))


def let(number: int, slates: int) -> None:
    with_session(lambda one: one.let(slates) if one.number == number else None)


def undo(turns: int) -> None:
    with_session(lambda one: one.undo() if len(one.turns) == turns else None)


def with_session(act) -> None:  # type: ignore[no-untyped-def]
    """Does something to the session of this browser; what fails is told when the page is drawn."""
    if kept := st.session_state.get("fb_session"):
        try:
            act(kept[1])
        except CrossrecError as error:
            st.session_state["fb_failed"] = str(error)


# --- cards -----------------------------------------------------------------------------------------------------------


def tab(chosen: Chosen, session: Session) -> None:
    """All of the tab."""
    if failed := st.session_state.pop("fb_failed", None):
        st.warning(plain(failed), icon=":material/info:")
    shelf = play_who.starts(chosen.run).opened.shelf
    slate(session, {item.item: item for item in shelf.items(session.slate.items)})
    controls(chosen, session)
    if not session.turns:
        st.caption(
            "Keys: the number of a card, S to skip them all, U to undo. What is not pressed counts as skipped. Every "
            "slate and press is kept in the feedback log of this machine."
        )
    else:
        moved(chosen, session)
    if chosen.known:
        favourites(chosen, session)


def slate(session: Session, items: dict[int, Item]) -> None:
    """The cards; their keys hold the slate's number, so that a late press on an earlier slate finds no button."""
    number, chosen = session.number, session.slate
    with st.grid(len(chosen.items), min_column_width=150, gap="small"):
        for place, (at, item, propensity) in enumerate(
            zip(chosen.at, chosen.items, chosen.propensities, strict=True), 1
        ):
            one = items[int(item)]
            with st.container(border=True, height="stretch", vertical_alignment="distribute", gap="xsmall"):
                badge = f"  \n:gray-badge[{plain(shortened(one.category, 22))}]" if one.category else ""
                upper = st.container(gap="xsmall")
                upper.markdown(f"**{plain(shortened(one.name, LONGEST))}**{badge}")
                about = ", ".join(str(part) for part in (one.creator, one.year) if part)
                now, before = session.policy.probabilities[at], session.start_probabilities[at]
                upper.caption(
                    (f"{plain(shortened(about, 40))}  \n" if about else "")
                    + plain(f"{loop.share(now)} now, {loop.share(before)} at the start"),
                    help=plain(
                        "Probability of being drawn first. At its place, given what stands before it, the item was "
                        f"drawn with {loop.share(propensity)}: that is the propensity in the log."
                    ),
                )
                st.button(
                    play_who.words(st.session_state.get("fb_action") or "click"),
                    key=f"fb_card_{number}_{place}",
                    shortcut=str(place),
                    type="primary",
                    width="stretch",
                    on_click=press,
                    args=(number, place - 1),
                )


def controls(chosen: Chosen, session: Session) -> None:
    number, turns = session.number, len(session.turns)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        st.button(
            "Skip all",
            key=f"fb_skip_{number}",
            icon=":material/skip_next:",
            shortcut="S",
            on_click=press,
            args=(number, None),
        )
        st.button(
            "Undo",
            key=f"fb_undo_{number}",
            icon=":material/undo:",
            shortcut="U",
            on_click=undo,
            args=(turns,),
            disabled=not turns,
        )
        st.button("Start again", key="fb_again", icon=":material/restart_alt:", on_click=play_who.again)
        if chosen.known:
            st.button(
                "Let them answer",
                key=f"fb_let_{number}",
                icon=":material/smart_toy:",
                shortcut="A",
                on_click=let,
                args=(number, 1),
                help="The simulated person looks at the slate and clicks by their true taste, which the policy does "
                "not see.",
            )
            st.button(
                f"{SEVERAL} slates",
                key=f"fb_several_{number}",
                icon=":material/fast_forward:",
                shortcut="T",
                on_click=let,
                args=(number, SEVERAL),
                help=f"They answer {SEVERAL} slates, one after the other.",
            )
        actions = [action for action, _ in chosen.rewards if action != SKIP]
        st.selectbox(
            "A press means",
            actions,
            key="fb_action",
            format_func=lambda action: f"{play_who.words(action)}, {session.rewards[action]:+g}",
            persist_state="session",
            width=190,
            help="The reaction that a press on a card stands for, and its reward.",
        )


def moved(chosen: Chosen, session: Session) -> None:
    """What the last press did, and how it went so far."""
    turn, frame = session.turns[-1], loop.history(session.turns)
    shelf = play_who.starts(chosen.run).opened.shelf
    names = {item.item: item.name for item in shelf.items(session.policy.items)}
    moves = loop.moves(turn.step, turn.actions, lambda item: shortened(names[item], 34), session.policy.items)
    left, right = st.columns(2, gap="large")
    with left:
        note = "Bars: now; ticks: before the last press. The slate's items first, then others that moved most."
        cards.chart(loop.move_sentence(moves), partial(loop.bars, moves, chosen.recipe), "fb_bars", note)
    with right:
        note = f"Dots: one slate; lines: mean of the last {loop.LATELY}."
        note += " Regret: what the best possible slate would have earned on top, by true taste." if chosen.known else ""
        cards.chart(loop.history_sentence(frame), partial(loop.curves, frame, chosen.recipe), "fb_curves", note)
    cards.numbers(loop_numbers(session))
    st.download_button(
        "Download this session",
        lambda: _as_file(chosen.dataset, session.name),
        file_name=f"{chosen.dataset}-session.csv",
        mime="text/csv",
        key="fb_download",
        icon=":material/download:",
        on_click="ignore",
        help="Every slate with the probabilities with which its items were shown, and what came back: a log that "
        "the last tab reads, and any other tool.",
    )


def _as_file(dataset: str, session: str) -> bytes:
    names = {dataset: ["", *state.pair(dataset).items("target").sort_values("item")["item_id"]]}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "session.csv"
        FeedbackLog().export(file, session, None, names)
        return file.read_bytes()


def loop_numbers(session: Session) -> list[cards.Number]:
    turns, policy = session.turns, session.policy
    rewards = sum(turn.reward for turn in turns)
    numbers = [
        cards.Number("Slates", f"{len(turns):,}", "Answered in this session."),
        cards.Number("Reward a slate", f"{rewards / len(turns):.2f}", "Mean over the session."),
        cards.Number(
            "Open-mindedness",
            f"{policy.perplexity:.0f} items",
            "Exponential of the policy's entropy: drawing among so many items with equal chance would be as uncertain. "
            "It falls as the policy makes up its mind.",
        ),
        cards.Number(
            "Away from the start",
            f"{policy.kl:.2f} nats",
            "Divergence KL(m || m_start) of the policy from what it began with; 0 is the same.",
        ),
    ]
    return numbers


def favourites(chosen: Chosen, session: Session) -> None:
    """The true taste of a person of the demo: what the policy does not see."""
    with st.expander("What this person truly likes (the policy does not see it)", icon=":material/visibility:"):
        assert session.visitor is not None
        people, user = session.visitor.people, session.visitor.user
        shelf = play_who.starts(chosen.run).opened.shelf
        order = sorted(session.policy.items.tolist(), key=lambda item: -people.log_odds[user, item])[:FAVOURITES]
        now = dict(zip(session.policy.items.tolist(), session.policy.probabilities.tolist(), strict=True))
        start = dict(zip(session.policy.items.tolist(), session.start_probabilities.tolist(), strict=True))
        st.dataframe(
            [
                {
                    "Item": item.name,
                    "Theme": item.category,
                    "They click": loop.clicks(people, user, item.item),
                    "At the start": start[item.item],
                    "Now": now[item.item],
                }
                for item in shelf.items(order)
            ],
            hide_index=True,
            width="stretch",
            key="fb_favourites",
            alt="The candidates that this person would most probably click, and the policy's probabilities",
            column_config={
                "Item": st.column_config.TextColumn(pinned=True, width="medium"),
                "They click": st.column_config.NumberColumn(
                    format="percent", help="Probability of a click when they look at it and are not tired of it."
                ),
                "At the start": st.column_config.NumberColumn(format="%.4f", help="The policy's probability then,"),
                "Now": st.column_config.NumberColumn(format="%.4f", help="and now."),
            },
        )
