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
    """The sum over members of weight times log(I / rank): what a member puts first counts log I, what it puts last 0.

    Scores of two recommenders have only their order in common. Z-scores of them were tried, and did harm: votes and
    ridge regressions leave most items at nothing and give a few some thirty deviations, so that a member with a tenth
    of the weight decided alone who stood first. Logarithms of ranks have the same tail for every member, and say most
    where it matters, at the top (Cormack et al., "Reciprocal rank fusion", SIGIR 2009, for another such curve).

    Stars are predicted by members of their own, where there are any, and do not touch the order: `uses` is what the
    scores depend on.
    """

    kind: ClassVar[str] = "ensemble"

    def __init__(self, members: Mapping[str, Recommender], weights: Sequence[float], stars: Stars | None = None):
        """What is asked.

        Args:
            members: by name, in the order of the weights.
            weights: (M,) none negative. What weighs nothing is not asked.
            stars: who predicts stars; None where nobody does.

        Raises:
            ValueError: a weight is negative, or all are 0, or the members do not know the same items or words.
        """
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
        self.stars, self.rates = stars, stars is not None
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
        return {name: weight * said(member, histories) for (name, member), weight in asked if weight}

    def rate(self, histories: Histories, items: Ints, reviews: Reviews | None = None) -> Floats:
        if self.stars is None:
            return super().rate(histories, items, reviews)
        return self.stars(histories, items, reviews)

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        members, arrays = _kept(self.members)
        about: dict[str, Any] = {"members": members, "weights": self.weights.tolist()}
        if self.stars is not None:
            raters, more = _kept(self.stars.members, "stars.")
            about["stars"] = {"members": raters, "weights": self.stars.weights, "offset": self.stars.offset}
            arrays |= more
        return about, arrays

    @classmethod
    def from_state(cls, about: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Self:
        kept = about.get("stars")
        stars = Stars(_read(kept["members"], arrays, "stars."), kept["weights"], kept["offset"]) if kept else None
        return cls(_read(about["members"], arrays), about["weights"], stars)


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


def said(member: Recommender, histories: Histories) -> Floats:
    """(B, I+1) log-ranks of a member; what people have comes last, where the member knows of it."""
    scores = member.score(histories)
    return log_ranks(hide_seen(scores, histories) if "target" in member.uses else scores)


def log_ranks(scores: Floats) -> Floats:
    """(B, I+1) log(I / rank) by the scores of each row; equal scores share their mean rank. 0 for padding."""
    out = np.zeros(scores.shape, np.float32)
    if out[:, 1:].size:
        out[:, 1:] = np.log((scores.shape[1] - 1) / rankdata(-scores[:, 1:], axis=1))
    return out
