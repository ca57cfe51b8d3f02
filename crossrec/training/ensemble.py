"""The recipe of the ensemble: members trained on the training part, their weights fitted on the validation people.

Q validation people, I items, M members, R hidden items.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossrec.config import require
from crossrec.data.histories import Histories, Ints
from crossrec.models.ensemble import Ensemble, said
from crossrec.models.recommender import Floats, Recommender, hide_seen, top_k
from crossrec.training import coldstart, simple
from crossrec.training.autoencoder import AutoencoderRecipeConfig, autoencoder
from crossrec.training.job import Job
from crossrec.training.loop import Fitted

CELLS = 150_000_000
"""Most scores (people times items times members) that the weights are fitted on; of more people, the first of a seeded
order are taken."""
STEPS = tuple(np.float32(step) for step in (0.05, 0.1, 0.2, 0.4))
"""By which the weight of a member may rise at a time; the best one begins with 1."""
Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class EnsembleConfig(AutoencoderRecipeConfig):
    """The settings of the autoencoder, the learned member, and of the members that are solved or only count."""

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


def ensemble(job: Job) -> tuple[Recommender, Fitted]:
    """Trains the members and weighs them; what is fitted step by step is the autoencoder."""
    learned, fitted = autoencoder(job)
    members = {"autoencoder": learned} | plain_members(job)
    return Ensemble(members, fit_weights(job, members).tolist()), fitted


def plain_members(job: Job) -> dict[str, Recommender]:
    """By the names of their recipes; what the data does not allow is left out."""
    config: EnsembleConfig = job.config
    asked: list[tuple[str, Any, Any]] = [("popularity", simple.popularity, simple.PopularityConfig())]
    if (job.split.source_train_end[job.split.target_train_end > 0] > 0).any():
        mapped = simple.LinearMapConfig(ridge=config.ridge, max_users=config.max_users)
        voted = coldstart.UserKNNConfig(neighbours=config.neighbours, max_users=config.max_users)
        asked += [("linear-map", simple.linear_map, mapped), ("user-knn", coldstart.user_knn, voted)]
    if job.pair.vectors is not None:
        words = coldstart.ContentConfig(config.encoder or "", config.most_reviews, config.components)
        asked.append(("content", coldstart.content, words))
    return {name: train(replace(job, config=own))[0] for name, train, own in asked}


def fit_weights(job: Job, members: dict[str, Recommender]) -> Doubles:
    """(M,) weights, none negative, by ensemble selection (Caruana et al., ICML 2004) on the validation people.

    It begins with the best member, and adds, as long as NDCG@10 rises, a step to the weight of the member that raises
    it most. So the sum ranks these people no worse than its best member, and few steps can learn little by heart.
    Fitting the likelihood of a softmax instead was tried: it is concave, and chose weights that ranked much worse.
    """
    most = max(1, CELLS // (len(members) * (job.pair.target.n_items + 1)))
    rows = np.sort(np.random.default_rng(job.seed).permutation(len(job.split.valid))[:most])
    questions = job.split.valid.take(rows)
    histories = questions.histories(job.pair)
    events, row = questions.hidden(job.pair)
    items = job.pair.target.items[events].astype(np.int64)
    parts = [said(member, histories) for member in members.values()]
    alone = [ndcg(part, histories, items, row) for part in parts]
    weights, best = np.eye(len(parts))[int(np.argmax(alone))], max(alone)
    total = parts[int(np.argmax(alone))].copy()
    for _ in range(job.config.rounds):
        tried = [(at, step) for at in range(len(parts)) for step in STEPS]
        found = [ndcg(total + step * parts[at], histories, items, row) for at, step in tried]
        if max(found) <= best:
            break
        best, (at, step) = max(found), tried[int(np.argmax(found))]
        weights[at] += step
        total += step * parts[at]
    return weights


def ndcg(scores: Floats, histories: Histories, items: Ints, rows: Ints) -> float:
    """Mean NDCG@10 over the people who have hidden items.

    Args:
        scores: (Q, I+1)
        histories: of Q people, whose own items are left out.
        items: (R,) hidden items.
        rows: (R,) the person of each.
    """
    first = top_k(hide_seen(scores.copy(), histories), 10)[0]
    number, width = np.bincount(rows, minlength=len(scores)), scores.shape[1]
    hit = np.isin(np.arange(len(scores))[:, None] * width + first, rows * width + items)
    gain = 1 / np.log2(np.arange(2, 12))
    ideal = np.concatenate([[1.0], gain.cumsum()])[np.minimum(number, 10)]
    return float(((hit * gain[: first.shape[1]]).sum(1) / ideal)[number > 0].mean())
