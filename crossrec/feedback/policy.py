"""A policy that shows slates drawn from a softmax over scores, and learns one person's taste from what they click.

A slate is drawn without replacement from the mixture m = (1 - epsilon) p + epsilon / N of p = softmax(logits) over N
candidates (Plackett-Luce): at each position an item has its share of the mixture among those not yet drawn. The logits
are those of a recommender, scores / temperature, plus a small linear head over fixed item features, which is all that
is learned. Its gradient is closed: whatever the loss L is in terms of m, dL/dlogits = (1 - epsilon) p (v - p.v) with
v = dL/dm. That costs microseconds, so that a person sees the policy change with every click.

N candidates, D width of the features, K items of a slate.
"""

from copy import copy
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from crossrec.errors import CrossrecError
from crossrec.feedback.rewards import Baseline

Ints = NDArray[np.int64]
Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class PolicyConfig:
    """How a policy explores and learns.

    Raises:
        CrossrecError: a number is out of its range.
    """

    k: int = 5
    """K, items of a slate."""
    temperature: float = 0.5
    """Divides the scores: low is greedy, high is uniform."""
    epsilon: float = 0.1
    """Share of the uniform distribution in the mixture: no candidate's probability falls below epsilon / N."""
    lr: float = 4.0
    """Learning rate of the head; plain gradient descent. Large, as a session is short: chosen for clicks of 0.3 and
    features of length 1."""
    entropy: float = 0.01
    """Weight of the entropy bonus."""
    kl: float = 0.01
    """Weight of the divergence from the start, KL(m || m_start): what holds the policy to what is known already."""
    momentum: float = 0.9
    """Of the baseline."""
    item_bias: bool = False
    """Whether the head has, beside the weights of the features, one number for each candidate."""

    def __post_init__(self) -> None:
        lowest = {"k": 1, "temperature": 1e-6, "epsilon": 0.0, "lr": 0.0, "entropy": 0.0, "kl": 0.0, "momentum": 0.0}
        highest = {"epsilon": 1.0, "momentum": 0.999}
        for field in fields(self):
            value, name = getattr(self, field.name), field.name
            if name in lowest and not lowest[name] <= value <= highest.get(name, np.finfo(float).max):
                most = f" to {highest[name]:g}" if name in highest else " up"
                raise CrossrecError(f"{name} is {value}; give a number from {lowest[name]:g}{most}.")


class Slate(NamedTuple):
    """Items drawn for one look, in the order of their positions."""

    at: Ints
    """(K,) which of the candidates."""
    items: Ints
    """(K,) their item numbers."""
    propensities: Doubles
    """(K,) probability of each, given what was drawn before it."""

    @property
    def propensity(self) -> float:
        """Probability of the whole slate in this order."""
        return float(self.propensities.prod())


class Step(NamedTuple):
    """Every number of one update."""

    slate: Slate
    rewards: Doubles
    """(K,)"""
    baseline: Doubles
    """(K,) after the rewards were taken up."""
    advantages: Doubles
    """(K,) rewards minus baseline."""
    logits: Doubles
    """(N,) before the update, as are"""
    probabilities: Doubles
    """(N,) the mixture m,"""
    entropy: float
    """of m, in nats,"""
    kl: float
    """from the start, in nats, and"""
    loss: float
    gradient: Doubles
    """(N,) of the loss with respect to the logits."""
    weights: Doubles
    """(D,) of the head, after the update, as are"""
    new_logits: Doubles
    new_probabilities: Doubles


def candidates(scores: NDArray[Any], top: int, others: int, rng: np.random.Generator) -> Ints:
    """Item numbers of the `top` best scores, best first, and of `others` more, drawn from the rest.

    Args:
        scores: (I+1,), -inf for what may not be shown, such as padding and what the person has.
        top: how many of the best.
        others: how many at random, without which the policy could never find what the scores overlook.
        rng: of that draw.

    Raises:
        CrossrecError: nothing may be shown.
    """
    allowed = np.flatnonzero(np.isfinite(scores))
    if not len(allowed):
        raise CrossrecError("No item is left to show: the person has them all.")
    order = allowed[np.argsort(-scores[allowed], kind="stable")]
    rest = order[top:]
    return np.concatenate([order[:top], rng.choice(rest, min(others, len(rest)), replace=False)]).astype(np.int64)


def z_scores(scores: NDArray[Any]) -> Doubles:
    """Scores with mean 0 and deviation 1 over what may be shown, so that a temperature means the same for all."""
    scores = np.asarray(scores, float)
    finite = scores[np.isfinite(scores)]
    return (scores - finite.mean()) / (finite.std() or 1.0)


def low_rank(vectors: NDArray[Any], width: int) -> Doubles:
    """(I+1, W) item vectors -> (I+1, D) features: the first principal components, each of variance 1 / D.

    Equal variances let gradient descent learn all components at one speed, and rows have length 1 on average. Row 0,
    padding, is 0. D is at most the rank.
    """
    inner = np.asarray(vectors[1:], float)
    inner = inner - inner.mean(axis=0)
    # By the (W, W) products: of many items, a ninth of the time of a singular value decomposition.
    squares, right = np.linalg.eigh(inner.T @ inner)
    at = np.argsort(-squares, kind="stable")[:width]
    at = at[squares[at] > 1e-12 * squares.max(initial=0)]  # below, they are rounding
    left = inner @ (right[:, at] / np.sqrt(squares[at]))
    return np.concatenate([np.zeros((1, left.shape[1])), left * np.sqrt(len(inner) / max(1, left.shape[1]))])


class SoftmaxPolicy:
    """Slates for one person, from a recommender's scores and a head that learns."""

    def __init__(
        self,
        items: Ints,
        scores: NDArray[Any],
        features: NDArray[Any] | None = None,
        config: PolicyConfig | None = None,
    ):
        """Starts a session.

        Args:
            items: (N,) numbers of the candidates.
            scores: (I+1,) of one person.
            features: (I+1, D) of the items, shared by all sessions; None learns nothing but, where the config asks for
                it, a number for each candidate.
            config: how it explores and learns.

        Raises:
            CrossrecError: there are fewer candidates than a slate has positions, or a score is not finite.
        """
        self.config = config or PolicyConfig()
        self.items = np.asarray(items, np.int64)
        if len(self.items) < self.config.k:
            raise CrossrecError(f"There are {len(self.items)} candidates for a slate of {self.config.k} items.")
        if not np.isfinite(scores[self.items]).all():
            raise CrossrecError("The score of a candidate is not finite: leave out what may not be shown.")
        self.scores = np.asarray(scores[self.items], float)  # (N,)
        self.start = self.scores / self.config.temperature
        self.features = np.zeros((len(items), 0)) if features is None else np.asarray(features[self.items], float)
        self.weights = np.zeros(self.features.shape[1])
        self.bias = np.zeros(len(self.items) if self.config.item_bias else 0)
        self.baseline = Baseline(self.config.k, self.config.momentum)
        self.updates = 0
        self._log_start = np.log(self._mixture(self.start)[1])
        self._refresh()

    # --- what it would show ---------------------------------------------------------------------------

    def _mixture(self, logits: Doubles) -> tuple[Doubles, Doubles]:
        """(N,) softmax p of the logits, and the mixture m."""
        p = np.exp(logits - logits.max())
        p /= p.sum()
        # A probability that is 0 in floating point would have no logarithm.
        m = (1 - self.config.epsilon) * p + self.config.epsilon / len(p)
        return p, np.maximum(m, 1e-300)

    def _refresh(self) -> None:
        self.logits = self.start + self.features @ self.weights
        if len(self.bias):
            self.logits += self.bias
        self._p, self.probabilities = self._mixture(self.logits)
        self._log = np.log(self.probabilities)

    @property
    def entropy(self) -> float:
        """Of the mixture, in nats."""
        return float(-(self.probabilities @ self._log))

    @property
    def perplexity(self) -> float:
        """Exponential of the entropy: so many equally likely items would be as uncertain."""
        return float(np.exp(self.entropy))

    @property
    def kl(self) -> float:
        """KL(m || m_start), in nats."""
        return float(self.probabilities @ (self._log - self._log_start))

    def draw(self, rng: np.random.Generator) -> Slate:
        """A slate. The order of log m plus Gumbel noise is that of draws without replacement (Yellott 1977)."""
        noisy = self._log + rng.gumbel(size=len(self._log))
        at = np.argpartition(-noisy, self.config.k - 1)[: self.config.k]
        return self.slate(at[np.argsort(-noisy[at])])

    def slate(self, at: Ints) -> Slate:
        """The slate of given candidates, with the propensities it would have if it were drawn now."""
        return Slate(at, self.items[at], self.probabilities[at] / self._left(at))

    def _left(self, at: Ints) -> Doubles:
        """(K,) probability that is left at each position of a slate, without the cancellation of 1 - what is drawn."""
        drawn, rest = self.probabilities[at], self.probabilities.copy()
        rest[at] = 0
        return np.asarray(rest.sum() + drawn[::-1].cumsum()[::-1])

    # --- how it learns --------------------------------------------------------------------------------

    def step(self, slate: Slate, rewards: Doubles) -> Step:
        """One REINFORCE update (Williams 1992) with what a slate brought, and every number of it.

        loss = - sum_t (R_t - b_t) log pi_t(a_t) - entropy H(m) + kl KL(m || m_start), with pi_t the distribution at
        position t. For a slate of one item and epsilon 0 that is the textbook's -(R - b) log pi(a) - entropy H(pi).

        Args:
            slate: drawn by this policy, with its present weights.
            rewards: (K,) of the slate's items.
        """
        config, m = self.config, self.probabilities
        rewards = np.asarray(rewards, float)
        baseline = self.baseline.update(rewards)
        advantages = rewards - baseline
        chosen = m[slate.at]
        left = self._left(slate.at)
        entropy, kl = self.entropy, self.kl
        loss = -(advantages @ np.log(chosen / left)) - config.entropy * entropy + config.kl * kl
        # dL/dm of -A_t (log m_a - log left_t), in which left_t is the sum of m over what is not drawn before t. As that
        # is 1 - the sum of what is drawn, only the drawn items have a derivative.
        later = np.cumsum((advantages / left)[::-1])[::-1] - advantages / left
        v = self._regulariser()
        v[slate.at] += -advantages / chosen - later
        logits = self.logits
        gradient = self._descend(v)
        return Step(
            *(slate, rewards, baseline, advantages, logits, m, entropy, kl, float(loss), gradient),
            *(self.weights, self.logits, self.probabilities),
        )

    def step_logged(self, at: Ints, propensities: Doubles, returns: Doubles, cap: float = 10.0) -> Doubles:
        """One Top-K off-policy update (Chen et al. 2019) with items that another policy had shown.

        loss = - sum_b min(m(a_b) / beta_b, cap) lambda_K(m(a_b)) R_b log m(a_b) / B, with the factors before the
        logarithm held fixed, and entropy and divergence as in `step`.

        Args:
            at: (B,) which candidates were shown.
            propensities: (B,) beta, with which probability.
            returns: (B,) rewards, or discounted returns, less a baseline if there is one.
            cap: of the importance weights.

        Returns:
            (N,) gradient of the loss with respect to the logits, before the update.
        """
        chosen = self.probabilities[at]
        weight = capped_ratio(chosen, propensities, cap) * top_k_multiplier(chosen, self.config.k)
        v = self._regulariser()
        np.add.at(v, at, -weight * returns / chosen / len(at))
        return self._descend(v)

    def _regulariser(self) -> Doubles:
        """(N,) derivative of - entropy H(m) + kl KL(m || m_start) with respect to m, up to a constant."""
        return self.config.entropy * self._log + self.config.kl * (self._log - self._log_start)

    def _descend(self, v: Doubles) -> Doubles:
        """Moves the head against the gradient that v = dL/dm stands for, and returns it, (N,), in the logits."""
        gradient = (1 - self.config.epsilon) * self._p * (v - self._p @ v)
        self.weights = self.weights - self.config.lr * (gradient @ self.features)
        if len(self.bias):
            self.bias = self.bias - self.config.lr * gradient
        self.updates += 1
        self._refresh()
        return gradient

    def with_config(self, config: PolicyConfig) -> "SoftmaxPolicy":
        """A policy of the same start and candidates that has learned nothing yet, with other constants.

        The number of positions and what can be learned stay as they are.
        """
        other = copy(self)
        other.config = replace(config, k=self.config.k, item_bias=self.config.item_bias)
        other.start = self.scores / config.temperature
        other.weights, other.bias = np.zeros_like(self.weights), np.zeros_like(self.bias)
        other.baseline, other.updates = Baseline(self.config.k, config.momentum), 0
        other._log_start = np.log(other._mixture(other.start)[1])
        other._refresh()
        return other

    # --- what a session is ----------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """What the session has learned, in plain values; `restore` on a policy of the same start goes back to it."""
        return {
            "updates": self.updates,
            "weights": self.weights.tolist(),
            "bias": self.bias.tolist(),
            "baseline": self.baseline.values.tolist(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Goes back to what `state` returned, exactly.

        Raises:
            CrossrecError: it is of a session with other features, candidates or positions.
        """
        read = {name: np.asarray(state[name], float) for name in ("weights", "bias", "baseline")}
        here = {"weights": self.weights, "bias": self.bias, "baseline": self.baseline.values}
        for name, now in here.items():
            if read[name].shape != now.shape:
                raise CrossrecError(f"The state has {len(read[name])} numbers of {name}; this policy has {len(now)}.")
        self.weights, self.bias, self.baseline.values = read["weights"], read["bias"], read["baseline"]
        self.updates = int(state["updates"])
        self._refresh()


def capped_ratio(pi: Doubles, beta: Doubles, cap: float) -> Doubles:
    """Importance weights min(pi / beta, cap)."""
    return np.minimum(pi / beta, cap)


def top_k_multiplier(pi: Doubles, k: int) -> Doubles:
    """lambda_K = K (1 - pi)^(K - 1): what an item still adds to the chance of being among K draws (Chen et al. 2019).

    Near K for a rare item; near 0 for one that is sure to be shown, which need not be pushed further.
    """
    return np.asarray(k * (1 - np.asarray(pi, float)) ** (k - 1))
