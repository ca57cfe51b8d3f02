"""Logs made ready for a dataset: what is mapped, what is left out, and that a log comes back as it was written."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from crossrec.data.logged import list_logs
from crossrec.data.pair import DomainPair
from crossrec.errors import CrossrecError
from crossrec.feedback.log import FeedbackLog, LoggedSlate
from crossrec.feedback.ready import import_file, import_played


@pytest.fixture
def pair(tiny_copy: Path) -> DomainPair:
    return DomainPair.open("tiny")


def ids(pair: DomainPair, *numbers: int) -> list[str]:
    items = pair.items("target").set_index("item")["item_id"]
    return [str(items[number]) for number in numbers]


def written(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_ids_become_numbers_and_rows_of_a_slate_stay_together(pair: DomainPair, tmp_path: Path) -> None:
    one, two, three, four = ids(pair, 5, 9, 11, 2)
    user = pair.users()["user_id"][3]
    about = {"session": "a", "user_id": user, "slate": 1, "candidates": [one, two, three], "policy": "p"}
    rows = [
        about | {"item_id": two, "action": "skip", "position": 1, "propensity": 0.5, "time": 1_600_000_000},
        about | {"item_id": one, "action": "click", "position": 0, "propensity": 0.25, "time": 1_600_000_000},
        {"session": "b", "item_id": four, "reward": 0.7},
    ]
    log = import_file("mine", written(tmp_path / "mine.jsonl", rows), pair)
    events = log.events
    assert events["item"].tolist() == [5, 9, 2] and events["position"].tolist() == [0, 1, -1]
    assert events["reward"].tolist() == [0.3, 0.0, 0.7] and events["propensity"].tolist()[:2] == [0.25, 0.5]
    assert events["slate"].tolist() == [0, 0, 1] and events["time"][0] == 1_600_000_000_000
    assert log.slates["user"].tolist() == [3, -1] and log.slates["policy"][0] == "p"
    assert log.slates["candidates"][0].tolist() == [5, 9, 11] and log.slates["candidates"][1] is None
    assert not log.meta["left_out"] and any("1 of 3 rows have no propensity" in note for note in log.meta["notes"])
    assert any("1 of 2 sessions" in note for note in log.meta["notes"])


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"item": "nowhere", "action": "click"}, "item not in the dataset"),
        ({"item": "ITEM", "action": "clik"}, "row in error"),
        ({"item": "ITEM", "action": None}, "nobody has reacted"),
        ({"item": "ITEM", "action": "click", "propensity": 1.5}, "row in error"),
        ({"item": "ITEM", "action": "click", "position": 1_000_000}, "position beyond 10,000"),
        ({"item": "ITEM", "action": "click", "slate": 7}, "told twice in one slate"),
        ({"item": "ITEM", "action": "click", "candidates": ["OTHER"]}, "item not among its candidates"),
    ],
)
def test_what_cannot_be_used_is_left_out_and_counted(
    pair: DomainPair, tmp_path: Path, row: dict[str, Any], why: str
) -> None:
    item, other = ids(pair, 4, 6)
    good = [
        {"session": "s", "item": item, "action": "click", "slate": 7, "position": 0},
        {"session": "t", "item": other, "action": "skip", "slate": 8, "position": 0},
    ]
    names = {"ITEM": item, "OTHER": other}
    bad = {"session": "s", "slate": 9, "position": 3} | {
        key: [names[one] for one in value] if isinstance(value, list) else names.get(str(value), value)
        for key, value in row.items()
    }
    log = import_file("mine", written(tmp_path / "mine.jsonl", [*good, bad]), pair)
    assert log.meta["left_out"] == {why: 1} and len(log.events) == 2
    assert why == "nobody has reacted" or "line 3" in log.meta["errors"][0]


def test_nothing_left_is_an_error_that_says_why_and_leaves_nothing(pair: DomainPair, tmp_path: Path) -> None:
    rows = [{"session": "s", "item": f"nowhere-{n}", "action": "click"} for n in range(3)]
    with pytest.raises(
        CrossrecError, match=r"Nothing in mine.jsonl can be used for 'tiny' \(item not in the dataset: 3\)"
    ):
        import_file("mine", written(tmp_path / "mine.jsonl", rows), pair)
    assert not list_logs()


def test_positions_from_one_are_taken_as_such(pair: DomainPair, tmp_path: Path) -> None:
    rows = [
        {"session": "s", "item": item, "action": "skip", "slate": 1, "position": n}
        for n, item in enumerate(ids(pair, 3, 4), 1)
    ]
    log = import_file("mine", written(tmp_path / "mine.jsonl", rows), pair)
    assert log.events["position"].tolist() == [0, 1] and any("count from 1" in note for note in log.meta["notes"])


def test_positions_from_zero_stay_where_what_stood_first_is_left_out(pair: DomainPair, tmp_path: Path) -> None:
    about = {"session": "s", "action": "skip", "slate": 1}
    items = ["unheard of", *pair.items("target")["item_id"][1:3]]
    rows = [about | {"item": item, "position": n} for n, item in enumerate(items)]
    log = import_file("mine", written(tmp_path / "mine.jsonl", rows), pair)
    assert log.events["position"].tolist() == [1, 2]
    assert not any("count from 1" in note for note in log.meta["notes"])


def test_what_was_played_comes_back_as_it_was(pair: DomainPair) -> None:
    feedback = FeedbackLog()
    user = str(pair.users()["user_id"][2])
    for n, session in enumerate(["a", "a", "b"]):
        feedback.show(
            LoggedSlate(
                session, "p", str(n), [1, 2, 3, 4], [2, 4], [0.5, 0.25], user=user, dataset="tiny", run="tiny-x"
            )
        )
    feedback.show(LoggedSlate("c", "p", "0", [1, 2], [1], [1.0], dataset="other"))
    feedback.react_all("a", 0, [(0, "click", 0.3), (1, "skip", 0.0)])
    feedback.react_all("b", 0, [(1, "like", 1.0)])
    log = import_played("played", feedback, pair)
    assert log.events[["item", "position", "propensity", "action", "reward"]].to_numpy().tolist() == [
        [2, 0, 0.5, "click", 0.3],
        [4, 1, 0.25, "skip", 0.0],
        [4, 1, 0.25, "like", 1.0],
    ]
    assert log.slates["user"].tolist() == [2, 2] and log.slates["candidates"][0].tolist() == [1, 2, 3, 4]
    assert log.meta["left_out"] == {"shown, and nobody reacted": 3}
    assert import_played("one", feedback, pair, session="b").meta["sessions"] == 1
    with pytest.raises(CrossrecError, match="play on the feedback page first"):
        import_played("none", feedback, pair, session="zzz")


def test_an_export_is_imported_as_it_was_played(pair: DomainPair, tmp_path: Path) -> None:
    feedback = FeedbackLog()
    slate = LoggedSlate(
        "a", "p", "0", [1, 2, 3, 4], [2, 4], [0.5, 0.25], user=str(pair.users()["user_id"][2]), dataset="tiny"
    )
    feedback.show(slate)
    feedback.react_all("a", 0, [(0, "click", 0.3), (1, "skip", 0.0)])
    wanted = import_played("played", feedback, pair)
    for suffix in (".csv", ".jsonl", ".parquet"):
        path = tmp_path / f"log{suffix}"
        feedback.export(path, names={"tiny": ["", *ids(pair, *range(1, pair.target.n_items + 1))]})
        found = import_file(f"again{suffix[1:]}", path, pair)
        pd.testing.assert_frame_equal(found.events, wanted.events)
        assert found.slates["candidates"][0].tolist() == [1, 2, 3, 4] and found.slates["user"].tolist() == [2]
