"""One encoder over the events of both domains in one order: the next item of known people and strangers' first ones.

Items of both domains are rows of one table: source items 1..I_source, and target item i as I_source + i. Each is what
its id has taught plus what is written about it; an item that the training part never saw is its words alone.

    e_i = id_i + A words_i                                                    item vectors
    h   = transformer over e of the events, with their domain and position    what comes next, by order
    c   = tanh(sum of r over the events / sqrt(n) + mean words R + b)         taste, as a set
    score_i = cos(h, e_i) / temperature + c (v_i + Q words_i) + bias_i

The causal states after each event learn the next one; the state after a person's source events alone learns all that
they took in the target. That is what a stranger is asked, so strangers are answered by a path that was trained.

B people, L events, N = I_source + I items of both, D width of states, E width of the taste, C width of words.
"""

from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from crossrec.config import require
from crossrec.data.histories import Histories
from crossrec.models.autoencoder import END, START
from crossrec.models.dropout import Dropout
from crossrec.models.ligr import LiGRBlock
from crossrec.models.recommender import Floats, Recommender
from crossrec.models.sasrec import Block, SASRecConfig, right_pad, weights_of, with_weights

BLOCKS: dict[str, type[Block]] = {"sasrec": Block, "ligr": LiGRBlock}
WORDS = 0.02
"""Deviation of the weights that read words into item vectors, at the start of training."""


@dataclass(frozen=True)
class UnifiedConfig(SASRecConfig):
    """The settings of SASRec are those of the transformer; `dim` is the width of item vectors too."""

    block: str = "sasrec"
    """"sasrec", or "ligr" for gated blocks with SwiGLU."""
    taste: int = 256
    """E, width of the taste; 0 leaves it out, and what remains is a SASRec over both domains."""
    taste_dropout: float = 0.5
    """Share of the taste dropped in training."""
    input_dropout: float = 0.5
    """Share of a person's events that the taste does not see in training."""
    item_dropout: float = 0.3
    """Share of the items with words whose id is withheld in a training step, so that words alone can stand for them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.block in BLOCKS, f"block ({self.block!r}) must be one of {', '.join(BLOCKS)}")
        require(self.taste >= 0, f"taste ({self.taste}) must not be negative")
        for name in ("taste_dropout", "input_dropout", "item_dropout"):
            require(0 <= getattr(self, name) < 1, f"{name} ({getattr(self, name)}) must be in [0, 1)")


@dataclass(frozen=True)
class Table:
    """What is known of all items at one moment of the training: with dropout, without it when the model is asked."""

    vectors: Tensor
    """(N+1, D) e."""
    tastes: Tensor
    """(N+1, E) v + Q words."""
    keys: Tensor
    """(N+1, D+E+1) what queries are multiplied with."""


class Unified(nn.Module):
    """The transformer, the taste, and one table of items for both."""

    words: Tensor
    known: Tensor

    def __init__(
        self,
        config: UnifiedConfig,
        n_source: int,
        words: NDArray[np.float32],
        counts: NDArray[np.int64] | None = None,
    ):
        """Draws the weights from torch's own generator.

        Args:
            config: sizes and dropout.
            n_source: I_source.
            words: (N+1, C) of each item, zeros where nothing is written; C may be 0.
            counts: (N+1,) training events of each item; None where the weights are filled in afterwards.
        """
        super().__init__()
        self.config, self.n_source, self.n_items = config, n_source, len(words) - 1 - n_source
        n, width, d, e = len(words), words.shape[1], config.dim, config.taste
        counts = np.zeros(n, np.int64) if counts is None else counts
        self.register_buffer("words", torch.from_numpy(np.array(words)))
        self.register_buffer("known", torch.from_numpy(counts > 0))
        self.item = nn.Parameter(torch.randn(n, d) * 0.02)
        self.domain, self.position = nn.Embedding(2, d), nn.Embedding(config.max_len + 1, d)
        self.blocks = nn.ModuleList(BLOCKS[config.block](config) for _ in range(config.blocks))
        self.norm = nn.LayerNorm(d) if config.norm == "pre" else nn.Identity()
        self.drop, self.taste_drop = Dropout(config.dropout), Dropout(config.taste_dropout)
        self.bias = nn.Parameter(torch.zeros(n), requires_grad=config.popularity)
        self.adapter = nn.Linear(width, d, bias=False) if width else None
        if e:
            self.read, self.write = nn.Parameter(torch.randn(n, e) * START), nn.Parameter(torch.randn(n, e) * END)
            self.read_bias = nn.Parameter(torch.zeros(e))
            self.read_words, self.write_words = (nn.Linear(width, e, bias=False) if width else None for _ in range(2))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
        with torch.no_grad():
            if self.adapter is not None:
                nn.init.normal_(self.adapter.weight, std=WORDS)
            if config.popularity:
                log = torch.from_numpy(np.log1p(counts)).float()
                for rows in (slice(1, n_source + 1), slice(n_source + 1, n)):
                    self.bias[rows] = log[rows] - (log[rows].mean() if len(log[rows]) else 0)

    def table(self) -> Table:
        """All items; in training some of those with words are without their id."""
        config = self.config
        keep = self.known
        if self.training and config.item_dropout and self.adapter is not None:
            dropped = torch.rand(len(keep), device=keep.device) < config.item_dropout
            keep = keep & ~(dropped & self.words.any(1))
        kept = keep[:, None].to(self.item.dtype)
        vectors = self.item * kept
        if self.adapter is not None:
            vectors = vectors + self.adapter(self.words)
        tastes = vectors[:, :0]
        if config.taste:
            tastes = self.write * kept
            if self.write_words is not None:
                tastes = tastes + self.write_words(self.words)
        unit = F.normalize(vectors, dim=-1, eps=1e-6) if config.temperature else vectors
        return Table(vectors, tastes, torch.cat([unit, tastes, self.bias[:, None]], dim=1))

    def queries(self, table: Table, items: Tensor) -> Tensor:
        """What is asked of the items after 0, 1, ..., L events.

        Args:
            table: of this step.
            items: (B, L) right-padded events, L <= max_len. Padding comes last, so causality alone hides it.

        Returns:
            (B, L+1, D+E+1), to be multiplied with `Table.keys`; after the end of a row's events it is meaningless.
        """
        states = self._states(table, items)
        if self.config.temperature:
            states = F.normalize(states, dim=-1) / self.config.temperature
        parts = [states, torch.ones_like(states[..., :1])]
        if self.config.taste:
            parts.insert(1, self._tastes(items))
        return torch.cat(parts, dim=-1)

    def after(self, table: Table, items: Tensor) -> Tensor:
        """(B, L) left-padded events of any length -> (B, D+E+1), what is asked after the last `max_len` of them."""
        right, length = right_pad(items[:, -self.config.max_len :])
        return self.queries(table, right)[torch.arange(len(items), device=items.device), length]

    def _states(self, table: Table, items: Tensor) -> Tensor:
        """(B, L+1, D)"""
        which = self.domain((items > self.n_source).long()) * (items > 0)[..., None]
        x = F.pad(F.embedding(items, table.vectors) + which, (0, 0, 1, 0)) + self.position.weight[: items.shape[1] + 1]
        x = self.drop(x)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def _tastes(self, items: Tensor) -> Tensor:
        """(B, L+1, E)"""
        there = (items > 0).to(self.read.dtype)
        seen = F.dropout(there, self.config.input_dropout, self.training)[..., None]
        total = (F.embedding(items, self.read * self.known[:, None]) * seen).cumsum(1)
        n = there.cumsum(1).clamp(min=1)[..., None]
        code = total / n.sqrt()
        if self.read_words is not None:
            told = self.words.any(1)[items].to(code.dtype).cumsum(1).clamp(min=1)[..., None]
            code = code + self.read_words(F.embedding(items, self.words).cumsum(1) / told)
        return self.taste_drop((F.pad(code, (0, 0, 1, 0)) + self.read_bias).tanh())


class UnifiedRecommender(Recommender):
    """Scores the target items after all that a person did in both domains, in order."""

    kind: ClassVar[str] = "unified"
    ordered = True

    def __init__(self, model: Unified, swap: bool = False):
        """model: trained; swap: recommend the source items, for histories that name the domains the other way round."""
        self.model, self.swap = model.eval(), swap
        self.n_items = model.n_source if swap else model.n_items
        self._table: tuple[int, Table] | None = None

    def swapped(self) -> "UnifiedRecommender":
        """The same weights for the other direction."""
        return UnifiedRecommender(self.model, not self.swap)

    @torch.inference_mode()
    def score(self, histories: Histories) -> Floats:
        table = self._current()
        if self.swap:
            merged = turned(histories.merged(self.model.n_items), self.model.n_items, self.model.n_source)
        else:
            merged = histories.merged(self.model.n_source)
        items = torch.from_numpy(merged).to(self.model.item.device)
        queries = torch.empty(len(items), table.keys.shape[1], device=items.device)
        for rows in (items > 0).sum(1).argsort().split(128):  # rows of like length: little of the work is padding
            queries[rows] = self.model.after(table, items[rows])
        first = 1 if self.swap else self.model.n_source + 1
        scores = queries @ table.keys[first : first + self.n_items].T
        return np.asarray(F.pad(scores, (1, 0), value=-torch.inf).float().cpu().numpy())

    def _current(self) -> Table:
        """The table of the weights as they are: made once, and anew when a training has moved them."""
        self.model.eval()
        moved = sum(weight._version for weight in self.model.parameters())
        if self._table is None or self._table[0] != moved:
            self._table = moved, self.model.table()
        return self._table[1]

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        about = {"config": asdict(self.model.config), "source_items": self.model.n_source, "swap": self.swap}
        return about, weights_of(self.model)

    @classmethod
    def from_state(cls, about: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Self:
        model = Unified(UnifiedConfig(**about["config"]), about["source_items"], arrays["words"])
        return cls(with_weights(model, arrays), about["swap"])


def turned(items: NDArray[np.int64], first: int, second: int) -> NDArray[np.int64]:
    """Rows of one table for items numbered the other way round: 1..first, then `second` more, become second + 1 on."""
    return np.where(items > first, items - first, np.where(items > 0, items + second, 0))
