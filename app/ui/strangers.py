"""The comparison for people whom the target domain does not know: numbers, frames and words, and what a leak does."""

from collections.abc import Sequence
from functools import partial

import pandas as pd
import streamlit as st

from app.ui import cards, state
from app.ui.cards import Number
from app.ui.errors import plain
from crossrec.evaluation.ratings import METRICS as STARS
from crossrec.report import charts, cold, figures, frames
from crossrec.report.words import for_sheets
from crossrec.runs.coldstart import ColdResult, compare_cold_runs
from crossrec.runs.folder import Run, open_run
from crossrec.runs.leaks import Leak, leak_commands, leaks

WHY = (
    "A leak: the item's vector is made of the very review whose stars are to be told, so the text gives the label "
    "away. In the first review system most items had a single review: its AUC of 0.8466 was this. Here an item's "
    "vector leaves out what the person wrote, and all that came later, unless a run asks for the leak; such a run "
    "stands apart, and is in no comparison."
)


# --- what is there ---------------------------------------------------------------------------------------------------


def result(chosen: Sequence[Run]) -> ColdResult:
    """The comparison of finished runs; made once for what is on disk."""
    return _result(tuple(run.name for run in chosen), state.asked(chosen))


@st.cache_data(max_entries=32, show_spinner="Comparing the runs, person by person")
def _result(names: tuple[str, ...], made_of: tuple[object, ...]) -> ColdResult:
    return compare_cold_runs([open_run(name) for name in names])


def found_leaks(dataset: str, kind: str, seed: int, leaky: Sequence[Run], finished: Sequence[Run]) -> list[Leak]:
    """The runs that read their answers, each with its like; counted once for what is on disk."""
    return _leaks(dataset, kind, seed, _files(finished), state.version(dataset)) if leaky else []


@st.cache_data(max_entries=32, show_spinner="Counting what the leak does")
def _leaks(dataset: str, kind: str, seed: int, runs: tuple[state.Key, ...], version: state.Key) -> list[Leak]:
    return leaks(dataset, kind, seed)


def _files(runs: Sequence[Run]) -> tuple[state.Key, ...]:
    return tuple((run.name, (run.folder / "metrics.json").stat().st_mtime_ns) for run in runs)


# --- numbers and frames ----------------------------------------------------------------------------------------------


def numbers(found: ColdResult, source: str, target: str) -> list[Number]:
    """The best learned recommender, the best simple one, the stars, and how many people they were asked about."""
    row = []
    for run, what in ((found.learned, "learned"), (found.simple, "simple")):
        mean = found.comparison.mean(run) if run else None
        if mean is None:
            continue
        gap = cold.versus(found, mean.run) if what == "learned" else None
        clear = gap is not None and (gap.value.positive or gap.value.negative)
        row.append(
            Number(
                mean.title,
                f"{mean.value.mean:.3f}",
                f"{frames.NDCG} The best {what} recommender by the validation people, who are not those tested here."
                + (" Beside it the difference to the best simple one." if gap else ""),
                f"{gap.value.mean:+.3f}" if gap else "NDCG@10",
                "to simple" if gap else None,
                "normal" if clear else "off",
                "auto" if gap else "off",
            )
        )
    told = cold.stars(found, "rmse")
    if len(told):
        best, reference = told.iloc[0], told[told["recipe"] == "biases"]
        base = float(reference["mean"].iloc[0]) if len(reference) else None
        row.append(
            Number(
                "RMSE of the stars",
                f"{best['mean']:.3f}",
                f"{cold.HELP['rmse']} Here of {best['title']}, the lowest; beside it that of mean + item + user.",
                None if base is None else f"{base:.3f}",
                "plain means",
                "off",
                "off",
            )
        )
    words = f"Their {target} history is hidden as a whole; what is known of them is their {source} history."
    row.append(Number("Strangers tested", f"{found.users:,}", words, "0", f"{target} events", "off", "off"))
    return row


# --- cards -----------------------------------------------------------------------------------------------------------


def rankings(found: ColdResult) -> None:
    st.header("How good is each recommender?", anchor=False)
    cards.figures(figures.rankings(found))


def stars_section(found: ColdResult) -> None:
    """Errors and AUCs beside the plain predictors, where the data has stars."""
    drawn = list(figures.stars(found))
    if not drawn:
        return
    st.header("Who tells how many stars they will give?", anchor=False)
    st.caption(
        "Each interval is that of one recommender alone; the words go by the paired differences, which are finer."
    )
    cards.figures(drawn)


def all_numbers(found: ColdResult, name: str) -> None:
    with st.expander("All numbers", icon=":material/table:"):
        frame = cold.table(found)
        shown = st.column_config.NumberColumn(format="%.4f")
        st.dataframe(
            frame,
            width="stretch",
            hide_index=True,
            key="cmp_cold_table",
            alt="Every metric of each recommender with its 95 % interval",
            column_config={column: shown for column in frame.columns[2:]}
            | {"Recommender": st.column_config.TextColumn(pinned=True, width="medium")},
        )
        st.caption("Each number with the ends of its 95 % interval over people; empty where it is not defined.")
        st.download_button(
            "Download the table",
            lambda: for_sheets(frame).to_csv(index=False).encode(),
            file_name=f"{name}.csv",
            mime="text/csv",
            key="cmp_cold_download",
            icon=":material/download:",
            on_click="ignore",
        )


def leak_section(shown: Sequence[Leak], dataset: str, kind: str, seed: int) -> None:
    """What reading the answers does to the numbers: from runs where there are any, else the commands."""
    if not shown:
        with st.expander("What a leak does", icon=":material/policy_alert:"):
            st.markdown(plain(WHY))
            st.markdown(
                "Two trainings show it on this data, with the first system's settings: without the leak, and with."
            )
            cards.commands("\n".join(leak_commands(dataset, kind, seed)))
        return
    st.header("What a leak does", anchor=False)
    for at in range(-1, len(shown), 2):
        for place, which in zip(st.columns(2, gap="large"), (at, at + 1), strict=True):
            with place:
                if which < 0:
                    st.markdown(plain(WHY))
                elif which < len(shown):
                    _leak(shown[which], which)


def _leak(leak: Leak, at: int) -> None:
    rows = [
        {"label": STARS[metric], "title": side.title, "recipe": recipe, "users": None}
        | {"mean": value.mean, "low": value.low, "high": value.high}
        for metric in ("auc", "auc_user")
        for side, recipe in ((leak.leaky, "leaky"), (leak.honest, "racrec"))
        if side and (value := side.values.get(metric))
    ]
    if rows:
        frame = pd.DataFrame(rows)
        drawn = partial(
            charts.dots,
            frame,
            "AUC, 0.5 is chance",
            list(frame["label"].drop_duplicates()),
            zero=False,
            mark=cold.CHANCE,
        )
        alike = f" and {leak.honest.run}: the same settings, seed and people" if leak.honest else ""
        cards.chart(leak.sentence, drawn, f"cmp_leak_{at}", f"{leak.leaky.run}{alike}.")
    if leak.honest is None:
        st.markdown("The same without the leak is one command away:")
        cards.commands(leak.command)
