"""Controls take away what they say and nothing else."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossrec.data.histories import Histories
from crossrec.data.pair import DomainPair
from crossrec.data.split import Questions, split_unstored
from crossrec.errors import CrossrecError
from crossrec.evaluation import controls
from crossrec.evaluation.controls import CONTROLS, control, controls_of, shots
from crossrec.evaluation.protocol import ranked
from crossrec.models.linear import LinearMap
from crossrec.models.recommender import Floats
from crossrec.models.sasrec import SASRecRecommender
from crossrec.models.simple import Popularity
from crossrec.models.transfer import TransferRecommender

MakePair = Callable[..., DomainPair]


def rows(items: np.ndarray) -> list[list[int]]:
    return [[int(item) for item in row if item] for row in items]


def asked(pair: DomainPair) -> Questions:
    return split_unstored(pair).test


@given(seed=st.integers(0, 100_000))
def test_the_placebo_is_always_somebody_elses(rated_pair: MakePair, seed: int) -> None:
    pair = rated_pair(seed, users=14)
    questions = asked(pair)
    everyone = np.arange(len(questions))
    real, fed = questions.histories(pair), control("placebo", pair, questions, seed).histories(everyone)
    assert rows(fed.target) == rows(real.target)
    own, given_ = rows(real.source), rows(fed.source)
    assert [bool(row) for row in given_] == [bool(row) for row in own]  # who has none keeps none
    assert sorted(given_) == sorted(own)
    # Stars go with their items.
    assert fed.source_stars is not None
    assert real.source_stars is not None
    known = [
        sorted(zip(h.source[h.source > 0].tolist(), map(str, stars[h.source > 0]), strict=True))
        for h, stars in ((real, real.source_stars), (fed, fed.source_stars))
    ]
    assert known[0] == known[1]


def test_nobody_gets_his_own_back(make_pair: MakePair) -> None:
    pair = make_pair([[u + 1] for u in range(9)] + [[]], [[1, 2]] * 10, n_source=9)
    questions = asked(pair)
    for seed in range(20):
        fed = control("placebo", pair, questions, seed).histories(np.arange(10))
        given_ = rows(fed.source)
        assert all(row != [user + 1] for user, row in enumerate(given_[:9]))
        assert given_[9] == []
    alone = make_pair([[1], []], [[1, 2], [2, 1]])
    assert rows(control("placebo", alone, asked(alone)).histories(np.arange(2)).source) == [[1], []]


def test_a_strangers_history_ends_when_the_own_one_does(make_pair: MakePair) -> None:
    sources = [[1, 2], [3], [4, 5, 6], []]
    times = [[10, 20], [500], [7, 8, 9], []]
    pair = make_pair(sources, [[1, 2]] * 4, times, [[1000, 2000]] * 4)
    fed = control("placebo", pair, asked(pair)).histories(np.arange(4))
    own = asked(pair).histories(pair)
    assert fed.source_times is not None and own.source_times is not None
    gaps = {(3,): [], (1, 2): [10], (4, 5, 6): [1, 1]}
    for user in range(3):
        shown = fed.source_times[user][fed.source[user] > 0]
        assert shown[-1] == times[user][-1]
        assert np.diff(shown).tolist() == gaps[tuple(rows(fed.source)[user])]


@given(seed=st.integers(0, 100_000))
def test_shuffled_order_keeps_everything_but_the_order(rated_pair: MakePair, seed: int) -> None:
    pair = rated_pair(seed, users=9, longest=9)
    questions = asked(pair)
    real = questions.histories(pair)
    fed = control("shuffled-order", pair, questions, seed).histories(np.arange(len(questions)))
    assert [sorted(row) for row in rows(fed.source)] == [sorted(row) for row in rows(real.source)]
    assert rows(fed.target) == rows(real.target)


def test_the_order_does_change(random_pair: MakePair) -> None:
    pair = random_pair(1, users=40, longest=10, fewest=5)
    questions = asked(pair)
    everyone = np.arange(len(questions))
    assert rows(control("shuffled-order", pair, questions).histories(everyone).source) != rows(
        questions.histories(pair).source
    )
    one, two = (rows(control("shuffled-order", pair, questions, 4).histories(everyone).source) for _ in range(2))
    assert one == two


def test_without_source(random_pair: MakePair) -> None:
    pair = random_pair(3)
    questions = asked(pair)
    fed = control("no-source", pair, questions).histories(np.arange(len(questions)))
    assert not fed.source.any()
    assert rows(fed.target) == rows(questions.histories(pair).target)
    with pytest.raises(CrossrecError, match=r"no control 'placbo'\. Did you mean 'placebo'"):
        control("placbo", pair, questions)


def test_which_controls_say_anything() -> None:
    assert controls_of(object.__new__(Popularity)) == controls_of(object.__new__(SASRecRecommender)) == []
    assert controls_of(object.__new__(LinearMap)) == ["placebo", "no-source"]
    assert controls_of(object.__new__(TransferRecommender)) == list(CONTROLS)


# --- shots ------------------------------------------------------------------------------------------------------------


def test_shots_reveal_the_last_events_to_the_same_people(make_pair: MakePair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controls, "LEAST", 2)
    pair = make_pair([[1], [2], [3], []], [[1, 2, 3, 4, 5], [5, 4, 3, 2, 1], [2, 1], [3]])
    questions, shown = shots(pair, asked(pair), cold=False)
    assert questions.user.tolist() == [0, 1]  # with 3 events before the one that is asked for
    assert list(shown) == [0, 1, 2, 3]
    assert {k: rows(one.histories(np.arange(2)).target) for k, one in shown.items()} == {
        0: [[], []], 1: [[4], [2]], 2: [[3, 4], [3, 2]], 3: [[2, 3, 4], [4, 3, 2]],
    }  # fmt: skip
    events, _ = questions.hidden(pair)
    assert pair.target.items[events].tolist() == [5, 1]


def test_shots_of_people_who_are_hidden_as_a_whole(make_pair: MakePair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controls, "LEAST", 2)
    pair = make_pair([[1], [2], [3]], [[1, 2, 3, 4, 5], [5, 4, 3], [2, 1, 5, 3]])
    whole = Questions(np.arange(3), np.ones(3, np.int64), np.zeros(3, np.int64), pair.target.counts)
    questions, shown = shots(pair, whole, cold=True)
    assert questions.user.tolist() == [0, 2]
    assert {k: rows(one.histories(np.arange(2)).target) for k, one in shown.items()} == {
        0: [[], []], 1: [[3], [5]], 2: [[2, 3], [1, 5]], 3: [[1, 2, 3], [2, 1, 5]],
    }  # fmt: skip
    events, owner = questions.hidden(pair)
    assert [pair.target.items[events[owner == row]].tolist() for row in range(2)] == [[4, 5], [3]]
    assert rows(shown[0].histories(np.arange(2)).source) == [[1], [3]]


def test_too_few_people_have_no_shots(random_pair: MakePair) -> None:
    pair = random_pair(0)
    questions, shown = shots(pair, asked(pair), cold=False)
    assert (len(questions), shown) == (0, {})


class Newest(Popularity):
    """Likes the items near the newest target item that it is shown, and that item best of all."""

    def score(self, histories: Histories) -> Floats:
        newest = histories.target[:, -1] if histories.target.shape[1] else np.zeros(len(histories), np.int64)
        scores = -np.abs(np.arange(self.n_items + 1)[None] - newest[:, None]).astype(np.float32)
        scores[:, 0] = -np.inf
        return scores


def test_ones_own_items_are_left_out_whatever_is_shown(make_pair: MakePair) -> None:
    """Shown nothing, or another's history, a person's own earlier items still take no place in the ranking."""
    pair = make_pair([[1], [1]], [[2, 3, 1], [4, 5]], n_target=6)
    questions = asked(pair)
    nothing = ranked(
        Newest(np.ones(7, np.int64)), pair, questions, lambda which: Histories.of([[]] * len(which), [[]] * len(which))
    )
    # By distance from 0 the order is 1, 2, 3, ...: user 0 is asked for 1, user 1 for 5 without 4.
    assert nothing["rank"].tolist() == [1, 4]
    known = ranked(Newest(np.ones(7, np.int64)), pair, questions)
    assert known["rank"][0] in (2, 3)  # next to 3 comes 4, then 1 and 5, which are level
    assert known["rank"][1] == 1  # next to 4 comes 5
    assert known.columns.tolist() == ["user", "rank", "hr@10", "ndcg@10", "mrr@10"]
