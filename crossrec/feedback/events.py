"""A file of logged events of one's own: CSV, TSV, JSON lines or Parquet, also gzipped, one shown item a row.

A row has a session or a user, an item, and an action or a reward; a propensity, without which no policy can be judged,
a position, a time, the slate that it was shown in, the candidates that it was chosen from and the policy that chose it,
if there are. What `FeedbackLog.export` writes is such a file.
"""

import csv
import gzip
import json
import math
import zlib
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from crossrec.data.sniff import SYNONYMS as REVIEW_SYNONYMS
from crossrec.data.sniff import ReadOptions, Shape, normal, sniff
from crossrec.errors import CrossrecError, nearest
from crossrec.feedback.log import FORMULA
from crossrec.feedback.ope import Logged, Target
from crossrec.feedback.rewards import DEFAULT_REWARDS

MAX_ROWS = 1_000_000
MAX_BYTES = 1 << 30
"""Of a file, also once it is unpacked."""
MAX_LINE = 1 << 20
"""Characters of a line."""
SHOWN = 10
"""Errors that are told in full."""

SYNONYMS: dict[str, tuple[str, ...]] = {
    "session": ("session", "session_id", "sessionid", "visit", "visit_id"),
    "user": REVIEW_SYNONYMS["user"],
    "item": REVIEW_SYNONYMS["item"],
    "slate": ("slate", "slate_id", "impression", "impression_id"),
    "candidates": ("candidate_ids", "candidates", "action_set"),
    "policy": ("policy", "policy_name"),
    "action": ("action", "event", "event_type", "event_name", "reaction", "feedback"),
    "propensity": ("propensity", "propensity_score", "pscore", "action_prob", "logging_probability", "pi_b"),
    "target": ("target_probability", "evaluation_probability", "pi_e"),
    "position": ("position", "rank", "slot"),
    "time": REVIEW_SYNONYMS["time"],
    "reward": ("reward", "r", "payoff"),
}
"""The columns by their usual names, the likeliest first; `target` is the probability that the policy to be judged gives
to the item."""
NUMBERS = ("propensity", "target", "position", "time", "reward")
TEXTS = ("session", "user", "slate", "policy", "item", "action")
_ABSENT = ("", "nan", "none", "null", "na")


@dataclass(frozen=True)
class LoggedEvents:
    """What a file says of what was shown and what came back."""

    frame: pd.DataFrame
    """One row an event, in the file's order: session, user, slate, policy, item, action (None where only a reward is
    given), candidates (a tuple of item ids); propensity, target, position, reward; time in milliseconds since 1970 in
    UTC; and the line, or row, of the file. None or NaN where there is none. Without a session the user stands for
    it."""
    rows: int
    """Rows in the file: those of the frame, those in error and those that wait."""
    failed: int
    """Rows in error; they are left out."""
    waiting: int
    """Rows with neither an action nor a reward: nobody has reacted yet. They are left out."""
    columns: dict[str, str] = field(default_factory=dict)
    """Which column played which role."""
    errors: tuple[str, ...] = ()
    """What was wrong with the first rows in error, each with its line, or its row in a Parquet file."""

    @property
    def assumed(self) -> str | None:
        """What an evaluation would have to assume, where propensities are missing."""
        rows, unknown = len(self.frame), int(self.frame["propensity"].isna().sum())
        if not unknown:
            return None
        whose = "No row has a propensity" if unknown == rows else f"{unknown:,} of {rows:,} rows have no propensity"
        items = self.frame["item"].nunique()
        return (
            f"{whose}: an evaluation would have to assume that each item was drawn uniformly from the {items:,} items "
            "of the log, which nothing in the file supports, so that its result is an illustration and no evidence."
        )

    def logged(self, uniform_over: int | None = None) -> Logged:
        """The arrays that `ope.judge` takes, grouped by session.

        Args:
            uniform_over: a number of items N: unknown propensities become 1 / N, which is the assumption that `assumed`
                tells. None leaves them unknown, and `judge` refuses to rank.

        Raises:
            CrossrecError: N is below 1.
        """
        if uniform_over is not None and uniform_over < 1:
            raise CrossrecError(f"Items cannot have been drawn from {uniform_over} items; give at least 1.")
        propensity = self.frame["propensity"].to_numpy()
        if uniform_over:
            propensity = np.where(np.isnan(propensity), 1 / uniform_over, propensity)
        return Logged(self.frame["reward"].to_numpy(), propensity, pd.factorize(self.frame["session"])[0])

    def target(self, name: str) -> Target:
        """The policy whose probabilities are in the file.

        Raises:
            CrossrecError: they are not, or not in every row.
        """
        probabilities = self.frame["target"].to_numpy()
        if missing := int(np.isnan(probabilities).sum()):
            told = f"{missing:,} of {len(probabilities):,} rows do not say how probable the item is under {name!r}"
            raise CrossrecError(f"{told}: give a column {SYNONYMS['target'][0]!r}.")
        return Target(name, probabilities)


class _BadRowError(Exception):
    """What is wrong with a row and, where it has an unknown action, that action."""


def read_events(
    path: Path, columns: Mapping[str, str] | None = None, rewards: Mapping[str, float] = DEFAULT_REWARDS
) -> LoggedEvents:
    """Reads a file of logged events; rows that cannot be used are counted and told.

    Args:
        path: a CSV or other delimited file whose first line names its columns, JSON lines, or Parquet.
        columns: column by role, for roles of `SYNONYMS` whose column has another name.
        rewards: reward of each action, for rows without one.

    Raises:
        CrossrecError: the file is missing, of no known kind, too large or damaged, a column is missing, or no row can
            be used.
    """
    shape = sniff(path, ReadOptions())
    if path.stat().st_size > MAX_BYTES:
        raise _too_large(path)
    roles = _roles(path, shape, dict(columns or {}))
    texts: dict[str, list[str | None]] = {role: [] for role in TEXTS}
    candidates: list[tuple[str, ...] | None] = []
    numbers = {role: array("d") for role in NUMBERS}
    lines = array("q")
    same: dict[Any, Any] = {}  # each text, and each set of candidates, is kept once
    rows = failed = waiting = 0
    errors: list[str] = []
    for place, cells in _rows(path, shape, roles, dict(columns or {})):
        rows += 1
        if rows > MAX_ROWS:
            raise _too_large(path)
        try:
            if isinstance(cells, _BadRowError):
                raise cells
            event = _event(cells, rewards)
        except _BadRowError as error:
            failed += 1
            if len(errors) < SHOWN:
                told, *action = error.args
                hint = nearest(action[0], rewards) if action else ""
                errors.append(f"{'row' if shape.kind == 'parquet' else 'line'} {place}: {told}.{hint}")
            continue
        if event is None:
            waiting += 1
            continue
        for role, text in texts.items():
            text.append(event[role] and same.setdefault(event[role], event[role]))
        for role, values in numbers.items():
            values.append(event[role])
        chosen = event["candidates"]
        if chosen is not None and chosen not in same:
            same[chosen] = tuple(same.setdefault(item, item) for item in chosen)
        candidates.append(chosen and same[chosen])
        lines.append(place)
    if not numbers["reward"]:
        why = f"The first error: {errors[0]}" if errors else "Nobody has reacted to anything in it." if waiting else ""
        raise CrossrecError(f"{path.name} has no event that can be used, in {rows:,} rows. {why}".rstrip())
    frame = pd.DataFrame({**texts, **{role: np.frombuffer(values) for role, values in numbers.items()}})
    frame["candidates"] = pd.Series(candidates, dtype=object)
    frame["line"] = np.frombuffer(lines, np.int64)
    return LoggedEvents(frame, rows, failed, waiting, roles, tuple(errors))


def look(path: Path) -> tuple[tuple[str, ...], dict[str, str]]:
    """The columns of a file, and which role each is taken for by its name.

    Raises:
        CrossrecError: it is no file of events.
    """
    shape = sniff(path, ReadOptions())
    return shape.columns, _by_name(shape.columns)


def _roles(path: Path, shape: Shape, named: dict[str, str]) -> dict[str, str]:
    if shape.kind not in ("json", "delimited", "parquet") or len(shape.delimiter) > 1:
        raise CrossrecError(f"{path.name} is no table of events: give CSV, TSV, JSON lines or Parquet.")
    if not shape.header:
        raise CrossrecError(f"{path.name} has no first line that names its columns: add one, as session,item,action.")
    for role, column in named.items():
        if role not in SYNONYMS:
            raise CrossrecError(f"There is no role {role!r} for a column of events.{nearest(role, SYNONYMS)}")
        if column not in shape.columns:
            hint = nearest(column, shape.columns[:20])
            raise CrossrecError(f"{path.name} has no column {column[:40]!r} for the {role}.{hint}")
    roles = _by_name(shape.columns) | named
    for needed in (("session", "user"), ("item",), ("action", "reward")):
        if not set(needed) & set(roles):
            seen = ", ".join(column[:40] for column in shape.columns[:20])
            told = f"{path.name} has no column known as the {' or '.join(needed)}"
            raise CrossrecError(f"{told}: its columns are {seen}; say which one it is.")
    return roles


def _by_name(columns: tuple[str, ...]) -> dict[str, str]:
    names = {normal(column): column for column in reversed(columns)}
    found = {role: next((names[name] for name in known if name in names), None) for role, known in SYNONYMS.items()}
    return {role: column for role, column in found.items() if column is not None}


# --- rows ------------------------------------------------------------------------------------------------------------

Cells = dict[str, Any]


def _rows(
    path: Path, shape: Shape, roles: dict[str, str], named: dict[str, str]
) -> Iterator[tuple[int, Cells | _BadRowError]]:
    """Line, or row, and its cells by role."""
    if shape.kind == "parquet":
        yield from _parquet_rows(path, roles)
        return
    try:
        with gzip.open(path, "rb") if shape.gzipped else path.open("rb") as file:
            lines = _lines(path, file)
            yield from _json_rows(lines, named) if shape.kind == "json" else _delimited_rows(path, lines, shape, roles)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise CrossrecError(f"{path.name} is a truncated or damaged gzip file: fetch it again.") from error
    except UnicodeDecodeError as error:
        raise CrossrecError(f"{path.name} is not in UTF-8: convert it first.") from error
    except OSError as error:
        raise CrossrecError(f"{path.name} cannot be read ({error.strerror}): check it and its disk.") from error


def _lines(path: Path, file: IO[bytes] | gzip.GzipFile) -> Iterator[str]:
    """Lines of text; neither a line without an end nor a small file that unpacks to a large one fills the memory."""
    size = 0
    while line := file.readline(MAX_LINE + 1):
        size += len(line)
        if len(line) > MAX_LINE or size > MAX_BYTES:
            raise _too_large(path)
        yield line.decode("utf-8-sig" if size == len(line) else "utf-8")


def _delimited_rows(
    path: Path, lines: Iterator[str], shape: Shape, roles: dict[str, str]
) -> Iterator[tuple[int, Cells | _BadRowError]]:
    reader = csv.reader(lines, delimiter=shape.delimiter)
    places = {role: shape.columns.index(column) for role, column in roles.items()}
    try:
        next(row for row in reader if row)  # the names of the columns
        for row in filter(None, reader):
            if len(row) == len(shape.columns):
                yield reader.line_num, {role: _bare(row[place]) for role, place in places.items()}
            else:
                yield reader.line_num, _BadRowError(f"it has {len(row)} cells, the first line {len(shape.columns)}")
    except csv.Error as error:
        raise CrossrecError(f"{path.name} is not read as a table beyond line {reader.line_num} ({error}).") from error


def _bare(cell: str) -> str:
    """Without the apostrophe that keeps a spreadsheet from seeing a formula."""
    return cell[1:] if cell[:1] == "'" and cell[1:].startswith(FORMULA) else cell


def _json_rows(lines: Iterator[str], named: dict[str, str]) -> Iterator[tuple[int, Cells | _BadRowError]]:
    """Objects may leave out what they have not, so that each set of keys has its own roles."""
    known: dict[tuple[str, ...], dict[str, str]] = {}
    for place, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            yield place, _BadRowError("it is no JSON object")
            continue
        keys = tuple(value)
        if keys not in known:
            known[keys] = _by_name(keys) | named
        yield place, {role: value.get(column) for role, column in known[keys].items()}


def _parquet_rows(path: Path, roles: dict[str, str]) -> Iterator[tuple[int, Cells]]:
    place = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(columns=sorted(set(roles.values()))):
                columns = {role: batch.column(column).to_pylist() for role, column in roles.items()}
                for cells in zip(*columns.values(), strict=True):
                    place += 1
                    yield place, dict(zip(columns, cells, strict=True))
    except (pa.ArrowException, OSError) as error:
        raise CrossrecError(f"{path.name} is a damaged Parquet file: make or fetch it again.") from error


def _event(cells: Cells, rewards: Mapping[str, float]) -> dict[str, Any] | None:
    """The event of a row; None where nobody has reacted."""
    texts = {role: _text(cells, role) for role in TEXTS}
    session, item, action = texts["session"] or texts["user"], texts["item"], texts["action"]
    if session is None or item is None:
        raise _BadRowError("it has no item" if session else "it has neither a session nor a user")
    reward = _number(cells, "reward")
    if math.isnan(reward):
        if action is None:
            return None
        if action not in rewards:
            raise _BadRowError(f"the action {action[:40]!r} has no reward", action[:40])
        reward = rewards[action]
    numbers = {role: _number(cells, role) for role in ("propensity", "target", "position")}
    # Written so that NaN, which is unknown, passes.
    if numbers["propensity"] <= 0 or numbers["propensity"] > 1:
        raise _BadRowError(f"the propensity {numbers['propensity']:g} is not above 0 and at most 1")
    if numbers["target"] < 0 or numbers["target"] > 1:
        raise _BadRowError(f"the target probability {numbers['target']:g} is not from 0 to 1")
    if numbers["position"] < 0 or numbers["position"] % 1 > 0:
        raise _BadRowError(f"the position {numbers['position']:g} is not a whole number from 0 up")
    rest = {"session": session, "reward": reward, "time": _time(cells), "candidates": _candidates(cells)}
    return {**texts, **numbers, **rest}


def _text(cells: Cells, role: str) -> str | None:
    # Half of a surrogate pair, which JSON can carry, is no text that a file can keep.
    text = str(cells.get(role, "")).strip().encode("utf-8", "replace").decode()
    return None if len(text) < 5 and text.lower() in _ABSENT else text


def _candidates(cells: Cells) -> tuple[str, ...] | None:
    """Item ids: a list, or a JSON array in a text."""
    given = cells.get("candidates")
    if not isinstance(given, list):
        if (text := _text(cells, "candidates")) is None:
            return None
        ids = _array(text)
    else:
        ids = _ids(given)
    if ids is None:
        raise _BadRowError(f"the candidates {str(given)[:40]!r} are no list of item ids")
    return ids or None


@lru_cache(maxsize=1)  # the rows of a slate, which follow each other, have the same
def _array(text: str) -> tuple[str, ...] | None:
    try:
        return _ids(json.loads(text))
    except (ValueError, RecursionError):
        return None


def _ids(given: Any) -> tuple[str, ...] | None:
    if not isinstance(given, list) or not all(isinstance(item, str | int) for item in given):
        return None
    return tuple(str(item).strip() for item in given)


def _number(cells: Cells, role: str) -> float:
    try:
        value = float(cells[role])
    except (KeyError, TypeError, ValueError, OverflowError):
        value = math.nan if _text(cells, role) is None else math.inf
    if math.isinf(value):
        raise _BadRowError(f"the {role} {str(cells[role])[:40]!r} is not a number")
    return value


def _time(cells: Cells) -> float:
    """Milliseconds since 1970; a number below 1e11 is in seconds, as in the review files."""
    try:
        value = _number(cells, "time")
        value = value * 1000 if abs(value) < 1e11 else value
    except _BadRowError:
        try:
            moment = datetime.fromisoformat(str(cells["time"]).strip())
            value = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000
        except ValueError:
            value = math.inf
    if abs(value) > 1e14:
        told = f"the time {str(cells['time'])[:40]!r}"
        raise _BadRowError(f"{told} is neither seconds nor milliseconds since 1970 nor an ISO date")
    return value if math.isnan(value) else float(round(value))


def _too_large(path: Path) -> CrossrecError:
    limits = f"{MAX_ROWS:,} rows, {MAX_BYTES >> 20:,} MB and {MAX_LINE >> 20} MB a line"
    return CrossrecError(f"{path.name} is too large: at most {limits} are read; give a part of it.")
