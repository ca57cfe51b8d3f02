"""Simulated people against calculations by hand, and what policies learn from them."""

import json
from pathlib import Path

import numpy as np
import pytest

from crossrec.errors import CrossrecError
from crossrec.feedback.demo import Comparison, Starts, compare, low_rank, rl_demo
from crossrec.feedback.policy import PolicyConfig, Slate, SoftmaxPolicy
from crossrec.feedback.rewards import RewardTable
from crossrec.feedback.simulator import Best, Build, Fixed, Habits, Policy, SimulatedUsers
from crossrec.runs.folder import open_run

CALM = Habits(examination=0.0, item_fatigue=0.0, theme_fatigue=0.0, leave=0.0)
"""People who look at everything, never tire and never leave."""
ONES = RewardTable({"click": 1.0, "skip": 0.0})


def logistic(x: float) -> float:
    return 1 / (1 + np.exp(-x))


def a_world(habits: Habits, odds: list[float], theme: list[int] | None = None, n: int = 1) -> SimulatedUsers:
    """People who click on items 1, 2, ... with these log odds."""
    people = SimulatedUsers(
        np.zeros((n, len(odds) + 1)), None, None if theme is None else np.array(theme), habits, ONES
    )
    people.log_odds = np.tile([0.0, *odds], (n, 1))
    return people


class Script:
    """Shows one given item after the other."""

    def __init__(self, *items: int):
        self.items, self.left = np.array(sorted(set(items))), list(items)

    def draw(self, rng: np.random.Generator) -> Slate:
        item = self.left.pop(0)
        return Slate(np.flatnonzero(self.items == item), np.array([item]), np.ones(1))


def fixed(items: list[int], n_items: int) -> Build:
    scores = np.zeros(n_items + 1)
    scores[items] = -np.arange(1, len(items) + 1)
    return lambda user, rng: Fixed(np.array(items), scores, len(items))


# --- people -----------------------------------------------------------------------------------------


def test_clicks_are_calibrated_for_each_person() -> None:
    rng = np.random.default_rng(0)
    affinity = rng.normal(size=(3, 402))
    people = SimulatedUsers(affinity * [[1], [5], [0.1]] + [[0], [100], [-7]], habits=Habits(typical=0.03, good=0.4))
    clicks = logistic(people.log_odds[:, 1:])
    assert np.median(clicks, axis=1) == pytest.approx([0.03] * 3)
    assert [logistic(np.quantile(row, 0.99)) for row in people.log_odds[:, 1:]] == pytest.approx([0.4] * 3)
    # Rising with affinity, whatever its unit.
    assert all((np.argsort(a[1:]) == np.argsort(c)).all() for a, c in zip(affinity, clicks, strict=True))


def test_the_value_of_a_fixed_policy_is_that_of_the_hand_calculation() -> None:
    """Position 2 is looked at with 1 / sqrt 2, and only by who has not left after skipping position 1 with .3."""
    people = a_world(Habits(examination=0.5, item_fatigue=0.0, theme_fatigue=0.0, leave=0.3), [0.0, 1.0, -2.0], n=40)
    p = [logistic(x) for x in (1.0, 0.0, -2.0)]
    first, second, third = 1.0, 2**-0.5, 3**-0.5
    stays = 1 - 0.3 * first * (1 - p[0])
    stays_on = stays * (1 - 0.3 * second * (1 - p[1]))
    expected = first * p[0] + stays * second * p[1] + stays_on * third * p[2]
    mean, error = people.value(fixed([2, 1, 3], 3), range(40), 250, np.random.default_rng(0))
    assert 0.002 < error < 0.02
    assert mean == pytest.approx(expected, abs=4 * error)


def test_people_tire_of_an_item_and_recover() -> None:
    """Shown 1, 1, 2, 1: exposures of item 1 before each are 0, 1, -, (.5 + 1) x .5."""
    people = a_world(Habits(item_fatigue=1.0, theme_fatigue=0.0, memory=0.5, leave=0.0), [1.0, 1.0], n=4000)
    rng = np.random.default_rng(1)
    clicks = np.array([people.run(Script(1, 1, 2, 1), u, 4, rng).clicked[:, 0] for u in range(4000)]).mean(axis=0)
    expected = [logistic(1.0), logistic(0.0), logistic(1.0), logistic(1.0 - 0.75)]
    assert clicks == pytest.approx(expected, abs=4 * 0.5 / np.sqrt(4000))


def test_people_tire_of_a_theme() -> None:
    habits = Habits(item_fatigue=0.0, theme_fatigue=2.0, leave=0.0)
    people, rng = a_world(habits, [1.0, 1.0, 1.0], theme=[0, 1, 1, 2], n=3000), np.random.default_rng(1)
    clicks = np.array([people.run(Script(1, 2, 3), u, 3, rng).clicked[:, 0] for u in range(3000)]).mean(axis=0)
    assert clicks == pytest.approx([logistic(1), logistic(-1), logistic(1)], abs=4 * 0.5 / np.sqrt(3000))


def test_a_click_changes_what_is_wanted_next() -> None:
    transition = np.zeros((4, 4))
    transition[1, 2] = 30.0
    affinity = np.array([[0.0, 9.0, 0.0, 0.0]])
    people = SimulatedUsers(affinity, transition, None, CALM, ONES)
    people.log_odds[0] = [0, 50, 0, 0]
    people.slope[0] = 1.0
    # Centred: 30 less their mean of 10 for item 2, and 10 less for the others.
    oracle = Best(np.array([1, 2, 3]), 1)
    people.run(oracle, 0, 1, np.random.default_rng(0))
    assert oracle.click == pytest.approx([0.5, 1, 0.5, 0.5])
    people.run(oracle, 0, 2, np.random.default_rng(0))
    assert oracle.click[1:] == pytest.approx([1, logistic(20), logistic(-10)])


def test_who_leaves_sees_nothing_below_and_comes_again() -> None:
    people = a_world(Habits(examination=0.0, leave=1.0, item_fatigue=0.0, theme_fatigue=0.0), [-50.0, 50.0])
    played = people.run(fixed([1, 2], 2)(0, np.random.default_rng(0)), 0, 10, np.random.default_rng(0))
    assert played.clicked.sum() == 0
    assert played.visits == 11
    played = people.run(fixed([2, 1], 2)(0, np.random.default_rng(0)), 0, 10, np.random.default_rng(0))
    assert played.clicked.sum() == 10


def test_a_play_holds_what_a_log_wants() -> None:
    people = a_world(CALM, [0.0] * 6)
    policy = SoftmaxPolicy(np.arange(1, 6), np.zeros(7), None, PolicyConfig(k=2, lr=0.0))
    played = people.run(policy, 0, 30, np.random.default_rng(0))
    assert played.items.shape == played.propensities.shape == played.clicked.shape == (30, 2)
    assert set(played.items.ravel()) <= {1, 2, 3, 4, 5}
    assert played.propensities == pytest.approx(np.tile([0.2, 0.25], (30, 1)))
    assert played.rewards.tolist() == played.clicked.sum(axis=1).tolist() and 0 < played.clicked.sum() < 60


def test_a_person_behaves_alike_with_every_policy() -> None:
    """The same items bring the same clicks, whether or not the policy draws lots."""
    people = a_world(Habits(), [0.0] * 4)
    drawn = SoftmaxPolicy(np.array([1, 2]), np.array([0, 900.0, 0, 0, 0]), None, PolicyConfig(k=1, epsilon=0, lr=0))
    one = people.run(drawn, 0, 60, np.random.default_rng(7))
    two = people.run(fixed([1], 4)(0, np.random.default_rng(0)), 0, 60, np.random.default_rng(7))
    assert one.items.tolist() == two.items.tolist()
    assert 0 < one.clicked.sum() < 60
    assert one.clicked.tolist() == two.clicked.tolist()


@pytest.mark.parametrize("wrong", [{"good": 1.0}, {"typical": 0.6}, {"leave": 1.5}, {"item_fatigue": -1.0}])
def test_habits_are_checked(wrong: dict) -> None:
    with pytest.raises(CrossrecError, match=f"{next(iter(wrong))} is"):
        Habits(**wrong)


# --- what is learned --------------------------------------------------------------------------------


def small_comparison(kl: float = 0.01) -> Comparison:
    """Twelve people who each like one theme of five; the policies know nothing, and items have noisy features."""
    rng = np.random.default_rng(0)
    theme = np.concatenate([[0], np.arange(40) % 5])
    affinity = np.eye(5)[:, theme].repeat(3, axis=0)[:12] * 4 + rng.normal(size=(12, 41)) * 0.3
    people = SimulatedUsers(affinity, None, theme, Habits(theme_fatigue=0.02))
    features = low_rank(np.eye(5)[theme] + rng.normal(size=(41, 5)) * 0.1, 5)
    items, flat = np.arange(1, 41), np.zeros(41)

    def learner(lr: float) -> Build:
        def build(user: int, rng: np.random.Generator) -> Policy:
            return SoftmaxPolicy(items, flat, features, PolicyConfig(k=3, lr=lr, kl=kl))

        return build

    builds = {"learned": learner(4.0), "frozen": learner(0.0), "oracle": lambda user, rng: Best(items, 3)}
    return compare(people, builds, np.arange(12), range(10), 150)


def test_learning_raises_the_reward() -> None:
    found = small_comparison()
    gain, share = found.gain("learned", "frozen")
    assert gain.low > 0
    assert share > 0.3
    assert share == pytest.approx(found.rewards["learned"].mean() / found.rewards["frozen"].mean() - 1)
    late, _ = found.gain("learned", "frozen", "late_reward")
    assert late.low > 0
    assert found.measures["learned"]["late_reward"] == pytest.approx(found.rewards["learned"][:, -30:].mean(axis=1))
    curve = found.curve("learned", 30)
    assert len(curve) == 5
    assert curve[0].mean == pytest.approx(found.rewards["learned"][:, :30].mean())
    assert curve[-1].mean > curve[0].mean


def test_measures_fit_together() -> None:
    found = small_comparison()
    assert found.rewards["frozen"].shape == found.entropy["frozen"].shape == (10, 150)
    means = {name: found.intervals(name) for name in found.rewards}
    assert means["oracle"]["regret"].mean == 0
    for name in ("learned", "frozen"):
        assert means[name]["regret"].low > 0
        assert means[name]["regret"].mean == pytest.approx(means["oracle"]["reward"].mean - means[name]["reward"].mean)
    assert means["frozen"]["entropy"].mean == pytest.approx(np.log(40))
    assert means["learned"]["late_entropy"].mean < means["learned"]["entropy"].mean < np.log(40)
    assert means["oracle"]["entropy"].mean == 0
    assert means["frozen"]["items"].mean == 40
    assert means["learned"]["themes"].mean < means["frozen"]["themes"].mean <= 3


def test_the_same_seeds_give_the_same_numbers() -> None:
    one, two = small_comparison(), small_comparison()
    assert one.users == two.users
    assert len(set(one.users)) > 3
    assert all((one.rewards[name] == two.rewards[name]).all() for name in one.rewards)
    # A policy held to its start learns less.
    held = small_comparison(kl=1.0)
    assert held.gain("learned", "frozen")[1] < one.gain("learned", "frozen")[1]


def test_a_comparison_wants_something_to_compare() -> None:
    with pytest.raises(CrossrecError, match="at least one"):
        compare(a_world(CALM, [0.0]), {}, [0], [0], 1)


# --- the demo ---------------------------------------------------------------------------------------


def test_the_demo_of_a_dataset(tiny: Path) -> None:
    events: list[dict] = []
    found = rl_demo("tiny", steps=60, seeds=3, on_event=events.append, config=PolicyConfig(k=3))
    assert found.run == "tiny-transfer-sasrec"
    assert list(found.curves) == ["learned", "frozen", "greedy", "random", "popularity", "oracle"]
    assert found.block == 2
    assert all(len(curve) == 30 for curve in found.curves.values())
    assert found.measures["oracle"]["reward"].mean > found.measures["random"]["reward"].mean
    assert found.measures["greedy"]["items"].mean == 3
    # What is frozen keeps its entropy, and what learns does not.
    entropy = {name: own["entropy"].mean - own["late_entropy"].mean for name, own in found.measures.items()}
    assert entropy["frozen"] == pytest.approx(0, abs=1e-12)
    assert abs(entropy["learned"]) > 0.01
    assert found.gain.mean == pytest.approx(
        found.measures["learned"]["reward"].mean - found.measures["frozen"]["reward"].mean
    )
    plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert plain["measures"]["random"]["reward"]["mean"] == pytest.approx(
        found.measures["random"]["reward"].mean, abs=1e-6
    )
    assert [(e["step"], e["steps"], e["seed"]) for e in events] == [(1, 3, 0), (2, 3, 1), (3, 3, 2)]
    other = rl_demo("tiny", steps=5, seeds=[4], run="tiny-popularity")
    assert (other.run, other.seeds) == ("tiny-popularity", [4])


def test_a_policy_starts_from_what_the_run_recommends(tiny: Path) -> None:
    starts = Starts(open_run("tiny-transfer-sasrec"))
    user = int(np.flatnonzero(starts.opened.pair.overlap)[0])
    listed = [one.item_id for one in starts.opened.for_user(starts.ids[user], 5).items]
    greedy = starts.builds(PolicyConfig())["greedy"](user, np.random.default_rng(0))
    shown = greedy.draw(np.random.default_rng(0)).items
    assert [item.item_id for item in starts.opened.shelf.items(shown)] == listed
    owned = set(starts.opened.pair.target.sequence(user).tolist())
    for build in starts.builds(PolicyConfig()).values():
        assert not owned & set(build(user, np.random.default_rng(0)).items.tolist())


def test_the_head_learns_features_or_else_each_item(tiny: Path) -> None:
    starts = Starts(open_run("tiny-transfer-sasrec"), width=4)
    user, rng = int(np.flatnonzero(starts.opened.pair.overlap)[0]), np.random.default_rng(0)
    policy = starts.softmax(user, rng, PolicyConfig())
    assert (len(policy.weights), len(policy.bias)) == (4, 0)
    # Scores have deviation 1 over what may be shown, which are all candidates here, and temperature .5.
    assert policy.start.std() == pytest.approx(2)
    starts.features = None
    policy = starts.softmax(user, rng, PolicyConfig())
    assert (len(policy.weights), len(policy.bias)) == (0, len(policy.items))


def test_the_demo_wants_known_tastes_and_a_run(tiny_copy: Path) -> None:
    with pytest.raises(CrossrecError, match="items of the source domain"):
        rl_demo("tiny", steps=5, seeds=1, run="tiny-source-sasrec")
    for recipe in ("transfer-sasrec", "target-sasrec", "popularity"):
        (tiny_copy / "runs" / f"tiny-{recipe}").rename(tiny_copy / f"gone-{recipe}")
    with pytest.raises(CrossrecError, match="no finished run to start from"):
        rl_demo("tiny", steps=5, seeds=1)
    (tiny_copy / "datasets" / "tiny" / "truth.safetensors").unlink()
    with pytest.raises(CrossrecError, match="nobody can be simulated"):
        rl_demo("tiny", steps=5, seeds=1)
