"""The champion on home, compare and recommend: what the pages say is what the package found."""

import pytest
from test_pages import open_page, said, words

from app.ui import champions, models, state
from app.ui.errors import plain
from crossrec import paths
from crossrec.report import champion as told
from crossrec.runs.champion import champion
from crossrec.runs.coldstart import cold_runs
from crossrec.runs.compare import matching_runs
from crossrec.runs.execute import train
from crossrec.runs.folder import open_run

COLD = "cold-user-50"
SMALL = {"encoder": "none", "hidden": 16, "epochs": 3, "batch_size": 32}


@pytest.fixture
def arena(built, copy_of):
    """A copy of the tiny home in which an ensemble and two plain recommenders contend for strangers."""
    home = copy_of(built)
    for recipe in ("popularity", "user-knn"):
        train(recipe, "demo", split_kind=COLD, name=f"cold-{recipe}")
    train("ensemble", "demo", SMALL, split_kind=COLD, name="cold-ensemble")
    return home


def sentences(one) -> list[str]:
    found = (told.chosen_sentence(one), told.test_sentence(one), told.worth_sentence(one), told.caution(one))
    return [sentence for sentence in found if sentence]


def test_home_names_both_champions_with_their_verdicts(arena):
    at = open_page("home", data="demo")
    known, strangers = champion("demo"), champion("demo", COLD)
    assert "The champion" in [one.value for one in at.header]
    for one in (known, strangers):
        assert plain(" ".join(sentences(one))) in words(at)
        assert f"### {plain(one.title)}" in [element.value for element in at.markdown]
        assert told.BADGES[one.answer] in words(at)
    links = {link.proto.query_string for link in at.get("page_link") if link.proto.label == "Compare them"}
    assert links == {"data=demo&cmp_split=Known+people", f"data=demo&cmp_split=Strangers%2C+{COLD}"}


def test_home_says_that_the_weights_of_an_ensemble_saw_the_validation_people(arena, monkeypatch):
    best = champion("demo", COLD)
    made = {**vars(best), "recipe": "ensemble", "title": "Ensemble"}
    monkeypatch.setattr(champions, "of_strangers", lambda dataset: type(best)(**made))
    at = open_page("home", data="demo")
    assert "Its weights were fitted on the same validation people" in said(at)


def test_home_without_a_tested_run_has_no_champion(home):
    at = open_page("home", data="demo-untrained")
    assert "The champion" not in [one.value for one in at.header]


def test_home_of_strangers_alone(copy_of, built):
    copy_of(built)
    train("popularity", "demo-untrained", split_kind=COLD, name="alone")
    at = open_page("home", data="demo-untrained")
    assert "Popularity is the only recommender that was tested on these people." in said(at)
    assert "Known people" not in said(at)


def praise(name: str) -> None:
    """Makes a run the best by validation."""
    file = open_run(name).folder / "metrics.json"
    paths.write_json(file, {**open_run(name).metrics(), "valid": {"ndcg@10": 0.99, "hr@10": 1.0}})


def test_compare_has_an_older_champion_among_what_it_chooses_and_names_it(arena):
    praise("cold-user-knn")
    train("user-knn", "demo", split_kind=COLD, name="newer")
    assert "cold-user-knn" not in [run.name for run in cold_runs("demo", COLD)]
    at = open_page("compare", data="demo", cmp_split=f"Strangers, {COLD}")
    names = at.multiselect(key="cmp_cold").value
    assert names == [*(run.name for run in cold_runs("demo", COLD)), "cold-user-knn"]
    best = champion("demo", COLD)
    assert best.run == "cold-user-knn" and plain(told.line(best, True)) in words(at)
    at.multiselect(key="cmp_cold").set_value(names[:-1]).run()
    assert not at.exception and plain(told.line(best, False)) in words(at)


def test_compare_of_known_people_does_so_too(arena):
    praise("demo-linear-map")
    train("linear-map", "demo", name="newer")
    at = open_page("compare", data="demo")
    usual = [run.name for run in matching_runs("demo")]
    assert "newer" in usual and "demo-linear-map" not in usual
    assert [at.selectbox(key="cmp_baseline").value, *at.multiselect(key="cmp_runs").value] == [
        *usual,
        "demo-linear-map",
    ]
    assert plain(told.line(champion("demo"), True)) in words(at)
    assert champions.among(["newer"], "demo", "next-item", 0, ["newer"]) == ["newer"]  # it is not there to be chosen


def test_recommend_begins_with_the_champion_of_strangers(arena):
    at = open_page("recommend", data="demo")
    best = champions.of_strangers("demo")
    assert best.run == champion("demo", COLD).run
    assert at.selectbox(key="rec_a").value == best.run
    beside = "demo-racrec" if best.run != "demo-racrec" else "demo-transfer-sasrec"
    assert at.selectbox(key="rec_b").value == beside


def test_beside_the_champion_stands_the_review_model(home):
    finished, _ = state.runs("demo")
    assert models.usual(finished) == ["demo-racrec", "demo-transfer-sasrec"]
    assert models.usual(finished, "demo-racrec") == ["demo-racrec", "demo-transfer-sasrec"]
    assert models.usual(finished, "demo-popularity") == ["demo-popularity", "demo-racrec"]
    assert models.usual(finished, "gone") == ["demo-racrec", "demo-transfer-sasrec"]


def test_a_new_run_is_noticed(arena):
    before = champions.of("demo", COLD)
    train("linear-map", "demo", split_kind=COLD, name="cold-map")
    assert champions.of("demo", COLD).among == before.among + 1
