"""A first look at a file of events: what it is, which columns were recognised, and its first rows."""

# ruff: noqa: S608  (what is put into the query is a quoted literal and quoted names)

import ast
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from crossrec.data.sniff import SYNONYMS, ReadOptions, Shape, choose, first_lines, normal, sniff
from crossrec.data.source import edition, quoted
from crossrec.errors import CrossrecError

ROWS = 5
"""Rows that are shown."""
COLUMNS = 40
"""Columns that are shown and can be chosen from, the first ones."""
CELL = 120
"""Characters of a cell that are shown."""


@dataclass(frozen=True)
class Preview:
    """What the first lines of a file tell."""

    kind: str
    """The kind of file, with the edition where it shows."""

    columns: tuple[str, ...]
    """In the file's order; empty for a file of sequences."""

    roles: dict[str, str | None]
    """Which column is the user's id, the item's, the rating, the time, the text and the title; None where none is."""

    rows: list[dict[str, str]]
    """The first rows, with cut cells."""

    problem: str | None = None
    """Why the file cannot be imported as it is: one sentence."""


def preview(path: Path, options: ReadOptions | None = None) -> Preview:
    """Looks at the first 2 MB of a file at most, or at the first rows of a Parquet file.

    Raises:
        CrossrecError: the file is of no known kind, see `sniff`.
    """
    options = options or ReadOptions()
    shape = sniff(path, options)
    roles: dict[str, str | None] = dict.fromkeys(SYNONYMS)
    problem = None
    if shape.kind != "sequences":
        try:
            roles = choose(path, shape, options)
        except CrossrecError as error:
            problem = str(error)
            names = {normal(column): column for column in reversed(shape.columns)}
            for role, known in SYNONYMS.items():
                given = getattr(options, f"{role}_column")
                roles[role] = given or next((names[name] for name in known if name in names), None)
    columns = tuple(column for column in shape.columns if len(column) <= CELL)[:COLUMNS]
    rows = [{name: _cut(cell) for name, cell in row.items() if name in columns} for row in _rows(path, shape, columns)]
    return Preview(edition(shape), columns, roles, rows, problem)


def _rows(path: Path, shape: Shape, columns: tuple[str, ...]) -> list[dict[str, Any]]:
    if shape.kind == "parquet":
        return _parquet_rows(path, columns)
    if shape.kind in ("json", "literals"):
        found = []
        for line in first_lines(path)[: 4 * ROWS]:
            try:
                value = json.loads(line) if shape.kind == "json" else ast.literal_eval(line.strip())
            except (ValueError, SyntaxError, MemoryError, RecursionError):
                continue
            if isinstance(value, dict):
                found.append({name: value.get(name) for name in columns})
        return found[:ROWS]
    return [dict(zip(shape.columns, row, strict=False)) for row in shape.rows[:ROWS]]


def _parquet_rows(path: Path, columns: tuple[str, ...]) -> list[dict[str, Any]]:
    names = ", ".join(f"""left(CAST("{name.replace('"', '""')}" AS VARCHAR), {CELL + 1})""" for name in columns)
    bounds: dict[str, Any] = {"memory_limit": "512MiB", "threads": 1, "autoinstall_known_extensions": False}
    try:
        with duckdb.connect(config=bounds) as connection:
            rows = connection.execute(f"SELECT {names} FROM read_parquet({quoted(str(path))}) LIMIT {ROWS}").fetchall()
            return [dict(zip(columns, row, strict=True)) for row in rows]
    except duckdb.Error as error:
        raise CrossrecError(f"{path.name} is a damaged Parquet file: make or fetch it again.") from error


def _cut(cell: Any) -> str:
    text = "" if cell is None else " ".join(str(cell)[: 4 * CELL].split())
    return text if len(text) <= CELL else text[:CELL] + "…"
