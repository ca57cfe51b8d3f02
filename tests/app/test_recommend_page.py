"""The recommend page: what is entered, what answers, and what a link carries. Lists are compared with the package's."""

import json
import shlex
import shutil
from pathlib import Path

import pandas as pd
import pytest
from fastapi.testclient import TestClient
from streamlit.testing.v1 import AppTest
from test_pages import alerts, open_page, words
from typer.testing import CliRunner

from app.ui import answers, models, people
from app.ui.errors import plain
from crossrec.api import api
from crossrec.cli import app as cli
from crossrec.data import explore
from crossrec.data.pair import DomainPair
from crossrec.errors import CrossrecError
from crossrec.recommend.evidence import Evidence
from crossrec.recommend.explain import Change, Contribution, Explanation, MemberPart, explain, what_if
from crossrec.recommend.person import MOST_CHARACTERS, Person, Review
from crossrec.recommend.recommender import Answer, RunRecommender
from crossrec.runs.execute import train
from crossrec.runs.folder import open_run

READER, TRANSFER = "demo-racrec", "demo-transfer-sasrec"
PAGE = str(Path(people.__file__).resolve().parents[2] / "pages" / "{}.py")
NOIR = "Rain on dark streets, smoke and a lonely detective. Slow and sad."
FARCE = "A pie in the face and a runaway goose; I laughed all evening."


def asked(run: str, person: Person, fallback: bool = False) -> Answer:
    return RunRecommender(open_run(run)).ask(person, fallback=fallback)


def listed(at: AppTest) -> dict[int, list[str]]:
    """Ids of the items of each list, by the buttons that explain them."""
    keys = [button.key for button in at.button if (button.key or "").startswith("rec_why_")]
    return {side: [key[10:] for key in keys if key.startswith(f"rec_why_{side}_")] for side in (0, 1)}


def ids(answer: Answer) -> list[str]:
    return [one.item_id for one in answer.items]


def type_reviews(at: AppTest, *texts: str) -> AppTest:
    for number, text in enumerate(texts, 1):
        at.text_area(key=f"rec_review_{number}").set_value(text)
    at.run()
    assert not at.exception
    return at


# --- nothing yet ------------------------------------------------------------------------------------------------------


def test_nothing_is_loaded_before_somebody_asks(home, monkeypatch):
    def never(*_):
        raise AssertionError("a model was opened")

    monkeypatch.setattr(models, "RunRecommender", never)
    at = open_page("recommend", data="demo")
    assert alerts(at)[0].startswith("Write what somebody thought of something in Screen")
    assert listed(at) == {0: [], 1: []}


def test_the_review_model_is_asked_first_and_transfer_beside_it(home):
    at = open_page("recommend", data="demo")
    assert at.selectbox(key="rec_a").value == READER and at.selectbox(key="rec_b").value == TRANSFER
    assert "Review model (RACRec)" in at.selectbox(key="rec_a").options


def test_a_dataset_without_runs_says_what_to_train(home):
    at = open_page("recommend", data="demo-untrained")
    assert alerts(at)[0] == "Nobody can tell yet: no model has been trained on demo-untrained."
    assert any("crossrec train-target-transfer" in code.value for code in at.code)


def test_a_single_domain_has_nothing_to_write_about(home):
    train("popularity", "single", name="single-popularity")
    try:
        at = open_page("recommend", data="single")
        assert not at.text_area and "one domain only" in words(at)
        at.selectbox(key="rec_user").set_value("p1").run()
        assert listed(at)[0] == ids(asked("single-popularity", Person("p1")))
    finally:
        shutil.rmtree(home / "runs" / "single-popularity")


# --- reviews ----------------------------------------------------------------------------------------------------------


def test_reviews_give_the_lists_of_the_package(home):
    at = type_reviews(open_page("recommend", data="demo"), NOIR, FARCE)
    person = Person(reviews=(Review(NOIR), Review(FARCE)))
    found = {0: asked(READER, person), 1: asked(TRANSFER, person)}
    assert listed(at) == {side: ids(answer) for side, answer in found.items()}
    first = found[0].items[0]
    assert alerts(at) == [
        plain(
            f"From 2 reviews about Screen, Review model (RACRec) would put “{first.title}” by {first.creator} first; "
            "it rests on reviews."
        )
    ]
    same = len({*ids(found[0])} & {*ids(found[1])})
    assert plain(answers.shared(found[0], found[1])[1]) in words(at)
    assert (f"share {same} items" in words(at)) == (same > 1)


def test_stars_count(home):
    at = type_reviews(open_page("recommend", data="demo"), NOIR)
    at.session_state["rec_stars_1"] = 0
    at.run()
    assert listed(at)[0] == ids(asked(READER, Person(reviews=(Review(NOIR, 1.0),))))
    assert at.query_params["rec_stars"] == "1"
    # The other model takes reviews for items that pleased; this one did not.
    assert "1 of 1 reviews was not used." in words(at)
    assert "with 2 stars or fewer it did not please" in words(at)


def test_an_example_fills_the_first_free_row_once(home):
    at = type_reviews(open_page("recommend", data="demo"), NOIR)
    for _ in range(2):
        at.button(key="rec_example_1").click().run()
    _, text, stars = people.DEMO_EXAMPLES[1]
    assert [area.value for area in at.text_area] == [NOIR, text, ""]
    assert at.session_state["rec_stars_2"] == stars - 1


def test_rows_are_added_and_removed(home):
    at = type_reviews(open_page("recommend", data="demo"), NOIR, FARCE, "Third.")
    at.button(key="rec_add").click().run()
    assert [area.value for area in at.text_area] == [NOIR, FARCE, "Third.", ""]
    at.button(key="rec_remove_1").click().run()
    assert [area.value for area in at.text_area] == [FARCE, "Third.", ""]
    at.button(key="rec_clear").click().run()
    assert [area.value for area in at.text_area] == ["", "", ""] and listed(at) == {0: [], 1: []}
    assert not at.exception and "rec_review" not in at.query_params


def test_what_cannot_be_read_is_told_and_left_out(home):
    at = type_reviews(open_page("recommend", data="demo"), NOIR, "x" * 10_000, "\u200b")
    assert f"Review 2 has 10,000 characters, and at most {MOST_CHARACTERS:,} are read" in words(at)
    assert "Review 3 is empty" in words(at)
    assert listed(at)[0] == ids(asked(READER, Person(reviews=(Review(NOIR),))))


@pytest.mark.parametrize("odd", ["<script>alert(1)</script> **b** $x$", "\N{SNOWMAN}" * 9, "zzxq", "| a |"])
def test_odd_text_is_text(home, odd):
    at = type_reviews(open_page("recommend", data="demo"), odd)
    assert len(alerts(at)) == 1 and alerts(at)[0].startswith("From one review")
    at.button(key=f"rec_why_0_{listed(at)[0][0]}").click().run()
    assert not at.exception
    if odd.startswith("<"):
        assert r"“\<script>alert(1)\</script> \*\*b\*\* \$x\$”" in words(at)
        assert "<script>" not in words(at).replace(r"\<script>", "").replace(odd, "")


# --- a person ---------------------------------------------------------------------------------------------------------


def test_a_user_in_the_address(home):
    user = explore.example_users(DomainPair.open("demo"))[0]
    at = open_page("recommend", data="demo", rec_user=user)
    found = asked(READER, Person(user))
    assert listed(at) == {0: ids(found), 1: ids(asked(TRANSFER, Person(user)))}
    assert f"{found.n_source + found.n_target} events of {user}" in alerts(at)[0]
    assert at.session_state["rec_way"] == "A person"


def test_all_ways_count_together(home):
    user = explore.example_users(DomainPair.open("demo"))[0]
    at = type_reviews(open_page("recommend", data="demo", rec_user=user), NOIR)
    at.multiselect(key="rec_pick").set_value(["S0001"])
    at.multiselect(key="rec_have").set_value(["A0003"]).run()
    person = Person(user, (Review(NOIR),), ("S0001",), ("A0003",))
    assert listed(at) == {0: ids(asked(READER, person)), 1: ids(asked(TRANSFER, person))}
    assert "one review about Screen, 2 picked items and" in alerts(at)[0]


def test_an_unknown_user_is_answered_by_popularity_only_when_that_is_wanted(home):
    at = open_page("recommend", data="demo", rec_user="u01x")
    assert len(alerts(at)) == 1 and "the nearest ids are u01" in alerts(at)[0]
    assert listed(at) == {0: [], 1: []}
    assert not at.toggle(key="rec_anyway").value
    at = open_page("home")  # AppTest cannot rerun a page with a value that a selectbox did not offer
    at.session_state["rec_anyway"], at.query_params["rec_user"] = True, "u01x"
    at.switch_page(PAGE.format("recommend")).run()
    popular = asked(READER, Person("u01x"), fallback=True)
    assert popular.basis == "popularity fallback"
    assert any(f"this is what most people took: “{popular.items[0].title}”" in said for said in alerts(at))
    assert ":material/groups: Popularity only" in words(at)
    for one in popular.items:
        assert one.title in words(at)
    assert listed(at) == {0: [], 1: []}  # nothing about this person could be explained


@pytest.mark.parametrize("user", ["u" * 3000, "  ", "'; drop table x; --", "../../etc"])
def test_an_odd_user_id_gets_one_sentence(home, user):
    at = open_page("recommend", data="demo", rec_user=user)
    assert len(alerts(at)) == 1 and listed(at) == {0: [], 1: []}
    assert "nearest ids" in alerts(at)[0] or "has 1 to 200 characters" in alerts(at)[0]


# --- picked items -----------------------------------------------------------------------------------------------------


def test_picked_items_are_kept_out_of_the_list(home):
    at = open_page("recommend", data="demo")
    at.multiselect(key="rec_pick").set_value(["S0001", "S0002"]).run()
    before = listed(at)
    assert before[1] == ids(asked(TRANSFER, Person(source_items=("S0001", "S0002"))))
    at.multiselect(key="rec_have").set_value([before[1][0]]).run()
    assert before[1][0] not in listed(at)[1] and len(listed(at)[1]) == 10


def test_a_large_catalogue_is_searched(home, monkeypatch):
    monkeypatch.setattr("app.ui.person_form.EVERY", 10)
    monkeypatch.setattr("app.ui.person_form.FOUND", 5)
    catalog = models.catalog(READER)
    word = catalog.items("source", [7])[0].title.split()[-1]
    at = open_page("recommend", data="demo", rec_pick="S0001")
    assert len(at.multiselect(key="rec_pick").options) <= 6
    at.text_input(key="rec_pick_words").set_value(word).run()
    found = catalog.search("source", word, 5)
    titles = answers.labels([*found, catalog.by_id("source", "S0001")])
    assert at.multiselect(key="rec_pick").options == list(titles.values())
    assert at.multiselect(key="rec_pick").value == ["S0001"]  # what was picked stays


# --- why, and what if -------------------------------------------------------------------------------------------------


def test_why_shows_one_explanation_at_a_time(home):
    at = type_reviews(open_page("recommend", data="demo"), NOIR, FARCE)
    person, recommender = Person(reviews=(Review(NOIR), Review(FARCE))), RunRecommender(open_run(TRANSFER))
    assert not at.get("vega_lite_chart")
    second, third = listed(at)[1][1:3]
    for item in (second, third):
        at.button(key=f"rec_why_1_{item}").click().run()
        found = explain(recommender, person, item)
        assert plain(answers.why(found)) in words(at)
        assert len(at.get("vega_lite_chart")) == 1
        assert answers.gate(found.gate, "Screen") in words(at)
        assert all(plain(quote.text) in words(at) for quote in found.quotes)
    at.button(key=f"rec_why_1_{third}").click().run()
    assert not at.get("vega_lite_chart")


def piece(text: str, stars: float | None = None, **about) -> Evidence:
    return Evidence("review", "source", "Screen", None, None, text, stars, **about)


def test_words_of_an_explanation():
    def contribution(index: int, value: float, without: int) -> Contribution:
        return Contribution(index, piece(f"text {index}"), value, 0.5, without, False)

    base = dict(run="r", item_id="a", title="T", basis="reviews", score=1.0, rank=2, gate=None, quotes=[], notes=[])
    both = [contribution(0, 0.5, 9), contribution(1, -0.7, 1)]
    assert answers.why(Explanation(contributions=both, **base)) == (
        "It stands in place 2, most of all because of “text 0”; without that it would be in place 9."
    )
    assert "nothing that was counted speaks for it" in answers.why(Explanation(contributions=both[1:], **base))
    assert answers.why(Explanation(contributions=[], **base)) == "It stands in place 2."
    frame = answers.bars(both)
    assert list(frame["label"]) == ["“text 0”", "“text 1”"] and list(frame["speaks"]) == ["for it", "against it"]
    twice = answers.bars([contribution(3, 1.0, 2), contribution(3, 0.5, 2)])
    assert list(twice["label"]) == ["“text 3”", "“text 3” (2)"]


@pytest.mark.parametrize(
    ("share", "said"), [(0.0, "Next to nothing"), (0.5, "About half"), (0.66, "About two thirds"), (1.0, "Nearly all")]
)
def test_the_gate_in_words(share, said):
    assert answers.gate(share, "Screen") == f"{said} of the answer comes from Screen."


def test_the_members_of_an_ensemble_in_words():
    parts = [MemberPart("linear-map", 1.5, 6.0, 0.75), MemberPart("popularity", 0.2, 2.0, 0.25)]
    assert answers.members(parts) == (
        "Members of the ensemble, with their share of the score: Linear map 75 %, Popularity 25 %."
    )


def test_changes_of_the_table_are_those_that_were_made():
    before = answers.pieces([piece("a", 5.0), piece("b"), piece("c", 2.0), piece("d", 3.0)])
    after = before.copy()
    assert answers.changes(before, after) == ()
    after.loc[0, "counts"], after.loc[1, "stars"], after.loc[2, "stars"] = False, 4.0, float("nan")
    assert answers.changes(before, after) == (Change(0), Change(1, 4.0))


def test_moves_in_words(home):
    person = Person(reviews=(Review(NOIR), Review(FARCE)))
    found = what_if(RunRecommender(open_run(READER)), person, [Change(0)])
    table = answers.moved(found)
    assert set(table["item"]) == {one.title for answer in (found.before, found.after) for one in answer.items}
    for answer, column in ((found.before, "was"), (found.after, "now")):
        ranks = dict(zip(table["item"], table[column], strict=True))
        assert all(ranks[one.title] == one.rank for one in answer.items)
        assert table[column].notna().sum() == 10
    assert [answers.step(*both) for both in ((5, 2), (2, 5), (3, 3), (None, 4), (4, None))] == [
        "up 3",
        "down 3",
        "stays",
        "new",
        "gone",
    ]
    new = int((table["move"] == "new").sum())
    sentence = answers.moved_sentence(found, table)
    assert (f"{new} of 10 would be others" in sentence) == (new > 0) and found.after.items[0].title in sentence


def test_what_if_on_the_page_asks_the_package(home, monkeypatch):
    """AppTest cannot edit a table, so the table comes back edited."""
    import streamlit as st

    def edited(frame: pd.DataFrame, **_) -> pd.DataFrame:
        out = frame.copy()
        out.loc[0, "counts"] = False
        return out

    at = type_reviews(open_page("recommend", data="demo"), NOIR, FARCE)
    assert "Nothing has been changed yet." in words(at)
    monkeypatch.setattr(st, "data_editor", edited)
    at.run()
    found = what_if(RunRecommender(open_run(READER)), Person(reviews=(Review(NOIR), Review(FARCE))), [Change(0)])
    table = answers.moved(found)
    assert plain(answers.moved_sentence(found, table)) in words(at)
    (shown,) = [frame.value for frame in at.dataframe if "move" in frame.value]
    assert list(shown["item"]) == list(table["item"]) and list(shown["move"]) == list(table["move"])


# --- links and the same elsewhere -------------------------------------------------------------------------------------


def test_a_link_brings_everything_back(home):
    at = type_reviews(open_page("recommend", data="demo", rec_a=TRANSFER, rec_b=READER), NOIR, "y" * 301)
    at.session_state["rec_stars_1"] = 4
    at.multiselect(key="rec_pick").set_value(["S0005"]).run()
    link = dict(at.query_params)
    assert link["rec_review"] == NOIR and link["rec_a"] == TRANSFER and link["rec_pick"] == "S0005"
    assert "not everything that was entered is in it" in words(at)
    again = open_page("recommend", data="demo", **{key: value for key, value in link.items() if key != "data"})
    assert [area.value for area in again.text_area] == [NOIR, "", ""]
    assert again.session_state["rec_stars_1"] == 4
    person = Person(reviews=(Review(NOIR, 5.0),), source_items=("S0005",))
    assert listed(again) == {0: ids(asked(TRANSFER, person)), 1: ids(asked(READER, person))}
    assert "is a link to what you see" in words(again)


def test_a_link_is_bounded(home):
    many = [f"{NOIR} {number}" for number in range(9)]
    at = open_page(
        "recommend",
        data="demo",
        rec_review=["z" * 4000, *many],
        rec_stars=["99", "x", "2"],
        rec_a="../../etc",
        rec_b="no-such-run",
        rec_pick=["S0001", "no-such-item"],
    )
    assert [area.value for area in at.text_area] == ["z" * people.LONGEST_LINKED, *many[:2]]
    assert [at.session_state[f"rec_stars_{number}"] for number in (1, 2, 3)] == [None, None, 1]
    assert at.selectbox(key="rec_a").value == READER and at.selectbox(key="rec_b").value == TRANSFER
    assert at.multiselect(key="rec_pick").value == ["S0001"]


def test_going_back_in_the_browser_takes_what_the_address_says(home, monkeypatch):
    at = type_reviews(open_page("recommend", data="demo"), NOIR)
    type_reviews(at, FARCE)
    assert at.query_params["rec_review"] == FARCE
    at.query_params["rec_review"] = NOIR
    at.run()  # within the lag it is an address that the browser had not yet left
    assert at.text_area[0].value == FARCE
    monkeypatch.setattr(people, "LAG", 0.0)
    type_reviews(at, NOIR)
    type_reviews(at, FARCE)
    at.query_params["rec_review"] = NOIR
    at.run()
    assert at.text_area[0].value == NOIR and not at.exception


def test_coming_from_another_page(home):
    at = type_reviews(open_page("recommend", data="demo"), NOIR)
    at.switch_page(PAGE.format("explore")).run()
    at.query_params.clear()
    at.switch_page(PAGE.format("recommend")).run()
    assert at.text_area[0].value == NOIR  # what was entered is still there
    at.switch_page(PAGE.format("explore")).run()
    user = explore.example_users(DomainPair.open("demo"))[0]
    links = {link.proto.label: link.proto.query_string for link in at.get("page_link")}
    assert links["What would this person like?"] == f"data=demo&rec_user={user}"
    at.query_params.clear()
    at.query_params["rec_user"] = user
    at.switch_page(PAGE.format("recommend")).run()
    assert at.text_area[0].value == "" and f"events of {user}" in alerts(at)[0]  # a link means this person alone


def test_another_dataset_forgets_users_and_items(home):
    train("popularity", "single", name="single-popularity")
    try:
        user = explore.example_users(DomainPair.open("demo"))[0]
        at = type_reviews(open_page("recommend", data="demo", rec_user=user, rec_pick="S0001"), NOIR)
        at.selectbox(key="data").set_value("single").run()
        assert not at.exception and at.selectbox(key="rec_a").value == "single-popularity"
        assert at.selectbox(key="rec_user").value is None and "rec_pick" not in at.query_params
        at.selectbox(key="data").set_value("demo").run()
        assert at.selectbox(key="rec_user").value is None and at.multiselect(key="rec_pick").value == []
        assert at.text_area[0].value == NOIR  # what was written is about no dataset
    finally:
        shutil.rmtree(home / "runs" / "single-popularity")


def test_the_command_and_the_request_give_the_same_list(home):
    user = explore.example_users(DomainPair.open("demo"))[0]
    odd = '--it_was "great", it\'s $HOME & more'
    person = Person(user, (Review(NOIR, 5.0), Review(odd, 2.0)), ("S0001",), ("A0003",))
    expected = ids(asked(READER, person))
    told = shlex.split(answers.command(READER, person, fallback=False))
    result = CliRunner().invoke(cli, [*told[1:], "--json"])
    assert [one["item_id"] for one in json.loads(result.stdout)["items"]] == expected
    sent = json.loads(answers.body(READER, person))
    got = TestClient(api).post("/recommend", json=sent)
    assert [one["item_id"] for one in got.json()["items"]] == expected


def test_a_command_leaves_out_stars_that_only_some_reviews_have(home):
    person = Person(reviews=(Review(NOIR, 5.0), Review(FARCE)))
    assert "--stars" not in answers.command(READER, person, fallback=False) and answers.stars_are_lost(person)
    at = type_reviews(open_page("recommend", data="demo"), NOIR, FARCE)
    assert "leaves them out" not in words(at)
    at.session_state["rec_stars_1"] = 4
    at.run()
    assert "so here it leaves them out" in words(at)


# --- choice of models -------------------------------------------------------------------------------------------------


def test_titles_tell_runs_apart(home):
    runs = [open_run(name) for name in ("demo-popularity", "demo-racrec", "demo-transfer-sasrec")]
    assert list(models.titles(runs).values()) == ["Popularity", "Review model (RACRec)", "Transfer SASRec"]

    class Other:
        name = "demo-popularity-2"

        def config(self):
            return runs[0].config() | {"seed": 7}

    titles = models.titles([*runs, Other()])
    assert titles["demo-popularity-2"] == "Popularity · next-item · seed 7"
    assert titles["demo-popularity"] == "Popularity · next-item · seed 0" and len(set(titles.values())) == 4


def test_one_model_is_enough(home):
    at = type_reviews(open_page("recommend", data="demo", rec_b="none"), NOIR)
    assert listed(at)[0] and not listed(at)[1] and "two lists" not in words(at)
    at.selectbox(key="rec_b").set_value("demo-popularity").run()
    assert "The same for everybody" in words(at)


def test_a_model_that_cannot_be_opened_leaves_the_other(home, monkeypatch):
    def opens(run):
        if run.name == READER:
            raise CrossrecError("The encoder is not here.")
        return RunRecommender(run)

    monkeypatch.setattr(models, "RunRecommender", opens)
    at = type_reviews(open_page("recommend", data="demo"), NOIR)
    assert "The encoder is not here." in alerts(at)
    assert any("Transfer SASRec would put" in said for said in alerts(at))


def test_examples_of_other_data_are_its_own_reviews(home):
    pair = DomainPair.open("demo")
    found = people.sampled(pair, 4)
    texts = pd.read_parquet(pair.folder / "source.events.parquet")["text"]
    assert len(found) == 4 and found == people.sampled(pair, 4)
    assert all(text in set(texts) and 40 <= len(text) <= 280 and stars in range(1, 6) for _, text, stars in found)
    assert people.example_reviews(pair.meta) == people.DEMO_EXAMPLES
