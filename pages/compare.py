"""Did transfer help, and whom? The verdict, paired differences, groups, and how it was measured."""

import streamlit as st

from app.ui import (
    benefit,
    cards,
    champions,
    learning,
    proof,
    results,
    run_cards,
    splits,
    state,
    strangers,
    train_form,
)
from app.ui.errors import plain
from crossrec.data.folder import load_meta
from crossrec.report import figures
from crossrec.runs.coldstart import is_leaky, missing
from crossrec.runs.compare import Result
from crossrec.runs.folder import Run

# --- cards -----------------------------------------------------------------------------------------------------------


def protocols(found: Result) -> None:
    st.header("How good is each recommender?", anchor=False)
    cards.figures(figures.protocols(found))
    st.caption(f":material/change_history: {figures.WARNING}")
    proof.sampled(meta["domains"]["target"]["items"])


def known_people(chosen: list[Run]) -> Result:
    """The comparison on the next-item split."""
    found = state.result(chosen)
    cards.verdict(found.verdict)
    champions.line(dataset, kind, seed, chosen)
    run_cards.fairness(chosen)
    cards.numbers(results.numbers(found, source))
    cards.figures(figures.differences(found))
    evidence(found, chosen)
    protocols(found)
    return found


def evidence(found: Result | strangers.ColdResult, chosen: list[Run]) -> None:
    """Whom it helps, whether it is transfer, and how much."""
    benefit.section(found, chosen)
    proof.transfer(found, chosen)
    proof.worth(found, chosen)


def people_unknown(chosen: list[Run]) -> strangers.ColdResult:
    """The comparison on a cold-user split, of what is there: nothing is trained for it."""
    found = strangers.result(chosen)
    headline, *details = found.sentences
    cards.answer(headline, found.answer, details)
    champions.line(dataset, kind, seed, chosen)
    cards.numbers(strangers.numbers(found, source, target))
    strangers.rankings(found)
    strangers.stars_section(found)
    evidence(found, chosen)
    return found


def not_there(chosen: list[Run]) -> None:
    """What could stand beside the runs of a cold-user split, and the commands that train it."""
    commands, notes = missing(state.pair(dataset), chosen, kind, seed)
    if commands:
        with st.expander("What could stand beside these", icon=":material/terminal:", expanded=len(chosen) < 2):
            st.markdown("Recommenders that are missing are trained by:")
            cards.commands("\n".join(commands))
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
run_cards.shown_lists(chosen, titles, found.insight.lists if found.insight else {})
learning.section(chosen, titles)
proof.single("Would another training say the same?", found, chosen, "seeds")
proof.single("How far is it to the best possible?", found, chosen, "way")
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
proof.downloads(found, dataset if split == splits.NEXT else f"{dataset}-{split}")
