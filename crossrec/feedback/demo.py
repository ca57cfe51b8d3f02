"""Policies compared on the people of a demo world: what learning from clicks brings, beside what it starts from.

S seeds, N slates. A session learns one person's taste: each seed is one person, for whom every policy plays N slates.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossrec.data.pair import DomainPair
from crossrec.errors import CrossrecError
from crossrec.evaluation.statistics import Interval, mean_intervals, rounded
from crossrec.feedback.policy import PolicyConfig, SoftmaxPolicy, candidates, low_rank, z_scores
from crossrec.feedback.simulator import Best, Build, Fixed, Habits, Play, Policy, SimulatedUsers
from crossrec.models.recommender import Floats
from crossrec.recommend.person import Person
from crossrec.recommend.recommender import RunRecommender
from crossrec.runs.folder import Run, latest, open_run
from crossrec.training.loop import OnEvent

Ints = NDArray[np.int64]
Doubles = NDArray[np.float64]

TOP, OTHERS = 100, 100
"""Candidates: the best by score, and others at random."""
WIDTH = 32
"""D, features of an item: the first principal components of its text vector."""
BLOCKS = 25
"""Points of a reward curve."""
STARTS = ("transfer-sasrec", "target-sasrec", "popularity")
"""Recipes from whose scores a policy may start, the preferred one first."""


@dataclass(frozen=True)
class Comparison:
    """Several policies with the same people: seed s is one person, played N slates by each policy."""

    users: list[int]
    """(S,)"""
    rewards: dict[str, Doubles]
    """(S, N) of each policy."""
    entropy: dict[str, Doubles]
    """(S, N) nats."""
    measures: dict[str, dict[str, Doubles]]
    """(S,) of each policy: "reward" (mean of a slate), "late_reward" (mean of the last fifth), "regret" (reward of the
    policy "oracle" minus this; absent without one), "entropy" (mean), "late_entropy", "items" (distinct ones in the
    play), "themes" (mean distinct ones in a slate), "visit" (slates between two departures)."""

    def intervals(self, policy: str) -> dict[str, Interval]:
        """Mean and bootstrap interval over the seeds of each measure."""
        own = self.measures[policy]
        return dict(zip(own, mean_intervals(np.stack(list(own.values()))), strict=True))

    def gain(self, policy: str, over: str, measure: str = "reward") -> tuple[Interval, float]:
        """Paired difference of two policies with its interval, and the difference as a share of the second's mean."""
        base = self.measures[over][measure]
        (found,) = mean_intervals((self.measures[policy][measure] - base)[None])
        return found, found.mean / float(base.mean()) if base.mean() else float("nan")

    def curve(self, policy: str, block: int) -> list[Interval]:
        """Mean reward of each block of so many slates, with its interval over the seeds; a last part is left out."""
        rewards = self.rewards[policy]
        blocks = rewards.shape[1] // block
        return mean_intervals(rewards[:, : blocks * block].reshape(len(rewards), blocks, block).mean(axis=2).T)


def compare(
    people: SimulatedUsers,
    builds: Mapping[str, Build],
    users: Sequence[int] | Ints,
    seeds: Sequence[int],
    slates: int,
    on_event: OnEvent = lambda event: None,
) -> Comparison:
    """Plays every policy with the same person for each seed.

    Args:
        people: whose truth is known.
        builds: how each policy is made for a person; one named "oracle" is what regret is measured against.
        users: from whom a seed takes its person.
        seeds: S of them; the same ones give the same numbers.
        slates: N, of each policy and seed.
        on_event: gets {"event": "play", "step", "steps", "seed"} after each seed.

    Raises:
        CrossrecError: there is nothing to play.
    """
    if not len(seeds) or slates < 1 or not len(users) or not builds:
        raise CrossrecError("A comparison wants at least one policy, one person, one seed and one slate.")
    met: list[int] = []
    plays: dict[str, list[Play]] = {name: [] for name in builds}
    for step, seed in enumerate(seeds, 1):
        met.append(int(np.random.default_rng(seed).choice(users)))
        for name, build in builds.items():
            # The same for all: what two policies draw for their candidates, and how the person behaves, is the same.
            rng = np.random.default_rng([seed, 1])
            plays[name].append(people.run(build(met[-1], rng), met[-1], slates, rng))
        on_event({"event": "play", "step": step, "steps": len(seeds), "seed": seed})
    late = max(1, slates // 5)
    rewards = {name: np.stack([one.rewards for one in played]) for name, played in plays.items()}
    entropy = {name: np.stack([one.entropy for one in played]) for name, played in plays.items()}
    measures = {
        name: {
            "reward": rewards[name].mean(axis=1),
            "late_reward": rewards[name][:, -late:].mean(axis=1),
            "entropy": entropy[name].mean(axis=1),
            "late_entropy": entropy[name][:, -late:].mean(axis=1),
            "items": np.array([float(len(np.unique(one.items))) for one in played]),
            "themes": np.array([_distinct(people.theme[one.items]).mean() for one in played]),
            "visit": np.array([slates / one.visits for one in played]),
        }
        for name, played in plays.items()
    }
    if "oracle" in builds:
        for own in measures.values():
            own["regret"] = measures["oracle"]["reward"] - own["reward"]
    return Comparison(met, rewards, entropy, measures)


def _distinct(values: Ints) -> Doubles:
    """(N, K) -> (N,) how many distinct values each row has."""
    ordered = np.sort(values, axis=1)
    return 1.0 + (ordered[:, 1:] != ordered[:, :-1]).sum(axis=1)


@dataclass(frozen=True)
class RlDemo:
    """What the loop learned in a demo world."""

    dataset: str
    run: str
    """Whose scores the policies start from."""
    seeds: list[int]
    slates: int
    block: int
    """Slates that a point of a curve averages."""
    curves: dict[str, list[Interval]]
    """Mean reward of a slate along the play, by policy: "learned", "frozen" (the same without updates), "greedy" (the
    best of the same scores, always), "random", "popularity" and "oracle"."""
    measures: dict[str, dict[str, Interval]]
    """Of each policy, over seeds; see `Comparison.measures`."""
    gain: Interval
    """Mean reward of a slate, learned minus frozen, over seeds."""
    gain_share: float
    """The same as a share of the frozen policy's reward."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values; None for what is not defined."""
        return {
            **asdict(self),
            "curves": {name: [rounded(one) for one in curve] for name, curve in self.curves.items()},
            "measures": {
                name: {measure: rounded(one) for measure, one in own.items()} for name, own in self.measures.items()
            },
            "gain": rounded(self.gain),
        }


class Starts:
    """What policies for the people of a dataset start from: the scores of a run, candidates, and item features."""

    def __init__(self, run: Run | RunRecommender, width: int = WIDTH):
        """Raises CrossrecError where the run is not finished or recommends items of the source domain."""
        self.opened = run if isinstance(run, RunRecommender) else RunRecommender(run)
        if self.opened.which != "target":
            name = self.opened.name
            raise CrossrecError(f"Run {name!r} recommends items of the source domain; take one of the target's.")
        vectors = self.opened.shelf.vectors
        self.features = None if vectors is None else low_rank(vectors, width)
        self._scores: dict[int, Floats] = {}

    @cached_property
    def ids(self) -> list[str]:
        """User id by row of the user table."""
        return list(self.opened.pair.users()["user_id"])

    def scores(self, user: int) -> Floats:
        """(I+1,) of a user of the dataset, -inf for what they have; kept, for every policy asks."""
        if user not in self._scores:
            self._scores[user] = self.scores_for(Person(self.ids[user]))
        return self._scores[user]

    def scores_for(self, person: Person) -> Floats:
        """(I+1,) of anybody, -inf for what they have. Raises as `RunRecommender.ask` does."""
        asked = self.opened.asked(person)
        return self.opened.scores(asked, [asked.pieces])[0]

    def softmax(self, user: int, rng: np.random.Generator, config: PolicyConfig) -> SoftmaxPolicy:
        """A policy that starts from the user's scores."""
        return self.policy(self.scores(user), rng, config)

    def policy(self, scores: Floats, rng: np.random.Generator, config: PolicyConfig) -> SoftmaxPolicy:
        """A policy that starts from the scores (I+1,) of one person, over candidates that the generator draws."""
        even = z_scores(scores)
        if self.features is None:  # without vectors each candidate is learned by itself
            config = replace(config, item_bias=True)
        return SoftmaxPolicy(candidates(even, TOP, OTHERS, rng), even, self.features, config)

    def builds(self, config: PolicyConfig) -> dict[str, Build]:
        """The policies of the demo, by name."""
        still = replace(config, lr=0.0)

        def allowed(user: int) -> Ints:
            return np.flatnonzero(np.isfinite(self.scores(user)))

        def uniform(user: int, rng: np.random.Generator) -> Policy:
            return SoftmaxPolicy(allowed(user), np.zeros(len(self.opened.counts)), None, still)

        return {
            "learned": lambda user, rng: self.softmax(user, rng, config),
            "frozen": lambda user, rng: self.softmax(user, rng, still),
            "greedy": lambda user, rng: Fixed(allowed(user), self.scores(user), config.k),
            "random": uniform,
            "popularity": lambda user, rng: Fixed(allowed(user), self.opened.counts, config.k),
            "oracle": lambda user, rng: Best(allowed(user), config.k),
        }


def rl_demo(
    dataset: str = "demo",
    steps: int = 500,
    seeds: int | Sequence[int] = 20,
    on_event: OnEvent = lambda event: None,
    run: str | None = None,
    config: PolicyConfig | None = None,
    habits: Habits | None = None,
) -> RlDemo:
    """Plays the policies with simulated people of a demo dataset.

    Args:
        dataset: of the demo, with a finished run.
        steps: N, slates of each policy and seed.
        seeds: how many, 0, 1, ..., or which.
        on_event: gets what `compare` reports.
        run: whose scores to start from; None takes the newest of the first recipe in `STARTS` that has one.
        config: of the policies.
        habits: of the people.

    Raises:
        CrossrecError: the dataset is no demo's, or has no finished run.
    """
    pair = DomainPair.open(dataset)
    people = SimulatedUsers.of(pair, habits)
    chosen = open_run(run) if run else first_run(dataset)
    starts = Starts(chosen)
    which = list(range(seeds)) if isinstance(seeds, int) else list(seeds)
    found = compare(
        people, starts.builds(config or PolicyConfig()), np.flatnonzero(pair.overlap), which, steps, on_event
    )
    block = max(1, steps // BLOCKS)
    gain, share = found.gain("learned", "frozen")
    return RlDemo(
        dataset=dataset,
        run=chosen.name,
        seeds=which,
        slates=steps,
        block=block,
        curves={name: found.curve(name, block) for name in found.rewards},
        measures={name: found.intervals(name) for name in found.rewards},
        gain=gain,
        gain_share=share,
    )


def first_run(dataset: str) -> Run:
    """The newest run of the first recipe in `STARTS` that has one.

    Raises:
        CrossrecError: there is none.
    """
    for recipe in STARTS:
        if (run := latest(dataset, recipe)) is not None:
            return run
    raise CrossrecError(
        f"{dataset!r} has no finished run to start from: `crossrec demo` or `crossrec train` makes one."
    )
