"""Losses against naive expressions, values and gradients; the numbers of facts.md, section 2."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from crossrec.models import losses


def scores(seed: int, positions: int = 7, negatives: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    positive = torch.randn(positions, generator=generator, dtype=torch.float64) * 2
    negative = torch.randn(positions, negatives, generator=generator, dtype=torch.float64) * 2
    return positive.requires_grad_(), negative.requires_grad_()


def same(one: torch.Tensor, other: torch.Tensor, inputs: tuple[torch.Tensor, ...]) -> None:
    """Equal values and equal gradients."""
    torch.testing.assert_close(one, other)
    torch.testing.assert_close(torch.autograd.grad(one, inputs), torch.autograd.grad(other, inputs))


@pytest.mark.parametrize(
    ("n_items", "calibration", "beta"),
    [(3416, 0.75, 0.306223), (1000, 0.75, 0.442192), (3416, 0.0, 1.0), (3416, 1.0, 0.074963)],
)
def test_beta_of_gbce(n_items: int, calibration: float, beta: float) -> None:
    assert losses.gbce_beta(n_items, 256, calibration) == pytest.approx(beta, abs=5e-7)


def test_beta_interpolates_between_the_sampling_rate_and_one() -> None:
    low, middle, high = (losses.gbce_beta(500, 40, t) for t in (1.0, 0.5, 0.0))
    assert low == pytest.approx(40 / 499)
    assert middle == pytest.approx((low + high) / 2)


def test_bce_is_the_mean_over_the_flattened_logits() -> None:
    positive, negative = scores(0)
    logits = torch.cat([positive[:, None], negative], dim=1)
    truth = torch.zeros_like(logits)
    truth[:, 0] = 1
    same(losses.bce(positive, negative), F.binary_cross_entropy_with_logits(logits, truth), (positive, negative))


def test_bce_by_hand() -> None:
    # -log s(0) - log(1 - s(0)) over two logits, and s(log 3) = 3/4.
    assert losses.bce(torch.tensor([0.0]), torch.tensor([[0.0]])).item() == pytest.approx(math.log(2))
    value = losses.bce(torch.tensor([math.log(3)]), torch.tensor([[math.log(3), 0.0]])).item()
    assert value == pytest.approx(-(math.log(3 / 4) + math.log(1 / 4) + math.log(1 / 2)) / 3)


def test_gbce_is_its_formula() -> None:
    positive, negative = scores(1)
    k, n_items, t = negative.shape[1], 31, 0.6
    a = k / (n_items - 1)
    b = a * (t * (1 - 1 / a) + 1 / a)
    formula = -(b * torch.log(torch.sigmoid(positive)) + torch.log(1 - torch.sigmoid(negative)).sum(1)).mean() / (k + 1)
    same(losses.gbce(positive, negative, n_items, t), formula, (positive, negative))
    same(losses.gbce(positive, negative, n_items, 0.0), losses.bce(positive, negative), (positive, negative))


def test_sampled_softmax_is_cross_entropy_over_the_drawn() -> None:
    positive, negative = scores(2)
    logits = torch.cat([positive[:, None], negative], dim=1)
    naive = F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long))
    same(losses.sampled_softmax(positive, negative), naive, (positive, negative))


def test_sampled_softmax_takes_log_q_from_the_negatives_only() -> None:
    positive, negative = scores(3)
    log_q = torch.log(torch.tensor([0.1, 0.2, 0.3, 0.25, 0.15], dtype=torch.float64))
    naive = -torch.log(positive.exp() / (positive.exp() + (negative.exp() / log_q.exp()).sum(1))).mean()
    same(losses.sampled_softmax(positive, negative, log_q), naive, (positive, negative))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_sampled_softmax_with_log_q_estimates_the_full_one(seed: int) -> None:
    # Many draws from a skewed Q; log_q is the log of how often each item is expected among the N draws.
    rng = np.random.default_rng(seed)
    n_items, n = 40, 200_000
    all_scores, target = torch.from_numpy(rng.normal(0, 1.5, n_items)), 3
    q = rng.dirichlet(np.full(n_items, 2.0))
    drawn = torch.from_numpy(rng.choice(n_items, n, p=q))
    negative = all_scores[drawn].masked_fill(drawn == target, -torch.inf)[None]
    log_q = torch.from_numpy(np.log(n * q))[drawn]
    full = torch.logsumexp(all_scores, 0) - all_scores[target]
    corrected = losses.sampled_softmax(all_scores[[target]], negative, log_q)
    assert corrected.item() == pytest.approx(full.item(), abs=0.02)
    plain = losses.sampled_softmax(all_scores[[target]], negative, torch.full((n,), math.log(n / n_items)))
    assert abs(plain.item() - full.item()) > 0.02  # the correction is what makes it so


@pytest.mark.parametrize("name", ["bce", "gbce", "sampled"])
def test_negatives_at_minus_infinity_do_not_count(name: str) -> None:
    positive, negative = scores(4)
    gone = negative.detach().clone()
    gone[:, 2] = -torch.inf
    gone.requires_grad_()
    left = negative.detach()[:, [0, 1, 3, 4]]
    n = negative.shape[1]
    if name == "sampled":
        value, expected = losses.sampled_softmax(positive, gone), losses.sampled_softmax(positive, left)
    elif name == "bce":  # the places stay in the mean's denominator
        value, expected = losses.bce(positive, gone), losses.bce(positive, left) * n / (n + 1)
    else:
        value = losses.gbce(positive, gone, 100)
        b = losses.gbce_beta(100, n, 0.75)
        expected = (-b * F.logsigmoid(positive) - F.logsigmoid(-left).sum(1)).mean() / (n + 1)
    torch.testing.assert_close(value, expected)
    grad = torch.autograd.grad(value, gone)[0]
    assert torch.isfinite(grad).all()
    assert (grad[:, 2] == 0).all()
    assert (grad[:, 0] != 0).all()


# --- cross entropy without the matrix -------------------------------------------------------------


def problem(
    positions: int, n_items: int, dim: int, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(positions)
    states = torch.randn(positions, dim, generator=generator, dtype=dtype).requires_grad_()
    items = torch.randn(n_items + 1, dim, generator=generator, dtype=dtype).requires_grad_()
    target = torch.randint(1, n_items + 1, (positions,), generator=generator)
    target[0], target[-1] = 1, n_items  # both ends of the catalogue
    return states, items, target


@given(positions=st.integers(1, 60), n_items=st.integers(2, 40), dim=st.integers(1, 6), scale=st.floats(0.1, 5))
def test_cross_entropy_equals_that_of_the_full_matrix(positions: int, n_items: int, dim: int, scale: float) -> None:
    states, items, target = problem(positions, n_items, dim, torch.float64)
    # Scaled, so that a gradient that ignores what comes from above is noticed.
    ours = losses.cross_entropy(states, items, target) * scale
    full = F.cross_entropy((states @ items.T)[:, 1:], target - 1) * scale
    same(ours, full, (states, items))
    assert (torch.autograd.grad(losses.cross_entropy(states, items, target), items)[0][0] == 0).all()


@pytest.mark.parametrize("positions", [1, 15, 16, 17, 32, 33, 48, 70])
def test_cross_entropy_over_several_chunks(positions: int) -> None:
    # At 300,000 items a chunk is the least there is, 16 positions; so these are one to five chunks, some partly filled.
    states, items, target = problem(positions, 300_000, 2, torch.float32)
    ours, full = losses.cross_entropy(states, items, target), F.cross_entropy((states @ items.T)[:, 1:], target - 1)
    torch.testing.assert_close(ours, full, rtol=1e-5, atol=1e-5)
    ours_grad = torch.autograd.grad(ours, (states, items))
    full_grad = torch.autograd.grad(full, (states, items))
    torch.testing.assert_close(ours_grad, full_grad, rtol=1e-3, atol=1e-7)


def test_cross_entropy_stays_finite_at_large_scores() -> None:
    states = torch.tensor([[1e4]], requires_grad=True)
    items = torch.tensor([[0.0], [1.0], [-1.0]], requires_grad=True)
    assert losses.cross_entropy(states, items, torch.tensor([1])).item() == 0
    assert losses.cross_entropy(states, items, torch.tensor([2])).item() == pytest.approx(2e4)


def test_cross_entropy_where_one_side_is_frozen() -> None:
    for frozen in (0, 1):
        states, items, target = problem(9, 12, 3, torch.float64)
        inputs = [states, items]
        inputs[frozen].requires_grad_(False)
        ours = losses.cross_entropy(states, items, target)
        same(ours, F.cross_entropy((states @ items.T)[:, 1:], target - 1), (inputs[1 - frozen],))
    with torch.no_grad():
        assert math.isfinite(losses.cross_entropy(states, items, target).item())
