"""The commands around trainings: in the queue, stopped, gone on with, removed, tracked."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crossrec.runs import queue
from crossrec.runs.execute import train
from crossrec.runs.folder import open_run
from crossrec.stopping import Stop, Stopped

Crossrec = Callable[..., tuple[int, str, str]]
TINY = ["--dataset", "tiny", "--set", "dim=16", "--set", "epochs=2"]
pytestmark = pytest.mark.usefixtures("tiny_copy")


@pytest.fixture
def idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody starts what waits."""
    monkeypatch.setattr(queue, "keep", lambda: None)


def stopped(name: str) -> None:
    stop = Stop()
    stop.wished = True
    with pytest.raises(Stopped):
        train("target-sasrec", "tiny", {"dim": 16, "epochs": 2}, name=name, stop=stop)


@pytest.mark.usefixtures("idle")
def test_queue_and_order(crossrec: Crossrec) -> None:
    assert crossrec("runs", "queue")[1] == "Nothing is in training and nothing waits.\n"
    for name in ("a", "b", "c"):
        code, out, _ = crossrec("train", "target-sasrec", *TINY, "--queue", "--name", name)
        assert code == 0
        assert out.startswith(f"{name} waits for its turn.")
    assert json.loads(crossrec("train", "popularity", "--dataset", "tiny", "--queue", "--name", "d", "--json")[1]) == {
        "run": "d", "state": "queued",
    }  # fmt: skip

    def order() -> list[str]:
        return [row["name"] for row in json.loads(crossrec("runs", "queue", "--json")[1])]

    assert order() == ["a", "b", "c", "d"]
    assert crossrec("runs", "queue", "c")[0] == 0
    assert order() == ["c", "a", "b", "d"]
    assert crossrec("runs", "queue", "c", "--to", "last")[0] == 0
    assert order() == ["a", "b", "d", "c"]
    assert (
        "'sideways' is no place in the queue: say first, last, up, down"
        in crossrec("runs", "queue", "a", "--to", "sideways")[2]
    )
    assert "Name the run that is to be moved" in crossrec("runs", "queue", "--to", "up")[2]
    assert "'tiny-popularity' does not wait" in crossrec("runs", "queue", "tiny-popularity")[2]
    assert crossrec("runs", "cancel", "a", "b")[1].splitlines()[0].startswith("a is stopped.")
    assert order() == ["d", "c"]
    assert json.loads(crossrec("runs", "resume", "a", "--json")[1]) == {"a": "queued"}
    assert order() == ["d", "c", "a"]
    assert "cannot be cancelled: its state is 'finished'" in crossrec("runs", "cancel", "tiny-popularity")[2]


@pytest.mark.usefixtures("idle")
def test_a_bridge_may_wait_for_its_source_model(crossrec: Crossrec) -> None:
    asked = ("--dataset", "tiny", "--seed", "5", "--split", "cold-user", "--queue")
    code, _, err = crossrec("train", "transfer-sasrec", *asked)
    assert (code, "train-source" in err) == (1, True)
    assert crossrec("train", "source-sasrec", *asked, "--name", "src")[0] == 0
    assert crossrec("train", "transfer-sasrec", *asked, "--name", "bridge")[0] == 0
    assert open_run("bridge").config()["source_run"] == "src"
    # Should its turn come before the other is finished, it says so.
    code, _, err = crossrec("train", "--resume", "bridge")
    assert (code, err.splitlines()[-1]) == (
        1, "crossrec: The source model 'src' is not there yet: its state is 'queued'.",
    )  # fmt: skip
    assert open_run("bridge").state == "failed"


def test_resume_here_and_in_the_queue(crossrec: Crossrec) -> None:
    stopped("parts")
    listed = crossrec("runs", "list")[1]
    assert re.search(r"parts +target-sasrec +tiny +0 +stopped", listed)
    code, out, err = crossrec("train", "--resume", "parts")
    assert code == 0, err
    assert "parts: 2 epochs" in out
    assert "goes on in epoch 1, after 1 of its steps" in err or "goes on in epoch 2" in err
    assert open_run("parts").finished
    assert "its state is 'finished'" in crossrec("train", "--resume", "parts")[2]
    assert "no run 'party'. Did you mean 'parts'" in crossrec("train", "--resume", "party")[2]
    for extra in (["popularity"], ["--dataset", "tiny"], ["--set", "dim=8"], ["--name", "x"]):
        code, _, err = crossrec("train", "--resume", "parts", *extra)
        assert (code, "give --resume RUN alone" in err) == (2, True)
    assert crossrec("train")[0] == 2


def test_a_queued_run_is_carried_out_by_processes_of_its_own(crossrec: Crossrec, tiny_copy: Path) -> None:
    assert crossrec("train", "popularity", "--dataset", "tiny", "--queue", "--name", "later")[0] == 0
    run, end = open_run("later"), time.monotonic() + 120
    while run.state in ("queued", "running") and time.monotonic() < end:
        time.sleep(0.05)
    assert run.state == "finished", run.log()
    assert run.metrics()["test"] == open_run("tiny-popularity").metrics()["test"]
    assert (tiny_copy / ".queue.log").read_text() == ""
    assert json.loads(crossrec("runs", "queue", "--json")[1]) == []


def test_remove(crossrec: Crossrec, tiny_copy: Path) -> None:
    assert "say --yes" in crossrec("runs", "rm", "tiny-popularity", "--json")[2]
    assert crossrec("runs", "rm", "tiny-popularity")[0] == 1  # nobody there to ask
    assert open_run("tiny-popularity").finished
    assert json.loads(crossrec("runs", "rm", "tiny-popularity", "--yes", "--json")[1]) == {"tiny-popularity": "removed"}
    assert not (tiny_copy / "runs" / "tiny-popularity").exists()
    assert crossrec("runs", "rm", "tiny-popularity", "-y")[0] == 1


def test_a_failed_run_shows_why_and_its_log(crossrec: Crossrec) -> None:
    code, _, err = crossrec(
        "train", "target-sasrec", *TINY, "--set", "lr=1e38", "--set", "temperature=0", "--name", "wild"
    )
    assert (code, "lower the learning rate" in err) == (1, True)
    assert re.search("wild .*failed +After epoch 1 the loss", crossrec("runs", "list")[1])
    shown = crossrec("runs", "show", "wild")[1]
    assert "The end of its log:\n" in shown
    assert "CrossrecError" in shown


def test_tracking(crossrec: Crossrec, monkeypatch: pytest.MonkeyPatch) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert crossrec("train", "target-sasrec", *TINY, "--track", "--name", "seen")[0] == 0
    run = open_run("seen")
    events: Any = EventAccumulator(str(run.folder / "tensorboard"))
    events.Reload()
    epochs = [event for event in run.events() if event["event"] == "epoch"]
    for name, told in (
        ("valid/ndcg@10", [e["valid"]["ndcg@10"] for e in epochs]),
        ("loss/loss", [e["losses"]["loss"] for e in epochs]),
    ):
        assert [event.value for event in events.Scalars(name)] == pytest.approx(told, rel=1e-5)
    assert run.config()["command"].count("--track") == 1
    monkeypatch.setattr("crossrec.runs.plan.find_spec", lambda name: None)
    code, _, err = crossrec("train", "popularity", "--dataset", "tiny", "--track")
    assert (code, "pip install 'crossrec[tracking]'" in err) == (1, True)


def test_in_a_terminal_it_shows_progress_and_control_c_stops_it() -> None:
    """A real terminal: bars are drawn, Ctrl-C ends with the command that goes on."""
    outer, inner = pty.openpty()
    long = ["--set", "epochs=900", "--set", "patience=900", "--set", "dim=16", "--name", "typed"]
    child = subprocess.Popen(
        [sys.executable, "-m", "crossrec", "train", "target-sasrec", "--dataset", "tiny", *long],
        stdin=inner, stdout=inner, stderr=inner, start_new_session=True,
    )  # fmt: skip
    os.close(inner)
    seen, end, asked = "", time.monotonic() + 120, False
    while time.monotonic() < end:
        if not select.select([outer], [], [], 1.0)[0]:
            continue
        try:
            seen += os.read(outer, 65536).decode("utf-8", "replace")
        except OSError:  # the other side is closed
            break
        if not asked and "epoch   3" in seen:
            asked = True
            os.killpg(child.pid, signal.SIGINT)
    assert child.wait(timeout=60) == 1
    assert "left at most" in seen  # the bar
    assert re.search(r"It was stopped in epoch \d+, after \d+ of \d+ steps", re.sub(r"\s+", " ", seen))
    assert "crossrec train --resume typed" in re.sub(r"\s+", " ", seen)
    assert open_run("typed").state == "stopped"


@pytest.mark.usefixtures("idle")
def test_several_seeds_are_queued_for_the_same_people(crossrec: Crossrec) -> None:
    asked = (
        "train",
        "popularity",
        "--dataset",
        "tiny",
        "--split",
        "cold-user",
        "--seed",
        "4",
        "--seeds",
        "3",
        "--json",
    )
    names = [row["run"] for row in json.loads(crossrec(*asked)[1])]
    configs = [open_run(name).config() for name in names]
    assert [config["seed"] for config in configs] == [4, 5, 6]
    assert {config["split"]["seed"] for config in configs} == {4}
    assert "--split-seed" not in configs[0]["command"]
    assert configs[1]["command"].endswith("--seed 5 --split cold-user --split-seed 4")
    assert crossrec("train", "--resume", names[2])[0] == 0
    assert open_run(names[2]).config()["split"] == {"kind": "cold-user", "seed": 4}
    named = json.loads(crossrec(*asked, "--name", "mine")[1])
    assert [row["run"] for row in named] == ["mine-s4", "mine-s5", "mine-s6"]
    assert crossrec("train", "popularity", "--dataset", "tiny", "--seeds", "0")[0] == 2
