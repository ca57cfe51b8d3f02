"""The champion: chosen by validation and never by the test, judged by the test against what is plain."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crossrec import paths
from crossrec.errors import CrossrecError
from crossrec.evaluation.statistics import Interval, mean_intervals
from crossrec.report import champion as words
from crossrec.runs.champion import PLAIN, Champion, champion, contenders, strangers_split
from crossrec.runs.compare import compare_runs
from crossrec.runs.execute import train
from crossrec.runs.folder import Run, open_run
from crossrec.training.recipes import RECIPES

COLD = {"kind": "cold-user-50", "seed": 0}


@pytest.fixture
def arena(tiny_copy: Path) -> Path:
    """The tiny home with its popularity run alone; tests put others beside it."""
    for run in (paths.runs()).iterdir():
        if run.name != "tiny-popularity":
            shutil.rmtree(run)
    put("tiny-popularity", "popularity", 0.10)
    return tiny_copy


def put(name: str, recipe: str, valid: float | None, better: float = 0.0, **config: Any) -> Run:
    """A finished run with a validation score of its own, that ranks better for some people than popularity does."""
    folder, base = paths.runs() / name, paths.runs() / "tiny-popularity"
    if name != base.name:
        shutil.copytree(base, folder)
    about = json.loads((folder / "config.json").read_text())
    about |= {"run": name, "recipe": recipe, "title": RECIPES[recipe].title, **config}
    (folder / "config.json").write_text(json.dumps(about))
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics["valid"] = {"ndcg@10": valid, "hr@10": 0.5}
    (folder / "metrics.json").write_text(json.dumps(metrics if valid is not None else {**metrics, "valid": None}))
    table = Run(folder).per_user().sample(frac=1, random_state=len(name))  # in whichever order
    table["ndcg@10"] += better * (table["user"] % 3 > 0)
    table.to_parquet(folder / "per_user.parquet", index=False)
    return Run(folder)


@pytest.mark.usefixtures("arena")
def test_validation_chooses_and_the_test_judges() -> None:
    put("map", "linear-map", 0.20, better=0.3)  # best of all on the test, and the best plain one by validation
    put("knn", "user-knn", 0.15)
    put("mine", "transfer-sasrec", 0.25, better=0.1)
    put("older", "target-sasrec", 0.22)
    assert [run.name for run in contenders("tiny")] == ["mine", "older", "map", "knn", "tiny-popularity"]
    found = champion("tiny")
    assert found is not None
    assert (found.run, found.plain, found.answer) == ("mine", "map", "harm")
    assert (found.valid, found.among, found.learned, found.split, found.seed) == (0.25, 5, 2, "next-item", 0)
    mine, other = (open_run(name).per_user().set_index("user")["ndcg@10"].sort_index() for name in ("mine", "map"))
    assert (found.test,) == tuple(mean_intervals(mine.to_numpy()[None]))
    assert (found.difference,) == tuple(mean_intervals((mine - other).to_numpy()[None]))
    assert found.users == len(mine)
    # The numbers are those of a comparison.
    row = compare_runs([open_run("map"), open_run("mine")], with_oracle=False).comparison.difference("mine")
    assert row is not None and found.difference is not None
    assert vars(row.value) == pytest.approx(vars(found.difference))


@pytest.mark.usefixtures("arena")
@pytest.mark.parametrize(("better", "answer"), [(0.3, "yes"), (0.0, "no"), (-0.3, "harm")])
def test_what_is_not_shown_is_no_gain(better: float, answer: str) -> None:
    put("mine", "racrec", 0.9, better=better)
    found = champion("tiny")
    assert found is not None and (found.run, found.plain, found.answer) == ("mine", "tiny-popularity", answer)


@pytest.mark.usefixtures("arena")
def test_a_plain_champion_is_compared_with_nothing() -> None:
    put("mine", "racrec", 0.05, better=0.9)
    found = champion("tiny")
    assert found is not None and (found.run, found.plain) == ("tiny-popularity", "tiny-popularity")
    assert found.difference is None and found.is_plain and found.answer == "plain"


@pytest.mark.usefixtures("arena")
def test_who_may_not_be_champion() -> None:
    racrec = open_run("tiny-popularity").config()["settings"]
    put("leaky", "racrec", 0.9, settings={**racrec, "leaky_item_vectors": True})
    put("source", "source-sasrec", 0.9, domain="source")
    put("clicks", "policy-finetune", 0.9)
    put("old-data", "linear-map", 0.9, dataset_hash="other")
    put("elsewhere", "linear-map", 0.9, split=COLD)
    put("unfit", "linear-map", math.nan)
    put("untold", "linear-map", None)
    train("linear-map", "tiny", name="trial", tested=False)
    running = put("running", "linear-map", 0.9)
    status = json.loads((running.folder / "status.json").read_text())
    (running.folder / "status.json").write_text(json.dumps({**status, "state": "failed"}))
    assert [run.name for run in contenders("tiny")] == ["tiny-popularity"]
    assert [run.name for run in contenders("tiny", "cold-user-50")] == ["elsewhere"]
    assert contenders("tiny", "cold-user-50", 1) == []
    assert champion("tiny", "cold-user-80") is None


@pytest.mark.usefixtures("arena")
def test_strangers_are_those_of_the_split_with_most_runs() -> None:
    assert strangers_split("tiny") is None
    put("a", "linear-map", 0.1, split={"kind": "cold-user", "seed": 4})
    put("b", "linear-map", 0.1, split=COLD)
    assert strangers_split("tiny") == ("cold-user", 4)
    put("c", "user-knn", 0.3, split=COLD)
    assert strangers_split("tiny") == ("cold-user-50", 0)
    found = champion("tiny", "cold-user-50", 0)
    assert found is not None and found.run == "c"
    for at in range(3):  # known people do not count
        put(f"k{at}", "linear-map", 0.1)
    assert strangers_split("tiny") == ("cold-user-50", 0)


@pytest.mark.usefixtures("arena")
def test_other_people_cannot_be_compared() -> None:
    mine = put("mine", "racrec", 0.9)
    mine.per_user().iloc[1:].to_parquet(mine.folder / "per_user.parquet", index=False)
    with pytest.raises(CrossrecError, match="mine and tiny-popularity were not tested on the same people"):
        champion("tiny")


def test_plain_recipes_are_recipes() -> None:
    assert set(PLAIN) < set(RECIPES)


# --- in words ---------------------------------------------------------------------------------------------------------

ONE = Champion(
    dataset="d",
    split="next-item",
    seed=0,
    run="d-ensemble",
    recipe="ensemble",
    title="Ensemble",
    valid=0.3,
    among=5,
    learned=3,
    users=1234,
    test=Interval(0.25, 0.2, 0.3),
    plain="d-map",
    plain_title="Linear map",
    difference=Interval(0.01, -0.005, 0.025),
)


def test_sentences() -> None:
    assert words.chosen_sentence(ONE).startswith("Ensemble ranks best on the validation people, of 5 recommenders")
    assert words.test_sentence(ONE) == (
        "On the test it comes to NDCG@10 0.2500, 95 % interval 0.2000 to 0.3000, over 1,234 people."
    )
    assert words.worth_sentence(ONE) == (
        "There is no evidence of a gain over the best plain recommender, Linear map: +0.0100, 95 % interval -0.0050 to "
        "+0.0250."
    )
    better = replace(ONE, difference=Interval(0.01, 0.005, 0.015))
    assert words.worth_sentence(better).startswith("It beats the best plain recommender, Linear map: +0.0100")
    worse = replace(ONE, difference=Interval(-0.01, -0.015, -0.005))
    assert words.worth_sentence(worse).startswith("On the test it is worse than the best plain recommender")
    plain = replace(ONE, recipe="linear-map", difference=None)
    assert words.worth_sentence(plain).startswith("It is plain itself: nothing that learns ranks")
    assert "Nothing that learns was tested beside it" in words.worth_sentence(replace(plain, learned=0))
    assert words.worth_sentence(replace(ONE, plain=None, difference=None)).startswith("No plain recommender was tested")
    assert "is the only recommender" in words.chosen_sentence(replace(ONE, among=1))
    assert {one.answer for one in (ONE, better, worse, plain, replace(ONE, difference=None))} == set(words.BADGES)


def test_weights_that_were_fitted_on_validation_are_told() -> None:
    assert "fitted on the same validation people" in (words.caution(ONE) or "")
    assert words.caution(replace(ONE, recipe="autoencoder")) is None


def test_the_line_says_whether_it_is_shown() -> None:
    assert words.line(ONE, True) == "The champion of these people by validation is Ensemble (d-ensemble)."
    assert words.line(ONE, False).endswith("; it is not among the runs that are compared here.")


def test_nan_is_no_gain() -> None:
    assert replace(ONE, difference=Interval(0.1, np.nan, np.nan)).answer == "no"
