"""Biased matrix factorisation of one domain's stars, and the folding in of people whom it has not seen.

R ratings, B people, T items in a history, I items, F factors.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from crossrec.data.histories import Ints
from crossrec.data.ratings import Ratings
from crossrec.models.biases import shrunken, solve
from crossrec.models.recommender import Floats

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Factors:
    """r = mu + b_i + b_u + <p_u, q_i>: biases by damped least squares, then factors of what they leave, by ALS.

    A person's vector is [p_u, b_u], (F+1,), with all items held fixed: p_u is a ridge regression of the residuals on
    q_i, so that somebody new is an argument and no retraining.
    """

    mean: float
    """mu."""
    item_bias: Floats
    """(I+1,) b_i, 0 for padding."""
    vectors: Floats
    """(I+1, F) q_i, zeros for padding."""
    ridge: float
    """lambda of p_u and q_i, in ratings."""
    damping: float
    """lambda of b_u, in ratings."""
    unrated: float
    """Stars above expectation that an item without stars counts as: who took it is taken to have liked it somewhat."""

    @classmethod
    def fit(
        cls,
        ratings: Ratings,
        factors: int = 10,
        ridge: float = 10.0,
        damping: float = 5.0,
        unrated: float = 0.5,
        rounds: int = 15,
        seed: int = 0,
    ) -> Self:
        """Factorises the training ratings of a domain.

        Args:
            ratings: at least one.
            factors: F.
            ridge, damping, unrated: see the fields; `damping` is that of the item biases too.
            rounds: of alternating least squares.
            seed: of the first item vectors.
        """
        mean, item_bias, user_bias = solve(ratings, damping, damping)
        rest = ratings.stars - mean - item_bias[ratings.items] - user_bias[ratings.users]
        items = np.random.default_rng(seed).normal(0, 0.1, (ratings.n_items + 1, factors))
        for _ in range(rounds):
            users = _regress(ratings.users, ratings.items, rest, items, ratings.n_users, ridge)
            items = _regress(ratings.items, ratings.users, rest, users, ratings.n_items + 1, ridge)
        return cls(mean, item_bias, items.astype(np.float32), ridge, damping, unrated)

    @property
    def width(self) -> int:
        """F+1, of a person's vector."""
        return self.vectors.shape[1] + 1

    def fold_in(self, items: Ints, stars: Floats | None) -> Floats:
        """(B, F+1) vectors of people from their items (B, T) and stars (B, T); zeros for a person without items."""
        rows, columns = np.nonzero(items)
        taken = items[rows, columns]
        known = Ratings.shown(items, stars, len(self.item_bias) - 1)
        bias = shrunken(known.users, known.stars - self.expected(known.items), len(items), self.damping)
        given = np.full(len(rows), np.nan, np.float32) if stars is None else stars[rows, columns]
        rest = np.where(np.isnan(given), self.unrated, given - self.expected(taken) - bias[rows])
        factors = _regress(rows, taken, rest, self.vectors.astype(np.float64), len(items), self.ridge)
        return np.concatenate([factors, bias[:, None]], axis=1).astype(np.float32)

    def expected(self, items: Ints) -> Floats:
        """mu + b_i of items."""
        return self.mean + self.item_bias[items]

    def keys(self) -> Floats:
        """(I+1, F+1) [q_i, 1]: what a person's vector is multiplied with."""
        return np.concatenate([self.vectors, np.ones((len(self.vectors), 1), np.float32)], axis=1)

    def state(self, prefix: str) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        numbers = {name: getattr(self, name) for name in ("mean", "ridge", "damping", "unrated")}
        return {prefix: numbers}, {f"{prefix}.item_bias": self.item_bias, f"{prefix}.vectors": self.vectors}

    @classmethod
    def from_state(cls, prefix: str, about: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Self:
        return cls(item_bias=arrays[f"{prefix}.item_bias"], vectors=arrays[f"{prefix}.vectors"], **about[prefix])


def _regress(rows: Ints, columns: Ints, values: NDArray[Any], others: Doubles, n: int, ridge: float) -> Doubles:
    """(n, F) ridge regressions, one a row: values (R,) of the row on the vectors (M, F) of its columns."""
    return solved(*normal_equations(rows, columns, values, others, n), ridge)


def normal_equations(
    rows: Ints, columns: Ints, values: NDArray[Any], others: Doubles, n: int
) -> tuple[Doubles, Doubles]:
    """The sums over each row's values of q q' (n, F, F) and of value times q (n, F), q the vector of the column."""
    width = others.shape[1]
    shape = (n, len(others))
    outer = (others[:, :, None] * others[:, None, :]).reshape(len(others), -1)  # (M, F*F)
    gram = np.asarray(csr_array((np.ones(len(rows)), (rows, columns)), shape) @ outer).reshape(n, width, width)
    return gram, np.asarray(csr_array((values.astype(np.float64), (rows, columns)), shape) @ others)


def solved(gram: Doubles, right: Doubles, ridge: float) -> Doubles:
    """(n, F) solutions of (gram + ridge I) x = right."""
    found = np.linalg.solve(gram + ridge * np.eye(gram.shape[-1]), right[..., None])[..., 0]
    return np.asarray(found, np.float64)
