"""From a person's taste in the source domain to their stars in the target domain: EMCDR and PTUPCDR.

B people, J liked items, F factors, D = F+1 the width of a person's vector (factors and bias), I items.
"""

from abc import abstractmethod
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from crossrec.data.histories import Histories, Ints, Reviews
from crossrec.data.ratings import Ratings
from crossrec.models.biases import shrunken
from crossrec.models.factors import Factors
from crossrec.models.personal import PersonalBridge
from crossrec.models.recommender import Floats, Recommender

LIKED = 4.0
"""A source item with so many stars, or without any, is a liked one."""
MOST_LIKED = 20


class Carried(Recommender):
    """r = mu + b_i + b_u + <u, [q_i, 1]>, u carried over from the source: the bridge tells what the biases leave.

    b_u is the shrunken mean of what the rest of the formula misses of the person's target stars, and 0 for a cold
    user. A person without source items has u = 0. `score` is the predicted stars.
    """

    uses = frozenset({"source", "target"})
    rates = True

    def __init__(self, target: Factors):
        self.target, self.keys = target, target.keys()
        self.n_items = len(target.item_bias) - 1

    @abstractmethod
    def mapped(self, histories: Histories) -> Floats:
        """(B, D) vectors in the target domain."""

    def people(self, histories: Histories) -> Floats:
        """(B, D) `mapped`, zeros for people without source items, and b_u added to the last column."""
        vectors = self.mapped(histories) * np.any(histories.source > 0, axis=1, keepdims=True)
        known = Ratings.of(histories, "target", self.n_items)
        rest = known.stars - self._rate(vectors[known.users], known.items)
        vectors[:, -1] += shrunken(known.users, rest, len(histories), self.target.damping)
        return vectors

    def score(self, histories: Histories) -> Floats:
        scores = (self.people(histories) @ self.keys.T + self.target.mean + self.target.item_bias).astype(np.float32)
        scores[:, 0] = -np.inf
        return scores

    def rate(self, histories: Histories, items: Ints, reviews: Reviews | None = None) -> Floats:
        return self._rate(self.people(histories), items).astype(np.float32)

    def _rate(self, vectors: Floats, items: Ints) -> Floats:
        return self.target.expected(items) + (vectors * self.keys[items]).sum(axis=1)


class Mapped(Carried):
    """u is a map, that is a net, of the vector that the factors of the source domain give a person."""

    def __init__(self, source: Factors, target: Factors, net: nn.Module):
        super().__init__(target)
        self.source, self.net = source, net.eval()

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        (one, arrays), (two, more) = self.source.state("source"), self.target.state("target")
        net = {f"net.{name}": value.cpu().numpy() for name, value in self.net.state_dict().items()}
        return one | two, arrays | more | net

    @classmethod
    def from_state(cls, about: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Self:
        source, target = (Factors.from_state(which, about, arrays) for which in ("source", "target"))
        weights = {k.removeprefix("net."): torch.from_numpy(v) for k, v in arrays.items() if k.startswith("net.")}
        net = cls.empty(source.width, weights)
        net.load_state_dict(weights)
        return cls(source, target, net)

    @classmethod
    @abstractmethod
    def empty(cls, width: int, weights: dict[str, Tensor]) -> nn.Module:
        """The net into which weights of these shapes fit; width is D."""


class EMCDR(Mapped):
    """One map for everybody: u = u_s W, or a small MLP (Man et al., IJCAI 2017)."""

    kind: ClassVar[str] = "emcdr"

    @torch.no_grad()
    def mapped(self, histories: Histories) -> Floats:
        vectors = torch.from_numpy(self.source.fold_in(histories.source, histories.source_stars))
        mapped: Floats = self.net(vectors).numpy()
        return mapped

    @classmethod
    def empty(cls, width: int, weights: dict[str, Tensor]) -> nn.Module:
        return linear_net(width) if set(weights) == {"weight"} else mlp_net(width, len(weights["0.bias"]))


def linear_net(width: int) -> nn.Linear:
    """u = u_s W, without a bias; `weight` is W transposed."""
    return nn.Linear(width, width, bias=False)


def mlp_net(width: int, hidden: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, hidden), nn.Tanh(), nn.Linear(hidden, width))


class PTUPCDR(Mapped):
    """A map of each person's own, made from the source items that they like (Zhu et al., WSDM 2022)."""

    kind: ClassVar[str] = "ptupcdr"

    @torch.no_grad()
    def mapped(self, histories: Histories) -> Floats:
        vectors = torch.from_numpy(self.source.fold_in(histories.source, histories.source_stars))
        items = liked(histories.source, histories.source_stars)
        mapped: Floats = self.net(vectors, torch.from_numpy(self.source.vectors[items]), torch.from_numpy(items > 0))
        return np.asarray(mapped)

    @classmethod
    def empty(cls, width: int, weights: dict[str, Tensor]) -> nn.Module:
        return personal_net(width, len(weights["meta.0.bias"]))


def personal_net(width: int, hidden: int = 50) -> PersonalBridge:
    """From D to D by way of items of F = D-1 factors."""
    return PersonalBridge(width - 1, width, width, hidden)


def liked(items: Ints, stars: Floats | None, most: int = MOST_LIKED) -> Ints:
    """(B, J) the newest liked items among (B, T), oldest first, left-padded with 0; J is the least of `most` and T."""
    good = items > 0
    if stars is not None:
        good &= np.isnan(stars) | (stars >= LIKED)
    # A stable sort pushes what is not liked to the left and keeps the order of time.
    order = np.argsort(good, axis=1, kind="stable")[:, -most:]
    return np.where(np.take_along_axis(good, order, axis=1), np.take_along_axis(items, order, axis=1), 0)
