"""Recipes that are solved in closed form or only count."""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from crossrec.config import require
from crossrec.data.histories import Ints
from crossrec.data.split import merged_domain
from crossrec.errors import CrossrecError
from crossrec.models.item_knn import ItemKNN
from crossrec.models.linear import LinearMap, sets
from crossrec.models.recommender import Recommender
from crossrec.models.simple import Popularity
from crossrec.training.job import Job


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
class ItemKNNConfig:
    window: int = 15
    """Largest distance, in events, of two items that count as near."""
    backward: float = 0.3
    """Weight of a pair whose second item came first; 0 knows only what follows."""
    damping: float = 0.3
    """p: pairs count by the training events of both items to the power of -p; 0.5 is the cosine."""
    decay: float = 0.6
    """Of the vote of an event with each later one; 1 reads a history as a set, near 0 looks at the last event alone."""
    prior: float = 0.04
    """Weight of log(1 + popularity) that is added to the votes."""

    def __post_init__(self) -> None:
        require(self.window > 0, f"window ({self.window}) must be positive")
        require(0 < self.decay <= 1, f"decay ({self.decay}) must be above 0 and at most 1")
        for name in ("backward", "damping", "prior"):
            require(getattr(self, name) >= 0, f"{name} ({getattr(self, name)}) must not be negative")


def popularity(job: Job) -> tuple[Recommender, None]:
    return Popularity(job.split.target_counts(job.pair)), None


def linear_map(job: Job) -> tuple[Recommender, None]:
    config = job.config
    source, target = overlap_sets(job, "The linear map", config.max_users)
    return LinearMap.fit(source, target, job.split.target_counts(job.pair), config.ridge, config.prior), None


def overlap_users(job: Job, who: str) -> Ints:
    """People with training events in both domains.

    Raises:
        CrossrecError: there are none; the sentence begins with `who`.
    """
    users = np.flatnonzero((job.split.source_train_end > 0) & (job.split.target_train_end > 0))
    if not len(users):
        raise CrossrecError(f"{who} needs people with training events in both domains, and there are none.")
    return users


def overlap_sets(job: Job, who: str, most: int) -> tuple[csr_array, csr_array]:
    """(N, I_source+1) and (N, I+1) 0/1, training items of people with both; of more than `most`, a seeded sample."""
    pair, split, users = job.pair, job.split, overlap_users(job, who)
    if len(users) > most:
        users = np.sort(np.random.default_rng(job.seed).choice(users, most, replace=False))
    known = pair.histories(users, split.source_train_end[users], split.target_train_end[users])
    return sets(known.source, pair.source.n_items + 1), sets(known.target, pair.target.n_items + 1)


def item_knn(job: Job) -> tuple[Recommender, None]:
    config: ItemKNNConfig = job.config
    events = merged_domain(job.pair, job.split)
    numbers = (config.window, config.backward, config.damping, config.decay, config.prior)
    return ItemKNN.fit(events, job.pair.source.n_items, *numbers), None
