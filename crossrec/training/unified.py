"""The recipe of the unified encoder: windows over both domains in one order, and beside them people as strangers.

B windows or people, L events, P positions, M drawn items, I items, N items of both domains, Q width of a query.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from crossrec import processes
from crossrec.config import require
from crossrec.data.histories import Ints
from crossrec.data.split import merged_domain
from crossrec.errors import CrossrecError
from crossrec.models import losses
from crossrec.models.recommender import Recommender
from crossrec.models.unified import Table, Unified, UnifiedConfig, UnifiedRecommender
from crossrec.training.autoencoder import multinomial_nll
from crossrec.training.batches import Batch, SequenceBatches
from crossrec.training.job import MONITOR, SMALL_CATALOGUE, Job, process_seed, seeded
from crossrec.training.loop import Fitted, LoopConfig, fit
from crossrec.training.words import WordsConfig, item_words

WHOLE = 50_000
"""Most items of a domain that strangers' items are told from all at once; of more, a sample is drawn."""
POWER = 0.75
"""Of the training counts by which such a sample is drawn."""


@dataclass(frozen=True)
class UnifiedRecipeConfig(LoopConfig, WordsConfig, UnifiedConfig):
    """Chosen on validation people, NDCG@10.

    The taste beside the states pays: on the Beauty sequences (width 128, dropout 0.35, 1,024 negatives) .0682 with a
    taste of 256 and .0616 without, which is what a SASRec with the softmax over all items comes to. On Food and Kitchen
    a width of 128 in place of 64 made no difference that could be told from chance. In the small world of the demo a
    dropout between 0.2 and 0.5 and gated blocks made none either; words of the reviews did, for strangers (.2308
    against .2026).
    """

    next_loss: float = 0.3
    """Weight of the next item after each event, in the domain where it fell."""
    cold_loss: float = 1.0
    """Weight of all that a person took in one domain, told from their events in the other alone."""
    negatives: int = 512
    """M, items of a domain that the next one is told from; in a catalogue of at most 5,000 it is told from all."""
    epochs: int = 30
    """Most passes over the windows; early stopping usually ends sooner."""
    batch_size: int = 256
    """Windows a step."""
    lr: float = 2e-3
    """Learning rate of Adam."""
    weight_decay: float = 0.01
    """Decoupled weight decay (AdamW)."""
    average: float = 1.0
    """Epochs over which the weights that are validated and kept are averaged."""
    patience: int = 4
    """Epochs without a better validation score before training stops."""

    def __post_init__(self) -> None:
        for base in (LoopConfig, WordsConfig, UnifiedConfig):
            base.__post_init__(self)
        for name in ("next_loss", "cold_loss"):
            require(getattr(self, name) >= 0, f"{name} ({getattr(self, name)}) must not be negative")
        require(self.next_loss + self.cold_loss > 0, "next_loss and cold_loss must not both be 0")
        require(self.negatives > 0, f"negatives ({self.negatives}) must be positive")

    @property
    def model(self) -> UnifiedConfig:
        return UnifiedConfig(**{name: getattr(self, name) for name in UnifiedConfig.__dataclass_fields__})


def unified(job: Job) -> tuple[Recommender, Fitted]:
    """Trains on all events of the training part, in both domains.

    Raises:
        CrossrecError: nobody has target events there.
    """
    config: UnifiedRecipeConfig = job.config
    pair, split = job.pair, job.split
    if not split.target_train_end.any():
        raise CrossrecError(f"No {pair.target.label} event is left to train on.")
    counts = np.concatenate([split.source_counts(pair), split.target_counts(pair)[1:]])
    source, target = item_words(job)
    with seeded(job.seed):
        model = Unified(config.model, pair.source.n_items, np.concatenate([source, target[1:]]), counts)
        recommender = UnifiedRecommender(model)
        loss = UnifiedLoss(config, counts, pair.source.n_items, process_seed(job.seed))
        fitted = fit(
            model,
            UnifiedBatches(job),
            loss,
            lambda: job.validate(recommender),
            MONITOR,
            config,
            job.control,
            [loss.generator],
        )
    return recommender, fitted


class Step(NamedTuple):
    """What one step learns from."""

    windows: Batch
    """Of events in both domains."""
    source: Tensor
    """(B, S) source items of people who are in both domains, left-padded: what strangers to the target show."""
    target: Tensor
    """(B, T) target items of the same people."""


class UnifiedBatches:
    """All windows once an epoch, and beside them everybody who is in both domains once."""

    def __init__(self, job: Job):
        config: UnifiedRecipeConfig = job.config
        domain = merged_domain(job.pair, job.split)
        self.pair, self.split, self.seed = replace(job.pair, vectors=None), job.split, job.seed
        self.windows = SequenceBatches(domain, domain.counts, config.max_len, config.batch_size, job.seed)
        self.users = np.flatnonzero((job.split.source_train_end > 0) & (job.split.target_train_end > 0))

    def __len__(self) -> int:
        return len(self.windows)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Step]:
        """The steps from `start` on; the same for the same seed and epoch."""
        order = np.random.default_rng([self.seed, epoch, 1]).permutation(self.users)
        people = np.array_split(order, len(self))
        for step, windows in enumerate(self.windows.epoch(epoch, start), start):
            yield Step(windows, *self._sides(processes.part(people[step])))

    def _sides(self, users: Ints) -> tuple[Tensor, Tensor]:
        known = self.pair.histories(users, self.split.source_train_end[users], self.split.target_train_end[users])
        return torch.from_numpy(known.source), torch.from_numpy(known.target)


class UnifiedLoss:
    """The next item after each event, and all items of one domain from the events of the other."""

    def __init__(self, config: UnifiedRecipeConfig, counts: Ints, n_source: int, seed: int):
        """counts: (N+1,) training events of each item; n_source: how many of the items are source items."""
        self.config = config
        self.rows = {"source": (1, n_source + 1), "target": (n_source + 1, len(counts))}
        """First and last but one row of the table, by domain."""
        self.generator = torch.Generator().manual_seed(seed)
        self.drawn_by = torch.from_numpy((counts.astype(np.float64) + 1) ** POWER)

    def __call__(self, net: nn.Module, step: Step) -> dict[str, Tensor]:
        """{"loss", "next", "cold"}; a part that weighs nothing, or that nobody of the step has, is missing."""
        assert isinstance(net, Unified)
        table, device = net.table(), net.item.device
        parts, config = dict[str, Tensor](), self.config
        if config.next_loss:
            windows = step.windows.to(device)
            asked = windows.targets > 0
            if asked.any():
                parts["next"] = self.next(table, net.queries(table, windows.items)[asked], windows.targets[asked])
        if config.cold_loss and len(step.source):
            source, target = step.source.to(device), step.target.to(device)
            shift = (target > 0) * net.n_source
            ways = (("target", source, target), ("source", target + shift, source))
            told = [self.all_of(table, which, net.after(table, shown), wanted) for which, shown, wanted in ways]
            parts["cold"] = torch.stack(told).mean()
        weights = {"next": config.next_loss, "cold": config.cold_loss}
        # A step without any part, such as one of windows of single events, still has a gradient: of nothing.
        total = torch.stack([weights[name] * part for name, part in parts.items()] or [table.keys.sum() * 0]).sum()
        return {"loss": total, **parts}

    def next(self, table: Table, queries: Tensor, items: Tensor) -> Tensor:
        """-log softmax of each next item among the items of its domain, or among some that are drawn.

        Args:
            table: of the items.
            queries: (P, Q).
            items: (P,) rows of the table.
        """
        total = queries.new_zeros(())
        for first, last in self.rows.values():
            inside = (items >= first) & (items < last)
            if not inside.any():
                continue
            asked, wanted, keys = queries[inside], items[inside], table.keys[first - 1 : last]
            if last - first <= SMALL_CATALOGUE:
                found = losses.cross_entropy(asked, keys, wanted - first + 1)
            else:
                drawn = torch.randint(first, last, (self.config.negatives,), generator=self.generator)
                drawn = drawn.to(items.device)
                negative = (asked @ table.keys[drawn].T).masked_fill(drawn == wanted[:, None], -torch.inf)
                found = losses.sampled_softmax((asked * table.keys[wanted]).sum(-1), negative)
            total = total + found * inside.sum()
        return total / len(items)

    def all_of(self, table: Table, which: str, queries: Tensor, items: Tensor) -> Tensor:
        """-log softmax of all items of B people in one domain, the mean over items.

        Args:
            table: of the items.
            which: "source" or "target".
            queries: (B, Q).
            items: (B, T) items of the domain, 1..I, 0 = padding.
        """
        first, last = self.rows[which]
        keys = table.keys[first - 1 : last]  # row 0 is of no item of this domain
        if last - first <= WHOLE:
            logits = F.linear(queries, keys[1:])
            return multinomial_nll(F.pad(logits, (1, 0), value=-torch.inf)[None], items)
        weights = self.drawn_by[first:last]
        number = 8 * self.config.negatives
        drawn = 1 + torch.multinomial(weights, number, replacement=True, generator=self.generator)
        log_q = torch.log(number * weights[drawn - 1] / weights.sum()).float().to(queries.device)
        drawn = drawn.to(queries.device)
        rows, at = torch.nonzero(items, as_tuple=True)
        own = items[rows, at]
        positive = (queries[rows] * keys[own]).sum(-1)
        # Whatever the person took is no item that theirs are to be told from.
        mine = (items[:, :, None] == drawn).any(1)  # (B, M)
        negative = (queries @ keys[drawn].T).masked_fill(mine, -torch.inf)
        return losses.sampled_softmax(positive, negative[rows], log_q)
