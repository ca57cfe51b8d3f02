"""A task on disk: a folder that one process works through and any process can read.

config.json says what was asked, status.json how far it is, events.jsonl what happened, log.txt what the process
printed. The process that works on a task holds a lock on `.lock` in its folder for as long as it lives; the system
lets go of it however the process ends, so "is somebody at it" never depends on a number that may have been given to
another process since. Across machines, where such a lock may not reach, the age of the heartbeat decides.

Nothing here imports a library: the process that keeps the queue stays small.
"""

import errno
import json
import os
import shutil
import socket
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from crossrec import paths
from crossrec.errors import CrossrecError
from crossrec.runs.disk import disk_errors, os_error, told_of_disk
from crossrec.runs.locks import BusyError, holding, locked, take_lock
from crossrec.stopping import Stopped

STATES = ("queued", "running", "stopping", "stopped", "failed", "finished")
BEAT = 5.0
"""Seconds between two heartbeats."""
STALE = 60.0
"""Seconds without a heartbeat after which a task on another machine counts as dead."""
LOG_TAIL = 20
"""Lines of the log that are shown of a failed task."""
RESERVE = 64 << 10
"""Bytes that a running task keeps on the disk, to be let go when it is full: there must be room to say so."""


@dataclass(frozen=True)
class Task:
    """A task's folder, opened for reading; the files are read anew at each call."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    def config(self) -> dict[str, Any]:
        return dict(paths.read_json(self.folder / "config.json"))

    def status(self) -> dict[str, Any]:
        """What status.json says; `state` and `shown` know better when the process has died."""
        return dict(paths.read_json(self.folder / "status.json"))

    @property
    def finished(self) -> bool:
        return bool(self.status()["state"] == "finished")

    @property
    def state(self) -> str:
        """One of `STATES`, from what is written and from whether somebody is at it."""
        return str(self.shown()["state"])

    def shown(self) -> dict[str, Any]:
        """The status as it should be told: a process that died without a word is failed, and "error" says so."""
        status = self.status()
        if status["state"] != "running":
            return status
        wished = (self.folder / "stop").exists()
        if self.worked_on(status):
            return status | {"state": "stopping"} if wished else status
        status = self.status()  # it may have ended between the two looks
        return status | self.ended(wished) if status["state"] == "running" else status

    def worked_on(self, status: dict[str, Any] | None = None) -> bool:
        """Whether a process is working on it."""
        host = (status or self.status()).get("host")
        if host not in (None, socket.gethostname()):
            return self.silent_for() < STALE
        return locked(self.folder / ".lock")

    def ended(self, wished: bool, how: str = "") -> dict[str, Any]:
        """The status of a task whose process is gone while it was running."""
        if wished:
            return {"state": "stopped", "error": None}
        last = next((line.strip() for line in reversed(self.log().splitlines()) if line.strip()), "")
        said = f"; the last line of its log is: {last[:200]}" if last else "; its log is empty"
        told = how or "The process ended without a word (it was killed, or the machine went down or out of memory)"
        return {"state": "failed", "error": f"{told}{said}"}

    def silent_for(self) -> float:
        """Seconds since the last heartbeat; infinity without one."""
        try:
            return max(0.0, time.time() - (self.folder / "heartbeat").stat().st_mtime)
        except OSError:
            return float("inf")

    def events(self) -> list[dict[str, Any]]:
        """What was reported so far; a last line that is still being written is left out."""
        path = self.folder / "events.jsonl"
        if not path.exists():
            return []
        found = []
        for line in path.read_text(encoding="utf-8").split("\n")[:-1]:
            try:
                found.append(json.loads(line))
            except json.JSONDecodeError:  # cut by a full disk
                continue
        return found

    def log(self, lines: int = LOG_TAIL) -> str:
        """The end of what its process printed."""
        path = self.folder / "log.txt"
        if not path.exists():
            return ""
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - (32 << 10)))
            return "\n".join(file.read().decode("utf-8", "replace").splitlines()[-lines:])

    def settle(self, how: str = "") -> None:
        """Writes down that the process is gone, if it is; `how`, where somebody saw it end."""
        try:
            if self.status()["state"] != "running":  # nor is a lock made where none is needed any more
                return
            with holding(self.folder / ".lock"):
                status = self.status()
                if status["state"] == "running":
                    wished = (self.folder / "stop").exists()
                    write_status(self.folder, status | self.ended(wished, how))
        except (BusyError, CrossrecError, OSError):
            return


class TaskWriter:
    """The writing side of a task: holds its lock, beats, and keeps status and events true."""

    task: Task

    def __init__(self, folder: Path, lock: int | None = None, expect: tuple[str, ...] = STATES):
        """Takes a task over, or continues to hold one that was made by `new_task`.

        Args:
            folder: of the task.
            lock: the descriptor that `new_task` gave.
            expect: states in which it may be taken over.

        Raises:
            CrossrecError: another process is at it, or its state is none of those expected.
        """
        self.folder, self.task = folder, Task(folder)
        try:
            self._lock = take_lock(folder / ".lock", wait=2.0) if lock is None else lock
        except BusyError as error:
            raise CrossrecError(f"{folder.name!r} is being worked on by another process.") from error
        try:
            status = self.task.status()
            # Whoever holds the lock works on it: one that says running was left by a process that died.
            state = "failed" if status["state"] == "running" and lock is None else status["state"]
            if state not in expect:
                raise CrossrecError(f"{folder.name!r} cannot be started: its state is {state!r}.")
            (folder / "stop").unlink(missing_ok=True)
            self._reserve = folder / ".reserve"
            self._reserve.write_bytes(bytes(RESERVE))
            self._status = {key: value for key, value in status.items() if key not in ("error", "place", "doing")}
            self._events = (folder / "events.jsonl").open("a", encoding="utf-8")
            self._beating = threading.Event()
            self._thread = threading.Thread(target=self._beat, daemon=True)
            self.status(state="running", pid=os.getpid(), host=socket.gethostname(), started=now())
            self._thread.start()
        except BaseException:
            os.close(self._lock)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of the task."""
        if self._lock < 0:
            return
        self._beating.set()
        self._events.close()
        self._reserve.unlink(missing_ok=True)
        os.close(self._lock)
        self._lock = -1

    def status(self, **changes: Any) -> None:
        """Changes what status.json says."""
        self._status |= changes
        write_status(self.folder, self._status)

    def event(self, event: dict[str, Any]) -> None:
        """Appends to events.jsonl."""
        self._events.write(json.dumps({**event, "time": now()}, allow_nan=False) + "\n")
        self._events.flush()

    def keep_events(self, wanted: Callable[[dict[str, Any]], bool]) -> None:
        """Drops the events that are told again, because the work goes on from an earlier point."""
        kept = [event for event in self.task.events() if wanted(event)]
        self._events.close()
        temporary = self.folder / ".events.jsonl"
        temporary.write_text("".join(json.dumps(event, allow_nan=False) + "\n" for event in kept), encoding="utf-8")
        temporary.replace(self.folder / "events.jsonl")
        self._events = (self.folder / "events.jsonl").open("a", encoding="utf-8")

    def end(self, state: str, error: str | None = None, **changes: Any) -> None:
        """Says finished, stopped or failed, and lets go."""
        self._reserve.unlink(missing_ok=True)
        (self.folder / "stop").unlink(missing_ok=True)
        for key in ("doing", "error"):
            self._status.pop(key, None)
        told = {"error": error} if error else {}
        try:
            self.status(state=state, ended=now(), **changes, **told)
        finally:
            self.close()
        if state == "finished":  # nobody takes it up any more
            for name in (".lock", "heartbeat"):
                (self.folder / name).unlink(missing_ok=True)

    @contextmanager
    def telling(
        self, go_on: str, memory: str, reword: Callable[[CrossrecError], CrossrecError] | None = None, **at_the_end: Any
    ) -> Iterator[None]:
        """A block whose end the status tells: stopped, or failed in one sentence, with the rest in the log.

        Args:
            go_on: the command that goes on with a task that was stopped.
            memory: what to say where there is too little of it.
            reword: puts our own sentences into the person's words.
            at_the_end: what else the status says then.
        """
        try:
            yield
        except BaseException as error:
            told: BaseException = error
            if isinstance(error, Stopped | KeyboardInterrupt):
                told = Stopped(f"{str(error) or 'It was interrupted.'} Go on with `{go_on}`.")
            elif (disk := os_error(error)) is not None:
                told = told_of_disk(disk, paths.home())
            elif isinstance(error, MemoryError):
                told = CrossrecError(memory)
            elif isinstance(error, CrossrecError) and reword is not None:
                told = reword(error)
            with suppress(OSError):  # the disk may be full: then the dead process says it
                if isinstance(told, Stopped):
                    self.end("stopped", **at_the_end)
                else:
                    known = isinstance(told, CrossrecError)
                    self.end("failed", str(told) if known else f"{type(told).__name__}: see the log", **at_the_end)
                    with (self.folder / "log.txt").open("a", encoding="utf-8") as log:
                        traceback.print_exc(file=log)
            self.close()
            if told is not error:
                raise told from error
            raise

    def _beat(self) -> None:
        path = self.folder / "heartbeat"
        while not self._beating.is_set():
            with suppress(OSError):  # a full disk does not stop the work; a folder that is gone ends it elsewhere
                path.touch()
            self._beating.wait(BEAT)


def new_task(
    parent: Path, stem: str, what: str, config: dict[str, Any], status: dict[str, Any], may_count: bool
) -> tuple[Path, int]:
    """Makes the folder of a task, whole from its first moment; returns it and the descriptor of its lock, held.

    Args:
        parent: folder of all tasks of the kind.
        stem: its name, with a number behind it if the name is taken and `may_count`.
        what: the kind of task, for the error.
        config: goes to config.json with the name under `what`.
        status: {"state": "queued" or "running"} and whatever goes with it.

    Raises:
        CrossrecError: the name cannot be a folder's, is taken, or nothing can be written there.
    """
    paths.slug(stem, what)
    with disk_errors(parent):
        parent.mkdir(parents=True, exist_ok=True)
        hidden = Path(tempfile.mkdtemp(prefix=".new-", dir=parent))
        try:
            hidden.chmod(0o755)
            lock = take_lock(hidden / ".lock")
            for count in range(1, 1000):
                folder = parent / (stem if count == 1 else f"{stem}-{count}")
                paths.write_json(hidden / "config.json", {what: folder.name, **config, "created": now("microseconds")})
                write_status(hidden, status)
                try:
                    if not folder.exists():
                        # Onto a folder with something in it, as every task's is, a rename fails.
                        hidden.rename(folder)
                        return folder, lock
                except OSError as error:
                    if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                        raise
                if not may_count:
                    raise CrossrecError(f"There is a {what} {stem!r} already; give the new one another name.")
            raise CrossrecError(f"There are a thousand {what}s named {stem!r}; remove some.")
        except BaseException:
            shutil.rmtree(hidden, ignore_errors=True)
            raise


def discard(task: Task) -> None:
    """Removes a task's folder: first its name, so that nobody finds half of it.

    Raises:
        CrossrecError: a process is working on it, or it cannot be removed.
    """
    if task.worked_on():
        raise CrossrecError(f"{task.name!r} is being worked on: cancel it first.")
    with disk_errors(task.folder):
        aside = Path(tempfile.mkdtemp(prefix=".removed-", dir=task.folder.parent))
        task.folder.rename(aside / task.name)
        shutil.rmtree(aside)


def write_status(folder: Path, status: dict[str, Any]) -> None:
    paths.write_json(folder / "status.json", {**status, "updated": now()})


def now(precision: str = "seconds") -> str:
    return datetime.now(UTC).isoformat(timespec=precision)
