"""Does fine-tuning on a log raise what is truly earned? In a demo world the answer can be played.

A log whose clicks come from taste must make the policy worth more to the same people in the same moods; the same log
with its clicks dealt out at random must not.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crossrec.data.demo import DemoConfig
from crossrec.data.pair import DomainPair
from crossrec.evaluation.statistics import Interval, mean_intervals
from crossrec.feedback.demo import Starts
from crossrec.feedback.policy import PolicyConfig, SoftmaxPolicy, z_scores
from crossrec.feedback.simulated import simulated_log
from crossrec.feedback.simulator import Build, Fixed, Policy, SimulatedUsers
from crossrec.models.recommender import Recommender, hide_seen
from crossrec.runs.demo import make_world
from crossrec.runs.execute import train
from crossrec.runs.folder import Run, open_run

pytestmark = pytest.mark.xdist_group("finetune")
WORLD = DemoConfig(users=400, source_items=100, target_items=100, source_events=5000, target_events=2500)
LOGS = PolicyConfig(temperature=1.0, epsilon=0.2)
"""What made the logs: bold enough to show what the start overlooks."""
POLICY = PolicyConfig()
"""What is played: that of the recipe's settings."""
SHOWN, SLATES, SEED = 80, 20, 3
"""Slates of a log that a person met, slates that are played with each, and the seed of the logs."""
FINETUNE = {"batch_size": 512, "lr": 1e-3, "epochs": 6, "patience": 2}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A demo world with a base run, and runs that were fine-tuned on its logs, "by-taste" and "by-random"."""
    home = tmp_path_factory.mktemp("finetune")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CROSSREC_HOME", str(home))
        make_world("world", WORLD)
        base = train("target-sasrec", "world", {"dim": 32, "blocks": 1, "epochs": 6, "max_len": 20}, name="base")
        pair = DomainPair.open("world")
        people, build = SimulatedUsers.of(pair), Starts(base).builds(LOGS)["frozen"]
        for clicks in ("taste", "random"):
            simulated_log(clicks, pair, people, build, np.flatnonzero(pair.overlap), SHOWN, seed=SEED, clicks=clicks)
            train("policy-finetune", "world", {**FINETUNE, "log": clicks}, source_run="base", name=f"by-{clicks}")
    return home


@pytest.fixture(autouse=True)
def _home(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSREC_HOME", str(world))


def build(run: Run, pair: DomainPair, greedy: bool = False) -> Build:
    """The policy of a run for each person, as the feedback loop has it, over all items that they do not have."""
    histories = pair.histories(np.arange(pair.n_users), pair.source.counts, pair.target.counts)
    scores = hide_seen(Recommender.load(run.recommender).score(histories), histories)

    def policy(user: int, rng: np.random.Generator) -> Policy:
        items = np.flatnonzero(np.isfinite(scores[user]))
        if greedy:
            return Fixed(items, scores[user], POLICY.k)
        return SoftmaxPolicy(items, z_scores(scores[user]), None, replace(POLICY, lr=0.0))

    return policy


def gain(run: Run, greedy: bool = False) -> Interval:
    """True value of a run's policy, a slate, less that of the base's: the same people, the same moods."""
    pair = DomainPair.open("world")
    people, users = SimulatedUsers.of(pair), np.flatnonzero(pair.overlap)
    means = []
    for one in (open_run("base"), run):
        policy = build(one, pair, greedy)
        rngs = [np.random.default_rng([9, int(user)]) for user in users]
        played = [people.run(policy(int(u), rng), int(u), SLATES, rng) for u, rng in zip(users, rngs, strict=True)]
        means.append([play.rewards.mean() for play in played])
    (found,) = mean_intervals((np.array(means[1]) - np.array(means[0]))[None])
    return found


def about(name: str) -> dict[str, Any]:
    return dict(open_run(name).metrics()["finetune"])


def test_clicks_by_taste_raise_what_is_truly_earned() -> None:
    told = about("by-taste")
    assert not told["kept_start"], told
    assert told["judge"]["low"] > 0
    found = gain(open_run("by-taste"))
    assert found.positive, found
    assert gain(open_run("by-taste"), greedy=True).high > 0


def test_clicks_at_random_change_nothing() -> None:
    told = about("by-random")
    assert told["kept_start"]
    assert "the gain is not surely above 0" in told["why"] or "no epoch was worth more" in told["why"]
    assert open_run("by-random").metrics()["fit"]["best_epoch"] == 0
    weights = [(open_run(name).recommender / "weights.safetensors").read_bytes() for name in ("base", "by-random")]
    assert weights[0] == weights[1]
    assert all(
        part["ndcg@10"]["difference"] == {"mean": 0.0, "low": 0.0, "high": 0.0} for part in told["next_item"].values()
    )
    assert gain(open_run("by-random")) == Interval(0.0, 0.0, 0.0)


def test_what_comes_out_is_of_the_kind_of_the_start() -> None:
    assert type(Recommender.load(open_run("by-taste").recommender)).kind == "sasrec"
    told = about("by-taste")
    stored = open_run("by-taste").metrics()
    after = told["next_item"]["test"]["ndcg@10"]["after"]["mean"]
    assert after == pytest.approx(stored["test"]["groups"]["all"]["full"]["ndcg@10"], abs=1e-6)
    before = open_run("base").metrics()["test"]["groups"]["all"]["full"]["ndcg@10"]
    assert told["next_item"]["test"]["ndcg@10"]["before"]["mean"] == pytest.approx(before, abs=1e-6)
