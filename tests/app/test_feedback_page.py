"""The feedback page: what is played, learned, taken apart, logged and judged, with the numbers of the package."""

import re

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest
from test_pages import alerts, open_page, words

from app.ui import judge, play, play_step, play_who
from crossrec.data.logged import list_logs, open_log
from crossrec.data.pair import DomainPair
from crossrec.feedback.judging import judge_run
from crossrec.feedback.log import FeedbackLog
from crossrec.feedback.session import Session
from crossrec.runs.folder import open_run

RUN = "demo-transfer-sasrec"


@pytest.fixture
def mine(built, copy_of):
    """A home that the test may write to."""
    return copy_of(built)


@pytest.fixture
def page(mine) -> AppTest:
    return open_page("feedback", data="demo")


def session(at: AppTest) -> Session:
    return at.session_state["fb_session"][1]


def press(at: AppTest, key: str) -> AppTest:
    """Presses a card's button by its place in the slate that is shown ("2"), or another by the stem of its key."""
    number = session(at).number
    stem = f"fb_card_{number}_{key}" if key.isdigit() else f"fb_{key}_{number}"
    at.button(key=stem).click().run()
    assert not at.exception
    return at


def tab(at: AppTest, name: str) -> AppTest:
    at.session_state["fb_tab"] = name
    at.run()
    assert not at.exception
    return at


# --- play ------------------------------------------------------------------------------------------------------------


def test_it_begins_with_a_slate_that_is_in_the_log(page):
    assert alerts(page)[0].startswith("Pick what you like in the slate")
    playing = session(page)
    assert playing.about.run == RUN and playing.visitor is not None
    shown = FeedbackLog().frame()
    assert list(shown["item"]) == playing.slate.items.tolist() and set(shown["user"]) == {playing.about.user}
    titles = [item.name for item in play_who.starts(RUN).opened.shelf.items(playing.slate.items)]
    told = words(page)
    assert all(title.split()[0] in told for title in titles)


def test_a_press_teaches_and_the_page_says_how_much(page):
    before = session(page).policy.probabilities
    at = int(session(page).slate.at[1])  # noqa: PD008
    press(page, "2")
    turn = session(page).turns[0]
    assert turn.actions == ("skip", "click", "skip", "skip", "skip")
    now = session(page).policy.probabilities[at]
    assert now > before[at]
    assert f"{100 * now:.2g}" in alerts(page)[0] or f"{100 * now:.0f}" in alerts(page)[0]
    assert {metric.label: metric.value for metric in page.metric}["Slates"] == "1"
    assert list(FeedbackLog().frame()["action"][:5]) == list(turn.actions)


def test_skip_undo_and_start_again(page):
    first = session(page).slate.items.tolist()
    press(page, "skip")
    assert session(page).turns[0].reward == 0
    press(page, "undo")
    assert not session(page).turns and session(page).slate.items.tolist() == first
    press(page, "1")
    old = session(page)
    page.button(key="fb_again").click().run()
    assert session(page).name != old.name and session(page).slate.items.tolist() == first
    log = FeedbackLog().frame()
    assert set(log["session"]) == {old.name, session(page).name} and log["undone"].sum() == 5


def test_a_press_on_a_slate_that_is_gone_does_nothing(page):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(play.st, "session_state", {"fb_session": page.session_state["fb_session"]})
        number = session(page).number
        for _ in range(2):
            play.press(number, 0)
        play.undo(0)
        play.let(number, 3)
    assert len(session(page).turns) == 1


def test_another_action_has_its_own_reward(page):
    page.selectbox(key="fb_action").set_value("dislike").run()
    press(page, "3")
    assert session(page).turns[0].reward == -0.5


def test_the_simulated_person_answers_by_themselves(page):
    press(page, "several")
    turns = session(page).turns
    assert len(turns) == play.SEVERAL and all(turn.by_themselves for turn in turns)
    assert any("true taste" in one for one in words(page).splitlines())
    assert len(FeedbackLog().frame().query("action.notna()")) == 5 * play.SEVERAL
    favourites = next(table.value for table in page.dataframe if "They click" in table.value)
    assert favourites["They click"].is_monotonic_decreasing


def test_other_constants_begin_another_session(page):
    press(page, "1")
    old = session(page)
    page.slider(key="fb_k").set_value(3).run()
    assert len(session(page).slate.items) == 3 and session(page).name != old.name
    assert any("1 slate before stay" in toast.value for toast in page.toast)
    page.number_input(key="fb_reward_click").set_value(2.0).run()
    press(page, "1")
    assert session(page).turns[0].reward == 2.0


def test_an_unknown_user_is_told_and_nothing_is_played(mine):
    page = open_page("feedback", data="demo", fb_user="u99999")
    assert "u99999" in alerts(page)[0] and not [b for b in page.button if (b.key or "").startswith("fb_card")]


def test_nonsense_in_the_address_is_no_failure(mine):
    page = open_page("feedback", data="demo", fb_run="../../etc", fb_tab="<script>", fb_user="<img src=x>")
    assert not page.exception


def test_one_plays_as_oneself(page):
    page.segmented_control(key="fb_way").set_value(play_who.MYSELF).run()
    assert not page.exception
    assert session(page).about.user is None and session(page).visitor is None
    before = session(page).start_probabilities
    page.multiselect(key="rec_pick").set_value([page.multiselect(key="rec_pick").options[0]]).run()
    assert not page.exception
    assert not np.array_equal(session(page).start_probabilities, before)
    press(page, "1")
    assert set(FeedbackLog().frame(session(page).name)["user"].isna()) == {True}
    assert not any("true taste" in caption.value for caption in page.caption)


def test_a_log_that_cannot_be_written_is_told_and_the_slate_stays(page, monkeypatch):
    from crossrec.errors import CrossrecError

    def full(*_):
        raise CrossrecError("The disk of feedback.db is full: free some space.")

    number = session(page).number
    with monkeypatch.context() as patch:
        patch.setattr(FeedbackLog, "react_all", full)
        page.button(key=f"fb_card_{number}_1").click().run()
    assert any("disk" in one for one in alerts(page)) and session(page).number == number and not session(page).turns
    press(page, "1")


def test_data_without_a_run_says_what_to_train(mine):
    page = open_page("feedback", data="demo-untrained")
    assert alerts(page)[0] == "Nothing can be learned yet: no model has been trained on demo-untrained."


# --- step through ----------------------------------------------------------------------------------------------------


def test_before_anything_is_played_the_textbook_is_taken_apart(page):
    tab(page, "Step through")
    told = " ".join(latex.value for latex in page.latex)
    assert "0.9\\cdot0 + 0.1\\cdot0.3 = 0.03" in told and "0.3 - 0.03 = 0.27" in told
    assert "0.1871" in told and "0.5" in told


def test_the_last_update_is_taken_apart_with_its_own_numbers(page):
    press(page, "2")
    step = session(page).turns[0].step
    tab(page, "Step through")
    told = " ".join(latex.value for latex in page.latex)
    at = int(step.slate.at[1])  # noqa: PD008
    for value in (step.logits[at], step.new_logits[at], step.slate.propensities[1], step.loss):
        assert any(abs(float(number) - value) < 6e-5 for number in re.findall(r"-?\d+\.\d+", told)), value
    table = page.dataframe[0].value
    assert table["Advantage"].to_numpy() == pytest.approx(step.advantages)
    assert table["Action"].tolist() == list(session(page).turns[0].actions)


def test_a_slider_changes_the_update_and_not_the_session(page):
    press(page, "2")
    state = session(page).policy.state()
    tab(page, "Step through")
    before = page.dataframe[0].value["New probability"][1]
    rate = next(one for one in page.slider if one.key and one.key.endswith("_lr") and "step" in one.key)
    rate.set_value(8.0).run()
    assert not page.exception
    table = page.dataframe[0].value
    assert table["New probability"][1] > before and session(page).policy.state() == state
    assert any("what the update would have been" in caption.value for caption in page.caption)


# --- judge -----------------------------------------------------------------------------------------------------------


def test_what_was_played_becomes_a_log_that_cannot_rank(page):
    for _ in range(3):
        press(page, "several")
    tab(page, "Judge")
    assert "there is no log of demo" in alerts(page)[0]
    page.button(key="fb_take").click().run()
    assert not page.exception
    (name,) = list_logs("demo")
    assert len(open_log(name).events) == 5 * 3 * play.SEVERAL
    assert "not ranked" in alerts(page)[0] and "1 sessions" in alerts(page)[0].replace("1 session ", "1 sessions ")


def test_a_simulated_log_is_judged_as_by_the_package(page, monkeypatch):
    monkeypatch.setattr(judge, "PEOPLE", 40)
    monkeypatch.setattr(judge, "SLATES", 6)
    tab(page, "Judge")
    page.segmented_control(key="fb_log_way").set_value("Simulated people").run()
    page.button(key="fb_simulate").click().run()
    assert not page.exception
    log = open_log("demo-simulated")
    assert len(log.events) == 40 * 6 * 5 and log.known
    policy = page.selectbox(key="fb_policy").value
    assert policy != RUN  # another one than made the log
    wanted = judge_run(log, open_run(policy)).judgement
    shown = alerts(page)[0]
    numbers = [abs(float(one)) for one in re.findall(r"-?\d+\.\d{4}", shown)]
    if wanted.refusals:
        assert "not ranked" in shown
    else:
        assert round(abs(wanted.differences[wanted.primary].mean), 4) in numbers
    assert any("crossrec feedback ope demo-simulated" in code.value for code in page.code)
    page.button(key="fb_log_remove").click().run()
    assert not page.exception and not list_logs()


def test_a_file_of_ones_own_is_mapped_and_its_errors_told(page, tmp_path):
    ids = DomainPair.open("demo").items("target")["item_id"]
    rows = [f"s{n % 40},{ids[n % 20]},{'click' if n % 3 else 'skip'},0.2" for n in range(400)]
    rows += ["s1,nowhere,click,0.2", f"s2,{ids[0]},clik,0.2", f"s2,{ids[1]},click,7"]
    text = "visitor,product,event,chance\n" + "\n".join(rows)
    tab(page, "Judge")
    page.segmented_control(key="fb_log_way").set_value("A file").run()
    page.file_uploader(key="fb_file").upload("mine.csv", text.encode(), "text/csv").run()
    assert not page.exception
    roles = {one.label: one for one in page.selectbox if (one.key or "").startswith("fb_role_")}
    assert roles["Session"].value == judge.NONE and roles["Action"].value == "event"
    for label, column in (("Session", "visitor"), ("Item id", "product"), ("Propensity", "chance")):
        roles[label].set_value(column)
    page.button(key="fb_import").click().run()
    assert not page.exception
    log = open_log("mine")
    assert len(log.events) == 400 and sum(log.meta["left_out"].values()) == 3
    told = words(page)
    assert "3 rows were left out" in told and "nowhere" in told and "clik" in told
    assert pd.Series(log.meta["left_out"]).sum() == 3


def test_a_file_without_propensities_says_what_would_be_assumed(page):
    ids = DomainPair.open("demo").items("target")["item_id"]
    text = "session,item,action\n" + "\n".join(
        f"s{n % 40},{ids[n % 20]},{'click' if n % 3 else 'skip'}" for n in range(400)
    )
    tab(page, "Judge")
    page.segmented_control(key="fb_log_way").set_value("A file").run()
    page.file_uploader(key="fb_file").upload("mine.csv", text.encode(), "text/csv").run()
    page.button(key="fb_import").click().run()
    assert not page.exception
    assert any("do not say how probable" in one for one in alerts(page)) and "not ranked" in alerts(page)[0]
    page.toggle(key="fb_assume").set_value(True).run()
    assert not page.exception
    assert "illustration" in words(page) and "not ranked" in alerts(page)[0]


@pytest.mark.parametrize("text", ["", "a,b\n", "session,item,action\n" + "x,y,z\n" * 3, "\x00\x01\x02", "{]\n" * 5])
def test_a_file_that_is_none_gets_a_sentence(page, text):
    tab(page, "Judge")
    page.segmented_control(key="fb_log_way").set_value("A file").run()
    page.file_uploader(key="fb_file").upload("mine.csv", text.encode(), "text/csv").run()
    assert not page.exception
    if [one for one in page.button if one.key == "fb_import"]:
        page.button(key="fb_import").click().run()
        assert not page.exception
    assert not list_logs() and len(alerts(page)) > 1


def test_constants_of_the_page_are_those_of_the_policy():
    config = play_who.PolicyConfig()
    for name, (_, low, high, _, _) in play_who.CONSTANTS.items():
        assert low <= getattr(config, name) <= high
    assert play_step.BOOK_CONFIG.epsilon == 0
