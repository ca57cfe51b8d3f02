"""The progress of an import, told by its task: what it does in words, how far it is, and what happened."""

import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import duckdb

from crossrec.runs.task import TaskWriter
from crossrec.stopping import Stop, Stopped

EVERY = 1.0
"""Seconds between two changes of the status, beside those that a new step makes."""
FETCHED = 0.7
"""The share of a download with its import that is the download."""
FILES = 4
"""Files of a download."""
AT = {"check": 0.0, "read": 0.05, "step": 0.65, "write": 0.75, "split": 0.95}
"""Where the parts of an import begin, as shares of it."""
OF_READING = ("read", "no_id", "rating_0", "no_time")
"""Steps that follow each file, before the next is read."""


class Progress:
    """An `on_event` for `import_pair` and `download_pair` that writes to a task; raises Stopped when that is wished."""

    def __init__(self, writer: TaskWriter, files: Sequence[Path], download: bool, stop: Stop | None) -> None:
        self.writer, self.stop = writer, stop
        self.start = FETCHED if download else 0.0
        self.sizes = [path.stat().st_size if path.is_file() else 0 for path in files]
        self.roles: list[str] = []
        """Of the files that were fetched so far, in order."""
        self.read = 0
        """How many files are read, or being read."""
        self.share = 0.0
        self.told = 0.0
        self.connection: duckdb.DuckDBPyConnection | None = None
        self.lock = threading.Lock()
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self.tell(doing="getting ready", progress=0.0, bytes=None, bytes_total=None)
        self.thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.over.set()
        self.thread.join()

    def tell(self, **changes: Any) -> None:
        """Changes the task's status; the progress never goes back."""
        with self.lock:
            if "progress" in changes:
                self.share = changes["progress"] = max(self.share, min(1.0, round(changes["progress"], 4)))
            self.told = time.monotonic()
            self.writer.status(**changes)

    def watch(self, connection: duckdb.DuckDBPyConnection | None) -> None:
        """Asks a connection from now on how far its query is; with None, no longer."""
        with self.lock:
            self.connection = connection

    def __call__(self, event: dict[str, Any]) -> None:
        if (self.stop is not None and self.stop.wished) or (self.writer.folder / "stop").exists():
            raise Stopped("It was stopped.")
        kind = event["event"]
        if kind == "download":
            self._download(event)
            return
        self.writer.event(event)
        cleared = {"bytes": None, "bytes_total": None}
        if kind == "check":
            self.tell(doing="checking the uploaded files", **cleared)
        elif kind == "read":
            self.read += 1
            self.tell(doing=f"reading {event['file']}", progress=self._at_read(0.0), **cleared)
        elif kind == "step" and event["step"] not in OF_READING:
            self.tell(doing="filtering the events", progress=self._at("step"))
        elif kind == "write":
            self.watch(None)
            self.tell(doing="writing the dataset", progress=self._at("write"))
        elif kind == "done":  # told before the folder has its name, so that nobody makes it twice
            self.tell(made=event["hash"], counts=event["counts"])
        elif kind == "split":
            self.tell(doing="making the split and looking for leaks", progress=self._at("split"))

    def _download(self, event: dict[str, Any]) -> None:
        done, total = event["done"], event["total"]
        if new := event["role"] not in self.roles:
            self.roles.append(event["role"])
        if new or done == total:
            self.writer.event(event)
        if new or done == total or time.monotonic() - self.told > EVERY:
            part = done / total if total else 0.0
            file = event["file"].rsplit("/", 1)[-1]
            self.tell(
                doing=f"fetching {file}, file {len(self.roles)} of {FILES}",
                progress=FETCHED * (len(self.roles) - 1 + part) / FILES,
                bytes=done,
                bytes_total=total,
            )

    def _at(self, part: str) -> float:
        return self.start + (1 - self.start) * AT[part]

    def _at_read(self, share: float) -> float:
        """How far the import is with `share` of a file read; files count by their size, where it is known."""
        sizes = self.sizes
        if len(sizes) < self.read or not sum(sizes):
            sizes = [1] * max(FILES, self.read)
        done = (sum(sizes[: self.read - 1]) + share * sizes[self.read - 1]) / sum(sizes)
        return self._at("read") + done * (self._at("step") - self._at("read"))

    def _watch(self) -> None:
        """Tells how far the reading of a file is, which is one long query."""
        while not self.over.wait(EVERY):
            with suppress(duckdb.Error, OSError):  # OSError: the disk is full, which the other thread tells
                with self.lock:  # so that it is not closed meanwhile
                    read = self.read
                    share = self.connection.query_progress() / 100 if self.connection and read else -1.0
                if 0 < share <= 1 and self.read == read:
                    self.tell(progress=self._at_read(share))
