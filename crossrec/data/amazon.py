"""Review files of every Amazon edition, and plain tables -> the canonical events, through DuckDB.

DuckDB streams the file into a table of its own database, which lives on disk: a file larger than memory is no case
apart. The table's `rowid` is the order of the file, for DuckDB keeps the order of insertion. What a file is, is
decided in `sniff.py`; what is kept of it, in `work.py`; its items are read in `items.py`.
"""

# ruff: noqa: S608  (what is put into a query is a column's expression or a quoted literal)

from pathlib import Path

import duckdb

from crossrec.data.items import read_items
from crossrec.data.sniff import ReadOptions, Shape, choose, sniff, suspect_swap
from crossrec.data.source import (
    LINE_BYTES,
    TOLERATED,
    Report,
    connect,
    edition,
    line_numbers,
    one,
    query,
    quoted,
    rejected_lines,
    run,
    text,
    unreadable,
)
from crossrec.errors import CrossrecError

__all__ = ["ReadOptions", "Report", "connect", "read_events", "read_items"]

_BROKEN, _BAD_RATING, _BAD_TIME = 1, 2, 3


def read_events(
    connection: duckdb.DuckDBPyConnection, path: Path, table: str, options: ReadOptions, scratch: Path
) -> Report:
    """Reads a file of events into a new table of the connection.

    The table has the columns bad UTINYINT (0: readable), user_id, item_id VARCHAR, rating FLOAT, time BIGINT
    (milliseconds), title, text VARCHAR; its `rowid` is the event's place in the file. Empty strings are NULL.
    `scratch` is a folder for a temporary file, which only Python-literal files need.

    Raises:
        CrossrecError: see `sniff`, `choose`; or more than 1 % of the rows are unreadable.
    """
    shape = sniff(path, options)
    if shape.kind == "sequences":
        return _read_sequences(connection, path, shape, table)
    roles = choose(path, shape, options)
    used = {role: name for role, name in roles.items() if name is not None}
    source, cells = query(connection, path, shape, list(used.values()), scratch)
    cell = {role: cells[used[role]] if role in used else "NULL" for role in roles}
    run(
        connection,
        path,
        f"""
        CREATE TABLE {table} AS
        WITH cells AS (
            SELECT broken, {text(cell["user"])} AS user_id, {text(cell["item"])} AS item_id,
                   {_number(cell["rating"])} AS r, {_number(cell["time"])} AS t,
                   {text(cell["title"])} AS title, {text(cell["text"])} AS text
            FROM ({source})
        ), typed AS (
            SELECT *, TRY_CAST(r AS DOUBLE) AS rating, {_milliseconds("t")} AS time FROM cells
        )
        SELECT (CASE WHEN broken THEN {_BROKEN}
                     WHEN r IS NOT NULL AND NOT coalesce(isfinite(rating), false) THEN {_BAD_RATING}
                     WHEN t IS NOT NULL AND time IS NULL THEN {_BAD_TIME} ELSE 0 END)::UTINYINT AS bad,
               user_id, item_id, rating::FLOAT AS rating, time, title, text
        FROM typed""",
    )
    sample = connection.execute(
        f"SELECT user_id, item_id FROM {table} WHERE bad = 0 AND user_id IS NOT NULL AND item_id IS NOT NULL LIMIT 2000"
    ).fetchall()
    if shape.header:
        suspect_swap(path, options, [row[0] for row in sample], [row[1] for row in sample])
    rows, skipped = _check(connection, path, shape, table, used)
    return Report(edition(shape), rows, skipped, used)


def _read_sequences(connection: duckdb.DuckDBPyConnection, path: Path, shape: Shape, table: str) -> Report:
    lines = f"""read_csv({quoted(str(path))}, columns = {{'line': 'VARCHAR'}}, auto_detect = false, header = false,
        delim = '\x01', quote = '', escape = '', strict_mode = false, max_line_size = {LINE_BYTES},
        compression = '{"gzip" if shape.gzipped else "none"}')"""
    run(
        connection,
        path,
        f"""
        CREATE TABLE {table} AS
        SELECT (CASE WHEN item_id IS NULL THEN {_BROKEN} ELSE 0 END)::UTINYINT AS bad, user_id, item_id,
               NULL::FLOAT AS rating, NULL::BIGINT AS time, NULL::VARCHAR AS title, NULL::VARCHAR AS text
        FROM (
            SELECT parts[1] AS user_id, unnest(CASE WHEN len(parts) < 2 THEN [NULL] ELSE parts[2:] END) AS item_id
            FROM (SELECT string_split_regex(trim(line, ' \t\r'), '\\s+') AS parts FROM {lines}
                  WHERE trim(line, ' \t\r') <> ''))""",
    )
    rows, skipped = _check(connection, path, shape, table, {})
    return Report("sequences", rows, skipped, {})


def _check(
    connection: duckdb.DuckDBPyConnection, path: Path, shape: Shape, table: str, used: dict[str, str]
) -> tuple[int, int]:
    """Returns (rows, unreadable rows) of the file, or stops when there are too many of the latter."""
    rows, broken, ratings, times = one(
        connection,
        f"""SELECT count(*), count(*) FILTER (bad = {_BROKEN}), count(*) FILTER (bad = {_BAD_RATING}),
                   count(*) FILTER (bad = {_BAD_TIME}) FROM {table}""",
    )
    rejected = rejected_lines(connection, shape)
    rows, broken = rows + len(rejected), broken + len(rejected)
    if rows == 0:
        raise CrossrecError(f"{path.name} has no row of data below its header: give a file with events.")
    if broken + ratings + times > TOLERATED * rows:
        worst = max((broken, _BROKEN), (ratings, _BAD_RATING), (times, _BAD_TIME), key=lambda pair: pair[0])[1]
        where = connection.execute(f"SELECT rowid FROM {table} WHERE bad = {worst} LIMIT 3").fetchall()
        lines = rejected[:3] if worst == _BROKEN and rejected else line_numbers(path, shape, [row for (row,) in where])
        first = f"first on line {', '.join(map(str, lines))}"
        if worst == _BAD_RATING:
            raise CrossrecError(
                f"{path.name}: {ratings:,} of {rows:,} values in the rating column {used['rating']!r} are not numbers "
                f"({first}); name another with rating_column."
            )
        if worst == _BAD_TIME:
            raise CrossrecError(
                f"{path.name}: {times:,} of {rows:,} values in the time column {used['time']!r} are neither seconds "
                f"nor milliseconds since 1970 nor ISO dates ({first}); name another with time_column."
            )
        raise CrossrecError(unreadable(path, broken, rows, lines))
    return rows, broken + ratings + times


def _number(cell: str) -> str:
    """The cell's text, or NULL where it is one of the words that programs write for an absent number."""
    return f"CASE WHEN lower(trim(({cell})::VARCHAR)) NOT IN ('', 'nan', 'none', 'null', 'na') THEN trim({cell}) END"


def _milliseconds(cell: str) -> str:
    """Seconds become milliseconds below 1e11 (the year 5138 in seconds); beyond 1e14 it is no time."""
    number = f"TRY_CAST({cell} AS DOUBLE)"
    return f"""CASE WHEN abs({number}) < 1e11 THEN TRY_CAST(round({number} * 1000) AS BIGINT)
        WHEN abs({number}) < 1e14 THEN TRY_CAST(round({number}) AS BIGINT)
        WHEN {number} IS NULL THEN epoch_ms(TRY_CAST({cell} AS TIMESTAMP)) END"""
