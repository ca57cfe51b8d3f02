"""The feedback log: what was acknowledged is there once, whoever writes and however they end."""

import csv
import errno
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from crossrec.errors import CrossrecError
from crossrec.feedback import log as module
from crossrec.feedback.log import SCHEMA, FeedbackLog, LoggedSlate


def slate(session: str = "s", number: int | None = None, **changes: Any) -> LoggedSlate:
    values: dict[str, Any] = {
        "policy": "softmax",
        "version": "1",
        "candidates": [3, 5, 7, 9],
        "items": [7, 3],
        "propensities": [0.5, None],
        "user": "u1",
        "dataset": "demo",
        "run": "r1",
        "time": 1_700_000_000_000,
    }
    return LoggedSlate(session=session, number=number, **(values | changes))


@pytest.fixture
def log(tmp_path: Path) -> FeedbackLog:
    return FeedbackLog(tmp_path / "deep" / "feedback.db")


def test_what_was_shown_and_done_is_read_back(log: FeedbackLog) -> None:
    assert log.show(slate()) == 0
    assert log.show(slate()) == 1, "without a number the next one is taken"
    assert log.show(slate("t")) == 0
    assert log.react("s", 1, 0, "click", 0.3, at=1_700_000_000_500)
    rows = log.frame()
    assert list(rows.columns) == SCHEMA.names
    assert rows["session"].tolist() == ["s", "s", "s", "s", "t", "t"]
    assert rows["slate"].tolist() == [0, 0, 1, 1, 0, 0]
    assert rows["position"].tolist() == [0, 1] * 3
    assert rows["item"].tolist() == [7, 3] * 3
    assert [list(one) for one in rows["candidates"]] == [[3, 5, 7, 9]] * 6
    assert rows["propensity"][0] == 0.5
    assert rows["propensity"].isna().tolist() == [False, True] * 3
    assert rows["action"].notna().tolist() == [False, False, True, False, False, False]
    assert (rows["action"][2], rows["reward"][2]) == ("click", 0.3)
    assert rows["reacted"][2] - rows["time"][2] == 500
    assert rows["policy"].unique().tolist() == ["softmax"]
    assert len(log.frame(session="t")) == 2
    assert log.frame(run="other").empty


def test_a_time_of_now_is_utc_milliseconds(log: FeedbackLog) -> None:
    log.show(slate(time=None))
    assert abs(log.frame()["time"][0] / 1000 - pd.Timestamp.now("UTC").timestamp()) < 600


def test_a_second_press_neither_doubles_nor_loses(log: FeedbackLog) -> None:
    assert log.show(slate(number=4)) == log.show(slate(number=4)) == 4
    assert log.react("s", 4, 1, "click", 0.3) is True
    assert log.react("s", 4, 1, "click", 0.3) is False
    with pytest.raises(CrossrecError, match="The reaction 'click' stands at position 1 of slate 4: undo it"):
        log.react("s", 4, 1, "skip", 0.0)
    assert log.frame()["action"].tolist()[1] == "click"
    for other in (slate(number=4, items=[7, 9]), slate(number=4, policy="greedy"), slate(number=4, user="u2")):
        with pytest.raises(CrossrecError, match="another slate 4"):
            log.show(other)
    assert len(log.frame()) == 2


def test_undo_marks_and_deletes_nothing(log: FeedbackLog) -> None:
    log.show(slate())
    assert log.undo("s", 0, 0) is False, "nothing stood"
    log.react("s", 0, 0, "click", 0.3)
    assert log.undo("s", 0, 0) is True
    assert log.undo("s", 0, 0) is False
    assert pd.isna(log.frame()["action"][0])
    assert log.frame()["undone"].tolist() == [1, 0]
    assert log.react("s", 0, 0, "like", 1.0) is True
    assert (log.frame()["action"][0], log.frame()["undone"][0]) == ("like", 1)
    with pytest.raises(CrossrecError, match="The reaction 'like' stands"):
        log.react("s", 0, 0, "click", 0.3)
    kept = sqlite3.connect(log.path).execute("SELECT action, undone IS NULL FROM reactions ORDER BY id").fetchall()
    assert kept == [("click", 0), ("like", 1)]


def test_only_what_was_shown_can_be_reacted_to(log: FeedbackLog) -> None:
    log.show(slate())
    for place in [("s", 0, 2), ("s", 1, 0), ("t", 0, 0)]:
        for act in (lambda: log.react(*place, "click", 1.0), lambda: log.undo(*place)):  # noqa: B023
            with pytest.raises(CrossrecError, match=f"Nothing was shown at position {place[2]} of slate {place[1]}"):
                act()
    with pytest.raises(CrossrecError, match="finite reward"):
        log.react("s", 0, 0, "click", float("nan"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"propensities": [0.5]}, "2 items and 1 propensities"),
        ({"propensities": [0.5, 0.0]}, "seen: 0.0"),
        ({"propensities": [float("nan"), 0.5]}, "seen: nan"),
        ({"propensities": [1.5, 0.5]}, "seen: 1.5"),
        ({"items": [7, 8]}, "Item 8 was shown but is not among the candidates"),
        ({"items": [], "propensities": []}, "0 items"),
        ({"session": ""}, "needs a session"),
    ],
)
def test_a_slate_that_cannot_have_been_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(CrossrecError, match=said):
        slate(**changes)


# --- several writers -------------------------------------------------------------------------------

WRITER = """
import sys
from pathlib import Path
from crossrec.feedback.log import FeedbackLog, LoggedSlate
path, session, count = sys.argv[1:]
log = FeedbackLog(Path(path))
for turn in range(int(count)):
    number = log.show(LoggedSlate(session, "p", "1", [1, 2], [2, 1], [0.5, 0.5]))
    print("shown", number, flush=True)
    log.react(session, number, turn % 2, "click", 0.3)
    print("click", number, flush=True)
"""


def writer(path: Path, session: str, count: int) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), session, str(count)], stdout=subprocess.PIPE, text=True
    )


def test_two_processes_write_and_one_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "feedback.db"
    victim, other = writer(path, "victim", 1_000_000), writer(path, "other", 150)
    acknowledged: list[str] = []
    assert victim.stdout is not None
    for line in victim.stdout:
        acknowledged.append(line)
        if len(acknowledged) == 300:
            os.kill(victim.pid, signal.SIGKILL)
            break
    acknowledged += victim.stdout.readlines()
    victim.wait()
    victim.stdout.close()
    said, _ = other.communicate()
    assert (victim.returncode, other.returncode) == (-signal.SIGKILL, 0)
    assert len(said.splitlines()) == 300, "the other process saw nothing of it"

    rows = FeedbackLog(path).frame()
    assert not rows.duplicated(["session", "slate", "position"]).any()
    assert rows.groupby(["session", "slate"]).size().eq(2).all(), "a slate is whole or not there"
    clicks = rows[rows["action"] == "click"].groupby("session")["slate"].agg(list)
    assert clicks["other"] == list(range(150))
    whole = [line.split() for line in acknowledged if line.endswith("\n")]
    shown = [int(number) for what, number in whole if what == "shown"]
    clicked = [int(number) for what, number in whole if what == "click"]
    slates = rows.loc[rows["session"] == "victim", "slate"].unique().tolist()
    assert slates[: len(shown)] == shown
    assert len(slates) - len(shown) in (0, 1), "at most the one that was under way"
    assert clicks["victim"][: len(clicked)] == clicked
    assert len(clicks["victim"]) - len(clicked) in (0, 1)
    assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_threads_share_a_log_and_press_twice(log: FeedbackLog) -> None:
    new: list[bool] = []
    start = threading.Barrier(6)

    def work() -> None:
        start.wait()
        for _ in range(10):
            log.show(slate())
        for number in range(10):
            log.show(slate("same", number))
            new.append(log.react("same", number, 0, "click", 0.3))
        log.close()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(new), sum(new)) == (60, 10), "one of six presses is new"
    rows = log.frame()
    assert rows.groupby("session")["slate"].agg(lambda s: sorted(set(s))).to_dict() == {
        "s": list(range(60)),
        "same": list(range(10)),
    }
    assert (rows["action"] == "click").sum() == 10


def test_a_forked_process_opens_its_own_connection(log: FeedbackLog, monkeypatch: pytest.MonkeyPatch) -> None:
    log.show(slate())
    before = log._connection()
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert log._connection() is not before


# --- export ----------------------------------------------------------------------------------------


@pytest.fixture
def full(log: FeedbackLog) -> FeedbackLog:
    log.show(slate(user='=HYPERLINK("x")', session="@a"))
    log.show(slate(session="b", user=None, run="r2", propensities=[0.1, 1 / 3], policy="ε-greedy, α\n2"))
    log.react("@a", 0, 1, "dislike", -0.5, at=5)
    log.react("b", 0, 0, "click", 0.3, at=6)
    return log


def records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows in plain values, None where there is none."""
    return [
        {k: list(map(int, v)) if k == "candidates" else (None if pd.isna(v) else v) for k, v in row.items()}
        for row in rows.to_dict("records")
    ]


def test_export_round_trips(full: FeedbackLog, tmp_path: Path) -> None:
    expected = records(full.frame())
    assert full.export(tmp_path / "a.jsonl") == 4
    lines = (tmp_path / "a.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == expected
    full.export(tmp_path / "a.parquet")
    assert pq.read_table(tmp_path / "a.parquet").to_pylist() == expected
    full.export(tmp_path / "a.csv")
    with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    for one, row in zip(found, expected, strict=True):
        for key, value in row.items():
            if isinstance(value, str):
                assert one[key].removeprefix("'") == value
            else:
                assert (json.loads(one[key]) if one[key] else None) == value
    assert full.export(tmp_path / "b.csv", session="b", run="r2") == 2
    assert full.export(tmp_path / "b.csv", session="b", run="r1") == 0
    assert (tmp_path / "b.csv").read_text().splitlines() == [",".join(SCHEMA.names)]


def test_no_cell_of_a_csv_is_a_formula(full: FeedbackLog, tmp_path: Path) -> None:
    for place, begin in enumerate(module.FORMULA):
        full.show(slate(session=f"{begin}x", number=place, version=f"{begin}1+1", dataset=f"{begin}cmd"))
    full.export(tmp_path / "a.csv")
    with (tmp_path / "a.csv").open(encoding="utf-8", newline="") as file:
        cells = [cell for row in csv.DictReader(file) for key, cell in row.items() if key != "reward"]
    assert not [cell for cell in cells if cell.startswith(module.FORMULA)]
    assert '\'=HYPERLINK("x")' in cells


def test_an_export_is_whole_or_not_there(full: FeedbackLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.csv"
    path.write_text("before")

    def no_room(path: Path, *_: Any) -> None:
        path.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "_write", no_room)
    with pytest.raises(CrossrecError, match=r"The disk of .* is full"):
        full.export(path)
    assert path.read_text() == "before"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.csv", "deep"]
    with pytest.raises(CrossrecError, match=r"a\.xlsx cannot be written: its name ends in none of \.csv"):
        full.export(tmp_path / "a.xlsx")


# --- what can be wrong with the file ---------------------------------------------------------------


def test_a_full_disk_is_told_and_leaves_the_file_sound(log: FeedbackLog) -> None:
    log.show(slate())
    pages = log._connection().execute("PRAGMA page_count").fetchone()[0]
    log._connection().execute(f"PRAGMA max_page_count = {pages + 1}")
    with pytest.raises(CrossrecError, match=r"The disk of .*feedback\.db is full: free some space"):
        log.show(slate(candidates=range(20_000), items=[7], propensities=[0.5]))
    log.close()
    assert log.frame()["slate"].tolist() == [0, 0]
    assert log.show(slate()) == 1


def test_to_look_makes_no_file(log: FeedbackLog) -> None:
    rows = log.frame()
    assert rows.empty
    assert list(rows.columns) == SCHEMA.names
    assert not log.path.parent.exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(CrossrecError, match="permissions"):
            FeedbackLog(tmp_path / "feedback.db").show(slate())
        with pytest.raises(CrossrecError, match="permissions"):
            FeedbackLog(tmp_path / "deep" / "feedback.db").show(slate())
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize("code", [sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN_ISDIR, sqlite3.SQLITE_IOERR_WRITE])
def test_what_sqlite_says_is_one_sentence(code: int, log: FeedbackLog, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> None:
        error = sqlite3.OperationalError("attempt to write a readonly database")
        error.sqlite_errorcode = code
        raise error

    monkeypatch.setattr(module, "_connect", fail)
    with pytest.raises(CrossrecError, match=r"feedback\.db .*(permissions|check it)"):
        log.show(slate())


def test_another_file_is_left_alone(tmp_path: Path) -> None:
    text = tmp_path / "notes.db"
    text.write_text("not a database, but long enough to be mistaken for one " * 50)
    with pytest.raises(CrossrecError, match="no feedback log"):
        FeedbackLog(text).show(slate())
    other = tmp_path / "other.db"
    sqlite3.connect(other).execute("CREATE TABLE a (b)").connection.close()
    before = other.read_bytes()
    with pytest.raises(CrossrecError, match="database of another program"):
        FeedbackLog(other).frame()
    assert other.read_bytes() == before


def test_the_schema_moves_on_and_not_back(log: FeedbackLog, monkeypatch: pytest.MonkeyPatch) -> None:
    log.show(slate())
    log.close()
    old = module.MIGRATIONS
    monkeypatch.setattr(module, "MIGRATIONS", (*old, ("CREATE TABLE notes (text)", "BROKEN")))
    with pytest.raises(sqlite3.OperationalError):
        log.frame()
    names = "SELECT count(*) FROM sqlite_master WHERE name = 'notes'"
    assert sqlite3.connect(log.path).execute(names).fetchone() == (0,), "half a migration is none"
    monkeypatch.setattr(module, "MIGRATIONS", (*old, ("CREATE TABLE notes (text)",)))
    assert len(log.frame()) == 2
    assert log._connection().execute(names).fetchone() == (1,)
    log.close()
    monkeypatch.setattr(module, "MIGRATIONS", old)
    with pytest.raises(CrossrecError, match=r"written by a newer crossrec \(schema 2\)"):
        log.frame()
