"""SASRec on the target domain with a bridge from SASRec on the source domain."""

from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from crossrec.data.histories import Histories
from crossrec.models.bridge import NEWEST, Bridge, BridgeConfig
from crossrec.models.recommender import Floats, Recommender
from crossrec.models.sasrec import SASRec, SASRecConfig, weights_of, with_weights


class TransferSASRec(nn.Module):
    """A target SASRec whose every state, the start state too, is fused with the person's source vector.

    The source vector of a state is the last hidden state of the frozen source model over the source items that came
    before, so that training and testing ask the same question.
    """

    def __init__(
        self,
        config: SASRecConfig,
        bridge: BridgeConfig,
        n_items: int,
        source_dim: int,
        counts: NDArray[np.int64] | None = None,
    ):
        """counts: (I+1,) training events of each target item, where the bias starts; needed only for training."""
        super().__init__()
        self.sequence = SASRec(config, n_items, counts)
        self.bridge = Bridge(bridge, source_dim, config.dim)

    def forward(self, items: Tensor, source: Tensor, present: Tensor) -> Tensor:
        """Fused states.

        Args:
            items: (B, T) right-padded target items.
            source: (B, T+1, S) source vector at each state; (B, T+1, 1+J, S) for a personal bridge.
            present: (B, T+1) bool, False where the person had no source event yet.

        Returns:
            (B, T+1, D)
        """
        return self.bridge(self.sequence(items), source, present)


def source_state(model: SASRec, items: Tensor, config: BridgeConfig) -> Tensor:
    """(B, T) left-padded source items -> (B, S), the vector of a person."""
    return model.mean(items) if config.source_pool == "mean" else model.last(items)


def newest(items: Tensor, config: BridgeConfig) -> Tensor:
    """(B, T) left-padded source items -> (B, J), those that a personal bridge looks at; J is 0 for the others."""
    # One column of padding more: where nobody has an item, the bridge still gets one.
    return F.pad(items, (1, 0))[:, -NEWEST:] if config.bridge == "personal" else items[:, :0]


def bridge_input(model: SASRec, vectors: Tensor, items: Tensor) -> Tensor:
    """What the bridge gets.

    Args:
        model: of the source domain, frozen. The vectors of its items are looked up here, for they take more memory.
        vectors: (..., S) of `source_state`.
        items: (..., J) of `newest`.

    Returns:
        (..., S), or (..., 1+J, S) where J is not 0.
    """
    if not items.shape[-1]:
        return vectors
    items = items.long().to(model.item.weight.device)
    known = model.item.weight.detach()[items] * (items > 0)[..., None]  # (..., J, S), zeros for padding
    return torch.cat([vectors[..., None, :], known.to(vectors.device)], dim=-2)


class TransferRecommender(Recommender):
    """Scores by the target sequence and the bridged source sequence; without source events by the former alone."""

    kind: ClassVar[str] = "transfer-sasrec"
    speaks: ClassVar[str] = "logits"
    ordered = True

    def __init__(self, model: TransferSASRec, source_model: SASRec, bridge_config: BridgeConfig):
        self.model, self.source_model = model.eval(), source_model.eval()
        self.bridge_config = bridge_config
        self.n_items = model.sequence.n_items
        if bridge_config.bridge == "none":
            self.uses, self.ordered = frozenset({"target"}), False

    @torch.inference_mode()
    def score(self, histories: Histories) -> Floats:
        self.model.eval()
        scores = self.model.sequence.logits(self.states(histories))
        scores[:, 0] = -torch.inf
        return scores.float().cpu().numpy()

    def states(self, histories: Histories) -> Tensor:
        """(B, D) fused states of B people."""
        h, source, present = self._parts(histories)
        return self.model.bridge(h, source, present)

    @torch.inference_mode()
    def source_share(self, histories: Histories) -> NDArray[Any]:
        """(B,) mean over dimensions of 1 - g, how far the gate lets the source in; 0 without source events.

        NaN for a bridge that has no gate; 0 for the bridge "none".
        """
        if self.bridge_config.bridge == "none":
            return np.zeros(len(histories), np.float32)
        self.model.eval()
        h, source, present = self._parts(histories)
        if self.model.bridge.fusion != "gate":
            return torch.full((len(histories),), torch.nan).numpy()
        share = 1 - self.model.bridge.gate(h, self.model.bridge.bridged(source)).mean(-1)
        return torch.where(present, share, 0.0).cpu().numpy()

    def _parts(self, histories: Histories) -> tuple[Tensor, Tensor, Tensor]:
        device = self.model.sequence.item.weight.device
        target = torch.from_numpy(histories.target).to(device)
        h, config = self.model.sequence.last(target), self.bridge_config
        if config.bridge == "none":
            return h, h, torch.zeros(len(h), dtype=torch.bool, device=device)
        source = torch.from_numpy(histories.source).to(device)
        vectors = source_state(self.source_model, source, config)
        return h, bridge_input(self.source_model, vectors, newest(source, config)), (source > 0).any(1)

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        about = {
            "config": vars(self.model.sequence.config),
            "bridge": vars(self.bridge_config),
            "source_config": vars(self.source_model.config),
            "source_items": self.source_model.n_items,
        }
        arrays = {f"target.{k}": v for k, v in weights_of(self.model).items()}
        return about, arrays | {f"source.{k}": v for k, v in weights_of(self.source_model).items()}

    @classmethod
    def from_state(cls, about: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Self:
        source_config, bridge = SASRecConfig(**about["source_config"]), BridgeConfig(**about["bridge"])
        model = TransferSASRec(SASRecConfig(**about["config"]), bridge, about["n_items"], source_config.dim)
        source = SASRec(source_config, about["source_items"])

        def part(name: str) -> dict[str, NDArray[Any]]:
            return {k.removeprefix(name): v for k, v in arrays.items() if k.startswith(name)}

        return cls(with_weights(model, part("target.")), with_weights(source, part("source.")), bridge)
