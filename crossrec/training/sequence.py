"""Recipes of sequence models: SASRec on one domain, and with a bridge from the other."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from crossrec.config import part, require
from crossrec.data.pair import DomainPair, first_mask
from crossrec.data.split import Questions, Split
from crossrec.errors import CrossrecError
from crossrec.models import losses
from crossrec.models.bridge import NEWEST, BridgeConfig
from crossrec.models.recommender import Recommender
from crossrec.models.sasrec import SASRec, SASRecConfig, SASRecRecommender
from crossrec.models.transfer import TransferRecommender, TransferSASRec, bridge_input, newest, source_state
from crossrec.training.batches import Batch, Negatives, SequenceBatches
from crossrec.training.job import MONITOR, SMALL_CATALOGUE, Job, process_seed, seeded
from crossrec.training.loop import Fitted, LoopConfig, fit

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
        return part(SASRecConfig, self)


@dataclass(frozen=True)
class TransferConfig(BridgeConfig, SequenceConfig):
    """Settings of a SASRec with a bridge: the same sequence model and budget as its baseline, and the bridge's own."""

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {"modern": {}, "classic": CLASSIC | CLASSIC_BRIDGE}

    def __post_init__(self) -> None:
        SequenceConfig.__post_init__(self)
        BridgeConfig.__post_init__(self)

    @property
    def bridging(self) -> BridgeConfig:
        return part(BridgeConfig, self)


def sasrec(job: Job) -> tuple[Recommender, Fitted]:
    config: SequenceConfig = job.config
    with seeded(job.seed):
        model = SASRec(config.sasrec, job.pair.target.n_items, job.split.target_counts(job.pair))
        batches = _batches(job)
        criterion = NextItemLoss(config, job)

        def loss(net: nn.Module, batch: Batch) -> dict[str, Tensor]:
            batch = batch.to(model.item.weight.device)
            return criterion(model, net(batch.items), batch)

        recommender = SASRecRecommender(model)
        fitted = _fit(job, model, batches, loss, criterion, model, recommender)
    return recommender, fitted


def transfer(job: Job) -> tuple[Recommender, Fitted]:
    config: TransferConfig = job.config
    source_model = job.source_model
    if source_model is None:
        raise CrossrecError("transfer-sasrec needs a trained source model: run `crossrec train-source` first.")
    with seeded(job.seed):
        counts = job.split.target_counts(job.pair)
        model = TransferSASRec(config.sasrec, config.bridging, job.pair.target.n_items, source_model.config.dim, counts)
        batches = _batches(job)
        criterion = NextItemLoss(config, job)
        reads = config.bridge != "none"
        vectors, items, row = source_vectors(job.pair, job.split, source_model, config.bridging)

        def loss(net: nn.Module, batch: Batch) -> dict[str, Tensor]:
            rows = row[batch.events]
            if config.source_dropout and reads:
                rows = rows * (torch.rand(len(rows), 1) >= config.source_dropout)
            batch = batch.to(model.sequence.item.weight.device)
            given = bridge_input(source_model, vectors[rows], items[rows]).to(batch.items.device)
            states = net(batch.items, given, (rows > 0).to(batch.items.device))
            return criterion(model.sequence, states, batch)

        recommender = TransferRecommender(model, source_model, config.bridging)
        fitted = _fit(job, model, batches, loss, criterion, model.sequence, recommender)
    return recommender, fitted


def _fit(
    job: Job,
    model: nn.Module,
    batches: SequenceBatches,
    loss: Loss,
    criterion: "NextItemLoss",
    sequence: SASRec,
    recommender: Recommender,
) -> Fitted:
    def validate() -> dict[str, float]:
        return job.validate(recommender)

    tables = [] if criterion.name == "ce" else sequence.tables
    drawn = [criterion.negatives.generator]
    return fit(model, batches, loss, validate, MONITOR, job.config, job.control, drawn, tables)


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
        self.negatives = Negatives(self.n_items, train, process_seed(job.seed))

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
) -> tuple[Tensor, Tensor, Tensor]:
    """What a bridge may know at each training target event: the source events strictly before it.

    Returns:
        vectors (M+1, S), row 0 for "no source event yet"; items (M+1, J), of `newest`; and the row of each target event
        (E,). The bridge "none" reads nothing, and so M is 0.
    """
    users = np.repeat(np.arange(pair.n_users), pair.target.counts)
    before = pair.source_before.astype(np.int64)
    wanted = first_mask(pair.target.offsets, split.target_train_end) & (before > 0) & (config.bridge != "none")
    width = int(pair.source.counts.max(initial=0)) + 1
    keys, inverse = np.unique(users[wanted] * width + before[wanted], return_inverse=True)
    row = np.zeros(len(users), np.int64)
    row[wanted] = inverse + 1
    vectors = torch.zeros(len(keys) + 1, model.config.dim)
    looked_at = torch.zeros(len(keys) + 1, NEWEST if config.bridge == "personal" else 0, dtype=torch.int32)
    model.eval()
    device = model.item.weight.device
    order = np.argsort(keys % width, kind="stable")  # by length: little padding
    for start in range(0, len(order), batch):
        rows = order[start : start + batch]
        owner, end = keys[rows] // width, keys[rows] % width
        ask = Questions(owner, end, np.zeros_like(owner), np.zeros_like(owner))
        items = torch.from_numpy(ask.histories(pair).source)
        vectors[torch.from_numpy(rows + 1)] = source_state(model, items.to(device), config).cpu()
        few = newest(items, config)
        looked_at[torch.from_numpy(rows + 1), looked_at.shape[1] - few.shape[1] :] = few.int()
    return vectors, looked_at, torch.from_numpy(row)
