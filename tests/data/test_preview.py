"""A first look at files of every kind."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from crossrec.data import preview as previews
from crossrec.data.preview import preview
from crossrec.data.sniff import ReadOptions
from crossrec.errors import CrossrecError

Put = Callable[..., Path]


def test_the_columns_of_a_table_are_recognised(put: Put) -> None:
    found = preview(put("a.csv", ["user_id,item_id,stars,note", *(f"u{n},i{n},5,{'x' * 500}" for n in range(50))]))
    assert found.kind == "csv" and found.problem is None
    assert {role: name for role, name in found.roles.items() if name} == {
        "user": "user_id",
        "item": "item_id",
        "rating": "stars",
    }
    assert len(found.rows) == previews.ROWS and found.rows[0]["user_id"] == "u0"
    assert len(found.rows[0]["note"]) == previews.CELL + 1


def test_what_is_not_recognised_is_said_and_a_mapping_settles_it(put: Put) -> None:
    path = put("a.jsonl.gz", [{"who": "u1", "what": "i1", "rating": 4, "headline": "good"}])
    found = preview(path)
    assert found.problem is not None and "user_column" in found.problem
    assert (found.roles["user"], found.roles["rating"], found.roles["title"]) == (None, "rating", "headline")
    assert found.rows == [{"who": "u1", "what": "i1", "rating": "4", "headline": "good"}]
    settled = preview(path, ReadOptions(user_column="who", item_column="what", title_column="who"))
    assert settled.problem is None
    assert (settled.roles["user"], settled.roles["item"], settled.roles["title"]) == ("who", "what", "who")


def test_parquet_and_its_odd_names(tmp_path: Path) -> None:
    table = pa.table({"user_id": ["a", None], "item_id": [1, 2], 'od"d': [b"\x00", b"x"], "list": [[1], [2, 3]]})
    pq.write_table(table, tmp_path / "it's.parquet")
    found = preview(tmp_path / "it's.parquet")
    assert found.kind == "parquet" and found.rows[1] == {"user_id": "", "item_id": "2", 'od"d': "x", "list": "[2, 3]"}


def test_sequences_have_no_columns_and_nonsense_is_refused(put: Put) -> None:
    found = preview(put("a.txt", ["u1 3 4 5", "u2 8 9 1 2"]))
    assert (found.kind, found.columns, found.rows) == ("sequences", (), [])
    with pytest.raises(CrossrecError, match="no text in UTF-8"):
        preview(put("b.csv", ["\0\0,\0"]))
