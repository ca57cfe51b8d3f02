"""Item files of every Amazon edition, and plain tables -> item_id, title, creator, category, year."""

# ruff: noqa: S608  (what is put into a query is a column's expression or a quoted literal)

from pathlib import Path

import duckdb

from crossrec.data.sniff import ReadOptions, normal, sniff
from crossrec.data.source import (
    TOLERATED,
    Report,
    do,
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


def read_items(
    connection: duckdb.DuckDBPyConnection, path: Path, table: str, options: ReadOptions, scratch: Path
) -> Report:
    """Reads a file of items into a new table: item_id, title, creator, category VARCHAR, year SMALLINT.

    The first row of an item counts. Of the options only `item_column` is used, and only if the file has it.

    Raises:
        CrossrecError: as for `read_events`.
    """
    shape = sniff(path, ReadOptions(format="csv"))
    if shape.kind == "sequences" or not shape.header:
        raise CrossrecError(f"{path.name} has no line that names its columns: an item file begins with item_id,title.")
    names = {normal(column): column for column in reversed(shape.columns)}
    known = ("parent_asin", "item_id", "asin", "item", "itemid", "iid", "product_id", "movieid", "movie_id", "id")
    item = options.item_column if options.item_column in shape.columns else None
    item = item or next((names[name] for name in known if name in names), None)
    if item is None:
        seen = ", ".join(shape.columns[:20])
        raise CrossrecError(f"{path.name} has no column of item ids: its columns are {seen}; call one item_id.")
    objects = shape.kind in ("json", "literals")
    names_of = ("title", "name", "movie_title", "store", "brand", "author", "creator", "artist", "main_category")
    plain = (
        *names_of,
        "category",
        "categories",
        "genres",
        "genre",
        "class",
        "year",
        "release_year",
        "date",
        "details",
    )
    # A key may be absent from the first lines of a JSON file and present below, so all are asked for.
    columns = [item, *(name for name in plain if name != item)] if objects else list(shape.columns)
    source, cells = query(connection, path, shape, columns, scratch)

    def first(*wanted: str) -> str:
        found = [cells[name] for name in wanted if name in cells]
        if not objects:
            found = [cells[names[name]] for name in wanted if name in names]
        return f"coalesce({', '.join([*(text(one) for one in found), 'NULL', 'NULL'])})::VARCHAR"

    title, creator = first("title", "name", "movie_title"), first("store", "brand", "creator", "author", "artist")
    category, details = first("main_category", "category", "categories", "genres", "genre", "class"), first("details")
    run(
        connection,
        path,
        f"""
        CREATE TABLE {table}_raw AS
        SELECT broken, {text(cells[item])} AS item_id, {title} AS title, {creator} AS creator, {category} AS category,
               {first("year", "release_year")} AS year, {first("date")} AS date, {details} AS details
        FROM ({source})""",
    )
    rows, broken = one(connection, f"SELECT count(*), count(*) FILTER (broken) FROM {table}_raw")
    rejected = rejected_lines(connection, shape)
    broken, rows = broken + len(rejected), rows + len(rejected)
    if broken > TOLERATED * rows:
        where = [n for (n,) in connection.execute(f"SELECT rowid FROM {table}_raw WHERE broken LIMIT 3").fetchall()]
        raise CrossrecError(unreadable(path, broken, rows, rejected[:3] or line_numbers(path, shape, where)))
    pattern = quoted(r"(1[89]\d\d|20\d\d)")
    do(
        connection,
        f"""
        CREATE TABLE {table} AS
        SELECT item_id, {_entities("nullif(title, 'NaN')")} AS title, {_entities("creator")} AS creator,
               {_entities("category")} AS category,
               TRY_CAST(nullif(regexp_extract(year, {pattern}), '') AS SMALLINT) AS year
        FROM (
            SELECT rowid AS row, item_id,
                   -- some 2018 titles are the page's script, known by this call
                   CASE WHEN NOT contains(title, 'getTime()') THEN title END AS title, {_author("creator")} AS creator,
                   {_first_of("category")} AS category,
                   coalesce(year, date, {_detail_year("details")}) AS year
            FROM {table}_raw WHERE NOT broken AND item_id IS NOT NULL
        ) QUALIFY row_number() OVER (PARTITION BY item_id ORDER BY row) = 1""",
    )
    do(connection, f"DROP TABLE {table}_raw")
    return Report(edition(shape), rows, broken, {"item": item})


def _entities(cell: str) -> str:
    """Amazon's item files escape HTML, some twice."""
    for entity, character in (
        ("&amp;", "&"),
        ("&quot;", '"'),
        ("&#34;", '"'),
        ("&#39;", "''"),
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&nbsp;", " "),
    ):
        cell = f"replace({cell}, '{entity}', '{character}')"
    return cell


def _author(cell: str) -> str:
    return f"""CASE WHEN json_valid({cell}) AND json_type({cell}) = 'OBJECT' THEN {cell} ->> '$.name' ELSE {cell} END"""


def _first_of(cell: str) -> str:
    """The first category of a list, of a list of lists (2014), or of words between bars."""
    return f"""CASE WHEN {cell} LIKE '[%' AND json_valid({cell})
        THEN coalesce({cell} ->> '$[0][0]', CASE WHEN json_type({cell}, '$[0]') = 'VARCHAR' THEN {cell} ->> '$[0]' END)
        ELSE nullif(trim(split_part({cell}, '|', 1)), '') END"""


def _detail_year(cell: str) -> str:
    found = ", ".join(
        f"""{cell} ->> '$."{name}"'""" for name in ("Publication date", "Release date", "Release Date", "Publisher")
    )
    return f"CASE WHEN json_valid({cell}) THEN coalesce({found}) END"
