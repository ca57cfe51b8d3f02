"""The figures of a comparison: each a chart below what it shows in words; pages and reports draw the same ones."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from crossrec.evaluation.benefit import FEW, KINDS
from crossrec.evaluation.protocol import SAMPLED
from crossrec.report import charts, cold, findings, frames, learning, proof_charts
from crossrec.runs.coldstart import REFERENCE_RECIPE, ColdResult
from crossrec.runs.compare import ORACLE, Result
from crossrec.runs.folder import Run

WARNING = (
    f"Compare with full ranking only: against {SAMPLED} random items a poor model looks good, because most of them are "
    "ones that nobody would recommend."
)


@dataclass(frozen=True)
class Figure:
    """A chart with what it shows, made from the data, and how to read it."""

    key: str
    finding: str
    chart: charts.Drawing
    """What draws the chart when it is called."""
    note: str = ""


def differences(result: Result) -> Iterator[Figure]:
    """By metric for all runs, and by group of people for the challenger."""
    run, first = result.insight.challenger, result.sides[0].title
    who = frames.title(result, run)
    frame = frames.by_metric(result)
    names = list(frames.NAMES.values())
    yield Figure(
        "metrics",
        findings.metric_sentence(frame, who),
        partial(charts.dots, frame, f"Difference to {first}", names, difference=True),
        "Everyone who was tested. Right of the dashed line is better than the baseline; an interval that crosses it is "
        "no evidence.",
    )
    frame = frames.by_group(result, run, frames.domains(result.dataset)[0])
    yield Figure(
        "groups",
        findings.group_sentence(frame),
        partial(charts.dots, frame, "Difference in NDCG@10", list(frame["label"]), difference=True),
        f"{who} against {first}. The number beside a group is how many people were tested. Small groups have wide "
        "intervals.",
    )


def rankings(result: ColdResult) -> Iterator[Figure]:
    """Means, and differences to the first side, for strangers."""
    frame = frames.means(result)
    note = f"Means over the {result.users:,} strangers, with 95 % intervals; the whole catalogue is ranked."
    if ORACLE in set(frame["recipe"]):
        note += " The oracle knows each person's true taste, which no source history tells in full."
    drawn = partial(charts.dots, frame, "NDCG@10", list(frame["label"]))
    yield Figure("cold_means", findings.lead_sentence(result), drawn, note)
    frame, first = cold.differences(result), result.sides[0].title
    note = f"Against {first}, paired over people. Right of the dashed line is better; an interval that crosses it is "
    note += "no evidence."
    if frames.recipes(result)[result.sides[0].run] == REFERENCE_RECIPE:
        note += " The linear map is what a learned model has to beat."
    drawn = partial(charts.dots, frame, "Difference in NDCG@10", list(frame["label"]), difference=True)
    yield Figure("cold_gaps", cold.difference_sentence(frame, first), drawn, note)


def stars(result: ColdResult) -> Iterator[Figure]:
    """Errors and AUCs beside the plain predictors, where the data has stars."""
    for metric, name in cold.STARS.items():
        frame = cold.stars(result, metric)
        if len(frame):
            chance = cold.CHANCE if metric.startswith("auc") else None
            drawn = partial(charts.dots, frame, name, list(frame["label"]), zero=False, mark=chance)
            yield Figure(f"stars_{metric}", cold.stars_sentence(result, metric), drawn, cold.HELP[metric])


def benefit(result: Result | ColdResult) -> Iterator[Figure]:
    """Differences in slices of people, one figure a kind of slice."""
    found = result.insight
    if found is None:
        return
    recipe, labels = frames.recipes(result)[found.challenger], frames.domains(result.dataset)
    versus = f"{frames.title(result, found.challenger)} against {frames.title(result, found.baseline)}"
    for kind, words in KINDS.items():
        frame = frames.benefit(found, kind)
        if len(frame):
            yield Figure(
                f"benefit_{kind}",
                findings.benefit_sentence(found, kind, *labels),
                partial(proof_charts.benefit, frame, "Difference in NDCG@10", recipe),
                f"{words}; beside each slice, how many people it has. {versus}. With fewer than {FEW} people a slice "
                "is hollow and not judged.",
            )


def control(result: Result | ColdResult) -> Figure | None:
    """Each recommender as it is, and with something taken from what it is shown."""
    frame, found = frames.control(result), result.insight
    if found is None or frame.empty:
        return None
    baseline = frame[frame["title"] == frames.title(result, found.baseline)]
    mark = None if baseline.empty else float(baseline["mean"].iloc[0])
    source = frames.domains(result.dataset)[0]
    return Figure(
        "controls",
        findings.transfer_sentence(found, source),
        partial(charts.dots, frame, "NDCG@10", list(frame["label"].drop_duplicates()), mark=mark),
        f"Over the {int(frame['users'].iloc[0]):,} people with a {source} history. Hollow: the same recommender, shown "
        f"something else; nothing is trained again. The dashed line is {frames.title(result, found.baseline)}.",
    )


def shots(result: Result | ColdResult) -> Figure | None:
    """The ranking by the number of target events that are revealed."""
    frame, target = frames.shots(result), frames.domains(result.dataset)[1]
    if frame.empty:
        return None
    found = findings.worth(result)
    return Figure(
        "shots",
        found.sentence(target) if found else f"How good each is by the number of {target} events that it is shown",
        partial(proof_charts.shots, frame, f"{target} events that are shown"),
        f"The same {int(frame['users'].iloc[0]):,} people, asked for the same items, with more and more of their last "
        f"{target} events revealed. Means with 95 % intervals; nothing is trained again.",
    )


def moves(result: Result | ColdResult) -> Figure | None:
    """How far the hidden item moves in the list, person by person."""
    frame, found = frames.moves(result), result.insight
    if found is None or frame.empty:
        return None
    after, before = frames.title(result, found.challenger), frames.title(result, found.baseline)
    return Figure(
        "moves",
        findings.moves_sentence(result),
        partial(proof_charts.moves, frame),
        f"From the list of {before} to that of {after}, in doublings: 4× higher is rank 25 in place of 100. The last "
        "bars hold all that is farther. Ranks change for nearly everybody; what counts is whether more go up than "
        "down, and how far.",
    )


def protocols(result: Result) -> Iterator[Figure]:
    """Means by the full ranking, and by the sampled one."""
    for protocol, words in (("full", findings.lead_sentence(result)), ("sampled", findings.order_sentence(result))):
        frame = frames.means(result, protocol)
        axis = "whole catalogue ranked" if protocol == "full" else f"against {SAMPLED} random items"
        yield Figure(f"means_{protocol}", words, partial(charts.dots, frame, f"NDCG@10, {axis}", list(frame["label"])))


def seeds(result: Result | ColdResult) -> Figure | None:
    """The difference over people, and over people and trainings."""
    found, frame = result.insight, frames.seeds(result)
    if found is None or found.seeds is None:
        return None
    by_seed = ", ".join(f"{value:+.4f}" for value in found.seeds.by_seed)
    trained = " and ".join(f"{len(of)}" for of in found.trained)
    return Figure(
        "seeds",
        findings.seeds_sentence(found),
        partial(charts.dots, frame, "Difference in NDCG@10", list(frame["label"]), difference=True),
        f"{frames.title(result, found.challenger)} against {frames.title(result, found.baseline)}, trained with "
        f"{trained} seeds. Over people: what other people would give. Over both: what another training would give, "
        f"too. Training by training: {by_seed}.",
    )


def way(result: Result | ColdResult) -> Figure | None:
    """How far each recommender is from the best possible, where the truth is known."""
    frame = frames.way(result)
    if frame.empty:
        return None
    return Figure(
        "way",
        findings.way_sentence(frame),
        partial(charts.dots, frame, "Share of the way", list(frame["label"]), mark=0.0),
        "0 is popularity, 1 the oracle, which knows the invented world's true probabilities.",
    )


def learned(runs: Sequence[Run], titles: dict[str, str]) -> Iterator[Figure]:
    """Validation and loss by epoch, of the runs that were trained step by step."""
    for run in runs:
        if run.config()["recipe"] == learning.REVIEW:
            for name, (curve, frame) in learning.review_curves(run).items():
                drawn = partial(charts.curve, frame, curve.title, learning.REVIEW, curve.mark)
                finding = f"{titles[run.name]}: {learning.change(curve, frame)}"
                yield Figure(f"curve_{run.name}_{name}", finding, drawn, f"{curve.what} A good one {curve.good}")
    for monitor, of in learning.curves(runs, titles).items():
        metric = monitor.removeprefix("-").upper()
        if len(of["valid"]):
            drawn = partial(charts.learning, of["valid"], f"Validation {metric}")
            error = ": an error, so lower is better" if monitor.startswith("-") else ""
            note = f"{metric} of what is held out for validation{error}. A good curve improves, then flattens."
            yield Figure(f"valid_{monitor}", learning.best_sentence(of["valid"]), drawn, note)
        if len(of["loss"]):
            drawn = partial(charts.learning, of["loss"], "Training loss")
            note = "What is minimised. A good curve falls; on its own it says nothing about other people."
            yield Figure(f"loss_{monitor}", learning.loss_sentence(of["loss"]), drawn, note)
