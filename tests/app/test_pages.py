"""Each page as a person gets it, without a browser: the words and numbers on it are those of the package."""

from pathlib import Path

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from app.ui.errors import percent, plain
from crossrec.data import explore
from crossrec.data.pair import DomainPair
from crossrec.data.prepare import write_tables
from crossrec.report import frames
from crossrec.runs.compare import compare_runs, matching_runs
from crossrec.runs.folder import open_run

MAIN = Path(__file__).resolve().parents[2] / "app" / "main.py"


def open_page(name: str, **query: str | list[str]) -> AppTest:
    """A page as its address gives it."""
    at = AppTest.from_file(str(MAIN), default_timeout=60)
    if "data" in query:
        at.query_params["data"] = query["data"]
    at.run()  # on home: there is no other way in
    if name != "home":
        for key, value in query.items():
            at.query_params[key] = value
        at.switch_page(str(MAIN.parent.parent / "pages" / f"{name}.py")).run()
    assert not at.exception
    return at


def words(at: AppTest) -> str:
    kinds = (at.title, at.header, at.markdown, at.caption, at.success, at.info, at.warning, at.error, at.code)
    return "\n".join(str(element.value) for kind in kinds for element in kind)


def said(at: AppTest) -> str:
    """The words as they are read, without what keeps Markdown from formatting them."""
    return words(at).replace("\\", "").replace("\N{NO-BREAK SPACE}", " ")


def alerts(at: AppTest) -> list[str]:
    return [element.value for kind in (at.success, at.info, at.warning, at.error) for element in kind]


def charts(at: AppTest) -> int:
    return len(at.get("vega_lite_chart"))


@pytest.mark.parametrize("name", ["home", "explore", "compare", "recommend", "feedback"])
def test_without_data_every_page_says_how_to_get_some(empty_home, name):
    at = open_page(name)
    assert "There is no data yet" in words(at)
    assert "crossrec demo" in [code.value for code in at.code]
    assert charts(at) == 0 and not at.metric


@pytest.mark.parametrize("name", ["home", "compare"])
def test_the_verdict_and_the_numbers_are_the_packages(home, name):
    result = compare_runs(matching_runs("demo"))
    at = open_page(name, data="demo")
    assert alerts(at)[0] == plain(result.verdict.headline)
    for detail in result.verdict.details:
        assert plain(detail) in words(at)
    before = result.comparison.mean("demo-target-sasrec", "with_source")
    after = result.comparison.mean("demo-transfer-sasrec", "with_source")
    change = result.comparison.difference("demo-transfer-sasrec", "with_source")
    shown = {metric.label: (metric.value, metric.delta) for metric in at.metric}
    assert len(shown) == 4
    assert shown["Transfer SASRec"] == (f"{after.value.mean:.3f}", f"{change.value.mean:+.3f}")
    assert shown["Target-only SASRec"][0] == f"{before.value.mean:.3f}"
    assert shown["People tested"][0] == f"{len(result.sides[0].table):,}"


def test_home_links_carry_the_dataset(home):
    at = open_page("home", data="demo")
    links = {link.proto.label: link.proto.query_string for link in at.get("page_link")}
    assert links["See who is in both domains"] == links["See whom transfer helped"] == "data=demo"
    assert links["Try it: what would this person like?"] == links["Let it learn from clicks"] == "data=demo"
    assert links["Show this one"] == "data=demo-untrained"


def test_share_of_people_helped_is_counted_by_hand(home):
    result = compare_runs(matching_runs("demo"))
    before = open_run("demo-target-sasrec").per_user().set_index("user")
    after = open_run("demo-transfer-sasrec").per_user().set_index("user")
    people = before.index[before["n_source"] > 0]
    higher = sum(after.loc[user, "rank"] < before.loc[user, "rank"] for user in people)
    lower = sum(after.loc[user, "rank"] > before.loc[user, "rank"] for user in people)
    moved = frames.moved(result, "demo-transfer-sasrec")
    assert moved == {"helped": higher / len(people), "hurt": lower / len(people), "users": len(people)}


@pytest.mark.parametrize("name", ["home", "compare"])
def test_a_dataset_without_runs_gets_its_three_commands(home, name):
    at = open_page(name, data="demo-untrained")
    commands = "\n".join(code.value for code in at.code)
    for verb in ("train-source", "train-target-transfer", "train-target-baseline"):
        assert f"crossrec {verb} --dataset demo-untrained" in commands
    assert alerts(at)[0].startswith("Not known yet")


def test_a_dataset_that_was_replaced_is_read_anew(empty_home):
    """While the server runs, and by everybody: what was cached of the old one is not found any more."""
    for people in (30, 50):
        tables = {
            which: pd.DataFrame([(f"p{u}", f"{which}{(u + i) % 9}") for u in range(people) for i in range(3)])
            for which in ("source", "target")
        }
        events = {which: table.set_axis(["user_id", "item_id"], axis=1) for which, table in tables.items()}
        write_tables("mine", events, {}, labels=("Shoes", "Socks"), replace=people > 30)
        assert f"{people} of {people} people" in alerts(open_page("explore", data="mine"))[0]


def test_explore_answers_from_the_data(home):
    pair = DomainPair.open("demo")
    seen = explore.overview(pair)
    at = open_page("explore", data="demo")
    assert f"{seen.both:,} of {seen.users:,} people ({percent(seen.both_share)})" in alerts(at)[0]
    shown = {metric.label: metric.value for metric in at.metric}
    assert shown["People in both"] == f"{int(pair.overlap.sum()):,}"
    assert shown["History in time"] == percent(seen.preceded_share)
    assert charts(at) >= 6


def test_explore_shows_one_persons_path(home):
    pair = DomainPair.open("demo")
    user = explore.example_users(pair)[1]
    at = open_page("explore", data="demo", exp_user=user)
    row = pair.user_index(user)
    counts = pair.source.counts[row], pair.target.counts[row]
    assert f"**Person {user}: {counts[0]} events in Screen and {counts[1]} events in Sound**" in words(at)
    path = next(frame.value for frame in at.dataframe if "step" in frame.value)
    assert len(path) == sum(counts)
    titles = dict(zip(pair.items("target")["item"], pair.items("target")["title"], strict=True))
    took = [titles[item] for item in pair.target.sequence(row)]
    assert list(path[path["domain"] == "Sound"]["item"]) == took


def test_explore_names_the_ids_nearest_to_an_unknown_one(home):
    at = open_page("explore", data="demo", exp_user="u01x")
    (sentence,) = [one.value for one in at.warning]
    assert "'u01x' is not in 'demo'" in sentence and "the nearest ids are u01" in sentence
    assert at.metric  # the rest of the page stands


def test_explore_searches_the_reviews(home):
    pair = DomainPair.open("demo")
    found, total = explore.search(pair, "THE")
    at = open_page("explore", data="demo", exp_words="THE")
    assert f"{total:,} reviews have “THE”; the newest 50 are shown" in words(at)
    shown = next(frame.value for frame in at.dataframe if "text" in frame.value and "step" not in frame.value)
    assert list(shown["item"]) == list(found["item"]) and len(shown) == 50
    assert shown["text"].str.lower().str.contains("the").all()


@pytest.mark.parametrize("nothing", ["%", "_", "'; drop table x; --", "zzzzqq"])
def test_explore_takes_words_literally(home, nothing):
    at = open_page("explore", data="demo", exp_words=nothing)
    assert "No review has all of" in words(at)


def test_explore_says_what_the_data_lacks(home):
    at = open_page("explore", data="bare")
    said = words(at)
    assert "no times" in said and "no ratings" in said and "no texts" in said
    assert alerts(at)[0].startswith("They may: 20 of 40 people")


def test_explore_of_a_single_domain(home):
    at = open_page("explore", data="single")
    assert alerts(at)[0].startswith("There is only one domain here, Tools, with 30 people")
    assert {metric.label: metric.value for metric in at.metric}["People"] == "30"
    assert "nobody can be in both" in words(at)


@pytest.mark.parametrize("name", ["home", "compare"])
def test_other_pages_of_a_single_domain(home, name):
    at = open_page(name, data="single")
    assert charts(at) == 0 and alerts(at)


def test_compare_follows_the_address(home):
    at = open_page("compare", data="demo", cmp_baseline="demo-popularity", cmp_runs="demo-linear-map")
    found = compare_runs([open_run("demo-popularity"), open_run("demo-linear-map")]).verdict
    assert alerts(at)[0] == plain(found.headline)
    assert "Linear map" in found.headline
    assert [metric.label for metric in at.metric][:2] == ["Linear map", "Popularity"]


def test_compare_lists_only_runs_of_the_target_and_the_split(home):
    at = open_page("compare", data="demo")
    names = {"demo-popularity", "demo-linear-map", "demo-target-sasrec", "demo-transfer-sasrec"}  # of this split
    assert set(at.selectbox(key="cmp_baseline").options) == names
    assert at.multiselect(key="cmp_runs").value[0] == "demo-transfer-sasrec"
    assert charts(at) == 14  # differences 2, slices 3, controls, shots, moves, means 2, the sample, curves 2, the way


def test_compare_gives_commands_and_the_leak_report(home):
    said = words(open_page("compare", data="demo"))
    assert "crossrec train transfer-sasrec --dataset demo" in said
    assert "No leak was found in 4 checks" in said


def test_compare_without_another_run_asks_for_one(home):
    at = open_page("compare", data="demo")
    at.multiselect(key="cmp_runs").set_value([]).run()
    assert not at.exception
    assert alerts(at) == ["Choose at least one run to compare with the baseline."]


def test_changing_the_dataset_changes_the_page(home):
    at = open_page("compare", data="demo")
    at.selectbox(key="data").set_value("demo-untrained").run()
    assert not at.exception and alerts(at)[0].startswith("Not known yet")


def test_an_unfinished_run_is_told_and_not_compared(home):
    folder = home / "runs" / "demo-target-sasrec"
    status = (folder / "status.json").read_text()
    (folder / "status.json").write_text(status.replace('"finished"', '"failed"'))
    try:
        at = open_page("compare", data="demo")
        assert "demo-target-sasrec" not in at.selectbox(key="cmp_baseline").options
        assert "demo-target-sasrec failed" in words(at).replace("\\", "")
    finally:
        (folder / "status.json").write_text(status)


def test_unlike_runs_are_warned_of(home):
    from crossrec.runs.execute import train

    train("target-sasrec", "demo", {"epochs": 1, "dim": 32, "blocks": 1}, name="demo-wide")
    try:
        at = open_page(
            "compare", data="demo", cmp_baseline="demo-wide", cmp_runs=["demo-transfer-sasrec", "demo-popularity"]
        )
        assert any("differ in more than transfer" in said and "dim 32 and 16" in said for said in alerts(at))
    finally:
        import shutil

        shutil.rmtree(home / "runs" / "demo-wide")


def test_percent_does_not_round_to_all_or_none():
    space = "\N{NO-BREAK SPACE}"
    assert [percent(x) for x in (0, 0.003, 0.5, 0.997, 1)] == [
        f"{n}{space}%" for n in ("0", "0.3", "50", "99.7", "100")
    ]


def test_plain_leaves_nothing_to_format():
    assert plain("a_b *c* [d](e) <f>") == r"a\_b \*c\* \[d\](e) \<f>"
    assert plain("run `crossrec demo_x`") == "run `crossrec demo_x`"
