"""A comparison as tables of words and numbers, for a terminal and for a document."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from crossrec.evaluation.benefit import KINDS
from crossrec.evaluation.compare import HEADLINE
from crossrec.evaluation.controls import CONTROLS
from crossrec.evaluation.protocol import GROUPS
from crossrec.evaluation.statistics import Interval
from crossrec.report.frames import NAMES, said_of, title
from crossrec.report.words import percent
from crossrec.runs.coldstart import ColdResult
from crossrec.runs.compare import Result


class Table(NamedTuple):
    """What stands over it, the heads of its columns, and its rows."""

    title: str
    header: list[str]
    rows: list[list[str]]


def interval(value: Interval | None, sign: bool = False) -> str:
    """A mean with its 95 % interval."""
    if value is None or np.isnan(value.mean):
        return ""
    one = "{:+.4f}" if sign else "{:.4f}"
    if np.isnan(value.low):
        return one.format(value.mean)
    return f"{one.format(value.mean)} ({one.format(value.low)} to {one.format(value.high)})"


def insight_tables(result: Result | ColdResult) -> Iterator[Table]:
    """Tests, who benefits, controls, shots, lists and seeds, as far as they are known."""
    if result.insight is None:
        return
    yield from (tests(result), *benefit(result), controls(result), shots(result), lists(result))
    if result.insight.seeds is not None:
        yield seeds(result)


def tests(result: Result | ColdResult) -> Table:
    found = result.insight
    assert found is not None
    versus = f"{title(result, found.challenger)} against {title(result, found.baseline)}"
    header = ["People", "Metric", "Tested", "Difference, 95 % interval", "p after Holm", "Effect size"]
    header += ["Helped", "Unchanged", "Hurt"]
    rows = []
    for group, of in found.tests.items():
        for metric, one in of.items():
            shares = [percent(share) for share in (one.helped, one.unchanged, one.hurt)]
            numbers = [f"{one.users:,}", interval(one.value, True), _p(one.p_holm), _number(one.effect, "+.3f")]
            rows.append([GROUPS[group], NAMES[metric], *numbers, *shares])
    return Table(f"Tests: {versus}", header, rows)


def benefit(result: Result | ColdResult) -> Iterator[Table]:
    found = result.insight
    assert found is not None
    header = ["Slice", "People", "Before", "After", "Difference, 95 % interval", "p after Holm", "Said of it"]
    for kind, words in KINDS.items():
        rows = [
            [
                one.label,
                f"{one.users:,}",
                f"{one.before:.4f}",
                f"{one.after:.4f}",
                interval(one.difference.value, True),
                _p(one.difference.p_holm),
                said_of(one),
            ]
            for one in found.slices
            if one.kind == kind
        ]
        if rows:
            yield Table(f"Who benefits: NDCG@10 {words[0].lower()}{words[1:]}", header, rows)


def controls(result: Result | ColdResult) -> Table:
    found = result.insight
    assert found is not None
    header = ["Recommender", "Shown", "People", "NDCG@10", "Lost", f"Against {title(result, found.baseline)}"]
    rows = []
    for run in dict.fromkeys(row.run for row in found.controls):
        if real := result.comparison.mean(run, "with_source"):
            rows.append([real.title, "As it is", f"{real.users:,}", interval(real.value), "", ""])
        rows += [
            [
                row.title,
                CONTROLS[row.control],
                f"{row.users:,}",
                interval(row.kept.value),
                interval(row.kept.loss, True),
                interval(row.gap, True),
            ]
            for row in found.controls
            if row.run == run
        ]
    return Table("Is it transfer? NDCG@10 of people with a source history, 95 % intervals", header, rows)


def shots(result: Result | ColdResult) -> Table:
    found = result.insight
    assert found is not None
    numbers = sorted({one.shots for one in found.shots})
    rows = []
    for name in dict.fromkeys(one.title for one in found.shots):
        values = {one.shots: one.value for one in found.shots if one.title == name}
        rows.append([name, *(interval(values.get(k)) for k in numbers)])
    people = f", {found.shots[0].users:,} people" if found.shots else ""
    return Table(f"NDCG@10 by target events that are shown{people}", ["Recommender", *map(str, numbers)], rows)


def lists(result: Result | ColdResult) -> Table:
    found = result.insight
    assert found is not None
    rows = [
        [title(result, run), _share(of["coverage"]), _number(of["novelty"], ".2f"), _number(of["diversity"], ".3f")]
        for run, of in found.lists.items()
    ]
    return Table("Lists of ten", ["Recommender", "Coverage", "Novelty in bits", "Diversity"], rows)


def seeds(result: Result | ColdResult) -> Table:
    found = result.insight
    assert found is not None
    assert found.seeds is not None
    by_seed = ", ".join(f"{value:+.4f}" for value in found.seeds.by_seed)
    rows = [
        ["Over people", interval(found.seeds.users, True)],
        ["Over people and trainings", interval(found.seeds.both, True)],
        ["Training by training", by_seed],
    ]
    trained = " and ".join(f"{len(of)} seeds" for of in found.trained)
    return Table(f"Difference in NDCG@10 over {trained}", ["", "Difference, 95 % interval"], rows)


def means(result: Result | ColdResult) -> Table:
    """Every recommender over all people, by the full ranking; beside it the sampled protocol."""
    rows = []
    for side in result.sides:
        full = [result.comparison.mean(side.run, "all", metric) for metric in NAMES]
        drawn, gap = (
            result.comparison.mean(side.run, "all", HEADLINE, "sampled"),
            result.comparison.difference(side.run),
        )
        cells = [interval(row.value if row else None) for row in (*full, drawn)]
        rows.append([side.title, *cells, interval(gap.value if gap else None, True)])
    header = ["Recommender", *NAMES.values(), "NDCG@10 among 1 + 99", f"NDCG@10 against {result.sides[0].title}"]
    return Table(f"Means of all {len(result.sides[0].table):,} people, 95 % intervals", header, rows)


def groups(result: Result | ColdResult) -> Table:
    """Differences in NDCG@10 to the first side in every group of people."""
    rows = [
        [row.title, GROUPS[row.group], f"{row.users:,}", interval(row.value, True)]
        for row in result.comparison.differences
        if row.metric == HEADLINE and row.protocol == "full"
    ]
    words = f"NDCG@10 against {result.sides[0].title}, by group"
    return Table(words, ["Recommender", "People", "Tested", "Difference, 95 % interval"], rows)


def _p(value: float) -> str:
    return "" if np.isnan(value) else "below 0.001" if value < 0.001 else f"{value:.3f}"


def _number(value: float | None, how: str) -> str:
    return "" if value is None or np.isnan(value) else format(value, how)


def _share(value: float | None) -> str:
    return "" if value is None else percent(value)
