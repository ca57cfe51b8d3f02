"""`crossrec compare` and `evaluate --control`: what a terminal shows, what is asked, and what is written."""

import json
from pathlib import Path
from typing import Any

import pytest

from crossrec.runs import controls
from crossrec.runs.compare import compare_runs
from crossrec.runs.execute import train
from crossrec.runs.folder import open_run

BOTH = ("tiny-target-sasrec", "tiny-transfer-sasrec")


def forget(home: Path, run: str) -> None:
    """As a run of an earlier version is."""
    for name in ("controls", "shots", "lists"):
        (home / "runs" / run / f"{name}.parquet").unlink()


@pytest.mark.usefixtures("tiny")
def test_a_comparison_tells_what_its_verdict_rests_on(crossrec: Any) -> None:
    code, out, err = crossrec("compare", *BOTH)
    assert (code, err) == (0, "")
    result = compare_runs([open_run(name) for name in BOTH])
    assert out.startswith(result.verdict.headline)
    for detail in result.verdict.details:
        assert detail in out
    for title in (
        "Tests: Transfer SASRec against Target-only SASRec",
        "Who benefits: NDCG@10 by events known in the target domain",
        "Who benefits: NDCG@10 by how often their hidden item was taken",
        "Is it transfer? NDCG@10 of people with a source history",
        "NDCG@10 by target events that are shown",
        "Lists of ten",
    ):
        assert f"\n{title}" in out
    test = result.insight.tests["with_source"]["ndcg@10"]
    line = next(line for line in out.splitlines() if line.startswith("Users with a source history  NDCG@10"))
    assert f"{test.effect:+.3f}" in line
    for control in ("With somebody else's source history", "in random order", "Without the source history"):
        assert control in out
    assert "Without controls" not in out
    assert "seeds" not in out


@pytest.mark.usefixtures("tiny_copy")
def test_several_seeds_are_told(crossrec: Any, tiny_settings: dict[str, Any]) -> None:
    for recipe in ("target-sasrec", "source-sasrec", "transfer-sasrec"):
        train(recipe, "tiny", tiny_settings, seed=1, name=f"one-{recipe}")
    code, out, _ = crossrec("compare", *BOTH)
    assert code == 0
    assert "Difference in NDCG@10 over 2 seeds and 2 seeds" in out
    assert "Over people and trainings" in out


def test_controls_that_were_not_asked_are_asked_first(tiny_copy: Path, crossrec: Any) -> None:
    before = controls.read(open_run(BOTH[1]))[0]["placebo"]
    forget(tiny_copy, BOTH[1])
    code, out, err = crossrec("compare", *BOTH)
    assert code == 0
    assert err == "asking the controls of tiny-transfer-sasrec\n"
    assert "With somebody else's source history" in out
    assert controls.read(open_run(BOTH[1]))[0]["placebo"].equals(before)
    forget(tiny_copy, BOTH[1])
    code, out, err = crossrec("compare", *BOTH, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["insight"]["missing"] == []


def test_one_that_cannot_be_asked_is_compared_all_the_same(tiny_copy: Path, crossrec: Any) -> None:
    forget(tiny_copy, BOTH[1])
    for file in (tiny_copy / "runs" / BOTH[1] / "recommender").iterdir():
        file.unlink()
    code, out, err = crossrec("compare", *BOTH)
    assert code == 0
    assert "tiny-transfer-sasrec is compared without its controls" in err
    assert "Without controls: tiny-transfer-sasrec." in out


def test_what_cannot_be_compared_is_told_before_anything_is_asked(tiny_copy: Path, crossrec: Any) -> None:
    forget(tiny_copy, BOTH[0])
    code, out, err = crossrec("compare", BOTH[0], "tiny-source-sasrec")
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert "asking" not in err
    assert not controls.are_there(open_run(BOTH[0]))


@pytest.mark.usefixtures("tiny")
def test_a_report_is_written_beside_the_words(crossrec: Any, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    code, out, _ = crossrec("compare", *BOTH, "--html", file)
    assert code == 0
    assert out.endswith(f"Written to {file}.\n")
    assert compare_runs([open_run(name) for name in BOTH]).verdict.headline[:40] in file.read_text(encoding="utf-8")
    file.unlink()
    code, out, err = crossrec("compare", *BOTH, "--json", "--html", file)
    assert (code, err) == (0, "")
    assert json.loads(out)["dataset"] == "tiny"
    assert file.exists()
    code, out, err = crossrec("compare", *BOTH, "--html", tmp_path / "absent" / "x.html")
    assert (code, out) == (1, "")
    assert err == f"crossrec: {tmp_path}/absent/x.html cannot be written: there is no folder {tmp_path}/absent.\n"


@pytest.mark.usefixtures("tiny_copy")
def test_strangers_are_compared_both_ways(crossrec: Any, tmp_path: Path) -> None:
    names = [
        train(recipe, "tiny", split_kind="cold-user-50", name=f"{recipe}-cold").name
        for recipe in ("popularity", "linear-map", "emcdr")
    ]
    code, out, _ = crossrec("compare", *names, "--html", tmp_path / "a.html")
    assert code == 0
    assert "Linear map" in out.splitlines()[0]
    assert "Is it transfer?" in out
    code, out, _ = crossrec("compare", *names, "--json")
    found = json.loads(out)["insight"]
    assert (found["challenger"], found["baseline"]) == ("linear-map-cold", "popularity-cold")
    for recipe in ("user-knn", "content", "biases", "ptupcdr"):
        train(recipe, "tiny", {"encoder": "static"} if recipe == "content" else {}, split_kind="cold-user-50")
    code, out, _ = crossrec("eval-cold", "--dataset", "tiny", "--split", "cold-user-50")
    assert code == 0
    assert "of the strangers gain" in out
    assert "\nTests: " in out
    code, out, _ = crossrec("eval-cold", "--dataset", "tiny", "--split", "cold-user-50", "--json")
    found = json.loads(out)
    assert found["insight"]["tests"]["all"]["ndcg@10"]["users"] == found["users"]
    assert found["details"]


@pytest.mark.usefixtures("tiny")
def test_a_run_is_evaluated_under_a_control(crossrec: Any) -> None:
    code, out, err = crossrec("evaluate", BOTH[1], "--control", "placebo", "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    row = next(
        row
        for row in compare_runs([open_run(name) for name in BOTH]).to_dict()["insight"]["controls"]
        if row["control"] == "placebo"
    )
    assert found["metrics"]["ndcg@10"]["value"] == row["value"]
    assert found["metrics"]["ndcg@10"]["loss"] == row["loss"]
    assert found["users"] == row["users"]
    code, out, _ = crossrec("evaluate", BOTH[1], "--control", "no-source", "--split", "valid")
    assert code == 0
    assert "tiny-transfer-sasrec, no-source: " in out
    assert [line.split()[0] for line in out.splitlines()[2:]] == ["hr@10", "ndcg@10", "mrr@10"]


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(
    ("run", "control", "words"),
    [
        ("tiny-popularity", "placebo", "does not read the source history: placebo changes nothing for it"),
        ("tiny-transfer-sasrec", "plasebo", "There is no control 'plasebo'. Did you mean 'placebo'?"),
        ("tiny-target-sasrec", "shuffled-order", "changes nothing for it"),
    ],
)
def test_a_control_that_makes_no_sense_gets_one_sentence(crossrec: Any, run: str, control: str, words: str) -> None:
    code, out, err = crossrec("evaluate", run, "--control", control)
    assert (code, out) == (1, "")
    assert words in err
    assert err.count("\n") == 1
