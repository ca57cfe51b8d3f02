"""What a comparison rests on, from runs on disk."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crossrec.data.pair import DomainPair
from crossrec.data.split import open_split
from crossrec.evaluation.controls import CONTROLS
from crossrec.evaluation.statistics import mean_intervals, seed_spread
from crossrec.runs import controls
from crossrec.runs.compare import Result, compare_runs
from crossrec.runs.execute import ask_controls, train
from crossrec.runs.folder import Run, open_run
from crossrec.runs.insight import who


def compared(*recipes: str) -> Result:
    return compare_runs([open_run(f"tiny-{recipe}") for recipe in recipes], with_oracle=False)


@pytest.mark.usefixtures("tiny")
def test_every_part_is_there() -> None:
    found = compared("target-sasrec", "transfer-sasrec", "popularity").insight
    assert (found.challenger, found.baseline, found.missing) == ("tiny-transfer-sasrec", "tiny-target-sasrec", [])
    assert set(found.tests) == {"all", "with_source"}
    assert found.test("all") is found.tests["all"]["ndcg@10"]
    assert {row.control for row in found.controls if row.run == "tiny-transfer-sasrec"} == set(CONTROLS)
    assert {row.run for row in found.controls} == {"tiny-transfer-sasrec"}  # the others read nothing of the source
    assert found.placebo is not None
    assert {one.kind for one in found.slices} >= {"target", "source", "popularity"}
    for kind in ("target", "source", "popularity"):
        assert sum(one.users for one in found.slices if one.kind == kind) == 109
    assert set(found.lists) == {"tiny-target-sasrec", "tiny-transfer-sasrec", "tiny-popularity"}
    assert found.lists["tiny-popularity"]["coverage"] < found.lists["tiny-target-sasrec"]["coverage"]  # type: ignore[operator]
    assert found.seeds is None
    json.dumps(found.to_dict(), allow_nan=False)


@pytest.mark.usefixtures("tiny")
def test_controls_are_paired_over_those_who_have_a_source() -> None:
    found = compared("target-sasrec", "transfer-sasrec").insight
    run = open_run("tiny-transfer-sasrec")
    real = run.per_user().set_index("user")
    for row in found.controls:
        table = controls.read(run)[0][row.control].set_index("user")
        assert row.users == len(table) == (real["n_source"] > 0).sum()
        loss = (real["ndcg@10"] - table["ndcg@10"]).loc[table.index].to_numpy()
        assert row.kept.loss == mean_intervals(np.stack([table["ndcg@10"].to_numpy(), loss]))[1]
        assert row.kept.value.mean == pytest.approx(table["ndcg@10"].mean())


@pytest.mark.usefixtures("tiny")
def test_without_source_it_is_what_people_without_one_get(tiny_settings: dict[str, Any]) -> None:
    from crossrec.evaluation.protocol import ranked
    from crossrec.runs.execute import load

    recommender, pair, split = load(open_run("tiny-transfer-sasrec"))
    table = controls.read(open_run("tiny-transfer-sasrec"))[0]["no-source"]
    bare = split.test.take(np.flatnonzero(np.isin(split.test.user, table["user"])))
    from dataclasses import replace

    expected = ranked(recommender, pair, replace(bare, source_end=np.zeros_like(bare.source_end)))
    assert table["rank"].tolist() == expected["rank"].tolist()


def test_a_run_of_an_earlier_version_is_asked_later(tiny_copy: Path) -> None:
    run = open_run("tiny-transfer-sasrec")
    before = {name: (run.folder / name).read_bytes() for name in (controls.CONTROLS, controls.SHOTS, controls.LISTS)}
    for name in before:
        (run.folder / name).unlink()
    found = compared("target-sasrec", "transfer-sasrec")
    assert found.insight.missing == ["tiny-transfer-sasrec"]
    assert (found.insight.controls, found.insight.placebo) == ([], None)
    ask_controls(run)
    assert {name: (run.folder / name).read_bytes() for name in before} == before
    assert compared("target-sasrec", "transfer-sasrec").insight.missing == []


@pytest.mark.usefixtures("tiny")
def test_lists_are_what_the_run_recommends() -> None:
    from crossrec.runs.execute import evaluate_run

    run = open_run("tiny-target-sasrec")
    kept = controls.read_lists(run)
    assert kept is not None
    evaluation, _ = evaluate_run(run)
    np.testing.assert_array_equal(kept[0], evaluation.table["user"])
    np.testing.assert_array_equal(kept[1], evaluation.top)


def test_seeds_of_one_recipe_are_found(tiny_copy: Path, tiny_settings: dict[str, Any]) -> None:
    runs: dict[str, list[Run]] = {"target-sasrec": [], "transfer-sasrec": []}
    for recipe, made in runs.items():
        made += [open_run(f"tiny-{recipe}"), *(train(recipe, "tiny", tiny_settings, seed=seed) for seed in (1, 2))]
    train("target-sasrec", "tiny", {**tiny_settings, "dim": 8}, seed=3)  # another model
    found = compared("target-sasrec", "transfer-sasrec").insight
    assert found.trained == ([0, 1, 2], [0, 1, 2])
    after, before = (
        np.stack([run.per_user().sort_values("user")["ndcg@10"].to_numpy() for run in runs[recipe]])
        for recipe in ("transfer-sasrec", "target-sasrec")
    )
    assert found.seeds == seed_spread(after, before)
    assert found.to_dict()["seeds"]["challenger"] == [0, 1, 2]


@pytest.mark.usefixtures("tiny")
def test_the_users_of_a_slice() -> None:
    found = compared("target-sasrec", "transfer-sasrec")
    pair = DomainPair.open("tiny")
    one = next(x for x in found.insight.slices if x.kind == "target" and x.users > 5)
    table = who(found.insight, *found.sides, pair, open_split(pair), one.kind, one.label)
    assert len(table) == one.users
    assert table["difference"].mean() == pytest.approx(one.difference.value.mean)
    assert table["difference"].is_monotonic_increasing
    number = pair.user_index(table["user"].iloc[0])
    row = open_run("tiny-target-sasrec").per_user().set_index("user").loc[number]
    assert (row["rank"], row["n_target"]) == (table["rank"].iloc[0], table["n_target"].iloc[0])


def test_source_models_can_be_compared(tiny_copy: Path, tiny_settings: dict[str, Any]) -> None:
    train("source-sasrec", "tiny", tiny_settings, seed=1, name="tiny-other")
    found = compared("source-sasrec", "other")
    assert found.insight.controls == []
    assert found.verdict.answer in ("yes", "no", "harm")
