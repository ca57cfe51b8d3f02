"""Bridges carry a person's source vector into the target space; fusion joins it with the target state."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from crossrec.config import require
from crossrec.models.dropout import Dropout
from crossrec.models.personal import PersonalBridge

BRIDGES = ("mlp", "linear", "personal", "none")
FUSIONS = ("gate", "add", "concat")
POOLS = ("last", "mean")
NEWEST = 20
"""Most source items that a personal bridge is made from."""


@dataclass(frozen=True)
class BridgeConfig:
    bridge: str = "mlp"
    """"mlp" (one hidden layer), "linear" (one map for everybody, as in EMCDR), "personal" (a map of each person's own,
    made from the vectors of their newest source items, as in PTUPCDR), or "none": the source is not read, and what is
    left is the same model and budget without transfer."""
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
        require(self.bridge in BRIDGES, f"bridge ({self.bridge!r}) must be one of {', '.join(BRIDGES)}")
        require(self.fusion in FUSIONS, f"fusion ({self.fusion!r}) must be one of {', '.join(FUSIONS)}")
        require(self.bridge_hidden > 0, f"bridge_hidden ({self.bridge_hidden}) must be positive")
        require(0 <= self.bridge_dropout < 1, f"bridge_dropout ({self.bridge_dropout}) must be in [0, 1)")
        require(0 <= self.source_dropout < 1, f"source_dropout ({self.source_dropout}) must be in [0, 1)")
        require(self.source_pool in POOLS, f"source_pool ({self.source_pool!r}) must be one of {', '.join(POOLS)}")


class Bridge(nn.Module):
    """b from the source vector s, then fused with the target state h.

    mlp: b = W2 Drop(ReLU(W1 s)).   linear: b = W s.   personal: b = s W_u, see `PersonalBridge`.
    gate: g = sigmoid(Wg [LN h; LN b]), z = g h + (1 - g) b.   add: z = h + b.   concat: z = Wc [h; b].
    Where there is no source vector, z = h: nothing is made up. So it is everywhere with the bridge "none".
    """

    def __init__(self, config: BridgeConfig, source_dim: int, dim: int):
        super().__init__()
        self.kind, self.fusion = config.bridge, config.fusion
        if self.kind == "none":
            return
        if self.kind == "mlp":
            self.mlp = nn.Sequential(
                nn.Linear(source_dim, config.bridge_hidden),
                nn.ReLU(),
                Dropout(config.bridge_dropout),
                nn.Linear(config.bridge_hidden, dim),
            )
        elif self.kind == "linear":
            self.linear = nn.Linear(source_dim, dim, bias=False)
        else:
            self.personal = PersonalBridge(source_dim, source_dim, dim)
        if self.fusion == "gate":
            self.norm_h, self.norm_b = nn.LayerNorm(dim), nn.LayerNorm(dim)
            self.gate_layer = nn.Linear(2 * dim, dim)
        elif self.fusion == "concat":
            self.join = nn.Linear(2 * dim, dim)

    def forward(self, h: Tensor, source: Tensor, present: Tensor) -> Tensor:
        """Fuses.

        Args:
            h: (..., D) target states.
            source: (..., S) source vectors; for a personal bridge (..., 1+J, S), with those of items behind them.
            present: (...) bool, False where there is no source vector.

        Returns:
            (..., D), equal to h where `present` is False.
        """
        if self.kind == "none":
            return h
        b = self.bridged(source)
        if self.fusion == "gate":
            g = self.gate(h, b)
            z = g * h + (1 - g) * b
        elif self.fusion == "add":
            z = h + b
        else:
            z = self.join(torch.cat([h, b], dim=-1))
        return torch.where(present[..., None], z, h)

    def bridged(self, source: Tensor) -> Tensor:
        """(..., D) source vectors as `forward` gets them, in the target space; items of zeros are padding."""
        if self.kind == "mlp":
            return self.mlp(source)
        if self.kind == "linear":
            return self.linear(source)
        items = source[..., 1:, :]
        return self.personal(source[..., 0, :], items, (items != 0).any(-1))

    def gate(self, h: Tensor, b: Tensor) -> Tensor:
        """(..., D) share of the target state in each dimension of the fused one; only with fusion "gate"."""
        return torch.sigmoid(self.gate_layer(torch.cat([self.norm_h(h), self.norm_b(b)], dim=-1)))
