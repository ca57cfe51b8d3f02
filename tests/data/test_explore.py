"""What a dataset looks like: every number against one counted by hand on five people."""

from pathlib import Path

import pandas as pd
import pytest

from crossrec.data import explore
from crossrec.data.pair import DomainPair
from crossrec.data.prepare import write_tables
from crossrec.errors import CrossrecError

DAY = 86_400_000


def events(*rows: tuple[str, str, int, float, str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["user_id", "item_id", "time", "rating", "text"])


@pytest.fixture
def pair(home: Path) -> DomainPair:
    source = events(
        ("ann", "s1", 1 * DAY, 5, "slow and rainy"),
        ("ann", "s2", 3 * DAY, 4, "100% rain"),
        ("bob", "s1", 5 * DAY, 2, "dull"),
        ("cy", "s3", 2 * DAY, 3, "snake_case is a band"),
    )
    target = events(
        ("ann", "t1", 2 * DAY, 5, "Rain on tape"),
        ("ann", "t2", 3 * DAY, 5, "loud"),
        ("ann", "t3", 9 * DAY, 1, "nothing"),
        ("bob", "t1", 4 * DAY, 4, "rain again"),
        ("dee", "t1", 6 * DAY, 3, "fine"),
    )
    items = {"target": pd.DataFrame({"item_id": ["t1", "t2"], "title": ["First", "Second"]})}
    write_tables("five", {"source": source, "target": target}, items, labels=("Screen", "Sound"))
    return DomainPair.open("five")


def test_overview(pair: DomainPair) -> None:
    found = explore.overview(pair)
    assert (found.users, found.both, found.source_only, found.target_only, found.cold) == (4, 2, 1, 1, 2)
    # Ann's three Sound events have 1, 1 and 2 Screen events strictly before them, Bob's one has none.
    assert (found.target_events, found.preceded, found.median_before) == (4, 3, 1.0)


def test_sizes_and_shares(pair: DomainPair) -> None:
    sizes = explore.sizes(pair).set_index("which")
    assert sizes.loc["source", ["people", "items", "events"]].tolist() == [3, 3, 4]
    assert sizes.loc["target", ["people", "items", "events"]].tolist() == [3, 3, 5]
    stars = explore.ratings(pair).set_index(["which", "rating"])["events"]
    assert stars["target"].to_dict() == {1.0: 1, 3.0: 1, 4.0: 1, 5.0: 2}
    assert explore.top_share(pair, "target", 1 / 3) == pytest.approx(3 / 5)
    assert explore.first_domain(pair).set_index("began")["people"].to_dict() == {
        "source": 1,
        "target": 1,
        "same time": 0,
    }


def test_activity_counts_every_event_and_fills_gaps(pair: DomainPair) -> None:
    found = explore.activity(pair)
    assert found.groupby("which")["events"].sum().to_dict() == {"source": 4, "target": 5}
    for _, of in found.groupby("which"):
        assert (of["time"].diff().dropna() == pd.Timedelta(weeks=1)).all()


def test_bins_hold_everybody_once(pair: DomainPair) -> None:
    found = explore.events_per_person(pair)
    assert found.groupby("which")["people"].sum().to_dict() == {"source": 3, "target": 3}
    assert found.groupby("which")["share"].sum().round(9).to_dict() == {"source": 1.0, "target": 1.0}
    history = explore.source_history(pair)
    assert dict(zip(history["bin"], history["n"], strict=True)) == {"0": 1, "1": 2, "2": 1}


def test_one_persons_path(pair: DomainPair) -> None:
    found = explore.path(pair, "ann")
    assert found["item"].tolist() == ["s1", "First", "s2", "Second", "t3"]
    with pytest.raises(CrossrecError, match=r"nearest ids are .*ann"):
        explore.path(pair, "anne")


@pytest.mark.parametrize(
    ("words", "texts"),
    [
        ("RAIN", {"slow and rainy", "100% rain", "Rain on tape", "rain again"}),
        ("rain tape", {"Rain on tape"}),
        ("0%", {"100% rain"}),
        ("e_c", {"snake_case is a band"}),
        ("'; drop table", set()),
        ("\\", set()),
    ],
)
def test_search_is_literal(pair: DomainPair, words: str, texts: set[str]) -> None:
    found, total = explore.search(pair, words)
    assert set(found["text"]) == texts
    assert total == len(texts)


def test_search_is_bounded_and_newest_first(pair: DomainPair) -> None:
    found, total = explore.search(pair, "rain", limit=2)
    assert (found["text"].tolist(), total) == (["rain again", "100% rain"], 4)
    with pytest.raises(CrossrecError, match="no word"):
        explore.search(pair, "   ")
    with pytest.raises(CrossrecError, match="at most 8 words"):
        explore.search(pair, "a b c d e f g h i")
