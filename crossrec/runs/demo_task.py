"""The demo as a task: built by a process of its own, behind the app, whatever becomes of the app.

Its status has "step", "steps" and "doing"; its runs are in runs/ like all others, finished one by one.
"""

import os
from pathlib import Path
from typing import Any

from crossrec import paths
from crossrec.errors import CrossrecError
from crossrec.runs import queue
from crossrec.runs.disk import disk_errors
from crossrec.runs.locks import BusyError, take_lock
from crossrec.runs.task import Task, TaskWriter
from crossrec.stopping import Stop

COMMAND = "crossrec demo"
NO_MEMORY = "There is not enough memory: close other programs, and build the demo again."


def task() -> Task | None:
    """The newest building of the demo; None where it was never asked for."""
    found = queue.tasks("demo")
    return max(found, key=lambda one: one.folder.stat().st_mtime_ns, default=None)


def under_way() -> bool:
    """Whether the demo is being built, or waits for its turn."""
    found = task()
    return found is not None and found.state in ("queued", "running", "stopping")


def enqueue(seed: int = 0) -> Task:
    """Sees to it that the demo is built; where that is under way, or was done, nothing changes.

    What is there of it is kept.

    Raises:
        CrossrecError: nothing can be written.
    """
    with disk_errors(paths.home()):
        queue.folder_of("demo").mkdir(parents=True, exist_ok=True)
        # Of two servers that begin at once, the second finds the first.
        try:
            lock = take_lock(queue.folder_of("demo") / ".lock", wait=10.0)
        except BusyError as error:
            raise CrossrecError("Another process is beginning to build the demo: try again.") from error
        try:
            if (found := task()) is not None and (under_way() or _is_whole(found, seed)):
                return found
            for old in queue.tasks("demo"):
                queue.remove(old)
            return queue.add("demo", "build", {"seed": seed, "command": COMMAND})
        finally:
            os.close(lock)


def carry_out(folder: Path, stop: Stop | None = None) -> None:
    """Builds what is missing of the demo; the status says how far it is, and how it ended.

    Raises:
        CrossrecError: it does not wait, or another process is at it; or what made it fail.
        Stopped: it was stopped; what is done is kept.
    """
    from crossrec.runs.demo import build

    writer = TaskWriter(folder, expect=("queued",))
    with writer.telling(COMMAND, NO_MEMORY):

        def tell(event: dict[str, Any]) -> None:
            if event["event"] == "demo":
                writer.event(event)
                share = round((event["step"] - 1) / event["steps"], 4)
                writer.status(progress=share, **{key: event[key] for key in ("step", "steps", "doing")})

        made = build(writer.task.config()["seed"], tell, stop)
        writer.end("finished", made=[run.name for run in made])


def _is_whole(found: Task, seed: int) -> bool:
    """Whether all that was built then is still there."""
    try:
        made = found.status().get("made") or []
        return bool(made) and found.config()["seed"] == seed and all(Task(paths.runs() / one).finished for one in made)
    except CrossrecError:
        return False
