"""RACRec: what people wrote becomes a shared and a specific taste, and meets what others wrote about items.

The review model of System B with its faults mended. Kept: one linear layer a tower, shared and specific vectors, five
losses. Mended: the rating starts from mean, item and person biases; the path without a target history is trained, not
only used; the shared taste keeps its gradient; masks are explicit; a loss separates instead of opposing; the domain
classifier works through a reversed gradient. Added: stars, whitened vectors, and a softmax over the catalogue, because
a model of ratings alone does not rank. `mode=classic` is System B's arithmetic.

B people, K reviews, W width of an encoder's vector, C width after whitening, D width of a taste, I items.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from crossrec.config import require
from crossrec.data.histories import Histories, Reviews

SCALE = 2.0
"""Stars reach a model as (stars - usual) / SCALE, so that they are small numbers around 0."""


@dataclass(frozen=True)
class RACRecConfig:
    mode: str = "corrected"
    """"corrected", or "classic" for System B's arithmetic: no biases, no whitening, no stars, no ranking loss, signed
    cosine, negated domain loss, and a cold path that is not trained. Add encoder=distilbert for the whole of it."""
    taste_dim: int = 32
    """D, width of the shared and of the specific taste; an item has twice that."""
    selection: str = "mean"
    """How a rating looks at reviews: "mean", or "coattention", which weighs the reviews of person and item by how well
    they match. A ranking always takes the mean, so that it stays one matrix product."""
    stars: bool = True
    """Whether a person's reviews are also read weighted by their stars: praise and blame of one thing then differ."""
    context: bool = True
    """Whether a review of a known item is read together with what the training part says of that item: a single review
    is often about nothing. One of an unknown item, such as a pasted one, is read alone."""
    dropout: float = 0.4
    """Of the dimensions of what is read of people and items, and of co-attention. System B: 0.3."""

    def __post_init__(self) -> None:
        require(self.mode in ("corrected", "classic"), f"mode ({self.mode!r}) must be 'corrected' or 'classic'")
        require(self.selection in ("mean", "coattention"), f"selection ({self.selection!r}) is mean or coattention")
        require(self.taste_dim > 0, f"taste_dim ({self.taste_dim}) must be positive")
        require(0 <= self.dropout < 1, f"dropout ({self.dropout}) must be in [0, 1)")
        if self.mode == "classic":
            require(self.selection == "mean", "mode=classic has selection=mean, as System B was deployed")

    @property
    def classic(self) -> bool:
        return self.mode == "classic"


class Side(NamedTuple):
    """Reviews of B people or items in one domain."""

    vectors: Tensor
    """(B, K, C)."""
    mask: Tensor
    """(B, K) bool."""
    stars: Tensor
    """(B, K) stars above what the item usually gets, over `SCALE`; 0 where none were given."""

    @property
    def present(self) -> Tensor:
        """(B,) whether there is any."""
        return self.mask.any(1)


def as_side(
    reviews: Reviews,
    expected: NDArray[np.float32] | None = None,
    context: NDArray[np.float32] | None = None,
    device: torch.device | None = None,
) -> Side:
    """Whitened reviews as the model reads them.

    Args:
        reviews: of B people or items.
        expected: (I+1,) stars that people usually give each item of the domain, [0] those of an unknown one; what
            counts is how far a person's stars are from them. None where there are no stars.
        context: (I+1, C) rows of length 1 or 0, what is said of each item of the domain; a review of an item of which
            something is said becomes the mean of itself and that.
        device: of the tensors.
    """
    vectors = reviews.vectors.astype(np.float32, copy=False)
    if context is not None and reviews.items is not None:
        around = context[reviews.items]  # (B, K, C)
        known = around.any(-1, keepdims=True) & reviews.mask[..., None]
        vectors = np.where(known, (vectors + around) / 2, vectors)
    stars = np.zeros(reviews.mask.shape, np.float32)
    if expected is not None:
        usual = expected[0 if reviews.items is None else reviews.items]
        stars = np.where(np.isnan(reviews.stars), 0.0, (reviews.stars - usual) / SCALE)
    parts = (vectors, reviews.mask, stars.astype(np.float32))
    return Side(*(torch.from_numpy(part).to(device) for part in parts))


def habits(histories: Histories, expected: NDArray[np.float32]) -> NDArray[np.float32]:
    """(B,) how far a person's source stars are above what each item usually gets, drawn to 0 by 3 that say nothing.

    Counts every source event with stars, and every review about something unknown.

    Args:
        histories: of B people.
        expected: (I_source+1,) usual stars of source items, [0] those of an unknown one.
    """
    total, count = np.zeros(len(histories)), np.zeros(len(histories))
    parts = [(histories.source, histories.source_stars, histories.source > 0)]
    if (reviews := histories.source_reviews) is not None:
        items = np.zeros(reviews.mask.shape, np.int64) if reviews.items is None else reviews.items
        parts.append((items, reviews.stars, reviews.mask & (items == 0)))
    for items, stars, there in parts:
        if stars is not None:
            there = there & ~np.isnan(stars)
            total += np.where(there, stars - expected[items], 0).sum(axis=1)
            count += there.sum(axis=1)
    return (total / (count + 3)).astype(np.float32)


def context_of(means: NDArray[np.float32]) -> NDArray[np.float32]:
    """(I+1, C) mean vectors of what is said of each item, at length 1; zeros where nothing is."""
    return means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-9)


class Tastes(NamedTuple):
    """What is read of B people, before an item comes in."""

    source: Tensor
    """(B, U) u_s, the selected source reviews."""
    target: Tensor
    """(B, U) u_t."""
    shared_source: Tensor
    """(B, D)."""
    specific_source: Tensor
    shared_target: Tensor
    specific_target: Tensor
    query: Tensor
    """(B, 2D) [th; sp], what meets the item."""
    has_source: Tensor
    """(B,) bool."""
    has_target: Tensor


class RACRec(nn.Module):
    """The towers; ratings and ranking scores come out of a person's query and an item's vector."""

    mean: Tensor
    habit: Tensor
    """How far a person's usual stars in the source carry over to the target."""

    def __init__(
        self,
        config: RACRecConfig,
        width: int,
        n_items: int,
        mean: float = 0.0,
        habit: float = 0.0,
        item_bias: NDArray[np.float32] | None = None,
        counts: NDArray[np.int64] | None = None,
    ):
        """width: C; mean, habit and item_bias (I+1,): what ratings start from; counts (I+1,): of the popularity."""
        super().__init__()
        self.config = config
        self.scale = 1.0 if config.classic else width**0.5
        """Of selected vectors: unit vectors have tiny entries, on which tastes would grow slowly."""
        d, user_width = config.taste_dim, width * (2 if config.stars else 1)
        self.shared = nn.Linear(user_width, d)
        self.specific_source = nn.Linear(user_width, d)
        self.specific_target = nn.Linear(user_width, d)
        self.product = nn.Linear(width, 2 * d)
        self.classifier = nn.Linear(d, 2)
        self.decode_source = nn.Linear(2 * d, user_width)
        self.decode_target = nn.Linear(2 * d, user_width)
        self.decode_product = nn.Linear(2 * d, width)
        self.dropout = nn.Dropout(config.dropout)
        if config.selection == "coattention":
            self.affinity_in = nn.Linear(width, width)
            self.affinity = nn.Parameter(torch.eye(width))
        if not config.classic:
            self.no_target = nn.Parameter(torch.zeros(d))
            """sp of a person without target history."""
            self.no_source = nn.Parameter(torch.zeros(d))
            """Shared taste of a person of whom nothing is known."""
            self.register_buffer("mean", torch.tensor(float(mean)))
            start = torch.zeros(n_items + 1) if item_bias is None else torch.from_numpy(item_bias)
            self.item_bias = nn.Parameter(start.clone())
            self.register_buffer("habit", torch.tensor(float(habit)))
            popularity = torch.zeros(n_items + 1) if counts is None else torch.from_numpy(np.log1p(counts)).float()
            self.popularity = nn.Parameter(popularity)

    def select(self, side: Side, weights: Tensor | None = None) -> Tensor:
        """(B, U) masked mean of a side's reviews, or their sum under `weights` (B, K); with stars, also weighted so."""
        if weights is None:
            weights = side.mask / side.mask.sum(1, keepdim=True).clamp(min=1)
        weights = weights * self.scale
        out = torch.einsum("bk,bkc->bc", weights, side.vectors)
        if not self.config.stars:
            return out
        return torch.cat([out, torch.einsum("bk,bkc->bc", weights * side.stars, side.vectors)], dim=-1)

    def tastes(self, source: Side, target: Side, weights: tuple[Tensor, Tensor] | None = None) -> Tastes:
        """The tastes of B people; `weights` (B, K) of their source and target reviews, or None for the mean."""
        by_source, by_target = weights or (None, None)
        u_s, u_t = self.select(source, by_source), self.select(target, by_target)
        read_s, read_t = self.dropout(u_s), self.dropout(u_t)
        sh_s, sh_t = self.shared(read_s), self.shared(read_t)
        sp_s, sp_t = self.specific_source(read_s), self.specific_target(read_t)
        has_s, has_t = source.present, target.present
        if self.config.classic:
            th, sp = torch.where(has_t[:, None], sh_t, sh_s.detach()), sp_t
        else:
            th = torch.where(has_t[:, None], sh_t, torch.where(has_s[:, None], sh_s, self.no_source))
            # Where both are known, the shared taste is what both say.
            th = torch.where((has_s & has_t)[:, None], (sh_s + sh_t) / 2, th)
            sp = torch.where(has_t[:, None], sp_t, self.no_target)
        return Tastes(u_s, u_t, sh_s, sp_s, sh_t, sp_t, torch.cat([th, sp], dim=-1), has_s, has_t)

    def coattention(self, source: Side, target: Side, item: Side) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """Weights (B, K) of a person's reviews in either domain and of an item's.

        A = F(U) M F(I)', F(x) = Drop(tanh(W x + b)); a review weighs by its best match among the other side's PRESENT
        reviews, softmax over the own side's present ones; where a side is empty, the other is averaged.
        """
        user = torch.cat([source.vectors, target.vectors], dim=1)
        known = torch.cat([source.mask, target.mask], dim=1)
        f_user = self.dropout(torch.tanh(self.affinity_in(user)))
        f_item = self.dropout(torch.tanh(self.affinity_in(item.vectors)))
        match = f_user @ self.affinity @ f_item.transpose(1, 2)  # (B, 2K, J)
        best_user = _best(match, item.mask[:, None, :])  # (B, 2K)
        best_item = _best(match.transpose(1, 2), known[:, None, :])
        k = source.mask.shape[1]
        by_source, by_target = _softmax(best_user[:, :k], source.mask), _softmax(best_user[:, k:], target.mask)
        return (by_source, by_target), _softmax(best_item, item.mask)

    def item_vector(self, item: Side, weights: Tensor | None = None) -> Tensor:
        """(B, C) masked mean of what is written about items, or its sum under `weights` (B, K)."""
        if weights is None:
            weights = item.mask / item.mask.sum(1, keepdim=True).clamp(min=1)
        return torch.einsum("bk,bkc->bc", weights * self.scale, item.vectors)

    def forward(
        self, source: Side, target: Side, item: Side, number: Tensor, usual: Tensor, bias: Tensor
    ) -> tuple[Tensor, Tastes, Tensor, Tensor]:
        """Ratings of B people for one item each.

        Args:
            source, target: a person's reviews.
            item: what is written about the item.
            number: (B,) the item, 1..I.
            usual: (B,) how far above others a person rates in the source, see `habits`.
            bias: (B,) b_u, how far above the mean a person rates in the target; 0 for who has not yet.

        Returns:
            stars (B,); the tastes; the item vector (B, C) that was selected; its product vector (B, 2D).
        """
        if self.config.selection == "coattention":
            weights, by_item = self.coattention(source, target, item)
            tastes, i = self.tastes(source, target, weights), self.item_vector(item, by_item)
        else:
            tastes, i = self.tastes(source, target), self.item_vector(item)
        p = self.product(self.dropout(i))
        return self.stars(tastes.query, p, number, self.person(usual, bias)), tastes, i, p

    def person(self, usual: Tensor, bias: Tensor) -> Tensor:
        """(B,) what a person adds to every rating: b_u, and for who has none as much of the source habit as helps."""
        if self.config.classic:
            return bias
        return bias + torch.where(bias == 0, self.habit * usual, 0.0)

    def stars(self, query: Tensor, product: Tensor, number: Tensor, person: Tensor) -> Tensor:
        """(B,) r = <[th; sp], p>, and in the corrected form mu + b_i + b_u + <[th; sp], p> / sqrt(2D)."""
        meeting = (query * product).sum(-1)
        if self.config.classic:
            return meeting
        return self.mean + self.item_bias[number] + person + meeting / product.shape[-1] ** 0.5

    def all_stars(self, query: Tensor, products: Tensor) -> Tensor:
        """(B, I+1) ratings of every item from p (I+1, 2D), without b_u, which is the same for all of a person's."""
        meeting = query @ products.T
        if self.config.classic:
            return meeting
        return self.mean + self.item_bias + meeting / products.shape[-1] ** 0.5

    def ranking(self, query: Tensor, products: Tensor, number: Tensor | None = None) -> Tensor:
        """(B, N) logits of a choice among items with p (N, 2D): 1..I `number` (N,), or the whole catalogue."""
        return query @ products.T + (self.popularity if number is None else self.popularity[number])


def _best(match: Tensor, present: Tensor) -> Tensor:
    """(B, K, J) -> (B, K) largest over the present j; 0 where none is, which leaves every weight equal."""
    best = match.masked_fill(~present, -torch.inf).amax(-1) if match.shape[-1] else match.new_zeros(match.shape[:2])
    return torch.where(torch.isneginf(best), 0.0, best)


def _softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """(B, K) softmax over the present; all 0 where none is."""
    weights = F.softmax(scores.masked_fill(~mask, -torch.inf), dim=-1)
    return torch.where(mask, weights, 0.0)
