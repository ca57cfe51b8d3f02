"""Answers for people, from finished runs of the tiny world."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from crossrec.data.histories import Histories
from crossrec.data.pair import DomainPair
from crossrec.errors import CrossrecError
from crossrec.recommend.person import Person
from crossrec.recommend.recommender import RunRecommender
from crossrec.runs.folder import open_run

pytestmark = pytest.mark.usefixtures("tiny")
RUNS = ["tiny-popularity", "tiny-target-sasrec", "tiny-transfer-sasrec", "tiny-source-sasrec"]


@pytest.mark.parametrize("name", RUNS)
def test_nobody_is_recommended_what_they_have(name: str) -> None:
    recommender = RunRecommender(open_run(name))
    pair = DomainPair.open("tiny")
    which = "source" if "source" in name else "target"
    ids = pair.items(which)["item_id"].to_numpy()
    for user, user_id in enumerate(pair.users()["user_id"][:40]):
        answer = recommender.for_user(user_id, 10)
        owned = {ids[item - 1] for item in pair.domain(which).sequence(user)}
        shown = [item.item_id for item in answer.items]
        assert len(shown) == len(set(shown)) == min(10, len(ids) - len(owned))
        assert not set(shown) & owned
        assert set(shown) <= set(ids)
        assert [item.rank for item in answer.items] == list(range(1, len(shown) + 1))
        scores = [item.score for item in answer.items]
        assert scores == sorted(scores, reverse=True)


def test_the_list_is_that_of_the_model_for_all_that_is_known() -> None:
    recommender = RunRecommender(open_run("tiny-transfer-sasrec"))
    pair = DomainPair.open("tiny")
    user = int(np.flatnonzero(pair.overlap)[3])
    answer = recommender.for_user(pair.users()["user_id"][user], 5)
    # Nothing is hidden from an answer: the last target event, the test's truth, is known as well.
    known = Histories.of([pair.source.sequence(user).tolist()], [pair.target.sequence(user).tolist()])
    items, scores = recommender.recommender.recommend(known, 5)
    catalogue = pair.items("target").set_index("item")
    assert [i.item_id for i in answer.items] == [catalogue.loc[j, "item_id"] for j in items[0]]
    assert [i.title for i in answer.items] == [catalogue.loc[j, "title"] for j in items[0]]
    assert [i.score for i in answer.items] == pytest.approx(scores[0].tolist())
    assert [i.people for i in answer.items] == recommender.counts[items[0]].tolist()
    assert (answer.n_source, answer.n_target) == (pair.source.counts[user], pair.target.counts[user])
    assert (answer.basis, answer.run) == ("both domains", "tiny-transfer-sasrec")


def test_the_basis_of_an_answer() -> None:
    recommender = RunRecommender(open_run("tiny-transfer-sasrec"))
    pair = DomainPair.open("tiny")
    ids = pair.users()["user_id"]
    source_only = int(np.flatnonzero(pair.target.counts == 0)[0])
    target_only = int(np.flatnonzero(pair.source.counts == 0)[0])
    assert recommender.for_user(ids[source_only]).basis == "source history"
    assert recommender.for_user(ids[target_only]).basis == "target history"
    assert recommender.ask(Person()).basis == "nothing known"


def test_the_basis_of_a_source_runs_answer() -> None:
    pair = DomainPair.open("tiny")
    user = int(np.flatnonzero(pair.overlap)[0])
    answer = RunRecommender(open_run("tiny-source-sasrec")).for_user(pair.users()["user_id"][user])
    assert (answer.n_source, answer.basis) == (pair.source.counts[user], "source history")


def test_an_unknown_person() -> None:
    recommender = RunRecommender(open_run("tiny-transfer-sasrec"))
    with pytest.raises(CrossrecError, match=r"'u00041' is not in 'tiny'; the nearest ids are u.*u0004"):
        recommender.for_user("u00041")
    answer = recommender.for_user("u00041", 4, fallback=True)
    assert answer.basis == "popularity fallback"
    assert (answer.n_source, answer.n_target) == (0, 0)
    people = [item.people for item in answer.items]
    assert people == sorted(recommender.counts[1:].tolist(), reverse=True)[:4]
    # Who is known needs no fallback, asked for or not.
    assert recommender.for_user("u0004", fallback=True) == recommender.for_user("u0004")


@pytest.mark.parametrize("k", [1, 100])
def test_lists_of_any_length(k: int) -> None:
    recommender = RunRecommender(open_run("tiny-target-sasrec"))
    pair = DomainPair.open("tiny")
    owned = int(pair.target.counts[0])
    assert len(recommender.for_user(pair.users()["user_id"][0], k).items) == min(k, pair.target.n_items - owned)


@pytest.mark.parametrize("k", [0, 101, -1])
def test_lists_of_no_length(k: int) -> None:
    recommender = RunRecommender(open_run("tiny-target-sasrec"))
    with pytest.raises(CrossrecError, match=f"k must be from 1 to 100, and it is {k}."):
        recommender.for_user("u0001", k)


def test_an_answer_as_plain_values() -> None:
    answer = RunRecommender(open_run("tiny-target-sasrec")).for_user("u0001", 2).to_dict()
    assert set(answer) == {"run", "basis", "n_source", "n_target", "n_reviews", "items", "evidence", "notes"}
    assert set(answer["items"][0]) == {
        *("rank", "item_id", "title", "creator", "category", "year", "score", "fit", "top_share", "stars", "people")
    }
    assert isinstance(answer["items"][0]["year"], int)
    json.dumps(answer, allow_nan=False)


def test_titles_and_years_may_be_missing(tiny_copy: Path) -> None:
    """Of a run from before there were catalogues, which gets one when it is first opened."""
    path = tiny_copy / "datasets" / "tiny" / "target.items.parquet"
    frame = pd.read_parquet(path)
    frame.assign(title=None, creator=None, year=float("nan")).to_parquet(path)
    run = open_run("tiny-target-sasrec")
    shutil.rmtree(run.folder / "catalog")
    item = RunRecommender(run).for_user("u0001", 1).items[0]
    assert (item.title, item.creator, item.year) == (None, None, None)
    assert (run.folder / "catalog" / "catalog.json").exists()
