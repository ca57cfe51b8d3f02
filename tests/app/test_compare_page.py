"""The page that decides: every section, the alarm, controls that were not asked, links, and what is downloaded."""

import shutil
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pandas as pd
import pytest
from test_pages import alerts, charts, open_page, said, words

from app.ui import benefit, proof
from app.ui.errors import plain
from crossrec.report import figures, findings
from crossrec.runs import controls
from crossrec.runs.compare import compare_runs, matching_runs
from crossrec.runs.execute import train
from crossrec.runs.folder import open_run

QUICK = {"epochs": 1, "dim": 16, "blocks": 1, "batch_size": 64}
SECTIONS = [
    "Who benefits?",
    "Is it transfer?",
    "How much is it worth?",
    "How far do people move?",
    "How good is each recommender?",
    "What do they recommend?",
    "How it learned",
    "How far is it to the best possible?",
]


@pytest.fixture
def copied(built, copy_of):
    """A copy of the tiny home, which a test may change."""
    return copy_of(built)


def headers(at) -> list[str]:
    return [one.value for one in at.header]


def forget(home, run: str) -> None:
    for name in (controls.CONTROLS, controls.SHOTS, controls.LISTS):
        (home / "runs" / run / name).unlink()


def harm(home) -> None:
    """People with 5 to 9 target events get the first place from the baseline, and nothing from transfer."""
    for name, hit in (("demo-target-sasrec", 1.0), ("demo-transfer-sasrec", 0.0)):
        table = open_run(name).per_user()
        whom = table["n_target"].between(5, 9)
        table.loc[whom, ["ndcg@10", "hr@10", "mrr@10"]] = hit
        table.loc[whom, "rank"] = 1 if hit else 50
        table.to_parquet(home / "runs" / name / "per_user.parquet")


def test_every_section_in_its_order_with_what_it_shows(home):
    at = open_page("compare", data="demo")
    result = compare_runs(matching_runs("demo"))
    assert headers(at) == SECTIONS
    drawn = [*figures.differences(result), *figures.benefit(result), *figures.protocols(result)]
    drawn += [one(result) for one in (figures.control, figures.shots, figures.moves, figures.way)]
    text = words(at)
    for one in drawn:
        assert f"**{plain(one.finding)}**" in text
        assert plain(one.note) in text
    baseline = next(side.title for side in result.sides if side.run == result.insight.baseline)
    for row in result.insight.controls:
        assert plain(findings.control_sentence(row, baseline, "Screen")) in text
    assert "No leak was found" in text
    assert not any(button.key == "cmp_ask" for button in at.button)
    assert [one.proto.label for one in at.get("download_button")] == [
        "Download the results per person",
        "Download the report",
    ]


def test_slices_in_numbers_are_those_of_the_comparison(home):
    at = open_page("compare", data="demo")
    result = compare_runs(matching_runs("demo"))
    table = next(one.value for one in at.dataframe if "Said of it" in one.value.columns)
    assert list(table["People"]) == [one.users for one in result.insight.slices]
    assert np.allclose(table["Difference"], [one.difference.value.mean for one in result.insight.slices])
    lists = next(one.value for one in at.dataframe if "Novelty" in one.value.columns).set_index("Recommender")
    assert lists.loc["Popularity", "Novelty"] == pytest.approx(result.insight.lists["demo-popularity"]["novelty"])


def test_nobody_is_harmed_and_nothing_is_alarming(home):
    result = compare_runs(matching_runs("demo"))
    if any(one.hurt for one in result.insight.slices):
        pytest.skip("this tiny world harms somebody")
    at = open_page("compare", data="demo")
    assert "harmed" not in "".join(alerts(at))
    assert at.selectbox(key="cmp_slice").value == benefit.EVERYBODY


def test_harm_is_told_in_words_with_the_people_it_meets(copied):
    harm(copied)
    at = open_page("compare", data="demo")
    result = compare_runs(matching_runs("demo"))
    hurt = [one for one in result.insight.slices if one.hurt]
    assert ("target", "5 to 9") in [(one.kind, one.label) for one in hurt]
    (alarm,) = [one for one in at.warning if "harmed" in one.value]
    assert alarm.icon == ":material/change_history:"
    for sentence in findings.harm_sentences(result.insight, "Screen", "Sound"):
        assert plain(sentence) in alarm.value
    worst = min(hurt, key=lambda one: one.difference.value.mean)
    assert at.selectbox(key="cmp_slice").value == (worst.kind, worst.label)
    at.selectbox(key="cmp_slice").set_value(("target", "5 to 9")).run()
    assert not at.exception
    tables = [one.value for one in at.dataframe if "rank_after" in one.value.columns]
    assert len(tables) == 1  # of them nobody is helped
    assert (tables[0]["rank"] == 1).all()
    assert (tables[0]["rank_after"] == 50).all()
    assert (tables[0]["change"] == -1).all()
    assert "Nobody." in said(at)


def test_each_person_has_a_link_that_the_page_of_recommendations_understands(home):
    at = open_page("compare", data="demo")
    harmed, helped = (one.value for one in at.dataframe if "rank_after" in one.value.columns)
    assert len(harmed) <= benefit.MOST
    assert (harmed["change"].to_numpy() <= 0).all()
    assert (helped["change"].to_numpy() >= 0).all()
    before, after = (open_run(f"demo-{name}-sasrec").per_user() for name in ("target", "transfer"))
    gaps = np.sort(after["ndcg@10"].to_numpy() - before["ndcg@10"].to_numpy())
    assert np.allclose(harmed["change"], gaps[: len(harmed)])
    assert np.allclose(helped["change"], gaps[::-1][: len(helped)])
    row = harmed.iloc[0]
    address = urlsplit(row["ask"])
    query = {key: value[0] for key, value in parse_qs(address.query).items()}
    assert address.path == "recommend"
    assert query["rec_user"] == row["user"]
    there = open_page("recommend", **query)
    assert there.selectbox(key="rec_user").value == row["user"]
    assert there.selectbox(key="rec_a").value == "demo-transfer-sasrec"
    assert there.selectbox(key="rec_b").value == "demo-target-sasrec"
    assert row["user"] in alerts(there)[0]


def test_odd_ids_are_quoted_in_links():
    class Two:
        challenger, baseline = "a", "b"

    made = benefit.link("demo", "x&rec_a=y #1/é", Two)
    assert parse_qs(urlsplit(made).query)["rec_user"] == ["x&rec_a=y #1/é"]


def test_controls_that_were_not_asked_are_asked_on_demand(copied):
    before = controls.read(open_run("demo-transfer-sasrec"))[0]
    forget(copied, "demo-transfer-sasrec")
    at = open_page("compare", data="demo")
    assert "The controls of the run demo-transfer-sasrec are not known" in said(at)
    assert "Placebo" not in said(at)
    some = charts(at)
    at.button(key="cmp_ask").click().run()
    assert not at.exception
    again = controls.read(open_run("demo-transfer-sasrec"))[0]
    assert all(again[name].equals(before[name]) for name in before)
    assert "are not known" not in said(at)
    assert "cmp_ask" not in [button.key for button in at.button]
    assert charts(at) >= some
    assert "With somebody else's Screen history Transfer SASRec" in said(at)
    assert compare_runs(matching_runs("demo")).verdict.details[1] in said(at)


def test_controls_of_several_have_their_command(copied):
    forget(copied, "demo-transfer-sasrec")
    forget(copied, "demo-linear-map")
    at = open_page("compare", data="demo")
    assert "The controls of demo-transfer-sasrec and demo-linear-map are not known" in said(at)
    assert "`crossrec compare demo-transfer-sasrec demo-linear-map`" in said(at)
    assert "How much is it worth?" in headers(at)  # of the others


def test_a_failure_to_ask_is_one_sentence(copied):
    forget(copied, "demo-popularity")
    shutil.rmtree(copied / "runs" / "demo-popularity" / "recommender")
    at = open_page("compare", data="demo")
    at.button(key="cmp_ask").click().run()
    assert not at.exception
    assert "cmp_ask" in [button.key for button in at.button]
    (failure,) = [one.value for one in at.warning if "recommender.json" in one.value]
    assert "is missing" in failure


def test_a_link_opens_the_runs_it_names(home):
    at = open_page("compare", data="demo", cmp_baseline="demo-popularity", cmp_runs=["demo-target-sasrec"])
    result = compare_runs([open_run("demo-popularity"), open_run("demo-target-sasrec")])
    assert alerts(at)[0] == plain(result.verdict.headline)
    assert "None of the recommenders reads anything of the source" in said(at)
    assert "How far do people move?" in headers(at)


def test_other_trainings_are_told_where_there_are_some(copied):
    for recipe in ("target-sasrec", "source-sasrec", "transfer-sasrec"):
        settings = open_run(f"demo-{recipe}").config()["settings"]
        train(recipe, "demo", {key: settings[key] for key in ("epochs", "dim", "blocks", "batch_size")}, seed=1)
    at = open_page("compare", data="demo", cmp_baseline="demo-target-sasrec", cmp_runs=["demo-transfer-sasrec"])
    assert "Would another training say the same?" in headers(at)
    assert "trained with 2 and 2 seeds" in said(at)


def test_the_sampled_protocol_is_explained_at_a_rank(home):
    at = open_page("compare", data="demo")
    assert plain(findings.sample_sentence(1000, proof.LARGE)) in words(at)
    at.select_slider(key=f"cmp_rank_{proof.LARGE}").set_value(10_000).run()
    assert not at.exception
    assert plain(findings.sample_sentence(10_000, proof.LARGE)) in words(at)


def test_the_report_is_that_of_the_page(home):
    result = compare_runs(matching_runs("demo"))
    text = proof.document(result).decode()
    assert text.startswith("<!doctype html>")
    assert "Is it transfer?" in text


def test_strangers_get_the_same_evidence(copied):
    for recipe in ("popularity", "linear-map"):
        train(recipe, "demo", split_kind="cold-user-50", name=f"cold-{recipe}")
    at = open_page("compare", data="demo", cmp_split="Strangers, cold-user-50")
    assert {"Who benefits?", "Is it transfer?", "How far do people move?"} <= set(headers(at))
    assert "of the strangers gain" in said(at)
    frame = next(one.value for one in at.dataframe if "rank_after" in one.value.columns)
    assert isinstance(frame, pd.DataFrame)
    at = open_page(
        "compare", data="demo", cmp_split="Strangers, cold-user-50", cmp_cold=["cold-popularity", "cold-linear-map"]
    )
    assert "Who benefits?" not in headers(at)
    assert alerts(at)[0].startswith("There is no learned model")
