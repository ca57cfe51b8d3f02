"""Did transfer help, and whom? The verdict, paired differences, groups, and how it was measured."""

import streamlit as st

from app.ui import cards, learning, results, run_cards, splits, state, strangers, train_form
from app.ui.errors import plain
from crossrec.data.folder import load_meta
from crossrec.evaluation.protocol import SAMPLED
from crossrec.report import charts, findings, frames
from crossrec.runs.coldstart import is_leaky, missing
from crossrec.runs.compare import Result
from crossrec.runs.folder import Run

WARNING = (
    f"Compare with full ranking only: against {SAMPLED} random items a poor model looks good, because most of them are "
    "ones that nobody would recommend."
)


# --- cards -----------------------------------------------------------------------------------------------------------


def differences(found: Result, run: str, source: str) -> None:
    left, right = st.columns(2, gap="large")
    with left:
        frame = frames.by_metric(found)
        cards.chart(
            findings.metric_sentence(frame, frames.title(found, run)),
            charts.dots(frame, f"Difference to {found.sides[0].title}", list(frames.NAMES.values()), difference=True),
            "cmp_metrics",
            note="Everyone who was tested. Right of the dashed line is better than the baseline; an interval that "
            "crosses it is no evidence.",
        )
    with right:
        frame = frames.by_group(found, run, source)
        cards.chart(
            findings.group_sentence(frame),
            charts.dots(frame, "Difference in NDCG@10", list(frame["label"]), difference=True),
            "cmp_groups",
            note=f"{frames.title(found, run)} against {found.sides[0].title}. "
            "The number beside a group is how many people were tested. Small groups have wide intervals.",
        )


def protocols(found: Result) -> None:
    st.subheader("How good is each recommender?", anchor=False)
    left, right = st.columns(2, gap="large")
    for place, protocol, words in (
        (left, "full", findings.lead_sentence(found)),
        (right, "sampled", findings.order_sentence(found)),
    ):
        with place:
            frame = frames.means(found, protocol)
            axis = "whole catalogue ranked" if protocol == "full" else f"against {SAMPLED} random items"
            cards.chart(words, charts.dots(frame, f"NDCG@10, {axis}", list(frame["label"])), f"cmp_means_{protocol}")
    st.caption(f":material/change_history: {WARNING}")


def known_people(chosen: list[Run]) -> Result:
    """The comparison on the next-item split."""
    found = state.result(chosen)
    cards.verdict(found.verdict)
    run_cards.fairness(chosen)
    cards.numbers(results.numbers(found, source))
    differences(found, found.insight.challenger, source)
    protocols(found)
    return found


def people_unknown(chosen: list[Run]) -> strangers.ColdResult:
    """The comparison on a cold-user split, of what is there: nothing is trained for it."""
    found = strangers.result(chosen)
    headline, *details = found.sentences
    cards.answer(headline, found.answer, details)
    cards.numbers(strangers.numbers(found, source, target))
    strangers.rankings(found)
    strangers.stars_section(found)
    return found


def not_there(chosen: list[Run]) -> None:
    """What could stand beside the runs of a cold-user split, and the commands that train it."""
    commands, notes = missing(state.pair(dataset), chosen, kind, seed)
    if commands:
        with st.expander("What could stand beside these", icon=":material/terminal:", expanded=len(chosen) < 2):
            st.markdown("Recommenders that are missing are trained by:")
            st.code("\n".join(commands), language="bash", wrap_lines=True)
            st.caption("Reload this page afterwards.")
            cards.to_train(dataset, "Or train them here", trn_split=train_form.split_words(kind))
    for note in notes:
        st.caption(plain(note))


# --- page ------------------------------------------------------------------------------------------------------------

st.title("Did transfer help, and whom?", anchor=False)
with st.container(horizontal=True, vertical_alignment="bottom"):
    dataset = state.choose_dataset("compare", "cmp_baseline", "cmp_runs", "cmp_split", "cmp_cold", "cmp_learned")
    meta = load_meta(dataset)
    source, target = (meta["domains"][which]["name"] for which in ("source", "target"))
    tested, others = state.runs(dataset)
    split = splits.choose(tested)
    kind, seed = splits.read(split)
    finished = [run for run in tested if splits.slug(run) == split]
    leaky = [run for run in finished if is_leaky(run)]
    honest = [run for run in finished if not is_leaky(run)]
    cold, chosen = split != splits.NEXT, []
    if len(honest) > 1:
        chosen = run_cards.choose_cold(dataset, kind, seed, honest) if cold else run_cards.choose_runs(dataset, honest)

if len(honest) < 2:
    if finished:
        cards.answer(f"Only {finished[0].name} is finished on {dataset}, {split}: a comparison needs two.", "unknown")
    else:
        cards.answer(f"Not known yet: no model has been trained and tested on {dataset}.", "unknown")
    not_there(honest) if cold else cards.no_runs(dataset, others)
    st.stop()
if len(chosen) < 2:
    least = "at least two runs" if cold else "at least one run to compare with the baseline"
    cards.answer(f"Choose {least}.", "unknown")
    st.stop()

found = people_unknown(chosen) if cold else known_people(chosen)
titles = {side.run: side.title for side in found.sides}
told = meta["domains"]["target"]
if leaky or (cold and told["has_rating"] and told["has_text"]):
    strangers.leak_section(strangers.found_leaks(dataset, kind, seed, leaky, finished), dataset, kind, seed)
learning.section(chosen, titles)
run_cards.shown_lists(chosen, titles)
if cold:
    strangers.all_numbers(found, f"{dataset}-{split}")
with st.expander("Leak report of the test", icon=":material/policy:"):
    cards.leaks(state.leak_report(dataset, f"{kind}-{seed}"))
run_cards.repeat(chosen)
if cold:
    not_there(chosen)
elif len(splits.offered(tested)) == 1 and meta["counts"]["source_events"]:
    st.caption(f"How good for people whom {plain(target)} does not know? `crossrec eval-cold --dataset {dataset}`")
cards.unfinished(others)
st.download_button(
    "Download the results per person",
    lambda: frames.per_user(found).to_csv(index=False).encode(),
    file_name=f"{dataset}-per-user.csv" if split == splits.NEXT else f"{dataset}-{split}-per-user.csv",
    mime="text/csv",
    key="cmp_download",
    icon=":material/download:",
    on_click="ignore",
)
