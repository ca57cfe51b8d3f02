"""The recipe of RACRec: rows of (person, item, stars), what each may see, five losses and a ranking.

B rows in a batch, K reviews, C width of a whitened vector, I items.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from crossrec import processes
from crossrec.config import part, require
from crossrec.data.histories import Ints
from crossrec.data.pair import first_mask
from crossrec.data.ratings import Ratings
from crossrec.errors import CrossrecError
from crossrec.models.biases import Biases
from crossrec.models.racrec import RACRec, RACRecConfig, Side
from crossrec.models.racrec_recommender import RACRecRecommender, Reading
from crossrec.models.recommender import Recommender
from crossrec.models.taste_losses import (
    CLASSIC_WEIGHTS,
    domain_nll,
    reversal_strength,
    reverse_gradient,
    separation,
    signed_cosine,
)
from crossrec.training.job import MONITOR, Job, seeded
from crossrec.training.loop import Fitted, LoopConfig, fit
from crossrec.training.review_rows import RowReader, Rows, whitened, without_target
from crossrec.training.reviews import fit_whitening, item_means, mean_vectors

CHUNK = 4096
"""Hidden stars that are predicted at a time."""

MOST_SCORED = 20_000
"""Largest catalogue that the ranking loss scores whole; of a larger one it draws so many items a step."""
CLASSIC = {
    "whiten": False,
    "stars": False,
    "context": False,
    "target_dropout": 0.0,
    "rank": 0.0,
    "dropout": 0.3,
    "lr": 5e-5,
    "beta2": 0.999,
    "weight_decay": 1e-5,
    "batch_size": 64,
    "epochs": 50,
    "patience": 50,
    "average": 0.0,
}


@dataclass(frozen=True)
class RACRecRecipeConfig(LoopConfig, RACRecConfig):
    """Settings of RACRec. mode=classic sets what System B did; other settings given beside it still count."""

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {"corrected": {}, "classic": CLASSIC}
    PRESET_KEY: ClassVar[str] = "mode"

    weight_decay: float = 0.1
    """Decoupled weight decay (AdamW): what single reviews say by chance is soon learned by heart."""
    epochs: int = 40
    """Most passes over the training part."""
    encoder: str = "minilm"
    """Text encoder: minilm, static, distilbert, a hub id or a local folder."""
    most_reviews: int = 15
    """K, newest reviews that are read of a person in a domain, and of an item."""
    whiten: bool = True
    """Whether vectors are whitened by the items of the training part; raw ones all point the same way."""
    components: int | None = 64
    """C, dimensions kept by the whitening; none keeps all."""
    target_dropout: float = 0.5
    """Share of training rows whose target history is emptied, so that the path of cold people is a trained one."""
    context_dropout: float = 0.3
    """Share of training rows whose reviews are read without their context, as a stranger's are."""
    rank: float = 1.0
    """Weight of the softmax over the catalogue; 0 trains on stars alone and ranks by them."""
    liked: float = 0.0
    """Least stars of an event that the ranking learns from; 0 takes every event."""
    diff: float = 0.1
    """Weight of the loss that keeps shared and specific tastes apart."""
    domains: float = 0.1
    """Weight of the domain classifier behind the reversed gradient."""
    rec: float = 0.1
    """Weight of the reconstruction of what a person wrote from his tastes."""
    irec: float = 0.1
    """Weight of the reconstruction of what is written about an item from its vector."""
    align: float = 0.0
    """Weight of |sh_s - sh_t|^2 for people who have both."""
    leaky_item_vectors: bool = False
    """Makes an item's vector of the very review whose stars are to be told, as happens in data where most items have
    one review: a leak, on purpose, to show what it does to AUC and RMSE. Never a result."""

    def __post_init__(self) -> None:
        LoopConfig.__post_init__(self)
        RACRecConfig.__post_init__(self)
        require(self.most_reviews > 0, f"most_reviews ({self.most_reviews}) must be positive")
        require(self.components is None or self.components > 0, f"components ({self.components}) must be positive")
        for name in ("target_dropout", "context_dropout"):
            require(0 <= getattr(self, name) <= 1, f"{name} ({getattr(self, name)}) must be in [0, 1]")
        require(0 <= self.liked <= 5, f"liked ({self.liked}) must be from 0 to 5 stars")
        for name in ("rank", "diff", "domains", "rec", "irec", "align"):
            require(getattr(self, name) >= 0, f"{name} ({getattr(self, name)}) must not be negative")

    @property
    def model(self) -> RACRecConfig:
        return part(RACRecConfig, self)


def racrec(job: Job) -> tuple[Recommender, Fitted]:
    """Trains RACRec on the events of the training part."""
    config: RACRecRecipeConfig = job.config
    split = job.split
    pair = replace(job.pair, most_reviews=config.most_reviews)
    events = np.flatnonzero(first_mask(pair.target.offsets, split.target_train_end))
    if not len(events):
        raise CrossrecError(f"No {pair.target.label} event is left to train on.")
    if pair.target.ratings is None and not config.rank:
        raise CrossrecError(f"{pair.name!r} has no ratings: RACRec can only be trained on it with rank above 0.")
    with seeded(job.seed):
        whitening = fit_whitening(item_means(pair, split), config.components) if config.whiten else None
        biases = None if pair.target.ratings is None else Biases.fit(Ratings.training(pair, split))
        seen, leaky = whitened(pair, whitening) if whitening else pair, config.leaky_item_vectors
        means = {"source": mean_vectors(seen, split, "source"), "target": mean_vectors(seen, split, "target", leaky)}
        reader = RowReader(seen, split, biases, leaky)
        if config.context:
            reader.read_in_context(means)
        mean, item_bias = (0.0, None) if biases is None else (biases.mean, biases.item)
        width, counts = means["target"].shape[1], split.target_counts(pair)
        model = RACRec(config.model, width, pair.target.n_items, mean, reader.habit(), item_bias, counts)
        items = np.float32(model.scale) * means["target"]
        reading = Reading(config.encoder, config.rank > 0, config.most_reviews)
        recommender = RACRecRecommender(model, whitening, items, reading, reader.expected, biases, reader.context)
        criterion = RACRecLoss(config, model, recommender.items)
        batches = ReviewBatches(reader, events, config, job.seed)
        hidden = split.valid.hidden(pair, rated=True)

        def validate() -> dict[str, float]:
            found = job.validate(recommender)
            if not len(hidden[0]):
                return found
            rmse = _rmse(model, reader, *hidden)
            return found | {"rmse": rmse, "-rmse": -rmse}

        monitor = MONITOR if config.rank else "-rmse"
        fitted = fit(model, batches, criterion, validate, monitor, config, job.control)
    return recommender, fitted


class ReviewBatches:
    """All training events once an epoch, in seeded order and batches."""

    def __init__(self, reader: RowReader, events: Ints, config: RACRecRecipeConfig, seed: int):
        self.reader, self.events, self.config, self.seed = reader, events, config, seed

    def __len__(self) -> int:
        return -(-len(self.events) // self.config.batch_size)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Rows]:
        """The batches from step `start` on; some people without their context, some without a target history."""
        config = self.config
        rng = np.random.default_rng([self.seed, epoch])
        order = rng.permutation(self.events)
        for step in range(len(self)):
            batch = order[step * config.batch_size : (step + 1) * config.batch_size]
            alone = rng.random(len(batch)) < config.context_dropout
            emptied = rng.random(len(batch)) < config.target_dropout
            if step < start:
                continue
            batch, alone, emptied = (processes.part(rows) for rows in (batch, alone, emptied))
            rows = without_target(self.reader.training(batch, alone), torch.from_numpy(emptied))
            yield rows._replace(progress=(epoch - 1 + step / len(self)) / config.epochs)


@torch.no_grad()
def _rmse(model: RACRec, reader: RowReader, events: Ints, questions: Ints) -> float:
    """Of the stars of hidden events (R,) of the validation part; a row is 16 kB, so they are read some at a time."""
    model.eval()
    squares = 0.0
    for start in range(0, len(events), CHUNK):
        part = slice(start, start + CHUNK)
        rows = reader.hidden(reader.split.valid, events[part], questions[part]).to(model.product.weight.device)
        stars = model(rows.source, rows.target, rows.item, rows.number, rows.usual, rows.bias)[0].clamp(1, 5)
        squares += float((stars - rows.rating).square().double().sum())
    return float(np.sqrt(squares / len(events)))


class RACRecLoss:
    """All losses of a batch: in the corrected form, or as System B adds them up."""

    def __init__(self, config: RACRecRecipeConfig, model: RACRec, items: Tensor):
        """model: whose heads the losses use; items: (I+1, C) the catalogue's mean vectors."""
        self.config, self.model, self.items = config, model, items

    def __call__(self, net: nn.Module, rows: Rows) -> dict[str, Tensor]:
        """{"loss", and each part by name}."""
        config = self.config
        device = self.model.product.weight.device
        rows, self.items = rows.to(device), self.items.to(device)
        stars, tastes, item, product = net(rows.source, rows.target, rows.item, rows.number, rows.usual, rows.bias)
        model = self.model
        rated = ~rows.rating.isnan()
        parts: dict[str, Tensor] = {}
        parts["pred"] = (stars - rows.rating)[rated].square().mean() if rated.any() else torch.zeros((), device=device)
        s, t = (tastes.has_source, tastes.has_target)
        if config.classic:
            s, t = torch.ones_like(s), torch.ones_like(t)
        sh_s, sp_s, sh_t, sp_t = (
            tastes.shared_source[s],
            tastes.specific_source[s],
            tastes.shared_target[t],
            tastes.specific_target[t],
        )
        apart = signed_cosine if config.classic else separation
        parts["diff"] = (apart(sh_s, sp_s) + apart(sh_t, sp_t)) / 2
        if not config.classic:
            strength = reversal_strength(rows.progress)
            sh_s, sh_t = reverse_gradient(sh_s, strength), reverse_gradient(sh_t, strength)
        parts["class"] = domain_nll(model.classifier(sh_s), model.classifier(sh_t))
        parts["rec"] = _reconstruction(model.decode_source, tastes.shared_source[s], sp_s, tastes.source[s])
        parts["rec"] = parts["rec"] + _reconstruction(
            model.decode_target, tastes.shared_target[t], sp_t, tastes.target[t]
        )
        parts["irec"] = F.mse_loss(model.decode_product(product), item.detach())
        if config.classic:
            return {"loss": sum_up(parts, CLASSIC_WEIGHTS), **parts}
        weights = {"pred": 1.0, "diff": config.diff, "class": config.domains, "rec": config.rec, "irec": config.irec}
        if config.align and (both := s & t).any():
            parts["align"] = F.mse_loss(tastes.shared_source[both], tastes.shared_target[both])
            weights["align"] = config.align
        if config.rank:
            parts["rank"] = self._ranking(model, tastes.query, rows)
            weights["rank"] = config.rank
        return {"loss": sum_up(parts, weights), **parts}

    def _ranking(self, model: RACRec, query: Tensor, rows: Rows) -> Tensor:
        """Softmax of each row's item among the catalogue, its vector without the row's own review."""
        liked = rows.rating.isnan() | (rows.rating >= self.config.liked)
        if not liked.any():
            return query.new_zeros(())
        query, number = query[liked], rows.number[liked]
        if len(self.items) - 1 <= MOST_SCORED:
            logits = model.ranking(query, model.product(self.items))
            logits = logits.index_fill(1, torch.zeros_like(number[:1]), -torch.inf)
        else:
            drawn = torch.randint(1, len(self.items), (MOST_SCORED,), device=number.device)
            logits = model.ranking(query, model.product(self.items[drawn]), drawn)
            # A drawn item that is the row's own is not told from itself.
            logits = logits.masked_fill(drawn == number[:, None], -torch.inf)
        own = model.item_vector(Side(*(part[liked] for part in rows.liked)))
        positive = (query * model.product(own)).sum(-1) + model.popularity[number]
        if len(self.items) - 1 <= MOST_SCORED:
            logits = logits.scatter(1, number[:, None], positive[:, None])
            return F.cross_entropy(logits, number)
        return (torch.cat([positive[:, None], logits], dim=1).logsumexp(1) - positive).mean()


def sum_up(parts: dict[str, Tensor], weights: dict[str, float]) -> Tensor:
    """The weighted sum of the parts."""
    return torch.stack([weights[name] * parts[name] for name in weights]).sum()


def _reconstruction(decoder: nn.Module, shared: Tensor, specific: Tensor, reviews: Tensor) -> Tensor:
    """MSE of the reviews' vector from both tastes; the vector itself is a target and gets no gradient."""
    if not len(reviews):
        return reviews.new_zeros(())
    return F.mse_loss(decoder(torch.cat([shared, specific], dim=-1)), reviews.detach())
