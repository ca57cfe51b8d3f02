"""Is it transfer? Controls, shots, how far people move, and why sampled numbers look so high."""

import shlex
from collections.abc import Sequence
from functools import partial
from typing import Any

import streamlit as st

from app.ui import cards, state
from app.ui.errors import plain, say
from crossrec.errors import CrossrecError
from crossrec.evaluation.protocol import SAMPLED
from crossrec.report import figures as drawn
from crossrec.report import findings, frames, proof_charts
from crossrec.report.figures import Figure
from crossrec.report.words import for_sheets, listed
from crossrec.runs.coldstart import ColdResult
from crossrec.runs.compare import Result
from crossrec.runs.execute import ask_controls
from crossrec.runs.folder import Run, open_run

LARGE = 50_000
"""Items of a catalogue of ordinary size."""
Found = Result | ColdResult


def figures(found: Found, chosen: Sequence[Run]) -> dict[str, list[Figure | None]]:
    """The figures of a comparison that take long to work out; made once for what is on disk."""
    return _figures(type(found).__name__, tuple(run.name for run in chosen), state.asked(chosen), found)


@st.cache_data(max_entries=32, show_spinner=False)
def _figures(
    what: str, names: tuple[str, ...], made_of: tuple[object, ...], _found: Found
) -> dict[str, list[Figure | None]]:
    return {
        "benefit": list(drawn.benefit(_found)),
        "control": [drawn.control(_found)],
        "moved": [drawn.shots(_found), drawn.moves(_found)],
        "seeds": [drawn.seeds(_found)],
        "way": [drawn.way(_found)],
    }


def transfer(found: Found, chosen: Sequence[Run]) -> None:
    """The controls: what is left with somebody else's history, with its order shuffled, without any."""
    if found.insight is None:
        return
    st.header("Is it transfer?", anchor=False)
    ask(found.insight.missing)
    (figure,) = figures(found, chosen)["control"]
    if figure is None:
        if not found.insight.missing:
            st.caption("None of the recommenders reads anything of the source, so there is nothing to take away.")
        return
    left, right = st.columns([3, 2], gap="large")
    with left:
        cards.figure(figure)
    with right:
        baseline = frames.title(found, found.insight.baseline)
        source = frames.domains(found.dataset)[0]
        said: dict[bool, list[str]] = {True: [], False: []}  # of the challenger, and of the others
        for row in found.insight.controls:
            said[row.run == found.insight.challenger].append(findings.control_sentence(row, baseline, source))
        cards.points(said[True])
        if said[False]:
            with st.expander("The other recommenders", icon=":material/format_list_bulleted:"):
                cards.points(said[False])


def ask(missing: Sequence[str]) -> None:
    """Says of which runs the controls are not known, and asks them on demand."""
    if not missing:
        return
    many = len(missing) > 1
    st.info(
        plain(
            f"The controls {'of' if many else 'of the run'} {listed(missing)} are not known: "
            f"{'they were' if many else 'it was'} trained before there were any. Asking takes some seconds a run and "
            "trains nothing."
        ),
        icon=":material/help:",
    )
    with st.container(horizontal=True, vertical_alignment="center"):
        pressed = st.button("Ask the controls", key="cmp_ask", icon=":material/science:")
        st.caption(f"Or `crossrec compare {shlex.join(missing)}`" if many else "`crossrec compare` asks them, too.")
    if pressed:
        try:
            for name in missing:
                with st.spinner(plain(f"Asking the controls of {name}")):
                    ask_controls(open_run(name))
        except CrossrecError as error:
            say(error)
        else:
            st.rerun()


def worth(found: Found, chosen: Sequence[Run]) -> None:
    """The curve over revealed events, and how far the hidden item moves person by person."""
    there = [one for one in figures(found, chosen)["moved"] if one is not None]
    headings = {"shots": "How much is it worth?", "moves": "How far do people move?"}
    for place, one in zip(st.columns(2, gap="large"), there, strict=False):
        with place:
            st.header(headings[one.key], anchor=False)
            cards.figure(one)


@st.fragment
def sampled(items: int, open_: bool = False) -> None:
    """A rank that can be chosen, and what the sampled protocol makes of it."""
    with st.expander(
        "Why do sampled numbers look so high?", icon=":material/casino:", key="cmp_sampled", expanded=open_
    ):
        st.markdown(
            f"The sampled protocol asks whether the hidden item stands before most of {SAMPLED} items that were drawn "
            "at random. In a large catalogue hardly any of the items that rank above it is drawn, so it wins nearly "
            "always, however poor its true rank."
        )
        left, right = st.columns([2, 3], gap="large")
        with left:
            sizes = sorted({max(items, SAMPLED + 1), LARGE})
            size = st.segmented_control(
                "Items in the catalogue",
                sizes,
                default=sizes[-1],
                format_func=lambda n: f"{n:,}" + (", as here" if n == items else ""),
                required=True,
                key="cmp_items",
            )
            ranks = [n * 10**power for power in range(6) for n in (1, 2, 5) if n * 10**power <= size]
            rank = st.select_slider(
                "True rank of the hidden item",
                ranks,
                value=1000 if 1000 in ranks else ranks[len(ranks) // 2],
                format_func=lambda n: f"{n:,}",
                key=f"cmp_rank_{size}",
            )
        with right:
            said = findings.sample_sentence(rank, size)
            note = (
                f"Solid: the chance of a hit among 1 + {SAMPLED}, by the hypergeometric distribution. Dashed: by the "
            )
            cards.chart(said, partial(proof_charts.sample, rank, size), "cmp_chance", f"{note}full ranking.")


def single(heading: str, found: Found, chosen: Sequence[Run], which: str) -> None:
    """A section of one figure; nothing where there is none."""
    (figure,) = figures(found, chosen)[which]
    if figure is not None:
        st.header(heading, anchor=False)
        cards.figure(figure)


def document(found: Found) -> bytes:
    """The comparison as a page that stands alone."""
    from crossrec.report.html import page  # it loads what draws pictures

    return page(found).encode()


def downloads(found: Found, name: str) -> None:
    """The table behind every number, and the report."""
    kind: dict[str, Any] = {"icon": ":material/download:", "on_click": "ignore"}
    with st.container(horizontal=True):
        st.download_button(
            "Download the results per person",
            lambda: for_sheets(frames.per_user(found)).to_csv(index=False).encode(),
            file_name=f"{name}-per-user.csv",
            mime="text/csv",
            key="cmp_download",
            **kind,
        )
        st.download_button(
            "Download the report",
            lambda: document(found),
            file_name=f"{name}.html",
            mime="text/html",
            key="cmp_report",
            help="One file with the verdict, the charts and the numbers, that opens anywhere. Nobody is named in it.",
            **kind,
        )
