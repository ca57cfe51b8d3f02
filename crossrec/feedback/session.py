"""A session of the loop: a slate is shown, somebody reacts, the policy learns, the next slate comes; all of it logged.

One session belongs to one person, real or simulated. Every slate goes to the feedback log before anybody sees it and
every reaction before the next slate is drawn, so that what has been seen is never lost. A turn can be taken back: the
policy, its chance and the simulated person are again what they were, and the log keeps both, the reaction and that it
was undone.

K items of a slate, N candidates.
"""

import uuid
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from crossrec.errors import CrossrecError
from crossrec.feedback.demo import Starts
from crossrec.feedback.log import FeedbackLog, LoggedSlate
from crossrec.feedback.policy import Doubles, PolicyConfig, Slate, SoftmaxPolicy, Step
from crossrec.feedback.rewards import RewardTable
from crossrec.feedback.simulator import Visitor
from crossrec.models.recommender import Floats

SKIP = "skip"


@dataclass(frozen=True)
class About:
    """Whose session it is, for the log."""

    dataset: str
    run: str
    user: str | None = None
    """Id in the dataset; None for somebody who is not in it."""


class _Moment(NamedTuple):
    """What a turn starts from, to go back to."""

    number: int
    """Of the slate in the log."""
    slate: Slate
    state: dict[str, Any]
    """Of the policy."""
    lots: dict[str, Any]
    moods: dict[str, Any]
    """Of the two generators, once the slate is drawn."""
    visitor: Visitor | None


@dataclass(frozen=True)
class Turn:
    """A slate that was answered, and what the policy made of it."""

    number: int
    """Of the slate in the log."""
    actions: tuple[str, ...]
    """(K,)"""
    step: Step
    best: float | None
    """Expected reward of the best slate, and"""
    expected: float | None
    """of this one, by the true taste of a simulated person; None where nobody knows it."""
    by_themselves: bool
    """Whether the simulated person reacted, and not who sits before the screen."""

    @property
    def reward(self) -> float:
        return float(self.step.rewards.sum())

    @property
    def regret(self) -> float | None:
        """Expected reward that a slate by somebody who knows the person would have had on top."""
        return None if self.best is None or self.expected is None else self.best - self.expected


class Session:
    """The loop with one person."""

    def __init__(
        self,
        starts: Starts,
        scores: Floats,
        about: About,
        config: PolicyConfig | None = None,
        rewards: RewardTable | None = None,
        log: FeedbackLog | None = None,
        visitor: Visitor | None = None,
        seed: int = 0,
    ):
        """Draws the first slate, and logs it.

        Args:
            starts: whose candidates and item features are used.
            scores: (I+1,) of the person, -inf for what they have.
            about: goes to the log.
            config: how the policy explores and learns.
            rewards: of the actions; it must have "skip".
            log: where it is written; None takes that of the artifacts folder.
            visitor: a simulated person whose true taste is known, if it is one.
            seed: of candidates, slates, and the simulated person's moods.

        Raises:
            CrossrecError: there are too few items for a slate, "skip" has no reward, or the log cannot be written.
        """
        self.rewards = rewards or RewardTable()
        self.skip = self.rewards[SKIP]
        self.about, self.log, self.visitor = about, log or FeedbackLog(), visitor
        self.name = uuid.uuid4().hex
        """Of the session in the log."""
        candidates, self._lots, self._moods = (np.random.default_rng([seed, part]) for part in range(3))
        self.policy: SoftmaxPolicy = starts.policy(scores, candidates, config or PolicyConfig())
        self._allowed = np.flatnonzero(np.isfinite(scores))
        self.start_probabilities = self.policy.probabilities
        """(N,) before anything was learned."""
        self.turns: list[Turn] = []
        self._moments: list[_Moment] = []
        self._draw()

    @property
    def number(self) -> int:
        """Of the present slate in the log: what is answered must be what was seen."""
        return self._moments[-1].number

    @property
    def slate(self) -> Slate:
        """What is shown now."""
        return self._moments[-1].slate

    # --- playing --------------------------------------------------------------------------------------

    def react(self, position: int | None, action: str = "click", number: int | None = None) -> Turn | None:
        """Takes a reaction to one item, or to none; the others of the slate were skipped. The policy learns from it.

        Args:
            position: of the item, from 0; None skips the whole slate.
            action: one of the table of rewards.
            number: of the slate that was seen; where another one stands now, the reaction is one too many, such as the
                second of a double press, and nothing happens.

        Returns:
            The turn; None where nothing happened.

        Raises:
            CrossrecError: there is no such position or action, or the log cannot be written; the slate stays.
        """
        if number is not None and number != self.number:
            return None
        k = len(self.slate.items)
        if position is not None and not 0 <= position < k:
            raise CrossrecError(f"The slate has no position {position}: give one from 0 to {k - 1}.")
        actions = [SKIP] * k
        if position is not None:
            actions[position] = action
        return self._take(actions, by_themselves=False)

    def let(self, slates: int = 1) -> list[Turn]:
        """Lets the simulated person react to so many slates by their true taste.

        Raises:
            CrossrecError: nobody knows the person's taste, or the log cannot be written.
        """
        found = []
        for _ in range(slates):
            if self.visitor is None:
                raise CrossrecError("Only a person of the demo, whose true taste is known, can react by themselves.")
            clicked = self.visitor.look(self.slate.items, self._moods)
            found.append(self._take(["click" if one else SKIP for one in clicked], by_themselves=True))
        return found

    def undo(self) -> bool:
        """Takes the last turn back, and returns whether there was one; its slate is shown again.

        The slate that came after it has been seen, and stays in the log without a reaction.

        Raises:
            CrossrecError: the log cannot be written; nothing has changed then.
        """
        if not self.turns:
            return False
        before = self._moments[-2]
        self.log.undo(self.name, before.number)
        del self.turns[-1], self._moments[-1]
        self._back_to(before)
        return True

    def _back_to(self, moment: _Moment) -> None:
        self.policy.restore(moment.state)
        self._lots.bit_generator.state, self._moods.bit_generator.state = moment.lots, moment.moods
        self.visitor = moment.visitor and moment.visitor.copy()

    def _draw(self) -> None:
        slate = self.policy.draw(self._lots)
        shown = LoggedSlate(
            session=self.name,
            policy=f"softmax over {self.about.run}",
            version=str(self.policy.updates),
            candidates=self.policy.items.tolist(),
            items=slate.items.tolist(),
            propensities=np.minimum(slate.propensities, 1.0).tolist(),
            user=self.about.user,
            dataset=self.about.dataset,
            run=self.about.run,
        )
        number = self.log.show(shown)
        lots, moods = (dict(one.bit_generator.state) for one in (self._lots, self._moods))
        visitor = self.visitor and self.visitor.copy()
        self._moments.append(_Moment(number, slate, self.policy.state(), lots, moods, visitor))

    def _take(self, actions: list[str], by_themselves: bool) -> Turn:
        slate, number = self.slate, self.number
        rewards = self.rewards.of(actions)
        best, expected = self._known(slate)
        reactions = [(place, *one) for place, one in enumerate(zip(actions, rewards.tolist(), strict=True))]
        self.log.react_all(self.name, number, reactions)
        turn = Turn(number, tuple(actions), self.policy.step(slate, rewards), best, expected, by_themselves)
        if self.visitor is not None:
            self.visitor.take(slate.items, rewards > self.skip)  # what was disliked draws nobody to its like
        try:
            self._draw()
        except CrossrecError:  # a slate that is not in the log is not shown, and the turn did not happen
            self._back_to(self._moments[-1])
            with suppress(CrossrecError):
                self.log.undo(self.name, number)
            raise
        self.turns.append(turn)
        return turn

    def _known(self, slate: Slate) -> tuple[float | None, float | None]:
        """Expected rewards of the best slate of what may be shown, and of this one, where the taste is known."""
        if self.visitor is None:
            return None, None
        k, worth = len(slate.items), self.rewards["click"] - self.skip
        best = self._allowed[np.argsort(-self.visitor.click()[self._allowed], kind="stable")[:k]]
        best_worth, own_worth = (k * self.skip + worth * self.visitor.expected(one) for one in (best, slate.items))
        return best_worth, own_worth

    # --- looking at it --------------------------------------------------------------------------------

    def moment(self, turn: int) -> tuple[dict[str, Any], Slate]:
        """State of the policy before a turn (from 0, or from the end), and its slate: what `replay` starts from."""
        at = range(len(self.turns))[turn]
        return self._moments[at].state, self._moments[at].slate

    def replay(
        self, turn: int, config: PolicyConfig | None = None, rewards: Doubles | None = None
    ) -> tuple[Step, dict[str, Any]]:
        """What the update of a turn would have been with other constants or rewards; the session stays as it is.

        Args:
            turn: from 0, or from the end.
            config: of the update; k and item_bias stay as they are.
            rewards: (K,) of the slate's items.

        Returns:
            The step, and the state of the policy before it.
        """
        state, slate = self.moment(turn)
        policy = self.policy.with_config(config or self.policy.config)
        policy.restore(state)
        given = self.turns[turn].step.rewards if rewards is None else rewards
        return policy.step(policy.slate(slate.at), given), state

    def describe(self) -> dict[str, Any]:
        """What repeats the session, in plain values."""
        return {"session": self.name, **asdict(self.about), "policy": asdict(self.policy.config)}


def textbook(config: PolicyConfig) -> SoftmaxPolicy:
    """The smallest policy that learns: two items with equal scores, one of which is shown."""
    return SoftmaxPolicy(np.array([1, 2]), np.zeros(3), None, replace(config, k=1, item_bias=True))
