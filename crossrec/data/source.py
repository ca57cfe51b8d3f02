"""One file as DuckDB reads it: the query of its rows, its broken lines, and the sentences for what goes wrong."""

# ruff: noqa: S608  (what is put into a query is a column's expression or a quoted literal)

import ast
import gzip
import json
import os
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from crossrec.data.sniff import Shape
from crossrec.errors import CrossrecError

TOLERATED = 0.01
"""The share of lines of a file that may be unreadable: so many are skipped and counted, more of them stop."""

LINE_BYTES = 64 << 20


@dataclass(frozen=True)
class Report:
    """What was read from one file."""

    format: str
    """The kind of file, with the edition where it shows."""

    rows: int
    """Rows in the file, the unreadable ones included."""

    skipped: int
    """Unreadable rows: they stay in the table with `bad` above 0."""

    columns: dict[str, str] = field(default_factory=dict)
    """Which column played which role."""


def connect(scratch: Path) -> duckdb.DuckDBPyConnection:
    """Opens a DuckDB database below `scratch`, which must exist, that spills to disk beyond a bounded memory.

    The bound is a third of the machine's memory, and at most 1.25 GB: more makes nothing faster.
    """
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 8 << 30
    limit = min(memory // 3, 5 << 28) >> 20
    connection = duckdb.connect(
        str(scratch / "work.duckdb"),
        config={
            "memory_limit": f"{limit}MiB",
            "temp_directory": str(scratch / "spill"),
            "preserve_insertion_order": True,
            "autoinstall_known_extensions": False,
        },
    )
    # The tables live for minutes: to find out how their texts compress best would take most of the reading.
    do(connection, "SET force_compression = 'uncompressed'")
    # Nothing is drawn, but `query_progress` answers.
    do(connection, "SET enable_progress_bar = true")
    do(connection, "SET enable_progress_bar_print = false")
    return connection


def query(
    connection: duckdb.DuckDBPyConnection, path: Path, shape: Shape, columns: list[str], scratch: Path
) -> tuple[str, dict[str, str]]:
    """Returns a query of the file's rows, with a boolean `broken`, and the expression of each column in it, as text."""
    if shape.kind == "parquet":
        return f"SELECT *, false AS broken FROM read_parquet({quoted(str(path))})", {
            name: f"CAST({_name(name)} AS VARCHAR)" for name in columns
        }
    if shape.kind == "delimited":
        for view in ("reject_scans", "reject_errors"):
            do(connection, f"DROP TABLE IF EXISTS {view}")
        return f"SELECT *, false AS broken FROM {_read_csv(path, shape)}", {name: _name(name) for name in columns}
    file, gzipped = path, shape.gzipped
    if shape.kind == "literals":
        file, gzipped = _literals_to_json(path, shape, scratch), False
    paths = ", ".join(quoted(f'$."{name}"') for name in columns)
    query = f"""
        SELECT v, broken FROM (
            SELECT json_extract_string(json, [{paths}]) AS v, coalesce(json_type(json) <> 'OBJECT', true) AS broken
            FROM read_ndjson_objects({quoted(str(file))}, ignore_errors = true, maximum_object_size = {LINE_BYTES},
                                     compression = '{"gzip" if gzipped else "none"}'))"""
    return query, {name: f"v[{place}]" for place, name in enumerate(columns, 1)}


def _read_csv(path: Path, shape: Shape) -> str:
    columns = ", ".join(f"{quoted(name)}: 'VARCHAR'" for name in shape.columns)
    quote = '"' if len(shape.delimiter) == 1 else ""
    return f"""read_csv({quoted(str(path))}, columns = {{{columns}}}, auto_detect = false, header = {shape.header},
        delim = {quoted(shape.delimiter)}, quote = '{quote}', escape = '{quote}', ignore_errors = true,
        store_rejects = true, strict_mode = {bool(quote)}, max_line_size = {LINE_BYTES},
        compression = '{"gzip" if shape.gzipped else "none"}')"""


def do(connection: duckdb.DuckDBPyConnection, statement: str) -> None:
    """Runs a statement to its end: DuckDB 2 takes a result that nobody fetched for one still under way."""
    connection.execute(statement).fetchall()


def run(connection: duckdb.DuckDBPyConnection, path: Path, query: str) -> None:
    """Runs a query over the file; DuckDB's own messages may quote a review, so they go no further."""
    try:
        do(connection, query)
    except (duckdb.ParserException, duckdb.BinderException, duckdb.CatalogException, duckdb.InterruptException):
        raise  # a defect of ours or Ctrl-C, not of the file
    except duckdb.Error as error:
        told = str(error)
        if "GZIP" in told.upper():
            what = "is a truncated or damaged gzip file: fetch it again"
        elif "utf-8" in told.lower() or "unicode" in told.lower():
            what = "is not in UTF-8: convert it first"
        elif "No space left" in told or isinstance(error, duckdb.OutOfMemoryException):
            what = "needs more room than the disk or memory has: free some, or import a smaller file"
        elif "maximum_object_size" in told or "max_line_size" in told or "Maximum line size" in told:
            what = "has a line above 64 MB: one event a line is expected"
        else:
            what = f"cannot be read ({type(error).__name__}): check that it is whole and of the format it seems to be"
        raise CrossrecError(f"{path.name} {what}.") from error


def rejected_lines(connection: duckdb.DuckDBPyConnection, shape: Shape) -> list[int]:
    """The lines that DuckDB's CSV reader could not fit to the columns."""
    if shape.kind != "delimited":
        return []
    rows = connection.execute("SELECT DISTINCT line FROM reject_errors ORDER BY line").fetchall()
    return [line for (line,) in rows]


def line_numbers(path: Path, shape: Shape, rows: list[int]) -> list[int]:
    """The line numbers, from 1, of some of the table's rows; blank lines have no row. Only errors need it.

    A line that the CSV reader refused, or a line break inside a quoted cell, above shifts a CSV's numbers.
    """
    wanted, found, row = set(rows), [], -1 - (shape.kind == "delimited" and shape.header)
    if shape.kind == "parquet" or not wanted:
        return sorted(one + 1 for one in rows)
    with gzip.open(path, "rb") if shape.gzipped else path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            row += max(len(line.split()) - 1, 1) if shape.kind == "sequences" else 1
            if row in wanted:
                found.append(number)
                if len(found) == len(wanted):
                    break
    return found


def unreadable(path: Path, broken: int, rows: int, lines: list[int]) -> str:
    return (
        f"{path.name}: {broken:,} of {rows:,} lines cannot be read (first line {', '.join(map(str, lines))}), more "
        "than the 1 % that is skipped; repair the file or fetch it again."
    )


def edition(shape: Shape) -> str:
    if shape.kind in ("json", "literals"):
        keys = set(shape.columns)
        if "parent_asin" in keys:
            edition = "2023 "
        elif "asin" in keys:
            edition = "2018 " if keys & {"verified", "vote", "style", "also_buy", "tech1"} else "2014 "
        else:
            edition = ""
        return edition + ("json lines" if shape.kind == "json" else "python literals")
    if shape.kind == "delimited":
        return {"\t": "tsv"}.get(shape.delimiter, "csv") + ("" if shape.header else " without header")
    return shape.kind


def _literals_to_json(path: Path, shape: Shape, scratch: Path) -> Path:
    """Rewrites a file of Python literals as JSON lines; a line that does not parse stays one that does not."""
    target = scratch / f"{path.name}.jsonl"
    opened: Any = gzip.open if shape.gzipped else open
    with opened(path, "rb") as binary, target.open("w", encoding="utf-8") as sink:
        try:
            for line in binary:
                if line.strip():
                    sink.write(_literal_to_json(line) + "\n")
        except (EOFError, zlib.error) as error:
            raise CrossrecError(f"{path.name} is a truncated or damaged gzip file: fetch it again.") from error
    return target


def _literal_to_json(line: bytes) -> str:
    try:
        return json.dumps(ast.literal_eval(line.decode("utf-8").strip()), allow_nan=False)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return "not a literal"


def one(connection: duckdb.DuckDBPyConnection, query: str) -> tuple[Any, ...]:
    return tuple(connection.execute(query).fetchall()[0])


def text(cell: str) -> str:
    cell = f"({cell})::VARCHAR"
    # To trim is to walk through the whole text, and few have anything to lose.
    loose = " OR ".join(rf"regexp_matches({cell}, '{pattern}')" for pattern in (r"^\p{Zs}", r"\p{Zs}$"))
    return f"nullif(CASE WHEN {loose} THEN trim({cell}) ELSE {cell} END, '')"


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _name(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'
