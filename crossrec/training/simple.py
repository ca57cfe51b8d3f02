"""Recipes that are solved in closed form or only count."""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from crossrec.config import require
from crossrec.data.histories import Ints
from crossrec.data.pair import first_mask
from crossrec.data.split import merged_domain
from crossrec.errors import CrossrecError
from crossrec.models.item_knn import ItemKNN
from crossrec.models.linear import LinearMap, sets
from crossrec.models.recommender import Recommender
from crossrec.models.simple import Popularity
from crossrec.models.trend import MOMENTS, SIDES, Lately, Trend
from crossrec.training.job import MONITOR, Job


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


MEMORY = {"short": (15, 0.3, 0.6), "long": (30, 1.0, 0.95)}
"""Window, weight of what went before, and decay of `ItemKNN`, for data in which the order tells and for other data."""


@dataclass(frozen=True)
class ItemKNNConfig:
    """Damping and prior were chosen on the validation people of the Beauty sequences: NDCG@10 .0680 with these, .0658
    with a prior of .01, and .0582 with the cosine's damping of .5 and hardly a prior."""

    memory: str = "auto"
    """"short": the last events decide, by what others took next; "long": the whole history counts, nearly as a set;
    "auto" keeps whichever ranks the validation people better."""
    damping: float = 0.3
    """p: pairs count by the training events of both items to the power of -p; 0.5 is the cosine."""
    prior: float = 0.04
    """Weight of log(1 + popularity) that is added to the votes."""

    def __post_init__(self) -> None:
        require(self.memory in ("auto", *MEMORY), f"memory ({self.memory!r}) must be one of auto, {', '.join(MEMORY)}")
        for name in ("damping", "prior"):
            require(getattr(self, name) >= 0, f"{name} ({getattr(self, name)}) must not be negative")


REACHES = (7.0, 30.0, 90.0)
"""Days among which `PopularLatelyConfig` chooses."""


@dataclass(frozen=True)
class PopularLatelyConfig:
    sides: str = "past"
    """"past" counts what was taken up to the week in which a person was last seen; "both" also what came after."""
    days: float = 0.0
    """Over which an event fades to 1/e; 0 keeps whichever of 7, 30 and 90 ranks the validation people best."""
    moments: str = "auto"
    """"last" asks about the time of a person's last event, "all" about the times of all of them; "auto" keeps whichever
    ranks the validation people better."""

    def __post_init__(self) -> None:
        require(self.sides in SIDES, f"sides ({self.sides!r}) must be one of {', '.join(SIDES)}")
        require(self.days >= 0, f"days ({self.days}) must not be negative")
        known = ("auto", *MOMENTS)
        require(self.moments in known, f"moments ({self.moments!r}) must be one of {', '.join(known)}")


def popular_lately(job: Job) -> tuple[Recommender, None]:
    """Raises CrossrecError where the target events have no times, or all of them the same."""
    config: PopularLatelyConfig = job.config
    target = job.pair.target
    events = first_mask(target.offsets, job.split.target_train_end)
    if target.times is None:
        raise CrossrecError(f"{target.label} has no times, so nothing can be said of what was popular when.")
    times, items, tried = target.times[events], target.items[events], list[Lately]()
    for days in (config.days,) if config.days else REACHES:
        trend = Trend.fit(times, items, target.n_items + 1, (0,), days, config.sides)
        if trend is None:
            raise CrossrecError(f"All {target.label} events are of one time, so nothing was popular earlier or later.")
        tried += [Lately(trend, one) for one in (MOMENTS if config.moments == "auto" else (config.moments,))]
    if len(tried) == 1:
        return tried[0], None
    return max(tried, key=lambda one: job.validate(one)[MONITOR]), None


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

    def fitted(memory: str) -> ItemKNN:
        window, backward, decay = MEMORY[memory]
        return ItemKNN.fit(events, job.pair.source.n_items, window, backward, config.damping, decay, config.prior)

    if config.memory != "auto":
        return fitted(config.memory), None
    # Of two that rank alike, max takes the first.
    return max((fitted(memory) for memory in MEMORY), key=lambda one: job.validate(one)[MONITOR]), None
