"""Several recommenders that are asked together, each with its weight.

B people, I items, M members.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from crossrec.config import require
from crossrec.data.histories import Histories
from crossrec.models.recommender import Floats, Recommender, hide_seen


class Ensemble(Recommender):
    """The sum over members of weight times log(I / rank): what a member puts first counts log I, what it puts last 0.

    Scores of two recommenders have only their order in common. Z-scores of them were tried, and did harm: votes and
    ridge regressions leave most items at nothing and give a few some thirty deviations, so that a member with a tenth
    of the weight decided alone who stood first. Logarithms of ranks have the same tail for every member, and say most
    where it matters, at the top (Cormack et al., "Reciprocal rank fusion", SIGIR 2009, for another such curve).
    """

    kind: ClassVar[str] = "ensemble"

    def __init__(self, members: Mapping[str, Recommender], weights: Sequence[float]):
        """members: by name, in the order of the weights; weights: (M,) none negative. What weighs nothing is not asked.

        Raises:
            ValueError: a weight is negative, or all are 0, or the members do not know the same items or words.
        """
        require(
            len(members) == len(weights) and all(w >= 0 for w in weights) and any(weights),
            f"weights {list(weights)} of {len(members)} members must be as many, none negative, and not all 0",
        )
        sizes, encoders = {m.n_items for m in members.values()}, {m.encoder for m in members.values() if m.encoder}
        require(len(sizes) == 1, f"the members score {sorted(sizes)} items, and must score the same")
        require(len(encoders) <= 1, f"the members read vectors of {sorted(encoders)}, and a history has those of one")
        self.members, self.weights = dict(members), np.asarray(weights, np.float32)
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

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        members, arrays = [], dict[str, NDArray[Any]]()
        for name, member in self.members.items():
            about, own = member.state()
            members.append({"name": name, "kind": member.kind, "about": {"n_items": member.n_items, **about}})
            arrays |= {f"{name}.{key}": value for key, value in own.items()}
        return {"members": members, "weights": self.weights.tolist()}, arrays

    @classmethod
    def from_state(cls, about: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Self:
        members = {}
        for one in about["members"]:
            prefix = f"{one['name']}."
            own = {key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)}
            members[one["name"]] = Recommender._kinds[one["kind"]].from_state(one["about"], own)
        return cls(members, about["weights"])


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
