"""Cards about runs: which are chosen, what their lists look like, whether they are alike, how to repeat them."""

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from app.ui import cards, champions
from app.ui.errors import percent, plain
from crossrec.report import frames
from crossrec.runs.champion import NEXT
from crossrec.runs.coldstart import cold_runs
from crossrec.runs.compare import BASELINE, TRANSFER, matching_runs, unlike
from crossrec.runs.folder import Run

MOST = 14
"""Most runs that are compared at a time."""


def choose_runs(dataset: str, finished: list[Run]) -> list[Run]:
    """The baseline and the runs beside it; by default the ones that belong together, and the champion."""
    known = {run.name: run for run in finished}
    spare = sorted(finished, key=lambda run: run.config()["recipe"] == TRANSFER)[:4]  # transfer is nobody's baseline
    usual = champions.among([run.name for run in matching_runs(dataset) or spare], dataset, NEXT, 0, list(known))
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


def choose_cold(dataset: str, kind: str, seed: int, finished: Sequence[Run]) -> list[Run]:
    """The runs of a cold-user split that are compared; by default the newest of each recipe, and the champion."""
    known = {run.name: run for run in finished}
    usual = [run.name for run in cold_runs(dataset, kind, seed) if run.name in known]
    usual = champions.among(usual, dataset, kind, seed, list(known))[:MOST]
    with st.popover("Choose the runs", icon=":material/tune:", key="cmp_choice"):
        names = st.multiselect(
            "Compared with each other",
            list(known),
            default=usual,
            key="cmp_cold",
            bind="query-params",
            max_selections=MOST,
            help="Finished runs on this split. The linear map, where it is among them, is what the others are "
            "compared with.",
        )
    return [known[name] for name in names]


def shown_lists(chosen: list[Run], titles: dict[str, str], beyond: dict[str, dict[str, float | None]]) -> None:
    """Beyond accuracy: what the lists look like; beyond: novelty and diversity by run, where the lists were kept."""
    st.header("What do they recommend?", anchor=False)
    frame = frames.lists(chosen, titles)
    for place, (name, key) in enumerate((("Novelty", "novelty"), ("Diversity", "diversity")), start=2):
        if beyond:
            frame.insert(place, name, [beyond.get(run.name, {}).get(key) for run in chosen])
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
        placeholder="–",
        alt="Coverage and popularity of the lists of each recommender",
        column_config={
            "Recommender": column.TextColumn(pinned=True),
            "Catalogue shown": column.ProgressColumn(
                format="percent",
                min_value=0,
                max_value=1,
                help="Share of the items in at least one person's first ten.",
            ),
            "Novelty": column.NumberColumn(
                format="%.2f bits", help="How rare what is shown is: one more bit is half as popular."
            ),
            "Diversity": column.NumberColumn(
                format="%.3f", help="How unlike the items of one list are, by their texts: 0 is alike, 1 unrelated."
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
            cards.commands(command)
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
