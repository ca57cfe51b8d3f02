import random
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dataset_rows import rows, triples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crossrec import paths
from crossrec.data import folder as folders
from crossrec.data.prepare import PrepareOptions, ReadOptions, describe, import_pair, list_datasets, write_tables
from crossrec.errors import CrossrecError

Put = Callable[..., Path]
Pair = tuple[str, str]
FILES = ("users", "source.events", "target.events", "source.items", "target.items")
pytestmark = pytest.mark.usefixtures("home")


def frame(pairs: list[Pair], **columns: list[Any]) -> pd.DataFrame:
    return pd.DataFrame({"user_id": [u for u, _ in pairs], "item_id": [i for _, i in pairs], **columns})


def write(source: list[Pair] | None, target: list[Pair], name: str = "d", **more: Any) -> dict[str, Any]:
    """Writes pairs in their order as a dataset and returns its dataset.json."""
    options = PrepareOptions(**more)
    events = {"target": frame(target)} | ({} if source is None else {"source": frame(source)})
    folder = write_tables(name, events, {}, labels=("S", "T"), options=options, replace=True)
    meta: dict[str, Any] = paths.read_json(folder / "dataset.json")
    return meta


def pairs_of(name: str, domain: str) -> list[Pair]:
    return [(user, item) for user, item, _ in triples(name, domain)]


def random_pairs(seed: int, users: int = 40, items: int = 25, events: int = 300) -> list[Pair]:
    draw = random.Random(seed)
    return [(f"u{draw.randrange(users):02d}", f"i{draw.randrange(items):02d}") for _ in range(events)]


def test_the_folder_is_as_documented(put: Put) -> None:
    source = put(
        "Books.jsonl",
        [
            {"user_id": "b", "item_id": "y", "timestamp": 1_500_000_002, "rating": 4, "text": "late"},
            {"user_id": "b", "item_id": "x", "timestamp": 1_500_000_001, "rating": None, "text": None},
            {"user_id": "a", "item_id": "y", "timestamp": 1_500_000_003, "rating": 2.5, "review_title": "hm"},
        ],
    )
    target = put("Films.csv", ["user,item", "c,z", "b,w", "c,w"])
    items = put("m.csv", ["item_id,title", "y,Why", "unused,No"])
    told: list[dict[str, Any]] = []
    folder = import_pair("d", source, target, source_items=items, on_event=told.append)

    assert folder == paths.datasets() / "d"
    assert sorted(path.name for path in folder.iterdir()) == sorted([*(f"{f}.parquet" for f in FILES), "dataset.json"])
    assert rows("d", "users") == [
        {"user": 0, "user_id": "a", "source_events": 1, "target_events": 0},
        {"user": 1, "user_id": "b", "source_events": 2, "target_events": 1},
        {"user": 2, "user_id": "c", "source_events": 0, "target_events": 2},
    ]
    first, second, third = 1_500_000_003_000, 1_500_000_001_000, 1_500_000_002_000
    assert rows("d", "source.events") == [
        {"user": 0, "item": 2, "rating": 2.5, "time": first, "title": "hm", "text": None},
        {"user": 1, "item": 1, "rating": None, "time": second, "title": None, "text": None},
        {"user": 1, "item": 2, "rating": 4.0, "time": third, "title": None, "text": "late"},
    ]
    nothing = {"creator": None, "category": None, "year": None}
    assert rows("d", "source.items") == [
        {"item": 1, "item_id": "x", "title": None, **nothing},
        {"item": 2, "item_id": "y", "title": "Why", **nothing},
    ]
    assert triples("d", "target") == [("b", "w", None), ("c", "z", None), ("c", "w", None)]
    for file, schema in zip(FILES, (folders.USERS, *[folders.EVENTS] * 2, *[folders.ITEMS] * 2), strict=True):
        assert pq.read_schema(folder / f"{file}.parquet").equals(schema)
        assert pq.read_metadata(folder / f"{file}.parquet").row_group(0).column(0).compression == "ZSTD"

    meta = paths.read_json(folder / "dataset.json")
    assert meta["format"] == 1 and meta["name"] == "d" and len(meta["hash"]) == 64
    assert meta["domains"]["source"] == {
        "name": "Books",
        "has_rating": True,
        "has_text": True,
        "has_time": True,
        "events": 3,
        "users": 2,
        "items": 2,
        "first_time": second,
        "last_time": first,
    }
    film = meta["domains"]["target"]
    assert (film["name"], film["has_rating"], film["has_text"], film["has_time"]) == ("Films", False, False, False)
    assert (film["first_time"], film["last_time"]) == (None, None)
    assert meta["counts"] == {
        "users": 3,
        "overlap_users": 1,
        "source_users": 2,
        "target_users": 2,
        "source_events": 3,
        "target_events": 3,
        "source_items": 2,
        "target_items": 2,
    }
    assert meta["origin"]["source"]["file"] == "Books.jsonl" and meta["origin"]["target"]["format"] == "csv"
    assert [{"event": "step", **step} for step in meta["steps"]] == [e for e in told if e["event"] == "step"]
    assert told[-1]["event"] == "done" and told[-1]["counts"] == meta["counts"]


def test_a_single_domain_has_an_empty_source(put: Put) -> None:
    folder = import_pair("s", None, put("s.txt", ["2 5 4", "1 4 5 6"]))
    meta = paths.read_json(folder / "dataset.json")
    assert triples("s") == [("1", "4", None), ("1", "5", None), ("1", "6", None), ("2", "5", None), ("2", "4", None)]
    assert rows("s", "source.events") == [] and rows("s", "source.items") == []
    assert meta["counts"]["source_events"] == 0 and meta["counts"]["overlap_users"] == 0
    assert describe("s")["derived"]["source"]["events_per_user"] == 0


def test_the_earliest_of_a_repeated_pair_is_kept_by_time_then_row() -> None:
    pairs = [("u", "i"), ("u", "i"), ("u", "i"), ("u", "j")]
    table = frame(pairs, time=[30, 10, 10, 20], text=["late", "first", "second", "other"])
    write_tables("d", {"target": table}, {}, labels=("", "T"))
    assert [(row["time"], row["text"]) for row in rows("d", "target.events")] == [(10, "first"), (20, "other")]
    write_tables("e", {"target": table.drop(columns="time")}, {}, labels=("", "T"))
    assert [row["text"] for row in rows("e", "target.events")] == ["late", "other"]


def test_one_missing_time_makes_the_domain_ordered_by_row_and_is_recorded() -> None:
    pairs = [("u", "c"), ("u", "a"), ("u", "b")]
    table = frame(pairs, time=pd.array([30, None, 10], dtype="Int64"))
    folder = write_tables("d", {"target": table}, {}, labels=("", "T"))
    assert triples("d") == [("u", "c", None), ("u", "a", None), ("u", "b", None)]
    meta = paths.read_json(folder / "dataset.json")
    assert not meta["domains"]["target"]["has_time"]
    assert [step["without_time"] for step in meta["steps"] if step["step"] == "no_time"] == [1]


def test_a_rating_of_zero_and_missing_ids_are_dropped_and_counted(put: Put) -> None:
    lines = ["user,item,rating", "u,i,0.0", "u,j,1", ",k,2", "v,,2", "v,j,"]
    folder = import_pair("d", None, put("r.csv", lines))
    assert [(user, item) for user, item, _ in triples("d")] == [("u", "j"), ("v", "j")]
    dropped = {step["step"]: step["dropped"] for step in paths.read_json(folder / "dataset.json")["steps"]}
    assert (dropped["no_id"], dropped["rating_0"]) == (2, 1)


def test_min_rating_drops_the_lower_and_the_unrated(put: Put) -> None:
    path = put("r.csv", ["user,item,rating", "u,a,2.9", "u,b,3", "u,c,", "u,d,5"])
    import_pair("d", None, path, options=PrepareOptions(min_rating=3))
    assert [item for _, item, _ in triples("d")] == ["b", "d"]
    unrated = put("n.csv", ["user,item", "u,a"])
    with pytest.raises(CrossrecError, match="no ratings, so min_rating cannot apply"):
        import_pair("e", None, unrated, options=PrepareOptions(min_rating=3))


def brute_core(source: set[Pair], target: set[Pair], k: int, overlap: bool) -> tuple[set[Pair], set[Pair]]:
    """One drop at a time, in an order of its own: the fixed point does not depend on it."""
    domains = [set(source), set(target)]
    while True:
        for at, here in enumerate(domains):
            users, items = Counter(u for u, _ in here), Counter(i for _, i in here)
            others = {u for u, _ in domains[1 - at]}
            bad = [p for p in here if users[p[0]] < k or items[p[1]] < k or (overlap and p[0] not in others)]
            if bad:
                here.remove(max(bad))
                break
        else:
            return domains[0], domains[1]


PAIRS = st.lists(st.tuples(st.sampled_from("abcdefg"), st.sampled_from("vwxyz")), min_size=1, max_size=40)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(PAIRS, PAIRS, st.integers(1, 4), st.booleans())
def test_the_core_is_that_of_an_independent_count(
    source: list[Pair], target: list[Pair], k: int, overlap: bool
) -> None:
    expected = brute_core(set(source), set(target), k, overlap)
    shared = {u for u, _ in expected[0]} & {u for u, _ in expected[1]}
    if not shared:
        with pytest.raises(CrossrecError, match=r"is left in|in both domains"):
            write(source, target, k_core=k, overlap_only=overlap)
        return
    meta = write(source, target, k_core=k, overlap_only=overlap)
    for domain, given_pairs, kept in zip(("source", "target"), (source, target), expected, strict=True):
        assert sorted(pairs_of("d", domain)) == sorted(kept)
        steps = [step for step in meta["steps"] if step["domain"] == domain]
        assert sum(step["dropped"] for step in steps) + len(kept) == len(given_pairs)
        assert all(a["events"] - b["dropped"] == b["events"] for a, b in pairwise(steps))


def test_a_chain_of_drops_is_followed_to_its_end() -> None:
    # u1..u9 hang together by pairs of items; the loose end u1 unravels the chain up to the clique a, b, c.
    chain = [(f"u{n}", f"i{m}") for n in range(1, 10) for m in (n, n + 1)]
    clique = [(u, i) for u in "abc" for i in ("i10", "j", "k")]
    write(None, chain + clique, k_core=2)
    assert sorted(pairs_of("d", "target")) == sorted(clique)


def sequences(pairs: list[Pair]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for user, item in pairs:
        if item not in found.setdefault(user, []):
            found[user].append(item)
    return found


@pytest.mark.parametrize("cap", [20, 60, 150])
def test_the_cap_takes_whole_users_overlap_first(cap: int) -> None:
    source = random_pairs(1)
    target = [(f"u{int(u[1:]) + 25:02d}", i) for u, i in random_pairs(2)]
    whole = {"source": sequences(source), "target": sequences(target)}
    both = set(whole["source"]) & set(whole["target"])
    meta = write(source, target, max_events=cap, seed=3)
    kept = {domain: sequences(pairs_of("d", domain)) for domain in whole}
    for domain in whole:
        assert sum(map(len, kept[domain].values())) <= cap
        assert all(items == whole[domain][user] for user, items in kept[domain].items())
        assert meta["counts"][f"{domain}_events"] > cap - 25
    assert set(kept["source"]) & both == set(kept["target"]) & both
    if both - set(kept["source"]):  # an overlap user was left out, so one domain had no room for him
        room = {d: cap - sum(len(s) for u, s in kept[d].items() if u in both) for d in whole}
        left = both - set(kept["source"])
        assert any(len(whole[d][u]) > room[d] for u in left for d in whole)
    write(source, target, name="again", max_events=cap, seed=3)
    assert pairs_of("again", "source") == pairs_of("d", "source")
    write(source, target, name="other", max_events=cap, seed=4)
    assert pairs_of("other", "source") != pairs_of("d", "source")


def test_max_users_counts_over_both_domains_overlap_first() -> None:
    source, target = random_pairs(1), [(f"u{int(u[1:]) + 25:02d}", i) for u, i in random_pairs(2)]
    both = {u for u, _ in source} & {u for u, _ in target}
    for limit in (5, len(both) + 3):
        counts = write(source, target, max_users=limit)["counts"]
        assert counts["users"] == limit and counts["overlap_users"] == min(limit, len(both))


def test_the_core_still_holds_after_the_cap() -> None:
    meta = write(random_pairs(1), random_pairs(2), k_core=3, overlap_only=True, max_events=200)
    for domain in ("source", "target"):
        kept = pairs_of("d", domain)
        assert min(Counter(u for u, _ in kept).values()) >= 3 and min(Counter(i for _, i in kept).values()) >= 3
    assert meta["counts"]["users"] == meta["counts"]["overlap_users"] > 0
    assert [step["step"] for step in meta["steps"]].count("k_core and overlap_only") == 4


def test_no_common_user_is_told_with_the_filter_that_left_none() -> None:
    with pytest.raises(CrossrecError, match="No user has events in both domains after reading"):
        write([("a", "x")], [("b", "y")])
    with pytest.raises(CrossrecError, match="after k_core"):
        write([("a", "x"), *[(u, i) for u in "bc" for i in "xy"]], [(u, i) for u in "ad" for i in "vw"], k_core=2)
    with pytest.raises(CrossrecError, match="No event is left in the source domain after k_core"):
        write([("a", "x")], [("a", "y")], k_core=2)
    assert not list(paths.datasets().iterdir())


def test_the_same_input_gives_the_same_bytes_and_hash() -> None:
    pairs = [(f"u{n % 9_973}", f"i{n % 1_009}") for n in range(150_000)]  # more than one row group
    text = [None if n % 5 == 0 else f"text {n} é" for n in range(len(pairs))]
    events = {"source": frame(pairs, text=text, rating=[1.0 + n % 5 for n in range(len(pairs))])}
    events["target"] = events["source"].iloc[:1000]
    first = write_tables("a", events, {}, labels=("S", "T"))
    second = write_tables("b", events, {}, labels=("S", "T"))
    for file in FILES:
        assert (first / f"{file}.parquet").read_bytes() == (second / f"{file}.parquet").read_bytes()
    hashes = [paths.read_json(folder / "dataset.json")["hash"] for folder in (first, second)]
    assert hashes[0] == hashes[1]
    assert pq.read_metadata(first / "source.events.parquet").row_group(0).num_rows <= folders.CHUNK
    events["target"] = events["target"].assign(text=["other", *events["target"]["text"].iloc[1:]])
    third = write_tables("c", events, {}, labels=("S", "T"))
    assert paths.read_json(third / "dataset.json")["hash"] != hashes[0]


def test_the_hash_does_not_depend_on_the_library() -> None:
    """A value worked out once: another version of Arrow or DuckDB must give it again."""
    table = pa.table({"user_id": ["a", "b"], "item_id": ["x", "x"], "time": [1, 2], "text": [None, "é"]})
    folder = write_tables("d", {"target": table}, {}, labels=("", "T"))
    assert paths.read_json(folder / "dataset.json")["hash"] == HASH


HASH = "cda5e9648f76f5c2a626339172db449771c0a010d2decea1f086dbdb613da439"


def test_a_taken_name_is_refused_and_replaced_only_when_the_new_one_is_whole(put: Put) -> None:
    good, bad = put("g.csv", ["user,item", "u,i"]), put("b.csv", ["user,item"])
    folder = import_pair("d", None, good)
    before = (folder / "dataset.json").read_bytes()
    with pytest.raises(CrossrecError, match="'d' exists"):
        import_pair("d", None, good)
    with pytest.raises(CrossrecError, match="no row of data"):
        import_pair("d", None, bad, replace=True)
    assert (folder / "dataset.json").read_bytes() == before
    import_pair("d", None, put("h.csv", ["user,item", "u,i", "u,j"]), replace=True)
    assert paths.read_json(folder / "dataset.json")["counts"]["target_events"] == 2
    assert [path.name for path in paths.datasets().iterdir()] == ["d"]
    with pytest.raises(CrossrecError, match="plain name"):
        import_pair("../d", None, good)


def test_nothing_stays_after_an_interruption(put: Put) -> None:
    def interrupt(event: dict[str, Any]) -> None:
        if event.get("step") == "duplicates":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_pair("d", None, put("g.csv", ["user,item", "u,i"]), on_event=interrupt)
    assert list(paths.datasets().iterdir()) == []


def test_an_interrupted_query_is_an_interruption(put: Put) -> None:
    def stop(event: dict[str, Any]) -> None:
        raise RuntimeError("Query interrupted")  # what DuckDB makes of Ctrl-C

    with pytest.raises(KeyboardInterrupt):
        import_pair("d", None, put("g.csv", ["user,item", "u,i"]), on_event=stop)
    assert list(paths.datasets().iterdir()) == []


def test_extra_files_are_written_before_the_folder_has_its_name() -> None:
    def more(folder: Path) -> None:
        assert folder.name.startswith(".") and (folder / "dataset.json").is_file()
        (folder / "truth.json").write_text("{}")

    folder = write_tables("d", {"target": frame([("u", "i")])}, {}, labels=("", "T"), extra_files=more)
    assert (folder / "truth.json").is_file()


def test_tables_of_arrow_and_pandas_agree_and_carry_items() -> None:
    events = frame([("u", "i"), ("u", "j")], rating=[1.5, float("nan")], title=["", "t"])
    items = pd.DataFrame({"item_id": ["j", "j", "k"], "title": ["J", "second", "K"], "year": [1999, 2000, 2001]})
    write_tables("p", {"target": events}, {"target": items}, labels=("", "T"))
    arrow = pa.Table.from_pandas(events, preserve_index=False)
    write_tables("a", {"target": arrow}, {"target": pa.Table.from_pandas(items)}, labels=("", "T"))
    assert rows("p", "target.events") == rows("a", "target.events")
    assert [(e["rating"], e["title"]) for e in rows("p", "target.events")] == [(1.5, None), (None, "t")]
    assert [(i["title"], i["year"]) for i in rows("p", "target.items")] == [(None, None), ("J", 1999)]
    with pytest.raises(CrossrecError, match="no column 'item_id'"):
        write_tables("x", {"target": events.drop(columns="item_id")}, {}, labels=("", "T"))


def test_list_and_describe(put: Put) -> None:
    assert list_datasets() == []
    lines = ["user,item,rating,time,text", "u,i,3,1500000000,x", "u,j,4,1500086400,", "v,i,4,1500000000,"]
    import_pair("d", None, put("r.csv", lines), labels=("", "Things"))
    for broken in (".hidden", "incomplete", "other"):
        (paths.datasets() / broken).mkdir()
    (paths.datasets() / "other" / "dataset.json").write_text("{")
    assert [one["name"] for one in list_datasets()] == ["d"]
    about = describe("d")["derived"]["target"]
    assert about["events_per_user"] == 1.5 and about["density"] == 0.75 and about["days"] == 1.0
    assert about["events_per_user_quantiles"]["0.5"] == 1 and about["events_per_user_quantiles"]["1"] == 2
    assert about["with_text"] == pytest.approx(1 / 3) and about["with_rating"] == 1.0 and about["with_title"] == 0.0
    with pytest.raises(CrossrecError, match=r"no dataset 'dd'.*'d'"):
        describe("dd")


def test_options_are_checked() -> None:
    with pytest.raises(CrossrecError, match=r"k_core \(0\)"):
        PrepareOptions(k_core=0)
    with pytest.raises(CrossrecError, match=r"max_events \(0\)"):
        PrepareOptions(max_events=0)
    with pytest.raises(CrossrecError, match="Did you mean 'k_core'"):
        PrepareOptions.from_dict({"kcore": 5})


def test_each_domain_may_be_read_its_own_way(put: Put) -> None:
    one = put("a.csv", ["1,7,4.0,1400000000", "2,8,4.0,1400000000"])
    two = put("b.csv", ["17,1,4.0,1400000000", "18,3,4.0,1400000000"])
    import_pair("d", one, two, read=(ReadOptions(format="2014"), ReadOptions(format="2018")))
    assert pairs_of("d", "source") == [("1", "7"), ("2", "8")]
    assert pairs_of("d", "target") == [("1", "17"), ("3", "18")]


def test_food_and_kitchen(shared: Path) -> None:
    at = shared / "food_kitchen"
    files = {f"{d}_items": at / f"{n}_items.csv.gz" for d, n in (("source", "food"), ("target", "kitchen"))}
    folder = import_pair("fk", at / "food.csv.gz", at / "kitchen.csv.gz", **files)
    counts = paths.read_json(folder / "dataset.json")["counts"]
    assert (counts["overlap_users"], counts["source_events"], counts["target_events"]) == (7144, 83663, 89885)
    assert (counts["source_items"], counts["target_items"]) == (11837, 16258)


def test_beauty_sequences_and_rated_books(shared: Path) -> None:
    folder = import_pair("seq", None, shared / "beauty_sequences.txt.gz")
    counts = paths.read_json(folder / "dataset.json")["counts"]
    assert (counts["users"], counts["target_items"], counts["target_events"]) == (22363, 12101, 198502)
    at = shared / "books_movies_ratings"
    meta = paths.read_json(import_pair("bm", at / "books.csv.gz", at / "movies.csv.gz") / "dataset.json")
    assert (meta["counts"]["source_events"], meta["counts"]["target_events"]) == (31504, 62084)
    assert meta["counts"]["overlap_users"] == 1329
    assert meta["domains"]["source"]["has_rating"] and not meta["domains"]["source"]["has_time"]
