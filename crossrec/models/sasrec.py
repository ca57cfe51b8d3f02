"""SASRec: a causal transformer over the items that a person chose (Kang and McAuley, 2018).

Departures from the paper, all measured to help: a learned start state, so that a person without history has a
vector too; positions counted from the oldest item, so that the state after k items does not depend on what follows;
pre-norm blocks with GELU. `norm="post"` and ReLU are the older form.

B users, T time, D width, H heads, I items.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from crossrec.config import require
from crossrec.data.histories import Histories
from crossrec.models.dropout import Dropout
from crossrec.models.recommender import Floats, Recommender
from crossrec.models.tables import take

M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True)
class SASRecConfig:
    dim: int = 64
    """D, width of item vectors and states."""
    blocks: int = 2
    """Transformer blocks."""
    heads: int = 1
    """H, attention heads; must divide `dim`."""
    dropout: float = 0.3
    """Share of activations dropped in training, on the embedded items and inside the blocks."""
    attention_dropout: float = 0.0
    """Share of attention weights dropped in training; 0 allows the fused attention kernel of a CPU."""
    max_len: int = 50
    """Last items that are looked at; older ones do not count."""
    norm: str = "pre"
    """"pre" normalises what enters each sublayer (steadier training), "post" its sum with the input (System A)."""
    activation: str = "gelu"
    """"gelu" or "relu", inside the feed-forward layer."""
    temperature: float = 0.1
    """Scores are cosines divided by this; 0 stands for plain inner products."""
    popularity: bool = True
    """Whether items have a learned bias, which starts at the log of their popularity: vectors need not learn it."""

    def __post_init__(self) -> None:
        require(self.dim > 0 and self.heads > 0, f"dim ({self.dim}) and heads ({self.heads}) must be positive")
        require(self.dim % self.heads == 0, f"dim ({self.dim}) must be divisible by heads ({self.heads})")
        require(self.blocks > 0, f"blocks ({self.blocks}) must be positive")
        for name in ("dropout", "attention_dropout"):
            require(0 <= getattr(self, name) < 1, f"{name} ({getattr(self, name)}) must be in [0, 1)")
        require(self.max_len > 0, f"max_len ({self.max_len}) must be positive")
        require(self.norm in ("pre", "post"), f"norm ({self.norm!r}) must be 'pre' or 'post'")
        require(self.temperature >= 0, f"temperature ({self.temperature}) must not be negative")
        require(self.activation in ("gelu", "relu"), f"activation ({self.activation!r}) must be 'gelu' or 'relu'")


class Block(nn.Module):
    """Causal self-attention and a feed-forward layer, each with a residual."""

    def __init__(self, config: SASRecConfig):
        super().__init__()
        d = config.dim
        self.pre, self.heads, self.p = config.norm == "pre", config.heads, config.attention_dropout
        self.norm1, self.norm2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.qkv, self.out = nn.Linear(d, 3 * d), nn.Linear(d, d)
        act = nn.GELU() if config.activation == "gelu" else nn.ReLU()
        self.ff = nn.Sequential(nn.Linear(d, 4 * d), act, Dropout(config.dropout), nn.Linear(4 * d, d))
        self.drop = Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D); position t sees positions 0..t."""
        return self._through(x, self.attend(self.norm1(x) if self.pre else x))

    def at(self, x: Tensor, places: Tensor) -> Tensor:
        """(B, T, D), places (B,) -> (B, D), what `forward` gives there, without the work for the other positions."""
        rows = torch.arange(len(x), device=x.device)
        y, (b, t, d) = self.norm1(x) if self.pre else x, x.shape
        asked, (weight, bias) = y[rows, places], (self.qkv.weight, self.qkv.bias)
        q = F.linear(asked, weight[:d], bias[:d]).view(b, self.heads, 1, d // self.heads)
        k, v = F.linear(y, weight[d:], bias[d:]).view(b, t, 2, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        seen = torch.arange(t, device=x.device) <= places[:, None]  # (B, T)
        found = F.scaled_dot_product_attention(q, k, v, attn_mask=seen[:, None, None])
        return self._through(x[rows, places], self.out(found.reshape(b, d)))

    def weights(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, H, T, T) what each position takes from those up to it: the softmax that `attend` fuses."""
        y, (b, t, d) = self.norm1(x) if self.pre else x, x.shape
        q, k, _ = self.qkv(y).view(b, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        later = torch.ones(t, t, dtype=torch.bool, device=x.device).triu(1)
        match = (q @ k.transpose(-1, -2)) / (d // self.heads) ** 0.5
        return match.masked_fill(later, -torch.inf).softmax(-1)

    def _through(self, x: Tensor, attended: Tensor) -> Tensor:
        """The residuals and the feed-forward layer; (..., D)."""
        if self.pre:
            x = x + self.drop(attended)
            return x + self.drop(self.ff(self.norm2(x)))
        x = self.norm1(x + self.drop(attended))
        return self.norm2(x + self.drop(self.ff(x)))

    def attend(self, x: Tensor) -> Tensor:
        b, t, d = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)  # each (B, H, T, D/H)
        x = F.scaled_dot_product_attention(q, k, v, dropout_p=self.p if self.training else 0.0, is_causal=True)
        return self.out(x.transpose(1, 2).reshape(b, t, d))


class SASRec(nn.Module):
    """Turns item sequences into states; a state scores items by their vectors' cosine with it, and their bias."""

    def __init__(self, config: SASRecConfig, n_items: int, counts: NDArray[np.int64] | None = None):
        """counts: (I+1,) training events of each item, where the bias starts; needed only for training."""
        super().__init__()
        self.config, self.n_items = config, n_items
        self._made: tuple[int, Tensor] | None = None
        d = config.dim
        self.item = nn.Embedding(n_items + 1, d, padding_idx=0)
        self.position = nn.Embedding(config.max_len + 1, d)  # row 0 is the start state
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.blocks))
        self.norm = nn.LayerNorm(d) if config.norm == "pre" else nn.Identity()
        self.drop = Dropout(config.dropout)
        if config.popularity:
            log = torch.zeros(n_items + 1) if counts is None else torch.from_numpy(np.log1p(counts)).float()
            self.bias = nn.Parameter(log - log[1:].mean())
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
        with torch.no_grad():
            self.item.weight[0] = 0

    @property
    def tables(self) -> list[Tensor]:
        """Weights of which only some rows are read, unless all items are scored."""
        return [self.item.weight, *([self.bias] if self.config.popularity else [])]

    def forward(self, items: Tensor) -> Tensor:
        """States after 0, 1, ..., T items.

        Args:
            items: (B, T) right-padded with 0, T <= max_len. Padding comes last, so causality alone hides it.

        Returns:
            (B, T+1, D); states after the end of a row's items are meaningless.
        """
        x = self._embedded(items)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def last(self, items: Tensor) -> Tensor:
        """(B, T) left-padded -> (B, D), the state after all (at most the last `max_len`) of each row's items."""

        def after_all(right: Tensor, length: Tensor) -> Tensor:
            x, final = self._embedded(right), self.blocks[-1]
            for block in self.blocks[:-1]:
                x = block(x)
            assert isinstance(final, Block)
            return self.norm(final.at(x, length))

        return self._by_length(items, after_all)

    def mean(self, items: Tensor) -> Tensor:
        """(B, T) left-padded -> (B, D), the mean of the states after 1, 2, ... of each row's items; 0 without items."""

        def mean_of(right: Tensor, length: Tensor) -> Tensor:
            states = self(right)
            at = torch.arange(states.shape[1], device=states.device)
            inside = (at > 0) & (at <= length[:, None])  # (B, T+1)
            return (states * inside[..., None]).sum(1) / length.clamp(min=1)[:, None]

        return self._by_length(items, mean_of)

    def attention(self, items: Tensor) -> Tensor:
        """(B, T) right-padded -> (blocks, B, H, T+1, T+1), the attention weights of each block; to be looked at."""
        return attention_through(self.blocks, self._embedded(items))

    def _embedded(self, items: Tensor) -> Tensor:
        """(B, T) -> (B, T+1, D)"""
        x = F.pad(take(self.item.weight, items), (0, 0, 1, 0)) + self.position.weight[: items.shape[1] + 1]
        return self.drop(x)

    def _by_length(self, items: Tensor, ask: Callable[[Tensor, Tensor], Tensor], rows: int = 128) -> Tensor:
        """Applies `ask` to right-padded rows (b, T) of like length, and their lengths (b,): little work is padding."""
        items = items[:, -self.config.max_len :]
        out = torch.empty(len(items), self.config.dim, device=items.device)
        order = (items > 0).sum(1).argsort()
        for part in order.split(rows):
            out[part] = ask(*right_pad(items[part]))
        return out

    def queries(self, states: Tensor) -> Tensor:
        """(..., D) states -> (..., E): what is multiplied with `keys` to score."""
        if self.config.temperature:
            states = F.normalize(states, dim=-1) / self.config.temperature
        return torch.cat([states, torch.ones_like(states[..., :1])], dim=-1) if self.config.popularity else states

    def keys(self, items: Tensor | None = None) -> Tensor:
        """(...) item numbers -> (..., E) their vectors, with the bias as one more column; None for all, (I+1, E)."""
        vectors = self.item.weight if items is None else take(self.item.weight, items)
        if self.config.temperature:
            vectors = F.normalize(vectors, dim=-1, eps=1e-6)
        if not self.config.popularity:
            return vectors
        bias = self.bias if items is None else take(self.bias, items)
        return torch.cat([vectors, bias[..., None]], dim=-1)

    def logits(self, states: Tensor) -> Tensor:
        """(..., D) -> (..., I+1)."""
        return self.queries(states) @ (self.keys() if torch.is_grad_enabled() else self._all_keys()).T

    def train(self, mode: bool = True) -> Self:
        if mode:  # what a fused optimiser moves does not count as moved
            self._made = None
        return super().train(mode)

    def _all_keys(self) -> Tensor:
        """(I+1, E) of the weights as they are: made once, and anew after a training or when others are filled in."""
        if self.training:
            return self.keys()
        filled = sum(table._version for table in self.tables)
        if self._made is None or self._made[0] != filled or self._made[1].device != self.item.weight.device:
            self._made = filled, self.keys()
        return self._made[1]


def attention_through(blocks: nn.ModuleList, x: Tensor) -> Tensor:
    """(B, T, D) -> (blocks, B, H, T, T), the attention weights of each block on what the blocks before it made."""
    found = []
    for block in blocks:
        assert isinstance(block, Block)
        found.append(block.weights(x))
        x = block(x)
    return torch.stack(found)


def right_pad(items: Tensor) -> tuple[Tensor, Tensor]:
    """Turns left-padded rows (B, T) into right-padded ones, without columns that are all padding; and lengths (B,)."""
    length = (items > 0).sum(1)
    width = int(length.max()) if items.numel() else 0
    shift = torch.arange(width, device=items.device) + items.shape[1] - length[:, None]
    return (
        (items.gather(1, shift.clamp(max=items.shape[1] - 1)) * (shift < items.shape[1]), length)
        if width
        else (items[:, :0], length)
    )


class SASRecRecommender(Recommender):
    """Scores by SASRec on the target domain alone: the baseline that transfer has to beat."""

    kind: ClassVar[str] = "sasrec"
    speaks: ClassVar[str] = "logits"
    uses = frozenset({"target"})

    def __init__(self, model: SASRec):
        self.model = model.eval()
        self.n_items = model.n_items

    @torch.inference_mode()
    def score(self, histories: Histories) -> Floats:
        self.model.eval()
        device = self.model.item.weight.device
        scores = self.model.logits(self.model.last(torch.from_numpy(histories.target).to(device)))
        scores[:, 0] = -torch.inf
        return scores.float().cpu().numpy()

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        return {"config": vars(self.model.config)}, weights_of(self.model)

    @classmethod
    def from_state(cls, about: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Self:
        model = SASRec(SASRecConfig(**about["config"]), about["n_items"])
        return cls(with_weights(model, arrays))


def weights_of(model: nn.Module) -> dict[str, NDArray[Any]]:
    """The weights of a model as arrays on the CPU."""
    return {name: tensor.detach().cpu().numpy() for name, tensor in model.state_dict().items()}


def with_weights(model: M, arrays: dict[str, NDArray[Any]]) -> M:
    """Fills a model with the arrays of `weights_of` and returns it."""
    model.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in arrays.items()})
    return model
