"""Finished runs side by side on the tiny world."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crossrec.data.pair import DomainPair
from crossrec.errors import CrossrecError
from crossrec.evaluation.protocol import evaluate
from crossrec.runs.compare import compare_dataset, compare_runs, matching_runs, unlike
from crossrec.runs.demo import oracle
from crossrec.runs.execute import train
from crossrec.runs.folder import list_runs, open_run

SIDES = ("target-sasrec", "transfer-sasrec", "popularity")


def runs(*names: str) -> list[Any]:
    return [open_run(f"tiny-{name}") for name in names]


@pytest.mark.usefixtures("tiny")
def test_a_comparison_rests_on_the_stored_tables() -> None:
    result = compare_runs(runs("target-sasrec", "transfer-sasrec", "popularity"))
    assert [side.run for side in result.sides] == [
        "tiny-target-sasrec", "tiny-transfer-sasrec", "tiny-popularity", "oracle",
    ]  # fmt: skip
    base, transfer = (open_run(f"tiny-{n}").per_user() for n in ("target-sasrec", "transfer-sasrec"))
    row = result.comparison.difference("tiny-transfer-sasrec")
    assert row is not None
    assert row.value.mean == pytest.approx((transfer["ndcg@10"] - base["ndcg@10"]).mean())
    assert result.verdict is not None
    assert result.verdict.answer in ("yes", "no", "harm")
    assert "Screen" in result.verdict.headline
    document = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert [r["run"] for r in document["runs"]][-1] == "oracle"


@pytest.mark.usefixtures("tiny_copy")
def test_stars_of_a_comparison_are_those_of_the_runs() -> None:
    train("biases", "tiny", {"item_damping": 50}, name="tiny-biases")
    result = compare_runs(runs("target-sasrec", "biases"))
    assert [row.run for row in result.ratings] == ["tiny-target-sasrec", "tiny-biases", None, None, None]
    assert [row.title for row in result.ratings[2:]] == ["Global mean", "Item mean", "Mean + item + user"]
    stored = open_run("tiny-biases").metrics()["ratings"]
    ours, plain = result.ratings[1], result.ratings[4]
    assert ours.values["rmse"] is not None
    assert ours.values["rmse"].mean == stored["models"]["recommender"]["rmse"]["mean"]
    assert ours.differences["mae"] is not None
    assert ours.differences["mae"].low == stored["differences"]["recommender"]["mae"]["low"]
    assert plain.differences == {}
    assert result.ratings[0].values["rmse"] is None
    rows = json.loads(json.dumps(result.to_dict(), allow_nan=False))["ratings"]
    assert rows[1]["rmse"] == stored["models"]["recommender"]["rmse"]
    assert rows[0]["rmse"] is rows[0]["auc_user"] is None  # a user has one hidden event, so none has both classes


@pytest.mark.usefixtures("tiny")
def test_the_oracle_is_the_best_of_all() -> None:
    result = compare_runs(runs("target-sasrec", "transfer-sasrec", "popularity"))
    means = {side.run: result.comparison.mean(side.run) for side in result.sides}
    values = {run: row.value.mean for run, row in means.items() if row is not None}
    assert max(values, key=lambda run: values[run]) == "oracle"
    assert values["oracle"] > 2 * values["tiny-popularity"]


def test_the_oracle_ranks_by_the_generators_own_weights(tiny: Path) -> None:
    pair = DomainPair.open("tiny")
    best = oracle(pair)
    assert best is not None
    assert best.affinity.shape == (pair.n_users, pair.target.n_items + 1)
    from crossrec.data.split import open_split

    table = evaluate(best, pair, open_split(pair)).table
    assert table["rank"].median() <= 5  # of some sixty items


@pytest.mark.usefixtures("tiny")
def test_any_two_runs_get_a_plain_verdict() -> None:
    found = compare_runs(runs("popularity", "transfer-sasrec")).verdict
    assert (found.answer, "carries over" in found.headline) == ("no", False)
    assert found.headline.startswith("No evidence that Transfer SASRec and Popularity differ for the 109 people")
    sides = compare_runs(runs("target-sasrec", "popularity"), with_oracle=False).sides
    assert [side.run for side in sides] == ["tiny-target-sasrec", "tiny-popularity"]


def test_what_cannot_be_compared_is_refused(tiny_copy: Path, tiny_settings: dict[str, Any]) -> None:
    with pytest.raises(CrossrecError, match="at least two different runs"):
        compare_runs(runs("popularity"))
    with pytest.raises(CrossrecError, match="at least two different runs"):
        compare_runs(runs("popularity", "popularity"))
    with pytest.raises(CrossrecError, match="differ in their domain"):
        compare_runs(runs("target-sasrec", "source-sasrec"))
    train("popularity", "tiny", split_kind="cold-user", name="tiny-cold")
    with pytest.raises(CrossrecError, match="tiny-popularity and tiny-cold differ in their split"):
        compare_runs(runs("popularity", "cold"))
    train("popularity", "tiny", split_kind="cold-user", seed=1, name="tiny-cold1")
    with pytest.raises(CrossrecError, match="differ in their split"):
        compare_runs(runs("cold", "cold1"))
    path = tiny_copy / "runs" / "tiny-popularity" / "config.json"
    path.write_text(path.read_text().replace(DomainPair.open("tiny").meta["hash"], "0" * 64))
    with pytest.raises(CrossrecError, match="differ in their dataset hash"):
        compare_runs(runs("target-sasrec", "popularity"))


def test_the_matching_runs_of_a_dataset(tiny_copy: Path, tiny_settings: dict[str, Any]) -> None:
    found = matching_runs("tiny")
    assert found is not None
    assert [run.name for run in found] == ["tiny-target-sasrec", "tiny-transfer-sasrec", "tiny-popularity"]
    assert matching_runs("tiny", "cold-user") is None
    # A newer baseline of another seed does not take the place of the one with the transfer run's seed.
    train("target-sasrec", "tiny", tiny_settings, seed=1, name="zz-seed1")
    again = matching_runs("tiny")
    assert again is not None
    assert again[0].name == "tiny-target-sasrec"


def test_a_narrow_baseline_is_not_matched_when_there_is_one_of_the_same_width(
    tiny_copy: Path, tiny_settings: dict[str, Any]
) -> None:
    train("target-sasrec", "tiny", {**tiny_settings, "dim": 4}, name="zz-narrow")
    found = matching_runs("tiny")
    assert found is not None
    assert found[0].name == "tiny-target-sasrec"


def test_unlike_names_what_differs(tiny_copy: Path, tiny_settings: dict[str, Any]) -> None:
    assert unlike(*runs("target-sasrec", "transfer-sasrec")) == {}
    narrow = train("target-sasrec", "tiny", {**tiny_settings, "dim": 8, "epochs": 1}, name="narrow")
    assert unlike(narrow, open_run("tiny-transfer-sasrec")) == {"dim": (8, 16), "epochs": (1, 2)}


def test_comparing_a_dataset_trains_the_simple_recommenders_once(tiny_copy: Path) -> None:
    assert not list_runs("tiny", "linear-map")
    result = compare_dataset("tiny")
    assert len(list_runs("tiny", "linear-map")) == 1
    assert {side.title for side in result.sides} >= {"Popularity", "Linear map"}
    names = {run.name for run in list_runs()}
    again = compare_dataset("tiny")
    assert {run.name for run in list_runs()} == names
    assert again.to_dict() == result.to_dict()


def test_a_simple_recommender_that_the_data_do_not_allow_is_left_out_and_told(
    tiny_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise CrossrecError("Nobody is in both domains.")

    monkeypatch.setattr("crossrec.runs.compare.train", refuse)
    events: list[dict[str, Any]] = []
    result = compare_dataset("tiny", on_event=events.append)
    assert [side.run for side in result.sides] == [f"tiny-{n}" for n in SIDES] + ["oracle"]
    assert events == [
        {"event": "note", "text": f"{recipe} is left out: Nobody is in both domains."}
        for recipe in ("popular-lately", "linear-map", "item-knn")
    ]


def test_a_transfer_run_without_a_bridge_stands_for_no_transfer(tiny_copy: Path) -> None:
    found = matching_runs("tiny")
    assert found is not None
    shutil.copytree(found[1].folder, found[1].folder.with_name("newer"))
    path = found[1].folder.with_name("newer") / "config.json"
    config = json.loads(path.read_text()) | {"run": "newer", "created": "2999-01-01T00:00:00+00:00"}
    for bridge, name in (("linear", "newer"), ("none", found[1].name)):
        config["settings"]["bridge"] = bridge
        path.write_text(json.dumps(config))
        again = matching_runs("tiny")
        assert again is not None and again[1].name == name


def test_a_dataset_without_runs_says_what_to_run(tiny_copy: Path) -> None:
    with pytest.raises(CrossrecError, match=r"train-source.*train-target-transfer.*train-target-baseline"):
        compare_dataset("tiny", "cold-user")
    with pytest.raises(CrossrecError, match="Did you mean 'tiny'"):
        compare_dataset("tinny")


def test_titles_tell_runs_of_one_recipe_apart(tiny_copy: Path, tiny_settings: dict[str, Any]) -> None:
    train("target-sasrec", "tiny", tiny_settings, seed=1, name="seed1")
    train("target-sasrec", "tiny", tiny_settings, seed=1, name="seed1-again")
    first = compare_runs([open_run("tiny-target-sasrec"), open_run("seed1")], with_oracle=False)
    assert [s.title for s in first.sides] == ["Target-only SASRec, seed 0", "Target-only SASRec, seed 1"]
    second = compare_runs([open_run("seed1"), open_run("seed1-again")], with_oracle=False)
    assert [s.title for s in second.sides] == ["seed1", "seed1-again"]
    row = second.comparison.difference("seed1-again")
    assert row is not None
    np.testing.assert_array_equal([row.value.mean, row.value.low, row.value.high], 0)
