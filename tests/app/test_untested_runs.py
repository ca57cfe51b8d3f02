"""Runs that leave the test part alone on the pages: shown where trainings are looked at, and offered nowhere else."""

import pytest
from test_pages import alerts, open_page, words

from app.ui import state, train_form
from crossrec.api import _runs
from crossrec.runs import queue
from crossrec.runs.execute import train
from crossrec.runs.folder import open_run
from crossrec.runs.plan import plan
from crossrec.runs.search import search

COLD = "cold-user-50"


@pytest.fixture
def searched(built, copy_of, monkeypatch):
    """A copy of the tiny home with a search on the known people, and a trial on strangers."""
    monkeypatch.setattr(queue, "keep", lambda: None)
    home = copy_of(built)
    search("linear-map", "demo", 2, name="tuned")
    train("popularity", "demo", split_kind=COLD, name="stranger", tested=False)
    return home


def test_the_page_of_trainings_shows_a_trial_as_what_it_is(searched):
    at = open_page("train", data="demo", run="tuned-t1")
    valid = open_run("tuned-t1").metrics()["valid"]["ndcg@10"]
    said = words(at).replace("\\", "")
    assert f"**Not tested; on the validation people:** NDCG@10 {valid:.4f}" in said
    assert "The test part was left alone" in said and "Tested on" not in said
    assert not [link for link in at.get("page_link") if link.proto.label == "Compare it with the others"]
    rows = at.dataframe[0].value.set_index("Run")["State"]
    assert (rows["tuned-t0"], rows["tuned-best"]) == ("Not tested", "Finished")
    at = open_page("train", data="demo", run="tuned-best")
    assert "Tested on" in words(at)


def test_trials_are_not_compared_nor_asked(searched):
    at = open_page("compare", data="demo")
    offered = [at.selectbox(key="cmp_baseline").value, *at.multiselect(key="cmp_runs").options]
    assert "tuned-best" in offered and not {"tuned-t0", "tuned-t1", "stranger"} & set(offered)
    assert "not finished" not in words(at) and "tuned-t0" not in words(at)
    at = open_page("recommend", data="demo")
    offered = {*at.selectbox(key="rec_a").options, *at.selectbox(key="rec_b").options}
    assert any("tuned-best" in one for one in offered)
    assert not [one for one in offered if "tuned-t" in one or "stranger" in one]
    finished, others = state.runs("demo")
    assert not {"tuned-t0", "tuned-t1", "stranger"} & {run.name for run in (*finished, *others)}
    assert {"tuned-best"} <= {run.run for run in _runs()} and not {"tuned-t0", "stranger"} & {r.run for r in _runs()}


def test_where_there_are_trials_alone_nothing_is_known(searched):
    train("popularity", "demo-untrained", name="lonely", tested=False)
    at = open_page("compare", data="demo-untrained")
    assert alerts(at)[0].startswith("Not known yet: no model has been trained and tested")


def test_a_trial_is_not_the_same_training_as_one_with_a_test(searched):
    asked = {"settings": {}, "split_kind": COLD}
    assert train_form.identical(plan("popularity", "demo", **asked), ("finished",)) is None
    found = train_form.identical(plan("popularity", "demo", **asked, tested=False), ("finished",))
    assert found is not None and found.name == "stranger"
