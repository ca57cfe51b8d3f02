"""The losses that shape RACRec's shared and specific taste vectors, in System B's form and in the corrected one.

B people, D width of a taste vector.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

CLASSIC_WEIGHTS = {"pred": 1000.0, "diff": 0.1, "class": -0.1, "rec": 0.1, "irec": 0.1}
"""System B's weights of its five losses. The domain loss is subtracted: its classifier is trained to be wrong."""


def signed_cosine(shared: Tensor, specific: Tensor) -> Tensor:
    """Mean cosine of the rows of two (B, D): System B's difference loss, whose minimum is opposite, not unrelated."""
    return F.cosine_similarity(shared, specific, dim=-1).mean()


def separation(shared: Tensor, specific: Tensor) -> Tensor:
    """Mean of (S'P)^2 over its D x D entries, S and P the (B, D) with rows of length 1: 0 where they are unrelated.

    The difference loss of domain separation networks (Bousmalis et al. 2016), which sums where this takes the mean.
    """
    product = F.normalize(shared, dim=-1).T @ F.normalize(specific, dim=-1)
    return product.square().mean()


def domain_nll(source_logits: Tensor, target_logits: Tensor) -> Tensor:
    """Cross-entropy of telling source (B_s, 2), class 0, from target (B_t, 2), class 1; an empty side counts as 0."""
    total = source_logits.new_zeros(())
    for kind, logits in enumerate((source_logits, target_logits)):
        if len(logits):
            total = total + F.cross_entropy(logits, torch.full((len(logits),), kind, device=logits.device))
    return total


class _Reversed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * gradients[0], None


def reverse_gradient(x: Tensor, strength: float) -> Tensor:
    """x itself, whose gradient comes back times -strength (Ganin et al. 2016).

    A classifier behind it learns to tell the domains apart, and what is before it learns to give it nothing to tell.
    """
    reversed_: Tensor = _Reversed.apply(x, strength)
    return reversed_


def reversal_strength(progress: float) -> float:
    """2 / (1 + exp(-10 p)) - 1 at progress p from 0 to 1: the classifier learns first, then it is listened to."""
    return float(2 / (1 + torch.tensor(-10.0 * progress, dtype=torch.float64).exp()) - 1)
