"""`crossrec recommend` for users and strangers, and `crossrec export` to answer them elsewhere."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crossrec.data.pair import DomainPair
from crossrec.errors import CrossrecError
from crossrec.recommend.export import export
from crossrec.recommend.person import Person, Review
from crossrec.recommend.recommender import RunRecommender
from crossrec.runs.folder import open_run

Command = Callable[..., tuple[int, str, str]]
WINTER = "A frozen winter drama with blizzards and despair"


def document(result: tuple[int, str, str]) -> Any:
    code, out, err = result
    assert (code, err) == (0, "")
    return json.loads(out)


def test_a_strangers_reviews_and_items(crossrec: Command, tiny: Path) -> None:
    words = ("recommend", "--run", "tiny-transfer-sasrec", "--review", WINTER, "--review", "🎬", "--stars", "5")
    words += ("--stars", "1.5", "--item", "S0004", "--item", "A0003", "-k", "4", "--json")
    answer = document(crossrec(*words))
    person = Person(None, (Review(WINTER, 5), Review("🎬", 1.5)), ("S0004",), ("A0003",))
    expected = RunRecommender(open_run("tiny-transfer-sasrec")).ask(person, 4)
    assert answer == json.loads(json.dumps(expected.to_dict()))
    assert [one["kind"] for one in answer["evidence"]] == ["item", "item", "review", "review"]


def test_the_table_tells_what_became_of_reviews(crossrec: Command, tiny: Path) -> None:
    code, out, err = crossrec("recommend", "--dataset", "tiny", "--review", WINTER, "--explain", "-k", "2")
    assert (code, err) == (0, "")
    assert "it rests on reviews" in out
    assert "among the best" in out
    assert f"“{WINTER}” (" in out
    assert "taken for the 3 nearest items of Screen" in out
    assert "rank without" in out
    assert "+100%" in out


def test_reasons_as_json(crossrec: Command, tiny: Path) -> None:
    words = ("recommend", "--run", "tiny-transfer-sasrec", "--user", "u0002", "-k", "12", "--explain", "--json")
    answer = document(crossrec(*words))
    reasons = answer["explanations"]
    assert [one["item_id"] for one in reasons] == [one["item_id"] for one in answer["items"]][:10]
    assert [one["rank"] for one in reasons] == list(range(1, 11))
    assert len(reasons[0]["contributions"]) == len(answer["evidence"])


def test_which_run_answers(crossrec: Command, tiny_copy: Path) -> None:
    def chosen(*words: str) -> str:
        return str(document(crossrec("recommend", "--dataset", "tiny", *words, "--json"))["run"])

    assert chosen("--review", WINTER) == "tiny-transfer-sasrec"
    assert chosen("--item", "A0003") == "tiny-target-sasrec"
    assert chosen("--item", "A0003", "--use-transfer") == "tiny-transfer-sasrec"
    # A run that reads reviews comes first.
    from crossrec import paths

    folder = paths.runs() / "reader"
    shutil.copytree(paths.runs() / "tiny-popularity", folder)
    paths.write_json(
        folder / "config.json", paths.read_json(folder / "config.json") | {"run": "reader", "recipe": "racrec"}
    )
    assert chosen("--review", WINTER) == "reader"
    assert chosen("--review", WINTER, "--use-transfer") == "tiny-transfer-sasrec"
    for name in ("reader", "tiny-transfer-sasrec"):
        shutil.rmtree(paths.runs() / name)
    code, out, err = crossrec("recommend", "--dataset", "tiny", "--review", WINTER)
    assert (code, out) == (1, "")
    assert "run `crossrec train racrec --dataset tiny`" in err


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--review", "good", "--review", "bad", "--stars", "3"),
        ("--stars", "3"),
        ("--user", "u0001", "--k", "101"),
        ("--user", "u0001", "--from", "somewhere"),
        ("--review", "good", "--stars", "many"),
    ],
)
def test_wrong_usage(crossrec: Command, tiny: Path, words: tuple[str, ...]) -> None:
    code, out, err = crossrec("recommend", "--dataset", "tiny", *words)
    assert (code, out) == (2, "")
    assert "Usage" in err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--review", "  "), "Review 1 is empty: write a few words, or leave it out."),
        (("--review", "a" * 10_000), "Review 1 has 10,000 characters, and at most 5,000 are read: shorten it."),
        (("--review", "good") * 200, "There are 200 reviews, and at most 50 are taken"),
        (("--review", "good", "--stars", "nan"), "The stars of review 1 must be from 1 to 5, and they are nan."),
        (("--review", "good", "--stars", "6"), "The stars of review 1 must be from 1 to 5, and they are 6."),
        (("--item", "S0061"), "There is no item 'S0061' in Screen or Sound; near ids are S00"),
        (("--user", "nobody", "--review", "good"), "'nobody' is not in 'tiny'; the nearest ids are"),
    ],
)
def test_bad_input_is_one_sentence(crossrec: Command, tiny: Path, words: tuple[str, ...], sentence: str) -> None:
    code, out, err = crossrec("recommend", "--run", "tiny-transfer-sasrec", *words)
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert sentence in err


# --- exports ----------------------------------------------------------------------------------------------------------

PEOPLE = (
    Person(reviews=(Review(WINTER, 5), Review("comets and moons"))),
    Person(source_items=("S0004", "S0009"), target_items=("A0003",)),
    Person(),
)


@pytest.mark.parametrize("name", ["tiny-transfer-sasrec", "tiny-popularity", "tiny-source-sasrec"])
def test_an_export_answers_bit_for_bit(
    crossrec: Command, tiny_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    run = RunRecommender(open_run(name))
    people = [p for p in PEOPLE if name != "tiny-source-sasrec" or not p.target_items]
    expected = [run.ask(person, 20) for person in people]
    ids = DomainPair.open("tiny").users()["user_id"]
    folder = tmp_path / "out" / "mine"
    assert crossrec("export", name, str(folder))[0] == 0
    monkeypatch.setenv("CROSSREC_HOME", str(tmp_path / "another machine"))
    shutil.rmtree(tiny_copy)
    there = RunRecommender(folder)
    assert [there.ask(person, 20) for person in people] == expected
    for person in people:
        ours, theirs = (one.scores(one.asked(person), [one.asked(person).pieces]) for one in (run, there))
        assert np.array_equal(ours, theirs)
    assert (there.name, there.title, there.dataset, there.which) == (run.name, run.title, "tiny", run.which)
    content = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert not [one for one in ids if one.encode() in content]
    assert str(tiny_copy).encode() not in content
    with pytest.raises(CrossrecError, match="is an export and has no users: give reviews or items instead of an id"):
        there.ask(Person("u0001"))
    with pytest.raises(CrossrecError, match="has no users"):
        there.ask(Person("u0001"), fallback=True)


def test_the_command_answers_from_an_export(crossrec: Command, tiny_copy: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    made = document(crossrec("export", "tiny-transfer-sasrec", str(folder), "--json"))
    assert made["folder"] == str(folder)
    assert made["bytes"] == sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    answer = document(crossrec("recommend", "--from", str(folder), "--review", WINTER, "--json"))
    run = document(crossrec("recommend", "--run", "tiny-transfer-sasrec", "--review", WINTER, "--json"))
    assert answer == run
    assert {path.name for path in folder.iterdir()} == {"recommender", "catalog", "export.json"}


def test_an_export_of_words(crossrec: Command, tiny_copy: Path, tmp_path: Path) -> None:
    """A run from before there were catalogues gets one on the way out."""
    shutil.rmtree(open_run("tiny-popularity").folder / "catalog")
    assert RunRecommender(export(open_run("tiny-popularity"), tmp_path / "out")).catalog.encoder == "static"


def test_nothing_is_overwritten(crossrec: Command, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    (tmp_path / "empty").mkdir()
    code, out, err = crossrec("export", "tiny-popularity", str(tmp_path / "full"))
    assert (code, out) == (1, "")
    assert "full is not empty, and nothing is overwritten" in err
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine.txt"]
    assert crossrec("export", "tiny-popularity", str(tmp_path / "full" / "mine.txt"))[0] == 1
    assert crossrec("export", "tiny-popularity", str(tmp_path / "empty"))[0] == 0
    assert crossrec("export", "tiny-populrity", str(tmp_path / "new"))[0] == 1
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_a_damaged_export_is_told(crossrec: Command, tiny: Path, tmp_path: Path) -> None:
    folder = export(open_run("tiny-popularity"), tmp_path / "out")
    (folder / "recommender" / "weights.safetensors").write_bytes(b"")
    code, out, err = crossrec("recommend", "--from", str(folder), "--review", WINTER)
    assert (code, out, err.count("\n")) == (1, "", 1)
