"""The queue with real processes: a keeper, and workers that do next to nothing."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from patience import until

from crossrec import paths
from crossrec.errors import CrossrecError
from crossrec.runs import queue, task
from crossrec.runs.locks import locked
from crossrec.runs.task import Task, TaskWriter, new_task

KEEPER = "import sys; from crossrec.runs import queue; queue.WORKER = 'light_worker'; queue.GRACE = 0.5; queue.main()"
HERE = str(Path(__file__).parent)
KEEPERS: list[subprocess.Popen[bytes]] = []
"""Those that this process started."""


def environment() -> dict[str, str]:
    return os.environ | {"CROSSREC_HOME": str(paths.home()), "PYTHONPATH": HERE}


@pytest.fixture
def light(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home whose keeper starts the light worker; whatever was started is ended."""
    monkeypatch.setenv("PYTHONPATH", HERE)

    def spawn(module: str, words: list[str], log: Any) -> subprocess.Popen[bytes]:
        assert module == "crossrec.runs.queue"
        keeper = subprocess.Popen([sys.executable, "-c", KEEPER], stdout=log, stderr=log, start_new_session=True)
        KEEPERS.append(keeper)
        return keeper

    monkeypatch.setattr(queue, "spawn", spawn)
    yield home
    for what in queue.LANES:
        for one in queue.tasks(what):
            if one.worked_on():
                with suppress(ProcessLookupError):  # it has just ended
                    os.kill(one.status()["pid"], signal.SIGKILL)
            if one.state == "queued":
                queue.cancel(one)
    until(lambda: not locked(home / ".keeper.lock"))
    assert (home / ".queue.log").read_text() == ""


def add(name: str, what: str = "run", **settings: Any) -> Task:
    return queue.add(what, name, {"settings": settings})


def ended(*tasks: Task) -> bool:
    return all(one.state in ("finished", "failed", "stopped") for one in tasks)


def ledger(home: Path) -> list[tuple[str, float, float]]:
    lines = (home / "ledger").read_text().splitlines() if (home / "ledger").exists() else []
    return [(name, float(began), float(end)) for name, began, end in (line.split() for line in lines)]


def test_twenty_from_two_processes_run_one_after_the_other_and_once(light: Path) -> None:
    code = f"""
import subprocess, sys
from crossrec.runs import queue
queue.spawn = lambda module, words, log: subprocess.Popen(
    [sys.executable, "-c", {KEEPER!r}], stdout=log, stderr=log, start_new_session=True)
for _ in range(10):
    queue.add("run", "mine", {{"settings": {{"seconds": 0.02}}}})
"""
    both = [subprocess.Popen([sys.executable, "-c", code], env=environment()) for _ in range(2)]
    assert [one.wait() for one in both] == [0, 0]
    tasks = queue.tasks("run")
    assert len({one.name for one in tasks}) == 20
    until(lambda: ended(*tasks))
    assert {one.state for one in tasks} == {"finished"}
    worked = ledger(light)
    assert sorted(name for name, _, _ in worked) == sorted(one.name for one in tasks)
    assert all(end <= began for (_, _, end), (_, began, _) in pairwise(worked))
    until(lambda: not locked(light / ".keeper.lock"))  # nothing is left to keep


def test_order_can_be_changed(light: Path) -> None:
    first = add("first", seconds=60)
    until(lambda: first.state == "running")
    rest = [add(name) for name in ("a", "b", "c", "d")]

    def order() -> list[str]:
        return [one.name for one in queue.waiting("run")]

    assert order() == ["a", "b", "c", "d"]
    for name, to, expected in (
        ("d", "first", "dabc"),
        ("d", "up", "dabc"),
        ("d", "down", "adbc"),
        ("a", "last", "dbca"),
        ("a", "down", "dbca"),
        ("c", "up", "dcba"),
    ):
        queue.move(Task(first.folder.parent / name), to)
        assert order() == list(expected)
    with pytest.raises(CrossrecError, match="'first' does not wait in the queue: its state is 'running'"):
        queue.move(first, "up")
    assert queue.cancel(first) == "stopping"
    until(lambda: ended(first, *rest))
    assert [name for name, _, _ in ledger(light)] == ["d", "c", "b", "a"]


def test_kinds_do_not_wait_for_each_other(light: Path) -> None:
    long = add("long", seconds=60)
    until(lambda: long.state == "running")
    other = add("data", what="import")
    until(lambda: ended(other))
    assert (long.state, other.state) == ("running", "finished")
    assert [one.name for one in queue.working("run")] == ["long"]


def test_two_at_once_if_wished(light: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSREC_RUNS_AT_ONCE", "2")
    tasks = [add(name, seconds=60) for name in ("a", "b", "c")]
    until(lambda: [one.state for one in tasks] == ["running", "running", "queued"])


def test_cancel_and_resume(light: Path) -> None:
    running, waiting = add("running", seconds=60), add("waiting")
    until(lambda: running.state == "running")
    assert queue.cancel(waiting) == "stopped"
    assert waiting.state == "stopped"
    with pytest.raises(CrossrecError, match="'waiting' cannot be cancelled: its state is 'stopped'"):
        queue.cancel(waiting)
    with pytest.raises(CrossrecError, match="'running' cannot be resumed: its state is 'running'"):
        queue.resume(running)
    with pytest.raises(CrossrecError, match="'running' is being worked on: cancel it first"):
        queue.remove(running)
    queue.cancel(running)
    until(lambda: running.state == "stopped")
    queue.resume(waiting)
    until(lambda: waiting.state == "finished")
    queue.remove(running)
    assert not running.folder.exists()
    assert [path.name for path in light.joinpath("runs").iterdir()] == ["waiting"]


def test_who_does_not_stop_is_killed_and_counts_as_stopped(light: Path) -> None:
    deaf = add("deaf", seconds=60, deaf=True)
    until(lambda: deaf.state == "running")
    queue.cancel(deaf)
    until(lambda: deaf.status()["state"] == "stopped")
    assert "error" not in deaf.status() or deaf.status()["error"] is None


def test_a_killed_worker_is_told_with_the_end_of_its_log(light: Path) -> None:
    victim, after = add("victim", seconds=60), add("after")
    until(lambda: victim.state == "running")
    with (victim.folder / "log.txt").open("a") as log:
        log.write("epoch 3\n\n")
    os.kill(victim.status()["pid"], signal.SIGKILL)
    until(lambda: victim.status()["state"] == "failed")
    assert victim.status()["error"] == (
        "The process was killed (SIGKILL, as the system does when memory runs out); "
        "the last line of its log is: epoch 3"
    )
    until(lambda: after.state == "finished")  # the queue goes on
    queue.resume(victim)
    until(lambda: victim.state == "running")
    assert "error" not in victim.status()


@pytest.mark.parametrize(
    ("settings", "reason"),
    [({"exit": 7}, "ended with code 7.*out of luck"), ({"before": True}, "ended with code 3.*no such module")],
)
def test_a_worker_that_ends_without_a_word(light: Path, settings: dict[str, Any], reason: str) -> None:
    one = add("one", **settings)
    until(lambda: one.status()["state"] == "failed")
    assert re.search(reason, one.status()["error"])


def test_a_killed_keeper_is_replaced_and_the_worker_lives_on(light: Path) -> None:
    long, waiting = add("long", seconds=8), add("waiting")
    until(lambda: long.state == "running")
    for keeper in KEEPERS:  # two may have been started, of which one left at once
        keeper.kill()
        keeper.wait()
    until(lambda: not locked(light / ".keeper.lock"))
    assert long.state == "running"
    queue.look_after()  # as the next page does
    until(lambda: ended(long, waiting))
    assert {long.state, waiting.state} == {"finished"}
    assert [name for name, _, _ in ledger(light)] == ["long", "waiting"]


# --- without a keeper: what a reader sees -----------------------------------------------------------------------------


@pytest.fixture
def alone(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(queue, "keep", lambda: None)
    return home


def test_a_dead_process_is_told_by_whoever_looks(alone: Path) -> None:
    one = add("one")
    writer = TaskWriter(one.folder)
    assert one.state == "running"
    os.close(writer._lock)  # the system does this however a process ends
    writer._beating.set()
    shown = one.shown()
    assert shown["state"] == "failed"
    assert "ended without a word" in shown["error"]
    assert one.status()["state"] == "running"  # to look does not write
    queue.look_after()
    assert one.status()["state"] == "failed"


def test_no_task_is_taken_twice(alone: Path) -> None:
    one = add("one")
    with TaskWriter(one.folder, expect=("queued",)) as writer:
        with pytest.raises(CrossrecError, match="'one' is being worked on by another process"):
            TaskWriter(one.folder, expect=("queued",))
        writer.end("finished")
    with pytest.raises(CrossrecError, match="'one' cannot be started: its state is 'finished'"):
        TaskWriter(one.folder, expect=("queued",))


def test_elsewhere_the_heartbeat_decides(alone: Path) -> None:
    one = add("one")
    writer = TaskWriter(one.folder)
    writer.status(host="another-machine")
    assert one.state == "running"
    writer.close()
    assert one.state == "running"  # it cannot be asked, but its heart beat a moment ago
    with pytest.raises(CrossrecError, match="'one' runs on another-machine: cancel it there"):
        queue.cancel(one)
    old = time.time() - task.STALE - 1
    os.utime(one.folder / "heartbeat", (old, old))
    assert one.state == "failed"


def test_a_name_is_given_once_or_counted(alone: Path) -> None:
    assert [queue.add("run", "mine", {}).name for _ in range(3)] == ["mine", "mine-2", "mine-3"]
    with pytest.raises(CrossrecError, match="There is a run 'mine' already; give the new one another name"):
        queue.add("run", "mine", {}, may_count=False)
    with pytest.raises(CrossrecError, match="cannot name a run"):
        queue.add("run", "../mine", {})
    assert not list(paths.runs().glob(".*"))


@pytest.mark.parametrize(
    ("number", "reason"), [(28, "The disk of .* is full"), (13, "may not be written"), (5, "cannot be used")]
)
def test_what_cannot_be_written_leaves_nothing(
    alone: Path, monkeypatch: pytest.MonkeyPatch, number: int, reason: str
) -> None:
    def full(*words: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(task.paths, "write_json", full)
    with pytest.raises(CrossrecError, match=reason):
        add("one")
    assert list(paths.runs().iterdir()) == []


def test_a_full_disk_leaves_room_to_say_so(alone: Path) -> None:
    writer = TaskWriter(add("one").folder)
    assert (writer.folder / ".reserve").stat().st_size == task.RESERVE
    writer.end("failed", "The disk is full.")
    assert not (writer.folder / ".reserve").exists()
    assert Task(writer.folder).status()["error"] == "The disk is full."


def test_damaged_lines_and_half_made_folders_are_passed_over(alone: Path) -> None:
    one = add("one")
    (one.folder / "events.jsonl").write_text(
        '{"event": "epoch", "epoch": 1}\n{"event": "ep\n{"event": "epoch", "epoch": 2}\n{"ev'
    )
    assert [event["epoch"] for event in one.events()] == [1, 2]
    (paths.runs() / "empty").mkdir()
    (paths.runs() / "half").mkdir()
    (paths.runs() / "half" / "status.json").write_text("{")
    queue.look_after()
    assert [found.name for found in queue.waiting("run")] == ["one"]


def test_a_removed_task_is_never_half_there(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = add("one")
    monkeypatch.setattr(task.shutil, "rmtree", lambda *a, **k: None)  # killed before it came to that
    queue.remove(one)
    assert queue.tasks("run") == []


def test_new_task_holds_its_lock(home: Path) -> None:
    folder, lock = new_task(paths.runs(), "mine", "run", {"a": 1}, {"state": "running"}, may_count=False)
    assert Task(folder).state == "running"
    os.close(lock)
    assert Task(folder).state == "failed"
    assert Task(folder).config() == {"run": "mine", "a": 1, "created": Task(folder).config()["created"]}
