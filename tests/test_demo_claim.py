"""What the demo says must be true: taste carries over where the worlds share it, and does not where they do not.

The review model is trained on the vectors of the static encoder, which takes seconds; the demo itself has MiniLM's.
"""

from pathlib import Path

import pytest

from crossrec.data.demo import DemoConfig
from crossrec.evaluation.statistics import Interval
from crossrec.recommend.person import Person, Review
from crossrec.recommend.recommender import RunRecommender
from crossrec.runs.compare import compare_runs
from crossrec.runs.demo import COLD, SETTINGS, WORLDS, make_world
from crossrec.runs.execute import train


@pytest.mark.slow
def test_transfer_helps_where_taste_is_shared_and_only_there(home: Path) -> None:
    answers, gains = {}, {}
    for world, strength in WORLDS.items():
        make_world(world, DemoConfig(transfer_strength=strength))
        recipes = ("source-sasrec", "target-sasrec", "transfer-sasrec")
        runs = [train(recipe, world, SETTINGS, name=f"{world}-{recipe}") for recipe in recipes]
        result = compare_runs(runs[1:], with_oracle=False)
        assert result.verdict is not None
        answers[strength] = result.verdict.answer
        gain = result.comparison.difference(f"{world}-transfer-sasrec", "with_source")
        assert gain is not None
        gains[strength] = gain.value
    assert answers == {1.0: "yes", 0.0: "no"}
    assert gains[1.0].low > 0
    assert not gains[0.0].positive


@pytest.mark.slow
def test_the_review_model_beats_the_plain_ones_where_taste_is_shared_and_only_there(home: Path) -> None:
    ranking: dict[float, Interval] = {}
    stars: dict[float, Interval] = {}
    for world, strength in WORLDS.items():
        make_world(world, DemoConfig(transfer_strength=strength))
        runs = [train("popularity", world, split_kind=COLD), train("racrec", world, {"encoder": "static"}, 0, COLD)]
        result = compare_runs(runs)
        gain = result.comparison.difference(runs[1].name)
        assert gain is not None
        ranking[strength] = gain.value
        told = next(row for row in result.ratings if row.run == runs[1].name).differences["rmse"]
        assert told is not None
        stars[strength] = told  # against mean + item + user; less is better
        best, reached = result.comparison.mean("oracle"), result.comparison.mean(runs[1].name)
        assert best is not None
        assert reached is not None
        assert reached.value.high < best.value.low
        if strength == 1.0:
            check_themes(RunRecommender(runs[1]))
    assert ranking[1.0].low > 0
    assert stars[1.0].high < 0
    assert not ranking[0.0].positive
    assert not stars[0.0].negative


SAID = {
    "Dark jazz": "The slow, rain-soaked alleys and the saxophone at midnight: a detective, cigarette smoke, regret.",
    "Space ambient": "A lonely astronaut drifts between dead moons while the radio goes silent. Weightless.",
    "Nordic minimal": "Snow, silence and a cabin on a frozen lake. Cold, solitary and beautiful.",
}
"""What a stranger might write about a film, and the albums of the same theme, which never names itself in a review."""


def check_themes(model: RunRecommender) -> None:
    """Praise brings the theme, blame takes it away, and nobody's usual list is full of it."""

    def share(theme: str, *reviews: Review) -> int:
        return sum(item.category == theme for item in model.ask(Person(reviews=reviews)).items)

    for theme, text in SAID.items():
        praised, usual, blamed = share(theme, Review(text, 5)), share(theme), share(theme, Review(text, 1))
        assert praised >= 5, f"{theme}: {praised} of 10"
        assert praised > max(usual, blamed), f"{theme}: {praised} praised, {usual} without a word, {blamed} blamed"
