"""The recipe `policy-finetune`: a finished SASRec learns offline from what people did with the slates they were shown.

Top-K off-policy REINFORCE (Chen et al., "Top-K Off-Policy Correction for a REINFORCE Recommender System", WSDM 2019).
The policy is what the feedback loop shows: the mixture m = (1 - epsilon) softmax(z / temperature) + epsilon / C over
the C candidates of a slate, z the model's scores with mean 0 and deviation 1 over the items that the person does not
have. An item a at a position is drawn without those above it, pi(a) = m(a) / left, and another policy had shown it
with probability beta:

    loss = - sum over a slate's items of min(pi / beta, cap) lambda_K(m) A log pi  - entropy H(m) + kl KL(m || m_start)

with lambda_K(m) = K (1 - m)^(K - 1), A = reward - mean reward at the position, and the factors before the logarithm
held fixed; the mean over the slates of a batch. Not taken from the paper: a learned beta, for the log has the true one,
and the discounted future, for a slate's own reactions are all that a log of slates can credit it with.

What the weights leave out: those of the items above (each item's ratio is its own, given them). As only what is left to
draw depends on them, that is a small bias, and the product of the ratios would be far noisier.

**Context.** The state is the person's history in the *training part* of the split, never a held-out event; whoever is
not in the user table has an empty one. Shown items that are a held-out event of the same person are not learned from.

**Whether it helped.** The log's sessions are parted in three: some are trained on, some choose the epoch, and some
judge. The score is the gain in SNIPS value over the start, so that the start stands at 0. The best of many epochs is
the best partly by luck; therefore the chosen weights replace the start's only where the *judging* sessions, which had
no part in training or choice, put the gain above 0 with the lower end of its 95 % interval. Otherwise the start's
weights come back.

B slates of a batch, K items of a slate, D width, I items, S sessions.
"""

import copy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from crossrec.config import require
from crossrec.data.histories import Histories, Ints
from crossrec.data.logged import open_log
from crossrec.errors import CrossrecError
from crossrec.models.recommender import Recommender
from crossrec.models.sasrec import SASRec, SASRecRecommender
from crossrec.models.transfer import TransferRecommender, TransferSASRec, bridge_input, newest, source_state
from crossrec.training.job import Job, seeded
from crossrec.training.loop import Fitted, LoopConfig, fit
from crossrec.training.slates import (
    SlateBatch,
    SlateBatches,
    Slates,
    histories_of,
    mean_rewards,
    parts,
    read_slates,
)

Doubles = NDArray[np.float64]

STARTS = ("transfer-sasrec", "target-sasrec")
"""Recipes whose finished runs can be fine-tuned, the preferred one first."""
WEIGHTS = ("all", "items")
CELLS = 4_000_000
"""Scores (slates times items) that are in memory at a time, with what their gradient needs."""
LEVEL = 0.95


@dataclass(frozen=True)
class FinetuneConfig(LoopConfig):
    """Settings of `policy-finetune`."""

    log: str = ""
    """Name of the feedback log that is learned from; `crossrec feedback import` makes one."""
    temperature: float = 0.5
    """Divides the scores (of deviation 1): that of the policy whose value is raised."""
    epsilon: float = 0.1
    """Share of the uniform distribution in that policy."""
    k: int = 0
    """K of lambda_K, the items of a slate; 0 takes the log's longest slate, 1 leaves the multiplier out."""
    cap: float = 3.0
    """Largest importance weight: less variance, at the price of some bias."""
    entropy: float = 0.0
    """Weight of the entropy bonus."""
    kl: float = 0.01
    """Weight of the divergence from the start, KL(m || m_start): what holds the policy to what is known already."""
    weights: str = "items"
    """"items": the vectors of the items and their biases, or "all" of the model. A log has few clicks for so many
    weights: on logs of 17,000 slates of the demo, the items alone were worth .0014 a shown item more than the start on
    sessions that had no part in it (95 % interval .0005 to .0024), all weights .0021 (.0003 to .0039) at best."""
    held_out: float = 0.4
    """Share of the log's sessions that is not trained on: half of it chooses the epoch, half judges the gain."""
    epochs: int = 30
    """Most passes over the training sessions; early stopping usually ends sooner."""
    batch_size: int = 256
    """Slates a step, over all processes."""
    lr: float = 3e-4
    """Learning rate of Adam: small steps, for the start is good already."""
    patience: int = 5
    """Epochs without a better value on the choosing sessions before training stops."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.temperature > 0, f"temperature ({self.temperature}) must be positive")
        require(0 <= self.epsilon < 1, f"epsilon ({self.epsilon}) must be in [0, 1)")
        require(self.k >= 0, f"k ({self.k}) must not be negative")
        require(self.cap > 0, f"cap ({self.cap}) must be positive")
        require(self.entropy >= 0, f"entropy ({self.entropy}) must not be negative")
        require(self.kl >= 0, f"kl ({self.kl}) must not be negative")
        require(self.weights in WEIGHTS, f"weights ({self.weights!r}) must be one of {', '.join(WEIGHTS)}")
        require(0 < self.held_out < 1, f"held_out ({self.held_out}) must be in (0, 1)")


# --- the policy -------------------------------------------------------------------------------------------------------


def mixture(scores: Tensor, own: Tensor, allowed: Tensor, temperature: float, epsilon: float) -> Tensor:
    """(B, I+1) probabilities of one draw: that of the feedback loop's `SoftmaxPolicy`, differentiable.

    Args:
        scores: (B, I+1) of a model.
        own: (B, I+1) bool, what the person has, and padding: these do not count in the mean and deviation of scores.
        allowed: (B, I+1) bool, the candidates; at least one a row.
        temperature: divides the scores, once they have deviation 1.
        epsilon: share of the uniform distribution over the candidates.
    """
    known = ~own
    n = known.sum(1, keepdim=True).clamp(min=1)
    mean = (scores * known).sum(1, keepdim=True) / n
    deviation = (((scores - mean) * known).square().sum(1, keepdim=True) / n).clamp(min=1e-12).sqrt()
    logits = ((scores - mean) / (deviation * temperature)).masked_fill(~allowed, -torch.inf)
    return (1 - epsilon) * logits.softmax(1) + epsilon * allowed.to(scores.dtype) / allowed.sum(1, keepdim=True)


def drawn(m: Tensor, items: Tensor, ordered: Tensor) -> tuple[Tensor, Tensor]:
    """m(a) and pi(a) of shown items: the probability of one draw, and that at the position, given those above.

    Args:
        m: (B, I+1) probabilities of one draw.
        items: (B, K) from the top down, 0 for none.
        ordered: (B, K) bool; where the position is unknown nothing is known to stand above, and pi = m.

    Returns:
        (B, K) each; 1e-12 and more.
    """
    chosen = m.gather(1, items)
    # What is left is the sum over what is not shown and what is shown from here on: 1 - the sum above would cancel.
    rest = m.scatter(1, items, 0.0).sum(1, keepdim=True)
    left = rest + chosen.flip(1).cumsum(1).flip(1)
    return chosen.clamp(min=1e-12), torch.where(ordered, chosen / left.clamp(min=1e-12), chosen).clamp(min=1e-12)


def top_k_multiplier(m: Tensor, k: int) -> Tensor:
    """lambda_K = K (1 - m)^(K - 1), what an item still adds to the chance of being among K draws."""
    return k * (1 - m).clamp(min=0) ** (k - 1)


def surrogate(m: Tensor, batch: SlateBatch, k: int, cap: float) -> Tensor:
    """(B,) the loss whose gradient is the Top-K off-policy one: without entropy and divergence."""
    chosen, pi = drawn(m, batch.items, batch.ordered)
    weight = ((pi / batch.beta).clamp(max=cap) * top_k_multiplier(chosen, k)).detach()
    return -(weight * batch.advantage * pi.log() * batch.used).sum(1)


class Scorer:
    """The states and scores of a model over the distinct histories of a log."""

    def __init__(self, recommender: SASRecRecommender | TransferRecommender, histories: Histories):
        """histories: of P people; what does not change in training is computed once."""
        self.target = torch.from_numpy(histories.target)
        self.source: Tensor | None = None
        if isinstance(recommender, TransferRecommender) and recommender.bridge_config.bridge != "none":
            self.source_model = recommender.source_model
            source = torch.from_numpy(histories.source)
            with torch.no_grad():
                device = self.source_model.item.weight.device
                self.source = source_state(self.source_model, source.to(device), recommender.bridge_config)
            self.newest, self.present = newest(source, recommender.bridge_config), (source > 0).any(1)

    def states(self, net: nn.Module, people: Tensor) -> Tensor:
        """(B, D) of some of the people."""
        own, back = people.unique(return_inverse=True)
        sequence = sequence_of(net)
        device = sequence.item.weight.device
        states = sequence.last(self.target[own.cpu()].to(device))
        if self.source is not None:
            vectors, present = self.source[own.to(self.source.device)], self.present[own.cpu()]
            source = bridge_input(self.source_model, vectors, self.newest[own.cpu()])
            states = net.bridge(states, source.to(device), present.to(device))  # type: ignore[operator]
        return states[back]

    def own(self, people: Tensor, n_items: int) -> Tensor:
        """(B, I+1) bool, what people have, and padding."""
        own = torch.zeros(len(people), n_items + 1, dtype=torch.bool, device=people.device)
        own[:, 0] = True
        return own.scatter_(1, self.target[people.cpu()].to(people.device), True)


def sequence_of(net: nn.Module) -> SASRec:
    found = net.sequence if isinstance(net, TransferSASRec) else net
    assert isinstance(found, SASRec)
    return found


class Objective:
    """The loss of a batch, and the probabilities that a value is estimated from."""

    def __init__(self, config: FinetuneConfig, scorer: Scorer, start: nn.Module, k: int):
        self.config, self.scorer, self.start, self.k = config, scorer, start, k

    def __call__(self, net: nn.Module, batch: SlateBatch) -> dict[str, Tensor]:
        """{"loss", "policy", "kl", "entropy"}, means over slates."""
        net.eval()  # what is shown to people is without dropout, and so are the weights
        batch = batch.to(sequence_of(net).item.weight.device)
        states = self.scorer.states(net, batch.people)
        with torch.no_grad():
            before = self.scorer.states(self.start, batch.people)
        sums = torch.zeros(3, device=states.device)
        parts = self.parts(net, len(states))
        for part in parts:
            given = (net, states[part], before[part], batch.rows(part))
            # Chunks of a wide catalogue are scored again in the backward pass, instead of being kept.
            found = checkpoint(self._part, *given, use_reentrant=False) if len(parts) > 1 else self._part(*given)
            sums = sums + found
        policy, kl, entropy = sums / len(states)
        loss = policy + self.config.kl * kl - self.config.entropy * entropy
        return {"loss": loss, "policy": policy, "kl": kl, "entropy": entropy}

    def _part(self, net: nn.Module, states: Tensor, before: Tensor, batch: SlateBatch) -> Tensor:
        """(3,) sums over slates: surrogate, divergence from the start, entropy."""
        m = self.probabilities(net, states, batch)
        with torch.no_grad():
            m_start = self.probabilities(self.start, before, batch)
        log = m.clamp(min=1e-30).log()
        kl = (m * (log - m_start.clamp(min=1e-30).log())).sum()
        return torch.stack([surrogate(m, batch, self.k, self.config.cap).sum(), kl, -(m * log).sum()])

    def probabilities(self, net: nn.Module, states: Tensor, batch: SlateBatch) -> Tensor:
        """(B, I+1) m of each slate."""
        sequence = sequence_of(net)
        own = self.scorer.own(batch.people, sequence.n_items)
        unknown = (batch.candidates == 0).all(1, keepdim=True)
        allowed = torch.zeros_like(own).scatter_(1, batch.candidates, True)
        # Of a slate whose candidates are unknown, all that the person does not have, and what it showed.
        allowed = torch.where(unknown, (~own).scatter(1, batch.items, True), allowed)
        allowed[:, 0] = False
        return mixture(sequence.logits(states), own, allowed, self.config.temperature, self.config.epsilon)

    def parts(self, net: nn.Module, rows: int) -> list[slice]:
        size = max(1, CELLS // (sequence_of(net).n_items + 1))
        return [slice(at, at + size) for at in range(0, rows, size)]

    @torch.no_grad()
    def weights(self, net: nn.Module, batches: SlateBatches) -> Doubles:
        """(N, K) capped importance weights of all slates; 0 where an item is not used."""
        net.eval()
        device, out = sequence_of(net).item.weight.device, []
        rows = np.arange(len(batches.slates))
        for part in self.parts(net, len(rows)):
            batch = batches.batch(rows[part]).to(device)
            m = self.probabilities(net, self.scorer.states(net, batch.people), batch)
            _, pi = drawn(m, batch.items, batch.ordered)
            out.append(((pi / batch.beta).clamp(max=self.config.cap) * batch.used).cpu().double().numpy())
        return np.concatenate(out)


# --- what a policy is worth -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Gain:
    """The SNIPS value of a policy beside that of another on the same sessions, a shown item."""

    before: float
    after: float
    gain: float
    low: float
    """95 % interval of the gain over sessions (linearised ratio, Student's t)."""
    high: float
    sessions: int
    ess: float
    """Effective sample size of the policy's weights, (sum w)^2 / sum w^2, in shown items."""


def snips_gain(after: Doubles, before: Doubles, reward: Doubles, session: Ints) -> Gain:
    """Value sum(w r) / sum(w) of two policies on the same slates, and their paired difference.

    SNIPS and not clipped IPS: where a policy's weights on a few sessions happen to be large, IPS takes that for reward,
    and its value of a policy can rise by shifting weight alone; a weighted mean of rewards cannot.

    Args:
        after: (N, K) weights of a policy, 0 where an item is not used.
        before: (N, K) likewise, of the other.
        reward: (N, K)
        session: (N,) whose slates belong together.
    """
    names, owner = np.unique(session, return_inverse=True)
    values, influence = [], []
    for weight in (after, before):
        total = weight.sum()
        value = float((weight * reward).sum() / total) if total > 0 else 0.0
        values.append(value)
        own = np.bincount(owner, (weight * (reward - value)).sum(axis=1), len(names))
        influence.append(own * len(names) / total if total > 0 else own)
    difference = influence[0] - influence[1]
    error = float(difference.std(ddof=1) / np.sqrt(len(names))) if len(names) > 1 else float("inf")
    gain, reach = values[0] - values[1], float(stats.t.ppf(0.5 + LEVEL / 2, max(1, len(names) - 1))) * error
    ess = float(after.sum() ** 2 / max(np.square(after).sum(), 1e-300))
    return Gain(values[1], values[0], gain, gain - reach, gain + reach, len(names), ess)


# --- the recipe -------------------------------------------------------------------------------------------------------


@dataclass
class Tuned(Fitted):
    """A fine-tuning, and what the log says of it."""

    report: dict[str, Any] = field(default_factory=dict)
    """Plain values; see `policy_finetune`."""


def policy_finetune(job: Job) -> tuple[Recommender, Tuned]:
    """Fine-tunes the run that the job starts from; the recommender that comes out is of its kind.

    Returns:
        The recommender, with the start's weights where nothing surely better was found, and the fit, whose report has
        "log", "kept_start", "why" (one clause), "choose" and "judge" (`Gain`s of the best epoch as plain values),
        "sessions" {"train", "choose", "judge"}, "rows" {"train", "choose", "judge"} (shown items), "left_out".

    Raises:
        CrossrecError: there is no start, or the log cannot be learned from.
    """
    config: FinetuneConfig = job.config
    if not isinstance(job.start, (SASRecRecommender, TransferRecommender)):
        raise CrossrecError(f"policy-finetune starts from a finished run of {' or '.join(STARTS)}: train one first.")
    slates = read_slates(open_log(config.log), job.pair, job.split)
    train, choose, judge = parts(slates, config.held_out, job.seed)
    users = np.unique(slates.user)
    number = dict(zip(users.tolist(), range(len(users)), strict=True))
    histories = histories_of(job.pair, job.split, users)
    baseline = mean_rewards(train, int(slates.position.max()) + 1)

    def batches(of: Slates) -> SlateBatches:
        own = np.array([number[user] for user in of.user.tolist()], np.int64)
        return SlateBatches(of, own, baseline, config.batch_size, job.seed)

    with seeded(job.seed):
        recommender = copy.deepcopy(job.start)
        model: nn.Module = recommender.model
        start = copy.deepcopy(model).requires_grad_(False)
        if config.weights == "items":
            for name, weight in model.named_parameters():
                weight.requires_grad_(name.removeprefix("sequence.") in ("item.weight", "bias"))
        objective = Objective(config, Scorer(recommender, histories), start, config.k or slates.items.shape[1])
        held = {"choose": batches(choose), "judge": batches(judge)}
        before = {name: objective.weights(start, of) for name, of in held.items()}

        def gain(name: str) -> Gain:
            of = held[name].slates
            return snips_gain(objective.weights(model, held[name]), before[name], of.reward, of.session)

        def validate() -> dict[str, float]:
            found = gain("choose")
            return {"gain": found.gain, "value": found.after, **job.validate(recommender)}

        fitted = fit(model, batches(train), objective, validate, "gain", config, job.control)
        chosen, judged = gain("choose"), gain("judge")
        why = _refusal(chosen, judged)
        if why is not None:
            model.load_state_dict(start.state_dict())
            fitted.best_epoch = 0
        model.requires_grad_(True)
    report = {
        "log": config.log,
        "kept_start": why is not None,
        "why": why or "the sessions that judge put the gain above 0 with all of its 95 % interval",
        "choose": vars(chosen),
        "judge": vars(judged),
        "sessions": {n: len(np.unique(of.session)) for n, of in zip(PARTS, (train, choose, judge), strict=True)},
        "rows": {n: int(of.used.sum()) for n, of in zip(PARTS, (train, choose, judge), strict=True)},
        "left_out": slates.left_out,
    }
    return recommender, Tuned(**vars(fitted), report=report)


PARTS = ("train", "choose", "judge")


def _refusal(chosen: Gain, judged: Gain) -> str | None:
    """Why the start is kept; None where it is not."""
    if chosen.gain <= 0:
        return "no epoch was worth more than the start on the sessions that choose"
    if judged.low <= 0:
        return "on the sessions that judge the gain is not surely above 0"
    return None
