"""The queue: what waits, in which order, and the one process that starts it.

A page or a command writes a task's folder and makes sure that the queue is kept; from then on neither is needed. The
keeper is a process of its own session: it starts a worker for the first task that waits in each lane, notices how it
ends, ends those that do not stop when asked to, and leaves when nothing is left. A lock makes it the only one, however
many pages, servers and commands look after it; a second lock, on each task, makes it certain that no task is worked on
twice (see `task.py`).
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from crossrec import paths
from crossrec.errors import CrossrecError
from crossrec.runs.disk import disk_errors
from crossrec.runs.locks import BusyError, locked, take_lock
from crossrec.runs.task import BEAT, Task, discard, new_task, now, write_status

WORKER = "crossrec.runs.worker"
"""The module whose `main` works on one task."""
PLACES = ("first", "last", "up", "down")
GRACE = 20.0
"""Seconds that a task has to stop when asked to, before it is killed."""
PAUSE = 0.25
"""Seconds between two looks of the keeper."""
WAIT = 30.0
"""Seconds to wait for another process that changes the queue."""
SEEN = BEAT + 1.0
"""Seconds without a beat after which a task is told to be gone, even where a keeper has not said how."""
BEGINS = 2.0
"""Seconds that a process has from taking a task to saying that it is at it."""


LANES = {"run": 1, "import": 1, "demo": 1, "map": 1}
"""Kinds of tasks, each with a queue of its own, and how many of each are worked on at the same time."""


@contextmanager
def queue_lock() -> Iterator[None]:
    """A block in which nobody else puts a task into the queue, takes one out of it, or moves one."""
    with disk_errors(paths.home()):
        paths.home().mkdir(parents=True, exist_ok=True)
        try:
            descriptor = take_lock(paths.home() / ".queue.lock", wait=WAIT)
        except BusyError as error:
            raise CrossrecError(
                "Another process is changing the queue and does not come to an end: try again."
            ) from error
    try:
        yield
    finally:
        os.close(descriptor)


def folder_of(what: str) -> Path:
    return {"run": paths.runs, "import": paths.imports, "demo": paths.building, "map": paths.maps}[what]()


def kind_of(task: Task) -> str:
    """One of `LANES`."""
    return next((what for what in LANES if task.folder.parent == folder_of(what)), "run")


def tasks(what: str) -> list[Task]:
    """All tasks of a kind that can be read, in no order."""
    return [Task(path) for path in folder_of(what).glob("[!.]*") if (path / "status.json").exists()]


def waiting(what: str) -> list[Task]:
    """Those that wait, in the order in which they will be started."""
    return in_order([(task, _status(task)) for task in tasks(what)])


def in_order(known: list[tuple[Task, dict[str, Any]]]) -> list[Task]:
    """Those whose status says that they wait, by their place."""
    queued = [(task, status) for task, status in known if status.get("state") == "queued"]
    return [task for task, _ in sorted(queued, key=lambda one: (one[1].get("place", float("inf")), one[0].name))]


def working(what: str) -> list[Task]:
    """Those that are being worked on, in this queue or outside it."""
    began = [task for task in tasks(what) if _status(task).get("state") == "running"]
    return [task for task in began if task.shown()["state"] in ("running", "stopping")]


def under_way(what: str) -> tuple[list[Task], list[Task]]:
    """What is being worked on, and what waits, in order."""
    queued = waiting(what)  # first: a task that begins in between is in both, and not in neither
    return working(what), queued


def add(what: str, stem: str, config: dict[str, Any], may_count: bool = True) -> Task:
    """Makes a task that waits, and sees to it that it is started.

    Raises:
        CrossrecError: the name is taken or no name, or nothing can be written.
    """
    with queue_lock():
        folder, lock = new_task(
            folder_of(what), stem, what, config, {"state": "queued", "place": _last_place(what) + 1}, may_count
        )
        os.close(lock)
    keep()
    return Task(folder)


def resume(task: Task) -> None:
    """Puts a stopped or failed task at the end of the queue; it goes on from its last checkpoint.

    Raises:
        CrossrecError: its state is another.
    """
    task.settle()
    with queue_lock():
        shown = task.shown()
        if shown["state"] not in ("stopped", "failed"):
            raise CrossrecError(f"{task.name!r} cannot be resumed: its state is {shown['state']!r}.")
        left = {key: value for key, value in task.status().items() if key not in ("error", "ended")}
        write_status(task.folder, left | {"state": "queued", "place": _last_place(kind_of(task)) + 1})
    keep()


def cancel(task: Task) -> str:
    """Takes a task out of the queue, or asks the process that works on it to stop; returns the state it is in then.

    Raises:
        CrossrecError: it neither waits nor runs, or runs on another machine.
    """
    with queue_lock():
        status = task.status()
        if status["state"] == "queued" and not task.worked_on(status):
            left = {key: value for key, value in status.items() if key != "place"}
            write_status(task.folder, left | {"state": "stopped", "ended": now()})
            return "stopped"
    until = time.monotonic() + BEGINS
    while (shown := task.shown())["state"] == "queued" and time.monotonic() < until:
        time.sleep(0.02)  # a process has just taken it
    if shown["state"] not in ("running", "stopping"):
        raise CrossrecError(f"{task.name!r} cannot be cancelled: its state is {shown['state']!r}.")
    if shown.get("host") != socket.gethostname():
        raise CrossrecError(f"{task.name!r} runs on {shown.get('host')}: cancel it there.")
    with disk_errors(task.folder):
        (task.folder / "stop").touch()
    _signal(task, signal.SIGTERM)
    keep()
    return "stopping"


def remove(task: Task) -> None:
    """Removes a task and all that came of it.

    Raises:
        CrossrecError: it is being worked on.
    """
    with queue_lock():
        discard(task)


def move(task: Task, to: str) -> None:
    """Changes a waiting task's place.

    Args:
        task: that waits.
        to: one of `PLACES`.

    Raises:
        CrossrecError: it does not wait.
    """
    with queue_lock():
        order = waiting(kind_of(task))
        at = next((i for i, one in enumerate(order) if one.folder == task.folder), None)
        if at is None:
            raise CrossrecError(f"{task.name!r} does not wait in the queue: its state is {task.state!r}.")
        del order[at]
        order.insert({"first": 0, "last": len(order), "up": max(0, at - 1), "down": at + 1}[to], task)
        for place, one in enumerate(order):
            write_status(one.folder, one.status() | {"place": place})


def keep() -> None:
    """Starts the keeper if there is none and something waits or must be looked after."""
    if locked(_lock_file()):
        return
    log = (paths.home() / ".queue.log").open("ab")
    with log:
        spawn("crossrec.runs.queue", [], log)


def look_after() -> None:
    """What every page and command that shows tasks does first: the dead are told, and what waits has a keeper.

    A task whose process has only just gone is left to a keeper that is there: it may have seen how it ended.
    """
    kept = locked(_lock_file())
    for what in LANES:
        for task in tasks(what):
            gone = _status(task).get("state") == "running" and not task.worked_on()
            if gone and not (kept and task.silent_for() < SEEN):
                task.settle()
        if waiting(what):
            keep()


def at_once(what: str) -> int:
    """How many tasks of a kind are worked on at the same time; of runs as many as CROSSREC_RUNS_AT_ONCE says."""
    wanted = os.environ.get("CROSSREC_RUNS_AT_ONCE", "")
    return int(wanted) if what == "run" and wanted.isdigit() and int(wanted) else LANES[what]


# --- the keeper ------------------------------------------------------------------------------------------------------


class Keeper:
    """Starts what waits; one look after the other until nothing is left."""

    def __init__(self) -> None:
        self.children: dict[Path, subprocess.Popen[bytes]] = {}
        self._seen: dict[Path, tuple[int, dict[str, Any]]] = {}

    def look(self) -> bool:
        """One look; whether there is anything left to look after."""
        self._reap()
        left = bool(self.children)
        for what in LANES:
            known = [(task, self._status(task)) for task in tasks(what)]
            running = [task for task, status in known if status.get("state") == "running" and task.worked_on(status)]
            left |= any([self._end_overdue(task) for task in running])
            # A child needs a moment before it says that it is at its task.
            begun = {task.folder for task in running} | {f for f in self.children if f.parent == folder_of(what)}
            asked = in_order([(task, status) for task, status in known if task.folder not in begun])
            for task in asked[: max(0, at_once(what) - len(begun))]:
                self._start(task)
            left |= bool(asked)
        return left

    def _status(self, task: Task) -> dict[str, Any]:
        """The status, read only when it was written anew."""
        try:
            written = (task.folder / "status.json").stat().st_mtime_ns
        except OSError:
            return {}
        if self._seen.get(task.folder, (0, {}))[0] != written:
            self._seen[task.folder] = written, _status(task)
        return self._seen[task.folder][1]

    def _start(self, task: Task) -> None:
        try:
            with (task.folder / "log.txt").open("ab") as log:
                self.children[task.folder] = spawn(WORKER, [kind_of(task), task.name], log)
        except OSError as error:
            self._fail(task, f"Its process could not be started ({error.strerror})")

    def _reap(self) -> None:
        for folder, child in list(self.children.items()):
            code = child.poll()
            if code is None:
                continue
            del self.children[folder]
            Task(folder).settle(_how(code))
            if code:
                self._fail(Task(folder), _how(code))

    def _fail(self, task: Task, how: str) -> None:
        """Tells of a task whose process never came so far as to say anything itself."""
        with queue_lock():
            status = _status(task)
            if status.get("state") == "queued" and not task.worked_on(status):
                write_status(task.folder, status | task.ended(False, how))

    def _end_overdue(self, task: Task) -> bool:
        """Kills a task that was asked to stop and has not; whether it was asked."""
        try:
            asked = (task.folder / "stop").stat().st_mtime
        except OSError:
            return False
        if time.time() - asked > GRACE:
            _signal(task, signal.SIGKILL)
        return True


def main() -> None:
    """Keeps the queue; leaves at once where somebody does already."""
    try:
        lock = take_lock(_lock_file(), wait=1.0)  # longer than a look at it takes
    except BusyError:
        return
    keeper = Keeper()
    while True:
        if keeper.look():
            time.sleep(PAUSE)
            continue
        # What is added from here on finds no keeper, and starts one.
        with queue_lock():
            if not any(waiting(what) for what in LANES):
                os.close(lock)
                return


def _lock_file() -> Path:
    paths.home().mkdir(parents=True, exist_ok=True)
    return paths.home() / ".keeper.lock"


def spawn(module: str, words: list[str], log: Any) -> "subprocess.Popen[bytes]":
    """A process of its own session: the end of a terminal or of a server is not its end."""
    environment = os.environ | {"CROSSREC_HOME": str(paths.home()), "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", module, *words],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
        env=environment,
    )


def _signal(task: Task, number: int) -> None:
    """Sends a signal to the process that works on a task, if one does."""
    status = _status(task)
    if status.get("state") == "running" and task.worked_on(status) and status.get("host") == socket.gethostname():
        try:
            os.kill(int(status["pid"]), number)
        except ProcessLookupError:
            return


def _how(code: int) -> str:
    if code >= 0:
        return f"The process ended with code {code}"
    name = signal.Signals(-code).name
    why = ", as the system does when memory runs out" if name == "SIGKILL" else ""
    return f"The process was killed ({name}{why})"


def _last_place(what: str) -> float:
    return max((float(_status(task).get("place", -1)) for task in waiting(what)), default=-1.0)


def _status(task: Task) -> dict[str, Any]:
    """The status; empty for a folder that is going or damaged."""
    try:
        return task.status()
    except (CrossrecError, OSError):
        return {}


if __name__ == "__main__":
    main()
