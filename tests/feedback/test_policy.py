"""Propensities, gradients and sessions of the softmax policy."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from crossrec.errors import CrossrecError
from crossrec.feedback.policy import (
    PolicyConfig,
    SoftmaxPolicy,
    candidates,
    capped_ratio,
    low_rank,
    top_k_multiplier,
    z_scores,
)

PLAIN = PolicyConfig(k=1, temperature=1.0, epsilon=0.0, lr=0.1, entropy=0.01, kl=0.0)


def a_policy(seed: int = 0, n: int = 7, width: int = 3, **settings: object) -> SoftmaxPolicy:
    """Over items 1..n, already away from its start."""
    rng = np.random.default_rng(seed)
    config = replace(PolicyConfig(k=3, temperature=0.8, epsilon=0.2, lr=0.3, entropy=0.02, kl=0.05), **settings)
    policy = SoftmaxPolicy(np.arange(1, n + 1), rng.normal(size=n + 1), rng.normal(size=(n + 1, width)), config)
    policy.restore(policy.state() | {"weights": rng.normal(size=width).tolist()})
    return policy


# --- candidates and features ------------------------------------------------------------------------


def test_candidates_are_the_best_and_others_at_random() -> None:
    scores = np.array([-np.inf, 5, 1, 4, -np.inf, 3, 2, 0.5])
    found = candidates(scores, 2, 2, np.random.default_rng(0))
    assert found[:2].tolist() == [1, 3]
    assert len(set(found.tolist())) == 4
    assert set(found[2:].tolist()) <= {2, 5, 6, 7}
    assert found.tolist() == candidates(scores, 2, 2, np.random.default_rng(0)).tolist()
    draws = {tuple(candidates(scores, 2, 2, np.random.default_rng(seed)).tolist()) for seed in range(20)}
    assert len(draws) > 3
    assert all(len(set(draw)) == 4 for draw in draws)
    assert sorted(candidates(scores, 9, 9, np.random.default_rng(0)).tolist()) == [1, 2, 3, 5, 6, 7]
    with pytest.raises(CrossrecError, match="has them all"):
        candidates(np.full(4, -np.inf), 2, 2, np.random.default_rng(0))


def test_z_scores_leave_out_what_may_not_be_shown() -> None:
    found = z_scores(np.array([-np.inf, 1.0, 3.0, -np.inf]))
    assert found.tolist() == [-np.inf, -1.0, 1.0, -np.inf]


def test_low_rank_features_are_uncorrelated_with_equal_variance() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(51, 6)) * [5, 3, 1, 0.5, 0.2, 0.1]
    features = low_rank(vectors, 4)
    assert features.shape == (51, 4)
    assert (features[0] == 0).all()
    assert features[1:].T @ features[1:] / 50 == pytest.approx(np.eye(4) / 4, abs=1e-9)
    # The first component is the direction of the largest variance.
    assert abs(np.corrcoef(features[1:, 0], vectors[1:, 0])[0, 1]) > 0.95
    assert low_rank(np.repeat(vectors[:, :2], 3, axis=1), 6).shape == (51, 2)


# --- what it shows ----------------------------------------------------------------------------------


def test_propensities_are_those_of_drawing_without_replacement() -> None:
    policy = a_policy()
    m = policy.probabilities
    assert m.sum() == pytest.approx(1)
    assert m.min() >= 0.2 / 7
    softmax = np.exp(policy.logits) / np.exp(policy.logits).sum()
    assert m == pytest.approx(0.8 * softmax + 0.2 / 7)
    slate = policy.slate(np.array([4, 0, 2]))
    assert slate.items.tolist() == [5, 1, 3]
    assert slate.propensities == pytest.approx([m[4], m[0] / (1 - m[4]), m[2] / (1 - m[4] - m[0])])
    assert slate.propensity == pytest.approx(m[4] * m[0] / (1 - m[4]) * m[2] / (1 - m[4] - m[0]))
    # At each position, and over whole slates, they add up to one.
    assert sum(policy.slate(np.array([4, 0, j])).propensities[2] for j in (1, 2, 3, 5, 6)) == pytest.approx(1)
    orders = [np.array([a, b, c]) for a in range(7) for b in range(7) for c in range(7) if len({a, b, c}) == 3]
    assert sum(policy.slate(order).propensity for order in orders) == pytest.approx(1)


def test_draws_come_as_often_as_their_propensities_say() -> None:
    policy, rng, n = a_policy(n=4, k=2), np.random.default_rng(1), 20_000
    seen: dict[tuple[int, ...], int] = {}
    for _ in range(n):
        slate = policy.draw(rng)
        seen[tuple(slate.at.tolist())] = seen.get(tuple(slate.at.tolist()), 0) + 1
    assert len(seen) == 12
    for order, count in seen.items():
        expected = policy.slate(np.array(order)).propensity
        assert count / n == pytest.approx(expected, abs=4.5 * np.sqrt(expected * (1 - expected) / n))


def test_a_draw_depends_on_the_generator_alone() -> None:
    one, two = a_policy().draw(np.random.default_rng(3)), a_policy().draw(np.random.default_rng(3))
    assert one.at.tolist() == two.at.tolist()
    assert one.propensities.tolist() == two.propensities.tolist()


def test_a_sure_choice_leaves_exact_propensities_for_the_rest() -> None:
    """1 - m cannot hold what is left when m is almost 1."""
    config = PolicyConfig(k=2, temperature=1.0, epsilon=0.0)
    policy = SoftmaxPolicy(np.array([1, 2, 3]), np.array([0.0, 60.0, 1.0, 0.0]), None, config)
    assert policy.slate(np.array([0, 1])).propensities[1] == pytest.approx(np.e / (1 + np.e))


# --- how it learns ----------------------------------------------------------------------------------


def test_the_loss_of_system_a() -> None:
    """pi = softmax([0, 0]), R = .3: b = .03, R - b = .27, loss = .187150 - .01 x .693147."""
    policy = SoftmaxPolicy(np.array([1, 2]), np.zeros(3), np.eye(3), PLAIN)
    step = policy.step(policy.slate(np.array([0])), np.array([0.3]))
    assert step.baseline == pytest.approx([0.03])
    assert step.advantages == pytest.approx([0.27])
    assert step.entropy == pytest.approx(0.693147, abs=1e-6)
    assert step.loss == pytest.approx(0.187150 - 0.01 * 0.693147, abs=1e-6)
    assert step.gradient == pytest.approx([-0.135, 0.135])
    assert step.probabilities == pytest.approx([0.5, 0.5])
    assert step.weights == pytest.approx([0, 0.0135, -0.0135])
    assert step.new_logits == pytest.approx([0.0135, -0.0135])
    assert step.new_probabilities[0] == pytest.approx(1 / (1 + np.exp(-0.027)))


def torch_mixture(policy: SoftmaxPolicy, logits: torch.Tensor) -> torch.Tensor:
    return (1 - policy.config.epsilon) * torch.softmax(logits, 0) + policy.config.epsilon / len(logits)


def torch_regulariser(policy: SoftmaxPolicy, m: torch.Tensor) -> torch.Tensor:
    start = torch_mixture(policy, torch.from_numpy(policy.start))
    entropy, kl = -(m * m.log()).sum(), (m * (m / start).log()).sum()
    return -policy.config.entropy * entropy + policy.config.kl * kl


@given(st.integers(0, 50))
def test_the_gradient_of_a_step_is_that_of_autograd(seed: int) -> None:
    policy = a_policy(seed, item_bias=True)
    rng = np.random.default_rng(seed)
    slate, rewards = policy.draw(rng), rng.normal(size=3)
    weights = torch.tensor(policy.weights, requires_grad=True)
    logits = torch.from_numpy(policy.start) + torch.from_numpy(policy.features) @ weights
    logits.retain_grad()
    m = torch_mixture(policy, logits)
    loss, left = torch_regulariser(policy, m), torch.ones(7, dtype=torch.bool)
    for at, advantage in zip(slate.at.tolist(), (rewards - 0.1 * rewards).tolist(), strict=True):
        loss = loss - advantage * (m[at] / m[left].sum()).log()
        left = left.clone()
        left[at] = False
    loss.backward()
    before = policy.weights
    step = policy.step(slate, rewards)
    assert step.loss == pytest.approx(loss.item(), abs=1e-9)
    assert step.gradient == pytest.approx(logits.grad.numpy(), abs=1e-9)
    assert (before - step.weights) / 0.3 == pytest.approx(weights.grad.numpy(), abs=1e-9)
    assert policy.bias == pytest.approx(-0.3 * step.gradient)


@given(st.integers(0, 50))
def test_the_off_policy_gradient_is_that_of_autograd(seed: int) -> None:
    policy, rng = a_policy(seed), np.random.default_rng(seed)
    at, beta, returns = rng.integers(0, 7, 5), rng.uniform(0.02, 1, 5), rng.normal(size=5)
    logits = torch.tensor(policy.logits, requires_grad=True)
    m = torch_mixture(policy, logits)
    pi = m[at]
    factor = torch.clamp(pi / torch.from_numpy(beta), max=1.5) * 3 * (1 - pi) ** 2
    loss = -(factor.detach() * torch.from_numpy(returns) * pi.log()).mean() + torch_regulariser(policy, m)
    loss.backward()
    before = policy.weights
    gradient = policy.step_logged(at, beta, returns, cap=1.5)
    assert gradient == pytest.approx(logits.grad.numpy(), abs=1e-9)
    assert policy.weights == pytest.approx(before - 0.3 * gradient @ policy.features)
    assert policy.updates == 1


def test_the_factors_of_off_policy_learning() -> None:
    assert top_k_multiplier(np.array([0.0, 0.1, 0.5]), 16) == pytest.approx([16, 3.294258, 0.000488], abs=1e-6)
    assert capped_ratio(np.array([0.5, 0.2]), np.array([0.1, 0.4]), 3.0) == pytest.approx([3.0, 0.5])


def test_learning_from_a_log_finds_what_was_clicked() -> None:
    """The log's policy shows everything alike; item 3 alone is clicked."""
    scores = np.zeros(9)
    policy = SoftmaxPolicy(np.arange(1, 9), scores, np.eye(9), PolicyConfig(k=2, lr=1.0, epsilon=0.1))
    shown = np.random.default_rng(0).integers(0, 8, 400)
    for start in range(0, 400, 20):
        part = shown[start : start + 20]
        policy.step_logged(part, np.full(20, 1 / 8), (part == 2).astype(float))
    assert policy.probabilities.argmax() == 2
    assert policy.probabilities[2] > 0.3


def played(kl: float, entropy: float = 0.0) -> SoftmaxPolicy:
    """A policy whose first candidate alone is ever rewarded."""
    config = PolicyConfig(k=1, temperature=1.0, epsilon=0.05, lr=1.0, entropy=entropy, kl=kl)
    policy, rng = SoftmaxPolicy(np.arange(1, 6), np.zeros(6), np.eye(6), config), np.random.default_rng(0)
    for _ in range(400):
        slate = policy.draw(rng)
        policy.step(slate, (slate.at == 0).astype(float))
    return policy


def test_the_divergence_from_the_start_keeps_it_from_collapsing() -> None:
    free, held = played(0.0), played(0.5)
    assert free.probabilities[0] > 0.9
    assert held.probabilities.argmax() == 0
    assert held.kl < 0.6 * free.kl
    assert held.entropy > 2 * free.entropy
    assert played(0.0, entropy=0.5).entropy > 2 * free.entropy


# --- what a session is ------------------------------------------------------------------------------


def test_undo_restores_exactly() -> None:
    policy, rng = a_policy(item_bias=True), np.random.default_rng(0)
    policy.step(policy.draw(rng), np.array([0.3, 0.0, 0.0]))
    kept, before = json.loads(json.dumps(policy.state())), policy.probabilities.tolist()
    slate = policy.draw(np.random.default_rng(5))
    first = policy.step(slate, np.array([0.0, 1.0, -0.5]))
    assert policy.probabilities.tolist() != before
    policy.restore(kept)
    assert policy.state() == kept
    assert policy.probabilities.tolist() == before
    again = policy.step(policy.slate(slate.at), np.array([0.0, 1.0, -0.5]))
    assert again.new_probabilities.tolist() == first.new_probabilities.tolist()
    assert again.loss == first.loss
    assert kept["updates"] == 1


def test_a_state_of_another_session_is_refused() -> None:
    with pytest.raises(CrossrecError, match="3 numbers of weights; this policy has 2"):
        a_policy(width=2).restore(a_policy(width=3).state())


def test_what_a_step_returned_does_not_change_later() -> None:
    policy, rng = a_policy(), np.random.default_rng(0)
    step = policy.step(policy.draw(rng), np.array([0.3, 0.0, 0.0]))
    kept = [np.copy(part) for part in (step.baseline, step.weights, step.new_logits, step.new_probabilities)]
    policy.step(policy.draw(rng), np.array([0.3, 0.3, 0.0]))
    now = (step.baseline, step.weights, step.new_logits, step.new_probabilities)
    assert all((a == b).all() for a, b in zip(kept, now, strict=True))


@pytest.mark.parametrize(
    "wrong", [{"k": 0}, {"temperature": 0.0}, {"epsilon": 1.1}, {"lr": -1.0}, {"kl": float("nan")}, {"momentum": 1.0}]
)
def test_a_config_is_checked(wrong: dict) -> None:
    with pytest.raises(CrossrecError, match=f"{next(iter(wrong))} is"):
        PolicyConfig(**wrong)


def test_candidates_are_checked() -> None:
    with pytest.raises(CrossrecError, match="2 candidates for a slate of 5"):
        SoftmaxPolicy(np.array([1, 2]), np.zeros(3))
    with pytest.raises(CrossrecError, match="not finite"):
        SoftmaxPolicy(np.array([0, 1]), np.array([-np.inf, 0.0]), None, PLAIN)
