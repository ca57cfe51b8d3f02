"""The recipe of the ensemble for known people: the unified encoder beside nearest items and what only counts.

A sequence model generalises over items and blurs what exactly follows what; nearest items know nothing else. On sparse
data each ranks people right that the other misses.
"""

from dataclasses import dataclass, replace

from crossrec.config import require
from crossrec.models.ensemble import Ensemble
from crossrec.models.recommender import Recommender
from crossrec.training import simple
from crossrec.training.ensemble import fit_weights, plain_members
from crossrec.training.job import Job
from crossrec.training.loop import Fitted
from crossrec.training.unified import UnifiedRecipeConfig, unified


@dataclass(frozen=True)
class KnownEnsembleConfig(UnifiedRecipeConfig):
    """The settings of the unified encoder, the learned member, and of the members that are solved or only count."""

    ridge: float = 400.0
    """lambda of the linear map."""
    neighbours: int = 400
    """n of the nearest neighbours."""
    max_users: int = 8_000
    """Most overlap users of the linear map and of the neighbours; of more, a seeded sample is taken."""
    rounds: int = 20
    """Most steps of the weights' fit."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("ridge", "neighbours", "max_users"):
            require(getattr(self, name) > 0, f"{name} ({getattr(self, name)}) must be positive")
        require(self.rounds >= 0, f"rounds ({self.rounds}) must not be negative")


def known_ensemble(job: Job) -> tuple[Recommender, Fitted]:
    """Trains the members and weighs them; what is fitted step by step is the unified encoder."""
    learned, fitted = unified(job)
    near = simple.item_knn(replace(job, config=simple.ItemKNNConfig()))[0]
    members = {"unified": learned, "item-knn": near} | plain_members(job)
    return Ensemble(members, fit_weights(job, members).tolist()), fitted
