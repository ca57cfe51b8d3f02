"""The learn page: what it draws of a person are the tensors of the trained runs."""

import numpy as np
import pytest
import torch
from streamlit.testing.v1 import AppTest
from test_pages import alerts, charts, open_page, said, words

from app.ui.errors import percent, plain
from crossrec.data.explore import example_users
from crossrec.models.racrec_recommender import RACRecRecommender
from crossrec.models.transfer import TransferRecommender
from crossrec.recommend import anatomy
from crossrec.recommend.person import Person
from crossrec.recommend.recommender import RunRecommender
from crossrec.runs.folder import open_run

SEQUENCE, GATE, REVIEWS, ONE, STEP, FOOLED = (
    *("A sequence", "Bridge and gate", "Reviews", "One encoder", "A policy step", "How one is fooled"),
)


def opened(run: str) -> RunRecommender:
    return RunRecommender(open_run(run))


def both(run: RunRecommender) -> str:
    """One of the page's examples with events in both domains."""
    pair = run.pair
    rows = {user: pair.user_index(user) for user in example_users(pair)}
    return next(user for user, row in rows.items() if pair.source.counts[row] > 3 and pair.target.counts[row] > 3)


def test_without_data_it_says_how_to_get_some(empty_home):
    at = open_page("learn")
    assert "There is no data yet" in words(at) and charts(at) == 0


def test_the_gate_is_that_of_the_run(home):
    run = opened("demo-transfer-sasrec")
    user, recommender = both(run), run.recommender
    assert isinstance(recommender, TransferRecommender)
    asked = run.asked(Person(user))
    share = float(recommender.source_share(run.reader.histories([asked.pieces], asked.user))[0])
    at = open_page("learn", data="demo", lrn_user=user, lrn_tab=GATE)
    assert plain(f"For {user}, {percent(share)} of what Transfer SASRec goes by comes from Screen") in words(at)
    assert plain(f"{percent(share)} of the state comes from Screen") in words(at)
    assert charts(at) == 2 and "crossrec/models/bridge.py" in words(at)
    (slider,) = at.slider
    slider.set_value(0).run()
    assert not at.exception
    assert "Without a Screen event there is nothing to let in" in said(at) and charts(at) == 1


def test_with_less_of_the_history_other_items_come_first(home):
    run = opened("demo-target-sasrec")
    user = both(run)
    asked = run.asked(Person(user))
    at = open_page("learn", data="demo", lrn_user=user, lrn_tab=SEQUENCE)
    assert at.dataframe[0].value["now"].tolist() == [1, 2, 3, 4, 5, 6]
    (slider,) = at.slider
    slider.set_value(1).run()
    assert not at.exception
    few = anatomy.pieces_of(run, asked, {"target": 1})
    assert [one for one in few if one.shown.which == "target"] == [asked.pieces[-1]]
    scores = run.scores(asked, [asked.pieces, few])
    best = np.argsort(-scores[1], kind="stable")[:6]
    frame = at.dataframe[0].value
    assert frame["item"].tolist()[:6] == [item.title for item in run.shelf.items(best)]
    ranks = (-scores[0]).argsort(kind="stable").argsort(kind="stable")[best] + 1
    assert frame["all"].tolist()[:6] == ranks.tolist()
    stay = int((ranks <= 6).sum())
    assert f"{stay} of the first 6 items stay, {6 - stay} make room" in said(at)


def test_attention_is_over_the_persons_own_items(home):
    run = opened("demo-transfer-sasrec")
    asked = run.asked(Person(both(run)))
    found = anatomy.attention(run, asked, asked.pieces)
    assert found is not None
    own = [piece.shown.title for piece in asked.pieces if piece.shown.which == "target"]
    assert [one.name for one in found.seen] == ["start", *own]
    assert {one.which for one in found.seen[1:]} == {"target"}
    assert np.allclose(found.weights.sum(-1), 1, atol=1e-5)
    nothing = anatomy.attention(run, asked, [])
    assert nothing is not None and nothing.weights[-1].tolist() == [[1.0]]
    assert anatomy.attention(opened("demo-popularity"), asked, asked.pieces) is None


def test_tastes_and_pulls_are_those_of_the_review_model(home):
    run = opened("demo-racrec")
    asked = run.asked(Person(both(run)))
    weights = {"rank": 1.0, "diff": 0.1, "class": 0.1, "rec": 0.1, "align": 0.0}
    found = anatomy.tastes(run, asked, asked.pieces, weights)
    assert found is not None and set(found.tastes) == {f"{k} {w}" for k in ("shared", "specific") for w in LABELS}
    by_name = {one.loss: one for one in found.pulls}
    assert set(by_name) == {"pred", "rank", "diff", "class", "rec"}  # of weight 0 there is none
    assert by_name["class"].specific == 0 < by_name["class"].shared
    assert all(one.shared > 0 for one in found.pulls)
    model = run.recommender
    assert isinstance(model, RACRecRecommender)
    source, target = model.sides(run.reader.histories([asked.pieces]))
    assert np.array_equal(found.query, model.model.tastes(source, target).query[0].detach().numpy())
    # A step of the length h along the pull lowers the loss by about h times the pull.
    rank = by_name["rank"]
    last = run.reader.histories([asked.pieces]).target[0, -1] - 1
    query = torch.from_numpy(found.query)[None].requires_grad_()
    loss = torch.nn.functional.cross_entropy(
        model.model.ranking(query, model.model.product(model.items))[:, 1:], torch.tensor([last])
    )
    assert rank.value == pytest.approx(float(loss.detach()), rel=1e-5)
    (gradient,) = torch.autograd.grad(loss, query)
    half = gradient[0, : len(found.tastes["shared source"])]
    # The query's shared half is the mean of both domains' shared tastes, so each feels half of it.
    assert rank.shared == pytest.approx(float(half.norm()) / 2**0.5, rel=1e-4)


def test_a_stranger_is_read_by_the_source_alone(home):
    run = opened("demo-racrec")
    asked = run.asked(Person(both(run)))
    found = anatomy.tastes(run, asked, anatomy.pieces_of(run, asked, {"target": 0}), {"rank": 1.0, "class": 0.1})
    assert found is not None and set(found.tastes) == {"shared source", "specific source"}
    assert set(found.told_source) == {"source"}
    assert {one.loss for one in found.pulls} == {"class"}  # there is no target item to be told
    nothing = anatomy.tastes(run, asked, [], {"rank": 1.0})
    assert nothing is not None and not nothing.tastes and not nothing.pulls
    model = run.recommender
    assert isinstance(model, RACRecRecommender)
    unknown = torch.cat([model.model.no_source, model.model.no_target]).detach().numpy()
    assert np.array_equal(nothing.query, unknown)


@pytest.mark.parametrize(("tab", "drawn", "file"), [(REVIEWS, 2, "racrec.py"), (STEP, 1, "policy.py")])
def test_each_part_names_its_file(home, tab, drawn, file):
    at = open_page("learn", data="demo", lrn_tab=tab)
    assert charts(at) == drawn and file in words(at) and at.latex and len(at.get("graphviz_chart")) == 1


def test_what_is_not_trained_is_said_with_its_command(home):
    at = open_page("learn", data="demo", lrn_tab=ONE)
    assert "crossrec train unified --dataset demo --split cold-user-50" in [code.value for code in at.code]
    at = open_page("learn", data="demo-untrained", lrn_tab=GATE)
    assert alerts(at)[0].startswith("By reading what a person did")
    assert "crossrec train-target-transfer --dataset demo-untrained" in [code.value for code in at.code]


def test_the_traps_are_shown(home):
    at = open_page("learn", data="demo", lrn_tab=FOOLED)
    assert [one.value for one in at.header] == ["Sampled metrics", "A leak", "A placebo"]
    assert charts(at) == 2  # the sampled rank, and the controls of the runs that are there


def test_an_unknown_person_is_told_in_one_sentence(home):
    at = open_page("learn", data="demo", lrn_tab=GATE, lrn_user="nobody")
    assert any("'nobody' is not in 'demo'" in plain_words for plain_words in said(at).splitlines())


LABELS = ("source", "target")


def test_a_domain_may_be_called_anything() -> None:
    def page() -> None:
        from app.ui.inside import flow

        flow({"a": 'Bo"o\\ks\nread', "b": "list"}, [("a", "b")])

    (drawn,) = AppTest.from_function(page).run().get("graphviz_chart")
    assert 'label="Bo\\"o\\\\ks\\nread"' in drawn.proto.spec
    assert drawn.proto.alt == 'A diagram. Bo"o\\ks, read leads to list.'
