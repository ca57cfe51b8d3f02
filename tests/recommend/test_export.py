"""An export of a recommender that reads: the same scores for reviews and items where the data is not."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from crossrec.recommend.explain import Change, explain, what_if
from crossrec.recommend.export import export
from crossrec.recommend.person import Person, Review
from crossrec.recommend.recommender import RunRecommender
from crossrec.runs.folder import Run

PERSON = Person(
    reviews=(Review("A frozen winter drama with blizzards", 5), Review("comets and moons")),
    source_items=("S0004",),
    target_items=("A0003",),
)


def test_an_export_of_words_answers_bit_for_bit(
    words_run: Run, tiny_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = RunRecommender(words_run)
    asked = here.asked(PERSON)
    scores, answer = here.scores(asked, [asked.pieces]), here.ask(PERSON, 20)
    item_id = answer.items[2].item_id
    reasons, other = explain(here, PERSON, item_id), what_if(here, PERSON, [Change(2)])
    folder = export(words_run, tmp_path / "out")
    monkeypatch.setenv("CROSSREC_HOME", str(tmp_path / "another machine"))
    shutil.rmtree(tiny_copy)
    there = RunRecommender(folder)
    again = there.asked(PERSON)
    assert np.array_equal(there.scores(again, [again.pieces]), scores)
    assert there.ask(PERSON, 20) == answer
    assert explain(there, PERSON, item_id) == reasons
    assert what_if(there, PERSON, [Change(2)]) == other
    assert not (tmp_path / "another machine").exists()
