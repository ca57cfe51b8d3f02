"""Fine-tuning on a log agrees with what it stands for: the loop's policy and gradient, an interval that covers, a start
that comes back to the last bit, a training that is stopped and gone on with."""

import shutil
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crossrec.config import from_dict
from crossrec.data.histories import Histories
from crossrec.data.logged import open_log
from crossrec.data.pair import DomainPair
from crossrec.data.split import open_split
from crossrec.evaluation.protocol import quick
from crossrec.feedback.demo import Starts
from crossrec.feedback.policy import PolicyConfig, SoftmaxPolicy, z_scores
from crossrec.feedback.simulated import simulated_log
from crossrec.feedback.simulator import SimulatedUsers
from crossrec.models.recommender import Recommender
from crossrec.models.sasrec import SASRec, SASRecConfig, SASRecRecommender
from crossrec.runs.folder import open_run
from crossrec.stopping import Stop, Stopped
from crossrec.training import policy
from crossrec.training.job import Job
from crossrec.training.loop import Control
from crossrec.training.policy import (
    FinetuneConfig,
    Objective,
    Scorer,
    Tuned,
    drawn,
    mixture,
    policy_finetune,
    snips_gain,
    surrogate,
)
from crossrec.training.slates import (
    SlateBatch,
    SlateBatches,
    Slates,
    histories_of,
    mean_rewards,
    read_slates,
)

MakePair = Callable[..., DomainPair]
StopAfter = Callable[[int], Stop]
F64 = torch.float64


# --- the policy is that of the feedback loop --------------------------------------------------------------------------


@given(
    seed=st.integers(0, 10_000),
    temperature=st.sampled_from([0.3, 1.0, 4.0]),
    epsilon=st.sampled_from([0.0, 0.1, 0.7]),
)
def test_probabilities_and_propensities_are_those_of_the_softmax_policy(
    seed: int, temperature: float, epsilon: float
) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.normal(5, 7, (3, 13))
    own = rng.random((3, 13)) < 0.2
    own[:, 0], own[:, 9:] = True, False
    allowed = ~own & (rng.random((3, 13)) < 0.6)
    allowed[:, 9:] = True  # at least four candidates
    m = mixture(*(torch.from_numpy(one) for one in (scores, own, allowed)), temperature, epsilon)
    for row in range(3):
        even = z_scores(np.where(own[row], -np.inf, scores[row]))
        config = PolicyConfig(k=3, temperature=temperature, epsilon=epsilon)
        other = SoftmaxPolicy(np.flatnonzero(allowed[row]), even, None, config)
        assert m[row, other.items].numpy() == pytest.approx(other.probabilities, rel=1e-9)
        assert m[row, ~torch.from_numpy(allowed[row])].sum() == 0
        slate = other.draw(rng)
        items = torch.from_numpy(np.append(slate.items, 0))[None]  # a slate that is shorter than the longest
        ordered = torch.tensor([[True, True, True, False]])
        one, pi = drawn(m[row : row + 1], items, ordered)
        assert one[0, :3].numpy() == pytest.approx(other.probabilities[slate.at], rel=1e-9)
        assert pi[0, :3].numpy() == pytest.approx(slate.propensities, rel=1e-9)
        # Without positions nothing is known to stand above.
        assert torch.equal(drawn(m[row : row + 1], items, torch.zeros(1, 4, dtype=torch.bool))[1], one)


def test_the_last_item_of_all_is_drawn_surely() -> None:
    """1 - the sum of what was drawn would cancel to nothing here."""
    m = torch.tensor([[0.0, 1 - 1e-9, 0.7e-9, 0.3e-9]], dtype=F64)
    _, pi = drawn(m, torch.tensor([[1, 2, 3]]), torch.ones(1, 3, dtype=torch.bool))
    assert pi[0].tolist() == pytest.approx([1 - 1e-9, 0.7, 1.0], rel=1e-9)


# --- the loss ---------------------------------------------------------------------------------------------------------


def batch_of(
    items: list[int], beta: list[float], advantage: list[float], ordered: bool = True, used: list[bool] | None = None
) -> SlateBatch:
    k = len(items)
    return SlateBatch(
        people=torch.zeros(1, dtype=torch.int64),
        items=torch.tensor([items]),
        ordered=torch.full((1, k), ordered),
        used=torch.tensor([used or [True] * k]),
        beta=torch.tensor([beta], dtype=F64),
        advantage=torch.tensor([advantage], dtype=F64),
        candidates=torch.zeros(1, 0, dtype=torch.int64),
    )


@pytest.mark.parametrize("cap", [0.8, 2.0, 100.0])
@pytest.mark.parametrize("k", [1, 3])
def test_the_gradient_is_the_closed_form_of_the_loop(cap: float, k: int) -> None:
    scores, shown = np.array([0.3, -0.5, 1.1, 0.2, -1.4]), [4, 1, 3, 2]
    beta, advantage = [0.05, 0.3, 0.9, 0.2], [0.7, -0.3, 0.1, 0.25]
    config = PolicyConfig(k=k, temperature=1.0, epsilon=0.2, entropy=0.0, kl=0.0)
    loop = SoftmaxPolicy(np.arange(1, 6), np.append(0.0, scores), None, config)
    expected = loop.step_logged(np.array(shown) - 1, np.array(beta), np.array(advantage), cap)
    logits = torch.tensor(scores, requires_grad=True)
    m = torch.cat([torch.zeros(1, dtype=F64), 0.8 * logits.softmax(0) + 0.2 / 5])[None]
    loss = surrogate(m, batch_of(shown, beta, advantage, ordered=False), k, cap)
    (loss.sum() / len(shown)).backward()
    assert logits.grad is not None
    assert logits.grad.numpy() == pytest.approx(expected, rel=1e-9)


def sasrec(n_items: int) -> SASRec:
    torch.manual_seed(3)
    model = SASRec(SASRecConfig(dim=8, max_len=6), n_items)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.3)
        model.item.weight[0] = 0
    return model.eval()


def small_batch() -> tuple[SASRecRecommender, Scorer, SlateBatch]:
    recommender = SASRecRecommender(sasrec(9))
    target = np.array([[0, 3, 1], [0, 0, 0], [7, 8, 2]])
    batch = SlateBatch(
        people=torch.tensor([0, 1, 2, 0]),
        items=torch.tensor([[4, 5], [6, 0], [9, 1], [2, 7]]),
        ordered=torch.tensor([[True, True], [True, False], [False, False], [True, True]]),
        used=torch.tensor([[True, True], [True, False], [True, False], [True, True]]),
        beta=torch.tensor([[0.2, 0.3], [0.5, 1.0], [0.1, 1.0], [0.4, 0.2]]),
        advantage=torch.tensor([[0.5, -0.2], [0.1, 0.0], [-0.4, 0.0], [0.3, 0.3]]),
        candidates=torch.tensor([[4, 5, 6], [6, 8, 0], [0, 0, 0], [2, 7, 9]]),
    )
    return recommender, Scorer(recommender, Histories(np.zeros((3, 1), np.int64), target)), batch


def test_candidates_are_those_of_the_slate_or_all_that_the_person_does_not_have() -> None:
    recommender, scorer, batch = small_batch()
    objective = Objective(FinetuneConfig(log="x", epsilon=0.1), scorer, recommender.model, 2)
    m = objective.probabilities(recommender.model, scorer.states(recommender.model, batch.people), batch).detach()
    assert m.sum(1).tolist() == pytest.approx([1, 1, 1, 1])
    # The third person has 7, 8 and 2; of 1, which they were shown, a history that is newer than the slate may tell.
    assert [np.flatnonzero(row).tolist() for row in m] == [[4, 5, 6], [6, 8], [1, 3, 4, 5, 6, 9], [2, 7, 9]]
    # Scores are made even over what the person does not have, not over the candidates.
    own, scores = [0, 1, 3], recommender.score(scorer_histories(scorer))[0]
    even = z_scores(np.where(np.isin(np.arange(10), own), -np.inf, scores))
    loop = SoftmaxPolicy(np.array([4, 5, 6]), even, None, PolicyConfig(k=2, temperature=0.5, epsilon=0.1))
    assert m[0, [4, 5, 6]].numpy() == pytest.approx(loop.probabilities, rel=1e-4)


def scorer_histories(scorer: Scorer) -> Any:
    return Histories(np.zeros((len(scorer.target), 1), np.int64), scorer.target.numpy())


def test_entropy_and_divergence_have_their_weights_and_signs() -> None:
    recommender, scorer, batch = small_batch()
    start = sasrec(9)
    with torch.no_grad():
        start.bias.add_(torch.linspace(-1, 1, 10))
    config = FinetuneConfig(log="x", entropy=0.3, kl=0.7)
    objective = Objective(config, scorer, start, 2)
    with torch.no_grad():
        found = objective(recommender.model, batch)
    assert float(found["kl"]) > 0.01
    assert float(found["entropy"]) > 0.1
    expected = found["policy"] + 0.7 * found["kl"] - 0.3 * found["entropy"]
    assert float(found["loss"]) == pytest.approx(float(expected))
    states = scorer.states(recommender.model, batch.people)
    m = objective.probabilities(recommender.model, states, batch).detach().double().numpy()
    m_start = objective.probabilities(start, scorer.states(start, batch.people), batch).detach().double().numpy()
    log = np.log(np.where(m > 0, m, 1))
    assert float(found["entropy"]) == pytest.approx(-(m * log).sum(1).mean(), rel=1e-5)
    kl = (m * (log - np.log(np.where(m > 0, m_start, 1)))).sum(1).mean()
    assert float(found["kl"]) == pytest.approx(kl, rel=1e-4)
    itself = Objective(config, scorer, recommender.model, 2)(recommender.model, batch)
    assert itself["kl"].tolist() == 0


# --- what a policy is worth -------------------------------------------------------------------------------------------


def test_the_interval_of_the_gain_covers_the_truth() -> None:
    """Two policies of known worth over three items, 60 sessions a log: about 95 % of the intervals have it."""
    rng = np.random.default_rng(0)
    worth, shown = np.array([0.1, 0.3, 0.6]), np.array([0.4, 0.4, 0.2])
    old, new = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.3, 0.5])
    truth, inside = float((new - old) @ worth), 0
    for _ in range(400):
        items = rng.choice(3, size=(60 * 5, 1), p=shown)
        reward = (rng.random(items.shape) < worth[items]).astype(float)
        gain = snips_gain((new / shown)[items], (old / shown)[items], reward, np.repeat(np.arange(60), 5))
        inside += gain.low <= truth <= gain.high
    assert 0.92 <= inside / 400 <= 0.98


# --- batches ----------------------------------------------------------------------------------------------------------


def some_slates(n: int = 60, sessions: int = 20) -> Slates:
    rng = np.random.default_rng(2)
    return Slates(
        user=rng.integers(-1, 12, n),
        session=np.arange(n) % sessions,
        items=rng.integers(1, 13, (n, 2)),
        position=np.tile([0, 1], (n, 1)),
        reward=rng.random((n, 2)),
        beta=rng.random((n, 2)),
        used=np.ones((n, 2), bool),
        candidates=[None] * n,
        left_out={},
    )


def test_batches_have_every_slate_once_and_go_on_where_they_were() -> None:
    slates = some_slates()
    batches = SlateBatches(slates, np.arange(60), mean_rewards(slates, slates.items.shape[1]), 16, seed=4)
    whole = [batch.people.tolist() for batch in batches.epoch(2)]
    assert [len(one) for one in whole] == [16, 16, 16, 12]
    assert len(batches) == 4
    assert sorted(chain.from_iterable(whole)) == list(range(60))
    assert [batch.people.tolist() for batch in batches.epoch(2, start=2)] == whole[2:]
    assert [batch.people.tolist() for batch in batches.epoch(3)] != whole


# --- the recipe -------------------------------------------------------------------------------------------------------

LOG = "played"
QUICK = {"log": LOG, "temperature": 1.0, "epsilon": 0.2, "epochs": 3, "batch_size": 64}


@pytest.fixture(scope="module")
def played_home(tiny_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny home with a log of 80 people, eight slates of three items each. Only to be read."""
    folder = tmp_path_factory.mktemp("played") / "home"
    shutil.copytree(tiny_home, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CROSSREC_HOME", str(folder))
        pair = DomainPair.open("tiny")
        start = Starts(open_run("tiny-target-sasrec"))
        build = start.builds(PolicyConfig(k=3, temperature=1.0, epsilon=0.2))["frozen"]
        simulated_log(LOG, pair, SimulatedUsers.of(pair), build, np.flatnonzero(pair.overlap)[:80], 8, seed=5)
    return folder


@pytest.fixture
def played(played_home: Path, monkeypatch: pytest.MonkeyPatch) -> DomainPair:
    monkeypatch.setenv("CROSSREC_HOME", str(played_home))
    return DomainPair.open("tiny")


def job(pair: DomainPair, base: str = "tiny-target-sasrec", control: Control | None = None, **settings: Any) -> Job:
    split = open_split(pair, "next-item", 0)
    start = Recommender.load(open_run(base).recommender)
    config = from_dict(FinetuneConfig, QUICK | settings)
    return Job(pair, split, config, 0, lambda r: quick(r, pair, split), control or Control(), start)


def weights(recommender: Any) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in recommender.model.state_dict().items()}


def moved(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> set[str]:
    assert one.keys() == two.keys()
    return {name for name in one if not torch.equal(one[name], two[name])}


@pytest.fixture
def never_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "_refusal", lambda chosen, judged: None)


@pytest.mark.parametrize("settings", [{"lr": 1e-12}, {"lr": 0.3, "weights": "all"}])
def test_without_a_sure_gain_the_start_comes_back(played: DomainPair, settings: dict[str, Any]) -> None:
    """One cannot move; the other moves far, and ruins what was known."""
    asked = job(played, **settings)
    before = weights(asked.start)
    recommender, tuned = policy_finetune(asked)
    assert tuned.report["kept_start"] is True
    assert tuned.best_epoch == 0
    assert tuned.report["judge"]["low"] <= 0 or tuned.report["choose"]["gain"] <= 0
    assert moved(weights(recommender), before) == set()
    assert recommender is not asked.start
    assert tuned.report["why"]


@pytest.mark.parametrize("base", ["tiny-target-sasrec", "tiny-transfer-sasrec"])
@pytest.mark.parametrize("which", ["items", "all"])
def test_what_comes_out_is_of_the_base_s_kind(
    played: DomainPair, base: str, which: str, tmp_path: Path, never_refused: None
) -> None:
    asked = job(played, base, weights=which, lr=1e-3)
    assert asked.start is not None
    before = weights(asked.start)
    recommender, tuned = policy_finetune(asked)
    assert type(recommender) is type(asked.start)
    assert moved(weights(asked.start), before) == set()  # the start itself is nobody's to change
    after = weights(recommender)
    items = {"item.weight", "bias"}
    names = {name.removeprefix("sequence.") for name in moved(after, before)}
    assert names == items if which == "items" else items < names
    (table,) = (value for name, value in after.items() if name.removeprefix("sequence.") == "item.weight")
    assert (table[0] == 0).all()  # padding
    model: Any = recommender.model  # type: ignore[attr-defined]
    assert all(weight.requires_grad for weight in model.parameters())
    (tmp_path / "saved").mkdir()
    recommender.save(tmp_path / "saved")
    histories = histories_of(asked.pair, asked.split, np.arange(20))
    loaded = Recommender.load(tmp_path / "saved")
    assert type(loaded) is type(recommender)
    assert np.array_equal(loaded.score(histories), recommender.score(histories))
    assert not np.array_equal(asked.start.score(histories), recommender.score(histories))
    assert [event["valid"].keys() for event in tuned.history] == [{"gain", "value", "ndcg@10", "hr@10"}] * 3


def test_the_report_counts_sessions_and_items(played: DomainPair) -> None:
    _, tuned = policy_finetune(job(played))
    report, log = tuned.report, open_log(LOG)
    assert report["log"] == LOG
    assert report["sessions"] == {"train": 48, "choose": 16, "judge": 16}
    assert sum(report["rows"].values()) + sum(report["left_out"].values()) == len(log.events)
    assert (report["judge"]["sessions"], report["choose"]["sessions"]) == (16, 16)
    assert 0 < report["judge"]["ess"] <= report["rows"]["judge"]


def test_the_first_policy_is_the_one_of_the_log(played: DomainPair) -> None:
    """The log's policy started from this run's scores of everything known, so that weights are near 1 before training;
    with another temperature they are not."""
    split = open_split(played, "next-item", 0)
    slates = read_slates(open_log(LOG), played, split)
    users, people = np.unique(slates.user, return_inverse=True)
    recommender = Recommender.load(open_run("tiny-target-sasrec").recommender)
    assert isinstance(recommender, SASRecRecommender)
    ends = played.source.counts[users], played.target.counts[users]
    for temperature, same in ((1.0, True), (0.3, False)):
        scorer = Scorer(recommender, played.histories(users, *ends))
        config = from_dict(FinetuneConfig, QUICK | {"temperature": temperature, "cap": 1e9})
        batches = SlateBatches(slates, people, mean_rewards(slates, slates.items.shape[1]), 64, 0)
        found = Objective(config, scorer, recommender.model, 3).weights(recommender.model, batches)
        assert (found[~slates.used] == 0).all()
        assert bool(np.allclose(found[slates.used], 1, atol=1e-3)) is same


@pytest.mark.parametrize("which", ["items", "all"])
def test_stopped_and_gone_on_with_it_is_the_same(
    played: DomainPair, tmp_path: Path, which: str, never_refused: None, stop_after: StopAfter
) -> None:
    def part(name: str, stop: Stop | None = None) -> tuple[dict[str, torch.Tensor], Tuned]:
        control = Control(checkpoint=tmp_path / name, stop=stop)
        recommender, tuned = policy_finetune(
            job(played, "tiny-transfer-sasrec", control, weights=which, lr=1e-3, batch_size=32)
        )
        return weights(recommender), tuned

    whole, fitted = part("whole")
    for times in (2, 14):
        with pytest.raises(Stopped):
            part("parts", stop_after(times))
    again, tuned = part("parts")
    assert moved(whole, again) == set()
    assert tuned.report == fitted.report
    assert (tuned.best_epoch, tuned.epochs) == (fitted.best_epoch, fitted.epochs)
    assert [e["losses"] for e in tuned.history] == [e["losses"] for e in fitted.history]
