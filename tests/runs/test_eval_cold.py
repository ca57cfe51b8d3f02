"""All cold-start recommenders of a dataset beside each other."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from crossrec import paths
from crossrec.data.pair import DomainPair
from crossrec.data.prepare import write_tables
from crossrec.data.split import open_split
from crossrec.errors import CrossrecError
from crossrec.evaluation import ratings
from crossrec.evaluation.compare import HEADLINE, Side, compare
from crossrec.evaluation.protocol import evaluate
from crossrec.evaluation.statistics import Interval
from crossrec.runs.coldstart import (
    LEARNED,
    _linear_sentence,
    _ranking,
    _way_sentence,
    cold_runs,
    compare_cold,
    compare_cold_runs,
    missing,
    share_of_the_way,
)
from crossrec.runs.compare import RatingRow
from crossrec.runs.demo import oracle
from crossrec.runs.execute import train
from crossrec.runs.folder import Run, list_runs, open_run
from crossrec.runs.leaks import Leak, _without_switch, leak_commands, leaks


def dataset(name: str, rated: bool) -> None:
    """People who like odd or even items in both domains."""
    rng = np.random.default_rng(0)
    tables = {}
    for which, letter in (("source", "s"), ("target", "t")):
        rows = []
        for user in range(80):
            liked = 2 * rng.permutation(15)[:6] + user % 2
            rows += [(f"u{user}", f"{letter}{i}", at, float(rng.integers(3, 6))) for at, i in enumerate(liked)]
        table = pd.DataFrame(rows, columns=["user_id", "item_id", "time", "rating"])
        table["time"] += 100 if which == "target" else 0
        tables[which] = table if rated else table.drop(columns="rating")
    write_tables(name, tables, {}, labels=("Source", "Target"))


@pytest.mark.usefixtures("home")
def test_all_that_the_data_allows_stand_in_one_comparison() -> None:
    dataset("odd", rated=True)
    events: list[dict[str, Any]] = []
    result = compare_cold("odd", "cold-user-20", on_event=events.append)
    recipes = {run.name: run.config()["recipe"] for run in list_runs("odd", finished=True)}
    assert [recipes[side.run] for side in result.sides] == [
        "linear-map", "popularity", "popular-lately", "user-knn", "biases", "emcdr", "ptupcdr", "collective-factors",
    ]  # fmt: skip
    assert result.users == len(result.sides[0].table) == 16
    # There is no word in this data.
    assert [note.split()[0] for note in result.notes] == ["content"]
    assert [event["text"] for event in events if event["event"] == "note"] == result.notes
    assert result.headline.split(" against ")[0].count("NDCG@10") == 1
    assert result.stars is not None
    assert "RMSE" in result.stars
    assert {d.baseline for d in result.comparison.differences} == {"Linear map"}
    assert [row.title for row in result.ratings[-3:]] == ["Global mean", "Item mean", "Mean + item + user"]
    assert {row.run for row in result.ratings[:-3]} == {side.run for side in result.sides}
    json.dumps(result.to_dict(), allow_nan=False)
    # A second time, only what is missing is trained.
    before = len(list_runs())
    assert before == len(result.sides)  # and what is left out leaves no failed run behind
    assert compare_cold("odd", "cold-user-20").to_dict() == result.to_dict()
    assert len(list_runs()) == before


@pytest.mark.usefixtures("home")
def test_the_best_of_each_kind_is_chosen_by_validation() -> None:
    dataset("odd", rated=True)
    result = compare_cold("odd", "cold-user-20")
    runs = [open_run(side.run) for side in result.sides]
    best = {}
    for kind in (True, False):
        kin = [run for run in runs if (run.config()["recipe"] in LEARNED) is kind]
        best[kind] = max(kin, key=lambda run: run.metrics()["valid"]["ndcg@10"])
    gap = (best[True].per_user()["ndcg@10"] - best[False].per_user()["ndcg@10"]).mean()
    assert result.headline.startswith(best[True].config()["title"])
    assert best[False].config()["title"] in result.headline
    assert f"difference {gap:+.4f}" in result.headline


@pytest.mark.usefixtures("home")
def test_without_stars_only_rankings_are_compared() -> None:
    dataset("plain", rated=False)
    train("target-sasrec", "plain", {"dim": 8, "epochs": 1}, split_kind="cold-user-20", name="own")
    train("target-sasrec", "plain", {"dim": 8, "epochs": 1}, split_kind="cold-user", name="other")
    result = compare_cold("plain", "cold-user-20")
    assert [side.title for side in result.sides] == [
        "Linear map", "Popularity", "Popular at the time", "Nearest neighbours", "Target-only SASRec",
    ]  # fmt: skip
    assert result.sides[-1].run == "own"
    assert result.stars is None
    assert result.ratings == []
    assert {note.split()[0] for note in result.notes} == {"content", "biases", "emcdr", "ptupcdr", "collective-factors"}
    # Source tells odd from even and the target-only model sees nothing of a cold user.
    assert "does not beat" in result.headline or "is not shown to beat" in result.headline


def test_it_is_about_cold_users(home: Path) -> None:
    dataset("odd", rated=False)
    with pytest.raises(CrossrecError, match="cold-user split"):
        compare_cold("odd", "next-item")
    with pytest.raises(CrossrecError, match="Did you mean 'cold-user-80'"):
        compare_cold("odd", "cold-users-80")
    assert not list_runs()


@pytest.mark.parametrize(
    ("gap", "better", "words"),
    [
        (Interval(0.1, 0.05, 0.2), 1, "beats X"),
        (Interval(-0.1, -0.2, -0.05), 1, "does not beat X"),
        (Interval(0.1, -0.1, 0.2), 1, "is not shown to beat X"),
        (Interval(-0.1, -0.2, -0.05), -1, "beats X"),
        (Interval(0.1, 0.05, 0.2), -1, "does not beat X"),
        (Interval(0.0, 0.0, 0.0), 1, "is not shown to beat X"),
        (Interval(0.1, float("nan"), float("nan")), 1, "is not shown to beat X"),
    ],
)
def test_words_for_a_gap(gap: Interval, better: int, words: str) -> None:
    from crossrec.runs.coldstart import _against

    assert _against(gap, "X", better) == words


# --- the oracle and the linear map, by numbers made by hand ---------------------------------------


def side(run: str, title: str, values: list[float]) -> Side:
    """Someone whose NDCG@10 for each person is given, and all else 0."""
    names = [f"{metric}@10" for metric in ("hr", "ndcg", "mrr", "recall", "precision")]
    table = pd.DataFrame({"user": range(len(values)), "n_source": 3, "n_target": 0, "n_train": 0, "n_truth": 1})
    for name in names:
        table[name] = table[f"sampled.{name}"] = np.array(values) if name == HEADLINE else 0.0
    return Side(run, title, table)


def test_the_share_of_the_way_by_hand() -> None:
    start, end = np.array([0.1, 0.3, 0.2, 0.2]), np.array([0.5, 0.7, 0.6, 0.6])
    found = share_of_the_way(start + 0.1, start, end)
    assert found is not None
    assert (found.mean, found.low, found.high) == pytest.approx((0.25, 0.25, 0.25))  # the same for every person
    back = share_of_the_way(start - 0.2, start, end)
    assert back is not None
    assert back.mean == pytest.approx(-0.5)
    uneven = share_of_the_way(np.array([0.5, 0.3, 0.2, 0.2]), start, end)
    assert uneven is not None
    assert uneven.mean == pytest.approx(0.25)
    # Of four people the one who went all the way is drawn at times not at all, and at times three times.
    assert uneven.low == 0
    assert 0.5 <= uneven.high <= 0.75
    assert share_of_the_way(end, start, start) is None
    assert share_of_the_way(end[:1], start[:1], end[:1]) is None


def test_the_way_to_the_oracle_in_words() -> None:
    popular, best = side("p", "Popularity", [0.1] * 4), side("oracle", "Oracle", [0.5] * 4)
    assert _way_sentence(side("m", "Model", [0.2] * 4), popular, best) == (
        "From popularity (0.1000) to the oracle (0.5000), which knows the truth, Model goes 25 % of the way, "
        "95 % interval 25 to 25 %."
    )
    assert "Model goes 0 % of the way" in str(_way_sentence(side("m", "Model", [0.099] * 4), popular, best))
    assert "there is nothing to learn here" in str(_way_sentence(best, popular, side("oracle", "Oracle", [0.1] * 4)))
    assert _way_sentence(best, popular, None) is _way_sentence(None, popular, best) is None


def test_the_sentence_against_the_linear_map() -> None:
    sides = [side("l", "Linear map", [0.2] * 4), side("k", "Neighbours", [0.4] * 4), side("m", "Model", [0.3] * 4)]
    comparison = compare(sides, "k")
    assert _linear_sentence(comparison, sides[2]) == (
        "Model beats the linear map: NDCG@10 0.3000 against 0.2000, difference +0.1000, "
        "95 % interval +0.1000 to +0.1000."
    )
    answer, headline = _ranking(comparison, sides[2], sides[1])
    assert answer == "harm"
    assert headline.startswith("Model does not beat Neighbours: NDCG@10 0.3000 against 0.4000, difference -0.1000")
    assert _ranking(compare(sides, "l"), sides[2], sides[0])[0] == "yes"
    assert _ranking(comparison, None, sides[1])[0] == "unknown"


# --- on the tiny world ----------------------------------------------------------------------------


def copy_of(run: Run, name: str, created: str, recipe: str | None = None, **settings: Any) -> Run:
    """A run that says of itself that it is another one."""
    folder = run.folder.with_name(name)
    shutil.copytree(run.folder, folder)
    config = run.config()
    config |= {"run": name, "created": created, "recipe": recipe or config["recipe"]}
    config["settings"] |= settings
    paths.write_json(folder / "config.json", config)
    return open_run(name)


@pytest.fixture
def cold_tiny(tiny_copy: Path) -> dict[str, Run]:
    """Runs on strangers of the tiny world; the review model is one by name only."""
    names = ("linear-map", "popularity", "biases")
    found = {name: train(name, "tiny", split_kind="cold-user-50", name=f"cold-{name}") for name in names}
    found["racrec"] = copy_of(found["biases"], "review", "2030-01-01", "racrec", mode="corrected")
    return found


def test_on_a_demo_world_the_oracle_stands_last(cold_tiny: dict[str, Run]) -> None:
    result = compare_cold_runs([cold_tiny[name] for name in ("popularity", "linear-map", "racrec")])
    assert [one.run for one in result.sides] == ["cold-linear-map", "cold-popularity", "review", "oracle"]
    assert result.sides[-1].title == "Oracle (knows the truth)"
    pair = DomainPair.open("tiny")
    truth = oracle(pair)
    assert truth is not None
    best = evaluate(truth, pair, open_split(pair, "cold-user-50")).table["ndcg@10"].mean()
    row = result.comparison.mean("oracle")
    assert row is not None
    assert row.value.mean == pytest.approx(best)
    low, mine = (cold_tiny[name].per_user()["ndcg@10"].mean() for name in ("popularity", "racrec"))
    assert result.way is not None
    assert f"goes {round(100 * (mine - low) / (best - low))} % of the way" in result.way
    assert result.sentences[0] == result.headline
    assert result.way in result.sentences
    assert json.loads(json.dumps(result.to_dict(), allow_nan=False))["runs"][-1]["run"] == "oracle"
    # Who else is simple and better by validation is named in the headline, and the linear map in the next sentence.
    valid = {name: cold_tiny[name].metrics()["valid"]["ndcg@10"] for name in ("popularity", "linear-map")}
    assert (result.linear is None) == (valid["linear-map"] >= valid["popularity"])


def test_the_console_shows_every_sentence(cold_tiny: dict[str, Run]) -> None:
    from crossrec.console import console
    from crossrec.console_results import show_cold

    result = compare_cold_runs(list(cold_tiny.values()))
    with console.capture() as captured:
        show_cold(result)
    said = captured.get()
    assert all(sentence in said for sentence in result.sentences)
    rows = [line.split("  ")[0] for line in said.splitlines()]
    assert rows.index("Oracle (knows the truth)") == rows.index("Global mean") - 1


def test_nobody_who_reads_his_answers_is_a_result(cold_tiny: dict[str, Run]) -> None:
    leaky = copy_of(cold_tiny["racrec"], "leaky", "2031-01-01", leaky_item_vectors=True)
    # Newer than the corrected one, and yet not what stands for the review model.
    copy_of(cold_tiny["racrec"], "classic", "2032-01-01", mode="classic")
    found = [run.name for run in cold_runs("tiny", "cold-user-50")]
    assert found == ["cold-linear-map", "cold-popularity", "cold-biases", "review"]
    assert cold_runs("tiny", "cold-user-50", seed=1) == cold_runs("tiny", "cold-user-20") == []
    result = compare_cold_runs([leaky, *cold_tiny.values()])
    assert "leaky" not in [one.run for one in result.sides]
    assert result.notes == ["leaky is left out: it reads its answers."]
    with pytest.raises(CrossrecError, match="at least two"):
        compare_cold_runs([leaky, cold_tiny["popularity"]])
    shutil.rmtree(cold_tiny["racrec"].folder)
    assert [run.name for run in cold_runs("tiny", "cold-user-50")][-1] == "classic"  # better than none


def test_what_is_missing_gets_a_command(cold_tiny: dict[str, Run]) -> None:
    pair = DomainPair.open("tiny")
    commands, notes = missing(pair, list(cold_tiny.values()), "cold-user-50", 3)
    assert commands == ["crossrec eval-cold --dataset tiny --split cold-user-50 --seed 3"]
    assert missing(pair, [], "cold-user")[0] == [
        "crossrec eval-cold --dataset tiny --split cold-user",
        "crossrec train racrec --dataset tiny --split cold-user",
    ]
    assert notes == []


@pytest.mark.usefixtures("home")
def test_what_the_data_does_not_allow_gets_none() -> None:
    dataset("plain", rated=False)
    commands, notes = missing(DomainPair.open("plain"), [], "cold-user")
    assert commands == ["crossrec eval-cold --dataset plain --split cold-user"]
    assert {note.split()[0] for note in notes} == {
        "content",
        "biases",
        "emcdr",
        "ptupcdr",
        "collective-factors",
        "racrec",
    }


# --- what a leak does -----------------------------------------------------------------------------


def test_a_leak_is_paired_with_its_like(cold_tiny: dict[str, Run]) -> None:
    honest = cold_tiny["racrec"]
    command = honest.config()["command"]
    leaky = copy_of(honest, "leaky", "2031-01-01", leaky_item_vectors=True)
    table = honest.ratings()
    assert table is not None
    table["predicted"] = table["rating"]  # it reads its answers
    table.to_parquet(leaky.folder / "ratings.parquet", index=False)
    metrics = leaky.metrics()
    metrics["ratings"] = ratings.summary(table)
    paths.write_json(leaky.folder / "metrics.json", metrics)
    (one,) = leaks("tiny", "cold-user-50")
    assert one.honest is not None
    assert one.gap is not None
    assert (one.leaky.run, one.honest.run) == ("leaky", "review")
    before = honest.metrics()["ratings"]["models"]["recommender"]["auc"]["mean"]
    assert one.gap.mean == pytest.approx(1 - before, abs=1e-5)
    assert one.gap.low < one.gap.mean < one.gap.high
    assert one.sentence.startswith(f"The leak alone lifts AUC from {before:.4f} to 1.0000 (+{1 - before:.4f}")
    assert one.command == command
    # Another setting is not the same model, and neither is another seed.
    copy_of(honest, "other", "2032-01-01", dropout=0.9)
    assert leaks("tiny", "cold-user-50")[0].honest == one.honest
    shutil.rmtree(honest.folder)
    (alone,) = leaks("tiny", "cold-user-50")
    assert alone.honest is alone.gap is None
    assert alone.sentence.endswith("have not been tested.")
    assert leaks("tiny", "cold-user-20") == []


def test_a_leak_without_effect_is_told_so() -> None:
    def row(auc: float) -> RatingRow:
        return RatingRow("r", "R", {"auc": Interval(auc, 0.4, 0.6)}, {})

    found = Leak(row(0.51), row(0.5), Interval(0.01, -0.02, 0.04), "command")
    assert found.sentence == (
        "The leak is not shown to lift AUC here: 0.5000 without it, 0.5100 with it "
        "(+0.0100, 95 % interval -0.0200 to +0.0400)."
    )


def test_the_commands_that_show_the_leak_are_those_of_the_command_line() -> None:
    honest, leaky = leak_commands("demo", "cold-user-50", 2)
    assert honest == "crossrec train racrec --dataset demo --split cold-user-50 --seed 2 --set mode=classic"
    assert leaky == f"{honest} --leaky-item-vectors"
    from crossrec.cli import app

    shown = CliRunner().invoke(app, ["train", "--help"], env={"COLUMNS": "200"}, color=False).output
    assert "leaky-item-vectors" in shown
    assert _without_switch(f"{honest} --set leaky_item_vectors=True --set lr=0.1") == f"{honest} --set lr=0.1"
