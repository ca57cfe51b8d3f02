"""A pair of domains in memory against plain lists, and reading one from disk."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossrec.data.pair import DomainPair, EventVectors
from crossrec.errors import CrossrecError

MakePair = Callable[..., DomainPair]


def rows(pair: DomainPair, which: str, user: int) -> list[tuple[int, int]]:
    """(item, time) of a user's events."""
    domain = pair.domain(which)
    part = slice(domain.offsets[user], domain.offsets[user + 1])
    assert domain.times is not None
    return list(zip(domain.items[part].tolist(), domain.times[part].tolist(), strict=True))


@given(seed=st.integers(0, 100_000))
def test_source_before_counts_strictly_earlier_source_events(random_pair: MakePair, seed: int) -> None:
    pair = random_pair(seed)
    expected = [
        sum(earlier < now for _, earlier in rows(pair, "source", user))
        for user in range(pair.n_users)
        for _, now in rows(pair, "target", user)
    ]
    assert pair.source_before.tolist() == expected


def test_source_before_with_real_milliseconds(make_pair: MakePair) -> None:
    # Times near today's, in the order of 10^12, and users enough that user x time would not fit 64 bits if multiplied.
    now = 1_700_000_000_000
    pair = make_pair([[1, 2]] * 3, [[1]] * 3, [[now - 1, now], [now, now + 1], [5, 6]], [[now]] * 3)
    assert pair.source_before.tolist() == [1, 0, 2]


@given(seed=st.integers(0, 100_000), cut=st.booleans())
def test_one_order_of_both_domains_is_the_same_from_either_side(random_pair: MakePair, seed: int, cut: bool) -> None:
    pair = random_pair(seed)
    users = np.arange(pair.n_users)
    ends = [np.minimum(d.counts, 3) if cut else d.counts for d in (pair.source, pair.target)]
    merged = pair.histories(users, *ends).merged(100)
    other = pair.swapped().histories(users, *ends[::-1]).merged(100)
    for user in range(pair.n_users):
        timed = [
            (time, label, at, item)
            for label, end, which in (("Source", ends[0], "source"), ("Target", ends[1], "target"))
            for at, (item, time) in enumerate(rows(pair, which, user)[: end[user]])
        ]
        expected = [(label, item) for _, label, _, item in sorted(timed)]
        assert [i for i in merged[user].tolist() if i] == [i + 100 * (w == "Target") for w, i in expected]
        assert [i for i in other[user].tolist() if i] == [i + 100 * (w == "Source") for w, i in expected]


def test_swapped_twice_is_the_pair_itself(random_pair: MakePair) -> None:
    pair = random_pair(0)
    rows = {which: np.arange(len(pair.domain(which).items)) for which in ("source", "target")}
    titles = {which: np.arange(pair.domain(which).n_items + 1) for which in ("source", "target")}
    table = np.zeros((200, 2), np.float16)
    pair = dataclasses.replace(pair, vectors=EventVectors("by hand", "static", table, rows, titles))
    turned = pair.swapped()
    assert (turned.source.label, turned.filed("source")) == ("Target", "target")
    assert turned.vectors is not None
    assert pair.vectors is not None
    assert turned.vectors.titles["source"] is pair.vectors.titles["target"]
    back = turned.swapped()
    assert back.source is pair.source
    assert (back.filed("target"), back.vectors.rows if back.vectors else None) == ("target", pair.vectors.rows)


@given(seed=st.integers(0, 1000))
def test_without_times_the_whole_source_history_is_before(random_pair: MakePair, seed: int) -> None:
    pair = random_pair(seed, timed=False)
    assert not pair.has_time
    assert pair.source_before.tolist() == np.repeat(pair.source.counts, pair.target.counts).tolist()


@given(seed=st.integers(0, 1000))
def test_first_keeps_the_first_events_of_each_user(random_pair: MakePair, seed: int) -> None:
    pair = random_pair(seed)
    ends = np.random.default_rng(seed).integers(0, 10, pair.n_users)
    cut = pair.target.first(ends)
    assert cut.counts.tolist() == np.minimum(ends, pair.target.counts).tolist()
    for user in range(pair.n_users):
        assert cut.sequence(user).tolist() == pair.target.sequence(user)[: ends[user]].tolist()
    assert cut.times is not None
    assert len(cut.times) == len(cut.items) == cut.offsets[-1]


@given(seed=st.integers(0, 1000))
def test_source_alone_is_the_source_in_the_targets_place(random_pair: MakePair, seed: int) -> None:
    pair = random_pair(seed)
    ends = np.random.default_rng(seed).integers(0, 10, pair.n_users)
    alone = pair.source_alone(ends)
    assert alone.n_users == pair.n_users
    assert alone.target.n_items == pair.source.n_items
    assert alone.source.counts.sum() == 0
    for user in range(pair.n_users):
        assert alone.target.sequence(user).tolist() == pair.source.sequence(user)[: ends[user]].tolist()


@given(seed=st.integers(0, 1000))
def test_histories_are_the_first_events(random_pair: MakePair, seed: int) -> None:
    pair = random_pair(seed)
    rng = np.random.default_rng(seed)
    users = rng.integers(0, pair.n_users, 5)
    s_end, t_end = rng.integers(0, pair.source.counts[users] + 1), rng.integers(0, pair.target.counts[users] + 1)
    known = pair.histories(users, s_end, t_end)
    assert known.users is not None
    assert known.users.tolist() == users.tolist()
    for b, user in enumerate(users):
        assert [i for i in known.source[b] if i] == pair.source.sequence(user)[: s_end[b]].tolist()
        assert [i for i in known.target[b] if i] == pair.target.sequence(user)[: t_end[b]].tolist()


def test_overlap(make_pair: MakePair) -> None:
    assert make_pair([[1], [], [2], []], [[1], [1], [], []]).overlap.tolist() == [True, False, False, False]


def test_opening_a_dataset(tiny: Path) -> None:
    pair = DomainPair.open("tiny")
    assert (pair.n_users, pair.source.items.size, pair.target.items.size) == (120, 1500, 1000)
    assert pair.has_time
    assert pair.target.items.min() == 1
    assert pair.target.items.max() == pair.target.n_items == len(pair.items("target"))
    users = pair.users()
    assert users["target_events"].tolist() == pair.target.counts.tolist()
    assert pair.user_index(users["user_id"][7]) == 7


def test_names_that_are_not_there(tiny: Path) -> None:
    with pytest.raises(CrossrecError, match=r"no dataset 'tny'. Did you mean 'tiny'"):
        DomainPair.open("tny")
    with pytest.raises(CrossrecError, match="not a path"):
        DomainPair.open("../tiny")
    pair = DomainPair.open("tiny")
    with pytest.raises(CrossrecError, match=r"'u00051' is not in 'tiny'; the nearest ids are .*u0051|u0005"):
        pair.user_index("u00051")


def test_a_dataset_whose_files_do_not_belong_together(tiny_copy: Path) -> None:
    folder = tiny_copy / "datasets" / "tiny"
    path = folder / "target.events.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CrossrecError, match="not readable; remove the dataset 'tiny'"):
        DomainPair.open("tiny")
    path.write_bytes((folder / "source.events.parquet").read_bytes())
    with pytest.raises(CrossrecError, match=r"1500 events, and dataset.json says 1000"):
        DomainPair.open("tiny")
    path.unlink()
    with pytest.raises(CrossrecError, match="not readable"):
        DomainPair.open("tiny")
