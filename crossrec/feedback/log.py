"""The feedback log: every slate that was shown, with its propensities, and every reaction to it, in one SQLite file.

The file is in WAL mode: readers do not wait for a writer, and several processes and threads may write. With
synchronous = NORMAL a call that has returned survives the death of its process (kill -9) and of any other. A power cut
or a crash of the operating system may cost the events of the last moments before it, but leaves the file sound. WAL
needs shared memory: the file belongs on a local disk, not on a network share.
"""

import csv
import json
import math
import os
import sqlite3
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from crossrec import paths
from crossrec.errors import CrossrecError
from crossrec.runs.disk import disk_errors

BUSY = 10.0
"""Seconds that a writer waits for the others."""
APPLICATION = 0x63726662
"""What marks a SQLite file as a feedback log ("crfb")."""
MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE slates (
            id INTEGER PRIMARY KEY, session TEXT NOT NULL, slate INTEGER NOT NULL, policy TEXT NOT NULL,
            version TEXT NOT NULL, user TEXT, dataset TEXT, run TEXT, candidates TEXT NOT NULL, time INTEGER NOT NULL,
            UNIQUE (session, slate))""",
        """CREATE TABLE shown (
            slate_id INTEGER NOT NULL REFERENCES slates (id), position INTEGER NOT NULL, item INTEGER NOT NULL,
            propensity REAL CHECK (propensity > 0 AND propensity <= 1), PRIMARY KEY (slate_id, position)
            ) WITHOUT ROWID""",
        """CREATE TABLE reactions (
            id INTEGER PRIMARY KEY, slate_id INTEGER NOT NULL, position INTEGER NOT NULL, action TEXT NOT NULL,
            reward REAL NOT NULL, time INTEGER NOT NULL, undone INTEGER,
            FOREIGN KEY (slate_id, position) REFERENCES shown (slate_id, position))""",
        # At most one reaction to a shown item stands; those that were undone stay.
        "CREATE UNIQUE INDEX standing ON reactions (slate_id, position) WHERE undone IS NULL",
        "CREATE INDEX reacted ON reactions (slate_id, position)",
    ),
)
"""The statements that lead from each version of the schema to the next one; the last version is their number."""

_SLATE = ("session", "slate", "policy", "version", "user", "dataset", "run", "candidates", "time")
_SHOWN = ("position", "item", "propensity", "action", "reward", "reacted", "undone")
_KINDS = {"candidates": pa.list_(pa.int64()), "propensity": pa.float64(), "reward": pa.float64()} | dict.fromkeys(
    ("slate", "time", "position", "item", "reacted", "undone"), pa.int64()
)
SCHEMA = pa.schema([(name, _KINDS.get(name, pa.string())) for name in (*_SLATE, *_SHOWN)])
"""The columns of what is read back and exported, one row a shown item: `time` of the slate and `reacted` are
milliseconds since 1970 in UTC, `undone` is the number of reactions that were taken back. `action`, `reward` and
`reacted` are null while no reaction stands."""
FORMATS = (".csv", ".jsonl", ".parquet")
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""A text that begins so is taken for a formula by spreadsheets; in CSV an apostrophe goes before it."""


@dataclass(frozen=True)
class LoggedSlate:
    """Items that were shown together, and how they came to be chosen."""

    session: str
    policy: str
    version: str
    candidates: Sequence[int]
    """Item numbers that the policy chose from."""
    items: Sequence[int]
    """Item numbers that were shown, by position from 0."""
    propensities: Sequence[float | None]
    """The probability with which each of `items` was shown at its position, above 0; None where it is unknown."""
    number: int | None = None
    """Of the slate in its session, from 0; None takes the next one. With a number a second call changes nothing."""
    user: str | None = None
    """Opaque: nothing reads it but a reader of the log."""
    dataset: str | None = None
    run: str | None = None
    time: int | None = None
    """Milliseconds since 1970 in UTC; None is now."""

    def __post_init__(self) -> None:
        if not self.session:
            raise CrossrecError("A slate needs a session: give the name of one.")
        if not self.items or len(self.items) != len(self.propensities):
            raise CrossrecError(
                f"A slate has one propensity an item and at least one item; seen: {len(self.items)} items and "
                f"{len(self.propensities)} propensities."
            )
        if missing := set(self.items) - set(self.candidates):
            raise CrossrecError(f"Item {min(missing)} was shown but is not among the candidates: log all candidates.")
        for value in self.propensities:
            if value is not None and not 0 < value <= 1:
                raise CrossrecError(f"A propensity is above 0 and at most 1, or None where unknown; seen: {value}.")


class FeedbackLog:
    """A feedback log on disk; it may be used from several threads, each of which has its own connection."""

    def __init__(self, path: Path | None = None):
        """Takes the file, by default `feedback.db` of the artifacts folder; it is made with the first slate."""
        self.path = path or paths.home() / "feedback.db"
        self._local = threading.local()

    def show(self, slate: LoggedSlate) -> int:
        """Writes a slate down, and returns its number in the session.

        Raises:
            CrossrecError: the session has another slate of this number, or the file cannot be written.
        """
        made = _now() if slate.time is None else int(slate.time)
        candidates = json.dumps([int(item) for item in slate.candidates])
        about = (slate.policy, slate.version, slate.user, slate.dataset, slate.run, candidates)
        shown = [
            (place, int(item), None if p is None else float(p))
            for place, (item, p) in enumerate(zip(slate.items, slate.propensities, strict=True))
        ]
        with self._transaction() as connection:
            number = slate.number
            if number is None:
                query = "SELECT coalesce(max(slate) + 1, 0) FROM slates WHERE session = ?"
                (number,) = connection.execute(query, (slate.session,)).fetchone()
            query = "SELECT id, policy, version, user, dataset, run, candidates FROM slates"
            where = " WHERE session = ? AND slate = ?"
            found = connection.execute(query + where, (slate.session, number)).fetchone()
            if found:
                query = "SELECT position, item, propensity FROM shown WHERE slate_id = ? ORDER BY position"
                if found[1:] != about or connection.execute(query, found[:1]).fetchall() != shown:
                    raise CrossrecError(f"The session has another slate {number}: give the new one the next number.")
                return int(number)
            query = "INSERT INTO slates VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
            key = connection.execute(query, (slate.session, number, *about, made)).lastrowid
            connection.executemany("INSERT INTO shown VALUES (?, ?, ?, ?)", [(key, *row) for row in shown])
        return int(number)

    def react(self, session: str, slate: int, position: int, action: str, reward: float, at: int | None = None) -> bool:
        """Writes down a reaction to a shown item, and returns whether it is new; the same one again changes nothing.

        Raises:
            CrossrecError: nothing was shown there, another action stands (undo it first), the reward is not a finite
                number, or the file cannot be written.
        """
        return self.react_all(session, slate, [(position, action, reward)], at) > 0

    def react_all(
        self, session: str, slate: int, reactions: Sequence[tuple[int, str, float]], at: int | None = None
    ) -> int:
        """Writes down all reactions (position, action, reward) to a slate or, where one fails, none; as `react`.

        Returns:
            How many of them are new.
        """
        made, new = _now() if at is None else int(at), 0
        with self._transaction() as connection:
            for position, action, reward in reactions:
                if not action or not math.isfinite(reward):
                    raise CrossrecError(f"A reaction has an action and a finite reward; seen: {action!r} and {reward}.")
                key = self._shown(connection, session, slate, position)
                query = "INSERT INTO reactions VALUES (NULL, ?, ?, ?, ?, ?, NULL) ON CONFLICT DO NOTHING"
                if connection.execute(query, (key, position, action, float(reward), made)).rowcount:
                    new += 1
                    continue
                query = "SELECT action FROM reactions WHERE slate_id = ? AND position = ? AND undone IS NULL"
                (standing,) = connection.execute(query, (key, position)).fetchone()
                if standing != action:
                    raise CrossrecError(
                        f"The reaction {standing!r} stands at position {position} of slate {slate}: undo it before "
                        f"{action!r}."
                    )
        return new

    def undo(self, session: str, slate: int, position: int | None = None, at: int | None = None) -> bool:
        """Marks the standing reaction as taken back, and returns whether one stood; it stays in the file.

        Args:
            position: of the shown item; None is the whole slate.

        Raises:
            CrossrecError: nothing was shown there, or the file cannot be written.
        """
        with self._transaction() as connection:
            key = self._shown(connection, session, slate, position or 0)
            query = "UPDATE reactions SET undone = ?1 WHERE slate_id = ?2 AND (?3 IS NULL OR position = ?3)"
            values = (_now() if at is None else int(at), key, position)
            return connection.execute(query + " AND undone IS NULL", values).rowcount > 0

    def frame(self, session: str | None = None, run: str | None = None) -> pd.DataFrame:
        """The shown items of a session, of a run, or all, in the order of the slates; columns as in `SCHEMA`."""
        table = pa.Table.from_pylist(list(self._rows(session, run)), schema=SCHEMA).to_pandas()
        return table.astype({"reacted": "Int64"})

    def export(
        self,
        path: Path,
        session: str | None = None,
        run: str | None = None,
        names: Mapping[str, Sequence[str]] | None = None,
    ) -> int:
        """Writes what `frame` gives as CSV, JSON lines or Parquet, after the suffix; returns the number of rows.

        The file is whole or not there. In CSV lists are JSON arrays and texts that a spreadsheet would take for a
        formula begin with an apostrophe.

        Args:
            path: of the file.
            session: only this one.
            run: only what it showed.
            names: item ids by number of each dataset that has them; with them the file says "item_id" and
                "candidate_ids" too, null where a dataset or an item is not among them, and other programs can read it.

        Raises:
            CrossrecError: the suffix is another one, or the file cannot be written.
        """
        if path.suffix not in FORMATS:
            raise CrossrecError(f"{path.name} cannot be written: its name ends in none of {', '.join(FORMATS)}.")
        rows, schema = list(self._rows(session, run)), SCHEMA
        if names is not None:
            schema = schema.append(pa.field("item_id", pa.string()))
            schema = schema.append(pa.field("candidate_ids", pa.list_(pa.string())))
            rows = [row | _named(row, names.get(row["dataset"], ())) for row in rows]
        with disk_errors(path.parent), tempfile.TemporaryDirectory(dir=path.parent, prefix=".export-") as folder:
            whole = Path(folder) / path.name
            _write(whole, rows, schema)
            whole.replace(path)
        return len(rows)

    def close(self) -> None:
        """Closes this thread's connection; the next call opens it again."""
        _, connection = self._local.__dict__.pop("opened", (None, None))
        if connection:
            connection.close()

    def _rows(self, session: str | None, run: str | None) -> Iterator[dict[str, Any]]:
        if not self.path.exists():  # to look makes no file
            return
        query = """
            SELECT s.session, s.slate, s.policy, s.version, s.user, s.dataset, s.run, s.candidates, s.time,
                   i.position, i.item, i.propensity, r.action, r.reward, r.time AS reacted,
                   (SELECT count(*) FROM reactions u WHERE u.slate_id = s.id AND u.position = i.position
                    AND u.undone IS NOT NULL) AS undone
            FROM slates s JOIN shown i ON i.slate_id = s.id
            LEFT JOIN reactions r ON r.slate_id = s.id AND r.position = i.position AND r.undone IS NULL
            WHERE (?1 IS NULL OR s.session = ?1) AND (?2 IS NULL OR s.run = ?2)
            ORDER BY s.id, i.position"""
        with _told(self.path):
            rows = self._connection().execute(query, (session, run)).fetchall()
        text, candidates = "", []
        for row in rows:
            if row[7] != text:  # once a slate
                text, candidates = row[7], json.loads(row[7])
            yield dict(zip(SCHEMA.names, (*row[:7], candidates, *row[8:]), strict=True))

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with _told(self.path):
            connection = self._connection()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    def _shown(self, connection: sqlite3.Connection, session: str, slate: int, position: int) -> int:
        query = "SELECT s.id FROM slates s JOIN shown i ON i.slate_id = s.id WHERE session = ? AND slate = ?"
        found = connection.execute(query + " AND position = ?", (session, slate, position)).fetchone()
        if not found:
            raise CrossrecError(f"Nothing was shown at position {position} of slate {slate} of this session.")
        return int(found[0])

    def _connection(self) -> sqlite3.Connection:
        """This thread's connection; a process that was forked must not use its parent's."""
        process, connection = getattr(self._local, "opened", (None, None))
        if process != os.getpid():
            connection = _connect(self.path)
            self._local.opened = (os.getpid(), connection)
        return connection  # type: ignore[return-value]


def _connect(path: Path) -> sqlite3.Connection:
    with disk_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, timeout=BUSY, isolation_level=None)
    try:
        connection.execute("PRAGMA foreign_keys = ON")
        if _marks(connection) != (len(MIGRATIONS), APPLICATION):
            _migrate(connection, path)
        _to_wal(connection)
        connection.execute("PRAGMA synchronous = NORMAL")
    except BaseException:
        connection.close()
        raise
    return connection


def _to_wal(connection: sqlite3.Connection) -> None:
    """Sets WAL mode, which stays with the file; unlike other statements this one does not wait while it is locked."""
    until = time.monotonic() + BUSY
    while connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(0.01)


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Leads the file to the last version of the schema, in one transaction: another process may be about it too."""
    connection.execute("BEGIN IMMEDIATE")
    version, application = _marks(connection)
    if application != APPLICATION and connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        raise CrossrecError(f"{path} is the database of another program: give the path of a feedback log.")
    if version > len(MIGRATIONS):
        raise CrossrecError(f"{path} was written by a newer crossrec (schema {version}): update this one.")
    for statements in MIGRATIONS[version:]:
        for statement in statements:
            connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {APPLICATION}")
    connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
    connection.execute("COMMIT")


def _marks(connection: sqlite3.Connection) -> tuple[int, int]:
    """The version of the file's schema, and the program it belongs to."""
    version, application = (connection.execute(f"PRAGMA {n}").fetchone()[0] for n in ("user_version", "application_id"))
    return version, application


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Tells what SQLite says of the file or the disk in one sentence; anything else is a defect of ours."""
    sentences = {
        sqlite3.SQLITE_FULL: f"The disk of {path} is full: free some space and try again; nothing was written.",
        sqlite3.SQLITE_READONLY: f"{path} may not be written: change its permissions.",
        sqlite3.SQLITE_CANTOPEN: f"{path} cannot be opened: change the permissions of it and of its folder.",
        sqlite3.SQLITE_BUSY: f"{path} is held by another process for more than {BUSY:.0f} seconds: try again.",
        sqlite3.SQLITE_NOTADB: f"{path} is no feedback log: move it away, and a new one is made.",
        sqlite3.SQLITE_CORRUPT: f"{path} is damaged: move it away, and a new one is made.",
        sqlite3.SQLITE_IOERR: f"The disk of {path} cannot be read or written: check it and try again.",
    }
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", None)
        if code is None or code & 0xFF not in sentences:
            raise
        raise CrossrecError(sentences[code & 0xFF]) from error


def _named(row: dict[str, Any], ids: Sequence[str]) -> dict[str, Any]:
    """The ids of a row's item and candidates."""
    known = range(len(ids))
    return {
        "item_id": ids[row["item"]] if row["item"] in known else None,
        "candidate_ids": [ids[one] for one in row["candidates"]] if max(row["candidates"]) in known else None,
    }


def _write(path: Path, rows: list[dict[str, Any]], schema: pa.Schema) -> None:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)
        return
    with path.open("w", encoding="utf-8", newline="") as file:
        if path.suffix == ".jsonl":
            file.writelines(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
            return
        writer = csv.writer(file)  # its line ends, CR LF, make it put quotes around either of them in a cell
        writer.writerow(schema.names)
        for row in rows:
            cells = [json.dumps(cell) if isinstance(cell, list) else cell for cell in row.values()]
            writer.writerow([f"'{c}" if isinstance(c, str) and c.startswith(FORMULA) else c for c in cells])


def _now() -> int:
    return time.time_ns() // 1_000_000
