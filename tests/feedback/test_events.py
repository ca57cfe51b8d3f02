"""Files of logged events: every kind reads the same, every bad row is counted and told, and nothing is made up."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from crossrec.errors import CrossrecError
from crossrec.feedback import events as module
from crossrec.feedback.events import SYNONYMS, read_events
from crossrec.feedback.log import FeedbackLog, LoggedSlate
from crossrec.feedback.ope import Target, judge

ROWS = [
    {"session": "a", "item": "i1", "action": "click", "propensity": 0.5, "position": 0, "time": 1_700_000_000},
    {"session": "a", "item": "i2", "action": "skip", "propensity": 0.25, "position": 1, "time": 1_700_000_001},
    {"session": "b", "item": "i1", "action": "like", "propensity": 1.0, "position": 0, "time": 1_700_000_002},
]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    """In the format of the suffix, gzipped where it ends so."""
    kind = path.name.removesuffix(".gz").rsplit(".", 1)[1]
    if kind == "parquet":
        pd.DataFrame(rows).to_parquet(path)
        return path
    if kind == "jsonl":
        text = "".join(json.dumps(row) + "\n" for row in rows)
    else:
        text = pd.DataFrame(rows).to_csv(index=False, sep="\t" if kind == "tsv" else ",")
    opened: Any = gzip.open if path.suffix == ".gz" else open
    with opened(path, "wt", encoding="utf-8", newline="") as file:
        file.write(text)
    return path


@pytest.mark.parametrize("name", ["e.csv", "e.tsv", "e.jsonl", "e.parquet", "e.csv.gz", "e.jsonl.gz"])
def test_every_kind_of_file_reads_the_same(name: str, tmp_path: Path) -> None:
    found = read_events(write(tmp_path / name, ROWS))
    assert (found.rows, found.failed, found.waiting, found.errors, found.assumed) == (3, 0, 0, (), None)
    assert found.columns == {role: role for role in ROWS[0]}
    assert found.frame["session"].tolist() == ["a", "a", "b"]
    assert found.frame["item"].tolist() == ["i1", "i2", "i1"]
    assert found.frame["reward"].tolist() == [0.3, 0.0, 1.0]
    assert found.frame["propensity"].tolist() == [0.5, 0.25, 1.0]
    assert found.frame["position"].tolist() == [0, 1, 0]
    assert found.frame["time"].tolist() == [1_700_000_000_000, 1_700_000_001_000, 1_700_000_002_000]
    log = found.logged()
    assert log.rewards.tolist() == [0.3, 0.0, 1.0]
    assert log.propensities.tolist() == [0.5, 0.25, 1.0]
    assert log.groups is not None
    assert log.groups.tolist() == [0, 0, 1]


def test_columns_by_their_usual_names_and_by_a_mapping(tmp_path: Path) -> None:
    rows = [{"user_id": "u", "asin": "i", "event_type": "click", "pscore": 0.5, "timestamp": "2023-11-14T22:13:20Z"}]
    found = read_events(write(tmp_path / "a.csv", rows))
    assert found.columns == {
        "user": "user_id",
        "item": "asin",
        "action": "event_type",
        "propensity": "pscore",
        "time": "timestamp",
    }
    assert found.frame["session"].tolist() == ["u"], "the user stands for the session"
    assert found.frame["time"].tolist() == [1_700_000_000_000]
    odd = write(tmp_path / "b.csv", [{"who": "u", "item": "i", "what": "click", "p": 0.5, "gain": 2}])
    found = read_events(odd, {"user": "who", "action": "what", "propensity": "p", "reward": "gain"})
    assert found.frame[["session", "action", "propensity", "reward"]].values.tolist() == [["u", "click", 0.5, 2.0]]
    for columns, said in [
        ({"user": "who"}, "no column known as the action or reward: its columns are who, item, what, p, gain"),
        ({"user": "whom"}, "no column 'whom' for the user. Did you mean 'who'?"),
        ({"usr": "who"}, "no role 'usr' for a column of events. Did you mean 'user'?"),
    ]:
        with pytest.raises(CrossrecError) as caught:
            read_events(odd, columns)
        assert said in str(caught.value)


@pytest.mark.parametrize("name", ["e.csv", "e.jsonl", "e.parquet"])
def test_slate_user_policy_and_candidates_are_kept_where_they_are(name: str, tmp_path: Path) -> None:
    about = {"session": "a", "user_id": "u", "slate": 7, "policy": "p", "action": "click"}
    chosen: Any = [["i1", "i2"], ["i1", "i2"], None]
    rows = [about | {"item_id": "i1", "item": 5, "candidate_ids": one, "candidates": [5, 6]} for one in chosen]
    if name == "e.csv":
        rows = [row | {"candidate_ids": row["candidate_ids"] and json.dumps(row["candidate_ids"])} for row in rows]
    found = read_events(write(tmp_path / name, rows))
    assert found.frame[["session", "user", "slate", "policy"]].iloc[0].tolist() == ["a", "u", "7", "p"]
    assert found.frame["item"].tolist() == ["i1"] * 3, "ids go before numbers"
    assert found.frame["candidates"].tolist() == [("i1", "i2"), ("i1", "i2"), None]
    assert found.frame["candidates"][0] is found.frame["candidates"][1]
    assert found.frame["line"].tolist() == ([2, 3, 4] if name == "e.csv" else [1, 2, 3])
    bare = read_events(write(tmp_path / f"bare-{name}", ROWS)).frame
    assert bare[["user", "slate", "policy", "candidates"]].isna().all(axis=None)


def test_candidates_that_are_no_list_and_half_characters(tmp_path: Path) -> None:
    path, row = tmp_path / "a.csv", "s,i1,click,"
    bad = ["i1", '"{""a"": 1}"', '"[[""i1""]]"', "[" * 3000, '"[1.5]"', "[" + "9" * 5000 + "]"]
    path.write_text("session,item,action,candidates\n" + "".join(f"{row}{one}\n" for one in [*bad, "[]", '"[1, 2]"']))
    found = read_events(path)
    assert (found.failed, len(found.frame)) == (6, 2)
    assert found.errors[0] == "line 2: the candidates 'i1' are no list of item ids."
    assert all(error.endswith("are no list of item ids.") and len(error) < 120 for error in found.errors)
    assert found.frame["candidates"].tolist() == [None, ("1", "2")], "of an empty list nothing was chosen: unknown"
    half = tmp_path / "b.jsonl"
    half.write_text('{"session": "a\\ud800", "item": "i", "action": "click"}\n')
    assert read_events(half).frame["session"].tolist() == ["a?"], "which a file can keep"


def test_keys_that_come_late_in_json_lines_count(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"session": "a", "item": 1, "action": "click"}] * 300
    found = read_events(write(tmp_path / "a.jsonl", [*rows, {**rows[0], "propensity": 0.5}, {**rows[0], "reward": 7}]))
    assert found.frame["propensity"].notna().sum() == 1
    assert found.frame["reward"].tolist()[-2:] == [0.3, 7.0]


def test_bad_rows_are_counted_and_told_with_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(
        "session,item,action,propensity,position,time,reward\n"
        "a,i1,click,0.5,0,1700000000,\n"
        "a,i1,clik,0.5,0,1700000000,\n"
        "\n"
        "a,,click,0.5,0,1700000000,\n"
        ",i1,click,0.5,0,1700000000,\n"
        "a,i1,click,0,0,1700000000,\n"
        "a,i1,click,1.5,0,1700000000,\n"
        "a,i1,click,half,0,1700000000,\n"
        "a,i1,click,0.5,-1,1700000000,\n"
        "a,i1,click,0.5,0,yesterday,\n"
        "a,i1,click,0.5,0,1700000000,inf\n"
        "a,i1,click\n"
        "a,i1,,0.5,0,1700000000,\n"
        'a,"i\n2",wave,0.5,0,2023-11-14,2.5\n'
        "a,i1,zzz,,,,\n"
    )
    found = read_events(path)
    assert (found.rows, found.failed, found.waiting, len(found.frame)) == (14, 11, 1, 2)
    assert found.errors == (
        "line 3: the action 'clik' has no reward. Did you mean 'click'?",
        "line 5: it has no item.",
        "line 6: it has neither a session nor a user.",
        "line 7: the propensity 0 is not above 0 and at most 1.",
        "line 8: the propensity 1.5 is not above 0 and at most 1.",
        "line 9: the propensity 'half' is not a number.",
        "line 10: the position -1 is not a whole number from 0 up.",
        "line 11: the time 'yesterday' is neither seconds nor milliseconds since 1970 nor an ISO date.",
        "line 12: the reward 'inf' is not a number.",
        "line 13: it has 3 cells, the first line 7.",
    ), "the eleventh is counted"
    assert found.frame["action"].tolist() == ["click", "wave"], "with a reward any action will do"
    assert found.frame["reward"].tolist() == [0.3, 2.5]
    assert read_events(path, rewards={"click": 5.0, "zzz": 1.0}).frame["reward"].tolist() == [5.0, 2.5, 1.0]


def test_bad_lines_of_json_and_rows_of_parquet(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"session": "a", "item": 5, "action": "click"}\n\n{"session": "a", \n[1]\n' + "[" * 5000 + "\n")
    found = read_events(path)
    assert found.errors == tuple(f"line {line}: it is no JSON object." for line in (3, 4, 5))
    assert found.frame["item"].tolist() == ["5"]
    table = write(tmp_path / "a.parquet", [*ROWS, {**ROWS[0], "propensity": 2.0}])
    assert read_events(table).errors == ("row 4: the propensity 2 is not above 0 and at most 1.",)


def test_without_propensities_it_says_what_would_be_assumed(tmp_path: Path) -> None:
    rows = [{"session": s, "item": i, "action": a} for s in "abcd" for i, a in [("x", "click"), ("y", "skip")]]
    found = read_events(write(tmp_path / "a.csv", rows * 20))
    assert found.assumed is not None
    assert found.assumed.startswith(
        "No row has a propensity: an evaluation would have to assume that each item was drawn"
    )
    assert "uniformly from the 2 items of the log" in found.assumed
    assert found.assumed.endswith("no evidence.")
    assert "160 of 160 rows have no propensity" in judge(found.logged(), Target("t", np.full(160, 0.5))).verdict
    assert found.logged(uniform_over=4).propensities.tolist() == [0.25] * 160
    some = read_events(
        write(tmp_path / "b.csv", [{**row, "propensity": 0.5 if row["item"] == "x" else None} for row in rows])
    )
    assert some.assumed is not None
    assert some.assumed.startswith("4 of 8 rows have no propensity")
    assert some.logged(uniform_over=4).propensities.tolist() == [0.5, 0.25] * 4
    with pytest.raises(CrossrecError, match="drawn from 0 items"):
        found.logged(uniform_over=0)


def test_a_file_can_bring_the_policy_that_is_judged(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = []
    for number in range(2000):
        arm = int(rng.random() < 0.5)
        reward = float(rng.random() < (0.6 if arm else 0.2))
        rows.append({"session": number // 4, "item": arm, "reward": reward, "propensity": 0.5, "pi_e": 0.2 + 0.6 * arm})
    found = read_events(write(tmp_path / "a.parquet", rows))
    judged = judge(found.logged(), found.target("bold"))
    assert judged.refusals == ()
    assert judged.diagnostics["bold"].groups == 500
    value = judged.estimates["bold"]["IPS"]
    assert value.low < 0.8 * 0.6 + 0.2 * 0.2 < value.high
    assert judged.verdict.startswith("'bold' would have earned")
    with pytest.raises(CrossrecError, match="3 of 3 rows do not say how probable the item is under 'bold'"):
        read_events(write(tmp_path / "b.csv", ROWS)).target("bold")


def test_what_the_log_exports_is_such_a_file(tmp_path: Path) -> None:
    log = FeedbackLog(tmp_path / "feedback.db")
    for session in ("=a", "b"):
        log.show(LoggedSlate(session, "p", "1", [1, 2, 3], [3, 1], [0.25, None], time=1_700_000_000_000))
    log.react("=a", 0, 0, "click", 0.3)
    log.react("b", 0, 1, "like", 1.0)
    for name in ("e.csv", "e.jsonl", "e.parquet"):
        log.export(tmp_path / name)
        found = read_events(tmp_path / name)
        assert (found.rows, found.failed, found.waiting) == (4, 0, 2), name
        assert found.frame["session"].tolist() == ["=a", "b"]
        assert found.frame["item"].tolist() == ["3", "1"]
        assert found.frame["action"].tolist() == ["click", "like"]
        assert found.frame["reward"].tolist() == [0.3, 1.0]
        assert found.frame["propensity"].tolist() == pytest.approx([0.25, np.nan], nan_ok=True)
        assert found.frame["time"].tolist() == [1_700_000_000_000] * 2


def test_a_file_beyond_the_limits_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = write(tmp_path / "a.csv", ROWS)
    for name, limit in (("MAX_ROWS", 2), ("MAX_BYTES", 50), ("MAX_LINE", 20)):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, limit)
            with pytest.raises(CrossrecError, match=r"a\.csv is too large: at most"):
                read_events(small)
    packed = write(tmp_path / "b.csv.gz", ROWS * 2000)
    monkeypatch.setattr(module, "MAX_BYTES", 20 * packed.stat().st_size)
    with pytest.raises(CrossrecError, match=r"b\.csv\.gz is too large"):
        read_events(packed)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", b"", "is empty"),
        ("a.csv", b"a,1,0.5\nb,2,0.5\n", "no first line that names its columns"),
        ("a.csv", b"session,item,action\n", "no event that can be used, in 0 rows."),
        ("a.csv", b"session,item,action\na,i,\n", "Nobody has reacted"),
        (
            "a.csv",
            b"session,item,action\na,i,hop\n",
            "in 1 rows. The first error: line 2: the action 'hop' has no reward",
        ),
        ("a.csv", b"session::item::action\na::i::click\n", "no table of events"),
        ("a.csv", b"session,item,action\na,i,\xff\n", "not in UTF-8"),
        (
            "a.csv",
            b"session,item,action\n" + b"a,i,click\n" * 3000 + b"b," + b"x" * 200_000 + b",click\n",
            "not read as a table beyond line 3",
        ),
        ("a.jsonl", b'[{"session": 1}]', "one JSON array"),
        ("a.csv.gz", gzip.compress(b"session,item,action\n" + b"a,i,click\n" * 9, mtime=0)[:-9], "damaged gzip"),
        ("a.parquet", b"PAR1" + bytes(50) + b"PAR1", "damaged Parquet"),
    ],
)
def test_a_file_that_cannot_be_read_is_told(name: str, content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CrossrecError) as caught:
        read_events(tmp_path / name)
    assert said in str(caught.value)


def test_each_name_of_a_column_has_one_role() -> None:
    names = [name for known in SYNONYMS.values() for name in known]
    assert len(names) == len(set(names))
    with pytest.raises(CrossrecError, match="is missing"):
        read_events(Path("/nowhere/a.csv"))
