"""Recipes that are solved in closed form or only count."""

from dataclasses import dataclass

import numpy as np

from crossrec.config import require
from crossrec.errors import CrossrecError
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


def popularity(job: Job) -> tuple[Recommender, None]:
    return Popularity(job.split.target_counts(job.pair)), None


def linear_map(job: Job) -> tuple[Recommender, None]:
    pair, split, config = job.pair, job.split, job.config
    users = np.flatnonzero((split.source_train_end > 0) & (split.target_train_end > 0))
    if not len(users):
        raise CrossrecError("The linear map needs people with training events in both domains, and there are none.")
    if len(users) > config.max_users:
        users = np.sort(np.random.default_rng(job.seed).choice(users, config.max_users, replace=False))
    known = pair.histories(users, split.source_train_end[users], split.target_train_end[users])
    source, target = sets(known.source, pair.source.n_items + 1), sets(known.target, pair.target.n_items + 1)
    return LinearMap.fit(source, target, split.target_counts(pair), config.ridge, config.prior), None
