"""Did transfer help, and whom? The verdict, paired differences, groups, and how it was measured."""

import pandas as pd
import streamlit as st

from app.ui import cards, charts, results, state
from app.ui.errors import percent, plain
from crossrec.data.folder import load_meta
from crossrec.evaluation.protocol import SAMPLED
from crossrec.runs.compare import BASELINE, TRANSFER, Result, matching_runs, unlike
from crossrec.runs.folder import Run

WARNING = (
    f"Compare with full ranking only: against {SAMPLED} random items a poor model looks good, because most of them are "
    "ones that nobody would recommend."
)


# --- cards -----------------------------------------------------------------------------------------------------------


def choose_runs(dataset: str, finished: list[Run]) -> list[Run]:
    """The baseline and the runs beside it; by default the ones that belong together."""
    known = {run.name: run for run in finished}
    spare = sorted(finished, key=lambda run: run.config()["recipe"] == TRANSFER)[:4]  # transfer is nobody's baseline
    usual = [run.name for run in matching_runs(dataset) or spare]
    with st.popover("Choose the runs", icon=":material/tune:", key="cmp_choice"):
        baseline = st.selectbox(
            "Baseline",
            list(known),
            index=list(known).index(usual[0]),
            key="cmp_baseline",
            bind="query-params",
            help="Every difference on this page is to this run.",
        )
        others = [name for name in known if name != baseline]
        wanted = [name for name in usual if name != baseline]
        names = st.multiselect(
            "Compared with it",
            others,
            default=wanted,
            key="cmp_runs",
            bind="query-params",
            max_selections=6,
            help="Finished runs on the same data and split, up to six.",
        )
    return [known[name] for name in [baseline, *names]]


def differences(found: Result, run: str, source: str) -> None:
    left, right = st.columns(2, gap="large")
    with left:
        frame = results.by_metric(found)
        cards.chart(
            results.metric_sentence(frame, results.title(found, run)),
            charts.dots(frame, f"Difference to {found.sides[0].title}", list(results.NAMES.values()), difference=True),
            "cmp_metrics",
            note="Everyone who was tested. Right of the dashed line is better than the baseline; an interval that "
            "crosses it is no evidence.",
        )
    with right:
        frame = results.by_group(found, run, source)
        cards.chart(
            results.group_sentence(frame),
            charts.dots(frame, "Difference in NDCG@10", list(frame["label"]), difference=True),
            "cmp_groups",
            note=f"{results.title(found, run)} against {found.sides[0].title}. "
            "The number beside a group is how many people were tested. Small groups have wide intervals.",
        )


def protocols(found: Result) -> None:
    st.subheader("How good is each recommender?", anchor=False)
    left, right = st.columns(2, gap="large")
    for place, protocol, words in (
        (left, "full", results.lead_sentence(found)),
        (right, "sampled", results.order_sentence(found)),
    ):
        with place:
            frame = results.means(found, protocol)
            axis = "whole catalogue ranked" if protocol == "full" else f"against {SAMPLED} random items"
            cards.chart(words, charts.dots(frame, f"NDCG@10, {axis}", list(frame["label"])), f"cmp_means_{protocol}")
    st.caption(f":material/change_history: {WARNING}")


def training(chosen: list[Run], titles: dict[str, str]) -> None:
    frames = results.curves(chosen, titles)
    if frames["valid"].empty:
        return
    st.subheader("How did training go?", anchor=False)
    left, right = st.columns(2, gap="large")
    for place, what, words, axis in (
        (left, "valid", results.best_sentence(frames["valid"]), "Validation NDCG@10"),
        (right, "loss", results.loss_sentence(frames["loss"]), "Training loss"),
    ):
        with place:
            if len(frames[what]):
                cards.chart(words, charts.learning(frames[what], axis), f"cmp_{what}")


def shown_lists(chosen: list[Run], titles: dict[str, str]) -> None:
    st.subheader("What do they recommend?", anchor=False)
    frame = results.lists(chosen, titles)
    widest = frame.loc[frame["Catalogue shown"].idxmax()]
    st.markdown(
        f"**{plain(widest['Recommender'])} shows the most of the catalogue: {percent(widest['Catalogue shown'])} of "
        "the items reach at least one person's first ten**"
    )
    column = st.column_config
    st.dataframe(
        frame,
        width="stretch",
        hide_index=True,
        key="cmp_lists",
        alt="Coverage and popularity of the lists of each recommender",
        column_config={
            "Recommender": column.TextColumn(pinned=True),
            "Catalogue shown": column.ProgressColumn(
                format="percent",
                min_value=0,
                max_value=1,
                help="Share of the items in at least one person's first ten.",
            ),
            "Takers of what is shown": column.NumberColumn(
                format="%.1f", help="Mean number of training events of a recommended item."
            ),
            "Against the catalogue": column.NumberColumn(
                format="%.1f ×", help="The same, over the mean of all items: 1 recommends without regard to popularity."
            ),
            "Parameters": column.NumberColumn(format="localized", help="Numbers that the stored recommender holds."),
            "Training": column.NumberColumn(format="%.0f s", help="Seconds of training."),
        },
    )


def repeat(chosen: list[Run]) -> None:
    """The settings of each run, and the command that makes it again."""
    with st.expander("Settings, and how to repeat it", icon=":material/terminal:"):
        for run in chosen:
            config = run.config()
            st.markdown(f"**{plain(config['title'])}** · {plain(run.name)}")
            command = (
                config["command"]
                or f"crossrec train {config['recipe']} --dataset {config['dataset']} --seed {config['seed']}"
            )
            st.code(command, language="bash", wrap_lines=True)
            if not config["command"]:
                st.caption("The command was not recorded; settings other than the defaults are in the table below.")
        table = pd.DataFrame({run.name: run.config()["settings"] for run in chosen}).map(
            lambda value: "" if value != value or value is None else str(value)
        )
        st.dataframe(table.rename_axis("Setting"), width="stretch", key="cmp_settings", alt="Settings of each run")


def fairness(chosen: list[Run]) -> None:
    """Warns where baseline and transfer were not given the same size and budget."""
    first = chosen[0]
    for run in chosen[1:]:
        if (
            first.config()["recipe"] == BASELINE
            and run.config()["recipe"] == TRANSFER
            and (found := unlike(first, run))
        ):
            words = ", ".join(f"{key} {a} and {b}" for key, (a, b) in found.items())
            st.warning(
                plain(
                    f"{first.name} and {run.name} differ in more than transfer: {words}. "
                    "What follows may be due to that."
                ),
                icon=":material/change_history:",
            )


# --- page ------------------------------------------------------------------------------------------------------------

st.title("Did transfer help, and whom?", anchor=False)
with st.container(horizontal=True, vertical_alignment="bottom"):
    dataset = state.choose_dataset("compare", "cmp_baseline", "cmp_runs")
    meta = load_meta(dataset)
    finished, others = state.runs(dataset)
    chosen = choose_runs(dataset, finished) if len(finished) > 1 else []

if not chosen:
    if finished:
        cards.answer(f"Only {finished[0].name} is finished on {dataset}: a comparison needs two.", "unknown")
    else:
        cards.answer(f"Not known yet: no model has been trained and tested on {dataset}.", "unknown")
    cards.no_runs(dataset, others)
    st.stop()
if len(chosen) < 2:
    cards.answer("Choose at least one run to compare with the baseline.", "unknown")
    st.stop()

source = meta["domains"]["source"]["name"]
found = state.result(chosen)
run = results.challenger(found)
titles = {side.run: side.title for side in found.sides}

if found.verdict:
    cards.verdict(found.verdict)
else:
    cards.answer(results.no_verdict(found), "no")
fairness(chosen)
cards.numbers(results.numbers(found, source))
differences(found, run, source)
protocols(found)
training(chosen, titles)
shown_lists(chosen, titles)
with st.expander("Leak report of the test", icon=":material/policy:"):
    split = chosen[0].config()["split"]
    cards.leaks(state.leak_report(dataset, f"{split['kind']}-{split['seed']}"))
repeat(chosen)
cards.unfinished(others)
st.download_button(
    "Download the results per person",
    lambda: results.per_user(found).to_csv(index=False).encode(),
    file_name=f"{dataset}-per-user.csv",
    mime="text/csv",
    key="cmp_download",
    icon=":material/download:",
    on_click="ignore",
)
