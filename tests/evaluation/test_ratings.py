"""Predicted stars against plain Python, and statistics against slow and obvious ones."""

import dataclasses
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossrec.data.histories import Histories, Reviews
from crossrec.data.pair import DomainPair
from crossrec.data.ratings import Ratings
from crossrec.data.split import _split, cold_user, next_item
from crossrec.evaluation.ratings import BASELINES, auc_by_group, evaluate_ratings, summary
from crossrec.models.biases import Biases
from crossrec.models.recommender import Floats
from crossrec.models.simple import Popularity

MakePair = Callable[..., DomainPair]


def auc(values: Any, liked: Any) -> float:
    """Every pair of a liked and another event, one by one."""
    up = [v for v, good in zip(values, liked, strict=True) if good]
    down = [v for v, good in zip(values, liked, strict=True) if not good]
    if not up or not down:
        return math.nan
    return sum((a > b) + 0.5 * (a == b) for a in up for b in down) / (len(up) * len(down))


def rows(user: Any, rating: Any, predicted: Any, **columns: Any) -> pd.DataFrame:
    n = len(rating)
    table = {"user": user, "event": range(n), "item": 1, "rating": rating, "score": 0.0, "predicted": predicted}
    return pd.DataFrame({**table, **dict.fromkeys(BASELINES, 3.0), **columns}).astype({"rating": float})


@given(data=st.data(), n=st.integers(1, 40), users=st.integers(1, 5))
def test_aucs_against_every_pair(data: st.DataObject, n: int, users: int) -> None:
    draw = lambda values: np.array(data.draw(st.lists(st.sampled_from(values), min_size=n, max_size=n)))  # noqa: E731
    user, rating, predicted = draw(range(users)), draw([1.0, 2.0, 3.0, 4.0, 5.0]), draw([1.0, 2.5, 2.75, 4.0, 7.0])
    liked = rating >= 4
    by_user = auc_by_group(predicted, liked, user, users)
    for u in range(users):
        np.testing.assert_allclose(by_user[u], auc(predicted[user == u], liked[user == u]))
    found = summary(rows(user, rating, predicted), resamples=2)
    pooled = auc(predicted, liked)
    model = found["models"]["recommender"]
    assert (model["auc"] is None) == math.isnan(pooled)
    if model["auc"]:
        assert model["auc"]["mean"] == pytest.approx(pooled, abs=1e-6)
        assert found["models"]["global_mean"]["auc"]["mean"] == 0.5
    both = by_user[~np.isnan(by_user)]
    assert found["users_auc"] == len(both)
    assert (model["auc_user"] is None) == (len(both) == 0)
    if len(both):
        assert model["auc_user"]["mean"] == pytest.approx(both.mean(), abs=1e-6)


def test_errors_by_hand() -> None:
    # Misses 1, -1, 0 and, clipped to 5 and to 1, 1 and 0: without the clip the last two were 5 and -3.
    table = rows([0, 0, 1, 1, 2], [3, 4, 5, 4, 1], [4.0, 3.0, 5.0, 9.0, -2.0], biases=[3.0, 4.0, 5.0, 4.0, 3.0])
    found = summary(table)
    assert (found["events"], found["users"], found["liked"]) == (5, 3, 0.6)
    model, better = found["models"]["recommender"], found["models"]["biases"]
    assert model["rmse"]["mean"] == pytest.approx(math.sqrt(3 / 5), abs=1e-6)
    assert model["mae"]["mean"] == pytest.approx(3 / 5)
    assert better["rmse"]["mean"] == pytest.approx(math.sqrt(4 / 5), abs=1e-6)
    difference = found["differences"]["recommender"]
    assert difference["rmse"]["mean"] == pytest.approx(math.sqrt(3 / 5) - math.sqrt(4 / 5), abs=1e-6)
    assert difference["mae"]["mean"] == pytest.approx(1 / 5)
    assert "biases" not in found["differences"]


def test_a_clipped_prediction_keeps_its_place_in_the_auc() -> None:
    # Both are clipped to 5, and still the liked one is predicted higher.
    found = summary(rows([0, 0], [5, 2], [9.0, 8.0]))
    assert found["models"]["recommender"]["auc"]["mean"] == 1.0


def test_intervals_resample_users_and_not_events() -> None:
    """One user of a hundred ratings and one of another miss: the event bootstrap would give a narrow interval."""
    user = np.repeat([0, 1], 100)
    found = summary(rows(user, np.full(200, 3), np.where(user == 0, 3.0, 5.0)))["models"]["recommender"]["mae"]
    assert (found["mean"], found["low"], found["high"]) == (1.0, 0.0, 2.0)


def test_intervals_against_plain_resampling() -> None:
    rng = np.random.default_rng(0)
    user, rating = rng.integers(0, 30, 200), rng.integers(1, 6, 200)
    predicted = np.clip(rating + rng.normal(0, 1.5, 200), 1, 5)
    biases = np.clip(rating + rng.normal(0, 2, 200), 1, 5)
    table = rows(user, rating, predicted, biases=biases)
    found = summary(table, resamples=2000)
    parts = [table[table["user"] == u] for u in range(30)]
    drawn = [pd.concat([parts[u] for u in rng.integers(0, 30, 30)]) for _ in range(1000)]

    def rmse(t: pd.DataFrame, name: str) -> float:
        return float(np.sqrt(((t[name] - t["rating"]) ** 2).mean()))

    plain = {
        ("models", "rmse"): [rmse(t, "predicted") for t in drawn],
        ("models", "auc"): [auc(t["predicted"], t["rating"] >= 4) for t in drawn[:300]],
        ("differences", "rmse"): [rmse(t, "predicted") - rmse(t, "biases") for t in drawn],
    }
    for (block, metric), values in plain.items():
        interval = found[block]["recommender"][metric]
        width = interval["high"] - interval["low"]
        low, high = np.percentile(values, [2.5, 97.5])
        assert interval["low"] == pytest.approx(low, abs=0.15 * width)
        assert interval["high"] == pytest.approx(high, abs=0.15 * width)


def test_a_ranker_has_an_auc_per_user_and_no_errors() -> None:
    table = rows([0, 0, 1, 1], [5, 1, 5, 1], np.nan, score=[100.0, 99.0, -2.0, -1.0])
    found = summary(table)
    assert found["models"]["recommender"] == {
        "rmse": None, "mae": None, "auc": None, "auc_user": {"mean": 0.5, "low": 0.0, "high": 1.0},
    }  # fmt: skip
    assert found["differences"]["recommender"]["rmse"] is None
    assert found["differences"]["recommender"]["auc_user"]["mean"] == 0.0


def test_it_is_json_and_repeatable() -> None:
    rng = np.random.default_rng(3)
    table = rows(rng.integers(0, 9, 50), rng.integers(1, 6, 50), rng.normal(3, 1, 50))
    assert json.loads(json.dumps(summary(table), allow_nan=False)) == summary(table)
    assert summary(table, seed=1) != summary(table)
    json.dumps(summary(table.head(1)), allow_nan=False)


# --- what is rated --------------------------------------------------------------------------------


class Stub(Popularity):
    """Rates by what it is shown, so that a wrong row shows."""

    rates = True

    def score(self, histories: Histories) -> Floats:
        assert histories.users is not None
        return histories.users[:, None] * 1000.0 + np.arange(self.n_items + 1, dtype=np.float32)

    def rate(self, histories: Histories, items: Any, reviews: Reviews | None = None) -> Floats:
        assert histories.users is not None
        extra = 0.0 if reviews is None else reviews.vectors[:, 0, 0]
        return (histories.users * 1000 + items + (histories.source > 0).sum(1) / 100 + extra).astype(np.float32)


@given(seed=st.integers(0, 10_000), cold=st.booleans())
def test_every_hidden_rating_is_one_row(rated_pair: MakePair, seed: int, cold: bool) -> None:
    pair = rated_pair(seed, users=30, fewest=1)
    split = _split(pair, "cold-user", seed, *cold_user(pair, seed)) if cold else _split(pair, "x", 0, *next_item(pair))
    table = evaluate_ratings(Stub(split.target_counts(pair)), pair, split)
    assert pair.target.ratings is not None
    expected = []
    for user, source_end, start, end in zip(
        split.test.user, split.test.source_end, split.test.target_end, split.test.truth_end, strict=True
    ):
        for event in range(pair.target.offsets[user] + start, pair.target.offsets[user] + end):
            item, stars = int(pair.target.items[event]), float(pair.target.ratings[event])
            if not math.isnan(stars):
                expected.append((user, event, item, stars, user * 1000 + item, user * 1000 + item + source_end / 100))
    if not expected:
        assert table is None
        return
    assert table is not None
    found = table[["user", "event", "item", "rating", "score", "predicted"]].to_numpy(float)
    np.testing.assert_allclose(found, sorted(expected, key=lambda row: row[1]), atol=1e-2)
    known = Ratings.training(pair, split)
    np.testing.assert_allclose(table["global_mean"], known.stars.mean(), rtol=1e-6)
    for item, mean in zip(table["item"], table["item_mean"], strict=True):
        given_stars = known.stars[known.items == item]
        assert mean == pytest.approx(given_stars.mean() if len(given_stars) else known.stars.mean(), rel=1e-5)
    fitted = Biases.fit(known)
    for row in table.itertuples():
        at = int(np.flatnonzero(split.test.user == row.user)[0])
        alone = split.test.histories(pair, slice(at, at + 1))
        assert row.biases == pytest.approx(float(fitted.rate(alone, np.array([row.item]))[0]), rel=1e-5)


def test_reviews_come_for_the_events_that_are_rated(rated_pair: MakePair) -> None:
    pair = rated_pair(0, users=40, fewest=3)
    split = _split(pair, "x", 0, *next_item(pair))

    def reviews(events: Any) -> Reviews:
        return Reviews.of([np.full((1, 1), event / 1000, np.float32) for event in events])

    stub = Stub(split.target_counts(pair))
    without, with_ = (evaluate_ratings(stub, pair, split, "valid", r) for r in (None, reviews))
    assert without is not None
    assert with_ is not None
    np.testing.assert_allclose(with_["predicted"] - without["predicted"], with_["event"] / 1000, atol=1e-2)


def test_without_stars_there_is_nothing_to_tell(random_pair: MakePair, rated_pair: MakePair) -> None:
    for pair in (random_pair(0), rated_pair(0, absent=1.0)):
        split = _split(pair, "x", 0, *next_item(pair))
        assert evaluate_ratings(Popularity(split.target_counts(pair)), pair, split) is None


def test_a_ranker_is_not_asked_for_stars(rated_pair: MakePair) -> None:
    pair = rated_pair(0)
    split = _split(pair, "x", 0, *next_item(pair))
    table = evaluate_ratings(Popularity(split.target_counts(pair)), pair, split)
    assert table is not None
    assert table["predicted"].isna().all()
    np.testing.assert_array_equal(table["score"], split.target_counts(pair)[table["item"]])


def test_a_prediction_that_is_no_number_is_a_defect(rated_pair: MakePair) -> None:
    pair = rated_pair(0)
    split = _split(pair, "x", 0, *next_item(pair))
    broken = Biases(math.nan, np.zeros(pair.target.n_items + 1, np.float32), 5.0)
    with pytest.raises(ValueError, match="biases predicted NaN"):
        evaluate_ratings(broken, pair, split)


def test_hidden_stars_change_no_prediction(rated_pair: MakePair) -> None:
    pair = rated_pair(4, users=60, fewest=2, absent=0.0)
    split = _split(pair, "cold-user", 0, *cold_user(pair, 0))
    hidden = np.isin(np.repeat(np.arange(pair.n_users), pair.target.counts), [*split.valid.user, *split.test.user])
    assert pair.target.ratings is not None
    turned = np.where(hidden, 6 - pair.target.ratings, pair.target.ratings).astype(np.float32)
    other = dataclasses.replace(pair, target=dataclasses.replace(pair.target, ratings=turned))
    stub = Stub(split.target_counts(pair))
    one, two = (evaluate_ratings(stub, p, split) for p in (pair, other))
    assert one is not None
    assert two is not None
    assert (one["rating"] != two["rating"]).any()
    pd.testing.assert_frame_equal(one.drop(columns="rating"), two.drop(columns="rating"))
