"""One encoder over the events of both domains in one order: the next item of known people and strangers' first ones.

Items of both domains are rows of one table: source items 1..I_source, and target item i as I_source + i. Each is what
its id has taught plus what is written about it; an item that the training part never saw is its words alone.

    e_i = id_i + A words_i                                                    item vectors
    h   = transformer over e of the events, with their domain and position    what comes next, by order
    c   = tanh(sum of r over the events / sqrt(n) + mean words R + b)         taste, as a set
    score_i = cos(h, e_i) / temperature + c (v_i + Q words_i) + bias_i + s rise(t, i)

The causal states after each event learn the next one; the state after a person's source events alone learns all that
they took in the target. That is what a stranger is asked, so strangers are answered by a path that was trained.
Where times are known, `rise` says how much more an item is taken around t, the time of the person's last event, than in
all the time (models/trend.py). Its weight s is learned, for known people and for strangers apart.

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
from crossrec.models.sasrec import Block, SASRecConfig, attention_through, right_pad, weights_of, with_weights
from crossrec.models.tables import take
from crossrec.models.trend import FLOOR, SIDES, Trend

BLOCKS: dict[str, type[Block]] = {"sasrec": Block, "ligr": LiGRBlock}
RISE = 0.5
"""Weight of the rise at the start of training."""
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
    trend: str = "past"
    """What is taken around the time of a person's last event: "past" looks at the weeks up to that one, "both" also at
    what came after, as one may who asks about the past; "none" looks at no time."""
    trend_days: float = 20.0
    """Over which an event fades to 1/e. Of 3 to 90 days, 20 to 40 were best for the validation people of Food and
    Kitchen."""
    item_dropout: float = 0.3
    """Share of the items with words whose id is withheld in a training step, so that words alone can stand for them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.block in BLOCKS, f"block ({self.block!r}) must be one of {', '.join(BLOCKS)}")
        require(self.trend in ("none", *SIDES), f"trend ({self.trend!r}) must be one of none, {', '.join(SIDES)}")
        require(self.trend_days > 0, f"trend_days ({self.trend_days}) must be positive")
        require(self.taste >= 0, f"taste ({self.taste}) must not be negative")
        for name in ("taste_dropout", "input_dropout", "item_dropout"):
            require(0 <= getattr(self, name) < 1, f"{name} ({getattr(self, name)}) must be in [0, 1)")


@dataclass(frozen=True)
class Table:
    """What is known of R items at one moment of the training: with dropout, without it when the model is asked."""

    vectors: Tensor
    """(R, D) e."""
    keys: Tensor
    """(R, D+E+1) what queries are multiplied with; between cosines and bias stands v + Q words."""
    reads: Tensor
    """(R, E) r, zeros where nobody took an item."""
    words: Tensor
    """(R, C)"""
    rows: Tensor | None = None
    """(R,) which items, in order, the first of them 0, padding; None of all N+1."""

    def place(self, items: Tensor) -> Tensor:
        """Where in the table items of any shape are; they must be there."""
        return items if self.rows is None else torch.searchsorted(self.rows, items.contiguous())


class Unified(nn.Module):
    """The transformer, the taste, and one table of items for both."""

    words: Tensor
    known: Tensor
    rise: Tensor
    overall: Tensor
    one: Tensor
    felt: Tensor

    def __init__(
        self,
        config: UnifiedConfig,
        n_source: int,
        words: NDArray[np.float32],
        counts: NDArray[np.int64] | None = None,
        trend: Trend | None = None,
    ):
        """Draws the weights from torch's own generator.

        Args:
            config: sizes and dropout.
            n_source: I_source.
            words: (N+1, C) of each item, zeros where nothing is written; C may be 0.
            counts: (N+1,) training events of each item; None where the weights are filled in afterwards.
            trend: of all items; None where no times are known.
        """
        super().__init__()
        self.trend, self.trainings = trend, 0
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
        if trend is not None:
            _, overall, one = trend.shares()
            self.register_buffer("rise", torch.from_numpy(trend.rises()).T.contiguous(), persistent=False)  # (N+1, W)
            self.register_buffer("overall", torch.from_numpy(overall), persistent=False)
            self.register_buffer("one", torch.from_numpy(one), persistent=False)  # of one domain or of two
            self.register_buffer("felt", torch.from_numpy(trend.clock.felt), persistent=False)
            self.rise_weight = nn.Parameter(torch.full((2, 2), RISE))  # by domain; of strangers to it, of known people
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

    def train(self, mode: bool = True) -> Self:
        self.trainings += mode
        return super().train(mode)

    @property
    def tables(self) -> list[Tensor]:
        """Weights of which only some rows are read, unless the table of all items is asked for."""
        found: list[Tensor] = [self.item]
        found += [self.bias] if self.config.popularity else []
        return found + ([self.read, self.write] if self.config.taste else [])

    def table(self, rows: Tensor | None = None) -> Table:
        """All items, or some: (R,) in order, the first of them 0. In training some with words are without their id."""
        config = self.config

        def of(values: Tensor) -> Tensor:
            return values if rows is None else take(values, rows)

        known, words = (values if rows is None else values[rows] for values in (self.known, self.words))
        keep = known
        if self.training and config.item_dropout and self.adapter is not None:
            dropped = torch.rand(len(keep), device=keep.device) < config.item_dropout
            keep = keep & ~(dropped & words.any(1))
        kept = keep[:, None].to(self.item.dtype)
        vectors = of(self.item) * kept
        if self.adapter is not None:
            vectors = vectors + self.adapter(words)
        tastes = reads = vectors[:, :0]
        if config.taste:
            tastes, reads = of(self.write) * kept, of(self.read) * known[:, None]
            if self.write_words is not None:
                tastes = tastes + self.write_words(words)
        unit = F.normalize(vectors, dim=-1, eps=1e-6) if config.temperature else vectors
        return Table(vectors, torch.cat([unit, tastes, of(self.bias)[:, None]], dim=1), reads, words, rows)

    def queries(self, table: Table, items: Tensor) -> Tensor:
        """What is asked of the items after 0, 1, ..., L events.

        Args:
            table: of this step.
            items: (B, L) right-padded events, L <= max_len, all of them in the table. Padding comes last, so causality
                alone hides it.

        Returns:
            (B, L+1, D+E+1), to be multiplied with `Table.keys`; after the end of a row's events it is meaningless.
        """
        states = self._states(table, items)
        if self.config.temperature:
            states = F.normalize(states, dim=-1) / self.config.temperature
        parts = [states, torch.ones_like(states[..., :1])]
        if self.config.taste:
            parts.insert(1, self._tastes(table, items))
        return torch.cat(parts, dim=-1)

    def after(self, table: Table, items: Tensor) -> Tensor:
        """(B, L) left-padded events of any length -> (B, D+E+1), what is asked after the last `max_len` of them."""
        right, length = right_pad(items[:, -self.config.max_len :])
        return self.queries(table, right)[torch.arange(len(items), device=items.device), length]

    def risen(self, when: Tensor, items: Tensor, known: Tensor) -> Tensor:
        """What the time adds to the scores of some items of one domain.

        Args:
            when: (P,) buckets of the last event.
            items: (M,) rows of the table.
            known: (P,) whether the person has events of that domain.

        Returns:
            (P, M)
        """
        weight = self.rise_weight[int(items[0] > self.n_source)][known.long()]  # (P,)
        # Whole rows of items first: numbers from all over the table would take ten times as long.
        rise = self.rise.index_select(0, items).T.contiguous()  # (W, M)
        return weight[:, None] * rise.index_select(0, when)

    def risen_without(self, when: Tensor, items: Tensor, known: Tensor, own: Tensor) -> Tensor:
        """(P,) the same of one item each, items (P,), without the event in the buckets `own` (P,).

        What is to be told must not be told by itself: of an item with few events its own is much of the rise.
        """
        domain = (items > self.n_source).long()
        weight = self.rise_weight[domain, known.long()]
        one = self.felt[when, own] * self.one[domain.clamp(max=len(self.one) - 1), when] / self.overall[items]
        share = self.rise[items, when].exp() * (1 + FLOOR) - FLOOR - one
        return weight * torch.log((share.clamp(min=0) + FLOOR) / (1 + FLOOR))

    def attention(self, table: Table, items: Tensor) -> Tensor:
        """(B, L) right-padded -> (blocks, B, H, L+1, L+1), the attention weights of each block; to be looked at."""
        return attention_through(self.blocks, self._embedded(table, items))

    def _embedded(self, table: Table, items: Tensor) -> Tensor:
        """(B, L) -> (B, L+1, D)"""
        which = self.domain((items > self.n_source).long()) * (items > 0)[..., None]
        x = F.embedding(table.place(items), table.vectors) + which
        return self.drop(F.pad(x, (0, 0, 1, 0)) + self.position.weight[: items.shape[1] + 1])

    def _states(self, table: Table, items: Tensor) -> Tensor:
        """(B, L+1, D)"""
        x = self._embedded(table, items)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def _tastes(self, table: Table, items: Tensor) -> Tensor:
        """(B, L+1, E)"""
        there, at = (items > 0).to(self.read.dtype), table.place(items)
        seen = F.dropout(there, self.config.input_dropout, self.training)[..., None]
        total = (F.embedding(at, table.reads) * seen).cumsum(1)
        n = there.cumsum(1).clamp(min=1)[..., None]
        code = total / n.sqrt()
        if self.read_words is not None:
            told = table.words.any(1)[at].to(code.dtype).cumsum(1).clamp(min=1)[..., None]
            code = code + self.read_words(F.embedding(at, table.words).cumsum(1) / told)
        return self.taste_drop((F.pad(code, (0, 0, 1, 0)) + self.read_bias).tanh())


class UnifiedRecommender(Recommender):
    """Scores the target items after all that a person did in both domains, in order."""

    kind: ClassVar[str] = "unified"
    speaks: ClassVar[str] = "logits"
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
        if self.model.trend is not None:
            when = torch.from_numpy(self.model.trend.clock.bucket(histories.last)).to(items.device)
            rows = torch.arange(first, first + self.n_items, device=items.device)
            known = torch.from_numpy((histories.target > 0).any(1)).to(items.device)
            scores += self.model.risen(when, rows, known)
        return np.asarray(F.pad(scores, (1, 0), value=-torch.inf).float().cpu().numpy())

    def _current(self) -> Table:
        """The table of the weights as they are: made once, and anew after a training or when others are filled in."""
        self.model.eval()
        # What a fused optimiser moves does not count as moved: so trainings are counted too.
        moved = self.model.trainings + sum(weight._version for weight in self.model.parameters())
        if self._table is None or self._table[0] != moved:
            self._table = moved, self.model.table()
        return self._table[1]

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        about = {"config": asdict(self.model.config), "source_items": self.model.n_source, "swap": self.swap}
        arrays = weights_of(self.model)
        if self.model.trend is not None:
            about["trend"], counted = self.model.trend.state()
            arrays |= counted
        return about, arrays

    @classmethod
    def from_state(cls, about: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Self:
        trend = Trend.from_state(about["trend"], arrays) if "trend" in about else None
        arrays = {name: values for name, values in arrays.items() if not name.startswith("trend_")}
        model = Unified(UnifiedConfig(**about["config"]), about["source_items"], arrays["words"], trend=trend)
        return cls(with_weights(model, arrays), about["swap"])


def turned(items: NDArray[np.int64], first: int, second: int) -> NDArray[np.int64]:
    """Rows of one table for items numbered the other way round: 1..first, then `second` more, become second + 1 on."""
    return np.where(items > first, items - first, np.where(items > 0, items + second, 0))
