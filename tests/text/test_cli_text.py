"""`crossrec encode`: what a person and a script are told."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from crossrec.console import Reporter
from crossrec.data.prepare import import_pair

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def dataset(home: Path, tmp_path: Path) -> str:
    path = tmp_path / "reviews.jsonl"
    rows = [("u1", "a", "Great", "loved it"), ("u2", "a", "Great", "loved it"), ("u2", "b", "", "so so")]
    lines = [
        {"user_id": u, "parent_asin": i, "asin": i, "rating": 4.0, "timestamp": 1_600_000_000_000}
        | {"title": h, "text": t}
        for u, i, h, t in rows
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    import_pair("shop", None, path)
    return "shop"


def test_a_script_gets_one_document(crossrec: Command, dataset: str, home: Path) -> None:
    code, out, err = crossrec("encode", dataset, "--encoder", "static", "--json")
    about = json.loads(out)
    assert (code, err) == (0, "")
    assert (about["texts"], about["distinct"], about["new"], about["width"]) == (3, 2, 2, 256)
    assert about["texts_per_second"] == pytest.approx(2 / about["seconds"])
    assert about["folder"] == str(home / "vectors" / about["key"])
    again = json.loads(crossrec("encode", dataset, "--encoder", "static", "--json")[1])
    assert (again["new"], again["texts_per_second"]) == (0, None)


def test_a_person_gets_sentences(crossrec: Command, dataset: str, home: Path) -> None:
    code, out, _ = crossrec("encode", dataset, "--encoder", "static")
    assert code == 0
    assert "3 texts, 2 of them different" in out
    assert "2 were new" in out
    assert str(home / "vectors") in out
    assert "None was new" in crossrec("encode", dataset, "--encoder", "static")[1]


@pytest.mark.parametrize(
    ("words", "told"),
    [(("shop", "--encoder", "statik"), "Did you mean 'static'?"), (("shap",), "Did you mean 'shop'?")],
)
def test_a_wrong_name_is_one_sentence(crossrec: Command, dataset: str, words: tuple[str, ...], told: str) -> None:
    code, out, err = crossrec("encode", *words)
    assert (code, out) == (1, "")
    assert told in err
    assert err.count("\n") == 1


def test_progress_shows_speed_and_time_left() -> None:
    report = Reporter()
    report({"event": "encode", "done": 0, "total": 0, "seconds": 0.0, "eta": None})
    assert not report.progress.tasks
    report({"event": "encode", "done": 1200, "total": 3000, "seconds": 6.0, "eta": 9.0})
    (task,) = report.progress.tasks
    assert (task.completed, task.total) == (1200, 3000)
    assert task.fields["note"] == "1,200 of 3,000 texts, 200 a second, 9 s left"
