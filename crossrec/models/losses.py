"""What a sequence model is trained to do at each of P positions: tell the next item from others.

| loss | negatives | prefer it when |
|---|---|---|
| `cross_entropy` | all I items | the catalogue is small: no sampling, and it ranks best |
| `sampled_softmax` | N, shared by the batch | the catalogue is large: one small matrix product replaces the big one |
| `gbce` | N, shared | a sigmoid loss is wanted without the overconfidence that few negatives cause |
| `bce` | N a position | comparing with the original SASRec; it ranks worst |

P positions, N negatives, D width, I items. All return the mean over positions.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def cross_entropy(states: Tensor, items: Tensor, target: Tensor) -> Tensor:
    """-log softmax over all items, without ever holding the (P, I) matrix.

    Args:
        states: (P, D).
        items: (I+1, D) item vectors; row 0, padding, is left out.
        target: (P,) the next items, 1..I.
    """
    return _LinearCrossEntropy.apply(states, items[1:], target - 1)


class _LinearCrossEntropy(torch.autograd.Function):
    """Scores, softmax and both gradients in one pass over chunks of positions that stay in the cache's reach."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, items: Tensor, target: Tensor) -> Tensor:
        positions, total = len(states), states.new_zeros(())
        want = any(ctx.needs_input_grad[:2])
        grad_states, grad_items = torch.empty_like(states), torch.zeros_like(items)
        # Below 32 MiB the allocator reuses memory instead of asking the system for fresh pages at each step.
        rows = max(16, (4 << 20) // len(items))
        for start in range(0, positions, rows):
            part, goal = states[start : start + rows], target[start : start + rows, None]
            logits = part @ items.T
            most = logits.amax(dim=1, keepdim=True)
            right = logits.gather(1, goal) - most
            p = logits.sub_(most).exp_()
            norm = p.sum(dim=1, keepdim=True)
            total += (norm.log() - right).sum()
            if want:
                p.div_(norm)
                p.scatter_add_(1, goal, p.new_full(goal.shape, -1.0))
                torch.mm(p, items, out=grad_states[start : start + rows])
                grad_items.addmm_(p.T, part)
        ctx.save_for_backward(grad_states / positions, grad_items / positions)
        return total / positions

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        grad_states, grad_items = ctx.saved_tensors
        return grad * grad_states, grad * grad_items, None


def sampled_softmax(positive: Tensor, negative: Tensor, log_q: Tensor | None = None) -> Tensor:
    """-log softmax of the positive among itself and N drawn negatives (Jean et al., 2015).

    With N negatives drawn from Q, s' = s - log(N Q(j)) makes their sum an estimate of the sum over all items. None
    leaves the scores as they are, which for a uniform Q weighs all negatives alike.

    Args:
        positive: (P,) scores of the next items.
        negative: (P, N) scores of the negatives; -inf where a negative is the positive itself.
        log_q: (N,) log of how often each negative is expected among the N drawn, log(N Q), or None.
    """
    if log_q is not None:
        negative = negative - log_q
    return (torch.logsumexp(torch.cat([positive[:, None], negative], dim=1), dim=1) - positive).mean()


def bce(positive: Tensor, negative: Tensor) -> Tensor:
    """Binary cross-entropy over the flattened 1 + N logits of each position, as in System A.

    Args:
        positive: (P,) scores of the next items.
        negative: (P, N) scores of the negatives; -inf where one does not count.
    """
    return _sigmoid_terms(positive, negative, 1.0) / (1 + negative.shape[1])


def gbce(positive: Tensor, negative: Tensor, n_items: int, calibration: float = 0.75) -> Tensor:
    """Generalised BCE (Petrov and Macdonald, 2023): the positive's probability is raised to the power `gbce_beta`.

    Args:
        positive: (P,) scores of the next items.
        negative: (P, N) scores of N uniform negatives; -inf where one does not count.
        n_items: I.
        calibration: t, from 0 (plain BCE) to 1 (fully calibrated).
    """
    n = negative.shape[1]
    return _sigmoid_terms(positive, negative, gbce_beta(n_items, n, calibration)) / (n + 1)


def gbce_beta(n_items: int, n: int, calibration: float) -> float:
    """b = a (t (1 - 1/a) + 1/a) with a = N / (I - 1)."""
    a = min(1.0, n / max(1, n_items - 1))  # more draws than items are drawn with repetition: all items, at most
    return a * (calibration * (1 - 1 / a) + 1 / a)


def _sigmoid_terms(positive: Tensor, negative: Tensor, beta: float) -> Tensor:
    """Mean over positions of -beta log s(s+) - sum log(1 - s(s-))."""
    return (-beta * F.logsigmoid(positive) - F.logsigmoid(-negative).sum(1)).mean()
