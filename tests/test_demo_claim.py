"""What the demo says must be true: taste carries over where the worlds share it, and does not where they do not."""

from pathlib import Path

import pytest

from crossrec.data.demo import DemoConfig
from crossrec.runs.compare import compare_runs
from crossrec.runs.demo import RECIPES, WORLDS, make_world
from crossrec.runs.execute import train


@pytest.mark.slow
def test_transfer_helps_where_taste_is_shared_and_only_there(home: Path) -> None:
    answers, gains = {}, {}
    for world, strength in WORLDS.items():
        make_world(world, DemoConfig(transfer_strength=strength))
        recipes = ("source-sasrec", "target-sasrec", "transfer-sasrec")
        runs = [train(recipe, world, RECIPES[recipe], name=f"{world}-{recipe}") for recipe in recipes]
        result = compare_runs(runs[1:], with_oracle=False)
        assert result.verdict is not None
        answers[strength] = result.verdict.answer
        gain = result.comparison.difference(f"{world}-transfer-sasrec", "with_source")
        assert gain is not None
        gains[strength] = gain.value
    assert answers == {1.0: "yes", 0.0: "no"}
    assert gains[1.0].low > 0
    assert not gains[0.0].positive
