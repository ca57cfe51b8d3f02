"""Runs judged from a log: probabilities against the policy's own, estimates against the truth by roll-out."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from crossrec.data.logged import StoredLog, save_log
from crossrec.data.pair import DomainPair
from crossrec.errors import CrossrecError
from crossrec.feedback import judging
from crossrec.feedback.demo import Starts
from crossrec.feedback.judging import RewardModel, judge_run, scores_of
from crossrec.feedback.ope import Logged, estimate
from crossrec.feedback.policy import PolicyConfig, SoftmaxPolicy, z_scores
from crossrec.feedback.simulated import simulated_log
from crossrec.feedback.simulator import Habits, SimulatedUsers
from crossrec.recommend.person import Person
from crossrec.runs.folder import open_run

RUN, OTHER = "tiny-target-sasrec", "tiny-popularity"
BOLD = PolicyConfig(k=3, temperature=2.0, epsilon=0.3, lr=0.0)
"""What made the log: it leaves nothing out."""
CALM = Habits(item_fatigue=0.0, theme_fatigue=0.0, leave=0.0)
"""People whose slates do not depend on each other: the value of a policy is then that of its slates."""


@pytest.fixture
def pair(tiny_copy: Path) -> DomainPair:
    return DomainPair.open("tiny")


@pytest.fixture
def people(pair: DomainPair) -> SimulatedUsers:
    found = SimulatedUsers.of(pair, CALM)
    found.transition = None
    return found


def a_log(pair: DomainPair, people: SimulatedUsers, slates: int = 12, seed: int = 0, name: str = "log") -> StoredLog:
    starts = Starts(open_run(RUN))
    users = np.flatnonzero(pair.overlap)
    return simulated_log(name, pair, people, starts.builds(BOLD)["frozen"], users, slates, seed, replace=True)


def test_the_policy_that_made_the_log_has_its_own_propensities(pair: DomainPair, people: SimulatedUsers) -> None:
    log = a_log(pair, people, 3)
    found = judge_run(log, open_run(RUN), config=BOLD).judgement
    (own,) = (one for name, one in found.diagnostics.items() if name == RUN)
    assert own.ess == pytest.approx(own.rows) and own.mean == pytest.approx(1.0)
    assert found.differences["IPS"].mean == pytest.approx(0.0, abs=1e-9) and not found.refusals


def test_probabilities_are_those_that_the_policy_would_draw_by(pair: DomainPair, people: SimulatedUsers) -> None:
    """Against `SoftmaxPolicy.slate`, a slate at a time, for a run that did not make the log."""
    log, config = a_log(pair, people, 2), PolicyConfig(k=3, temperature=0.7, epsilon=0.05)
    starts = Starts(open_run(OTHER))
    wanted = []
    for number, slate in log.slates.iterrows():
        shown = log.events.loc[log.events["slate"] == number, "item"].to_numpy()
        policy = SoftmaxPolicy(slate["candidates"], z_scores(starts.scores(slate["user"])), None, config)
        wanted.append(policy.slate(np.array([np.flatnonzero(policy.items == item)[0] for item in shown])).propensities)
    rows, _ = judging._exact(log)
    model = RewardModel.fit(rows, pair.target.n_items, 0)
    target, left, _ = judging._target(starts.opened, log, rows, model, config, lambda event: None)
    assert target.probabilities == pytest.approx(np.concatenate(wanted))
    assert left.reshape(-1, 3)[0].tolist() == [len(log.slates["candidates"][0]) - n for n in range(3)]


def test_many_users_are_scored_as_one_by_one(pair: DomainPair) -> None:
    for name in (RUN, OTHER, "tiny-transfer-sasrec"):
        starts = Starts(open_run(name))
        users = np.array([-1, 0, 5, 17])
        found = scores_of(starts.opened, users)
        for row, user in zip(found, users, strict=True):
            alone = starts.scores_for(Person()) if user < 0 else starts.scores(int(user))
            assert np.allclose(row, alone, atol=1e-5)


def test_estimates_find_the_true_value(pair: DomainPair, people: SimulatedUsers) -> None:
    """IPS, SNIPS and DR of a run that did not make the log hold its value by roll-out in their intervals."""
    config = PolicyConfig(k=3, temperature=1.0, epsilon=0.2, lr=0.0)
    log = a_log(pair, people, 40)
    found = judge_run(log, open_run(OTHER), config=config).judgement
    assert not found.refusals
    # The same candidates for the same person as in the log: what is judged is the choice among them.
    starts, users = Starts(open_run(OTHER)), np.flatnonzero(pair.overlap)
    among = log.slates.drop_duplicates("user").set_index("user")["candidates"]
    still = replace(config, lr=0.0)
    truth, error = people.value(
        lambda user, rng: SoftmaxPolicy(among[user], z_scores(starts.scores(user)), None, still),
        np.repeat(users, 20),
        40,
        np.random.default_rng(1),
    )
    for estimator in ("IPS", "SNIPS", "DR"):
        value = found.estimates[OTHER][estimator]
        assert value.low - 2 * error / 3 < truth / 3 < value.high + 2 * error / 3, estimator


def test_the_reward_model_does_not_see_the_rows_that_it_judges(pair: DomainPair, people: SimulatedUsers) -> None:
    rows, _ = judging._exact(a_log(pair, people, 6))
    before = RewardModel.fit(rows, pair.target.n_items, 0)
    own = before.fold == before.fold[0]
    changed = rows.assign(reward=np.where(own, 5.0, rows["reward"]))
    after = RewardModel.fit(changed, pair.target.n_items, 0)
    items = rows["item"].to_numpy()
    assert (before.q(items)[own] == after.q(items)[own]).all() and (before.q(items)[~own] != after.q(items)[~own]).any()
    assert rows.groupby("session")["slate"].nunique().max() > 1
    assert pd.Series(before.fold).groupby(rows["session"].to_numpy()).nunique().max() == 1  # a session has one fold


def test_what_is_not_known_is_told_and_not_ranked(pair: DomainPair, people: SimulatedUsers) -> None:
    log = a_log(pair, people, 4)
    blind = replace(log, events=log.events.assign(propensity=np.nan))
    refused = judge_run(blind, open_run(OTHER))
    assert "have no propensity" in refused.judgement.verdict and not refused.assumed
    assumed = judge_run(blind, open_run(OTHER), assume_uniform=True)
    assert assumed.assumed and "illustration" in assumed.notes[0] and assumed.judgement.refusals[0] == judging.ASSUMED
    assert not np.isnan(assumed.judgement.estimates[OTHER]["IPS"].mean)
    assert "not ranked" in assumed.judgement.verdict


def test_rows_below_a_gap_are_left_out_and_counted(pair: DomainPair, people: SimulatedUsers) -> None:
    log = a_log(pair, people, 4)
    first = log.events["slate"] == 0
    gap = replace(log, events=log.events[~(first & (log.events["position"] == 0))])
    found = judge_run(gap, open_run(OTHER))
    assert found.rows == found.total - 2 and any("2 rows are left out" in note for note in found.notes)
    nowhere = replace(log, events=log.events.assign(position=-1))
    with pytest.raises(CrossrecError, match="Give positions"):
        judge_run(nowhere, open_run(OTHER))


def test_people_and_candidates_that_nobody_knows_are_told(pair: DomainPair, people: SimulatedUsers) -> None:
    log = a_log(pair, people, 4)
    slates = log.slates.assign(user=-1, candidates=None)
    found = judge_run(replace(log, slates=slates), open_run(OTHER))
    assert any("somebody of whom nothing is known" in note for note in found.notes)
    assert any("do not tell their candidates" in note for note in found.notes)


def test_other_data_and_source_runs_are_refused(pair: DomainPair, people: SimulatedUsers) -> None:
    log = a_log(pair, people, 2)
    with pytest.raises(CrossrecError, match="source domain"):
        judge_run(log, open_run("tiny-source-sasrec"))
    other = save_log("other", pair, log.slates, log.events, {"origin": "", "rewards": {}, "left_out": {}})
    with pytest.raises(CrossrecError, match="import it again"):
        judge_run(replace(other, meta=other.meta | {"dataset_hash": "x"}), open_run(RUN))


def test_what_a_policy_would_show_twice_in_a_slate_is_counted() -> None:
    """Three places of four candidates with m = .7, .1, .1, .1, below others that the log's policy drew: by hand."""
    config = PolicyConfig(k=1, temperature=1.0, epsilon=0.0)
    scores = np.array([-np.inf, *np.log([0.7, 0.1, 0.1, 0.1])])
    chooser = judging._Chooser(scores, np.array([1, 2, 3, 4]), config)
    rates = np.zeros(5)
    pi, _, _, twice = chooser.look(np.array([2, 3, 4]), rates)
    assert pi == pytest.approx([0.1, 0.1 / 0.9, 0.1 / 0.8])
    assert twice == pytest.approx(0.7 + 0.7 / 0.9 + 0.7 / 0.8 - 1), "item 1 stays, and is wanted in each place"
    assert chooser.look(np.array([1, 2, 3]), rates)[3] == 0, "what was shown is not wanted again"
    assert chooser.look(np.array([2]), rates)[3] == 0, "in one place nothing comes twice"


def test_a_policy_of_few_items_is_not_ranked(pair: DomainPair, people: SimulatedUsers) -> None:
    """By place alone it earns more than slates of its own can; each weight by itself is fine."""
    log = a_log(pair, people, 40)
    sharp = judge_run(log, open_run(RUN), config=PolicyConfig(temperature=0.15, epsilon=0.1))
    assert "in several places of one slate, more than 10%" in sharp.judgement.verdict
    assert any("with slates of its own" in note for note in sharp.notes)
    broad = judge_run(log, open_run(RUN), config=PolicyConfig(temperature=1.5, epsilon=0.3))
    assert not broad.judgement.refusals and not any("with slates of its own" in note for note in broad.notes)


def test_two_runs_are_compared_on_the_same_rows(pair: DomainPair, people: SimulatedUsers) -> None:
    log = a_log(pair, people, 10)
    found = judge_run(log, open_run(RUN), open_run(OTHER), BOLD)
    assert set(found.judgement.estimates) == {RUN, OTHER}
    difference = found.judgement.differences["IPS"].mean
    alone = judge_run(log, open_run(OTHER), config=BOLD).judgement.estimates[OTHER]["IPS"].mean
    assert difference == pytest.approx(found.judgement.estimates[RUN]["IPS"].mean - alone)
    logged = Logged(log.events["reward"].to_numpy(), log.events["propensity"].to_numpy())
    assert estimate(logged, judging.Target("x", logged.propensities))["IPS"].mean == pytest.approx(
        logged.rewards.mean()
    )
    assert found.plain()["rows"] == len(log.events)
