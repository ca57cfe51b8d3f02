"""Recipes on small pairs: what is learned from, what is repeated by a seed, and what the source may tell."""

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
from crossrec.data.split import Split, _split, cold_user, split_unstored
from crossrec.errors import CrossrecError
from crossrec.evaluation.protocol import quick
from crossrec.models.bridge import BridgeConfig
from crossrec.models.losses import gbce_beta
from crossrec.models.sasrec import SASRec, SASRecConfig, SASRecRecommender
from crossrec.models.transfer import TransferSASRec
from crossrec.training.batches import Batch, Negatives
from crossrec.training.job import Job
from crossrec.training.recipes import RECIPES, find_recipe
from crossrec.training.sequence import LossConfig, NextItemLoss, SequenceConfig, source_vectors

MakePair = Callable[..., DomainPair]
SMALL = {"dim": 8, "max_len": 6, "epochs": 2, "batch_size": 8}


def source_model(n_items: int, max_len: int = 5) -> SASRec:
    torch.manual_seed(9)
    model = SASRec(SASRecConfig(dim=4, max_len=max_len), n_items)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.3)
    return model.eval()


def job(pair: DomainPair, recipe: str, seed: int = 0, split: Split | None = None, **settings: Any) -> Job:
    split = split or split_unstored(pair)
    config = from_dict(RECIPES[recipe].config, settings)
    starts = RECIPES[recipe].starts_from
    source = SASRecRecommender(source_model(pair.source.n_items)) if starts else None
    return Job(pair, split, config, seed, lambda r: quick(r, pair, split), start=source)


def everybody(pair: DomainPair) -> Histories:
    users = np.arange(pair.n_users)
    return pair.histories(users, pair.source.counts, pair.target.counts)


# --- the source vector of a training event ----------------------------------------------------------------------------


@given(seed=st.integers(0, 100_000), pool=st.sampled_from(["last", "mean"]), kind=st.sampled_from(["next", "cold"]))
def test_a_training_event_sees_only_earlier_source_events(
    random_pair: MakePair, seed: int, pool: str, kind: str
) -> None:
    pair = random_pair(seed, users=11, instants=6)
    split = split_unstored(pair) if kind == "next" else _split(pair, "cold-user", 0, *cold_user(pair, seed, 0.3))
    model = source_model(15)
    vectors, row = source_vectors(pair, split, model, BridgeConfig(source_pool=pool), batch=3)
    assert vectors.shape[1] == 4
    assert (vectors[0] == 0).all()
    assert row.shape == pair.target.items.shape
    source, target = pair.source, pair.target
    assert source.times is not None
    assert target.times is not None
    for user in range(pair.n_users):
        mine = slice(source.offsets[user], source.offsets[user + 1])
        for at in range(target.counts[user]):
            event = int(target.offsets[user]) + at
            earlier = [
                int(item)
                for item, time in zip(source.items[mine], source.times[mine], strict=True)
                if time < target.times[event]
            ]
            if at >= split.target_train_end[user] or not earlier:
                assert row[event] == 0
                continue
            with torch.no_grad():
                states = model(torch.tensor([earlier[-5:]]))[0]
            expected = states[-1] if pool == "last" else states[1:].mean(0)
            torch.testing.assert_close(vectors[row[event]], expected, rtol=0, atol=2e-5)


def test_the_order_alone_gives_the_whole_source(random_pair: MakePair) -> None:
    pair = random_pair(4, timed=False, fewest=3)
    model = source_model(15)
    vectors, row = source_vectors(pair, split_unstored(pair), model, BridgeConfig(source_pool="last"))
    for user in range(pair.n_users):
        with torch.no_grad():
            whole = model(torch.from_numpy(pair.source.sequence(user)[-5:].astype(np.int64))[None])[0, -1]
        torch.testing.assert_close(vectors[row[pair.target.offsets[user]]], whole, rtol=0, atol=2e-5)


# --- the loss over a batch --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ce", "sampled", "gbce", "bce"])
def test_the_configured_loss_is_that_of_the_logits(random_pair: MakePair, name: str) -> None:
    pair = random_pair(2, users=8, fewest=4)
    split = split_unstored(pair)
    work = job(pair, "target-sasrec", seed=5, loss=name, negatives=6, dim=8, max_len=6)
    torch.manual_seed(0)
    model = SASRec(work.config.sasrec, 15, split.target_counts(pair)).eval()
    items = torch.tensor([[3, 7, 0], [1, 2, 9]])
    targets = torch.tensor([[3, 7, 0, 0], [0, 2, 9, 4]])  # the first is a later window's, and two are padding
    batch = Batch(items, targets, torch.tensor([1, 6]), torch.zeros_like(targets))
    value = NextItemLoss(work.config, work)(model, model(items), batch)["loss"]

    ask = targets > 0
    logits = model.logits(model(items))[ask]  # (P, I+1)
    target = targets[ask]
    positive = logits[torch.arange(5), target]
    again = Negatives(15, pair.target.first(split.target_train_end), 5)
    if name == "ce":
        expected = F.cross_entropy(logits[:, 1:], target - 1)
    elif name == "bce":
        users = torch.tensor([1, 1, 6, 6, 6])
        negative = logits.gather(1, again.outside(users, 6))
        expected = (F.softplus(-positive) + F.softplus(negative).sum(1)).mean() / 7
    else:
        shared = again.shared(6)
        counts = (shared[None] != target[:, None]).float()
        negative = logits[:, shared]
        if name == "sampled":
            expected = (torch.log(positive.exp() + (negative.exp() * counts).sum(1)) - positive).mean()
        else:
            beta = gbce_beta(15, 6, 0.75)
            expected = (beta * F.softplus(-positive) + (F.softplus(negative) * counts).sum(1)).mean() / 7
    torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("n_items", "loss"), [(5000, "ce"), (5001, "sampled")])
def test_the_default_loss_goes_by_the_catalogue(make_pair: MakePair, n_items: int, loss: str) -> None:
    pair = make_pair([[]] * 3, [[1, 2, 3, 4], [5, 6, 7], [2, 4, n_items]], n_target=n_items)
    split = split_unstored(pair)
    values = []
    for name in ("auto", loss):
        work = job(pair, "target-sasrec", loss=name, dim=4, negatives=20)
        torch.manual_seed(0)
        model = SASRec(work.config.sasrec, n_items, split.target_counts(pair)).eval()
        batch = Batch(torch.tensor([[3, 7]]), torch.tensor([[3, 7, 9]]), torch.tensor([1]), torch.zeros(1, 3))
        values.append(NextItemLoss(work.config, work)(model, model(batch.items), batch)["loss"])
    assert torch.equal(*values)


# --- training ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", ["target-sasrec", "transfer-sasrec"])
@pytest.mark.parametrize("loss", ["ce", "bce"])
def test_the_seed_decides_and_the_world_outside_is_left_alone(random_pair: MakePair, recipe: str, loss: str) -> None:
    pair = random_pair(0, users=30, fewest=1)

    def scores(seed: int) -> np.ndarray[Any, Any]:
        work = job(pair, recipe, seed, loss=loss, negatives=4, **SMALL)
        torch.rand(seed + 3)  # the state of the generator outside must not matter
        return RECIPES[recipe].train(work)[0].score(everybody(pair))

    work = job(pair, recipe, 1, loss=loss, negatives=4, **SMALL)
    torch.manual_seed(77)
    expected = torch.rand(5)
    torch.manual_seed(77)
    numpy_before = np.random.get_state()[1].tolist()  # type: ignore[index,union-attr]  # noqa: NPY002
    one = RECIPES[recipe].train(work)[0].score(everybody(pair))
    assert torch.equal(torch.rand(5), expected)
    assert np.random.get_state()[1].tolist() == numpy_before  # type: ignore[index,union-attr]  # noqa: NPY002
    np.testing.assert_array_equal(scores(1), one)
    assert np.abs(scores(2)[:, 1:] - one[:, 1:]).max() > 1e-3


def test_training_learns_what_follows_what(make_pair: MakePair) -> None:
    # Everybody walks round a ring of eight items from another start; the next one is certain.
    walks = [[(start + step) % 8 + 1 for step in range(6)] for start in range(8) for _ in range(6)]
    pair = make_pair([[] for _ in walks], walks)
    work = job(pair, "target-sasrec", dim=16, max_len=8, epochs=30, lr=0.01, batch_size=16, dropout=0.0)
    recommender, fitted = RECIPES["target-sasrec"].train(work)
    assert fitted is not None
    assert work.validate(recommender)["hr@10"] == 1
    items, _ = recommender.recommend(Histories.of([[]] * 3, [[1, 2, 3], [7, 8], [4, 5, 6]]), 1)
    assert items[:, 0].tolist() == [4, 1, 7]
    assert fitted.best_score == pytest.approx(work.validate(recommender)["ndcg@10"])


def test_transfer_learns_from_the_source_what_the_target_cannot_know(make_pair: MakePair) -> None:
    # The single source item names the target item that follows; the target history says nothing.
    rng = np.random.default_rng(0)
    kinds = rng.integers(1, 7, 160)
    target = [[*(rng.permutation(6)[:2] + 7).tolist(), int(kind)] for kind in kinds]
    # The last two events of each are hidden, so put the telling item first and noise behind it.
    target = [row[::-1] for row in target]
    pair = make_pair([[int(kind)] for kind in kinds], target, [[0]] * 160, [[1, 2, 3]] * 160)
    work = job(pair, "transfer-sasrec", dim=16, epochs=40, lr=0.01, batch_size=32, source_dropout=0.0, patience=40)
    recommender, _ = RECIPES["transfer-sasrec"].train(work)
    asked = Histories.of([[k] for k in range(1, 7)], [[]] * 6)
    assert recommender.recommend(asked, 1)[0][:, 0].tolist() == [1, 2, 3, 4, 5, 6]


def test_source_dropout_withholds_the_source_of_whole_windows(
    make_pair: MakePair, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = 300
    pair = make_pair([[1]] * users, [[1, 2, 3, 4, 5]] * users, [[0]] * users, [[1, 2, 3, 4, 5]] * users)
    shown: list[torch.Tensor] = []
    real = TransferSASRec.forward

    def spy(self: TransferSASRec, items: torch.Tensor, source: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        shown.append(present)
        assert (source[~present] == 0).all()
        assert (source[present] != 0).any()
        return real(self, items, source, present)

    monkeypatch.setattr(TransferSASRec, "forward", spy)
    for share in (0.0, 0.25):
        shown.clear()
        RECIPES["transfer-sasrec"].train(job(pair, "transfer-sasrec", **{**SMALL, "epochs": 1}, source_dropout=share))
        present = torch.cat(shown)
        assert len(present) == users
        assert (present.all(1) | ~present.any(1)).all()
        withheld = (~present.any(1)).float().mean().item()
        assert withheld == pytest.approx(share, abs=5 * (share * (1 - share) / users) ** 0.5)


def test_the_source_model_is_frozen(random_pair: MakePair) -> None:
    pair = random_pair(0, users=30, fewest=1)
    work = job(pair, "transfer-sasrec", **SMALL)
    assert work.source_model is not None
    before = {name: tensor.clone() for name, tensor in work.source_model.state_dict().items()}
    RECIPES["transfer-sasrec"].train(work)
    for name, tensor in work.source_model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert not work.source_model.training


def test_hidden_events_change_nothing_that_is_learned(random_pair: MakePair) -> None:
    """The sharpest leak test: other items in the hidden places must give the same weights."""
    pair = random_pair(3, users=30, fewest=3)
    split = split_unstored(pair)
    items = pair.target.items.copy()
    rng = np.random.default_rng(0)
    for user in range(pair.n_users):
        start, stop = pair.target.offsets[user], pair.target.offsets[user + 1]
        free = np.setdiff1d(np.arange(1, 16), items[start:stop])
        items[stop - 2 : stop] = rng.permutation(free)[:2]
    other = make_other(pair, items)
    for name in ("popularity", "linear-map", "target-sasrec", "transfer-sasrec"):
        settings = {**SMALL, "loss": "bce", "negatives": 3} if "sasrec" in name else {}
        one, two = (
            # Validation chooses the epoch; with a constant score it cannot.
            RECIPES[name].train(Job(p, split, work.config, 0, lambda r: {"ndcg@10": 0.5}, start=work.start))[0]
            for p, work in ((pair, job(pair, name, **settings)), (other, job(pair, name, **settings)))
        )
        known = pair.histories(np.arange(pair.n_users), split.source_train_end, split.target_train_end)
        np.testing.assert_array_equal(one.score(known), two.score(known))


def make_other(pair: DomainPair, items: np.ndarray[Any, Any]) -> DomainPair:
    from dataclasses import replace

    return replace(pair, target=replace(pair.target, items=items))


def test_popularity_is_that_of_the_training_part(random_pair: MakePair) -> None:
    pair = random_pair(0)
    recommender, fitted = RECIPES["popularity"].train(job(pair, "popularity"))
    assert fitted is None
    counts = split_unstored(pair).target_counts(pair)
    np.testing.assert_array_equal(recommender.score(everybody(pair))[0, 1:], counts[1:])


def test_the_linear_map_is_solved_from_the_training_part(random_pair: MakePair) -> None:
    pair = random_pair(1, users=40)
    split = split_unstored(pair)
    recommender, _ = RECIPES["linear-map"].train(job(pair, "linear-map", ridge=2.0, prior=0.1))
    xs, xt = np.zeros((40, 16)), np.zeros((40, 16))
    for user in range(40):
        s, t = int(split.source_train_end[user]), int(split.target_train_end[user])
        if s and t:
            xs[user, pair.source.sequence(user)[:s]] = 1
            xt[user, pair.target.sequence(user)[:t]] = 1
    w = np.linalg.inv(xs.T @ xs + 2 * np.eye(16)) @ xs.T @ xt
    expected = np.eye(16)[1:] @ w + 0.1 * np.log1p(split.target_counts(pair))
    scores = recommender.score(Histories.of([[i] for i in range(1, 16)], [[]] * 15))
    np.testing.assert_allclose(scores[:, 1:], expected[:, 1:], rtol=1e-3, atol=1e-4)


def test_the_linear_map_takes_a_seeded_sample_of_many(random_pair: MakePair) -> None:
    pair = random_pair(1, users=60, fewest=3)
    made = [RECIPES["linear-map"].train(job(pair, "linear-map", seed, max_users=10))[0] for seed in (1, 1, 2)]
    tables = [one.state()[1]["source.indices"].tolist() for one in made]
    assert tables[0] == tables[1] != tables[2]
    assert all(one.state()[1]["inverse"].shape == (10, 10) for one in made)


def test_nothing_to_learn_from_is_told(make_pair: MakePair) -> None:
    pair = make_pair([[1], [2]], [[1, 2], [3]])
    with pytest.raises(CrossrecError, match="No Target event is left to train on"):
        RECIPES["target-sasrec"].train(job(pair, "target-sasrec"))
    with pytest.raises(CrossrecError, match="people with training events in both domains"):
        RECIPES["linear-map"].train(job(pair, "linear-map"))
    with pytest.raises(CrossrecError, match="train-source"):
        work = job(pair, "transfer-sasrec")
        RECIPES["transfer-sasrec"].train(Job(work.pair, work.split, work.config, 0, work.validate, start=None))


def test_recipes_by_name() -> None:
    assert all(find_recipe(name).name == name for name in RECIPES)
    with pytest.raises(CrossrecError, match=r"no recipe 'transfer-sasrek'. Did you mean 'transfer-sasrec'"):
        find_recipe("transfer-sasrek")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": "mse"}, "loss \\('mse'\\) must be one of"),
        ({"negatives": 0}, r"negatives \(0\)"),
        ({"calibration": 2}, r"calibration \(2\)"),
    ],
)
def test_bad_losses_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LossConfig(**settings)
    with pytest.raises(ValueError, match=message):
        SequenceConfig(**settings)
