"""Who benefits: one recommender against another, in slices of the people who were tested.

Q questions, one a user.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crossrec.evaluation.statistics import Paired, holm, paired, rounded

FEW = 30
"""Slices with fewer users are shown, and not tested."""
ALARM = 0.05
"""Level at which a slice that is hurt is told, after Holm's correction over the slices of its kind."""
KINDS = {
    "target": "By events known in the target domain",
    "source": "By events known in the source domain",
    "popularity": "By how often their hidden item was taken",
}
"""Ways of slicing."""
EDGES = {"target": (0, 1, 2, 3, 5, 10, 20), "source": (0, 1, 3, 5, 10, 20)}
"""First number of events of each slice."""
POPULAR = {
    "most": "the most taken tenth of the items",
    "middle": "the next four tenths",
    "least": "the less taken half",
    "never": "items never taken in training",
}


@dataclass(frozen=True)
class Slice:
    """The users of one slice, and what the difference is for them."""

    kind: str
    """A key of `KINDS`."""
    label: str
    """Such as "3 to 4", of events, or a value of `POPULAR`."""
    before: float
    """Mean NDCG@10 of the baseline."""
    after: float
    difference: Paired
    """p is NaN below `FEW` users; p_holm is over the slices of the kind."""

    @property
    def users(self) -> int:
        return self.difference.users

    @property
    def hurt(self) -> bool:
        """Whether the slice is harmed beyond chance."""
        return self.difference.value.mean < 0 and self.difference.p_holm <= ALARM

    @property
    def helped(self) -> bool:
        return self.difference.value.mean > 0 and self.difference.p_holm <= ALARM

    def whom(self, source: str, target: str) -> str:
        """The users in words."""
        if self.kind == "popularity":
            return f"people whose hidden item is among {self.label}"
        domain = source if self.kind == "source" else target
        events = "no event" if self.label == "0" else "1 event" if self.label == "1" else f"{self.label} events"
        return f"people with {events} in {domain}"

    def to_dict(self) -> dict[str, Any]:
        about = asdict(self.difference)
        numbers = {
            k: None if np.isnan(v) else round(float(v), 6) for k, v in about.items() if k not in ("users", "value")
        }
        return {
            "kind": self.kind,
            "label": self.label,
            "users": self.users,
            "before": round(self.before, 6),
            "after": round(self.after, 6),
            **rounded(self.difference.value),
            **numbers,
        }


def slices(
    before: pd.DataFrame,
    after: pd.DataFrame,
    popularity: NDArray[Any] | None = None,
    metric: str = "ndcg@10",
    seed: int = 0,
) -> list[Slice]:
    """The difference of a metric in every slice of every kind that has anybody.

    Args:
        before: per-user table of the baseline; after: of the other, for the same users in the same order.
        popularity: (Q,) key of `POPULAR` of what each user's hidden items are; None where it is not known.
        metric: which.
        seed: of the resampling.
    """
    out = []
    for kind, of in members(before, popularity).items():
        found = []
        for label, rows in of.items():
            gain = (after[metric] - before[metric]).to_numpy()[rows]
            (one,) = paired(gain[None], seed)
            means = float(before[metric].to_numpy()[rows].mean()), float(after[metric].to_numpy()[rows].mean())
            found.append(Slice(kind, label, *means, one))
        out += _corrected(found)
    return out


def members(table: pd.DataFrame, popularity: NDArray[Any] | None = None) -> dict[str, dict[str, NDArray[np.int64]]]:
    """{kind: {label: rows of the table}} of the slices that have anybody."""
    out: dict[str, dict[str, NDArray[np.int64]]] = {}
    for kind, edges in EDGES.items():
        which = np.searchsorted(edges, table[f"n_{kind}"].to_numpy(), side="right") - 1
        labels = [_label(first, following) for first, following in zip(edges, (*edges[1:], None), strict=True)]
        out[kind] = {label: rows for i, label in enumerate(labels) if len(rows := np.flatnonzero(which == i))}
    if popularity is not None:
        names = {key: np.flatnonzero(popularity == key) for key in POPULAR}
        out["popularity"] = {POPULAR[key]: rows for key, rows in names.items() if len(rows)}
    return {kind: of for kind, of in out.items() if len(of) > 1}


def popularity_of(
    items: NDArray[np.int64], question: NDArray[np.int64], n: int, counts: NDArray[np.int64]
) -> NDArray[Any]:
    """(Q,) how popular the hidden items of each question are: a key of `POPULAR`, of the mean standing of several.

    Args:
        items: (R,) hidden items of all questions; question: (R,) which question each belongs to.
        n: Q.
        counts: (I+1,) training events of each item.
    """
    # An item's standing: the share of the catalogue that is taken more often; equal counts stand together.
    ordered = np.sort(counts[1:])
    standing = 1 - np.searchsorted(ordered, counts, side="right") / max(1, len(ordered))
    mean = np.bincount(question, standing[items], n) / np.maximum(np.bincount(question, minlength=n), 1)
    taken = np.bincount(question, counts[items], n)
    return np.select([taken == 0, mean < 0.1, mean < 0.5], ["never", "most", "middle"], "least")


def _corrected(found: list[Slice]) -> list[Slice]:
    """With p values only where a slice has enough users, corrected over those."""
    p = [one.difference.p if one.users >= FEW else float("nan") for one in found]
    return [
        replace(one, difference=replace(one.difference, p=alone, p_holm=float(together)))
        for one, alone, together in zip(found, p, holm(p), strict=True)
    ]


def _label(first: int, following: int | None) -> str:
    if following is None:
        return f"{first} or more"
    return str(first) if following == first + 1 else f"{first} to {following - 1}"
