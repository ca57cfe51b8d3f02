"""A bridge of each person's own, made from the source items that they took (PTUPCDR, Zhu et al., WSDM 2022).

B people, J source items, F width of an item's vector, S width of a person's source vector, D of their target vector.
"""

import torch
from torch import Tensor, nn


class PersonalBridge(nn.Module):
    """p = sum a_j v_j with a = softmax(w . ReLU(W v_j)) over a person's items; W_u = meta(p), (S, D); u_s W_u."""

    def __init__(self, factors: int, source: int, target: int, hidden: int = 50):
        """factors: F; source: S; target: D; hidden: of the meta network."""
        super().__init__()
        self.source, self.target = source, target
        self.attention = nn.Sequential(
            nn.Linear(factors, factors, bias=False), nn.ReLU(), nn.Linear(factors, 1, bias=False)
        )
        self.meta = nn.Sequential(nn.Linear(factors, hidden), nn.ReLU(), nn.Linear(hidden, source * target))

    def weights(self, items: Tensor, mask: Tensor) -> Tensor:
        """Items (..., J, F), and where there are any (..., J) -> (..., J) attention; zeros for a person without."""
        scores = self.attention(items).squeeze(-1).masked_fill(~mask, -torch.inf)
        # A row of -inf alone has no softmax, and no gradient either: it is given a number first.
        nothing = ~mask.any(dim=-1, keepdim=True)
        return torch.softmax(scores.masked_fill(nothing, 0.0), dim=-1).masked_fill(~mask, 0.0)

    def forward(self, vectors: Tensor, items: Tensor, mask: Tensor) -> Tensor:
        """Source vectors (..., S), items (..., J, F) and their mask (..., J) -> (..., D) target vectors."""
        taste = torch.einsum("...j,...jf->...f", self.weights(items, mask), items)
        bridge = self.meta(taste).unflatten(-1, (self.source, self.target))  # (..., S, D)
        return torch.einsum("...s,...sd->...d", vectors, bridge)
