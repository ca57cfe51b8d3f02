"""Stars as mean + item + user: the predictor that everything which reads taste has to beat."""

from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from crossrec.data.histories import Histories, Ints, Reviews
from crossrec.data.ratings import Ratings
from crossrec.models.recommender import Floats, Recommender


class Biases(Recommender):
    """r = mu + b_i + b_u, by damped least squares (Koren 2008, section 2.1).

    mu is the mean of the training ratings; b_i and b_u minimise sum (r - mu - b_i - b_u)^2 + lambda_i sum b_i^2 +
    lambda_u sum b_u^2. The b_u of a person is folded in from the stars of their target history when they are scored:
    the mean residual, shrunk by lambda_u, and 0 for somebody without. Source stars are not looked at. `score` is the
    predicted stars, and b_u moves a whole row, so the order of items is the same for everybody.
    """

    kind: ClassVar[str] = "biases"
    uses = frozenset({"target"})
    rates = True

    def __init__(self, mean: float, item: Floats, damping: float):
        """mean: mu; item: (I+1,) b_i, 0 for padding; damping: lambda_u."""
        self.mean, self.item, self.damping = mean, item, damping
        self.n_items = len(item) - 1

    @classmethod
    def fit(cls, ratings: Ratings, item_damping: float = 5.0, user_damping: float = 5.0) -> Self:
        """Solves for the biases of the training part; the dampings are those of `solve`."""
        mean, item, _ = solve(ratings, item_damping, user_damping)
        return cls(mean, item, user_damping)

    def users(self, histories: Histories) -> Floats:
        """(B,) b_u from the stars of the target histories."""
        known = Ratings.of(histories, "target", self.n_items)
        rest = known.stars - self.mean - self.item[known.items]
        return shrunken(known.users, rest, len(histories), self.damping).astype(np.float32)

    def score(self, histories: Histories) -> Floats:
        scores = (self.mean + self.users(histories)[:, None] + self.item[None]).astype(np.float32)
        scores[:, 0] = -np.inf
        return scores

    def rate(self, histories: Histories, items: Ints, reviews: Reviews | None = None) -> Floats:
        return (self.mean + self.users(histories) + self.item[items]).astype(np.float32)

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        return {"mean": self.mean, "damping": self.damping}, {"item": self.item}

    @classmethod
    def from_state(cls, about: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Self:
        return cls(about["mean"], arrays["item"], about["damping"])


def solve(
    ratings: Ratings, item_damping: float = 5.0, user_damping: float = 5.0, most_rounds: int = 200
) -> tuple[float, Floats, Floats]:
    """mu, (I+1,) b_i and (U,) b_u, by alternating between items and users until nothing moves.

    Args:
        ratings: at least one.
        item_damping: lambda_i, in ratings: an item that has so many gets half of its mean residual.
        user_damping: lambda_u.
        most_rounds: the solution is unique, and is reached long before.
    """
    mean = ratings.mean
    item, user = np.zeros(ratings.n_items + 1), np.zeros(ratings.n_users)
    rest = ratings.stars.astype(np.float64) - mean
    for _ in range(most_rounds):
        before = item
        user = shrunken(ratings.users, rest - item[ratings.items], ratings.n_users, user_damping)
        item = shrunken(ratings.items, rest - user[ratings.users], ratings.n_items + 1, item_damping)
        if np.abs(item - before).max() < 1e-6:
            break
    return mean, item.astype(np.float32), user.astype(np.float32)


def shrunken(groups: Ints, values: NDArray[Any], n: int, damping: float) -> NDArray[np.float64]:
    """(R,) values of groups 0..n-1 -> (n,) sum / (count + damping); 0 for a group without values."""
    sums, counts = np.bincount(groups, values, n), np.bincount(groups, minlength=n)
    return sums / np.maximum(counts + damping, 1e-12)
