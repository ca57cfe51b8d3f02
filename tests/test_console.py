"""What a terminal, a pipe and a script see."""

from dataclasses import replace
from typing import Any

import pytest

from crossrec import console
from crossrec.console import Reporter, show_answer, table
from crossrec.recommend.evidence import Evidence
from crossrec.recommend.recommender import Answer, Recommendation


def test_a_table_aligns_numbers_to_the_right(capsys: pytest.CaptureFixture[str]) -> None:
    table(("name", "users"), [("a", "5"), ("longer", "1,234")])
    lines = capsys.readouterr().out.splitlines()
    assert [line.rstrip() for line in lines] == ["name    users", "a           5", "longer  1,234"]


def answer(title: str) -> Answer:
    item = Recommendation(1, "B01", title, "Somebody", None, 2001, 0.5, "among the best 5 %", 0.02, None, 3)
    return Answer("run", "both domains", 1, 1, 0, [item], [], [])


def test_an_answer(capsys: pytest.CaptureFixture[str]) -> None:
    show_answer(answer("The Stub"))
    out = capsys.readouterr().out
    assert "B01" in out
    assert "The Stub" in out
    assert "1 source and 1 target events" in " ".join(out.split())
    assert "among the best 5 %" in out
    assert "stars" not in out


def test_an_answer_tells_what_became_of_reviews(capsys: pytest.CaptureFixture[str]) -> None:
    review = Evidence("review", "source", "Screen", "S01", "Frost", "x" * 70, 5.0, True, "taken for the nearest item")
    item = Evidence("item", "target", "Sound", "A01", None, None, None, False, "only kept out of the list")
    whole = answer("The Stub")
    rated = replace(whole.items[0], stars=4.26)
    show_answer(replace(whole, n_reviews=1, evidence=[review, item], items=[rated], notes=["One was not used."]))
    out = capsys.readouterr().out
    assert f"“{'x' * 59}…” (Frost): taken for the nearest item.\n" in out
    assert "A01: only kept out of the list.\nOne was not used.\n" in out
    assert "1 target events, 1 review)" in " ".join(out.split())
    assert "4.3" in out


@pytest.mark.parametrize("title", ["Kind of Blue [import]", "Best of [/disc 2]", "[bold]"])
def test_titles_in_brackets_are_shown_as_they_are(title: str, capsys: pytest.CaptureFixture[str]) -> None:
    show_answer(answer(title))
    assert title in capsys.readouterr().out


def test_names_are_never_cut(capsys: pytest.CaptureFixture[str]) -> None:
    name = "Electronics-Video_Games-300000-transfer-sasrec-s0-20260101-101010"
    cells = (name, "transfer-sasrec", "Electronics-Video_Games-300000", "0", "finished")
    table(("run", "recipe", "dataset", "seed", "state"), [cells])
    assert name in capsys.readouterr().out


def epoch(number: int) -> dict[str, Any]:
    return {
        "event": "epoch",
        "epoch": number,
        "epochs": 9,
        "best": 1,
        "seconds": 1.0,
        "eta": 2.0,
        "losses": {"loss": 0.25},
        "monitor": "ndcg@10",
        "valid": {"ndcg@10": 0.125},
    }


def test_progress_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with Reporter() as report:
        report({"event": "start", "run": "mine"})
        report({"event": "step", "epoch": 1, "step": 3, "steps": 9, "loss": 1.0})
        report(epoch(1))
        report(epoch(2))
        report({"event": "test"})
        report({"event": "of a later version"})
    out, err = capsys.readouterr()
    assert out == ""
    assert "training mine" in err
    lines = [line for line in err.splitlines() if "0.1250" in line]
    assert [line.rstrip().endswith("*") for line in lines] == [True, False]  # the star marks the best so far
    assert "0.2500" in lines[0]


def test_a_quiet_reporter_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Reporter(quiet=True) as report:
        report({"event": "start", "run": "mine"})
        report(epoch(1))
        report({"event": "read", "file": "x"})
    assert capsys.readouterr() == ("", "")


def test_every_event_that_has_a_line_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with Reporter() as report:
        report({"event": "read", "file": "reviews.csv"})
        report({"event": "step", "step": "duplicates", "domain": "source", "events": 1200, "dropped": 34})
        report({"event": "step", "step": "nothing", "domain": "source", "events": 1200, "dropped": 0})
        report({"event": "demo", "step": 2, "steps": 12, "doing": "popularity on demo"})
        report({"event": "download", "file": "x.jsonl", "done": 5, "total": 10})
    err = capsys.readouterr().err
    assert "reading reviews.csv" in err
    assert "duplicates (source): 34 dropped, 1,200 left" in err
    assert "nothing" not in err
    assert "[2/12] popularity on demo" in err
    assert console.console.width >= 80
