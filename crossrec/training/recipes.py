"""What can be trained: a name, its settings, and how a recommender comes out of a dataset and a split."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from crossrec.config import require
from crossrec.data.pair import DomainPair, first_mask
from crossrec.data.split import Questions, Split
from crossrec.errors import CrossrecError, nearest
from crossrec.models import losses
from crossrec.models.bridge import BridgeConfig
from crossrec.models.linear import LinearMap, sets
from crossrec.models.recommender import Recommender
from crossrec.models.sasrec import SASRec, SASRecConfig, SASRecRecommender
from crossrec.models.simple import Popularity
from crossrec.models.transfer import TransferRecommender, TransferSASRec, source_state
from crossrec.training.batches import Batch, Negatives, SequenceBatches
from crossrec.training.loop import Fitted, LoopConfig, OnEvent, fit

MONITOR = "ndcg@10"
SMALL_CATALOGUE = 5_000
"""Most items for which the softmax over all of them is the default loss."""
Validate = Callable[[Recommender], dict[str, float]]
Loss = Callable[[nn.Module, Batch], dict[str, Tensor]]


@dataclass(frozen=True)
class LossConfig:
    loss: str = "auto"
    """"ce" (all items), "sampled" (softmax over drawn negatives), "gbce", "bce", or "auto": "ce" for a catalogue of at
    most 5,000 items, where it costs no more than drawing, and "sampled" above."""
    negatives: int = 512
    """N, drawn items a positive is told from; "ce" needs none."""
    calibration: float = 0.75
    """t of gBCE, from 0 (plain BCE) to 1."""

    def __post_init__(self) -> None:
        known = ("auto", "ce", "sampled", "gbce", "bce")
        require(self.loss in known, f"loss ({self.loss!r}) must be one of {', '.join(known)}")
        require(self.negatives > 0, f"negatives ({self.negatives}) must be positive")
        require(0 <= self.calibration <= 1, f"calibration ({self.calibration}) must be in [0, 1]")


CLASSIC = {
    "norm": "post",
    "activation": "relu",
    "temperature": 0.0,
    "popularity": False,
    "dim": 64,
    "blocks": 2,
    "heads": 2,
    "dropout": 0.3,
    "attention_dropout": 0.3,
    "max_len": 50,
    "loss": "bce",
    "negatives": 4,
    "lr": 1e-3,
    "beta2": 0.999,
    "weight_decay": 1e-6,
    "batch_size": 512,
    "epochs": 20,
    "patience": 20,
}
CLASSIC_BRIDGE = {
    "fusion": "gate",
    "bridge_hidden": 128,
    "bridge_dropout": 0.1,
    "source_dropout": 0.0,
    "source_pool": "last",
}


@dataclass(frozen=True)
class SequenceConfig(LoopConfig, LossConfig, SASRecConfig):
    """Settings of a SASRec on one domain."""

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {"modern": {}, "classic": CLASSIC}
    preset: str = "modern"
    """"modern", or "classic" for the settings of the first Cross-Domain SASRec: post-norm, BCE with 4 negatives."""

    def __post_init__(self) -> None:
        for base in (LoopConfig, LossConfig, SASRecConfig):
            base.__post_init__(self)

    @property
    def sasrec(self) -> SASRecConfig:
        return SASRecConfig(**{name: getattr(self, name) for name in SASRecConfig.__dataclass_fields__})


@dataclass(frozen=True)
class TransferConfig(BridgeConfig, SequenceConfig):
    """Settings of a SASRec with a bridge: the same sequence model and budget as its baseline, and the bridge's own."""

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {"modern": {}, "classic": CLASSIC | CLASSIC_BRIDGE}

    def __post_init__(self) -> None:
        SequenceConfig.__post_init__(self)
        BridgeConfig.__post_init__(self)

    @property
    def bridge(self) -> BridgeConfig:
        return BridgeConfig(**{name: getattr(self, name) for name in BridgeConfig.__dataclass_fields__})


@dataclass(frozen=True)
class PopularityConfig:
    """Popularity has no settings."""


@dataclass(frozen=True)
class LinearMapConfig:
    ridge: float = 400.0
    """lambda of the ridge regression; larger trusts the data less."""
    prior: float = 0.003
    """Weight of log(1 + popularity) that is added to the scores."""
    max_users: int = 8_000
    """Most overlap users that are solved for; the cost grows with their cube. Of more, a seeded sample is taken."""

    def __post_init__(self) -> None:
        require(self.ridge > 0, f"ridge ({self.ridge}) must be positive")
        require(self.max_users > 0, f"max_users ({self.max_users}) must be positive")


@dataclass(frozen=True)
class Job:
    """All that a recipe may use."""

    pair: DomainPair
    split: Split
    config: Any
    seed: int
    validate: Validate
    """Scores a recommender on the validation questions: {"ndcg@10", "hr@10"}."""
    on_event: OnEvent
    source_model: SASRec | None = None
    """The trained source model, for recipes that need one."""
    checkpoint: Path | None = None
    """Folder for the best weights so far."""


@dataclass(frozen=True)
class Recipe:
    name: str
    title: str
    """For people."""
    config: type
    train: Callable[[Job], tuple[Recommender, Fitted | None]]
    domain: str = "target"
    """Whose items it recommends."""
    needs_source: bool = False
    """Whether it starts from a finished `source-sasrec` run."""


def _popularity(job: Job) -> tuple[Recommender, None]:
    return Popularity(job.split.target_counts(job.pair)), None


def _linear_map(job: Job) -> tuple[Recommender, None]:
    pair, split, config = job.pair, job.split, job.config
    users = np.flatnonzero((split.source_train_end > 0) & (split.target_train_end > 0))
    if not len(users):
        raise CrossrecError("The linear map needs people with training events in both domains, and there are none.")
    if len(users) > config.max_users:
        users = np.sort(np.random.default_rng(job.seed).choice(users, config.max_users, replace=False))
    known = pair.histories(users, split.source_train_end[users], split.target_train_end[users])
    source, target = sets(known.source, pair.source.n_items + 1), sets(known.target, pair.target.n_items + 1)
    return LinearMap.fit(source, target, split.target_counts(pair), config.ridge, config.prior), None


def _sasrec(job: Job) -> tuple[Recommender, Fitted]:
    config: SequenceConfig = job.config
    with seeded(job.seed):
        model = SASRec(config.sasrec, job.pair.target.n_items, job.split.target_counts(job.pair))
        batches = _batches(job)
        criterion = NextItemLoss(config, job)

        def loss(net: nn.Module, batch: Batch) -> dict[str, Tensor]:
            batch = batch.to(model.item.weight.device)
            return criterion(model, net(batch.items), batch)

        recommender = SASRecRecommender(model)
        fitted = _fit(job, model, batches, loss, recommender)
    return recommender, fitted


def _transfer(job: Job) -> tuple[Recommender, Fitted]:
    config: TransferConfig = job.config
    source_model = job.source_model
    if source_model is None:
        raise CrossrecError("transfer-sasrec needs a trained source model: run `crossrec train-source` first.")
    with seeded(job.seed):
        counts = job.split.target_counts(job.pair)
        model = TransferSASRec(config.sasrec, config.bridge, job.pair.target.n_items, source_model.config.dim, counts)
        batches = _batches(job)
        criterion = NextItemLoss(config, job)
        vectors, row = source_vectors(job.pair, job.split, source_model, config.bridge)

        def loss(net: nn.Module, batch: Batch) -> dict[str, Tensor]:
            rows = row[batch.events]
            if config.source_dropout:
                rows = rows * (torch.rand(len(rows), 1) >= config.source_dropout)
            batch = batch.to(model.sequence.item.weight.device)
            states = net(batch.items, vectors[rows].to(batch.items.device), (rows > 0).to(batch.items.device))
            return criterion(model.sequence, states, batch)

        recommender = TransferRecommender(model, source_model, config.bridge)
        fitted = _fit(job, model, batches, loss, recommender)
    return recommender, fitted


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("popularity", "Popularity", PopularityConfig, _popularity),
        Recipe("linear-map", "Linear map", LinearMapConfig, _linear_map),
        Recipe("source-sasrec", "SASRec on the source domain", SequenceConfig, _sasrec, domain="source"),
        Recipe("target-sasrec", "Target-only SASRec", SequenceConfig, _sasrec),
        Recipe("transfer-sasrec", "Transfer SASRec", TransferConfig, _transfer, needs_source=True),
    )
}


def find_recipe(name: str) -> Recipe:
    """The recipe of a name.

    Raises:
        CrossrecError: there is none; the nearest is named.
    """
    if name not in RECIPES:
        raise CrossrecError(f"There is no recipe {name!r}.{nearest(name, RECIPES)}")
    return RECIPES[name]


def _fit(job: Job, model: nn.Module, batches: SequenceBatches, loss: Loss, recommender: Recommender) -> Fitted:
    def validate() -> dict[str, float]:
        return job.validate(recommender)

    steps = len(batches)
    return fit(model, batches.epoch, steps, loss, validate, MONITOR, job.config, job.on_event, job.checkpoint)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """A block whose torch random numbers start from a seed, and that leaves those outside it as they were."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def _batches(job: Job) -> SequenceBatches:
    config: SequenceConfig = job.config
    ends = job.split.target_train_end
    if not ends.any():
        raise CrossrecError(
            f"No {job.pair.target.label} event is left to train on: each user needs more than the two held-out events."
        )
    return SequenceBatches(job.pair.target, ends, config.max_len, config.batch_size, job.seed)


class NextItemLoss:
    """The configured loss of states against the next items."""

    def __init__(self, config: LossConfig, job: Job):
        self.config, self.n_items = config, job.pair.target.n_items
        small = self.n_items <= SMALL_CATALOGUE
        self.name = config.loss if config.loss != "auto" else "ce" if small else "sampled"
        train = job.pair.target.first(job.split.target_train_end)
        self.negatives = Negatives(self.n_items, train, job.seed)

    def __call__(self, model: SASRec, states: Tensor, batch: Batch) -> dict[str, Tensor]:
        """states (B, T+1, D) of a model -> {"loss"}, the mean over the positions that have a target."""
        ask = batch.targets > 0
        target = batch.targets[ask]  # (P,)
        queries = model.queries(states[ask])  # (P, E)
        if self.name == "ce":
            return {"loss": losses.cross_entropy(queries, model.keys(), target)}
        positive = (queries * model.keys(target)).sum(-1)  # (P,)
        if self.name == "bce":
            users = batch.users[:, None].expand_as(batch.targets)[ask]
            drawn = self.negatives.outside(users.cpu(), self.config.negatives).to(target.device)  # (P, N)
            return {"loss": losses.bce(positive, torch.einsum("pe,pne->pn", queries, model.keys(drawn)))}
        shared = self.negatives.shared(self.config.negatives).to(target.device)  # (N,)
        negative = (queries @ model.keys(shared).T).masked_fill(shared == target[:, None], -torch.inf)
        if self.name == "gbce":
            return {"loss": losses.gbce(positive, negative, self.n_items, self.config.calibration)}
        return {"loss": losses.sampled_softmax(positive, negative)}


@torch.no_grad()
def source_vectors(
    pair: DomainPair, split: Split, model: SASRec, config: BridgeConfig, batch: int = 1024
) -> tuple[Tensor, Tensor]:
    """The source vector that goes with each training target event: from the source events strictly before it.

    Returns:
        vectors (M+1, S), row 0 for "no source event yet"; and the row of each target event (E,).
    """
    users = np.repeat(np.arange(pair.n_users), pair.target.counts)
    before = pair.source_before.astype(np.int64)
    wanted = first_mask(pair.target.offsets, split.target_train_end) & (before > 0)
    width = int(pair.source.counts.max(initial=0)) + 1
    keys, inverse = np.unique(users[wanted] * width + before[wanted], return_inverse=True)
    row = np.zeros(len(users), np.int64)
    row[wanted] = inverse + 1
    vectors = torch.zeros(len(keys) + 1, model.config.dim)
    model.eval()
    device = model.item.weight.device
    order = np.argsort(keys % width, kind="stable")  # by length: little padding
    for start in range(0, len(order), batch):
        rows = order[start : start + batch]
        owner, end = keys[rows] // width, keys[rows] % width
        ask = Questions(owner, end, np.zeros_like(owner), np.zeros_like(owner))
        items = torch.from_numpy(ask.histories(pair).source).to(device)
        vectors[torch.from_numpy(rows + 1)] = source_state(model, items, config).cpu()
    return vectors, torch.from_numpy(row)
