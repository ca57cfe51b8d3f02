"""Stars of both domains in one factorisation: a person has one bias and one vector, whatever the domain.

E source events, B people, I items, F factors, N people with training events in both domains.
"""

from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from crossrec.data.histories import Histories, Ints
from crossrec.data.ratings import Ratings
from crossrec.models.biases import shrunken
from crossrec.models.factors import Doubles, Factors, normal_equations, solved
from crossrec.models.mapping import Carried
from crossrec.models.recommender import Floats

SETTLES = 5.0
"""Target ratings with which a person counts half as much for what carries over as one with very many."""


class CollectiveFactors(Carried):
    """r = mu + b_i + b_u + <p_u, q_i> in each domain, with b_u and p_u shared (Singh and Gordon, KDD 2008).

    p_u tells, too, which source items were taken at all: x_ui = <p_u, y_i>, with x the row of a person scaled to length
    1, less the column means. On stars alone hardly a factor lasts, and what people take says something of how strict
    they are. Factors have deviation 1 over people, so that ridges mean the same for data of any size.

    Somebody new is folded in from the source alone, where b_u is a shrunken mean and p_u a ridge regression. Then it is
    carried over: their bias in the target is <c, [b_u, 1, p_u]>. c is a ridge regression over people of both domains,
    held to (1, 0, ..., 0): as generous in one domain as in the other.
    """

    kind: ClassVar[str] = "collective-factors"

    def __init__(self, source: Factors, target: Factors, takes: Floats, usual: Floats, taken: float, carry: Floats):
        """What is fitted.

        Args:
            source: mu, b_i, q_i of the source, and the damping of b_u.
            target: likewise; its damping is that of what target stars add for a person who has some.
            takes: (I+1, F) y_i.
            usual: (F,) sum over source items of y_i times the mean of x_ui before it is taken away.
            taken: weight of the takes against stars.
            carry: (F+2,) c.
        """
        super().__init__(target)
        self.source, self.takes, self.usual, self.taken, self.carry = source, takes, usual, taken, carry

    @classmethod
    def fit(
        cls,
        source: Ratings,
        target: Ratings,
        events: tuple[Ints, Ints, Floats],
        factors: int = 10,
        ridge: float = 400.0,
        damping: float = 1.5,
        taken: float = 300.0,
        carry_ridge: float = 50.0,
        rounds: int = 12,
        seed: int = 0,
    ) -> Self:
        """Factorises the training ratings of both domains.

        Args:
            source, target: of the same people, at least one rating each.
            events: people, items and stars (E,) of the source, with NaN for an event without stars.
            factors: F.
            ridge: lambda of the item vectors, in ratings.
            damping: lambda of all biases, in ratings.
            taken: see above.
            carry_ridge: lambda of c, in people.
            rounds: of alternating least squares.
            seed: of the first people's vectors.
        """
        ratings, (*biases, bias) = (source, target), shared_biases(source, target, damping)
        rests = [
            one.stars - one.mean - items[one.items] - bias[one.users]
            for one, items in zip(ratings, biases, strict=True)
        ]
        x = _Takes(events[0], events[1], source.n_users, source.n_items)

        def items_of(people: Doubles) -> tuple[list[Doubles], Doubles]:
            """q_i of both domains and y_i, given p_u, which is brought to deviation 1."""
            people = people / (np.sqrt(np.mean(people[x.there] ** 2, axis=0)) + 1e-12)
            found = [
                solved(*normal_equations(one.items, one.users, rest, people, one.n_items + 1), ridge)
                for one, rest in zip(ratings, rests, strict=True)
            ]
            return found, x.items(people)

        vectors, takes = items_of(np.random.default_rng(seed).normal(size=(source.n_users, factors)))
        for _ in range(rounds):
            gram, right = taken * takes.T @ takes, taken * x.times(takes)
            for one, rest, items in zip(ratings, rests, vectors, strict=True):
                more = normal_equations(one.users, one.items, rest, items, one.n_users)
                gram, right = gram + more[0], right + more[1]
            vectors, takes = items_of(solved(gram, right, 1.0))
        known = [
            Factors(one.mean, items, q.astype(np.float32), ridge, damping, 0.0)
            for one, items, q in zip(ratings, biases, vectors, strict=True)
        ]
        told = takes.astype(np.float32), (x.mean @ takes).astype(np.float32)
        held = np.eye(1, factors + 2, dtype=np.float32)[0]
        model = cls(known[0], known[1], *told, taken, held)
        return cls(known[0], known[1], *told, taken, model._carried(target, events, held, carry_ridge))

    def mapped(self, histories: Histories) -> Floats:
        rows, columns = np.nonzero(histories.source)
        none = np.full(len(rows), np.nan, np.float32)
        stars = none if histories.source_stars is None else histories.source_stars[rows, columns]
        told = self.fold_in(rows, histories.source[rows, columns], stars, len(histories))
        return np.concatenate([told[:, 2:], (told @ self.carry)[:, None]], axis=1).astype(np.float32)

    def fold_in(self, people: Ints, items: Ints, stars: Floats, n: int) -> Doubles:
        """(n, F+2) [b_u, 1, p_u] of n people from the people, items and stars (E,), NaN without, of source events."""
        rated = ~np.isnan(stars)
        owner, of = people[rated], items[rated]
        rest = (stars[rated] - self.source.expected(of)).astype(np.float64)
        bias = shrunken(owner, rest, n, self.source.damping)
        gram, right = normal_equations(owner, of, rest - bias[owner], self.source.vectors.astype(np.float64), n)
        takes = self.takes.astype(np.float64)
        x = _Takes(people, items, n, len(takes) - 1)
        told = x.rows @ takes - x.there[:, None] * self.usual
        factors = solved(gram + self.taken * takes.T @ takes, right + self.taken * told, 1.0)
        return np.concatenate([bias[:, None], np.ones((n, 1)), factors], axis=1)

    def _carried(self, target: Ratings, events: tuple[Ints, Ints, Floats], held: Floats, ridge: float) -> Floats:
        """(F+2,) c: what a person's target ratings are beside the rest of the formula, on what the source tells."""
        told = self.fold_in(*events, target.n_users)
        rest = target.stars - self.target.expected(target.items)
        rest = rest - (told[target.users, 2:] * self.target.vectors[target.items]).sum(axis=1)
        number = np.bincount(target.users, minlength=target.n_users)
        both = np.flatnonzero((number > 0) & (np.bincount(events[0], minlength=target.n_users) > 0))
        told, number = told[both], number[both]  # (N, F+2), (N,)
        wanted = np.bincount(target.users, rest, target.n_users)[both] / number - told @ held
        weighted = told * (number / (number + SETTLES))[:, None]
        gram = weighted.T @ told + ridge * np.eye(len(held))
        return (held + np.linalg.solve(gram, weighted.T @ wanted)).astype(np.float32)

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        (one, arrays), (two, more) = self.source.state("source"), self.target.state("target")
        own = {"takes": self.takes, "usual": self.usual, "carry": self.carry}
        return one | two | {"taken": self.taken}, arrays | more | own

    @classmethod
    def from_state(cls, about: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Self:
        source, target = (Factors.from_state(which, about, arrays) for which in ("source", "target"))
        return cls(source, target, arrays["takes"], arrays["usual"], about["taken"], arrays["carry"])


class _Takes:
    """x: which source items n people took, each row of length 1; less the column means where a person took any."""

    def __init__(self, people: Ints, items: Ints, n: int, n_items: int):
        counts = np.bincount(people, minlength=n)
        values = 1 / np.sqrt(counts[people])
        self.rows = csr_array((values, (people, items)), (n, n_items + 1))
        self.there = counts > 0
        self.mean: Doubles = np.asarray(self.rows.sum(axis=0)) / max(int(self.there.sum()), 1)
        """(I+1,) of the columns, over the people who took any."""

    def times(self, items: Doubles) -> Doubles:
        """(n, F) x times vectors of items (I+1, F)."""
        return np.asarray(self.rows @ items - self.there[:, None] * (self.mean @ items))

    def items(self, people: Doubles) -> Doubles:
        """(I+1, F) y, the ridge regressions of the columns of x on the people's vectors (n, F)."""
        there = people * self.there[:, None]
        right = self.rows.T @ there - np.outer(self.mean, there.sum(axis=0))
        return np.linalg.solve(there.T @ there + np.eye(people.shape[1]), right.T).T


def shared_biases(
    source: Ratings, target: Ratings, damping: float, most_rounds: int = 200
) -> tuple[Floats, Floats, Floats]:
    """(I+1,) b_i of each domain and (U,) b_u of both, by alternating until nothing moves; `biases.solve` for two."""
    both, user = (source, target), np.zeros(source.n_users)
    items = [np.zeros(one.n_items + 1) for one in both]
    rests = [one.stars.astype(np.float64) - one.mean for one in both]
    users = np.concatenate([one.users for one in both])
    for _ in range(most_rounds):
        before = user
        left = [rest - item[one.items] for one, rest, item in zip(both, rests, items, strict=True)]
        user = shrunken(users, np.concatenate(left), source.n_users, damping)
        items = [
            shrunken(one.items, rest - user[one.users], one.n_items + 1, damping)
            for one, rest in zip(both, rests, strict=True)
        ]
        if np.abs(user - before).max() < 1e-6:
            break
    return items[0].astype(np.float32), items[1].astype(np.float32), user.astype(np.float32)
