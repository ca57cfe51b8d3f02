"""Bridges carry a person's source vector into the target space; fusion joins it with the target state."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from crossrec.config import require
from crossrec.models.dropout import Dropout

FUSIONS = ("gate", "add", "concat")
POOLS = ("last", "mean")


@dataclass(frozen=True)
class BridgeConfig:
    fusion: str = "gate"
    """"gate" (a learned mixture per dimension), "add", or "concat" (a linear layer over both)."""
    bridge_hidden: int = 128
    """Width of the bridge's hidden layer."""
    bridge_dropout: float = 0.5
    """Share of the bridge's hidden units dropped in training."""
    source_dropout: float = 0.2
    """Share of the training windows whose source vectors are withheld, so that the sequence alone stays good too."""
    source_pool: str = "mean"
    """Source vector: the "last" state of the source model (System A), or the "mean" of its states so far."""

    def __post_init__(self) -> None:
        require(self.fusion in FUSIONS, f"fusion ({self.fusion!r}) must be one of {', '.join(FUSIONS)}")
        require(self.bridge_hidden > 0, f"bridge_hidden ({self.bridge_hidden}) must be positive")
        require(0 <= self.bridge_dropout < 1, f"bridge_dropout ({self.bridge_dropout}) must be in [0, 1)")
        require(0 <= self.source_dropout < 1, f"source_dropout ({self.source_dropout}) must be in [0, 1)")
        require(self.source_pool in POOLS, f"source_pool ({self.source_pool!r}) must be one of {', '.join(POOLS)}")


class Bridge(nn.Module):
    """b = W2 Drop(ReLU(W1 s)), then fused with the target state h.

    gate: g = sigmoid(Wg [LN h; LN b]), z = g h + (1 - g) b.   add: z = h + b.   concat: z = Wc [h; b].
    Where there is no source vector, z = h: nothing is made up.
    """

    def __init__(self, config: BridgeConfig, source_dim: int, dim: int):
        super().__init__()
        self.fusion = config.fusion
        self.mlp = nn.Sequential(
            nn.Linear(source_dim, config.bridge_hidden),
            nn.ReLU(),
            Dropout(config.bridge_dropout),
            nn.Linear(config.bridge_hidden, dim),
        )
        if self.fusion == "gate":
            self.norm_h, self.norm_b = nn.LayerNorm(dim), nn.LayerNorm(dim)
            self.gate_layer = nn.Linear(2 * dim, dim)
        elif self.fusion == "concat":
            self.join = nn.Linear(2 * dim, dim)

    def forward(self, h: Tensor, source: Tensor, present: Tensor) -> Tensor:
        """Fuses.

        Args:
            h: (..., D) target states.
            source: (..., S) source vectors.
            present: (...) bool, False where there is no source vector.

        Returns:
            (..., D), equal to h where `present` is False.
        """
        b = self.mlp(source)
        if self.fusion == "gate":
            g = self.gate(h, b)
            z = g * h + (1 - g) * b
        elif self.fusion == "add":
            z = h + b
        else:
            z = self.join(torch.cat([h, b], dim=-1))
        return torch.where(present[..., None], z, h)

    def gate(self, h: Tensor, b: Tensor) -> Tensor:
        """(..., D) share of the target state in each dimension of the fused one; only with fusion "gate"."""
        return torch.sigmoid(self.gate_layer(torch.cat([self.norm_h(h), self.norm_b(b)], dim=-1)))
