"""The comparison for people whom the target domain does not know: numbers, frames and words, and what a leak does."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

from app.ui import cards, results, state
from app.ui.cards import Number
from app.ui.errors import plain
from crossrec.evaluation.compare import HEADLINE, Row
from crossrec.evaluation.ratings import METRICS as STARS
from crossrec.evaluation.statistics import Interval
from crossrec.report import charts
from crossrec.runs.coldstart import REFERENCE_RECIPE, ColdResult, compare_cold_runs
from crossrec.runs.compare import ORACLE, RatingRow
from crossrec.runs.folder import Run, open_run
from crossrec.runs.leaks import Leak, leak_commands, leaks

HELP = {
    "rmse": "Root mean squared error in stars: large misses weigh more. Lower is better.",
    "mae": "Mean absolute error: by how many stars a prediction is off. Lower is better.",
    "auc": "Pooled: of two hidden ratings of anybody, one liked (4 stars or more) and one not, how often the liked one "
    "has the higher prediction. Higher is better, 0.5 is chance. Knowing who gives many stars helps here.",
    "auc_user": "Per user: the same within each person who has both, then the mean over people. Higher is better, 0.5 "
    "is chance. Only the order of one person's items counts; who predicts no stars is judged by the ranking scores.",
}
BEST = {
    "rmse": "{best} comes nearest to the stars",
    "mae": "{best} is off by the fewest stars",
    "auc": "{best} best tells the liked from the rest",
    "auc_user": "{best} best orders one person's items",
}
ERRORS = ("rmse", "mae")
CHANCE = 0.5
WHY = (
    "A leak: the item's vector is made of the very review whose stars are to be told, so the text gives the label "
    "away. In the first review system most items had a single review: its AUC of 0.8466 was this. Here an item's "
    "vector leaves out what the person wrote, and all that came later, unless a run asks for the leak; such a run "
    "stands apart, and is never in the comparison above."
)


# --- what is there ---------------------------------------------------------------------------------------------------


def result(chosen: Sequence[Run]) -> ColdResult:
    """The comparison of finished runs; made once for what is on disk."""
    return _result(_files(chosen), state.version(chosen[0].config()["dataset"]))


@st.cache_data(max_entries=32, show_spinner="Comparing the runs, person by person")
def _result(runs: tuple[state.Key, ...], _version: state.Key) -> ColdResult:
    return compare_cold_runs([open_run(name) for name, _ in runs])


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
        gap = _versus(found, mean.run) if what == "learned" else None
        clear = gap is not None and (gap.value.positive or gap.value.negative)
        row.append(
            Number(
                mean.title,
                f"{mean.value.mean:.3f}",
                f"{results.NDCG} The best {what} recommender by the validation people, who are not those tested here."
                + (" Beside it the difference to the best simple one." if gap else ""),
                f"{gap.value.mean:+.3f}" if gap else "NDCG@10",
                "to simple" if gap else None,
                "normal" if clear else "off",
                "auto" if gap else "off",
            )
        )
    told = stars(found, "rmse")
    if len(told):
        best, reference = told.iloc[0], told[told["recipe"] == "biases"]
        base = float(reference["mean"].iloc[0]) if len(reference) else None
        row.append(
            Number(
                "RMSE of the stars",
                f"{best['mean']:.3f}",
                f"{HELP['rmse']} Here of {best['title']}, the lowest; beside it that of mean + item + user.",
                None if base is None else f"{base:.3f}",
                "plain means",
                "off",
                "off",
            )
        )
    words = f"Their {target} history is hidden as a whole; what is known of them is their {source} history."
    row.append(Number("Strangers tested", f"{found.users:,}", words, "0", f"{target} events", "off", "off"))
    return row


def differences(found: ColdResult) -> pd.DataFrame:
    """Paired differences of NDCG@10 to the first side, best first; without the oracle."""
    known = results.recipes(found)
    rows = [found.comparison.difference(side.run) for side in found.sides[1:] if side.run != ORACLE]
    frame = results.to_frame([(row.title, row) for row in rows if row], known)
    return frame.sort_values("mean", ascending=False, kind="stable", ignore_index=True)


def difference_sentence(frame: pd.DataFrame, baseline: str) -> str:
    """Who is clearly better than the baseline."""
    better = list(frame[frame["low"] > 0]["title"])
    if not better:
        return f"None is shown to rank better than {baseline}"
    if len(better) == len(frame):
        return f"All rank better than {baseline}"
    return f"Clearly better than {baseline}: {', '.join(better)}"


def stars(found: ColdResult, metric: str) -> pd.DataFrame:
    """label, title, recipe, mean, low, high, users: who is judged by a metric of stars, the best first.

    A run that is the plain mean + item + user is shown once, under that name.
    """
    known = results.recipes(found)
    plain_values = [row.values for row in found.ratings if row.run is None]
    told = next((told for side in found.sides if (told := _rated(side.run))), {})
    users = told.get("users_auc" if metric == "auc_user" else "users")
    rows = []
    for row in found.ratings:
        value = row.values.get(metric)
        recipe = known[row.run] if row.run else "popularity" if row.differences else "biases"
        if value is None or (row.run and recipe == "biases" and row.values in plain_values):
            continue
        about = {"label": row.title, "title": row.title, "recipe": recipe, "users": users}
        rows.append(about | {"mean": value.mean, "low": value.low, "high": value.high})
    frame = pd.DataFrame(rows, columns=["label", "title", "recipe", "mean", "low", "high", "users"])
    return frame.sort_values("mean", ascending=metric in ERRORS, kind="stable", ignore_index=True)


def _rated(run: str) -> dict[str, Any]:
    """What a run stored about stars: the number of people, too."""
    return {} if run == ORACLE else open_run(run).metrics().get("ratings") or {}


def stars_sentence(found: ColdResult, metric: str) -> str:
    """Who is best, and whether that is better than mean + item + user, paired over people."""
    frame = stars(found, metric)
    best = frame.iloc[0]
    row = next(row for row in found.ratings if row.title == best["title"])
    said = f"{STARS[metric]} {best['mean']:.3f}"
    if not row.differences:
        return f"Nothing is better than {best['title'].lower()}: {said}"
    reference = next((row.title.lower() for row in found.ratings if row.run is None and not row.differences), None)
    gap = row.differences.get(metric)
    if gap is None or reference is None:
        return f"{BEST[metric].format(best=best['title'])}: {said}"
    better = gap.negative if metric in ERRORS else gap.positive
    than = f"clearly better than {reference}" if better else f"not shown to be better than {reference}"
    return f"{BEST[metric].format(best=best['title'])}: {said}, {than}"


def table(found: ColdResult) -> pd.DataFrame:
    """All numbers, a row a recommender: every metric with its 95 % interval."""
    told = {row.run: row for row in found.ratings if row.run}
    rows = []
    for side in found.sides:
        row: dict[str, object] = {"Recommender": side.title, "Run": side.run}
        for metric, name in results.NAMES.items():
            mean = found.comparison.mean(side.run, "all", metric)
            row |= _numbers(name, mean.value if mean else None)
        gap = found.comparison.difference(side.run)
        row |= _numbers(f"NDCG@10 against {found.sides[0].title}", gap.value if gap else None)
        rows.append(row | _told(told.get(side.run)))
    rows += [{"Recommender": row.title} | _told(row) for row in found.ratings if row.run is None]
    return pd.DataFrame(rows)


def _told(row: RatingRow | None) -> dict[str, object]:
    told: dict[str, object] = {}
    for metric, name in STARS.items():
        told |= _numbers(name, row.values.get(metric) if row else None)
    return told


def _numbers(name: str, value: Interval | None) -> dict[str, object]:
    ends = (value.mean, value.low, value.high) if value else (None, None, None)
    return dict(zip((name, f"{name}, from", f"{name}, to"), ends, strict=True))


def _versus(found: ColdResult, run: str) -> Row | None:
    """The difference of a run to the best simple one."""
    wanted = (run, "all", HEADLINE, "full")
    rows = found.comparison.versus
    return next((row for row in rows if (row.run, row.group, row.metric, row.protocol) == wanted), None)


# --- cards -----------------------------------------------------------------------------------------------------------


def rankings(found: ColdResult) -> None:
    st.subheader("How good is each recommender?", anchor=False)
    left, right = st.columns(2, gap="large")
    with left:
        frame = results.means(found)
        note = f"Means over the {found.users:,} strangers, with 95 % intervals; the whole catalogue is ranked."
        if ORACLE in set(frame["recipe"]):
            note += " The oracle knows each person's true taste, which no source history tells in full."
        drawn = charts.dots(frame, "NDCG@10", list(frame["label"]))
        cards.chart(results.lead_sentence(found), drawn, "cmp_cold_means", note)
    with right:
        frame, first = differences(found), found.sides[0].title
        note = f"Against {first}, paired over people. Right of the dashed line is better; an interval that crosses it "
        note += "is no evidence."
        if results.recipes(found)[found.sides[0].run] == REFERENCE_RECIPE:
            note += " The linear map is what a learned model has to beat."
        drawn = charts.dots(frame, "Difference in NDCG@10", list(frame["label"]), difference=True)
        cards.chart(difference_sentence(frame, first), drawn, "cmp_cold_gaps", note)


def stars_section(found: ColdResult) -> None:
    """Errors and AUCs beside the plain predictors, where the data has stars."""
    frames = {metric: frame for metric in STARS if len(frame := stars(found, metric))}
    if not frames:
        return
    st.subheader("Who tells how many stars they will give?", anchor=False)
    st.caption(
        "Each interval is that of one recommender alone; the words go by the paired differences, which are finer."
    )
    for pair in (("rmse", "mae"), ("auc", "auc_user")):
        for place, metric in zip(st.columns(2, gap="large"), pair, strict=True):
            if metric in frames:
                frame, chance = frames[metric], CHANCE if metric.startswith("auc") else None
                drawn = charts.dots(frame, STARS[metric], list(frame["label"]), zero=False, mark=chance)
                with place:
                    cards.chart(stars_sentence(found, metric), drawn, f"cmp_stars_{metric}", HELP[metric])


def all_numbers(found: ColdResult, name: str) -> None:
    with st.expander("All numbers", icon=":material/table:"):
        frame = table(found)
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
            lambda: frame.to_csv(index=False).encode(),
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
            st.code("\n".join(leak_commands(dataset, kind, seed)), language="bash", wrap_lines=True)
        return
    st.subheader("What a leak does", anchor=False)
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
        drawn = charts.dots(
            frame, "AUC, 0.5 is chance", list(frame["label"].drop_duplicates()), zero=False, mark=CHANCE
        )
        alike = f" and {leak.honest.run}: the same settings, seed and people" if leak.honest else ""
        cards.chart(leak.sentence, drawn, f"cmp_leak_{at}", f"{leak.leaky.run}{alike}.")
    if leak.honest is None:
        st.markdown("The same without the leak is one command away:")
        st.code(leak.command, language="bash", wrap_lines=True)
