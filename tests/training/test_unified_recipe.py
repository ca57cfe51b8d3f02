"""The recipe of the unified encoder: one order of both domains, its losses by hand, and what it learns."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from crossrec.config import from_dict
from crossrec.data.histories import Histories
from crossrec.data.pair import DomainPair
from crossrec.data.split import Split, _split, cold_user, merged_domain, split_unstored
from crossrec.errors import CrossrecError
from crossrec.evaluation.protocol import quick
from crossrec.models.trend import Trend
from crossrec.models.unified import Unified, UnifiedConfig, UnifiedRecommender
from crossrec.training import lazy
from crossrec.training import unified as recipe
from crossrec.training.job import Job
from crossrec.training.loop import Control
from crossrec.training.moment import Moment, in_windows
from crossrec.training.unified import UnifiedBatches, UnifiedLoss, UnifiedRecipeConfig, unified

MakePair = Callable[..., DomainPair]
SMALL = {"dim": 16, "taste": 16, "max_len": 6, "batch_size": 32, "negatives": 8}


def held_out(pair: DomainPair) -> Split:
    return _split(pair, "cold-user", 0, *cold_user(pair, 0, share=0.2))


def job(pair: DomainPair, split: Split | None = None, seed: int = 0, **settings: Any) -> Job:
    split = split or held_out(pair)
    config = from_dict(UnifiedRecipeConfig, SMALL | settings)
    return Job(pair, split, config, seed, lambda r: quick(r, pair, split))


def timed(pair: DomainPair) -> DomainPair:
    """The same with instants a week apart."""
    parts = []
    for domain in (pair.source, pair.target):
        assert domain.times is not None
        parts.append(dataclasses.replace(domain, times=(domain.times + 1) * 7 * 86_400_000))
    return dataclasses.replace(pair, source=parts[0], target=parts[1])


DOMAINS = (slice(1, 16), slice(16, 31))
"""Rows of the table of 15 items in each domain."""


def net(words: int = 3, **settings: Any) -> Unified:
    torch.manual_seed(0)
    table = np.random.default_rng(0).normal(size=(4 + 6 + 1, words)).astype(np.float32)
    config = UnifiedConfig(**{"dim": 8, "taste": 5, "max_len": 6} | settings)
    return Unified(config, 4, table, np.arange(11) + 1).eval()


# --- batches ----------------------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 100_000), timed=st.booleans(), kind=st.sampled_from(["next-item", "cold", "merged"]))
def test_the_training_events_in_one_order(random_pair: MakePair, seed: int, timed: bool, kind: str) -> None:
    pair = random_pair(seed, timed=timed)
    split = held_out(pair) if kind == "cold" else split_unstored(pair, kind)
    domain = merged_domain(pair, split)
    users = np.arange(pair.n_users)
    expected = pair.histories(users, split.source_train_end, split.target_train_end).merged(pair.source.n_items)
    for user in range(pair.n_users):
        assert domain.sequence(user).tolist() == [item for item in expected[user].tolist() if item]


def test_events_in_one_order_have_their_times(random_pair: MakePair) -> None:
    pair = random_pair(4, users=40)
    split = split_unstored(pair)
    domain = merged_domain(pair, split)
    assert domain.times is not None and pair.source.times is not None and pair.target.times is not None
    for user in range(pair.n_users):
        rows = [
            (pair.source.times, pair.source.items, pair.source.offsets[user], split.source_train_end[user], 0),
            (pair.target.times, pair.target.items, pair.target.offsets[user], split.target_train_end[user], 15),
        ]
        wanted = sorted(
            (int(times[at]), int(items[at]) + shift)
            for times, items, first, n, shift in rows
            for at in first + range(n)
        )
        part = slice(domain.offsets[user], domain.offsets[user + 1])
        assert sorted(zip(domain.times[part].tolist(), domain.items[part].tolist(), strict=True)) == wanted
        assert (np.diff(domain.times[part]) >= 0).all()


def test_the_time_is_that_of_the_event_before_and_its_own_event_is_taken_out(random_pair: MakePair) -> None:
    pair = timed(random_pair(5, users=60))
    work = job(pair, cold_loss=0.0, trend="both", trend_days=10.0, batch_size=16)
    domain = merged_domain(pair, work.split)
    assert domain.times is not None
    trend = Trend.fit(domain.times, domain.items, 31, (0, 16), 10.0, "both")
    assert trend is not None
    model = Unified(work.config.model, 15, np.zeros((31, 0), np.float32), np.ones(31, np.int64), trend)
    step = next(iter(UnifiedBatches(work, domain, trend).epoch(1)))
    assert step.when is not None
    asked = torch.nonzero(step.windows.targets.flatten())[:, 0]
    moment = in_windows(model, step.windows, step.when, asked)
    assert moment is not None
    at, width = 0, step.windows.targets.shape[1]
    for b in range(len(step.windows.users)):
        told = [item for item in step.windows.items[b].tolist() if item]
        for k in range(width):
            target = int(step.windows.targets[b, k])
            if not target:
                continue
            seen = told[:k]
            events = step.windows.events[b]
            before = domain.times[events[k - 1]] if k else domain.times[events[0]]
            assert moment.when[at] == trend.clock.bucket(before)
            assert moment.own[at] == trend.clock.bucket(domain.times[events[k]])
            assert moment.known[at] == any((item > 15) == (target > 15) for item in seen)
            at += 1
    assert at == len(moment.when)
    parts = UnifiedLoss(work.config, np.ones(31, np.int64), 15, 0)(model, step)
    parts["loss"].backward()
    assert model.rise_weight.grad is not None and model.rise_weight.grad.abs().sum() > 0


def test_with_times_the_next_item_is_told_with_the_rise(random_pair: MakePair) -> None:
    pair = timed(random_pair(6, users=60))
    domain = merged_domain(pair, split_unstored(pair))
    assert domain.times is not None
    trend = Trend.fit(domain.times, domain.items, 31, (0, 16), 10.0, "past")
    assert trend is not None
    model = Unified(UnifiedConfig(dim=8, taste=3), 15, np.zeros((31, 0), np.float32), np.ones(31, np.int64), trend)
    loss, table = UnifiedLoss(UnifiedRecipeConfig(), np.ones(31, np.int64), 15, 0), model.table()
    queries, items = torch.randn(2, table.keys.shape[1]), torch.tensor([3, 20])
    when, own, known = torch.tensor([2, 1]), torch.tensor([3, 1]), torch.tensor([True, False])
    found = loss.next(table, queries, items, loss.draw(), Moment(model, when, own, known))
    logits = queries @ table.keys.T + torch.stack([model.rise[:, t] for t in when]) * 0.5
    for b in range(2):
        logits[b, items[b]] -= 0.5 * model.rise[items[b], when[b]]
        logits[b, items[b]] += model.risen_without(when[[b]], items[[b]], known[[b]], own[[b]])[0]
    told = [F.cross_entropy(logits[b, rows][None], items[[b]] - rows.start) for b, rows in enumerate(DOMAINS)]
    torch.testing.assert_close(found, torch.stack(told).mean())


def test_of_some_items_the_loss_is_that_of_all(random_pair: MakePair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what a step looks at is made: the loss and its gradient are those of the whole table."""
    monkeypatch.setattr(recipe, "SMALL_CATALOGUE", 0)
    pair = random_pair(7, users=40)
    work = job(pair, cold_loss=0.0, negatives=5, item_dropout=0.0, dropout=0.0, input_dropout=0.0, taste_dropout=0.0)
    step = next(iter(UnifiedBatches(work, merged_domain(pair, work.split), None).epoch(1)))
    words = np.random.default_rng(0).normal(size=(31, 4)).astype(np.float32)
    model = Unified(work.config.model, 15, words, np.ones(31, np.int64)).train()
    whole, some = model.table, []
    for rows in (lambda rows=None: whole(rows), lambda rows=None: whole(None)):
        monkeypatch.setattr(model, "table", rows)
        model.zero_grad()
        found = UnifiedLoss(work.config, np.ones(31, np.int64), 15, 0)(model, step)["loss"]
        found.backward()
        some.append([found.detach(), *(w.grad.clone() for w in model.parameters() if w.grad is not None)])
    for one, other in zip(*some, strict=True):
        torch.testing.assert_close(one, other)


def test_an_epoch_has_all_windows_and_everybody_of_both_domains(random_pair: MakePair) -> None:
    pair = random_pair(1, users=80)
    work = job(pair, batch_size=16)
    batches, split = UnifiedBatches(work, merged_domain(work.pair, work.split), None), work.split
    steps = list(batches.epoch(2))
    assert len(steps) == len(batches)
    positions = sum(int((step.windows.targets > 0).sum()) for step in steps)
    assert positions == int(split.source_train_end.sum() + split.target_train_end.sum())
    shown = sorted(
        (sorted(s - {0}), sorted(t - {0}))
        for step in steps
        for s, t in zip(map(set, step.source.tolist()), map(set, step.target.tolist()), strict=True)
    )
    both = np.flatnonzero((split.source_train_end > 0) & (split.target_train_end > 0))
    assert shown == sorted(
        (
            sorted(pair.source.sequence(u)[: split.source_train_end[u]].tolist()),
            sorted(pair.target.sequence(u)[: split.target_train_end[u]].tolist()),
        )
        for u in both
    )
    rest = list(UnifiedBatches(work, merged_domain(work.pair, work.split), None).epoch(2, start=2))
    assert len(rest) == len(steps) - 2
    assert all(torch.equal(a.source, b.source) for a, b in zip(rest, steps[2:], strict=True))
    assert all(torch.equal(a.windows.items, b.windows.items) for a, b in zip(rest, steps[2:], strict=True))


# --- losses -----------------------------------------------------------------------------------------------------------


def test_the_next_item_is_told_from_those_of_its_own_domain() -> None:
    model, loss = net(), UnifiedLoss(UnifiedRecipeConfig(), np.arange(11), 4, 0)
    table = model.table()
    queries = torch.randn(3, table.keys.shape[1])
    items = torch.tensor([2, 5, 10])
    logits = queries @ table.keys.T
    expected = [
        F.cross_entropy(logits[:1, 1:5], torch.tensor([1])),
        F.cross_entropy(logits[1:, 5:], torch.tensor([0, 5])),
    ]
    torch.testing.assert_close(loss.next(table, queries, items, loss.draw()), (expected[0] + 2 * expected[1]) / 3)


def test_drawn_rivals_are_of_the_domain_and_never_the_item_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe, "SMALL_CATALOGUE", 0)
    model, loss = net(), UnifiedLoss(UnifiedRecipeConfig(negatives=4000), np.arange(11), 4, 0)
    table = model.table()
    queries, items = torch.randn(2, table.keys.shape[1]), torch.tensor([3, 7])
    logits = queries @ table.keys.T
    # With so many draws each other item of the domain comes as often as every other: a mean in place of the sum.
    others = [[1, 2, 4], [5, 6, 8, 9, 10]]
    spread = [np.log(4000 / 4), np.log(4000 / 6)]
    expected = [
        torch.logsumexp(torch.stack([logits[b, items[b]], *(logits[b, o] + spread[b] for o in others[b])]), 0)
        - logits[b, items[b]]
        for b in range(2)
    ]
    torch.testing.assert_close(
        loss.next(table, queries, items, loss.draw()), torch.stack(expected).mean(), rtol=0.02, atol=0.02
    )


def test_all_items_of_a_stranger_from_the_whole_domain_or_from_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    model, loss = net(), UnifiedLoss(UnifiedRecipeConfig(negatives=5000), np.arange(11), 4, 0)
    table = model.table()
    queries, items = torch.randn(2, table.keys.shape[1]), torch.tensor([[0, 2, 6], [0, 0, 1]])
    logits = queries @ table.keys[5:].T
    told = [F.cross_entropy(logits[b][None], torch.tensor([item - 1])) for b, item in ((0, 2), (0, 6), (1, 1))]
    whole = loss.all_of(table, "target", queries, items, loss.rivals("target"))
    torch.testing.assert_close(whole, torch.stack(told).mean())
    monkeypatch.setattr(recipe, "WHOLE", 0)
    loss = UnifiedLoss(UnifiedRecipeConfig(negatives=5000), np.arange(11), 4, 0)
    # The sample leaves the person's other items out, and its sum is corrected to that over all the rest.
    own = [(0, 1, [1, 5]), (0, 5, [1, 5]), (1, 0, [0])]
    expected = []
    for b, at, mine in own:
        rivals = [logits[b, j] for j in range(6) if j not in mine]
        expected.append(torch.logsumexp(torch.stack([logits[b, at], *rivals]), 0) - logits[b, at])
    drawn = loss.all_of(table, "target", queries, items, loss.rivals("target"))
    torch.testing.assert_close(drawn, torch.stack(expected).mean(), rtol=0.02, atol=0.02)


def test_the_parts_count_by_their_weights(random_pair: MakePair) -> None:
    pair = random_pair(3, users=60)
    work = job(pair, next_loss=0.25, cold_loss=2.0)
    step = next(iter(UnifiedBatches(work, merged_domain(work.pair, work.split), None).epoch(1)))
    counts = np.ones(31, np.int64)
    model = Unified(work.config.model, 15, np.zeros((31, 0), np.float32), counts).eval()
    parts = UnifiedLoss(work.config, counts, 15, 0)(model, step)
    torch.testing.assert_close(parts["loss"], 0.25 * parts["next"] + 2.0 * parts["cold"])
    alone = UnifiedLoss(dataclasses.replace(work.config, cold_loss=0.0), counts, 15, 0)(model, step)
    assert set(alone) == {"loss", "next"}
    parts["loss"].backward()
    assert all(w.grad is None or w.grad.isfinite().all() for w in model.parameters())


# --- learning ---------------------------------------------------------------------------------------------------------


def test_strangers_and_known_people_are_answered_by_the_same_weights(make_pair: MakePair) -> None:
    """Source kind k goes with target items k and k + 6, and k + 6 always follows k."""
    kinds = np.random.default_rng(0).integers(1, 7, 240)
    pair = make_pair([[int(k)] for k in kinds], [[int(k), int(k) + 6] for k in kinds])
    work = job(pair, epochs=40, patience=40, lr=0.02, dropout=0.1, input_dropout=0.0, taste_dropout=0.1)
    found = unified(work)[0]
    assert isinstance(found, UnifiedRecommender)
    cold = found.recommend(Histories.of([[k] for k in range(1, 7)], [[]] * 6), 2)[0]
    assert [set(row) for row in cold.tolist()] == [{k, k + 6} for k in range(1, 7)]
    known = found.recommend(Histories.of([[k] for k in range(1, 7)], [[k] for k in range(1, 7)]), 1)[0]
    assert known[:, 0].tolist() == [k + 6 for k in range(1, 7)]
    back = found.swapped().recommend(Histories.of([[k, k + 6] for k in range(1, 7)], [[]] * 6), 1)[0]
    assert back[:, 0].tolist() == list(range(1, 7))


def test_words_stand_for_items_that_nobody_took(
    make_pair: MakePair, with_telling_titles: Callable[[DomainPair], DomainPair]
) -> None:
    rng = np.random.default_rng(1)
    kinds = rng.integers(0, 2, 240)
    pair = make_pair([[1 + k + 2 * int(rng.integers(8))] for k in kinds], [[1 + int(k)] for k in kinds])
    pair = with_telling_titles(pair)
    split = held_out(pair)
    rare = list(range(13, 17))
    hidden = dataclasses.replace(split, source_train_end=split.source_train_end * ~np.isin(pair.source.items, rare))
    work = job(pair, hidden, epochs=30, patience=30, lr=0.01, components=3, dropout=0.1)
    best = unified(work)[0].recommend(Histories.of([[item] for item in rare], [[]] * len(rare)), 1)[0][:, 0]
    assert best.tolist() == [1 + (item - 1) % 2 for item in rare]


def test_one_domain_is_enough(make_pair: MakePair) -> None:
    pair = make_pair([[]] * 120, [[1 + k % 5, 6 + k % 5, 11 + k % 5, 16 + k % 5] for k in range(120)])
    work = job(pair, split_unstored(pair), epochs=25, patience=25, lr=0.01, dropout=0.1)
    found = unified(work)[0]
    assert found.recommend(Histories.of([[]] * 5, [[1 + k] for k in range(5)]), 1)[0][:, 0].tolist() == list(
        range(6, 11)
    )


def test_stopped_and_gone_on_with_it_ends_the_same(random_pair: MakePair, tmp_path: Any) -> None:
    pair = random_pair(5, users=60, fewest=1)

    class Now:
        """Wishes a stop after some questions."""

        def __init__(self, after: int):
            self.left = after

        @property
        def wished(self) -> bool:
            self.left -= 1
            return self.left < 0

        def polled(self) -> Any:
            from contextlib import nullcontext

            return nullcontext()

    from crossrec.stopping import Stopped

    work = job(pair, epochs=3, batch_size=16, encoder="none")
    whole = unified(work)[0].state()[1]
    stopped = dataclasses.replace(work, control=Control(checkpoint=tmp_path, stop=Now(4)))  # type: ignore[arg-type]
    with pytest.raises(Stopped):
        unified(stopped)
    again = unified(dataclasses.replace(work, control=Control(checkpoint=tmp_path)))[0].state()[1]
    assert all(np.array_equal(whole[name], again[name]) for name in whole)


def test_nobody_to_learn_from_is_one_sentence(make_pair: MakePair) -> None:
    pair = make_pair([[1], [2]], [[1], [2]])
    nothing = dataclasses.replace(held_out(pair), target_train_end=np.zeros(2, np.int64))
    with pytest.raises(CrossrecError, match="No Target event is left to train on"):
        unified(job(pair, nothing))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"next_loss": -1}, r"next_loss \(-1.0\)"),
        ({"next_loss": 0, "cold_loss": 0}, "must not both be 0"),
        ({"negatives": 0}, r"negatives \(0\)"),
        ({"components": 0}, r"components \(0\)"),
        ({"dim": 0}, r"dim \(0\)"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(CrossrecError, match=message):
        from_dict(UnifiedRecipeConfig, settings)


@pytest.mark.parametrize("large", [("source", "target"), ("target",), ()])
def test_a_step_that_makes_only_what_it_looks_at_comes_to_the_same(
    random_pair: MakePair, monkeypatch: pytest.MonkeyPatch, large: tuple[str, ...]
) -> None:
    """Of a domain that is large some rows are made, and moved; made and moved as a whole the weights are the same."""
    pair = timed(random_pair(3, users=60))
    settings = {"cold_loss": 1.0 if large else 0.0, "epochs": 3, "dropout": 0.0, "input_dropout": 0.0}
    work = job(pair, **settings, taste_dropout=0.0, average=1.0)
    monkeypatch.setattr(recipe, "SMALL_CATALOGUE", 0)

    class Sampled(UnifiedLoss):
        def __init__(self, *given: Any):
            super().__init__(*given)
            self.large = {name: name in large for name in self.rows}

    def weights(by_rows: bool) -> dict[str, torch.Tensor]:
        monkeypatch.setattr(lazy, "LAZY_FROM", 1 if by_rows else 10**9)
        monkeypatch.setattr(Sampled, "by_rows", by_rows or not large)
        monkeypatch.setattr(recipe, "UnifiedLoss", Sampled)
        found = unified(work)[0]
        assert isinstance(found, UnifiedRecommender)
        return dict(found.model.state_dict())

    here, there = weights(True), weights(False)
    for name in ("item", "bias", "read", "write", "position.weight", "blocks.0.ff.0.weight"):
        assert (here[name] - there[name]).abs().mean() < 0.02 * there[name].abs().mean(), name
    assert not torch.equal(here["item"], there["item"])
