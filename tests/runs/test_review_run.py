"""A run of the review model from the command to its answers, with the encoder that needs no time."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from crossrec.recommend.person import Person, Review
from crossrec.recommend.recommender import RunRecommender
from crossrec.runs.execute import evaluate_run
from crossrec.runs.folder import list_runs, open_run

Command = Callable[..., tuple[int, str, str]]
SPLIT = ("--dataset", "tiny", "--split", "cold-user-50")
SHORT = ("--set", "encoder=static", "--set", "epochs=3", "--set", "components=8")


def test_a_review_run_is_whole(crossrec: Command, tiny_copy: Path) -> None:
    code, _, err = crossrec("train", "racrec", *SPLIT, *SHORT, "--name", "words")
    assert code == 0, err
    run = open_run("words")
    evaluation, _ = evaluate_run(run)
    pd.testing.assert_frame_equal(evaluation.table, run.per_user())
    epochs = [event for event in run.events() if event["event"] == "epoch"]
    assert len(epochs) == 3
    for event in epochs:
        assert set(event["losses"]) == {"loss", "pred", "diff", "class", "rec", "irec", "rank"}
        assert {"ndcg@10", "rmse"} <= set(event["valid"])
    told = run.metrics()["ratings"]["models"]["recommender"]
    stars = pd.read_parquet(run.folder / "ratings.parquet")
    error = stars["predicted"].clip(1, 5) - stars["rating"]
    assert told["rmse"]["mean"] == pytest.approx(float(np.sqrt((error**2).mean())), abs=1e-5)
    assert told["auc"]["low"] < told["auc"]["mean"] < told["auc"]["high"]


def test_what_is_loaded_answers_as_what_was_trained(crossrec: Command, tiny_copy: Path) -> None:
    crossrec("train", "racrec", *SPLIT, *SHORT, "--name", "words")
    person = Person(reviews=(Review("Rain, neon and a detective who cannot sleep.", 5), Review("Silly pratfalls.", 1)))
    first, again = (RunRecommender(open_run("words")).ask(person) for _ in range(2))
    assert first.basis == "reviews"
    assert [item.item_id for item in first.items] == [item.item_id for item in again.items]
    assert all(item.stars is not None and 1 <= item.stars <= 5 for item in first.items)
    other = RunRecommender(open_run("words")).ask(Person(reviews=(Review(person.reviews[0].text, 1),)))
    assert [item.score for item in other.items] != [item.score for item in first.items]


def test_the_leak_is_switched_on_by_name_only(crossrec: Command, tiny_copy: Path) -> None:
    for name, switch in (("sound", ()), ("leaky", ("--leaky-item-vectors",))):
        code, _, err = crossrec("train", "racrec", *SPLIT, *SHORT, "--set", "mode=classic", *switch, "--name", name)
        assert code == 0, err
    settings = {name: open_run(name).config()["settings"]["leaky_item_vectors"] for name in ("sound", "leaky")}
    assert settings == {"sound": False, "leaky": True}
    assert "leaky_item_vectors=True" in open_run("leaky").config()["command"]
    code, _, err = crossrec("train", "popularity", *SPLIT, "--leaky-item-vectors")
    assert code == 1
    assert "PopularityConfig has no setting 'leaky_item_vectors'" in err


def test_an_encoder_that_is_not_there_leaves_nothing_behind(crossrec: Command, tiny_copy: Path) -> None:
    before = [run.name for run in list_runs()]
    code, _, err = crossrec("train", "racrec", *SPLIT, "--set", "encoder=minilmm")
    assert code == 1
    assert "minilm" in err
    assert "static" in err
    assert err.strip().count("\n") == 0
    assert [run.name for run in list_runs()] == before
