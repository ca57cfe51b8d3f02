"""Simulated people whose true taste is known, to see what a policy learns from their clicks.

A person looks at the positions of a slate with falling probability, clicks on what they look at with a probability
that rises with their true taste, tires of what they are shown again and again, and may leave after a skip. The
questions that a log cannot answer, such as how far a policy is from the best one, are answered here by playing.

U users, I items, K items of a slate, N slates, S seeds.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from crossrec.data.pair import DomainPair
from crossrec.errors import CrossrecError
from crossrec.feedback.policy import Slate, SoftmaxPolicy
from crossrec.feedback.rewards import RewardTable
from crossrec.runs.demo import TRUTH

Ints = NDArray[np.int64]
Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Habits:
    """How simulated people behave."""

    good: float = 0.5
    """Probability to click on an item that they look at and that is as good as their best hundredth."""
    typical: float = 0.02
    """The same for the median item. A random one has about 0.06, as some are far above the median."""
    examination: float = 0.5
    """They look at position t with probability t^-examination (position-based model, Joachims et al. 2017)."""
    item_fatigue: float = 0.3
    """Lowers the log odds of a click for each recent time that the item was shown,"""
    theme_fatigue: float = 0.05
    """and this for each recent item of its theme."""
    memory: float = 0.7
    """Share of the recent exposures that still counts a slate later."""
    leave: float = 0.05
    """Probability to leave after each skip: what stands below is not looked at, and the next slate is a new visit."""

    def __post_init__(self) -> None:
        for name in ("good", "typical", "memory", "leave"):
            value = getattr(self, name)
            if not 0 <= value <= 1 or (name in ("good", "typical") and value in (0, 1)):
                raise CrossrecError(f"{name} is {value}; give a probability.")
        for name in ("examination", "item_fatigue", "theme_fatigue"):
            if getattr(self, name) < 0:
                raise CrossrecError(f"{name} is {getattr(self, name)}; give a number from 0 up.")
        if self.typical >= self.good:
            raise CrossrecError(f"typical is {self.typical} and good is {self.good}; good must be larger.")


class Policy(Protocol):
    """What can be played."""

    items: Ints
    """(C,) the candidates."""

    def draw(self, rng: np.random.Generator) -> Slate: ...


class Play(NamedTuple):
    """N slates that were shown to one person."""

    items: Ints
    """(N, K)"""
    propensities: Doubles
    """(N, K)"""
    clicked: NDArray[np.bool_]
    """(N, K)"""
    rewards: Doubles
    """(N,) sum over the slate."""
    entropy: Doubles
    """(N,) of the policy before the slate, in nats; 0 for one that draws no lots."""
    visits: int
    """How many times the person came."""


class Fixed:
    """Shows the K best of given scores, always: greedy by a recommender, or by popularity."""

    def __init__(self, items: Ints, scores: NDArray[Any], k: int = 5):
        """items: (C,) candidates; scores: (I+1,)."""
        self.items = np.asarray(items, np.int64)
        at = np.argsort(-scores[self.items], kind="stable")[:k]
        self._slate = Slate(at, self.items[at], np.ones(len(at)))

    def draw(self, rng: np.random.Generator) -> Slate:
        return self._slate


class Best:
    """The oracle: shows what the person would most probably click now, best first.

    It knows taste, fatigue and the last click, and looks one slate ahead: a plan for many slates might do a little
    better.
    """

    def __init__(self, items: Ints, k: int = 5):
        """items: (C,) candidates."""
        self.items, self.k = np.asarray(items, np.int64), k
        self.click: Doubles = np.zeros(0)
        """(I+1,) present click probabilities, which the simulator tells it."""

    def draw(self, rng: np.random.Generator) -> Slate:
        at = np.argsort(-self.click[self.items], kind="stable")[: self.k]
        return Slate(at, self.items[at], np.ones(len(at)))


class SimulatedUsers:
    """The people of a world with known truth."""

    def __init__(
        self,
        affinity: NDArray[Any],
        transition: NDArray[Any] | None = None,
        theme: Ints | None = None,
        habits: Habits | None = None,
        rewards: RewardTable | None = None,
    ):
        """Takes the truth of a world.

        Args:
            affinity: (U, I+1) log weights with which people choose items; column 0 is padding.
            transition: (I+1, I+1) what is added after a click on the item of the row; None is nothing.
            theme: (I+1,) theme of each item, 0, 1, ...; None where every item is its own.
            habits: how they behave.
            rewards: of "click" and "skip".
        """
        self.habits = habits or Habits()
        self.theme = np.arange(affinity.shape[1]) if theme is None else np.asarray(theme, np.int64)
        self.rewards = rewards or RewardTable()
        # An affinity says nothing but differences within a person, so each person has a scale of their own: the median
        # item gets `typical` and the best hundredth `good`.
        inner = np.asarray(affinity[:, 1:], float)
        middle, best = np.quantile(inner, [0.5, 0.99], axis=1)
        low, high = (np.log(p / (1 - p)) for p in (self.habits.typical, self.habits.good))
        slope = (high - low) / np.maximum(best - middle, 1e-9)
        self.slope = slope
        """(U,) log odds of a click per unit of affinity."""
        self.log_odds = slope[:, None] * (np.asarray(affinity, float) - middle[:, None]) + low
        """(U, I+1) of a click on an item that is looked at, without fatigue and before the first click."""
        # Centred, so that a click makes some items better and others worse, and does not raise them all.
        self.transition = None if transition is None else transition - transition[:, 1:].mean(axis=1, keepdims=True)

    @classmethod
    def of(cls, pair: DomainPair, habits: Habits | None = None) -> "SimulatedUsers":
        """The people of a demo dataset, numbered as in its user table.

        Raises:
            CrossrecError: the dataset is not a demo's.
        """
        path = pair.folder / TRUTH
        if not path.exists():
            raise CrossrecError(
                f"The tastes behind {pair.name!r} are not known, so that nobody can be simulated: take a demo dataset."
            )
        truth = load_file(path)
        themes, _ = pair.items("target")["category"].factorize()
        return cls(truth["affinity"], truth["transition"], np.concatenate([[-1], themes]) + 1, habits)

    @property
    def n_items(self) -> int:
        return self.log_odds.shape[1] - 1

    def examination(self, k: int) -> Doubles:
        """(K,) probability that each position is looked at by a person who has not left."""
        return np.arange(1.0, k + 1) ** -np.float64(self.habits.examination)

    def visitor(self, user: int) -> "Visitor":
        """One of them, fresh."""
        return Visitor(self, user)

    def run(self, policy: Policy, user: int, slates: int, rng: np.random.Generator) -> Play:
        """Shows slates to one person. A `SoftmaxPolicy` whose learning rate is above 0 learns from each."""
        learns = isinstance(policy, SoftmaxPolicy) and policy.config.lr > 0
        # The person's chance is not the policy's: two policies meet the same moods of the same person.
        lots, moods = rng.spawn(2)
        visitor = self.visitor(user)
        kept = []
        for _ in range(slates):
            if isinstance(policy, Best):
                policy.click = visitor.click()
            entropy = policy.entropy if isinstance(policy, SoftmaxPolicy) else 0.0
            slate = policy.draw(lots)
            clicked = visitor.look(slate.items, moods)
            rewards = np.where(clicked, self.rewards["click"], self.rewards["skip"])
            if learns:
                policy.step(slate, rewards)  # type: ignore[attr-defined]
            kept.append((slate, clicked, rewards.sum(), entropy))
            visitor.take(slate.items, clicked)
        drawn, clicked_all, total, entropies = zip(*kept, strict=True)
        return Play(
            items=np.stack([one.items for one in drawn]),
            propensities=np.stack([one.propensities for one in drawn]),
            clicked=np.stack(clicked_all),
            rewards=np.array(total),
            entropy=np.array(entropies),
            visits=visitor.visits,
        )

    def value(
        self, build: "Build", users: Sequence[int] | Ints, slates: int, rng: np.random.Generator
    ) -> tuple[float, float]:
        """Mean reward of a slate by roll-out, and its standard error over the people.

        Args:
            build: the policy for a person.
            users: each is played once; name one repeatedly for several roll-outs of the same person.
            slates: N, of each.
            rng: of policies and people.
        """
        means = np.array([self.run(build(int(u), rng), int(u), slates, rng).rewards.mean() for u in users])
        return float(means.mean()), float(means.std(ddof=1) / np.sqrt(len(means))) if len(means) > 1 else float("nan")


class Visitor:
    """One person over the slates of a play: what they were shown lately and clicked last."""

    def __init__(self, people: SimulatedUsers, user: int):
        self.people, self.user = people, user
        self.shown = np.zeros(people.n_items + 1)
        """(I+1,) recent times that each item was shown,"""
        self.by_theme = np.zeros(int(people.theme.max()) + 1)
        """and (G,) items of each theme."""
        self.last, self.visits = 0, 1

    def click(self) -> Doubles:
        """(I+1,) probability of a click on each item, were it looked at now."""
        people, habits = self.people, self.people.habits
        odds = people.log_odds[self.user] - habits.item_fatigue * self.shown
        odds -= habits.theme_fatigue * self.by_theme[people.theme]
        if self.last and people.transition is not None:
            odds += people.slope[self.user] * people.transition[self.last]
        return np.asarray(1 / (1 + np.exp(-odds)))

    def look(self, items: Ints, rng: np.random.Generator) -> NDArray[np.bool_]:
        """(K,) which items of a slate they click on; after a skip they may leave, and come back for the next slate."""
        looks, clicks, leaves = rng.random((3, len(items)))
        looked = looks < self.people.examination(len(items))
        clicked = looked & (clicks < self.click()[items])
        gone = np.flatnonzero(looked & ~clicked & (leaves < self.people.habits.leave))
        if len(gone):
            clicked[gone[0] + 1 :] = False
            self.visits += 1
        return clicked

    def take(self, items: Ints, clicked: NDArray[np.bool_]) -> None:
        """Remembers a slate (K,) and which of it was clicked."""
        self.shown *= self.people.habits.memory
        self.by_theme *= self.people.habits.memory
        self.shown[items] += 1
        np.add.at(self.by_theme, self.people.theme[items], 1)
        if clicked.any():
            self.last = int(items[clicked][-1])

    def expected(self, items: Ints) -> float:
        """Mean number of clicks on a slate (K,) if it were shown now and they did not leave before its end."""
        return float(self.people.examination(len(items)) @ self.click()[items])

    def copy(self) -> "Visitor":
        """The same person at the same moment."""
        other = Visitor(self.people, self.user)
        other.shown, other.by_theme = self.shown.copy(), self.by_theme.copy()
        other.last, other.visits = self.last, self.visits
        return other


Build = Callable[[int, np.random.Generator], Policy]
"""Makes a policy for a user; what it draws for that, such as candidates, it takes from the generator."""
