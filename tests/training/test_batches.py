"""Batches: everything is predicted once, the next item is the target, and chance is in the hands of seed and epoch."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crossrec.data.pair import Domain, DomainPair
from crossrec.training.batches import Batch, Negatives, SequenceBatches

MakePair = Callable[..., DomainPair]


def epoch(batches: SequenceBatches, number: int = 1) -> list[Batch]:
    return list(batches.epoch(number))


@given(seed=st.integers(0, 100_000), max_len=st.integers(1, 6), batch_size=st.integers(1, 7), number=st.integers(1, 3))
def test_every_training_item_is_predicted_exactly_once(
    random_pair: MakePair, seed: int, max_len: int, batch_size: int, number: int
) -> None:
    domain = random_pair(seed, users=9, n_items=30, longest=20).target
    ends = np.random.default_rng(seed).integers(0, domain.counts + 1)
    batches = SequenceBatches(domain, ends, max_len, batch_size, seed)
    predicted: list[int] = []
    made = epoch(batches, number)
    assert len(made) == len(batches)
    for batch in made:
        b, width = batch.items.shape
        assert b <= batch_size
        assert width <= max_len
        assert batch.targets.shape == batch.events.shape == (b, width + 1)
        for row in range(b):
            user = int(batch.users[row])
            sequence = domain.sequence(user).tolist()
            for k in range(width + 1):
                target, event = int(batch.targets[row, k]), int(batch.events[row, k])
                if not target:
                    continue
                predicted.append(event)
                at = event - int(domain.offsets[user])
                assert 0 <= at < ends[user]
                assert sequence[at] == target
                # The k items before the target are the last k items of the person, all of them or as many as fit.
                assert batch.items[row, :k].tolist() == sequence[at - k : at]
                assert k == at or k >= 1
    expected = [int(domain.offsets[u]) + at for u in range(9) for at in range(ends[u])]
    assert sorted(predicted) == expected
    assert batches.positions == len(expected)


def test_a_long_sequence_by_hand(make_pair: MakePair) -> None:
    domain = make_pair([[]], [[11, 12, 13, 14, 15]], n_target=20).target
    batch = epoch(SequenceBatches(domain, np.array([5]), max_len=2, batch_size=8, seed=0))[0]
    rows = sorted(zip(batch.items.tolist(), batch.targets.tolist(), strict=True))
    # The last window is full; the first has the start state.
    assert rows == [([11, 12], [11, 12, 13]), ([13, 14], [0, 14, 15])]


def test_padding_is_on_the_right_and_predicts_nothing(make_pair: MakePair) -> None:
    domain = make_pair([[], []], [[1, 2, 3], [4]]).target
    batch = epoch(SequenceBatches(domain, domain.counts, max_len=9, batch_size=8, seed=0))[0]
    rows = dict(zip(batch.users.tolist(), zip(batch.items.tolist(), batch.targets.tolist(), strict=True), strict=True))
    assert rows == {0: ([1, 2], [1, 2, 3]), 1: ([4, 0], [4, 0, 0])}


def test_the_state_after_the_end_gets_no_target(random_pair: MakePair) -> None:
    domain = random_pair(0, users=20).target
    for batch in epoch(SequenceBatches(domain, domain.counts, 50, 8, 0)):
        lengths = (batch.targets > 0).sum(1)
        for row, n in enumerate(lengths.tolist()):
            assert (batch.targets[row, :n] > 0).all()
            assert (batch.targets[row, n:] == 0).all()


def same(one: list[Batch], other: list[Batch]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(getattr(a, name), getattr(b, name))
        for a, b in zip(one, other, strict=True)
        for name in ("items", "targets", "users", "events")
    )


def test_seed_and_epoch_decide(random_pair: MakePair) -> None:
    domain = random_pair(0, users=60).target

    def make(seed: int) -> SequenceBatches:
        return SequenceBatches(domain, domain.counts, 5, 8, seed)

    batches = make(1)
    first = epoch(batches, 1)
    assert same(first, epoch(batches, 1))
    assert same(first, epoch(make(1), 1))
    assert not same(first, epoch(batches, 2))
    assert not same(first, epoch(make(2), 1))
    # Not only the order of batches changes, but who is in one.
    together = [{frozenset(batch.users.tolist()) for batch in epoch(batches, n)} for n in (1, 2)]
    assert together[0] != together[1]


def test_there_is_little_padding(make_pair: MakePair) -> None:
    rng = np.random.default_rng(0)
    counts = np.clip(rng.geometric(0.08, 1500), 1, 100)
    domain = make_pair([[] for _ in counts], [list(range(1, n + 1)) for n in counts]).target
    made = epoch(SequenceBatches(domain, domain.counts, 50, 32, 0))
    places = sum(batch.targets.numel() for batch in made)
    assert sum(int((batch.targets > 0).sum()) for batch in made) / places > 0.85
    # Batches come in no order of length.
    widths = [batch.items.shape[1] for batch in made]
    assert widths != sorted(widths)
    assert widths != sorted(widths, reverse=True)


def test_nothing_to_train_on(make_pair: MakePair) -> None:
    domain = make_pair([[], []], [[1, 2], [3]]).target
    batches = SequenceBatches(domain, np.array([0, 0]), 5, 8, 0)
    assert (len(batches), batches.positions, epoch(batches)) == (0, 0, [])


# --- negatives ------------------------------------------------------------------------------------


@given(seed=st.integers(0, 100_000), n=st.integers(1, 30))
def test_negatives_outside_are_never_owned(random_pair: MakePair, seed: int, n: int) -> None:
    domain = random_pair(seed, n_items=25, longest=8).target
    users = torch.from_numpy(np.random.default_rng(seed).integers(0, 12, 40))
    # At a third of the catalogue owned, eight rounds leave (1/3)^9 of the draws: use more, to be sure of none.
    drawn = Negatives(25, domain, seed).outside(users, n, rounds=60)
    assert drawn.shape == (40, n)
    assert 1 <= drawn.min() <= drawn.max() <= 25
    for user, row in zip(users.tolist(), drawn.tolist(), strict=True):
        assert not set(row) & set(domain.sequence(user).tolist())


def test_by_default_hardly_one_in_a_million_is_owned(make_pair: MakePair) -> None:
    domain = make_pair([[]], [list(range(1, 11))], n_target=100).target
    drawn = Negatives(100, domain, 0).outside(torch.zeros(20_000, dtype=torch.long), 5)
    assert drawn.min() == 11
    # And uniform over what is left: each of 90 items about 1,111 times.
    counts = torch.bincount(drawn.flatten(), minlength=101)[11:]
    assert (counts - 100_000 / 90).abs().max() < 6 * (100_000 / 90) ** 0.5


def test_who_has_everything_gets_something(make_pair: MakePair) -> None:
    domain = make_pair([[]], [[1, 2, 3]]).target
    drawn = Negatives(3, domain, 0).outside(torch.zeros(4, dtype=torch.long), 2)
    assert drawn.shape == (4, 2)
    assert set(drawn.flatten().tolist()) <= {1, 2, 3}


def test_shared_negatives_are_uniform_and_seeded(make_pair: MakePair) -> None:
    domain = make_pair([[]], [[1]], n_target=10).target
    counts = torch.bincount(Negatives(10, domain, 0).shared(20_000), minlength=11)
    assert counts[0] == 0
    assert (counts[1:] - 2000).abs().max() < 6 * 2000**0.5
    one, two, three = (Negatives(10, domain, seed).shared(50) for seed in (5, 5, 6))
    assert torch.equal(one, two)
    assert not torch.equal(one, three)


def test_nobody_owns_anything() -> None:
    domain = Domain("empty", 4, np.zeros(3, np.int64), np.zeros(0, np.int32), None, None)
    assert Negatives(4, domain, 0).outside(torch.tensor([0, 1]), 3).shape == (2, 3)


@pytest.mark.parametrize("max_len", [1, 2, 3])
def test_windows_at_the_exact_length(make_pair: MakePair, max_len: int) -> None:
    # max_len + 1 items are one window; one more makes two.
    for n, windows in ((max_len + 1, 1), (max_len + 2, 2)):
        domain = make_pair([[]], [list(range(1, n + 1))]).target
        assert len(SequenceBatches(domain, domain.counts, max_len, 8, 0).users) == windows
