"""Recipes of maps from taste to taste: EMCDR and PTUPCDR over factors of both domains.

N overlap users, B ratings in a batch, J liked items, D width of a person's vector.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from crossrec import processes
from crossrec.config import require
from crossrec.data.pair import DomainPair
from crossrec.data.ratings import Ratings
from crossrec.data.split import Questions
from crossrec.models.factors import Factors
from crossrec.models.mapping import EMCDR, PTUPCDR, liked, linear_net, mlp_net, personal_net
from crossrec.models.recommender import Recommender
from crossrec.training.job import Job, seeded
from crossrec.training.loop import Fitted, LoopConfig, fit
from crossrec.training.simple import overlap_users

CHUNK = 4096
"""Hidden stars that are predicted at a time."""

Loss = Callable[[nn.Module, list[Tensor]], dict[str, Tensor]]


@dataclass(frozen=True)
class FactorsConfig:
    factors: int = 10
    """F of the factorisation of each domain."""
    ridge: float = 25.0
    """lambda of the factors of people and items, in ratings. Too much leaves the biases alone: of 30,000 ratings, no
    factor outlives 30; but of 15, too many do, and validation people are told stars less well."""
    damping: float = 2.0
    """lambda of the biases, in ratings."""
    unrated: float = 0.5
    """Stars above expectation that a source item without stars counts as."""
    rounds: int = 15
    """Of alternating least squares."""

    def __post_init__(self) -> None:
        for name in ("factors", "rounds"):
            require(getattr(self, name) > 0, f"{name} ({getattr(self, name)}) must be positive")
        require(self.ridge > 0, f"ridge ({self.ridge}) must be positive")
        require(self.damping >= 0, f"damping ({self.damping}) must not be negative")


@dataclass(frozen=True)
class EMCDRConfig(LoopConfig, FactorsConfig):
    """The settings of the loop are those of the MLP; the linear map is solved in closed form."""

    mapping: str = "linear"
    """"linear", or "mlp" with one hidden layer."""
    map_ridge: float = 1.0
    """lambda of the linear map, in people."""
    hidden: int = 22
    """Width of the MLP's hidden layer."""
    lr: float = 1e-2
    patience: int = 10

    def __post_init__(self) -> None:
        LoopConfig.__post_init__(self)
        FactorsConfig.__post_init__(self)
        require(self.mapping in ("linear", "mlp"), f"mapping ({self.mapping!r}) must be linear or mlp")
        require(self.map_ridge >= 0, f"map_ridge ({self.map_ridge}) must not be negative")
        require(self.hidden > 0, f"hidden ({self.hidden}) must be positive")


@dataclass(frozen=True)
class PTUPCDRConfig(LoopConfig, FactorsConfig):
    meta_hidden: int = 50
    """Width of the meta network's hidden layer."""
    lr: float = 1e-2
    batch_size: int = 1024
    """Ratings a step."""
    patience: int = 10

    def __post_init__(self) -> None:
        LoopConfig.__post_init__(self)
        FactorsConfig.__post_init__(self)
        require(self.meta_hidden > 0, f"meta_hidden ({self.meta_hidden}) must be positive")


def emcdr(job: Job) -> tuple[Recommender, Fitted | None]:
    """Maps the vectors that overlap users have in both domains onto each other."""
    config: EMCDRConfig = job.config
    source, target = (_factors(job, which) for which in ("source", "target"))
    users = overlap_users(job, "EMCDR")
    known = job.pair.histories(users, job.split.source_train_end[users], job.split.target_train_end[users])
    given = source.fold_in(known.source, known.source_stars)  # (N, D)
    wanted = target.fold_in(known.target, known.target_stars)  # (N, D)
    if config.mapping == "linear":
        gram = given.T @ given + config.map_ridge * np.eye(source.width)
        with seeded(job.seed), torch.no_grad():
            net = linear_net(source.width)
            net.weight.copy_(torch.from_numpy(np.linalg.solve(gram, given.T @ wanted).T))
        return EMCDR(source, target, net), None
    rows = _Rows([torch.from_numpy(given), torch.from_numpy(wanted)], config.batch_size, job.seed)

    def loss(net: nn.Module, batch: list[Tensor]) -> dict[str, Tensor]:
        return {"loss": nn.functional.mse_loss(net(batch[0]), batch[1])}

    with seeded(job.seed):
        recommender = EMCDR(source, target, mlp_net(source.width, config.hidden))
        return recommender, _fit(job, recommender, rows, loss)


def ptupcdr(job: Job) -> tuple[Recommender, Fitted]:
    """Task-oriented: the loss is on target ratings, as a cold user's are predicted; all factors are frozen."""
    config: PTUPCDRConfig = job.config
    source, target = (_factors(job, which) for which in ("source", "target"))
    users = overlap_users(job, "PTUPCDR")
    known = job.pair.histories(users, job.split.source_train_end[users], np.zeros_like(users))
    vectors = torch.from_numpy(source.fold_in(known.source, known.source_stars))  # (N, D)
    items = torch.from_numpy(liked(known.source, known.source_stars))  # (N, J)
    keys, source_vectors = torch.from_numpy(target.keys()), torch.from_numpy(source.vectors)
    ratings = Ratings.training(job.pair, job.split)
    place = np.full(job.pair.n_users, -1)
    place[users] = np.arange(len(users))
    rated = place[ratings.users] >= 0
    person, item = place[ratings.users[rated]], ratings.items[rated]
    rest = ratings.stars[rated] - target.expected(item)
    rows = _Rows([torch.from_numpy(x) for x in (person, item, rest.astype(np.float32))], config.batch_size, job.seed)

    def loss(net: nn.Module, batch: list[Tensor]) -> dict[str, Tensor]:
        person, item, rest = batch
        mine = items[person]
        mapped = net(vectors[person], source_vectors[mine], mine > 0)
        return {"loss": nn.functional.mse_loss((mapped * keys[item]).sum(-1), rest)}

    with seeded(job.seed):
        recommender = PTUPCDR(source, target, personal_net(source.width, config.meta_hidden))
        return recommender, _fit(job, recommender, rows, loss)


def _factors(job: Job, which: str) -> Factors:
    config: FactorsConfig = job.config
    ratings = Ratings.training(job.pair, job.split, which)
    numbers = (config.factors, config.ridge, config.damping, config.unrated, config.rounds)
    return Factors.fit(ratings, *numbers, seed=job.seed)


class _Rows:
    """Tensors of N rows in seeded batches."""

    def __init__(self, tensors: list[Tensor], batch_size: int, seed: int):
        self.tensors, self.batch_size, self.seed = tensors, batch_size, seed

    def __len__(self) -> int:
        return -(-len(self.tensors[0]) // self.batch_size)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[list[Tensor]]:
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.tensors[0]))
        for first in range(start * self.batch_size, len(order), self.batch_size):
            rows = torch.from_numpy(processes.part(order[first : first + self.batch_size]))
            yield [tensor[rows] for tensor in self.tensors]


def _fit(job: Job, recommender: EMCDR | PTUPCDR, rows: _Rows, loss: Loss) -> Fitted:
    def validate() -> dict[str, float]:
        return {"-rmse": -rmse(recommender, job.pair, job.split.valid)}

    net, config = recommender.net, job.config
    return fit(net, rows, loss, validate, "-rmse", config, job.control)


def rmse(recommender: Recommender, pair: DomainPair, questions: Questions) -> float:
    """Of the stars that the hidden events of some questions have; NaN where they have none."""
    stars = pair.target.ratings
    assert stars is not None
    events, row = questions.hidden(pair, rated=True)
    if not len(events):
        return float("nan")
    items = pair.target.items[events].astype(np.int64)
    asked, pair = questions.take(row), replace(pair, vectors=None)
    parts = [slice(start, start + CHUNK) for start in range(0, len(items), CHUNK)]
    predicted = np.concatenate([recommender.rate(asked.histories(pair, part), items[part]) for part in parts])
    return float(np.sqrt(np.mean((np.clip(predicted, 1, 5) - stars[events]) ** 2)))
