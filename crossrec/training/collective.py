"""The recipe of collective factors: stars of both domains in one factorisation."""

from dataclasses import dataclass

import numpy as np

from crossrec.config import require
from crossrec.data.pair import first_mask
from crossrec.data.ratings import Ratings
from crossrec.models.collective import CollectiveFactors
from crossrec.models.recommender import Recommender
from crossrec.training.job import Job


@dataclass(frozen=True)
class CollectiveConfig:
    factors: int = 10
    """F, shared by both domains."""
    ridge: float = 400.0
    """lambda of the item vectors, in ratings, where factors have deviation 1 over people."""
    damping: float = 1.5
    """lambda of the biases, in ratings."""
    taken: float = 300.0
    """Weight of which source items a person took, against the stars that they gave; 0 looks at stars alone."""
    carry_ridge: float = 50.0
    """lambda of what carries over, in people: with fewer in both domains, one is held to be as generous in the target
    as in the source."""
    rounds: int = 12
    """Of alternating least squares."""

    def __post_init__(self) -> None:
        for name in ("factors", "rounds"):
            require(getattr(self, name) > 0, f"{name} ({getattr(self, name)}) must be positive")
        for name in ("ridge", "carry_ridge"):
            require(getattr(self, name) > 0, f"{name} ({getattr(self, name)}) must be positive")
        for name in ("damping", "taken"):
            require(getattr(self, name) >= 0, f"{name} ({getattr(self, name)}) must not be negative")


def collective_factors(job: Job) -> tuple[Recommender, None]:
    """Solved in closed form, round by round; the seed is that of the first vectors."""
    config: CollectiveConfig = job.config
    source, target = (Ratings.training(job.pair, job.split, which) for which in ("source", "target"))
    domain = job.pair.source
    at = np.flatnonzero(first_mask(domain.offsets, job.split.source_train_end))
    people = np.searchsorted(domain.offsets, at, side="right") - 1
    assert domain.ratings is not None
    events = people, domain.items[at].astype(np.int64), domain.ratings[at]
    return CollectiveFactors.fit(source, target, events, **vars(config), seed=job.seed), None
