"""Who benefits: differences in slices of people, an alarm where some are harmed, and the people themselves."""

from collections.abc import Sequence
from urllib.parse import urlencode

import pandas as pd
import streamlit as st

from app.ui import cards, proof, state
from app.ui.errors import capital, plain
from crossrec.data.split import open_split
from crossrec.report import findings, frames
from crossrec.runs.coldstart import ColdResult
from crossrec.runs.compare import Result
from crossrec.runs.folder import Run
from crossrec.runs.insight import Insight, who

EVERYBODY = ("all", "everybody")
MOST = 10
"""People in each of the two tables."""
Found = Result | ColdResult


def section(found: Found, chosen: Sequence[Run]) -> None:
    """Nothing where there are no two recommenders to compare."""
    if found.insight is None:
        return
    st.header("Who benefits?", anchor=False)
    labels = frames.domains(found.dataset)
    alarm(found.insight, labels)
    drawn = proof.figures(found, chosen)["benefit"]
    cards.figures(drawn[:2])
    beside, place = st.columns(2, gap="large") if len(drawn) > 2 else (None, st.container())
    if beside is not None:
        with beside:
            cards.figures(drawn[2:], columns=1)
    with place:
        numbers(found.insight)
    st.fragment(people)(found, found.insight, chosen, labels)


def numbers(insight: Insight) -> None:
    """All slices in numbers."""
    column = st.column_config
    st.markdown("**All slices in numbers**")
    frame = frames.slices(insight)
    four, sign = column.NumberColumn(format="%.4f"), column.NumberColumn(format="%+.4f")
    st.dataframe(
        frame,
        key="cmp_slices",
        hide_index=True,
        width="stretch",
        alt="Every slice with its people, means, difference and test",
        column_config={
            "By": column.TextColumn(width=110),
            "People": column.NumberColumn(format="localized", width=70),
            "Before": four,
            "After": four,
            "Difference": sign,
            "From": sign,
            "To": sign,
            "p": column.NumberColumn(
                "p after Holm", format="%.3f", help="Of a sign-flip test, corrected for the slices of its kind."
            ),
        },
    )
    st.caption("NDCG@10 before (baseline) and after, their difference and its 95 % interval.")


def alarm(insight: Insight, labels: tuple[str, str]) -> None:
    """Says who is harmed beyond chance; nothing where nobody is."""
    sentences = findings.harm_sentences(insight, *labels)
    if sentences:
        said = "Some people are harmed." if len(sentences) == 1 else f"{len(sentences)} slices of people are harmed."
        points = "\n".join(f"* {plain(one)}" for one in sentences)
        st.warning(f"**{said}** Below are those who lose the most.\n{points}", icon=":material/change_history:")


def people(found: Found, insight: Insight, chosen: Sequence[Run], labels: tuple[str, str]) -> None:
    """The people who lose and gain the most, of a slice that can be chosen."""
    hurt = sorted((one for one in insight.slices if one.hurt), key=lambda one: one.difference.value.mean)
    words = {EVERYBODY: "everybody who was tested"}
    words |= {(one.kind, one.label): f"{one.whom(*labels)}, {one.users:,}" for one in insight.slices}
    first = (hurt[0].kind, hurt[0].label) if hurt else EVERYBODY
    with st.expander(
        "The people who lose and gain the most", icon=":material/person_search:", expanded=bool(hurt), key="cmp_who"
    ):
        which = st.selectbox(
            "Of whom",
            list(words),
            index=list(words).index(first),
            format_func=lambda one: capital(words[one]),
            key="cmp_slice",
            width=460,
            help="The worst slice that is harmed comes first, where there is one.",
        )
        table = _people(found.dataset, which, insight.challenger, insight.baseline, state.asked(chosen), found, chosen)
        lose, gain = table["change"] < 0, table["change"] > 0
        lower, higher = table["rank_after"] > table["rank"], table["rank_after"] < table["rank"]
        for place, heading, rows in (
            ("harmed", "Most harmed", table[lose | (lower & ~gain)].head(MOST)),
            ("helped", "Most helped", table[gain | (higher & ~lose)].iloc[::-1].head(MOST)),
        ):
            st.markdown(f"**{heading}**")
            if rows.empty:
                st.caption("Nobody.")
            else:
                _table(rows, place, labels, found, insight)
        st.caption(
            "By the change in NDCG@10, then by how far the hidden item moves in the list. The last column opens the "
            "page of recommendations for the person, in a new tab, with both recommenders."
        )


def _table(rows: pd.DataFrame, place: str, labels: tuple[str, str], found: Found, insight: Insight) -> None:
    column = st.column_config
    before, after = (frames.title(found, run) for run in (insight.baseline, insight.challenger))
    links = [link(found.dataset, user, insight) for user in rows["user"]]
    st.dataframe(
        rows.assign(ask=links)[["user", "n_source", "n_target", "rank", "rank_after", "change", "ask"]],
        key=f"cmp_{place}",
        hide_index=True,
        width="stretch",
        height="content",
        alt=f"The people who are {place} the most, with their ranks before and after",
        column_config={
            "user": column.TextColumn("Person", pinned=True),
            "n_source": column.NumberColumn(capital(f"{labels[0]} events"), format="localized"),
            "n_target": column.NumberColumn(capital(f"{labels[1]} events"), format="localized"),
            "rank": column.NumberColumn("Rank before", format="localized", help=f"Of the hidden item, with {before}."),
            "rank_after": column.NumberColumn("Rank after", format="localized", help=f"The same, with {after}."),
            "change": column.NumberColumn("NDCG@10", format="%+.3f", help="After less before."),
            "ask": column.LinkColumn("Recommend", display_text="What would they like?"),
        },
    )


def link(dataset: str, user: str, insight: Insight) -> str:
    """The address of the page of recommendations for a person, with both recommenders."""
    asked = {"data": dataset, "rec_user": user, "rec_a": insight.challenger, "rec_b": insight.baseline}
    return f"recommend?{urlencode(asked)}"


@st.cache_data(max_entries=64, show_spinner="Looking for the people")
def _people(
    dataset: str,
    which: tuple[str, str],
    challenger: str,
    baseline: str,
    made_of: tuple[object, ...],
    _found: Found,
    _chosen: Sequence[Run],
) -> pd.DataFrame:
    """`insight.who`, only its ends."""
    split = _chosen[0].config()["split"]
    pair = state.pair(dataset)
    before, after = (next(side for side in _found.sides if side.run == run) for run in (baseline, challenger))
    assert _found.insight is not None
    table = who(_found.insight, before, after, pair, open_split(pair, split["kind"], split["seed"]), *which)
    table = table.rename(columns={"difference": "change"})
    return table if len(table) <= 2 * MOST else pd.concat([table.head(MOST), table.tail(MOST)], ignore_index=True)
