"""Frames and findings of a comparison: by hand, and against what the runs have stored."""

from dataclasses import replace
from math import comb
from typing import Any

import numpy as np
import pandas as pd
import pytest

from crossrec.evaluation.benefit import FEW, Slice
from crossrec.evaluation.statistics import Interval, Paired, Spread
from crossrec.evaluation.verdict import Kept
from crossrec.report import charts, cold, figures, findings, frames, proof_charts, tables
from crossrec.runs import controls
from crossrec.runs.compare import Result, compare_runs
from crossrec.runs.folder import open_run
from crossrec.runs.insight import ControlRow

NONE = float("nan")


@pytest.fixture
def result(tiny: Any) -> Result:
    names = ("target-sasrec", "transfer-sasrec", "popularity")
    return compare_runs([open_run(f"tiny-{name}") for name in names])


def piece(label: str, mean: float, p: float = NONE, users: int = 50, kind: str = "target") -> Slice:
    value = Interval(mean, mean - 0.01, mean + 0.01)
    return Slice(kind, label, 0.1, 0.1 + mean, Paired(users, value, p, p, 0.1, 0.2, 0.5, 0.3))


def with_slices(result: Result, *slices: Slice) -> Any:
    return replace(result.insight, slices=list(slices))


def test_slices_are_marked_by_what_may_be_said_of_them(result: Result) -> None:
    found = with_slices(
        result,
        piece("0", 0.5, users=FEW - 1),
        piece("1", 0.1, 0.01),
        piece("2", -0.1, 0.05),
        piece("3 to 4", -0.1, 0.2),
    )
    frame = frames.benefit(found, "target")
    assert list(frame["label"]) == ["0 · 29, too few", "1 · 50", "2 · 50, harmed", "3 to 4 · 50"]
    assert list(frame["said"]) == [frames.TOO_FEW, frames.GAIN, frames.HARM, frames.UNCLEAR]
    assert frames.benefit(found, "source").empty
    sentence = findings.benefit_sentence(found, "target", "Screen", "Sound")
    assert sentence == "Clear gains for people with 1 Sound event; clear harm for people with 2 Sound events"
    (harm,) = findings.harm_sentences(found, "Screen", "Sound")
    assert harm.startswith("People with 2 events in Sound are harmed: 50 people, NDCG@10 0.1000 → 0.0000")


def test_what_is_said_of_slices(result: Result) -> None:
    def said(*slices: Slice) -> str:
        return findings.benefit_sentence(with_slices(result, *slices), slices[0].kind, "Screen", "Sound")

    assert said(piece("0", 0.5, users=3)) == "Every slice has fewer than 30 people, so none is judged"
    assert said(piece("0", 0.5, 0.5), piece("1", 0.1, 0.06)) == "No slice by Sound events clearly gains or loses"
    every = said(piece("0", 0.5, 0.01), piece("1", 0.1, 0.01), piece("2", 0.1, users=2))
    assert every == "Every slice by Sound events that can be judged clearly gains"
    popular = said(piece("the less taken half", 0.5, 0.01, kind="popularity"), piece("x", 0, 1, kind="popularity"))
    assert popular == "Clear gains for people whose hidden item is among the less taken half"


def test_controls_stand_beside_the_real_values(result: Result) -> None:
    frame = frames.control(result)
    stored = controls.read(open_run("tiny-transfer-sasrec"))[0]
    mine = frame[frame["title"] == "Transfer SASRec"].set_index("label")
    assert list(mine["hollow"]) == [False, True, True, True]
    for name, label in frames.NAMES_OF_CONTROLS.items():
        assert mine.loc[label, "mean"] == pytest.approx(stored[name]["ndcg@10"].mean())
        assert mine.loc[label, "users"] == len(stored[name])
    real = open_run("tiny-transfer-sasrec").per_user()
    assert mine.loc["As it is", "mean"] == pytest.approx(real[real["n_source"] > 0]["ndcg@10"].mean())
    base = frame[frame["title"] == "Target-only SASRec"]
    assert list(base["label"]) == ["As it is"]  # it reads nothing of the source
    assert "popularity" not in set(frame["recipe"])
    nothing = replace(result, insight=replace(result.insight, controls=[]))
    assert frames.control(nothing).empty
    assert figures.control(nothing) is None


def row(name: str, loss: float, gap: float) -> ControlRow:
    def clear(value: float) -> Interval:
        return Interval(value, value - 0.01, value + 0.01)

    return ControlRow("t", "Model", name, 100, Kept(clear(0.2), clear(loss)), clear(gap))


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (row("placebo", 0.1, 0.0), ("falls to 0.2000", "the person's own history that helps", "level with Base")),
        (row("placebo", 0.0, 0.1), ("ranks as well", "not shown to use the person's own", "still better than Base")),
        (row("shuffled-order", -0.1, 0.1), ("random order Model ranks better", "does harm", "still better than Base")),
        (row("no-source", 0.1, -0.1), ("Without any Screen history Model falls", "-0.1100 to -0.0900", "worse than")),
    ],
)
def test_each_control_in_a_sentence(one: ControlRow, words: tuple[str, ...]) -> None:
    sentence = findings.control_sentence(one, "Base", "Screen")
    for word in words:
        assert word in sentence


def test_the_title_of_the_controls_claims_no_more_than_they_show(result: Result) -> None:
    def title(loss: float, gap: float) -> str:
        mine = replace(row("placebo", loss, gap), run=result.insight.challenger)
        return findings.transfer_sentence(replace(result.insight, controls=[mine]), "Screen")

    assert title(0.1, 0.0).endswith("with somebody else's it is no better than the baseline")
    assert title(0.1, 0.1).endswith("with somebody else's it is still better than the baseline")
    assert title(0.0, 0.1) == "Model is not shown to use the person's own Screen history"
    without = replace(result.insight, controls=[])
    assert findings.transfer_sentence(without, "Screen").startswith("What the recommenders lose")


def worth(*gaps: tuple[float, float, float], flat: bool = False, reads: bool = True) -> str:
    numbers = dict(zip((0, 1, 2, 3, 5, 10), (Interval(*gap) for gap in gaps), strict=False))
    return findings.Worth("Transfer", "Base", numbers, flat, reads).sentence("Sound")


def test_transfer_is_worth_events_only_where_the_data_say_so() -> None:
    ahead, level, behind, below = (0.2, 0.1, 0.3), (0.01, -0.1, 0.1), (-0.1, -0.2, -0.05), (-0.01, -0.1, 0.1)
    assert worth(level, behind) == "With no Sound event revealed Transfer is not shown to rank better than Base"
    assert worth(ahead, ahead, level, below).startswith("Transfer is worth about 3 Sound events: with no Sound")
    assert worth(ahead, ahead, level, behind).startswith("Transfer is worth 2 to 3 Sound events: with no Sound")
    assert worth(ahead, below).startswith("Transfer is worth about 1 Sound event: ")
    assert worth(ahead, behind).startswith("Transfer is worth less than 1 Sound event: with no Sound event revealed")
    assert worth(ahead, behind).endswith("Transfer is behind Base with 1")
    assert worth(ahead, ahead, behind).startswith("Transfer is worth 1 to 2 Sound events: ")
    assert worth(ahead, ahead, ahead).startswith("Transfer is worth more than 2 Sound events: ")
    assert worth(ahead, ahead, level).startswith("Transfer is worth about 2 Sound events or more: ")
    assert worth(ahead, below, reads=False) == "With no Sound event revealed Transfer is level with Base with 1"
    assert worth(ahead, ahead, flat=True).endswith("ranks better than Base, which no revealed event changes")


def test_worth_is_paired_over_the_same_people(result: Result) -> None:
    found = findings.worth(result)
    assert found is not None
    assert found.reads
    after, before = (controls.read(open_run(f"tiny-{name}-sasrec"))[1] for name in ("transfer", "target"))
    joined = after[0].merge(before[1], on="user", suffixes=("", "_base"))
    assert found.gaps[1].mean == pytest.approx((joined["ndcg@10"] - joined["ndcg@10_base"]).mean())
    frame = frames.shots(result)
    assert set(frame["title"]) == {side.title for side in result.sides[:3]}
    popular = compare_runs([open_run("tiny-popularity"), open_run("tiny-target-sasrec")])
    about = findings.worth(popular)
    assert about is not None
    assert about.flat
    assert not about.reads


def sided(result: Result, before: list[int], after: list[int]) -> Result:
    """The same comparison with ranks of a few people."""
    sides = list(result.sides)
    for at, ranks in ((0, before), (1, after)):
        table = sides[at].table.head(len(ranks)).assign(rank=ranks, n_source=3)
        sides[at] = replace(sides[at], table=table)
    return replace(result, sides=sides)


def test_moves_are_counted_in_doublings(result: Result) -> None:
    moved = sided(result, [100, 100, 100, 1, 7, 500], [25, 100, 200, 4096, 8, 1])
    frame = frames.moves(moved).set_index("doublings")
    assert frame["users"].sum() == 6
    assert {at: n for at, n in frame["users"].items() if n} == {2: 1, 0: 2, -1: 1, -6: 1, 6: 1}
    assert frame["share"].sum() == pytest.approx(1)
    assert (frame.loc[[2, 0, -1], "said"] == ["Higher", "About the same", "Lower"]).all()
    assert findings.moves_sentence(moved).replace("\N{NO-BREAK SPACE}", " ") == (
        "The hidden item stands higher for 33 % of the people, lower for 50 % and at the same rank for 17 %"
    )


def test_the_way_is_0_at_popularity_and_1_at_the_oracle(result: Result) -> None:
    frame = frames.way(result)
    assert set(frame["recipe"]) == {"target-sasrec", "transfer-sasrec"}
    mean = {side.run: side.table["ndcg@10"].mean() for side in result.sides}
    way = (mean["tiny-transfer-sasrec"] - mean["tiny-popularity"]) / (mean["oracle"] - mean["tiny-popularity"])
    assert frame.set_index("recipe").loc["transfer-sasrec", "mean"] == pytest.approx(way)
    assert frames.way(replace(result, sides=result.sides[:3])).empty  # the truth is not known
    assert findings.way_sentence(frame).startswith(frame.iloc[0]["title"])


def test_seeds_have_both_kinds_of_spread(result: Result) -> None:
    assert frames.seeds(result).empty
    assert figures.seeds(result) is None
    spread = Spread(Interval(0.1, 0.05, 0.15), Interval(0.1, -0.1, 0.3), [0.2, 0.0])
    found = replace(result, insight=replace(result.insight, seeds=spread, trained=([0, 1], [0, 1])))
    frame = frames.seeds(found)
    assert list(frame["label"]) == ["Over people", "Over people and trainings"]
    assert list(frame["low"]) == [0.05, -0.1]
    drawn = figures.seeds(found)
    assert drawn is not None
    assert drawn.finding.startswith("Clear for these trainings, but another training may turn it round")
    assert "+0.2000, +0.0000" in drawn.note
    clear = replace(found.insight, seeds=replace(spread, both=Interval(-0.1, -0.2, -0.01)))
    assert findings.seeds_sentence(clear).startswith("The loss is clear over people and over trainings")
    assert [table.title for table in tables.insight_tables(found)][
        -1
    ] == "Difference in NDCG@10 over 2 seeds and 2 seeds"


@pytest.mark.parametrize(("rank", "items", "negatives", "cutoff"), [(1, 50, 9, 3), (7, 20, 5, 2), (20, 20, 5, 2)])
def test_the_chance_in_a_sample_is_exact(rank: int, items: int, negatives: int, cutoff: int) -> None:
    better, worse = rank - 1, items - rank
    ways = sum(comb(better, k) * comb(worse, negatives - k) for k in range(cutoff))
    expected = ways / comb(items - 1, negatives)
    assert frames.chance_in_sample(rank, items, negatives, cutoff) == pytest.approx(expected)


def test_a_poor_rank_in_a_large_catalogue_is_a_hit_nearly_always() -> None:
    assert frames.chance_in_sample(1000, 50_000) > 0.9999
    assert frames.chance_in_sample([1, 10], 100)[1] == 1  # all the others are drawn
    assert frames.chance_in_sample(11, 100) == 0
    falling = frames.chance_in_sample(np.arange(1, 501), 500)
    assert (np.diff(falling) <= 1e-12).all()
    assert findings.sample_sentence(1000, 50_000) == (
        "An item that stands at rank 1,000 of 50,000 is a miss in the full ranking; among 1 + 99 it is in the first "
        "ten nearly always"
    )
    assert "is a hit in the full ranking" in findings.sample_sentence(10, 500)


def test_every_table_has_a_cell_under_every_head(result: Result) -> None:
    for table in (*tables.insight_tables(result), tables.means(result), tables.groups(result)):
        assert table.rows, table.title
        assert {len(row) for row in table.rows} == {len(table.header)}, table.title
    tested = {row[1]: row for row in tables.tests(result).rows}
    one = result.insight.tests["with_source"]["ndcg@10"]
    assert tested["NDCG@10"][3] == tables.interval(one.value, True)


def test_numbers_of_a_table() -> None:
    assert tables.interval(None) == tables.interval(Interval(NONE, NONE, NONE)) == ""
    assert tables.interval(Interval(0.5, NONE, NONE)) == "0.5000"
    assert tables.interval(Interval(0.5, 0.25, 0.75), sign=True) == "+0.5000 (+0.2500 to +0.7500)"


def test_every_figure_can_be_drawn(result: Result) -> None:
    runs = [open_run(side.run) for side in result.sides[:3]]
    drawn: list[figures.Figure | None] = [*figures.differences(result), *figures.benefit(result)]
    drawn += [*figures.protocols(result), *figures.learned(runs, {side.run: side.title for side in result.sides})]
    drawn += [figures.control(result), figures.shots(result), figures.moves(result), figures.way(result)]
    keys = [one.key for one in drawn if one is not None]
    assert len(keys) == len(set(keys)) == len(drawn)
    for one in drawn:
        assert one is not None
        assert one.chart().to_dict()["height"] > 0
        assert one.finding
        assert "nan" not in one.finding


def test_one_recommender_under_several_colours_and_dashes(result: Result) -> None:
    frame = frames.shots(result)
    twice = pd.concat([frame, frame.assign(title=frame["title"] + ", seed 1")])

    def layer(frame: pd.DataFrame) -> Any:
        return proof_charts.shots(frame, "x").to_dict()["layer"][0]["encoding"]

    assert "strokeDash" not in layer(frame)
    assert len(set(map(tuple, layer(twice)["strokeDash"]["scale"]["range"]))) >= 2


def test_an_axis_has_the_decimals_that_tell_its_ticks_apart() -> None:
    assert [charts.decimals(span) for span in (1.0, 0.06, 0.02, 0.002)] == [".2f", ".2f", ".3f", ".4f"]
    assert charts.decimals(0.02, sign=True) == "+.3f"


def test_differences_of_strangers_have_no_oracle() -> None:
    frame = pd.DataFrame({"title": ["A", "B"], "low": [0.1, -0.1]})
    assert cold.difference_sentence(frame, "Linear map") == "Clearly better than Linear map: A"
