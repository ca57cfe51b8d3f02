"""Rewards and baselines, against numbers worked out by hand."""

import numpy as np
import pytest

from crossrec.errors import CrossrecError
from crossrec.feedback.rewards import Baseline, RewardTable


def test_the_table_of_rewards() -> None:
    table = RewardTable()
    assert table.of(["click", "skip", "like", "purchase", "add_to_cart", "dislike"]).tolist() == [
        *[0.3, 0.0, 1.0],
        *[1.0, 0.7, -0.5],
    ]
    assert RewardTable({"yes": 2})["yes"] == 2.0


def test_an_unknown_action_names_the_nearest() -> None:
    with pytest.raises(CrossrecError, match=r"no reward for the action 'clik'\. Did you mean 'click'"):
        RewardTable()["clik"]


@pytest.mark.parametrize("values", [{}, {"click": float("nan")}, {"click": "much"}, {"click": True}])
def test_a_table_is_checked(values: dict) -> None:
    with pytest.raises(CrossrecError):
        RewardTable(values)


def test_the_baseline_is_a_moving_average_of_each_position() -> None:
    baseline = Baseline(momentum=0.9)
    assert baseline.update(np.array([0.3])) == pytest.approx([0.03])
    assert baseline.update(np.array([0.3])) == pytest.approx([0.057])
    two = Baseline(positions=2)
    assert two.update(np.array([0.3])) == pytest.approx([0.03])
    assert two.update(np.array([0.0, 1.0])) == pytest.approx([0.027, 0.1])


@pytest.mark.parametrize("wrong", [{"momentum": 1.0}, {"momentum": -0.1}, {"positions": 0}])
def test_a_baseline_is_checked(wrong: dict) -> None:
    with pytest.raises(CrossrecError):
        Baseline(**wrong)
