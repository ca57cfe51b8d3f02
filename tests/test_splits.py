"""Splits against plain Python, and a leak report that finds leaks that were planted."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossrec import paths
from crossrec.data.pair import DOMAINS, DomainPair
from crossrec.data.split import (
    KINDS,
    Questions,
    Split,
    _split,
    cold_fold,
    cold_user,
    leak_report,
    next_item,
    open_split,
    read_leak_report,
    split_unstored,
)
from crossrec.errors import CrossrecError

MakePair = Callable[..., DomainPair]
Row = tuple[int, int, int, int]


def table(frame: pd.DataFrame) -> list[Row]:
    return [tuple(map(int, row)) for row in frame[["user", "source_end", "target_end", "truth_end"]].to_numpy()]


def times(pair: DomainPair, which: str, user: int) -> list[int]:
    domain = pair.domain(which)
    assert domain.times is not None
    return domain.times[domain.offsets[user] : domain.offsets[user + 1]].tolist()


def visible(pair: DomainPair, user: int, target_event: int) -> int:
    """Source events strictly before a target event; all of them where only the order is known."""
    if not pair.has_time:
        return int(pair.source.counts[user])
    now = times(pair, "target", user)[target_event]
    return sum(earlier < now for earlier in times(pair, "source", user))


@given(seed=st.integers(0, 100_000), timed=st.booleans())
def test_next_item_against_plain_python(random_pair: MakePair, seed: int, timed: bool) -> None:
    pair = random_pair(seed, longest=5, timed=timed)
    valid, test = [], []
    for user in range(pair.n_users):
        n = int(pair.target.counts[user])
        if n >= 1:
            test.append((user, visible(pair, user, n - 1), n - 1, n))
        if n >= 2:
            valid.append((user, visible(pair, user, n - 2), n - 2, n - 1))
    found = next_item(pair)
    assert (table(found[0]), table(found[1])) == (valid, test)

    split = split_unstored(pair)
    for user in range(pair.n_users):
        n = int(pair.target.counts[user])
        assert split.target_train_end[user] == max(0, n - 2)
        # Nothing of the source is trained on that the earliest question of the user may not see.
        earliest = min(
            [visible(pair, user, at) for at in range(max(0, n - 2), n)], default=int(pair.source.counts[user])
        )
        assert split.source_train_end[user] == earliest
    assert leak_report(pair, split)["leaks"] == 0


@given(seed=st.integers(0, 100_000), timed=st.booleans(), users=st.integers(1, 60))
def test_cold_user_against_plain_python(random_pair: MakePair, seed: int, timed: bool, users: int) -> None:
    pair = random_pair(seed, users=users, longest=3, timed=timed)
    valid, test = (table(frame) for frame in cold_user(pair, seed))
    overlap = {u for u in range(users) if pair.source.counts[u] and pair.target.counts[u]}
    v, t = {row[0] for row in valid}, {row[0] for row in test}
    assert v | t <= overlap
    assert not v & t
    assert len(valid) == len(test) == len(v) == len(t) == round(len(overlap) * 0.1)
    for user, source_end, target_end, truth_end in valid + test:
        assert (target_end, truth_end) == (0, pair.target.counts[user])
        assert source_end == visible(pair, user, 0)

    split = _split(pair, "cold-user", seed, *cold_user(pair, seed))
    for user in range(users):
        held_out = user in v | t
        assert split.target_train_end[user] == (0 if held_out else pair.target.counts[user])
        assert split.source_train_end[user] == (visible(pair, user, 0) if held_out else pair.source.counts[user])
    assert leak_report(pair, split)["leaks"] == 0


def test_cold_users_are_drawn_by_the_seed(random_pair: MakePair) -> None:
    pair = random_pair(0, users=200, fewest=1)
    drawn = [tuple(frame["user"]) for seed in (1, 1, 2) for frame in cold_user(pair, seed)]
    assert drawn[:2] == drawn[2:4]
    assert drawn[:2] != drawn[4:]
    assert [len(users) for users in drawn[:2]] == [20, 20]  # 80/10/10 of 200 overlap users
    # Over many seeds, everybody is held out now and then.
    assert set().union(*(frame["user"] for seed in range(60) for frame in cold_user(pair, seed))) == set(range(200))


SHARES = {"cold-user": 0.1, "cold-user-20": 0.2, "cold-user-50": 0.5, "cold-user-80": 0.8}


def test_every_kind_of_cold_user_is_there_twice() -> None:
    assert set(KINDS) == {"next-item", "merged", *SHARES, *(f"{kind}-all-source" for kind in SHARES)}


@given(seed=st.integers(0, 100_000), users=st.integers(0, 60), timed=st.booleans())
@pytest.mark.parametrize("kind", SHARES)
def test_the_cold_shares(
    random_pair: MakePair, tmp_path_factory: Any, kind: str, seed: int, users: int, timed: bool
) -> None:
    pair = random_pair(seed, users=users, longest=3, timed=timed, folder=tmp_path_factory.mktemp("pair"))
    split, whole = open_split(pair, kind, seed), open_split(pair, f"{kind}-all-source", seed)
    overlap = {u for u in range(users) if pair.source.counts[u] and pair.target.counts[u]}
    valid, test = set(split.valid.user.tolist()), set(split.test.user.tolist())
    assert valid | test <= overlap
    assert not valid & test
    wanted = round(len(overlap) * SHARES[kind])
    rest = len(overlap) - wanted
    assert len(test) == wanted
    assert len(valid) == (wanted if kind == "cold-user" else min(rest, max(1, round(rest * 0.1))))
    # The suffix changes what is shown, and nothing of who is held out and what is asked.
    for part in ("valid", "test"):
        some, every = split.part(part), whole.part(part)
        for name in ("user", "target_end", "truth_end"):
            np.testing.assert_array_equal(getattr(some, name), getattr(every, name))
        assert some.source_end.tolist() == [visible(pair, user, 0) for user in some.user]
        np.testing.assert_array_equal(every.source_end, pair.source.counts[every.user])
    np.testing.assert_array_equal(whole.source_train_end, pair.source.counts)
    np.testing.assert_array_equal(whole.target_train_end, split.target_train_end)


@given(seed=st.integers(0, 100_000), timed=st.booleans())
def test_the_merged_split_against_plain_python(random_pair: MakePair, seed: int, timed: bool) -> None:
    pair = random_pair(seed, longest=5, timed=timed)
    asked: dict[int, list[Row]] = {1: [], 2: []}
    split = split_unstored(pair, "merged", 3)
    assert split.seed == 0
    for user in range(pair.n_users):
        stamps = [times(pair, w, user) if timed else [0] * int(pair.domain(w).counts[user]) for w in DOMAINS]
        order = sorted((when, w, at) for w in (0, 1) for at, when in enumerate(stamps[w]))
        for back in (1, 2):
            if len(order) >= back and order[-back][1] == 1:
                seen = [w for _, w, _ in order[:-back]]
                asked[back].append((user, seen.count(0), seen.count(1), seen.count(1) + 1))
        trained = [w for _, w, _ in order[:-2]]
        assert (split.source_train_end[user], split.target_train_end[user]) == (trained.count(0), trained.count(1))
    for part, rows in ((split.test, asked[1]), (split.valid, asked[2])):
        assert list(zip(part.user, part.source_end, part.target_end, part.truth_end, strict=True)) == rows
    assert leak_report(pair, split)["leaks"] == 0
    if not timed:  # then the source comes first, from either side
        return
    # From the other side the same events are held out, each in one of the two.
    other = split_unstored(pair.swapped(), "merged")
    np.testing.assert_array_equal(other.target_train_end, split.source_train_end)
    both = np.concatenate([split.test.user, other.test.user])
    assert sorted(both) == np.flatnonzero(pair.source.counts + pair.target.counts).tolist()


def test_what_comes_at_the_same_instant_is_told_and_what_comes_later_is_a_leak(make_pair: MakePair) -> None:
    pair = make_pair([[1, 2, 3]], [[4, 5]], [[1, 2, 2]], [[1, 2]])
    split = split_unstored(pair, "merged")
    report = leak_report(pair, split)
    assert report["leaks"] == 0
    assert report["notes"][0].startswith("2 of the 3 source events shown share their time")
    early = dataclasses.replace(pair, target=dataclasses.replace(pair.target, times=np.array([1, 1])))
    assert found(early, split)["Source events from the future"] == 2


def test_ten_folds_test_everybody_once(random_pair: MakePair) -> None:
    pair = random_pair(0, users=120, fewest=1)
    folds = [cold_fold(pair, fold, seed=4) for fold in range(10)]
    assert sorted(np.concatenate([split.test.user for split in folds])) == list(range(120))
    assert sorted(np.concatenate([split.valid.user for split in folds])) == list(range(120))
    for split in folds:
        assert not set(split.test.user) & set(split.valid.user)
        assert leak_report(pair, split)["leaks"] == 0
    assert folds[0].test.user.tolist() == _split(pair, "cold-user", 4, *cold_user(pair, 4)).test.user.tolist()
    assert (cold_fold(pair, 3, 4, all_source=True).test.source_end >= folds[3].test.source_end).all()


def test_what_is_shown_of_the_future_on_purpose_is_told_and_is_no_leak(make_pair: MakePair, tmp_path: Path) -> None:
    pair = make_pair([[1, 2, 3], [1]], [[1, 2], [2]], [[1, 5, 9], [3]], [[5, 7], [4]], folder=tmp_path)
    # Of two overlap users, one is a test user and the other is in validation: nobody is left to train.
    whole = open_split(pair, "cold-user-50-all-source")
    assert (len(whole.valid), len(whole.test)) == (1, 1)
    report = leak_report(pair, whole)
    assert report["leaks"] == 0
    assert report["notes"][0].startswith("2 of the 4 source events shown of held-out users came with or after")
    assert "Users in two parts" in {check["name"] for check in report["checks"]}
    # The same events under the name of a kind that promises to hide them are leaks.
    assert leak_report(pair, dataclasses.replace(whole, kind="cold-user-50"))["leaks"] == 4


@pytest.mark.parametrize("kind", ["cold-user-20", "cold-user-all-source"])
def test_held_out_users_in_training_are_found_in_every_kind(pair: DomainPair, kind: str) -> None:
    leaky = Split(
        kind, 0, questions((0, 1, 0, 4)), questions((1, 2, 0, 3)), np.array([1, 2, 0]), np.array([0, 2, 3])
    )  # fmt: skip
    assert found(pair, leaky) == {"Hidden target events in training": 2, "Target events of held-out users": 2}


def test_a_tie_is_not_before(make_pair: MakePair) -> None:
    pair = make_pair([[1, 2, 3]], [[1, 2, 3]], [[4, 5, 6]], [[4, 5, 6]])
    valid, test = next_item(pair)
    assert table(valid) == [(0, 1, 1, 2)]
    assert table(test) == [(0, 2, 2, 3)]


def test_popularity_counts_only_training_events(make_pair: MakePair) -> None:
    pair = make_pair([[1, 2], [2]], [[1, 2, 3, 4], [2, 4, 1]], [[0, 9], [0]], [[1, 2, 3, 4], [1, 2, 3]], n_target=5)
    split = split_unstored(pair)
    assert split.target_counts(pair).tolist() == [0, 1, 2, 0, 0, 0]
    # Source item 2 of user 0 came at 9, after the hidden events; it counts for user 1.
    assert split.source_counts(pair).tolist() == [0, 1, 1]


@given(seed=st.integers(0, 10_000))
def test_counts_against_plain_python(random_pair: MakePair, seed: int) -> None:
    pair = random_pair(seed)
    split = split_unstored(pair)
    for which, ends, counts in (
        ("target", split.target_train_end, split.target_counts(pair)),
        ("source", split.source_train_end, split.source_counts(pair)),
    ):
        domain, naive = pair.domain(which), [0] * 16
        for user in range(pair.n_users):
            for item in domain.sequence(user)[: ends[user]]:
                naive[item] += 1
        assert counts.tolist() == naive


@pytest.mark.parametrize(("kind", "seed"), [("next-item", 0), ("cold-user", 3), ("cold-user-50-all-source", 2)])
def test_a_stored_split_is_read_back_equal(random_pair: MakePair, tmp_path: Path, kind: str, seed: int) -> None:
    pair = random_pair(1, users=60, fewest=1, folder=tmp_path)
    made, read = open_split(pair, kind, seed), open_split(pair, kind, seed)
    assert (tmp_path / "splits" / f"{kind}-{seed}.parquet").exists()
    assert made.name == read.name == f"{kind}-{seed}"
    for name in ("source_train_end", "target_train_end"):
        np.testing.assert_array_equal(getattr(made, name), getattr(read, name))
    for part in ("valid", "test"):
        for field in dataclasses.fields(Questions):
            one, other = getattr(made.part(part), field.name), getattr(read.part(part), field.name)
            np.testing.assert_array_equal(one, other)
            assert one.dtype == other.dtype == np.int64
        assert len(made.part(part)) > 0
    report = read_leak_report(tmp_path, f"{kind}-{seed}")
    assert report == leak_report(pair, read)
    assert report is not None
    assert report["leaks"] == 0
    assert read_leak_report(tmp_path, "cold-user-77") is None


def test_next_item_draws_nothing(random_pair: MakePair, tmp_path: Path) -> None:
    pair = random_pair(1, folder=tmp_path)
    assert open_split(pair, "next-item", 5).name == "next-item-0"
    assert [p.name for p in (tmp_path / "splits").glob("*.parquet")] == ["next-item-0.parquet"]


def test_unknown_names(random_pair: MakePair, tmp_path: Path) -> None:
    pair = random_pair(1, folder=tmp_path)
    with pytest.raises(CrossrecError, match=r"'random'.*cold-user-20-all-source.*next-item"):
        open_split(pair, "random")
    with pytest.raises(CrossrecError, match=r"'cold-users-20'.*Did you mean 'cold-user-20'"):
        open_split(pair, "cold-users-20")
    with pytest.raises(CrossrecError, match=r"'train'.*'valid' and 'test'"):
        open_split(pair).part("train")


def test_a_split_whose_report_found_a_leak_is_refused(random_pair: MakePair, tmp_path: Path) -> None:
    pair = random_pair(1, folder=tmp_path)
    open_split(pair)
    path = tmp_path / "splits" / "next-item-0.json"
    paths.write_json(path, paths.read_json(path) | {"leaks": 3})
    with pytest.raises(CrossrecError, match="3"):
        open_split(pair)


# --- planted leaks --------------------------------------------------------------------------------


def questions(*rows: Row) -> Questions:
    return Questions(*(np.array(column, np.int64) for column in zip(*rows, strict=True)))


@pytest.fixture
def pair(make_pair: MakePair) -> DomainPair:
    """User 0: source at 1 3 5 7, target at 2 4 6 8. User 1: source at 1 2, target at 5 6 7. User 2: target only."""
    return make_pair(
        [[1, 2, 3, 4], [1, 2], []],
        [[1, 2, 3, 4], [5, 1, 2], [3, 5, 5]],
        [[1, 3, 5, 7], [1, 2], []],
        [[2, 4, 6, 8], [5, 6, 7], [1, 2, 3]],
    )


def clean(**changes: Any) -> Split:
    """A split of `pair` without a leak, unless changed."""
    split = Split(
        kind="next-item",
        seed=0,
        valid=questions((0, 3, 2, 3), (1, 2, 1, 2)),
        test=questions((0, 4, 3, 4), (1, 2, 2, 3)),
        source_train_end=np.array([3, 2, 0]),
        target_train_end=np.array([2, 1, 3]),
    )
    return dataclasses.replace(split, **changes)


def found(pair: DomainPair, split: Split) -> dict[str, int]:
    report = leak_report(pair, split)
    counts = {check["name"]: check["found"] for check in report["checks"]}
    assert report["leaks"] == sum(counts.values())
    return {name: count for name, count in counts.items() if count}


def test_a_clean_split_has_none(pair: DomainPair) -> None:
    assert found(pair, clean()) == {}


def test_source_events_from_the_future_are_found(pair: DomainPair) -> None:
    # Validation of user 0 asks at time 6 and shows the source event of time 7 as well.
    leaky = clean(valid=questions((0, 4, 2, 3), (1, 2, 1, 2)))
    assert found(pair, leaky) == {"Source events from the future": 1}


def test_a_source_event_of_the_same_instant_is_a_leak(make_pair: MakePair) -> None:
    pair = make_pair([[1, 2]], [[1]], [[3, 5]], [[5]])
    split = Split("next-item", 0, questions((0, 1, 0, 1)), questions((0, 2, 0, 1)), np.array([1]), np.array([0]))
    assert found(pair, split) == {"Source events from the future": 1}


def test_source_training_from_the_future_is_found(pair: DomainPair) -> None:
    # The whole source of user 0: time 7 is after the validation event at 6 and before the test event at 8.
    assert found(pair, clean(source_train_end=np.array([4, 2, 0]))) == {"Source events trained on from the future": 1}


def test_hidden_events_in_training_are_found(pair: DomainPair) -> None:
    # All four events of user 0 are trained on: two too many for the validation question and one for the test's.
    assert found(pair, clean(target_train_end=np.array([4, 1, 3]))) == {"Hidden target events in training": 3}


def test_a_truth_that_was_seen_is_found(pair: DomainPair) -> None:
    # User 2 has item 5 twice in a row.
    assert found(pair, clean(test=questions((2, 0, 2, 3)), target_train_end=np.array([2, 1, 2]))) == {
        "Truth already seen": 1
    }


def test_cold_users_in_two_parts_or_in_training_are_found(pair: DomainPair) -> None:
    cold = Split(
        kind="cold-user",
        seed=0,
        valid=questions((0, 1, 0, 4)),
        test=questions((1, 2, 0, 3)),
        source_train_end=np.array([1, 2, 0]),
        target_train_end=np.array([0, 0, 3]),
    )
    assert found(pair, cold) == {}
    both = dataclasses.replace(cold, test=questions((0, 1, 0, 4), (1, 2, 0, 3)))
    assert found(pair, both) == {"Users in two parts": 1}
    trained = dataclasses.replace(cold, target_train_end=np.array([0, 2, 3]))
    assert found(pair, trained) == {"Hidden target events in training": 2, "Target events of held-out users": 2}


def test_without_times_the_report_says_what_it_cannot_check(make_pair: MakePair) -> None:
    pair = make_pair([[1, 2]], [[1, 2, 3]], n_target=4)
    report = leak_report(pair, split_unstored(pair))
    unknown = [check["name"] for check in report["checks"] if check["found"] is None]
    assert unknown == ["Source events from the future", "Source events trained on from the future"]
    assert any("cannot be checked" in note for note in report["notes"])
    assert "3 of 4 target items do not occur in the training part." in report["notes"]


def test_the_report_counts_what_was_hidden_and_what_ties(pair: DomainPair, make_pair: MakePair) -> None:
    # User 0 hides 1 + 0 source events, user 1 none.
    assert leak_report(pair, clean())["notes"][0].startswith("1 source events were hidden")
    tied = make_pair([[1]], [[1, 2, 3]], [[0]], [[4, 4, 4]])
    assert leak_report(tied, split_unstored(tied))["notes"][1].startswith("2 questions share their time")


@pytest.mark.parametrize("seed", [0, 1])
def test_hidden_events_are_the_truths_and_their_questions(rated_pair: Callable[..., DomainPair], seed: int) -> None:
    pair = rated_pair(seed, users=20)
    asked = _split(pair, "cold-user", 0, *cold_user(pair, 0, share=0.3)).test
    expected = [
        (pair.target.offsets[user] + k, q)
        for q, (user, first, last) in enumerate(zip(asked.user, asked.target_end, asked.truth_end, strict=True))
        for k in range(first, last)
    ]
    assert expected
    assert list(zip(*asked.hidden(pair), strict=True)) == expected
    stars = pair.target.ratings
    assert stars is not None
    rated = [one for one in expected if not np.isnan(stars[one[0]])]
    assert 0 < len(rated) < len(expected)
    assert list(zip(*asked.hidden(pair, rated=True), strict=True)) == rated
    bare = dataclasses.replace(pair, target=dataclasses.replace(pair.target, ratings=None))
    assert [len(part) for part in asked.hidden(bare, rated=True)] == [0, 0]
