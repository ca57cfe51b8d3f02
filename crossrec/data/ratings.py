"""The stars of the training part of a split: what a model that predicts stars may be fitted on."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from crossrec.data.histories import Floats, Histories, Ints
from crossrec.data.pair import Domain, DomainPair, first_mask
from crossrec.data.split import Split
from crossrec.errors import CrossrecError


@dataclass(frozen=True)
class Ratings:
    """R ratings of one domain."""

    users: Ints
    """(R,) rows of the user table."""
    items: Ints
    """(R,) items, 1..I."""
    stars: Floats
    """(R,) never NaN."""
    n_users: int
    """U."""
    n_items: int
    """I."""

    @classmethod
    def within(cls, domain: Domain, readable: NDArray[np.bool_]) -> Self:
        """Those among the readable events (E,) of a domain."""
        if domain.ratings is None:
            at = np.zeros(0, np.int64)
            stars = np.zeros(0, np.float32)
        else:
            at = np.flatnonzero(readable & ~np.isnan(domain.ratings))
            stars = domain.ratings[at]
        users = np.searchsorted(domain.offsets, at, side="right") - 1
        return cls(users, domain.items[at].astype(np.int64), stars, len(domain.counts), domain.n_items)

    @classmethod
    def training(cls, pair: DomainPair, split: Split, which: str = "target") -> Self:
        """Those of the training part of "source" or "target".

        Raises:
            CrossrecError: there are none.
        """
        domain = pair.domain(which)
        ends = split.target_train_end if which == "target" else split.source_train_end
        found = cls.within(domain, first_mask(domain.offsets, ends))
        if not len(found.stars):
            raise CrossrecError(
                f"The {domain.label} domain of {pair.name!r} has no ratings to learn stars from: "
                "choose a recommender that ranks, or import data with ratings."
            )
        return found

    @classmethod
    def shown(cls, items: Ints, stars: Floats | None, n_items: int) -> Self:
        """The ratings inside a batch of histories (B, T): `users` are then rows of the batch, 0..B-1."""
        known = np.zeros(items.shape, bool) if stars is None else (items > 0) & ~np.isnan(stars)
        rows, columns = np.nonzero(known)
        given = np.zeros(0, np.float32) if stars is None else stars[rows, columns]
        return cls(rows.astype(np.int64), items[rows, columns], given, len(items), n_items)

    @classmethod
    def of(cls, histories: Histories, which: str, n_items: int) -> Self:
        """The ratings that a batch of people gave in "source" or "target"."""
        if which == "source":
            return cls.shown(histories.source, histories.source_stars, n_items)
        return cls.shown(histories.target, histories.target_stars, n_items)

    @property
    def mean(self) -> float:
        return float(self.stars.mean(dtype=np.float64))

    def item_means(self) -> Floats:
        """(I+1,) mean stars of each item; the mean of all ratings where it has none."""
        counts = np.bincount(self.items, minlength=self.n_items + 1)
        sums = np.bincount(self.items, self.stars, self.n_items + 1)
        return np.where(counts > 0, sums / np.maximum(counts, 1), self.mean).astype(np.float32)
