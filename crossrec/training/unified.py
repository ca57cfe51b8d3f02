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
from crossrec.config import part, require
from crossrec.data.histories import Ints
from crossrec.data.pair import Domain
from crossrec.data.split import merged_domain
from crossrec.errors import CrossrecError
from crossrec.models import losses
from crossrec.models.recommender import Recommender
from crossrec.models.trend import Trend
from crossrec.models.unified import Table, Unified, UnifiedConfig, UnifiedRecommender
from crossrec.training.autoencoder import multinomial_nll
from crossrec.training.batches import Batch, SequenceBatches
from crossrec.training.job import MONITOR, SMALL_CATALOGUE, Job, process_seed, seeded
from crossrec.training.loop import Fitted, LoopConfig, fit
from crossrec.training.moment import Moment, in_windows, of_strangers
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
        return part(UnifiedConfig, self)


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
    events = merged_domain(pair, split)
    trend = None
    if config.trend != "none" and events.times is not None:
        parts = (0, pair.source.n_items + 1) if pair.source.n_items else (0,)
        trend = Trend.fit(events.times, events.items, len(counts), parts, config.trend_days, config.trend)
    with seeded(job.seed):
        model = Unified(config.model, pair.source.n_items, np.concatenate([source, target[1:]]), counts, trend)
        recommender = UnifiedRecommender(model)
        loss = UnifiedLoss(config, counts, pair.source.n_items, process_seed(job.seed))
        fitted = fit(
            model,
            UnifiedBatches(job, events, trend),
            loss,
            lambda: job.validate(recommender),
            MONITOR,
            config,
            job.control,
            [loss.generator],
            model.tables if loss.by_rows else (),
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
    when: Tensor | None = None
    """(B, L+1) bucket of the event that each state of the windows is to tell; None where no times are known."""
    source_when: Tensor | None = None
    """(B, S) buckets of the source items."""
    target_when: Tensor | None = None
    """(B, T) buckets of the target items."""


class UnifiedBatches:
    """All windows once an epoch, and beside them everybody who is in both domains once."""

    def __init__(self, job: Job, domain: Domain, trend: Trend | None):
        """job; domain: its training events in one order; trend: of all items."""
        config: UnifiedRecipeConfig = job.config
        self.clock = None if trend is None else trend.clock
        self.buckets: Tensor | None = None
        if self.clock is not None and domain.times is not None:
            self.buckets = torch.from_numpy(self.clock.bucket(domain.times))
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
            when = None if self.buckets is None else self.buckets[windows.events]
            yield self._step(windows, when, processes.part(people[step]))

    def _step(self, windows: Batch, when: Tensor | None, users: Ints) -> Step:
        known = self.pair.histories(users, self.split.source_train_end[users], self.split.target_train_end[users])
        step = Step(windows, torch.from_numpy(known.source), torch.from_numpy(known.target), when)
        if self.clock is None or known.source_times is None or known.target_times is None:
            return step
        times = (known.source_times, known.target_times)
        source_when, target_when = (torch.from_numpy(self.clock.bucket(one)) for one in times)
        return step._replace(source_when=source_when, target_when=target_when)


class UnifiedLoss:
    """The next item after each event, and all items of one domain from the events of the other."""

    def __init__(self, config: UnifiedRecipeConfig, counts: Ints, n_source: int, seed: int):
        """counts: (N+1,) training events of each item; n_source: how many of the items are source items."""
        self.config = config
        self.rows = {"source": (1, n_source + 1), "target": (n_source + 1, len(counts))}
        """First and last but one row of the table, by domain."""
        self.generator = torch.Generator().manual_seed(seed)
        self.drawn_by = torch.from_numpy((counts.astype(np.float64) + 1) ** POWER)
        self.large = {name: last - first > WHOLE for name, (first, last) in self.rows.items()}
        """Domains of which strangers' items are told from a sample."""
        self.upto = {name: self.drawn_by[first:last].cumsum(0) for name, (first, last) in self.rows.items()}
        """What a sample is drawn by, summed up, so that a draw does not go through all items."""

    @property
    def by_rows(self) -> bool:
        """Whether a step makes only the items that it looks at."""
        return not self.config.cold_loss or any(self.large.values())

    def __call__(self, net: nn.Module, step: Step) -> dict[str, Tensor]:
        """{"loss", "next", "cold"}; a part that weighs nothing, or that nobody of the step has, is missing."""
        assert isinstance(net, Unified)
        parts, config, device = dict[str, Tensor](), self.config, net.item.device
        windows, drawn = step.windows.to(device), [some.to(device) for some in self.draw()]
        cold = bool(config.cold_loss) and len(step.source) > 0
        source, target = step.source.to(device), step.target.to(device)
        moved = target + (target > 0) * net.n_source  # as in the whole table
        others = {name: self.rivals(name).to(device) for name in self.rows} if cold else {}
        rows = None
        if self.by_rows or not cold:
            looked_at = [windows.items.flatten(), windows.targets.flatten(), *drawn, *others.values()]
            strangers = [source.flatten(), moved.flatten()] if cold else []
            rows = torch.cat([windows.items.new_zeros(1), *looked_at, *strangers]).unique()
        table = net.table(rows)
        if config.next_loss:
            asked = torch.nonzero(windows.targets.flatten())[:, 0]  # (P,)
            if len(asked):
                queries = net.queries(table, windows.items).flatten(0, 1).index_select(0, asked)
                wanted, moment = windows.targets.flatten()[asked], in_windows(net, windows, step.when, asked)
                parts["next"] = self.next(table, queries, wanted, drawn, moment)
        if cold:
            ways = (
                ("target", source, target, of_strangers(net, step.source_when, step.target_when, source)),
                ("source", moved, source, of_strangers(net, step.target_when, step.source_when, target)),
            )
            told = [
                self.all_of(table, which, net.after(table, shown), wanted, others[which], at)
                for which, shown, wanted, at in ways
            ]
            parts["cold"] = torch.stack(told).mean()
        weights = {"next": config.next_loss, "cold": config.cold_loss}
        # A step without any part, such as one of windows of single events, still has a gradient: of nothing.
        total = torch.stack([weights[name] * part for name, part in parts.items()] or [table.keys.sum() * 0]).sum()
        return {"loss": total, **parts}

    def draw(self) -> list[Tensor]:
        """Of each domain some items that the next one is told from, or all of a small domain; rows of the table."""
        drawn = []
        for first, last in self.rows.values():
            small = last - first <= SMALL_CATALOGUE
            number = (self.config.negatives,)
            drawn.append(
                torch.arange(first, last) if small else torch.randint(first, last, number, generator=self.generator)
            )
        return drawn

    def next(
        self, table: Table, queries: Tensor, items: Tensor, drawn: list[Tensor], moment: Moment | None = None
    ) -> Tensor:
        """-log softmax of each next item among itself and the items of its domain that are drawn.

        Args:
            table: of all items that are named here.
            queries: (P, Q).
            items: (P,) items, numbered as in the whole table.
            drawn: of each domain (M,) items.
            moment: when each is asked; None where no times are known.
        """
        total = queries.new_zeros(())
        for (first, last), others in zip(self.rows.values(), drawn, strict=True):
            inside = torch.nonzero((items >= first) & (items < last))[:, 0]
            if not len(inside):
                continue
            asked, wanted = queries.index_select(0, inside), items[inside]
            if len(others) == last - first and moment is None:
                begin = int(table.place(others[:1])) - 1  # the row before is of no item of this domain
                found = losses.cross_entropy(asked, table.keys[begin : begin + 1 + len(others)], wanted - first + 1)
            else:
                keys = F.embedding(table.place(torch.cat([others, wanted])), table.keys)
                negative, positive = asked @ keys[: len(others)].T, (asked * keys[len(others) :]).sum(-1)
                if moment is not None:
                    now = moment.of(inside)
                    negative = negative + now.risen(others)
                    positive = positive + now.without_own(wanted)
                negative = negative.masked_fill(others == wanted[:, None], -torch.inf)
                found = losses.sampled_softmax(positive, negative)
            total = total + found * len(inside)
        return total / len(items)

    def rivals(self, which: str) -> Tensor:
        """Items of a domain that those of strangers are told from, all of them or a sample, as in the whole table."""
        first, last = self.rows[which]
        if not self.large[which]:
            return torch.arange(first, last)
        drawn = torch.rand(8 * self.config.negatives, generator=self.generator, dtype=torch.float64)
        upto = self.upto[which]
        return first + torch.searchsorted(upto, drawn * upto[-1], right=True).clamp(max=last - first - 1)

    def all_of(
        self, table: Table, which: str, queries: Tensor, items: Tensor, others: Tensor, moment: Moment | None = None
    ) -> Tensor:
        """-log softmax of all items of B people in one domain, the mean over items.

        Args:
            table: of the items and of the others.
            which: "source" or "target".
            queries: (B, Q).
            items: (B, T) items of the domain, 1..I, 0 = padding.
            others: (M,) of `rivals`.
            moment: when each of the B people is asked, and `own` (B, T); None where no times are known.
        """
        first = self.rows[which][0]
        rows, at = torch.nonzero(items, as_tuple=True)
        own = items[rows, at] + first - 1
        told = None if moment is None else moment.of(rows, at).without_own(own)
        if not self.large[which]:
            begin = int(table.place(others[:1]))
            logits = F.pad(F.linear(queries, table.keys[begin : begin + len(others)]), (1, 0), value=-torch.inf)
            if moment is not None and told is not None:
                risen = F.pad(moment.risen(others), (1, 0))
                logits = logits + risen.index_put((rows, own - first + 1), told)
            return multinomial_nll(logits[None], items)
        weights = self.drawn_by[others.cpu()]
        log_q = torch.log(len(others) * weights / self.upto[which][-1]).float().to(queries.device)
        positive = (queries[rows] * F.embedding(table.place(own), table.keys)).sum(-1)
        negative = queries @ F.embedding(table.place(others), table.keys).T
        if moment is not None and told is not None:
            positive, negative = positive + told, negative + moment.risen(others)
        # Whatever the person took is no item that theirs are to be told from.
        mine = (items[:, :, None] + first - 1 == others).any(1)  # (B, M)
        return losses.sampled_softmax(positive, negative.masked_fill(mine, -torch.inf)[rows], log_q)
