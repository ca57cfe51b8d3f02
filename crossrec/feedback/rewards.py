"""What an action of a person is worth, and what was expected."""

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from crossrec.errors import CrossrecError, nearest

Doubles = NDArray[np.float64]

DEFAULT_REWARDS: Mapping[str, float] = MappingProxyType(
    {"click": 0.3, "skip": 0.0, "like": 1.0, "purchase": 1.0, "add_to_cart": 0.7, "dislike": -0.5}
)
"""Reward of each action."""


class RewardTable:
    """The reward of each action."""

    def __init__(self, values: Mapping[str, float] = DEFAULT_REWARDS):
        """values: reward by action; what it names is all that is known.

        Raises:
            CrossrecError: it is empty, or a reward is not a finite number.
        """
        if not values:
            raise CrossrecError("A table of rewards names at least one action.")
        for action, value in values.items():
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
                raise CrossrecError(f"The reward of {action!r} is {value!r}; give a finite number.")
        self.values = {str(action): float(value) for action, value in values.items()}

    def __getitem__(self, action: str) -> float:
        """The reward of an action.

        Raises:
            CrossrecError: the action is not in the table; the nearest is named.
        """
        if action not in self.values:
            raise CrossrecError(f"There is no reward for the action {action!r}.{nearest(action, self.values)}")
        return self.values[action]

    def of(self, actions: Sequence[str]) -> Doubles:
        """(K,) rewards of K actions; raises as for a single one."""
        return np.array([self[action] for action in actions])


class Baseline:
    """Exponential moving averages of the rewards, one for each position of a slate.

    People look at the first position more than at the last, so that one average for all would call every item at the
    top good. With one position it is the plain baseline.
    """

    def __init__(self, positions: int = 1, momentum: float = 0.9):
        """Raises CrossrecError where the momentum is not from 0 to 1 (exclusive) or there is no position."""
        if not 0 <= momentum < 1:
            raise CrossrecError(f"The momentum of the baseline is {momentum:g}; give a number from 0 to below 1.")
        if positions < 1:
            raise CrossrecError(f"The baseline has {positions} positions; give at least 1.")
        self.momentum, self.values = momentum, np.zeros(positions)

    def update(self, rewards: Doubles) -> Doubles:
        """Takes up the rewards of the first len(rewards) positions and returns the averages there.

        The advantage is the reward minus this new average, which is the momentum times the reward minus the old one:
        it stays free of bias, up to that factor.
        """
        n = len(rewards)
        self.values[:n] = self.momentum * self.values[:n] + (1 - self.momentum) * rewards
        return self.values[:n].copy()
