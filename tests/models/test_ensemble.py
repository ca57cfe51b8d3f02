"""Members that are asked together: their ranks, their weights, and what is kept of them."""

from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_array

from crossrec.data.histories import Histories
from crossrec.errors import CrossrecError
from crossrec.models.biases import Biases
from crossrec.models.content import Content
from crossrec.models.ensemble import LEAST, Ensemble, Stars, log_ranks, said
from crossrec.models.neighbours import UserKNN
from crossrec.models.recommender import Recommender
from crossrec.models.simple import Popularity
from crossrec.text.whiten import Whitening

COUNTS = np.array([0, 5, 1, 2, 9])


def knn() -> UserKNN:
    source, target = np.zeros((3, 4), np.float32), np.zeros((3, 5), np.float32)
    source[[0, 1, 2], [1, 2, 3]] = target[[0, 1, 2], [1, 2, 3]] = 1
    return UserKNN.fit(csr_array(source), csr_array(target), COUNTS, neighbours=2, prior=0.001)


def members() -> dict[str, Recommender]:
    return {"popularity": Popularity(COUNTS), "user-knn": knn()}


ASKED = Histories.of([[1], [2, 3], []], [[], [4], []])


def test_log_ranks_by_hand() -> None:
    scores = np.array([[-np.inf, 3, 7, 7, 1], [-np.inf, 2, 2, 2, 2]], np.float32)
    found = log_ranks(scores)
    np.testing.assert_allclose(found[0], [0, *np.log(4 / np.array([3, 1.5, 1.5, 4]))], rtol=1e-6)
    np.testing.assert_allclose(found[1], [0, *np.log([4 / 2.5] * 4)], rtol=1e-6)
    assert np.isneginf(scores[:, 0]).all()
    assert log_ranks(np.zeros((0, 5), np.float32)).shape == (0, 5)
    assert log_ranks(np.zeros((2, 1), np.float32)).tolist() == [[0], [0]]


def test_the_score_is_the_sum_of_its_parts() -> None:
    both = Ensemble(members(), [0.25, 2.0])
    parts = both.parts(ASKED)
    assert list(parts) == ["popularity", "user-knn"]
    np.testing.assert_allclose(parts["popularity"], 0.25 * log_ranks(Popularity(COUNTS).score(ASKED)))
    np.testing.assert_allclose(parts["user-knn"], 2 * log_ranks(knn().score(ASKED)))
    np.testing.assert_allclose(both.score(ASKED)[:, 1:], sum(parts.values())[:, 1:], rtol=1e-6)  # type: ignore[index]


def test_what_members_say_by_hand() -> None:
    hidden = np.array([[-np.inf, 3, 1, -np.inf, 0.5]], np.float32)
    np.testing.assert_allclose(said(hidden, "logits", "logs"), [[0, 2.5, 0.5, 0, 0]])
    votes = np.array([[-np.inf, 6, 0, -np.inf, 2]], np.float32)
    expected = np.log([6 / 8 + LEAST, 2 / 8 + LEAST]) - np.log(LEAST)
    np.testing.assert_allclose(said(votes, "votes", "logs"), [[0, expected[0], 0, 0, expected[1]]], rtol=1e-5)
    for speaks, pool in (("ranks", "logs"), ("logits", "ranks"), ("votes", "ranks")):
        np.testing.assert_array_equal(said(hidden, speaks, pool), log_ranks(hidden))
    nobody = np.full((1, 3), -np.inf, np.float32)
    assert said(nobody, "votes", "logs").tolist() == said(nobody, "logits", "logs").tolist() == [[0, 0, 0]]


def test_a_pool_of_logs_keeps_by_how_much_an_item_leads(tmp_path: Path) -> None:
    pooled = Ensemble(members(), [1, 0.5], pool="logs")
    shares = COUNTS / COUNTS.sum()
    parts = pooled.parts(ASKED)
    np.testing.assert_allclose(parts["popularity"][0, 1:], np.log(shares[1:] / shares[1:].min()), rtol=1e-4)
    pooled.save(tmp_path)
    loaded = Recommender.load(tmp_path)
    assert isinstance(loaded, Ensemble)
    assert loaded.pool == "logs"
    np.testing.assert_array_equal(loaded.score(ASKED), pooled.score(ASKED))
    about, arrays = Ensemble(members(), [1, 1]).state()
    del about["pool"]  # as it was written before there were two
    assert Ensemble.from_state({"n_items": 4, **about}, arrays).pool == "ranks"
    with pytest.raises(ValueError, match=r"pool \('sums'\) must be one of ranks, logs"):
        Ensemble(members(), [1, 1], pool="sums")


def test_a_member_alone_ranks_as_it_does_without_the_ensemble() -> None:
    alone = Ensemble(members(), [0, 1])
    np.testing.assert_array_equal(alone.recommend(ASKED, 4)[0], knn().recommend(ASKED, 4)[0])


def test_it_uses_what_its_members_use_and_those_without_weight_are_not_asked() -> None:
    assert Ensemble(members(), [1, 0]).uses == frozenset()
    assert Ensemble(members(), [1, 1]).uses == {"source"}
    assert list(Ensemble(members(), [0, 1]).parts(ASKED)) == ["user-knn"]
    assert not Ensemble(members(), [1, 1]).ordered


def test_saved_whole_without_weight_too(tmp_path: Path) -> None:
    one = Ensemble(members() | {"biases": Biases(3.0, COUNTS.astype(np.float32), 1.0)}, [0.5, 1.5, 0])
    one.save(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["recommender.json", "weights.safetensors"]
    loaded = Recommender.load(tmp_path)
    assert isinstance(loaded, Ensemble)
    assert list(loaded.members) == ["popularity", "user-knn", "biases"]
    assert loaded.weights.tolist() == [0.5, 1.5, 0]
    np.testing.assert_array_equal(loaded.score(ASKED), one.score(ASKED))
    about = tmp_path / "recommender.json"
    about.write_text(about.read_text().replace('"user-knn"', '"user-nnk"'))
    with pytest.raises(CrossrecError, match="of an older version"):
        Recommender.load(tmp_path)


def test_stars_are_a_weighted_sum_and_leave_the_order_alone(tmp_path: Path) -> None:
    one, two = Biases(3.0, COUNTS.astype(np.float32), 1.0), Biases(4.0, -COUNTS.astype(np.float32), 1.0)
    stars = Stars({"biases": one, "user-knn": two}, [0.5, 0.25], 1.5)
    rating = Ensemble(members(), [0.25, 2.0], stars)
    assert rating.rates
    # 1.5 + (3 + 1) / 2 + (4 - 1) / 4 for the item taken once, and so on.
    told = rating.rate(ASKED, np.array([2, 3, 4]))
    np.testing.assert_allclose(told, [1.5 + 4 / 2 + 3 / 4, 1.5 + 5 / 2 + 2 / 4, 1.5 + 12 / 2 - 5 / 4])
    silent = Ensemble(members(), [0.25, 2.0])
    assert not silent.rates
    assert rating.uses == silent.uses
    np.testing.assert_array_equal(rating.score(ASKED), silent.score(ASKED))
    rating.save(tmp_path)
    loaded = Recommender.load(tmp_path)
    assert isinstance(loaded, Ensemble)
    assert loaded.stars is not None
    assert list(loaded.stars.members) == ["biases", "user-knn"]
    np.testing.assert_array_equal(loaded.rate(ASKED, np.array([2, 3, 4])), told)
    np.testing.assert_array_equal(loaded.score(ASKED), rating.score(ASKED))
    assert "stars" not in silent.state()[0]  # a folder of an ensemble that only ranks is as it was


def test_a_star_member_without_weight_is_not_asked() -> None:
    class Silent(Popularity):
        def rate(self, *asked: object) -> np.ndarray:  # type: ignore[override]
            raise AssertionError

    stars = Stars({"silent": Silent(COUNTS), "biases": Biases(3.0, np.zeros(5, "f4"), 1.0)}, [0, 1], 0.0)
    assert Ensemble(members(), [1, 1], stars).rate(ASKED, np.array([1, 1, 1])).tolist() == [3, 3, 3]


@pytest.mark.parametrize("weights", [[1.0], [1.0, -0.1]])
def test_star_weights_that_make_no_sense_are_refused(weights: list[float]) -> None:
    with pytest.raises(ValueError, match=r"star weights .* must be as many, and none negative"):
        Stars(members(), weights, 0.0)


def content(encoder: str) -> Content:
    vectors = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    whitening = Whitening.fit(vectors, components=3)
    return Content(whitening, whitening(vectors[:5]), np.zeros(5, np.float32), encoder, most_reviews=7)


def test_words_are_those_of_one_encoder() -> None:
    one = Ensemble({"popularity": Popularity(COUNTS), "content": content("static")}, [1, 1])
    assert (one.encoder, one.most_reviews) == ("static", 15)
    assert one.uses == {"source reviews", "target reviews"}
    with pytest.raises(ValueError, match=r"vectors of \['minilm', 'static'\], and a history has those of one"):
        Ensemble({"a": content("static"), "b": content("minilm")}, [1, 1])


@pytest.mark.parametrize("weights", [[1.0], [1, -0.1], [0, 0], [1, 1, 1]])
def test_weights_that_make_no_sense_are_refused(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="must be as many, none negative, and not all 0"):
        Ensemble(members(), weights)


def test_members_score_the_same_items() -> None:
    with pytest.raises(ValueError, match=r"score \[4, 6\] items"):
        Ensemble({"a": Popularity(COUNTS), "b": Popularity(np.arange(7))}, [1, 1])
    with pytest.raises(ValueError, match=r"score \[4, 6\] items"):
        Ensemble({"a": Popularity(COUNTS)}, [1], Stars({"b": Popularity(np.arange(7))}, [1], 0.0))
