"""Comparisons and verdicts on tables whose answer is known."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from crossrec.errors import CrossrecError
from crossrec.evaluation.benefit import Slice
from crossrec.evaluation.compare import Comparison, Side, compare
from crossrec.evaluation.protocol import metric_names
from crossrec.evaluation.statistics import Interval, paired
from crossrec.evaluation.verdict import Kept, Verdict, plain_verdict, qualified, verdict


def table(ndcg: Any, n_source: Any = 1, n_train: Any = 1, users: int | None = None) -> pd.DataFrame:
    """A per-user table that has the same number for every metric."""
    ndcg = np.asarray(ndcg, float)
    users = len(ndcg) if users is None else users
    names = metric_names() + [f"sampled.{name}" for name in metric_names()]
    about = {"user": np.arange(users), "n_source": n_source, "n_target": 3, "n_train": n_train, "n_truth": 1}
    return pd.DataFrame({**{k: np.broadcast_to(v, users) for k, v in about.items()}, **dict.fromkeys(names, ndcg)})


def noise(n: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).uniform(0.2, 0.6, n)


def judge(base: Any, transfer: Any, n_source: Any = 1, n_train: Any = 1, extra: Any = None) -> Verdict:
    sides = [
        Side("b", "Target-only", table(base, n_source, n_train)),
        Side("t", "Transfer", table(transfer, n_source, n_train)),
    ]
    simple = []
    if extra is not None:
        sides.append(Side("p", "Popularity", table(extra, n_source, n_train)))
        simple = ["p"]
    return verdict(compare(sides, champion="t"), "t", "b", simple, "Movies", "Music")


def test_yes() -> None:
    base = noise(100)
    found = judge(base, base + 0.1 + 0.02 * noise(100, 1))
    assert found.answer == "yes"
    assert found.headline.startswith("Yes: Movies taste carries over to Music for the 100 people with a Movies history")
    assert "interval +0.1" in found.headline


def test_no_evidence() -> None:
    base = noise(100)
    assert judge(base, base + np.random.default_rng(1).normal(0, 0.1, 100)).answer == "no"
    assert judge(base, base).answer == "no"  # no difference at all is no gain


def test_harm() -> None:
    base = noise(100)
    found = judge(base, base - 0.1)
    assert found.answer == "harm"
    assert "harm" in found.headline
    assert "-0.1000" in found.headline


def test_too_few_to_tell() -> None:
    base = noise(100)
    has = np.arange(100) < 29
    found = judge(base, base + 0.2, n_source=has.astype(int))
    assert found.answer == "unknown"
    assert "29 of them" in found.headline
    assert judge(base, base + 0.2, n_source=(np.arange(100) < 30).astype(int)).answer == "yes"
    assert judge(base, base + 0.2, n_source=0).answer == "unknown"


def test_only_people_with_a_source_decide() -> None:
    base = noise(200)
    has = np.arange(200) < 100
    # A large gain for those who have no source history is no transfer.
    found = judge(base, np.where(has, base, base + 0.5), n_source=has.astype(int))
    assert found.answer == "no"
    assert any("for whom nothing can carry over" in detail and "+0.5000" in detail for detail in found.details)


def test_cold_users_are_judged_apart() -> None:
    base = noise(200)
    cold = np.arange(200) < 50
    train = np.where(cold, 3, 4)
    gain = judge(base, np.where(cold, base + 0.3, base), n_train=train)
    assert any("Cold users with a Movies history (50) gain" in d for d in gain.details)
    loss = judge(base, np.where(cold, base - 0.1, base + 0.3), n_train=train)
    assert loss.answer == "yes"
    assert any("(50) lose" in d for d in loss.details)
    few = judge(base, base, n_train=np.where(np.arange(200) < 10, 1, 9))
    assert any("too few cold users" in d for d in few.details)


def test_a_simple_recommender_is_judged_by_its_own_interval() -> None:
    base, spread = noise(100), np.random.default_rng(2).normal(0, 0.1, 100)
    better = judge(base, base + 0.1, extra=base + 0.12).details
    assert any("Popularity alone" in d and "is the better choice" in d and "+0.0200" in d for d in better)
    assert any("neither is shown to be better" in d for d in judge(base, base + 0.1, extra=base + 0.1 + spread).details)
    assert not any("Popularity" in d for d in judge(base, base + 0.1, extra=base + 0.09).details)


# --- the comparison behind it ---------------------------------------------------------------------


def three() -> Comparison:
    base = noise(60)
    half = (np.arange(60) < 30).astype(int)
    sides = [Side(run, run.upper(), table(base + shift, half)) for run, shift in (("a", 0), ("b", 0.1), ("c", -0.2))]
    return compare(sides)


def test_differences_are_to_the_first_side() -> None:
    found = three()
    means = [found.mean(run) for run in "abc"]
    assert found.difference("a") is None
    for row, shift in zip(means, (0, 0.1, -0.2), strict=True):
        assert row is not None
        assert row.value.mean == pytest.approx(noise(60).mean() + shift)
        assert row.users == 60
    for run, shift in (("b", 0.1), ("c", -0.2)):
        row = found.difference(run)
        assert row is not None
        assert row.baseline == "A"
        # Paired: the same shift for everybody leaves no doubt.
        assert [row.value.mean, row.value.low, row.value.high] == pytest.approx([shift] * 3)
        assert row.relative == pytest.approx(shift / noise(60).mean())
    group = found.mean("a", "without_source", "hr@10", "sampled")
    assert group is not None
    assert group.users == 30
    assert group.value.mean == pytest.approx(noise(60)[30:].mean())
    assert found.mean("a", "warm") is None  # nobody is warm, so there is no such row


def test_every_other_side_is_compared_with_the_champion() -> None:
    base = noise(40)
    sides = [Side(run, run.upper(), table(base + shift)) for run, shift in (("a", 0), ("b", 0.1), ("c", -0.2))]
    found = compare(sides, champion="b")
    gaps = {r.run: r for r in found.versus if (r.group, r.metric, r.protocol) == ("all", "ndcg@10", "full")}
    assert {run: row.value.mean for run, row in gaps.items()} == {"a": pytest.approx(-0.1), "c": pytest.approx(-0.3)}
    assert {row.baseline for row in gaps.values()} == {"B"}
    assert gaps["c"].relative == pytest.approx(-0.3 / (base.mean() + 0.1))
    # Naming a champion changes nothing of the rest.
    plain = compare(sides)
    assert plain.versus == []
    assert (plain.means, plain.differences) == (found.means, found.differences)


def test_metrics_are_not_mixed_up() -> None:
    names = ("hr@10", "ndcg@10", "mrr@10", "recall@10", "precision@10")
    tables = []
    for side in range(2):
        one = table(noise(20))
        for i, name in enumerate(names):
            one[name], one[f"sampled.{name}"] = i + 10 * side, 100 + i + 20 * side
        tables.append(one)
    found = compare([Side("a", "A", tables[0]), Side("b", "B", tables[1])])
    for i, name in enumerate(names):
        for run, side in (("a", 0), ("b", 1)):
            full, sampled = found.mean(run, metric=name), found.mean(run, metric=name, protocol="sampled")
            assert full is not None
            assert sampled is not None
            assert (full.value.mean, sampled.value.mean) == (i + 10 * side, 100 + i + 20 * side)
        full, sampled = found.difference("b", metric=name), found.difference("b", metric=name, protocol="sampled")
        assert full is not None
        assert sampled is not None
        assert (full.value.mean, sampled.value.mean) == (10, 20)


def test_the_order_of_rows_does_not_matter() -> None:
    base, better = table(noise(50)), table(noise(50) + noise(50, 1))
    mixed = better.sample(frac=1, random_state=3)
    one, two = (compare([Side("a", "A", base), Side("b", "B", t)]).to_dict() for t in (better, mixed))
    assert one == two


@pytest.mark.parametrize("column", ["user", "n_source", "n_target", "n_truth"])
def test_other_questions_are_refused(column: str) -> None:
    one, other = table(noise(40)), table(noise(40))
    other[column] = other[column] + (np.arange(40) == 7)
    with pytest.raises(CrossrecError, match="first and second were not tested on the same questions"):
        compare([Side("first", "A", one), Side("second", "B", other)])
    with pytest.raises(CrossrecError, match="not tested on the same questions"):
        compare([Side("first", "A", one), Side("second", "B", table(noise(39)))])


def test_rows_as_plain_values() -> None:
    rows = three().to_dict()
    row = next(r for r in rows["differences"] if (r["run"], r["group"], r["metric"]) == ("b", "all", "ndcg@10"))
    assert set(row) == {
        "run", "title", "group", "protocol", "metric", "users", "baseline", "relative", "mean", "low", "high",
    }  # fmt: skip
    assert row["mean"] == pytest.approx(0.1)
    lonely = compare([Side(run, run, table([0.5])) for run in "ab"]).to_dict()["means"][0]
    assert (lonely["mean"], lonely["low"], lonely["high"]) == (0.5, None, None)  # JSON knows no NaN


# --- what may change a verdict ----------------------------------------------------------------------------------------


def evidence(gain: Any, seed: int = 0) -> Any:
    return paired(np.asarray(gain, float)[None], seed)[0]


def yes() -> Verdict:
    base = noise(100)
    return judge(base, base + 0.1 + 0.02 * noise(100, 1))


def test_a_placebo_that_loses_confirms_and_one_that_does_as_well_takes_the_gain_away() -> None:
    lost = qualified(
        yes(), "Transfer", None, Kept(Interval(0.2, 0.1, 0.3), Interval(0.1, 0.05, 0.15)), (), "Movies", "Music"
    )
    assert lost.answer == "yes"
    assert lost.headline == yes().headline
    assert lost.details[0].startswith("Placebo: with somebody else's Movies history Transfer falls to 0.2000")
    kept = qualified(
        yes(), "Transfer", None, Kept(Interval(0.3, 0.2, 0.4), Interval(0.0, -0.05, 0.05)), (), "Movies", "Music"
    )
    assert kept.answer == "no"
    assert kept.headline.startswith("Transfer ranks better, but with somebody else's Movies history it does as well")
    assert "not taste that carries over" in kept.headline


def test_people_who_are_harmed_are_in_the_headline() -> None:
    one = Slice("source", "1 to 2", 0.3, 0.2, evidence(np.full(60, -0.1) + 0.01 * noise(60)))
    fine = Slice("source", "3 to 4", 0.3, 0.4, evidence(np.full(60, 0.1) + 0.01 * noise(60)))
    found = qualified(yes(), "Transfer", evidence(noise(100) - 0.2), None, [one, fine], "Movies", "Music")
    assert found.headline.endswith("But it harms people with 1 to 2 events in Movies.")
    assert found.answer == "yes"
    assert "100 % of them gain, 0 % lose and for 0 % nothing changes; p below 0.001" in found.details[0]
    assert found.details[1].startswith("Harm for people with 1 to 2 events in Movies (60): difference -0.09")
    assert not any("3 to 4" in detail for detail in found.details)


def test_nothing_is_added_where_nothing_can_be_said() -> None:
    unknown = Verdict("unknown", "Too few.", [])
    harmed = Slice("source", "0", 0.3, 0.2, evidence(np.full(60, -0.1) + 0.01 * noise(60)))
    assert qualified(unknown, "Transfer", evidence(noise(50)), None, [harmed]) == unknown


def test_plain_verdicts() -> None:
    base = noise(80)

    def plain(other: Any) -> Verdict:
        sides = [Side("a", "A", table(base)), Side("b", "B", table(other))]
        return plain_verdict(compare(sides), "b", "a")

    assert plain(base + 0.1).headline.startswith("B ranks better than A for the 80 people who were tested (NDCG@10 ")
    assert plain(base - 0.1).headline.startswith("B ranks worse than A")
    assert (plain(base - 0.1).answer, plain(base + 0.1).answer, plain(base).answer) == ("harm", "yes", "no")
    assert plain(base).headline.startswith("No evidence that B and A differ")
    few = [Side("a", "A", table(base[:20])), Side("b", "B", table(base[:20]))]
    assert plain_verdict(compare(few), "b", "a").answer == "unknown"
