"""The recipe of the ensemble: members trained on the training part, their weights fitted on the validation people.

Q validation people, I items, M members, R hidden items, E hidden events with stars.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from crossrec.config import require
from crossrec.data.histories import Ints
from crossrec.data.pair import DOMAINS, DomainPair, first_mask
from crossrec.data.ratings import Ratings
from crossrec.data.split import Questions
from crossrec.models.autoencoder import once
from crossrec.models.ensemble import POOLS, Ensemble, Stars, asked_of, said
from crossrec.models.recommender import Floats, Recommender, hide_seen, top_k
from crossrec.training import coldstart, collective, mapping, simple
from crossrec.training.autoencoder import AutoencoderRecipeConfig, autoencoder
from crossrec.training.job import Job
from crossrec.training.loop import Control, Fitted

TOP = 200
"""Items that each member puts forward for a person; the ten best of a weighted sum are hardly ever others."""
CELLS = 150_000_000
"""Most numbers (people times candidates times members) that the weights are fitted on; of more people, the first of a
seeded order are taken."""
BLOCK = 32 << 20
"""Scores that are held at a time while candidates are looked for."""
STEPS = tuple(np.float32(step) for step in (0.05, 0.1, 0.2, 0.4))
"""By which the weight of a member may rise at a time; the best one begins with 1."""
USUAL = {"biases": 0.0, "emcdr": 0.0, "ptupcdr": 0.25, "collective-factors": 0.75}
"""Weights of the star members where there are no hidden stars to fit them on: what did well on validation people of
Books to Movies, whatever their number."""
HELD = 1000.0
"""How hard the fitted weights are held to these, in hidden stars: many as those are, they are of few people."""
NEAR = 0.05
"""Stars."""
RATED = 100_000
"""Most hidden stars that these weights are fitted on; of more, a seeded sample."""
PADDED = 200_000_000
"""Most places of the padded source histories from which a map learns (people times the longest): EMCDR and PTUPCDR hold
them in memory all at once, and are left out of the ensemble where there are more."""
CHUNK = 4096
"""Hidden stars that are predicted at a time."""
Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class MembersConfig:
    """The settings of the members of an ensemble that are solved or only count, and of its weights."""

    ridge: float = 400.0
    """lambda of the linear map."""
    neighbours: int = 400
    """n of the nearest neighbours."""
    max_users: int = 8_000
    """Most overlap users of the linear map and of the neighbours; of more, a seeded sample is taken."""
    rounds: int = 20
    """Most steps of the weights' fit."""

    def __post_init__(self) -> None:
        for name in ("ridge", "neighbours", "max_users"):
            require(getattr(self, name) > 0, f"{name} ({getattr(self, name)}) must be positive")
        require(self.rounds >= 0, f"rounds ({self.rounds}) must not be negative")


@dataclass(frozen=True)
class EnsembleConfig(MembersConfig, AutoencoderRecipeConfig):
    """The settings of the autoencoder, the learned member, and of the other members."""

    def __post_init__(self) -> None:
        AutoencoderRecipeConfig.__post_init__(self)
        MembersConfig.__post_init__(self)


def ensemble(job: Job) -> tuple[Recommender, Fitted]:
    """Trains the members and weighs them; what is fitted step by step, and kept on the way, is the autoencoder.

    Where both domains have stars, members that predict them are trained and weighed too.
    """
    learned, fitted = autoencoder(job)
    members = {"autoencoder": learned} | plain_members(job)
    return weighed(job, members, fit_stars(job, star_members(job))), fitted


def plain_members(job: Job) -> dict[str, Recommender]:
    """By the names of their recipes; what the data does not allow is left out."""
    config: EnsembleConfig = job.config
    asked: list[tuple[str, Any, Any]] = [("popularity", simple.popularity, simple.PopularityConfig())]
    times = job.pair.target.times
    if times is not None and len(times) and times.min() < times.max():
        asked.append(("popular-lately", simple.popular_lately, simple.PopularLatelyConfig()))
    if (job.split.source_train_end[job.split.target_train_end > 0] > 0).any():
        mapped = simple.LinearMapConfig(ridge=config.ridge, max_users=config.max_users)
        voted = coldstart.UserKNNConfig(neighbours=config.neighbours, max_users=config.max_users)
        asked += [("linear-map", simple.linear_map, mapped), ("user-knn", coldstart.user_knn, voted)]
    if job.pair.vectors is not None:
        words = coldstart.ContentConfig(config.encoder or "", config.most_reviews, config.components)
        asked.append(("content", coldstart.content, words))
    return {name: train(replace(job, config=own))[0] for name, train, own in asked}


def weighed(job: Job, members: dict[str, Recommender], stars: Stars | None = None) -> Ensemble:
    """The ensemble with the weights, and of both pools the one, that rank the validation people best."""
    tried = {pool: fit_weights(job, members, pool) for pool in POOLS}
    pool = max(tried, key=lambda one: tried[one][1])
    return Ensemble(members, tried[pool][0].tolist(), stars, pool)


def fit_weights(job: Job, members: dict[str, Recommender], pool: str = "ranks") -> tuple[Doubles, float]:
    """(M,) weights, none negative, by ensemble selection (Caruana et al., ICML 2004) on the validation people.

    Returns the weights, and the NDCG@10 that they came to.

    It begins with the best member, and adds, as long as NDCG@10 rises, a step to the weight of the member that raises
    it most. So the sum ranks these people no worse than its best member, and few steps can learn little by heart.
    Fitting the likelihood of a softmax instead was tried: it is concave, and chose weights that ranked much worse.
    """
    asked = candidates(job, members, pool)
    alone = [asked.ndcg(part) for part in asked.said]
    weights, best = np.eye(len(alone))[int(np.argmax(alone))], max(alone)
    total = asked.said[int(np.argmax(alone))].copy()
    for _ in range(job.config.rounds):
        tried = [(at, step) for at in range(len(alone)) for step in STEPS]
        found = [asked.ndcg(total + step * asked.said[at]) for at, step in tried]
        if max(found) <= best:
            break
        best, (at, step) = max(found), tried[int(np.argmax(found))]
        weights[at] += step
        total += step * asked.said[at]
    return weights, best


@dataclass(frozen=True)
class Candidates:
    """The items that members put forward for Q validation people, C a person."""

    said: Floats
    """(M, Q, C) what each member says of them."""
    there: NDArray[np.bool_]
    """(Q, C) False where there are fewer."""
    hit: NDArray[np.bool_]
    """(Q, C) whether the person took it."""
    number: Ints
    """(Q,) hidden items of each person, put forward or not."""

    def ndcg(self, total: Floats) -> float:
        """Mean NDCG@10 of a ranking by (Q, C), over the people who have hidden items."""
        at, values = top_k(np.where(self.there, total, -np.inf).astype(np.float32), 10)
        gain = 1 / np.log2(np.arange(2, 12))
        ideal = np.concatenate([[1.0], gain.cumsum()])[np.minimum(self.number, 10)]
        hit = np.take_along_axis(self.hit, at, axis=1) & np.isfinite(values)
        return float(((hit * gain).sum(1) / ideal)[self.number > 0].mean())


def candidates(job: Job, members: dict[str, Recommender], pool: str) -> Candidates:
    """What the members put forward for the validation people; of more than fit the memory, a seeded sample."""
    pair, valid = job.pair, job.split.valid
    most = max(1, CELLS // (len(members) ** 2 * TOP))
    rows = np.sort(np.random.default_rng(job.seed).permutation(len(valid))[:most])
    size = max(16, BLOCK // (len(members) * (pair.target.n_items + 1)))
    parts = [
        _candidates(pair, valid.take(rows[start : start + size]), members, pool) for start in range(0, len(rows), size)
    ]
    return Candidates(
        np.concatenate([part.said for part in parts], axis=1),
        *(np.concatenate([getattr(part, name) for part in parts]) for name in ("there", "hit", "number")),
    )


def _candidates(pair: DomainPair, questions: Questions, members: dict[str, Recommender], pool: str) -> Candidates:
    histories = questions.histories(pair)
    told = [said(asked_of(member, histories), member.speaks, pool) for member in members.values()]
    first = [top_k(hide_seen(one.copy(), histories), TOP)[0] for one in told]
    items = once(np.concatenate(first, axis=1))
    events, row = questions.hidden(pair)
    width = pair.target.n_items + 1
    taken = row * width + pair.target.items[events]
    return Candidates(
        np.stack([np.take_along_axis(one, items, axis=1) for one in told]),
        items > 0,
        np.isin(np.arange(len(items))[:, None] * width + items, taken) & (items > 0),
        np.bincount(row, minlength=len(items)),
    )


def star_members(job: Job) -> dict[str, Recommender]:
    """By the names of their recipes, at their usual settings; none where a domain has no stars to learn from."""
    split, events = job.split, job.split.valid.hidden(job.pair, rated=True)[0]
    for which, ends in zip(DOMAINS, (split.source_train_end, split.target_train_end), strict=True):
        domain = job.pair.domain(which)
        if not len(Ratings.within(domain, first_mask(domain.offsets, ends)).stars):
            return {}
    known = split.source_train_end[split.target_train_end > 0]
    if not len(events) or not known.any():
        return {}
    asked: list[tuple[str, Any, Any]] = [("biases", coldstart.biases, coldstart.BiasesConfig())]
    if int((known > 0).sum()) * int(known.max()) <= PADDED:
        asked += [
            ("emcdr", mapping.emcdr, mapping.EMCDRConfig()),
            ("ptupcdr", mapping.ptupcdr, mapping.PTUPCDRConfig()),
        ]
    asked.append(("collective-factors", collective.collective_factors, collective.CollectiveConfig()))
    # The checkpoint and the events are the autoencoder's: a member of a few seconds is begun anew.
    alone = Control(stop=job.control.stop)
    return {name: train(replace(job, config=own, control=alone))[0] for name, train, own in asked}


def fit_stars(job: Job, members: dict[str, Recommender]) -> Stars | None:
    """Weights of the members that predict stars, none negative, fitted on those of the validation people.

    What is weighed are deviations from the mean of the training stars, so that what the weights lack of 1 goes to that
    mean. A free offset was tried, and did harm: a few dozen people are stricter or milder than others, and the next
    ones are not. To hold the weights to the best member instead of `USUAL` did harm too: few cannot tell which it is.
    """
    if not members:
        return None
    pair = replace(job.pair, vectors=None)  # none of them reads words
    events, owner = job.split.valid.hidden(pair, rated=True)
    drawn = np.sort(np.random.default_rng(job.seed).permutation(len(events))[:RATED])
    events, owner = events[drawn], owner[drawn]
    assert pair.target.ratings is not None
    stars = pair.target.ratings[events].astype(np.float64)
    items = pair.target.items[events].astype(np.int64)
    mean = Ratings.training(pair, job.split).mean
    told = np.zeros((len(events), len(members)))  # (E, M)
    for start in range(0, len(events), CHUNK):
        part = slice(start, start + CHUNK)
        histories = job.split.valid.take(owner[part]).histories(pair)
        for at, member in enumerate(members.values()):
            told[part, at] = member.rate(histories, items[part])
    usual = np.array([USUAL[name] for name in members])
    weights = held_weights(told - mean, stars - mean, usual / usual.sum())
    return Stars(members, weights.tolist(), mean * (1 - float(weights.sum())))


def held_weights(told: Doubles, stars: Doubles, usual: Doubles, held: float = HELD, rounds: int = 8) -> Doubles:
    """(M,) w, none negative, that minimise sum |told w - stars| + held |w - usual|^2 / 2.

    Absolute errors, by least squares that are weighed anew in each round (those below `NEAR` count as that far off): on
    validation people of Books to Movies, squared errors lowered RMSE by .0006 at most, and raised MAE by up to .0040.

    Args:
        told: (E, M) what each member says, less the mean.
        stars: (E,) less the mean.
        usual: (M,) what the weights are held to.
        held: in ratings.
        rounds: of weighing.
    """
    found = usual
    for _ in range(rounds):
        scale = 1 / np.sqrt(np.maximum(np.abs(told @ found - stars), NEAR))
        rows = np.concatenate([told * scale[:, None], np.sqrt(held) * np.eye(len(usual))])
        found = np.asarray(nnls(rows, np.concatenate([stars * scale, np.sqrt(held) * usual]))[0])
    return found
