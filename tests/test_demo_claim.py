"""What the demo says must be true: taste carries over where the worlds share it, and does not where they do not.

The review model is trained on the vectors of the static encoder, which takes seconds; the demo itself has MiniLM's.
"""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crossrec.data.demo import WORLDS, DemoConfig
from crossrec.data.histories import Histories
from crossrec.evaluation.compare import Side, compare
from crossrec.evaluation.protocol import BRIEF, evaluate
from crossrec.evaluation.statistics import Interval
from crossrec.evaluation.verdict import verdict
from crossrec.models.recommender import Recommender
from crossrec.recommend.person import Person, Review
from crossrec.recommend.recommender import RunRecommender
from crossrec.runs import controls
from crossrec.runs.compare import compare_runs
from crossrec.runs.demo import COLD, SETTINGS, make_world
from crossrec.runs.execute import load, train
from crossrec.runs.folder import Run
from crossrec.runs.insight import who


@pytest.mark.slow
def test_transfer_helps_where_taste_is_shared_and_only_there(home: Path) -> None:
    answers, gains, placebos = {}, {}, {}
    for world, strength in WORLDS.items():
        make_world(world, DemoConfig(transfer_strength=strength))
        recipes = ("source-sasrec", "target-sasrec", "transfer-sasrec")
        runs = [train(recipe, world, SETTINGS, name=f"{world}-{recipe}") for recipe in recipes]
        result = compare_runs(runs[1:], with_oracle=False)
        answers[strength] = result.verdict.answer
        gain = result.comparison.difference(f"{world}-transfer-sasrec", "with_source")
        assert gain is not None
        gains[strength] = gain.value
        placebos[strength] = next(row for row in result.insight.controls if row.control == "placebo")
        if strength == 1.0:
            assert "Placebo: with somebody else's Screen history Transfer SASRec falls to" in result.verdict.details[1]
            check_placebo(runs[1], runs[2])
            check_alarm(runs[1], runs[2])
    assert answers == {1.0: "yes", 0.0: "no"}
    assert gains[1.0].low > 0
    assert not gains[0.0].positive
    # Somebody else's history is worth less than one's own where taste is shared, and as much where it is not; in
    # neither world does it beat the baseline.
    assert placebos[1.0].kept.loss.positive
    assert not placebos[0.0].kept.loss.positive
    assert not any(row.gap.positive for row in placebos.values())


def check_placebo(baseline: Run, transfer: Run) -> None:
    """The placebo as if it were a model of its own: nobody would say that taste carries over."""
    table = controls.read(transfer)[0]["placebo"].set_index("user")
    about = baseline.per_user().set_index("user").loc[table.index]
    fed = about.assign(**{name: table[name] for name in ("rank", *BRIEF)}).reset_index()
    sides = [Side("b", "Baseline", about.reset_index()), Side("p", "Placebo", fed)]
    assert verdict(compare(sides), "p", "b").answer in ("no", "harm")


def check_alarm(baseline: Run, transfer: Run) -> None:
    """A model that is made worse for people with 10 to 19 target events: that is told, and of nobody else."""

    class Ruined(Recommender):
        kind = "ruined"

        def __init__(self, inner: Recommender):
            self.inner, self.n_items = inner, inner.n_items

        def score(self, histories: Histories) -> Any:
            scores = self.inner.score(histories)
            many = (histories.target > 0).sum(axis=1)
            worse = np.where(((many >= 10) & (many < 20))[:, None], -scores, scores)
            worse[:, 0] = -np.inf
            return worse

        def state(self) -> Any:
            raise NotImplementedError

        @classmethod
        def from_state(cls, about: Any, arrays: Any) -> Any:
            raise NotImplementedError

    recommender, pair, split = load(transfer)
    ruined = Run(transfer.folder.with_name("ruined"))
    shutil.copytree(transfer.folder, ruined.folder)
    evaluate(Ruined(recommender), pair, split).table.to_parquet(ruined.folder / "per_user.parquet")
    found = compare_runs([baseline, ruined], with_oracle=False)
    hurt = [(one.kind, one.label) for one in found.insight.slices if one.hurt]
    assert ("target", "10 to 19") in hurt
    assert [label for kind, label in hurt if kind == "target"] == ["10 to 19"]
    assert "But it harms people with 10 to 19 events in Sound." in found.verdict.headline
    assert any(detail.startswith("Harm for people with 10 to 19 events in Sound") for detail in found.verdict.details)
    worst = who(found.insight, *found.sides, pair, split, "target", "10 to 19")
    assert (worst["n_target"].between(10, 19)).all()
    assert worst["difference"].is_monotonic_increasing
    assert worst["difference"].iloc[0] < 0


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
