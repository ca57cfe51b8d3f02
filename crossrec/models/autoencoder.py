"""A denoising autoencoder across domains: from the set of what a person has to all items of both domains at once.

The form of Mult-DAE (Liang et al., "Variational Autoencoders for Collaborative Filtering", WWW 2018), with the items of
both domains at the input, an output for each, and the words about the items at both ends:

    h = tanh(x W / sqrt(n) + m R + b)        x: the n items of a person, source and target; m: the mean of their words
    target logits = h (V + Z Q)' + c         V: of each target item its own weights; Z: its words
    source logits = h U' + e                 in training alone: a second task for the same code

Left out of the paper: the variational form, and the annealing that it needs. The order of events does not count.
Whoever has no history at all is answered by the same weights as everybody.

B people, S and T items, D width, C width of a whitened text vector, I items, M networks.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from crossrec.config import require
from crossrec.data.histories import Histories, Ints
from crossrec.data.pair import DOMAINS
from crossrec.models.recommender import Floats, Recommender
from crossrec.models.sasrec import weights_of, with_weights

START, END = 0.05, 0.02
"""Deviation of the weights of items at the input and at the output, at the start of training."""


@dataclass(frozen=True)
class AutoencoderConfig:
    hidden: int = 256
    """D, width of the code."""
    dropout: float = 0.5
    """Of the code."""
    input_dropout: float = 0.5
    """Share of a person's items that is not shown in training; the others weigh more for it."""
    popularity: float = 0.7
    """Weight of log(1 + training events) that the bias of an item starts from."""
    target_shown: float = 0.0
    """Share of training rows that show the target history; the others see the source alone, as cold people do. At 0 it
    reads nothing else, and a target history changes nothing; above, the same weights answer known people too, and
    strangers a little worse."""
    networks: int = 1
    """M, trained side by side from other starts; their scores are averaged. Time and memory grow with it."""

    def __post_init__(self) -> None:
        for name in ("hidden", "networks"):
            require(getattr(self, name) > 0, f"{name} ({getattr(self, name)}) must be positive")
        require(0 <= self.target_shown <= 1, f"target_shown ({self.target_shown}) must be in [0, 1]")
        for name in ("dropout", "input_dropout"):
            require(0 <= getattr(self, name) < 1, f"{name} ({getattr(self, name)}) must be in [0, 1)")


class Autoencoder(nn.Module):
    """M networks over the same items and words."""

    source_words: Tensor
    target_words: Tensor

    def __init__(
        self,
        config: AutoencoderConfig,
        words: Sequence[NDArray[np.float32]],
        counts: NDArray[np.int64] | None = None,
    ):
        """Draws the weights from torch's own generator.

        Args:
            config: sizes and dropout.
            words: (I_source+1, C) and (I+1, C) of each source and target item, zeros where nothing is written; C may
                be 0.
            counts: (I+1,) training events of each target item; None where the weights are filled in afterwards.
        """
        super().__init__()
        self.config = config
        for which, table in zip(DOMAINS, words, strict=True):
            self.register_buffer(f"{which}_words", torch.from_numpy(np.array(table)))
        n_source, (n_target, width) = len(self.source_words), self.target_words.shape
        bias = torch.zeros(n_target) if counts is None else torch.log1p(torch.from_numpy(counts).float())
        sizes = (n_source, n_target, width, config.popularity * bias)
        self.networks = nn.ModuleList(Network(config, *sizes) for _ in range(config.networks))

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """(M, B, I+1) logits of the target items of each network; column 0, padding, is -inf.

        Args:
            source: (B, S) source items, 0 = padding.
            target: (B, T) target items that are shown.
        """
        return self.target_logits(self.codes(source, target))

    def codes(self, source: Tensor, target: Tensor) -> list[Tensor]:
        """(B, D) of each network."""
        words = self.mean_words(source, target)
        return [network(source, target, words) for network in self._each()]

    def target_logits(self, codes: Sequence[Tensor], columns: Tensor | None = None) -> Tensor:
        """(M, B, I+1), or (M, B, C) of the items `columns` (C,), the first of which is 0, padding."""
        each, words = zip(self._each(), codes, strict=True), self.target_words
        return without_padding(torch.stack([network.target_logits(code, words, columns) for network, code in each]))

    def source_logits(self, codes: Sequence[Tensor], columns: Tensor | None = None) -> Tensor:
        """(M, B, I_source+1), or (M, B, C) likewise."""
        found = [network.source_logits(code, columns) for network, code in zip(self._each(), codes, strict=True)]
        return without_padding(torch.stack(found))

    def _each(self) -> list["Network"]:
        return [network for network in self.networks if isinstance(network, Network)]

    def mean_words(self, source: Tensor, target: Tensor) -> Tensor:
        """(B, C) mean of the words of all shown items that have some; zeros without any."""
        both = ((source, self.source_words), (target, self.target_words))
        total = torch.stack([_sum(items, table) for items, table in both]).sum(0)  # (B, C)
        told = torch.stack([table.any(1)[items].sum(1) for items, table in both]).sum(0)
        return total / told.clamp(min=1)[:, None]


class Network(nn.Module):
    """One encoder and decoder."""

    def __init__(self, config: AutoencoderConfig, n_source: int, n_target: int, width: int, bias: Tensor):
        """n_source and n_target: items with padding; width: C; bias: (I+1,) where it starts from."""
        super().__init__()
        self.config = config
        self.source, self.target = (nn.Parameter(torch.randn(n, config.hidden) * START) for n in (n_source, n_target))
        self.bias = nn.Parameter(torch.zeros(config.hidden))
        self.items, self.items_bias = (
            nn.Parameter(torch.randn(n_target, config.hidden) * END),
            nn.Parameter(bias.clone()),
        )
        self.source_items = nn.Parameter(torch.randn(n_source, config.hidden) * END)
        self.source_bias = nn.Parameter(torch.zeros(n_source))
        self.read: nn.Linear | None = None
        self.write: nn.Linear | None = None
        if width:
            self.read, self.write = (nn.Linear(width, config.hidden, bias=False) for _ in range(2))

    def forward(self, source: Tensor, target: Tensor, words: Tensor) -> Tensor:
        """(B, D) codes of B people from source (B, S), target (B, T), and the mean of their words (B, C)."""
        n = ((source > 0).sum(1) + (target > 0).sum(1)).clamp(min=1).sqrt()[:, None]
        code = self.bias + (self._shown(source, self.source) + self._shown(target, self.target)) / n
        if self.read is not None:
            code = code + self.read(words)
        return F.dropout(code.tanh(), self.config.dropout, self.training)

    def target_logits(self, code: Tensor, words: Tensor, columns: Tensor | None = None) -> Tensor:
        """(B, I+1), or of the items `columns` alone, from codes (B, D) and the words of the target items (I+1, C)."""
        items: Tensor = self.items
        bias: Tensor = self.items_bias
        if columns is not None:
            items, bias, words = items[columns], bias[columns], words[columns]
        return F.linear(code, items if self.write is None else items + self.write(words), bias)

    def source_logits(self, code: Tensor, columns: Tensor | None = None) -> Tensor:
        """(B, I_source+1), or of the items `columns` alone, from codes (B, D)."""
        if columns is None:
            return F.linear(code, self.source_items, self.source_bias)
        return F.linear(code, self.source_items[columns], self.source_bias[columns])

    def _shown(self, items: Tensor, table: Tensor) -> Tensor:
        """(B, D) sum of the rows of items (B, T), some of them dropped in training."""
        weights = torch.ones(items.shape, dtype=table.dtype, device=items.device)
        return _sum(items, table, F.dropout(weights, self.config.input_dropout, self.training))


def _sum(items: Tensor, table: Tensor, weights: Tensor | None = None) -> Tensor:
    """(B, D) weighted sum of rows of a table (I+1, D); padding counts nothing."""
    if not items.shape[1]:
        return table.new_zeros(len(items), table.shape[1])
    there = (items > 0).to(table.dtype)
    return F.embedding_bag(items, table, mode="sum", per_sample_weights=there if weights is None else there * weights)


def without_padding(logits: Tensor) -> Tensor:
    """The logits with -inf in the first column."""
    return logits.index_fill(-1, torch.zeros(1, dtype=torch.long, device=logits.device), -torch.inf)


class AutoencoderRecommender(Recommender):
    """Mean logits of the networks. What a person has is a set: an item twice is one item."""

    kind: ClassVar[str] = "autoencoder"
    speaks: ClassVar[str] = "logits"

    def __init__(self, model: Autoencoder):
        """model: trained."""
        self.model = model.eval()
        self.n_items = len(model.target_words) - 1
        self.uses = frozenset({"source", "target"} if model.config.target_shown else {"source"})

    @torch.inference_mode()
    def score(self, histories: Histories) -> Floats:
        self.model.eval()
        device = self.model.target_words.device
        shown = histories.target if "target" in self.uses else histories.target[:, :0]
        source, target = (torch.from_numpy(once(items)).to(device) for items in (histories.source, shown))
        return np.asarray(self.model(source, target).mean(0).float().cpu().numpy())

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        return {"config": asdict(self.model.config)}, weights_of(self.model)

    @classmethod
    def from_state(cls, about: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Self:
        model = Autoencoder(AutoencoderConfig(**about["config"]), [arrays[f"{which}_words"] for which in DOMAINS])
        return cls(with_weights(model, arrays))


def once(items: Ints) -> Ints:
    """(B, T) lists of items, each item kept once and the others 0."""
    ordered = np.sort(items, axis=1)
    ordered[:, 1:][ordered[:, 1:] == ordered[:, :-1]] = 0
    return ordered
