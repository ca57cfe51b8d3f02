"""LiGR blocks (Borisyuk et al., 2025; eSASRec has them too): each sublayer through a learned gate, and SwiGLU.

B rows, T time, D width.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from crossrec.models.dropout import Dropout
from crossrec.models.sasrec import Block, SASRecConfig


class LiGRBlock(Block):
    """x + s(Wg x) Drop(MHA(LN x)), and then x + s(Wg' x) Drop(SwiGLU(LN x)), with s the logistic function."""

    def __init__(self, config: SASRecConfig):
        super().__init__(config)
        d, self.pre = config.dim, True
        self.gates = nn.ModuleList(nn.Linear(d, d) for _ in range(2))
        self.ff = nn.Sequential(SwiGLU(d, config.dropout))

    def _through(self, x: Tensor, attended: Tensor) -> Tensor:
        x = x + torch.sigmoid(self.gates[0](x)) * self.drop(attended)
        return x + torch.sigmoid(self.gates[1](x)) * self.drop(self.ff(self.norm2(x)))


class SwiGLU(nn.Module):
    """W2 Drop(silu(W1 x) * W3 x), 4 D wide."""

    def __init__(self, dim: int, dropout: float):
        super().__init__()
        self.up, self.down, self.drop = nn.Linear(dim, 8 * dim), nn.Linear(4 * dim, dim), Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.up(x).chunk(2, dim=-1)
        return self.down(self.drop(F.silu(gate) * value))
