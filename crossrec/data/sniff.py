"""What a review file is: told from its first lines, and settled by `ReadOptions` where they leave a doubt."""

import ast
import csv
import gzip
import json
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

from crossrec.errors import CrossrecError, nearest

FORMATS = ("2014", "2018", "2023", "csv", "sequences")

SYNONYMS: dict[str, tuple[str, ...]] = {
    "user": ("user_id", "reviewerid", "user", "userid", "uid", "customer_id", "reviewer_id"),
    "item": (
        "parent_asin",
        "item_id",
        "asin",
        "item",
        "itemid",
        "iid",
        "product_id",
        "productid",
        "movieid",
        "movie_id",
    ),
    "rating": ("rating", "overall", "stars", "star_rating", "score"),
    "time": ("timestamp", "unixreviewtime", "time", "ts", "unix_time"),
    "text": ("text", "reviewtext", "review_text", "review_body", "review"),
    "title": ("review_title", "summary", "review_headline", "headline", "title"),
}

_HEAD_BYTES = 2 << 20
_HEAD_LINES = 2000
_ASIN = re.compile(r"B[0-9A-Z]{9}|[0-9]{9}[0-9X]")
_AMAZON_USER = re.compile(r"A[0-9A-Z]{8,27}|#oc-[0-9A-Z]+")


@dataclass(frozen=True)
class ReadOptions:
    """How to read one domain's files, where the files alone leave a doubt. All None: decided from the file."""

    format: str | None = None
    """`2014`, `2018` or `2023` (the editions of the Amazon reviews), `csv` (any delimited text) or `sequences` (a user
    and his items in order on each line). For a ratings-only CSV without a header it settles the order of the columns:
    `2014` is user, item, rating, time and `2018` is item, user, rating, time."""

    user_column: str | None = None
    """The column of the user's id; in a file without a header the position, counted from `1`."""

    item_column: str | None = None
    """The column of the item's id. Naming both this and `user_column` also silences the suspicion of a swap."""

    rating_column: str | None = None
    """The column of the rating, a number."""

    time_column: str | None = None
    """The column of the time: seconds or milliseconds since 1970, or an ISO date."""

    text_column: str | None = None
    """The column of the review's text."""

    title_column: str | None = None
    """The column of the review's title."""

    def __post_init__(self) -> None:
        if self.format is not None and self.format not in FORMATS:
            raise CrossrecError(f"The format {self.format!r} is not known.{nearest(self.format, FORMATS)}")

    @classmethod
    def from_dict(cls, values: dict[str, str | None]) -> "ReadOptions":
        """Makes the options from a dict; an unknown key is a CrossrecError that names the nearest known one."""
        known = [f.name for f in fields(cls)]
        for key in values:
            if key not in known:
                raise CrossrecError(f"The reading option {key!r} is not known.{nearest(key, known)}")
        return cls(**values)


@dataclass(frozen=True)
class Shape:
    """What the first lines of a file told."""

    kind: str
    """`json`, `literals` (one Python literal a line), `delimited`, `sequences` or `parquet`."""

    gzipped: bool = False
    """Whether the bytes are gzip, whatever the file is called."""

    delimiter: str = ","
    """Between the fields of a delimited file."""

    header: bool = True
    """Whether a delimited file's first line names its columns; without, they are called `1`, `2`, ..."""

    columns: tuple[str, ...] = ()
    """The columns, in the file's order; for JSON the keys seen in the first lines."""

    rows: tuple[tuple[str, ...], ...] = field(default=(), repr=False)
    """The first rows of a delimited file, at most 2,000."""


def sniff(path: Path, options: ReadOptions) -> Shape:
    """Returns the shape of the file, from at most its first 2 MB.

    Raises:
        CrossrecError: missing, unreadable, empty, a damaged gzip, or of no known kind.
    """
    lines, gzipped, magic = _head(path)
    if magic[:4] == b"PAR1":
        return Shape("parquet", columns=_parquet_columns(path))
    filled = [line for line in lines if line.strip()]
    if not filled:
        raise CrossrecError(f"{path.name} is empty: give a file with at least one line of data.")
    first = filled[0].lstrip()[:1]
    if first == "{":
        return _object_shape(path, filled, gzipped)
    if first == "[":
        raise CrossrecError(f"{path.name} is one JSON array: rewrite it with one object on each line.")
    if options.format == "sequences":
        return Shape("sequences", gzipped)
    delimiter = _delimiter(filled)
    if delimiter is None:
        tokens = {len(line.split()) for line in filled}
        if options.format is None and (max(tokens) < 3 or (len(filled) > 1 and tokens in ({3}, {4}))):
            raise CrossrecError(
                f"{path.name} has no comma, tab or other delimiter and could be read in more than one way: set the "
                "format to 'sequences' if each line is a user and his items in order, otherwise separate the columns "
                "by commas."
            )
        return Shape("sequences", gzipped)
    return _delimited_shape(path, filled, gzipped, delimiter)


def first_lines(path: Path) -> list[str]:
    """The lines of the file that `sniff` judges by."""
    return [line for line in _head(path)[0] if line.strip()]


def choose(path: Path, shape: Shape, options: ReadOptions) -> dict[str, str | None]:
    """Returns which column plays each role of `SYNONYMS`; None for a role that no column plays.

    Raises:
        CrossrecError: no column for the user or the item, a named column is absent, the order of a file without a
            header is in doubt, or user and item look swapped.
    """
    named = {
        "user": options.user_column,
        "item": options.item_column,
        "rating": options.rating_column,
        "time": options.time_column,
        "text": options.text_column,
        "title": options.title_column,
    }
    for role, name in named.items():
        if name is not None and name not in shape.columns:
            raise CrossrecError(f"{path.name} has no column {name!r} for the {role}: its columns are {_seen(shape)}.")
    guess = _by_name(shape) if shape.header else _by_position(path, shape, options)
    chosen: dict[str, str | None] = {role: named.get(role) or guess.get(role) for role in SYNONYMS}
    for role in ("user", "item"):
        if chosen[role] is None:
            raise CrossrecError(
                f"{path.name} has no column known as the {role}'s id: its columns are {_seen(shape)}; say which one it "
                f"is with the option {role}_column."
            )
    if chosen["user"] == chosen["item"]:
        raise CrossrecError(
            f"{path.name}: the column {chosen['user']!r} cannot be both user and item; set user_column and item_column."
        )
    return chosen


def suspect_swap(path: Path, options: ReadOptions, users: Sequence[str], items: Sequence[str]) -> None:
    """Raises a CrossrecError when most of the first user ids look like ASINs and the item ids do not."""
    if (options.user_column and options.item_column) or not users:
        return
    if _share(_ASIN, users) >= 0.9 and (_share(_ASIN, items) < 0.5 or _share(_AMAZON_USER, items) >= 0.9):
        raise CrossrecError(
            f"{path.name}: the user and item columns look swapped, for the users' ids look like ASINs (10 characters, "
            "as B0...) and the items' do not; if it is meant, name both with user_column and item_column."
        )


def _seen(shape: Shape) -> str:
    """The columns for a sentence: of a file that is no table they may be many, and long."""
    return ", ".join(column[:40] for column in shape.columns[:20])


def normal(column: str) -> str:
    """The column's name as `SYNONYMS` spells it: lower case, without the `:token` that RecBole's files append."""
    return column.strip().strip("\ufeff").split(":")[0].lower()


def _head(path: Path) -> tuple[list[str], bool, bytes]:
    try:
        with path.open("rb") as file:
            magic = file.read(4)
        gzipped = magic[:2] == b"\x1f\x8b"
        with gzip.open(path, "rb") if gzipped else path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except FileNotFoundError as error:
        raise CrossrecError(f"{path} is missing: give the path of a review file.") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise CrossrecError(f"{path.name} is a truncated or damaged gzip file: fetch it again.") from error
    except IsADirectoryError as error:
        raise CrossrecError(f"{path} is a folder: give the path of a review file.") from error
    except OSError as error:
        raise CrossrecError(f"{path} cannot be read ({error.strerror}): check its permissions.") from error
    if not magic:
        raise CrossrecError(f"{path.name} is empty: give a file with at least one line of data.")
    if b"\0" in head and magic != b"PAR1":
        raise CrossrecError(f"{path.name} is no text in UTF-8: give CSV, JSON lines or Parquet, or a gzip file of one.")
    if len(head) == _HEAD_BYTES and b"\n" in head:
        head = head[: head.rindex(b"\n")]  # the last line was cut by us, not by the file
    return head.decode("utf-8", "replace").removeprefix("\ufeff").splitlines()[:_HEAD_LINES], gzipped, magic


def _parquet_columns(path: Path) -> tuple[str, ...]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return tuple(pq.read_schema(path).names)
    except (pa.ArrowInvalid, OSError) as error:
        raise CrossrecError(f"{path.name} is a damaged Parquet file: make or fetch it again.") from error


def _object_shape(path: Path, lines: list[str], gzipped: bool) -> Shape:
    keys: dict[str, None] = {}
    objects = literals = 0
    for line in lines[:200]:
        try:
            value = json.loads(line)
            objects += isinstance(value, dict)
        except (ValueError, RecursionError):
            try:
                value = ast.literal_eval(line.strip())
                literals += isinstance(value, dict)
            except (ValueError, SyntaxError, MemoryError, RecursionError):
                continue
        if isinstance(value, dict):
            keys.update(dict.fromkeys(map(str, value)))
    if not keys:
        raise CrossrecError(
            f"{path.name} begins like JSON but none of its first lines parses (lines 1, 2, 3): one object a line is "
            "expected."
        )
    return Shape("literals" if literals > objects else "json", gzipped, columns=tuple(keys))


def _delimiter(lines: list[str]) -> str | None:
    for delimiter in ("\t", "::", ",", ";", "|"):
        if delimiter in lines[0] and sum(delimiter in line for line in lines) >= 0.5 * len(
            lines
        ):  # a quoted cell may break lines
            return delimiter
    return None


def _delimited_shape(path: Path, lines: list[str], gzipped: bool, delimiter: str) -> Shape:
    if len(delimiter) == 1:
        try:
            rows = [tuple(row) for row in csv.reader(lines, delimiter=delimiter)]
        except csv.Error as error:
            raise CrossrecError(f"{path.name} is not read as a table ({error}): check its quotes and lines.") from error
    else:
        rows = [tuple(line.split(delimiter)) for line in lines]
    first = rows[0]
    known = {name for names in SYNONYMS.values() for name in names}
    data = any(_is_number(cell) or _ASIN.fullmatch(cell) or _AMAZON_USER.fullmatch(cell) for cell in first)
    header = any(normal(cell) in known for cell in first) or not data
    columns = first if header else tuple(str(position) for position in range(1, len(first) + 1))
    lower = [column.lower() for column in columns]
    if twice := next((column for column in columns if lower.count(column.lower()) > 1), None):
        raise CrossrecError(f"{path.name} has two columns {twice[:80]!r}: give each a name of its own.")
    return Shape("delimited", gzipped, delimiter, header, columns, tuple(rows[1:] if header else rows))


def _by_name(shape: Shape) -> dict[str, str]:
    names = {normal(column): column for column in reversed(shape.columns)}
    return {role: names[found] for role, known in SYNONYMS.items() for found in [_first(known, names)] if found}


def _by_position(path: Path, shape: Shape, options: ReadOptions) -> dict[str, str]:
    """The roles in a file without a header: who is the user is told by the option, or by the ids' looks."""
    roles: dict[str, str] = {}
    if len(shape.columns) >= 4:
        roles = {"rating": "3", "time": "4"}
    elif len(shape.columns) == 3:
        late = [float(row[2]) > 1e8 for row in shape.rows if len(row) > 2 and _is_number(row[2])]
        roles = {"time" if late and sum(late) > len(late) / 2 else "rating": "3"}
    if options.user_column or options.item_column:
        other = {"1": "2", "2": "1"}
        user = options.user_column or other.get(options.item_column or "", "1")
        return roles | {"user": user, "item": options.item_column or other.get(user, "2")}
    if options.format == "2014":
        return roles | {"user": "1", "item": "2"}
    if options.format == "2018":
        return roles | {"user": "2", "item": "1"}
    pairs = [row for row in shape.rows if len(row) > 1]
    one, two = [row[0] for row in pairs], [row[1] for row in pairs]
    if _share(_AMAZON_USER, one) >= 0.9 and _share(_ASIN, two) >= 0.9:
        return roles | {"user": "1", "item": "2"}
    if _share(_ASIN, one) >= 0.9 and _share(_AMAZON_USER, two) >= 0.9:
        return roles | {"user": "2", "item": "1"}
    raise CrossrecError(
        f"{path.name} has no header and its ids do not tell which column is the user: set the format to '2014' if the "
        "columns are user, item, rating, time, or to '2018' if they are item, user, rating, time."
    )


def _share(pattern: re.Pattern[str], ids: Sequence[str]) -> float:
    return sum(pattern.fullmatch(one.strip()) is not None for one in ids) / max(len(ids), 1)


def _first(known: Sequence[str], names: dict[str, str]) -> str | None:
    return next((name for name in known if name in names), None)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
