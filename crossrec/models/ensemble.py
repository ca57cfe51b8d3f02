"""Several recommenders that are asked together, each with its weight.

B people, I items, M members.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from crossrec.config import require
from crossrec.data.histories import Histories, Ints, Reviews
from crossrec.models.recommender import Floats, Recommender, hide_seen

POOLS = ("ranks", "logs")
LEAST = 1e-7
"""Share of the votes that an item without any gets."""


@dataclass(frozen=True)
class Stars:
    """Members that predict stars, and how they are added up: offset + sum of weight times what a member says."""

    members: dict[str, Recommender]
    weights: list[float]
    """(M,) none negative."""
    offset: float
    """Stars; what the weights lack of 1, times the mean."""

    def __post_init__(self) -> None:
        require(
            len(self.members) == len(self.weights) and all(w >= 0 for w in self.weights),
            f"star weights {self.weights} of {len(self.members)} members must be as many, and none negative",
        )

    def __call__(self, histories: Histories, items: Ints, reviews: Reviews | None = None) -> Floats:
        """(B,) the stars that each of B people would give items[b]; a member that weighs nothing is not asked."""
        told = np.full(len(items), self.offset)
        for member, weight in zip(self.members.values(), self.weights, strict=True):
            if weight:
                told += weight * member.rate(histories, items, reviews)
        return told.astype(np.float32)


class Ensemble(Recommender):
    """The sum over members of weight times what each says of an item: 0 of the one that it puts last, more of others.

    Pool "ranks": log(I / rank). Scores of two recommenders have only their order in common. Z-scores of them were
    tried, and did harm: votes and ridge regressions leave most items at nothing and give a few some thirty deviations,
    so that a member with a tenth of the weight decided alone who stood first. Logarithms of ranks have the same tail
    for every member, and say most where it matters, at the top (Cormack et al., "Reciprocal rank fusion", SIGIR 2009,
    for another such curve).

    Pool "logs": log-probabilities of those whose scores are some (`Recommender.speaks`), which keep by how much one
    item leads; the log-ranks of the others. The sum is then a logarithmic opinion pool (Genest and Zidek, 1986).

    Stars are predicted by members of their own, where there are any, and do not touch the order: `uses` is what the
    scores depend on.
    """

    kind: ClassVar[str] = "ensemble"

    def __init__(
        self,
        members: Mapping[str, Recommender],
        weights: Sequence[float],
        stars: Stars | None = None,
        pool: str = "ranks",
    ):
        """What is asked.

        Args:
            members: by name, in the order of the weights.
            weights: (M,) none negative. What weighs nothing is not asked.
            stars: who predicts stars; None where nobody does.
            pool: "ranks" or "logs".

        Raises:
            ValueError: a weight is negative, or all are 0, or the members do not know the same items or words, or
                there is no such pool.
        """
        require(pool in POOLS, f"pool ({pool!r}) must be one of {', '.join(POOLS)}")
        require(
            len(members) == len(weights) and all(w >= 0 for w in weights) and any(weights),
            f"weights {list(weights)} of {len(members)} members must be as many, none negative, and not all 0",
        )
        raters = list(stars.members.values()) if stars else []
        sizes, encoders = (
            {m.n_items for m in (*members.values(), *raters)},
            {m.encoder for m in members.values() if m.encoder},
        )
        require(len(sizes) == 1, f"the members score {sorted(sizes)} items, and must score the same")
        require(len(encoders) <= 1, f"the members read vectors of {sorted(encoders)}, and a history has those of one")
        self.members, self.weights = dict(members), np.asarray(weights, np.float32)
        self.stars, self.rates, self.pool = stars, stars is not None, pool
        asked = [member for member, weight in zip(members.values(), weights, strict=True) if weight]
        self.n_items = sizes.pop()
        self.uses = frozenset[str]().union(*(member.uses for member in asked))
        self.ordered = any(member.ordered for member in asked)
        self.encoder = encoders.pop() if encoders else None
        self.most_reviews = max(member.most_reviews for member in asked)

    def score(self, histories: Histories) -> Floats:
        scores = np.zeros((len(histories), self.n_items + 1), np.float32)
        for part in self.parts(histories).values():
            scores += part
        scores[:, 0] = -np.inf
        return scores

    def parts(self, histories: Histories) -> dict[str, Floats]:
        """(B, I+1) what each member that weighs something adds to the scores, 0 or more; 0 for padding."""
        asked = zip(self.members.items(), self.weights, strict=True)
        return {
            name: weight * said(asked_of(member, histories), member.speaks, self.pool)
            for (name, member), weight in asked
            if weight
        }

    def rate(self, histories: Histories, items: Ints, reviews: Reviews | None = None) -> Floats:
        if self.stars is None:
            return super().rate(histories, items, reviews)
        return self.stars(histories, items, reviews)

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        members, arrays = _kept(self.members)
        about: dict[str, Any] = {"members": members, "weights": self.weights.tolist(), "pool": self.pool}
        if self.stars is not None:
            raters, more = _kept(self.stars.members, "stars.")
            about["stars"] = {"members": raters, "weights": self.stars.weights, "offset": self.stars.offset}
            arrays |= more
        return about, arrays

    @classmethod
    def from_state(cls, about: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Self:
        kept = about.get("stars")
        stars = Stars(_read(kept["members"], arrays, "stars."), kept["weights"], kept["offset"]) if kept else None
        return cls(_read(about["members"], arrays), about["weights"], stars, about.get("pool", "ranks"))


def _kept(members: Mapping[str, Recommender], prefix: str = "") -> tuple[list[dict[str, Any]], dict[str, NDArray[Any]]]:
    """The states of members, and their arrays under a prefix and their names."""
    found, arrays = [], dict[str, NDArray[Any]]()
    for name, member in members.items():
        about, own = member.state()
        found.append({"name": name, "kind": member.kind, "about": {"n_items": member.n_items, **about}})
        arrays |= {f"{prefix}{name}.{key}": value for key, value in own.items()}
    return found, arrays


def _read(
    members: Sequence[dict[str, Any]], arrays: dict[str, NDArray[Any]], prefix: str = ""
) -> dict[str, Recommender]:
    """The members that `_kept` described."""
    found = {}
    for one in members:
        start = f"{prefix}{one['name']}."
        own = {key.removeprefix(start): value for key, value in arrays.items() if key.startswith(start)}
        found[one["name"]] = Recommender._kinds[one["kind"]].from_state(one["about"], own)
    return found


def asked_of(member: Recommender, histories: Histories) -> Floats:
    """(B, I+1) scores of a member; -inf for padding and, where the member knows of it, for what people have."""
    scores = member.score(histories)
    return hide_seen(scores, histories) if "target" in member.uses else scores


def said(scores: Floats, speaks: str, pool: str) -> Floats:
    """(B, I+1) what scores say of each item, none below 0, and 0 of padding and of what a row puts last.

    Args:
        scores: (B, I+1), of `asked_of`.
        speaks: of the member, see `Recommender.speaks`.
        pool: see `Ensemble`.
    """
    if pool == "ranks" or speaks == "ranks":
        return log_ranks(scores)
    there = np.isfinite(scores)
    if speaks == "votes":
        votes = np.where(there, scores, 0)
        scores = np.log(votes / np.maximum(votes.sum(axis=1, keepdims=True), LEAST) + LEAST)
    least = np.min(scores, axis=1, keepdims=True, where=there, initial=np.inf)
    return np.where(there, scores - least, 0).astype(np.float32)


def log_ranks(scores: Floats) -> Floats:
    """(B, I+1) log(I / rank) by the scores of each row; equal scores share their mean rank. 0 for padding."""
    out = np.zeros(scores.shape, np.float32)
    if out[:, 1:].size:
        out[:, 1:] = np.log((scores.shape[1] - 1) / rankdata(-scores[:, 1:], axis=1))
    return out
