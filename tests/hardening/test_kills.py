"""Processes killed at random moments: no event that was told of is lost, no file is half written, and all goes on."""

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

from crossrec import paths
from crossrec.data.folder import list_datasets
from crossrec.data.pair import DomainPair
from crossrec.feedback.log import FeedbackLog
from crossrec.runs.folder import open_run

LONG = os.environ.get("CROSSREC_LONG") == "1"
RUNS, IMPORTS, SESSIONS = (40, 40, 20) if LONG else (3, 3, 3)
"""Kills of each kind: a hundred in the long form."""
LONGEST = 9.0
"""Seconds after its start in which a process is killed."""
PLAYER = """
import sys
from crossrec.feedback.log import FeedbackLog, LoggedSlate
log, session = FeedbackLog(), sys.argv[1]
print("ready", flush=True)
for turn in range(1_000_000):
    number = log.show(LoggedSlate(session, "p", "1", [1, 2, 3], [3, 1], [0.5, 0.4]))
    log.react_all(session, number, [(0, "click" if turn % 2 else "skip", 0.3), (1, "skip", 0.0)])
    print(number, flush=True)
    if turn % 5 == 4:
        log.undo(session, number)
        print(-number - 1, flush=True)
"""


def start(*words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def kill_after(process: "subprocess.Popen[str]", seconds: float) -> str:
    """What it had said when it was killed, or when it ended before that."""
    try:
        said, _ = process.communicate(timeout=seconds)
        return said
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        return process.communicate()[0]


def everything_is_whole(home: Path) -> None:
    """Every file that a reader would open can be read; what is unfinished has a hidden name."""
    for path in home.rglob("*"):
        if any(part.startswith(".") for part in path.relative_to(home).parts) or not path.is_file():
            continue
        if path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".safetensors":
            load_file(path)
        elif path.suffix == ".parquet":
            pq.read_table(path)
        elif path.name == "events.jsonl":
            lines = path.read_text().splitlines(keepends=True)
            for line in lines[:-1] + [one for one in lines[-1:] if one.endswith("\n")]:
                json.loads(line)


def moments(kills: int) -> list[float]:
    """Random ones, but the same each time."""
    rng = random.Random(kills)
    return [rng.uniform(0.3, LONGEST) for _ in range(kills)]


def test_a_training_that_is_killed_again_and_again(tiny_copy: Path) -> None:
    settings = ["--set", "dim=16", "--set", "batch_size=2", "--set", "epochs=30", "--set", "patience=30"]
    begin = ["-m", "crossrec", "train", "target-sasrec", "--dataset", "tiny", "--name", "killed", *settings]
    for n, seconds in enumerate(moments(RUNS)):
        there = (paths.runs() / "killed" / "status.json").exists()
        # A training that an early kill left without a checkpoint is begun anew by the same command.
        said = kill_after(start(*(["-m", "crossrec", "train", "--resume", "killed"] if there else begin)), seconds)
        everything_is_whole(tiny_copy)
        assert "Traceback" not in said, said
        if (paths.runs() / "killed" / "status.json").exists():
            state = open_run("killed").state
            assert state in ("failed", "finished", "stopped"), (n, state, said)
            if state == "finished":
                shutil.rmtree(paths.runs() / "killed")
    there = (paths.runs() / "killed").exists()
    said, _ = start(*(["-m", "crossrec", "train", "--resume", "killed"] if there else begin)).communicate(timeout=300)
    run = open_run("killed")
    assert run.finished, said
    epochs = [event["epoch"] for event in run.events() if event["event"] == "epoch"]
    assert epochs == list(range(1, len(epochs) + 1)), "each epoch is told once, whatever was killed"


def test_an_import_that_is_killed_again_and_again(home: Path, tmp_path: Path) -> None:
    files = []
    for name in ("films", "songs"):
        rows = (f"u{n % 4001},{name}{n * 7 % 1999},{1 + n % 5},{1_600_000_000 + n}\n" for n in range(400_000))
        files.append(tmp_path / f"{name}.csv")
        files[-1].write_text("user_id,item_id,rating,timestamp\n" + "".join(rows))
    words = ["-m", "crossrec", "data", "import", "pair", "--source", str(files[0]), "--target", str(files[1])]
    made = 0
    for seconds in moments(IMPORTS):
        said = kill_after(start(*words), seconds / 2)
        assert "Traceback" not in said, said
        if home.exists():
            everything_is_whole(home)
        if list_datasets():  # it was quick enough: the dataset is there, and whole
            assert DomainPair.open("pair").n_users == 4001
            shutil.rmtree(paths.datasets() / "pair")
            made += 1
    said, _ = start(*words).communicate(timeout=300)
    assert DomainPair.open("pair").n_users == 4001, said
    for path in paths.datasets().glob(".*"):
        os.utime(path, (0, 0))  # what is a minute old and nobody's is cleared by the next import
    said, _ = start(*words, "--replace").communicate(timeout=300)
    assert [path.name for path in paths.datasets().glob(".*") if path.is_dir()] == [], said


@pytest.mark.usefixtures("home")
def test_sessions_that_are_killed(tmp_path: Path) -> None:
    told: dict[str, list[int]] = {}
    for n, seconds in enumerate(moments(SESSIONS)):
        said = kill_after(start("-c", PLAYER, f"s{n}"), 1 + seconds / 3).splitlines(keepends=True)
        assert not said or said[0] == "ready\n", said
        assert "Traceback" not in "".join(said), said
        told[f"s{n}"] = [int(line) for line in said[1:] if line.endswith("\n") and line != "ready\n"]
    path = paths.home() / "feedback.db"
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    rows = FeedbackLog(path).frame()
    assert sum(map(len, told.values())) > 10, "nothing was played, so nothing was tried"
    for session, numbers in told.items():
        mine = rows[rows["session"] == session]
        assert mine.groupby("slate").size().eq(2).all(), "a slate is whole or not there"
        answered = set(mine.loc[mine["action"].notna(), "slate"])
        undone = {-number - 1 for number in numbers if number < 0}
        for number in numbers:
            if number >= 0 and number not in undone:
                last = number == max(numbers)  # its undoing may have been under way
                assert number in answered or last, (session, number)
        for number in undone:
            assert number not in answered, (session, number)
