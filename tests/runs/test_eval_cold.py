"""All cold-start recommenders of a dataset beside each other."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from crossrec.data.prepare import write_tables
from crossrec.errors import CrossrecError
from crossrec.evaluation.statistics import Interval
from crossrec.runs.coldstart import LEARNED, compare_cold
from crossrec.runs.execute import train
from crossrec.runs.folder import list_runs, open_run


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
        "linear-map", "popularity", "user-knn", "biases", "emcdr", "ptupcdr",
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
        "Linear map", "Popularity", "Nearest neighbours", "Target-only SASRec",
    ]  # fmt: skip
    assert result.sides[-1].run == "own"
    assert result.stars is None
    assert result.ratings == []
    assert {note.split()[0] for note in result.notes} == {"content", "biases", "emcdr", "ptupcdr"}
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
