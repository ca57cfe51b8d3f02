import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from crossrec.data.amazon import ReadOptions, Report, connect, read_events, read_items
from crossrec.errors import CrossrecError

Put = Callable[..., Path]
Event = tuple[str, str, float | None, int | None, str | None, str | None]
MS = 1_500_000_000_000


class Reader:
    def __init__(self, scratch: Path) -> None:
        scratch.mkdir()
        self.scratch = scratch
        self.connection = connect(scratch)
        self.count = 0

    def events(self, path: Path, **options: Any) -> tuple[list[Event], Report]:
        self.count += 1
        table = f"t{self.count}"
        report = read_events(self.connection, path, table, ReadOptions(**options), self.scratch)
        query = f"SELECT user_id, item_id, rating, time, title, text FROM {table} WHERE bad = 0 ORDER BY rowid"
        return self.connection.execute(query).fetchall(), report

    def items(self, path: Path) -> dict[str, tuple[Any, ...]]:
        self.count += 1
        table = f"t{self.count}"
        read_items(self.connection, path, table, ReadOptions(), self.scratch)
        found = self.connection.execute(f"SELECT item_id, title, creator, category, year FROM {table}").fetchall()
        assert len({row[0] for row in found}) == len(found)
        return {row[0]: row[1:] for row in found}


@pytest.fixture
def read(tmp_path: Path) -> Iterator[Reader]:
    reader = Reader(tmp_path / "scratch")
    yield reader
    reader.connection.close()


def user(n: int) -> str:
    return f"A{n:012d}Z"


def asin(n: int) -> str:
    return f"B{n:09d}"


def review_2023(n: int, **more: Any) -> dict[str, Any]:
    return {
        "rating": 4.0,
        "title": f"t{n}",
        "text": f"x{n}",
        "images": [],
        "asin": "B0VARIANT0",
        "parent_asin": asin(n),
        "user_id": user(n),
        "timestamp": MS + n,
    } | more


def test_2023_takes_the_parent_and_milliseconds(read: Reader, put: Put) -> None:
    path = put("r.jsonl", [review_2023(1), review_2023(2, text="", rating=None)])
    events, report = read.events(path)
    assert events == [
        (user(1), asin(1), 4.0, MS + 1, "t1", "x1"),
        (user(2), asin(2), None, MS + 2, "t2", None),
    ]
    assert (report.format, report.rows, report.skipped) == ("2023 json lines", 2, 0)


@pytest.mark.parametrize("name", ["r.json", "r.json.gz", "gzip-under-another-name"])
def test_2018_seconds_and_a_vote_with_a_comma(read: Reader, put: Put, tmp_path: Path, name: str) -> None:
    line = {"overall": 5.0, "vote": "1,234", "verified": True, "reviewerID": user(1), "asin": asin(1)}
    line |= {"reviewText": "long", "summary": "short", "unixReviewTime": 1_500_000_000}
    path = put("r.json.gz" if "gz" in name else "r.json", [line]).rename(tmp_path / name)
    events, report = read.events(path)
    assert events == [(user(1), asin(1), 5.0, MS, "short", "long")]
    assert report.format == "2018 json lines"


def test_2014_json_and_python_literals_agree(read: Reader, put: Put) -> None:
    lines = [
        {"reviewerID": user(n), "asin": asin(n), "helpful": [0, n], "reviewText": f'it\'s "{n}"', "overall": 3.0}
        | {"summary": None, "unixReviewTime": 1_300_000_000 + n}
        for n in range(5)
    ]
    plain, about = read.events(put("a.json", lines))
    for name in ("b.json", "b.json.gz"):
        literal, report = read.events(put(name, [repr(line) for line in lines]))
        assert literal == plain and len(plain) == 5 and plain[3][3] == 1_300_000_003_000
        assert (about.format, report.format) == ("2014 json lines", "2014 python literals")


def test_python_literals_are_never_evaluated(read: Reader, put: Put, tmp_path: Path) -> None:
    good = [repr({"reviewerID": user(n), "asin": asin(n), "overall": 3.0, "summary": None}) for n in range(200)]
    evil = f"{{'reviewerID': __import__('pathlib').Path({str(tmp_path / 'evil')!r}).touch(), 'asin': 'x'}}"
    events, report = read.events(put("a.json", [*good, evil]))
    assert len(events) == 200 and report.skipped == 1
    assert not (tmp_path / "evil").exists()


def test_the_benchmark_csv(read: Reader, put: Put) -> None:
    lines = ["user_id,parent_asin,rating,timestamp,history", f"{user(1)},{asin(1)},5.0,{MS},{asin(2)} {asin(3)}"]
    assert read.events(put("b.csv", lines))[0] == [(user(1), asin(1), 5.0, MS, None, None)]


def test_headerless_ratings_tell_their_order_by_the_ids(read: Reader, put: Put) -> None:
    one = [f"{user(n)},{asin(n)},4.0,1400000000" for n in range(20)]
    two = [f"{asin(n)},{user(n)},4.0,1400000000" for n in range(20)]
    first, report = read.events(put("2014.csv", one))
    assert first == read.events(put("2018.csv", two))[0]
    assert first[7] == (user(7), asin(7), 4.0, 1_400_000_000_000, None, None) and len(first) == 20
    assert report.format == "csv without header"


def test_headerless_ratings_in_doubt_are_refused_until_an_option_settles_it(read: Reader, put: Put) -> None:
    path = put("x.csv", ["1,2,4.0,1400000000", "3,4,4.0,1400000000"])
    with pytest.raises(CrossrecError, match=r"format to '2014' .* '2018'"):
        read.events(path)
    assert [event[:2] for event in read.events(path, format="2014")[0]] == [("1", "2"), ("3", "4")]
    assert [event[:2] for event in read.events(path, format="2018")[0]] == [("2", "1"), ("4", "3")]
    assert [event[:2] for event in read.events(path, item_column="1")[0]] == [("2", "1"), ("4", "3")]


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("a.csv", ["user,item,rating,timestamp", "u 1,i1,3,1500000000"]),
        ("a.tsv.gz", ["user_id:token\titem_id:token\trating:float\ttimestamp:float", "u 1\ti1\t3\t1500000000"]),
        ("a.jsonl", [{"user": "u 1", "item": "i1", "rating": 3, "time": "2017-07-14T02:40:00Z"}]),
        ("quoted.csv", ['time,"item",rating,user', '2017-07-14 02:40:00,i1,"3",u 1']),
    ],
)
def test_plain_tables(read: Reader, put: Put, name: str, lines: list[Any]) -> None:
    assert read.events(put(name, lines))[0] == [("u 1", "i1", 3.0, MS, None, None)]


def test_movielens_separator(read: Reader, put: Put) -> None:
    events, _ = read.events(put("r.dat", ["1::10::5::978300760", "2::20::3::978302109"]), format="2014")
    assert events[1] == ("2", "20", 3.0, 978302109000, None, None)


def test_parquet_and_its_times(read: Reader, tmp_path: Path) -> None:
    table = pa.table(
        {
            "user_id": [7, 8],
            "item_id": ["a", "b"],
            "rating": [1.5, float("nan")],
            "time": pa.array([MS * 1000, None], pa.timestamp("us")),
        }
    )
    pq.write_table(table, tmp_path / "e.parquet")
    events, report = read.events(tmp_path / "e.parquet")
    assert events == [("7", "a", 1.5, MS, None, None), ("8", "b", None, None, None, None)]
    assert report.format == "parquet"


def test_sequences_keep_their_order_and_have_no_time(read: Reader, put: Put) -> None:
    lines = ["u2 c a b", "", "u1   a  c d e\t"]
    for name in ("s.txt", "s.txt.gz"):
        events, report = read.events(put(name, lines))
        assert [event[:2] for event in events] == [("u2", i) for i in "cab"] + [("u1", i) for i in "acde"]
        assert {event[2:] for event in events} == {(None, None, None, None)}
        assert report.format == "sequences"


def test_whitespace_columns_are_not_taken_for_sequences(read: Reader, put: Put) -> None:
    path = put("x.txt", ["1 10 5", "2 20 3"])
    with pytest.raises(CrossrecError, match="set the format to 'sequences'"):
        read.events(path)
    assert len(read.events(path, format="sequences")[0]) == 4


def test_the_order_of_a_large_file_is_kept(read: Reader, put: Put) -> None:
    lines = [{"user": f"u{n % 7}", "item": f"i{n}", "text": "x" * 50} for n in range(60_000)]
    events, _ = read.events(put("large.jsonl", lines))
    assert [event[1] for event in events] == [f"i{n}" for n in range(60_000)]


def test_seconds_become_milliseconds_below_1e11(read: Reader, put: Put) -> None:
    times = [99_999_999_999, 100_000_000_000, 0, "1500000000.5"]
    events, _ = read.events(put("t.jsonl", [{"user": "u", "item": "i", "time": t} for t in times]))
    assert [event[3] for event in events] == [99_999_999_999_000, 100_000_000_000, 0, 1_500_000_000_500]


def test_one_unreadable_line_in_a_hundred_is_skipped_and_two_stop(read: Reader, put: Put) -> None:
    lines: list[Any] = [{"user": f"u{n}", "item": "i"} for n in range(99)]
    events, report = read.events(put("one.jsonl", [*lines[:40], '{"user": "secret', *lines[40:]]))
    assert len(events) == 99 and (report.rows, report.skipped) == (100, 1)
    lines = [*lines[:10], "{bad secret", "", "{bad secret", *lines[10:80], "[1]", "{"]
    with pytest.raises(CrossrecError, match=r"4 of 84 lines cannot be read \(first line 11, 13, 84\)") as raised:
        read.events(put("two.jsonl", lines))
    assert "secret" not in str(raised.value)


def test_csv_rows_that_do_not_fit_the_columns_count_as_unreadable(read: Reader, put: Put) -> None:
    lines = ["user,item,rating", *[f"u{n},i,3" for n in range(200)], "u,i,3,4,5"]
    events, report = read.events(put("a.csv", lines))
    assert len(events) == 200 and (report.rows, report.skipped) == (201, 1)
    with pytest.raises(CrossrecError, match=r"2 of 3 lines cannot be read \(first line 2, 4\)"):
        read.events(put("b.csv", ["user,item,rating", "u", "v,i,3", "w,i,3,4"]))


def test_ratings_and_times_that_are_not_numbers_stop(read: Reader, put: Put) -> None:
    with pytest.raises(CrossrecError, match=r"1 of 2 values in the rating column 'stars' .* \(first on line 3\)"):
        read.events(put("a.csv", ["user,item,stars", "u,i,", "u,j,good"]))
    with pytest.raises(CrossrecError, match=r"2 of 2 values in the time column 'time' .* \(first on line 1, 2\)"):
        read.events(put("b.jsonl", [{"user": "u", "item": "i", "time": t} for t in ("soon", 1e15)]))


def test_files_that_are_not_there_or_hold_nothing(read: Reader, put: Put, tmp_path: Path) -> None:
    cases: list[tuple[Path, str]] = [
        (tmp_path / "no.csv", "no.csv is missing"),
        (tmp_path, "is a folder"),
        (put("empty.csv", []), "is empty"),
        (put("blank.jsonl.gz", ["", " "]), "is empty"),
        (put("header.csv", ["user,item"]), "no row of data"),
        (put("array.json", ["[", "{}", "]"]), "one object on each line"),
    ]
    for path, told in cases:
        with pytest.raises(CrossrecError, match=told) as raised:
            read.events(path)
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize("kind", ["jsonl", "csv", "literals"])
def test_a_truncated_gzip(read: Reader, tmp_path: Path, kind: str) -> None:
    lines = {
        "jsonl": [json.dumps(review_2023(n, text=str(hash((n, n)))) | {"x": n**5}) for n in range(90_000)],
        "csv": ["user,item", *[f"u{n**5},i{hash((n, n))}" for n in range(200_000)]],
        "literals": [repr({"reviewerID": user(n), "asin": asin(n), "s": n**9, "n": None}) for n in range(60_000)],
    }[kind]
    whole = gzip.compress("\n".join(lines).encode(), 1)
    path = tmp_path / f"cut.{kind}.gz"
    for part in (0.9, 0.001):
        path.write_bytes(whole[: int(len(whole) * part)])
        with pytest.raises(CrossrecError, match="truncated or damaged gzip"):
            read.events(path)


def test_columns_of_other_names_are_named(read: Reader, put: Put) -> None:
    path = put("a.csv", ["customer,thing,stars", "u,i,3"])
    with pytest.raises(CrossrecError, match=r"user's id: its columns are customer, thing, stars; .*user_column"):
        read.events(path)
    with pytest.raises(CrossrecError, match=r"no column 'customers' .* customer, thing, stars"):
        read.events(path, user_column="customers")
    assert read.events(path, user_column="customer", item_column="thing")[0][0][:3] == ("u", "i", 3.0)


def test_swapped_columns_are_suspected_and_an_option_overrides(read: Reader, put: Put) -> None:
    path = put("a.csv", ["user_id,item_id", *[f"{asin(n)},{user(n)}" for n in range(10)]])
    with pytest.raises(CrossrecError, match=r"look swapped.*B0.*user_column and item_column"):
        read.events(path)
    assert read.events(path, user_column="user_id", item_column="item_id")[0][0][0] == asin(0)
    assert read.events(path, user_column="item_id", item_column="user_id")[0][0][0] == user(0)


def test_other_encodings_are_told(read: Reader, tmp_path: Path) -> None:
    path = tmp_path / "latin.csv"
    path.write_bytes(b"user,item,text\n" + b"u,i,caf\xe9\n" * 20)
    with pytest.raises(CrossrecError, match=r"UTF-8|cannot be read"):
        read.events(path)


def test_unknown_options_name_the_nearest() -> None:
    with pytest.raises(CrossrecError, match="Did you mean 'sequences'"):
        ReadOptions(format="sequence")
    with pytest.raises(CrossrecError, match="Did you mean 'user_column'"):
        ReadOptions.from_dict({"user_colum": "u"})


def test_items_2023(read: Reader, put: Put) -> None:
    lines: list[dict[str, Any]] = [
        {"main_category": "Books", "title": "A &amp; B", "store": "S", "parent_asin": "a", "categories": []}
        | {"details": {"Publisher": "P (January 1, 2010)"}},
        {"main_category": None, "title": None, "store": None, "categories": ["X", "Y"], "parent_asin": "b"},
        {"parent_asin": "b", "title": "a second row"},
        {"parent_asin": "c", "author": {"name": "N"}, "details": {}},
    ]
    assert read.items(put("m.jsonl", lines)) == {
        "a": ("A & B", "S", "Books", 2010),
        "b": (None, None, "X", None),
        "c": (None, "N", None, None),
    }


def test_items_2014_and_2018(read: Reader, put: Put) -> None:
    old = [{"asin": "a", "title": "T's", "brand": "M", "categories": [["X", "Y"], ["Z"]]}, {"asin": "b", "price": 3.5}]
    expected = {"a": ("T's", "M", "X", None), "b": (None, None, None, None)}
    assert read.items(put("m.json.gz", [repr(line) for line in old])) == expected
    new = {"asin": "a", "title": "T", "brand": "M", "category": ["X", "Y"], "date": "August 2, 2011"}
    script = {"asin": "b", "title": "var t = new Date().getTime();", "category": []}
    assert read.items(put("n.json", [new, script])) == {"a": ("T", "M", "X", 2011), "b": (None, None, None, None)}


def test_items_csv(read: Reader, put: Put) -> None:
    lines = ["item_id,title", '01,"One, two"', "02,", "01,again"]
    found = {"01": ("One, two", None, None, None), "02": (None, None, None, None)}
    assert read.items(put("m.csv.gz", lines)) == found
    full = ["movie_id,title,genres,year", "1,T,Action|Comedy,1995"]
    assert read.items(put("g.csv", full)) == {"1": ("T", None, "Action", 1995)}
    with pytest.raises(CrossrecError, match=r"no column of item ids: its columns are title, price"):
        read.items(put("n.csv", ["title,price", "x,2"]))
