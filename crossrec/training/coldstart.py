"""Recipes for people whom the target domain does not know: neighbours, words, and biases."""

from dataclasses import dataclass

import numpy as np

from crossrec.config import require
from crossrec.data.ratings import Ratings
from crossrec.models.biases import Biases
from crossrec.models.content import Content
from crossrec.models.neighbours import UserKNN
from crossrec.models.recommender import Recommender
from crossrec.training.job import Job
from crossrec.training.reviews import fit_whitening, item_means
from crossrec.training.simple import overlap_sets


@dataclass(frozen=True)
class UserKNNConfig:
    neighbours: int = 400
    """n, the nearest training people who vote."""
    prior: float = 1e-4
    """Weight of log(1 + popularity) that is added to the votes: enough to break ties and to order what has no vote."""
    max_users: int = 100_000
    """Most overlap users that are kept; of more, a seeded sample."""

    def __post_init__(self) -> None:
        require(self.neighbours > 0, f"neighbours ({self.neighbours}) must be positive")
        require(self.max_users > 0, f"max_users ({self.max_users}) must be positive")


@dataclass(frozen=True)
class ContentConfig:
    encoder: str = "minilm"
    """Text encoder: minilm, static, distilbert, a hub id or a local folder."""
    most_reviews: int = 15
    """K, newest reviews that are read of a person in a domain, and of an item."""
    components: int | None = 128
    """C, dimensions kept by the whitening; none keeps all."""
    shrinkage: float = 0.1
    """Share of the mean variance that the whitening mixes into every direction, 0 to 1."""
    prior: float = 0.2
    """Weight of log(1 + popularity) that is added to the cosines, which are small; 0 ranks by words alone."""

    def __post_init__(self) -> None:
        require(self.most_reviews > 0, f"most_reviews ({self.most_reviews}) must be positive")
        require(self.components is None or self.components > 0, f"components ({self.components}) must be positive")
        require(0 <= self.shrinkage <= 1, f"shrinkage ({self.shrinkage}) must be in [0, 1]")


@dataclass(frozen=True)
class BiasesConfig:
    item_damping: float = 5.0
    """lambda_i: an item with so many ratings gets half of its mean residual."""
    user_damping: float = 5.0
    """lambda_u, likewise for people."""

    def __post_init__(self) -> None:
        for name in ("item_damping", "user_damping"):
            require(getattr(self, name) >= 0, f"{name} ({getattr(self, name)}) must not be negative")


def user_knn(job: Job) -> tuple[Recommender, None]:
    config: UserKNNConfig = job.config
    source, target = overlap_sets(job, "The nearest-neighbour recommender", config.max_users)
    return UserKNN.fit(source, target, job.split.target_counts(job.pair), config.neighbours, config.prior), None


def biases(job: Job) -> tuple[Recommender, None]:
    config: BiasesConfig = job.config
    return Biases.fit(Ratings.training(job.pair, job.split), config.item_damping, config.user_damping), None


def content(job: Job) -> tuple[Recommender, None]:
    config: ContentConfig = job.config
    pair, split = job.pair, job.split
    means = item_means(pair, split)
    whitening = fit_whitening(means, config.components, config.shrinkage)
    prior = (config.prior * np.log1p(split.target_counts(pair))).astype(np.float32)
    return Content(whitening, whitening(means[1]), prior, config.encoder, config.most_reviews), None
