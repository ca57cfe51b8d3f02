"""The recipe of the cross-domain autoencoder: people as sets of items, some of them hidden, and all that they took.

Three kinds of people teach it: those with both domains, from the source what they took of the target; those without a
source, from some of what they took of the target all of it; and whoever has a source, what goes with what there. That
last part needs no target, so held-out people's visible source histories, which are known when they are asked for, and
people of the source alone teach the code too.

B people in a batch, S and T items, C width of a whitened vector, I items.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from crossrec import processes
from crossrec.config import part, require
from crossrec.data.histories import Ints
from crossrec.errors import CrossrecError
from crossrec.models.autoencoder import Autoencoder, AutoencoderConfig, AutoencoderRecommender, once
from crossrec.models.recommender import Recommender
from crossrec.training.job import MONITOR, SMALL_CATALOGUE, Job, process_seed, seeded
from crossrec.training.loop import Fitted, LoopConfig, fit
from crossrec.training.words import WordsConfig, item_words


@dataclass(frozen=True)
class AutoencoderRecipeConfig(LoopConfig, WordsConfig, AutoencoderConfig):
    """Chosen on the validation people of food_kitchen, Food to Kitchen, cold-user-all-source, split seeds 0 to 2.

    NDCG@10 in the mean of the three: linear map .0440; trials of this with width 256 .0507, with source_loss .5 .0521
    (1: .0519), with width 512 and dropout .5 .0526, the best of ten trials and so partly luck: trained again with these
    settings it came to .0511. A paired difference has a standard error of about .0014, so the width is 256, at half of
    the cost. Told from 2,000 drawn items instead of all, an epoch takes a sixth of the time; on the first fold of a
    rotation width 256 with draws came to .0496, width 512 with all items to .0487. Showing the target history in half
    of the rows cost .0010. Source histories cut short at random, an equal weight for every person, and on one split
    three networks, made no difference that could be told from chance.
    """

    source_loss: float = 0.5
    """Weight of the source items at the output, beside the target items: there are twice as many events to learn from,
    and a code that knows what goes with what in the source domain carries more over."""
    epochs: int = 30
    """Most passes over the people; early stopping usually ends sooner."""
    others: float = 1.0
    """Most people of one domain alone in an epoch, as a share of those who are in both; they are drawn anew each epoch.
    Where these are few, and all others were shown, a step would hardly see what carries over."""
    negatives: int = 2_000
    """Items that are drawn in each step, beside those of its people, for these to be told from; of catalogues up to
    5,000 items, all."""
    batch_size: int = 256
    """People a step."""
    lr: float = 2e-3
    """Learning rate of Adam."""
    beta2: float = 0.999
    """Adam's second moment decay."""
    weight_decay: float = 0.01
    """Decoupled weight decay (AdamW)."""
    average: float = 1.0
    """Epochs over which the weights that are validated and kept are averaged."""
    patience: int = 3
    """Epochs without a better validation score before training stops."""

    def __post_init__(self) -> None:
        LoopConfig.__post_init__(self)
        WordsConfig.__post_init__(self)
        AutoencoderConfig.__post_init__(self)
        require(self.source_loss >= 0, f"source_loss ({self.source_loss}) must not be negative")
        require(self.negatives > 0, f"negatives ({self.negatives}) must be positive")
        require(self.others >= 0, f"others ({self.others}) must not be negative")

    @property
    def model(self) -> AutoencoderConfig:
        return part(AutoencoderConfig, self)


def autoencoder(job: Job) -> tuple[Recommender, Fitted]:
    """Trains on everybody who has events in the training part.

    Raises:
        CrossrecError: nobody has target events there.
    """
    config: AutoencoderRecipeConfig = job.config
    pair, split = job.pair, job.split
    with seeded(job.seed):
        model = Autoencoder(config.model, item_words(job), split.target_counts(pair))
        recommender = AutoencoderRecommender(model)
        loss = AutoencoderLoss(config, split.source_counts(pair), split.target_counts(pair), process_seed(job.seed))
        fitted = fit(
            model,
            PeopleBatches(job),
            loss,
            lambda: job.validate(recommender),
            MONITOR,
            config,
            job.control,
            [loss.generator],
        )
    return recommender, fitted


class People(NamedTuple):
    """B people of a batch."""

    source: Tensor
    """(B, S) source items, 0 = padding."""
    target: Tensor
    """(B, T) target items that are shown: those of some people, and of the others none."""
    answers: Tensor
    """(B, T) all target items: those that are shown are to be told again, as a denoising autoencoder does."""


class PeopleBatches:
    """Everybody of both domains once an epoch, and of the others as many as are asked for, in seeded order."""

    def __init__(self, job: Job):
        """Raises CrossrecError where nobody has target events."""
        self.pair, self.split, self.config, self.seed = job.pair, job.split, job.config, job.seed
        known = self.split.target_train_end > 0
        if not known.any():
            raise CrossrecError(f"No {self.pair.target.label} event is left to train on.")
        source = self.split.source_train_end > 0
        self.both = np.flatnonzero(known & source)
        self.alone = np.flatnonzero((known & ~source) | (bool(self.config.source_loss) & source & ~known))
        # Where nobody is in both domains, all others are shown.
        most = round(self.config.others * len(self.both)) if len(self.both) else len(self.alone)
        self.drawn = min(len(self.alone), most)

    def __len__(self) -> int:
        return -(-(len(self.both) + self.drawn) // self.config.batch_size)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[People]:
        """The batches from step `start` on; who is shown their target history is drawn anew each epoch."""
        rng, size = np.random.default_rng([self.seed, epoch]), self.config.batch_size
        drawn = rng.permutation(self.alone)[: self.drawn]
        order = rng.permutation(np.concatenate([self.both, drawn]))
        # Whoever has nothing else is shown half of the time: from nothing at all only popularity can be told.
        alone = self.split.source_train_end[order] == 0
        shown = rng.random(len(order)) < np.where(alone, max(0.5, self.config.target_shown), self.config.target_shown)
        for at in range(start * size, len(order), size):
            users, seen = processes.part(order[at : at + size]), processes.part(shown[at : at + size])
            yield self.batch(users, seen)

    def batch(self, users: Ints, shown: NDArray[np.bool_]) -> People:
        """What is shown and asked of some people."""
        known = self.pair.histories(users, self.split.source_train_end[users], self.split.target_train_end[users])
        source, answers = torch.from_numpy(once(known.source)), torch.from_numpy(once(known.target))
        return People(source, answers * torch.from_numpy(shown)[:, None], answers)


class AutoencoderLoss:
    """Multinomial likelihood of all that people have: of their target items, and beside it of their source items.

    The target items of people without a source are a mean of their own: where few people have both domains, the many
    others would drown what is to be learned, the way from one to the other.

    In a large catalogue the sum of the softmax is estimated from the items of the step's people and some that are
    drawn: each stands for 1 / pi items like it, where pi is how likely a step is to look at it. That is a fraction of
    the cost of the whole sum, and popular items, which make most of it, are nearly always looked at.
    """

    def __init__(self, config: AutoencoderRecipeConfig, source: Ints, target: Ints, seed: int):
        """source and target: (I_source+1,) and (I+1,) training events of the items."""
        self.config, self.source_loss = config, config.source_loss
        self.generator = torch.Generator().manual_seed(seed)
        self.counts = {"source": torch.from_numpy(source), "target": torch.from_numpy(target)}

    def __call__(self, net: nn.Module, people: People) -> dict[str, Tensor]:
        """{"loss", "target", "alone", "source"}; a part that nobody of the batch has is missing."""
        assert isinstance(net, Autoencoder)
        source, shown, answers = (items.to(net.target_words.device) for items in people)
        codes = net.codes(source, shown)
        there, parts = (source > 0).any(1), dict[str, Tensor]()
        for name, rows in (("target", there), ("alone", ~there)):
            if (answers[rows] > 0).any():
                parts[name] = self._told("target", net.target_logits, [code[rows] for code in codes], answers[rows])
        weights = {"source": self.source_loss}
        if self.source_loss and there.any():
            parts["source"] = self._told("source", net.source_logits, [code[there] for code in codes], source[there])
        total = torch.stack([weights.get(name, 1.0) * part for name, part in parts.items()]).sum()
        return {"loss": total, **parts}

    def _told(self, which: str, logits: Callable[..., Tensor], codes: list[Tensor], items: Tensor) -> Tensor:
        """-log likelihood of items (B, T) of a domain, told from the whole catalogue or from a sample of it."""
        counts = self.counts[which]
        size, drawn = len(counts) - 1, self.config.negatives
        if size <= SMALL_CATALOGUE:
            return multinomial_nll(logits(codes), items)
        extra = torch.randint(1, size + 1, (drawn,), generator=self.generator).to(items.device)
        columns = torch.cat([items.flatten(), extra, items.new_zeros(1)]).unique()  # padding comes first
        # An item is looked at where one of the people has it, who are a sample too, or where it is drawn.
        people = max(int(counts.sum()) * len(items) / max(int((items > 0).sum()), 1), 1.0)
        share = (counts[columns.cpu()] / people).clamp(max=1).to(items.device)
        unseen = (1 - share) ** len(items) * (1 - 1 / size) ** drawn
        place = torch.searchsorted(columns, items)
        stands = -torch.log1p(-unseen.clamp(max=1 - 1e-9))[None].repeat(len(items), 1)  # log 1 / pi
        stands.scatter_(1, place, 0)  # one's own items are looked at for certain
        return multinomial_nll(logits(codes, columns) + stands, place)


def multinomial_nll(logits: Tensor, items: Tensor) -> Tensor:
    """-log softmax over the catalogue, the mean over all items of B people and over M networks.

    Args:
        logits: (M, B, I+1)
        items: (B, T), 0 = padding; at least one is none.
    """
    there = items > 0
    own = logits.log_softmax(2).gather(2, items.expand(len(logits), -1, -1)).masked_fill(~there, 0)
    return -own.sum() / (len(logits) * there.sum())
