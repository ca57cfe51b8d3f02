"""Fine-tuning on a feedback log: its arithmetic by hand, what it may look at, what it makes of a log without news."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from crossrec.config import from_dict
from crossrec.data.logged import StoredLog
from crossrec.data.pair import DomainPair
from crossrec.data.split import split_unstored
from crossrec.errors import CrossrecError
from crossrec.feedback.policy import PolicyConfig, SoftmaxPolicy, z_scores
from crossrec.models.bridge import BRIDGES, BridgeConfig
from crossrec.models.sasrec import SASRec, SASRecConfig, SASRecRecommender
from crossrec.models.transfer import TransferRecommender, TransferSASRec
from crossrec.training import policy
from crossrec.training.job import Job
from crossrec.training.policy import (
    FinetuneConfig,
    Gain,
    Objective,
    Scorer,
    drawn,
    mixture,
    policy_finetune,
    snips_gain,
    surrogate,
    top_k_multiplier,
)
from crossrec.training.slates import SlateBatch, SlateBatches, histories_of, mean_rewards, parts, read_slates

MakePair = Callable[..., DomainPair]
N_ITEMS = 15


def recommender(kind: str = "sasrec", seed: int = 3) -> SASRecRecommender | TransferRecommender:
    """kind: "sasrec", "transfer", or "transfer" with a bridge of that name behind a blank."""
    config = SASRecConfig(dim=8, max_len=6)
    bridge = BridgeConfig(bridge=kind.partition(" ")[2] or "mlp", bridge_hidden=8)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = SASRec(config, N_ITEMS)
        bridged = TransferSASRec(config, bridge, N_ITEMS, 8)
        for weight in (*model.parameters(), *bridged.parameters()):
            weight.data.add_(torch.randn_like(weight) * 0.3)
    if kind == "sasrec":
        return SASRecRecommender(model)
    return TransferRecommender(bridged, model, bridge)


def stored(pair: DomainPair, slates: list[dict[str, Any]], events: list[dict[str, Any]]) -> StoredLog:
    """A log in memory."""
    frame = pd.DataFrame(slates)
    frame["policy"] = "by hand"
    rows = pd.DataFrame(events)
    rows["action"], rows["time"] = "click", None
    return StoredLog("log", {"dataset": pair.name, "dataset_hash": pair.meta["hash"]}, frame, rows)


def drawn_log(
    pair: DomainPair, seed: int = 0, people: int = 12, slates: int = 5, reward: float | None = None, known: bool = True
) -> StoredLog:
    """Slates of two, drawn evenly from seven candidates; a person likes even items, or all get the same reward."""
    rng = np.random.default_rng(seed)
    shown, events = [], []
    for user in range(people):
        for _ in range(slates):
            own = pair.target.sequence(user)
            candidates = rng.permutation(np.setdiff1d(np.arange(1, N_ITEMS + 1), own))[:7]
            for place, item in enumerate(candidates[:2]):
                liked = float(item % 2 == 0) if reward is None else reward
                events.append(
                    {"slate": len(shown), "position": place, "item": int(item), "propensity": 1 / (7 - place)}
                    | {"reward": liked}
                )
            shown.append({"session": f"s{user}", "user": user, "candidates": candidates if known else None})
    return stored(pair, shown, events)


@pytest.fixture
def pair(random_pair: MakePair) -> DomainPair:
    return random_pair(1, users=12, n_items=N_ITEMS, fewest=3, longest=6)


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Callable[[StoredLog], None]:
    """Lets the recipe find a log that is on no disk."""
    return lambda log: monkeypatch.setattr(policy, "open_log", lambda name: log)


def job(pair: DomainPair, kind: str = "sasrec", seed: int = 0, **settings: Any) -> Job:
    config = from_dict(FinetuneConfig, {"log": "log", "epochs": 3, "batch_size": 16, **settings})
    return Job(pair, split_unstored(pair), config, seed, lambda r: {"ndcg@10": 0.0}, start=recommender(kind))


# --- arithmetic by hand -----------------------------------------------------------------------------------------------


def test_lambda_k() -> None:
    found = top_k_multiplier(torch.tensor([0.0, 0.1, 0.5], dtype=torch.float64), 16)
    assert found.tolist() == pytest.approx([16, 3.294258, 0.000488], abs=1e-6)
    assert top_k_multiplier(torch.tensor([0.0, 0.3, 1.0]), 1).tolist() == [1, 1, 1]


def slate(items: list[int], beta: list[float], advantage: list[float], **changed: Any) -> SlateBatch:
    """One slate of a catalogue whose candidates are unknown, as tensors."""
    one = torch.tensor([items])
    batch = SlateBatch(
        people=torch.zeros(1, dtype=torch.long),
        items=one,
        ordered=torch.ones_like(one, dtype=torch.bool),
        used=torch.ones_like(one, dtype=torch.bool),
        beta=torch.tensor([beta], dtype=torch.float64),
        advantage=torch.tensor([advantage], dtype=torch.float64),
        candidates=torch.zeros((1, 0), dtype=torch.long),
    )
    return replace(batch, **changed)


LOGITS = [-np.inf, np.log(0.5), np.log(0.3), np.log(0.2)]
"""Of padding and three items whose probabilities are .5, .3 and .2."""


def descent(batch: SlateBatch, k: int, cap: float) -> list[float]:
    """The gradient of the surrogate in the logits of the three items."""
    logits = torch.tensor([LOGITS], dtype=torch.float64, requires_grad=True)
    surrogate(logits.softmax(1), batch, k, cap).sum().backward()  # type: ignore[no-untyped-call]
    assert isinstance(logits.grad, Tensor)
    return list(logits.grad[0, 1:].tolist())


def test_the_gradient_of_three_items_by_hand() -> None:
    # weight (.3 / .6) x lambda_2(.3) 1.4 x A .3 = .21, times -(onehot - p)
    one = slate([2], [0.6], [0.3])
    assert descent(one, k=2, cap=10) == pytest.approx([0.105, -0.147, 0.042])
    assert descent(one, k=2, cap=0.25) == pytest.approx([0.0525, -0.0735, 0.021])  # the ratio .5 is capped at .25
    assert descent(one, k=1, cap=10) == pytest.approx([0.075, -0.105, 0.03])  # without the multiplier
    assert descent(replace(one, used=torch.tensor([[False]])), k=2, cap=10) == [0, 0, 0]


def test_the_second_position_is_drawn_from_what_is_left() -> None:
    # Item 1 above, then item 3 with .2 / .5 = .4, shown with .8: weight .5 x A 1, and item 1 has no part in it.
    two = slate([1, 3], [0.5, 0.8], [0.0, 1.0])
    assert descent(two, k=1, cap=10) == pytest.approx([0, 0.3, -0.3])
    # Where nobody knows what stood above, pi = .2: weight .25, times -(onehot - p).
    unknown = replace(two, ordered=torch.tensor([[False, False]]))
    assert descent(unknown, k=1, cap=10) == pytest.approx([0.125, 0.075, -0.2])


def test_it_is_the_policy_of_the_feedback_loop() -> None:
    rng = np.random.default_rng(0)
    scores, own = rng.normal(3, 2, (1, 21)), np.zeros((1, 21), bool)
    own[0, [0, 4, 9]] = True
    candidates = np.array([1, 2, 7, 8, 15, 20, 11])
    hidden = np.where(own, -np.inf, scores)[0]
    looped = SoftmaxPolicy(candidates, z_scores(hidden), None, PolicyConfig(k=3, temperature=0.7, epsilon=0.2))
    allowed = torch.zeros((1, 21), dtype=torch.bool)
    allowed[0, candidates] = True
    m = mixture(torch.from_numpy(scores), torch.from_numpy(own), allowed, 0.7, 0.2)
    assert m[0, candidates].numpy() == pytest.approx(looped.probabilities)
    assert float(m.sum()) == pytest.approx(1)
    shown = looped.draw(rng)
    _, pi = drawn(m, torch.from_numpy(shown.items)[None], torch.ones((1, 3), dtype=torch.bool))
    assert pi[0].numpy() == pytest.approx(shown.propensities)


def test_the_gain_by_hand() -> None:
    reward = np.array([[1.0], [0.0], [1.0], [0.0]])
    after, before = np.array([[2.0], [0.5], [0.5], [1.0]]), np.ones((4, 1))
    found = snips_gain(after, before, reward, np.arange(4))
    assert (found.after, found.before, found.gain) == pytest.approx((0.625, 0.5, 0.125))
    assert found.ess == pytest.approx(2.909091)
    assert found.sessions == 4
    # Influences .75, -.3125, .1875, -.625 less .5, -.5, .5, -.5; their deviation over 2, times t with 3 degrees.
    difference = np.array([0.25, 0.1875, -0.3125, -0.125])
    reach = 3.182446 * difference.std(ddof=1) / 2
    assert (found.low, found.high) == pytest.approx((0.125 - reach, 0.125 + reach), abs=1e-6)
    one = snips_gain(after, before, reward, np.zeros(4, np.int64))
    assert (one.low, one.high) == (-np.inf, np.inf)  # a single session says nothing of luck


def test_scaled_weights_are_no_gain() -> None:
    rng = np.random.default_rng(0)
    before, reward = rng.random((30, 3)), rng.random((30, 3))
    found = snips_gain(5 * before, before, reward, np.arange(30) // 2)
    assert (found.gain, found.low, found.high) == pytest.approx((0, 0, 0), abs=1e-12)


def test_a_gain_that_may_be_luck_keeps_the_start() -> None:
    def gain(mean: float, low: float) -> Gain:
        return Gain(0.0, mean, mean, low, 2 * mean - low, 10, 10)

    assert policy._refusal(gain(0.1, 0.05), gain(0.1, 0.05)) is None
    assert "is not surely above 0" in str(policy._refusal(gain(0.1, 0.05), gain(0.1, 0.0)))
    assert "no epoch" in str(policy._refusal(gain(0.0, -0.1), gain(0.1, 0.05)))


# --- what is read of a log --------------------------------------------------------------------------------------------


def test_what_is_left_out_is_counted(make_pair: MakePair) -> None:
    pair = make_pair([[1], [1]], [[1, 2, 3], [1, 2, 3]], n_target=9)
    slates = [{"session": f"s{n}", "user": n % 2, "candidates": np.array([3, 5, 6])} for n in range(11)]
    rows = {
        "unknown": {"slate": 0, "position": 0, "item": 5, "propensity": np.nan},
        "held out": {"slate": 1, "position": 0, "item": 3, "propensity": 0.5},
        "outside": {"slate": 2, "position": 0, "item": 9, "propensity": 0.5},
    }
    good = [{"slate": n, "position": int(n < 3), "item": 6, "propensity": 0.25} for n in range(10)]
    gap = {"slate": 10, "position": 1, "item": 6, "propensity": 0.25}
    events = sorted([*rows.values(), *good, gap], key=lambda row: (row["slate"], row["position"]))
    log = stored(pair, slates, [{**row, "reward": 1.0} for row in events])
    found = read_slates(log, pair, split_unstored(pair))
    assert found.left_out == {
        "unknown propensity": 1,
        "a held-out event of the same person": 1,
        "not among the slate's candidates": 1,
        "the log does not hold all that stood above": 1,
    }
    assert len(found) == 10
    assert found.used[:4].tolist() == [[False, True], [False, True], [False, True], [True, False]]
    assert found.items[0].tolist() == [5, 6]  # what is left out still stands above
    everyone = read_slates(
        replace(log, slates=log.slates.assign(user=-1)), pair, split_unstored(pair)
    )  # of a stranger nothing is held out
    assert "a held-out event of the same person" not in everyone.left_out


def test_a_log_that_cannot_be_learned_from(pair: DomainPair) -> None:
    split = split_unstored(pair)
    log = drawn_log(pair)
    with pytest.raises(CrossrecError, match=r"No row of the log 'log' has a propensity.*Import the log with its"):
        read_slates(replace(log, events=log.events.assign(propensity=np.nan)), pair, split)
    with pytest.raises(CrossrecError, match=r"has 9 sessions that can be learned from.*fewer than 10"):
        read_slates(drawn_log(pair, people=9), pair, split)
    shown_second = log.events.assign(position=log.events["position"] + 1)
    with pytest.raises(
        CrossrecError, match=r"has 0 sessions.* Left out are: the log does not hold all that stood above"
    ):
        read_slates(replace(log, events=shown_second), pair, split)
    with pytest.raises(CrossrecError, match="was made ready for"):
        read_slates(replace(log, meta={**log.meta, "dataset_hash": "another"}), pair, split)
    with pytest.raises(CrossrecError, match=r"held_out \(0.99\) leaves none of 12 sessions"):
        parts(read_slates(log, pair, split), 0.99, 0)


def test_the_three_parts_are_whole_sessions(pair: DomainPair) -> None:
    slates = read_slates(drawn_log(pair, slates=3), pair, split_unstored(pair))
    cut = parts(slates, 0.5, 4)
    sessions = [set(part.session.tolist()) for part in cut]
    assert [len(part) for part in sessions] == [6, 3, 3]
    assert set.union(*sessions) == set(range(12))
    assert sum(map(len, cut)) == len(slates)
    assert [set(part.session.tolist()) for part in parts(slates, 0.5, 4)] == sessions
    assert [set(part.session.tolist()) for part in parts(slates, 0.5, 5)] != sessions


def test_the_baseline_is_the_mean_by_position(pair: DomainPair) -> None:
    slates = read_slates(drawn_log(pair), pair, split_unstored(pair))
    found = mean_rewards(slates, slates.items.shape[1])
    assert found[:2] == pytest.approx(slates.reward.mean(axis=0))
    aside = replace(slates, position=np.full_like(slates.position, -1))
    assert mean_rewards(aside, aside.items.shape[1])[-1] == pytest.approx(slates.reward.mean())
    # Positions and kinds of slates that the training part has none of get the mean of all.
    assert mean_rewards(slates, 7)[2:] == pytest.approx(np.full(6, slates.reward.mean()))
    batches = SlateBatches(aside, slates.session, mean_rewards(aside, aside.items.shape[1]), 4, 0)
    assert batches.advantage.sum() == pytest.approx(0)


def test_the_context_is_the_training_part(pair: DomainPair) -> None:
    split = split_unstored(pair)
    found = histories_of(pair, split, np.array([-1, 0, 3]))
    assert not found.target[0].any()
    assert not found.source[0].any()
    for row, user in ((1, 0), (2, 3)):
        own = found.target[row][found.target[row] > 0]
        assert own.tolist() == pair.target.sequence(user)[: split.target_train_end[user]].tolist()
        assert (found.source[row] > 0).sum() == split.source_train_end[user]


# --- the objective over a log -----------------------------------------------------------------------------------------


def objective(pair: DomainPair, log: StoredLog, kind: str = "sasrec", **settings: Any) -> tuple[Any, Any, SlateBatches]:
    split, base = split_unstored(pair), recommender(kind)
    slates = read_slates(log, pair, split)
    scorer = Scorer(base, histories_of(pair, split, np.arange(pair.n_users)))
    config = from_dict(FinetuneConfig, {"log": "log", **settings})
    start = recommender(kind, seed=8).model
    return (
        Objective(config, scorer, start, 2),
        base.model,
        SlateBatches(slates, slates.user, mean_rewards(slates, slates.items.shape[1]), 32, 0),
    )


@pytest.mark.parametrize("kind", ["transfer", *(f"transfer {name}" for name in BRIDGES)])
def test_the_states_are_those_that_the_recommender_scores_by(random_pair: MakePair, kind: str) -> None:
    pair = random_pair(2, users=9, longest=N_ITEMS)
    base = recommender(kind)
    assert isinstance(base, TransferRecommender)
    histories = pair.histories(np.arange(9), pair.source.counts, pair.target.counts)
    with torch.no_grad():
        found = Scorer(base, histories).states(base.model, torch.tensor([4, 0, 4, 8]))
        torch.testing.assert_close(found, base.states(histories)[[4, 0, 4, 8]], rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["sasrec", "transfer", "transfer personal"])
def test_a_wide_catalogue_in_chunks_is_the_same(pair: DomainPair, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    found = []
    for cells in (10**6, 5 * (N_ITEMS + 1)):
        monkeypatch.setattr(policy, "CELLS", cells)
        asked, model, batches = objective(pair, drawn_log(pair), kind, kl=0.3, entropy=0.2)
        losses = asked(model, next(batches.epoch(1)))
        losses["loss"].backward()
        gradients = [weight.grad for weight in model.parameters() if weight.grad is not None]
        found.append([losses["loss"].detach(), *gradients, torch.from_numpy(asked.weights(model, batches))])
    assert len(found[0]) > 5
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_unknown_candidates_are_all_that_the_person_does_not_have(pair: DomainPair) -> None:
    log = drawn_log(pair, known=False)
    split = split_unstored(pair)
    all_of = [
        np.setdiff1d(np.arange(1, N_ITEMS + 1), pair.target.sequence(user)[: split.target_train_end[user]])
        for user in log.slates["user"]
    ]
    told = replace(log, slates=log.slates.assign(candidates=pd.Series(all_of)))
    weights = []
    for one in (log, told):
        asked, model, batches = objective(pair, one)
        weights.append(asked.weights(model, batches))
    assert weights[0] == pytest.approx(weights[1])


def test_divergence_from_oneself_is_none(pair: DomainPair) -> None:
    asked, model, batches = objective(pair, drawn_log(pair), kl=1.0)
    batch = next(batches.epoch(1))
    assert float(asked(model, batch)["kl"].detach()) > 0.01
    asked.start = model
    assert float(asked(model, batch)["kl"].detach()) == pytest.approx(0, abs=1e-6)


# --- the recipe -------------------------------------------------------------------------------------------------------


def state(one: Any) -> dict[str, Tensor]:
    return {name: weight.clone() for name, weight in one.model.state_dict().items()}


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    return {name for name, weight in before.items() if not torch.equal(weight, after[name])}


@pytest.mark.parametrize("kind", ["sasrec", "transfer"])
def test_a_log_without_news_changes_nothing(pair: DomainPair, given: Callable[[StoredLog], None], kind: str) -> None:
    given(drawn_log(pair, reward=0.3))
    work = job(pair, kind, weights="all", lr=0.01)
    before = state(work.start)
    found, fitted = policy_finetune(work)
    assert fitted.report["kept_start"] is True
    assert (fitted.best_epoch, fitted.epochs >= 1) == (0, True)
    assert type(found) is type(work.start)
    assert not changed(before, state(found))


@pytest.mark.parametrize("kind", ["sasrec", "transfer"])
def test_what_people_like_is_learned(random_pair: MakePair, given: Callable[[StoredLog], None], kind: str) -> None:
    pair = random_pair(1, users=60, n_items=N_ITEMS, fewest=3, longest=6)
    given(drawn_log(pair, people=60))
    settings = {"epochs": 10, "lr": 0.02, "patience": 10}
    work = job(pair, kind, **settings, weights="items")
    before, grown = state(work.start), {}
    for weights in ("items", "all"):
        found, fitted = policy_finetune(replace(work, config=replace(work.config, weights=weights)))
        grown[weights] = changed(before, state(found))
        assert not fitted.report["kept_start"], fitted.report
        assert fitted.report["judge"]["low"] > 0
        histories = pair.histories(np.arange(60), pair.source.counts, np.zeros(60, np.int64))
        scores = found.score(histories)[:, 1:]
        assert scores[:, 1::2].mean() > scores[:, ::2].mean() + 0.5  # the even items
        assert all(weight.requires_grad for weight in found.model.parameters())  # type: ignore[attr-defined]
    assert {name.removeprefix("sequence.") for name in grown["items"]} == {"item.weight", "bias"}
    assert len(grown["all"]) > len(grown["items"])
    assert not changed(before, state(work.start))  # what it started from is as it was


def test_the_same_seed_comes_to_the_same(pair: DomainPair, given: Callable[[StoredLog], None]) -> None:
    given(drawn_log(pair))
    one, again, other = (policy_finetune(job(pair, seed=seed, lr=0.01))[1] for seed in (2, 2, 3))
    told = [[event["losses"] for event in fitted.history] for fitted in (one, again, other)]
    assert told[0] == told[1] != told[2]


def test_what_is_hidden_is_not_looked_at(pair: DomainPair, given: Callable[[StoredLog], None]) -> None:
    """The two held-out events of each person change places: nothing that is learned from may tell."""
    given(drawn_log(pair))
    split, told = split_unstored(pair), []
    for items in (pair.target.items, _other_hidden(pair, split.target_train_end)):
        fitted = policy_finetune(job(replace(pair, target=replace(pair.target, items=items))))[1]
        assert fitted.report["left_out"] == {}
        told.append([event["losses"] for event in fitted.history])
    assert told[0] == told[1]


def _other_hidden(pair: DomainPair, ends: Any) -> Any:
    """The items of all events, the held-out ones of each person in reversed order."""
    items = pair.target.items.copy()
    for user in range(pair.n_users):
        start = int(pair.target.offsets[user])
        held = slice(start + int(ends[user]), int(pair.target.offsets[user + 1]))
        items[held] = items[held][::-1]
    return items


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"temperature": 0}, r"temperature \(0.0\) must be positive"),
        ({"epsilon": 1}, r"epsilon \(1.0\) must be in \[0, 1\)"),
        ({"weights": "head"}, r"weights \('head'\) must be one of all, items"),
        ({"held_out": 1}, r"held_out \(1.0\) must be in \(0, 1\)"),
        ({"cap": 0}, r"cap \(0.0\) must be positive"),
        ({"k": -1}, r"k \(-1\) must not be negative"),
        ({"epochs": 0}, r"epochs \(0\) must be positive"),
    ],
)
def test_nonsense_is_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(CrossrecError, match=said):
        from_dict(FinetuneConfig, values)


def test_without_a_start_it_says_so(pair: DomainPair) -> None:
    with pytest.raises(CrossrecError, match="starts from a finished run of transfer-sasrec or target-sasrec"):
        policy_finetune(replace(job(pair), start=None))


def test_slates_of_unequal_length_are_learned_from(pair: DomainPair) -> None:
    """The longest slate may be in a part that is not trained on."""
    log = drawn_log(pair, slates=1)
    short = log.events[(log.events["position"] == 0) | (log.events["slate"] == 0)].reset_index(drop=True)
    slates = read_slates(replace(log, events=short), pair, split_unstored(pair))
    for seed in range(12):
        cut = parts(slates, 0.5, seed)
        baseline = mean_rewards(cut[0], int(slates.position.max()) + 1)
        for part in cut:
            found = SlateBatches(part, part.session, baseline, 4, 0).advantage
            assert found.shape == part.reward.shape and np.isfinite(found).all()
