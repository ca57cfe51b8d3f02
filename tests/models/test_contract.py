"""What every recommender must do, whatever is inside it."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from crossrec.data.histories import Histories, Reviews, pad
from crossrec.data.pair import Domain
from crossrec.data.ratings import Ratings
from crossrec.errors import CrossrecError
from crossrec.models.autoencoder import Autoencoder, AutoencoderConfig, AutoencoderRecommender
from crossrec.models.biases import Biases
from crossrec.models.bridge import BridgeConfig
from crossrec.models.collective import CollectiveFactors
from crossrec.models.content import Content
from crossrec.models.ensemble import Ensemble, Stars
from crossrec.models.factors import Factors
from crossrec.models.item_knn import ItemKNN
from crossrec.models.linear import LinearMap
from crossrec.models.mapping import EMCDR, PTUPCDR, Mapped, linear_net, mlp_net, personal_net
from crossrec.models.neighbours import UserKNN
from crossrec.models.racrec import RACRec, RACRecConfig
from crossrec.models.racrec_recommender import RACRecRecommender, Reading
from crossrec.models.recommender import Recommender, top_k
from crossrec.models.sasrec import SASRec, SASRecConfig, SASRecRecommender
from crossrec.models.simple import Oracle, Popularity
from crossrec.models.transfer import TransferRecommender, TransferSASRec
from crossrec.models.trend import Lately, Trend
from crossrec.models.unified import Unified, UnifiedConfig, UnifiedRecommender
from crossrec.text.whiten import Whitening

I_SOURCE, I_TARGET, USERS, WIDTH = 9, 14, 6, 8
YEAR = 365 * 86_400_000
COUNTS = np.random.default_rng(0).integers(0, 30, I_TARGET + 1)


def _stir(*models: torch.nn.Module) -> None:
    with torch.no_grad():
        for weight in (w for model in models for w in model.parameters()):
            weight.add_(torch.randn_like(weight) * 0.2)


def _popularity() -> Recommender:
    return Popularity(COUNTS)


def _linear() -> Recommender:
    rng = np.random.default_rng(1)
    source, target = rng.random((20, I_SOURCE + 1)) < 0.4, rng.random((20, I_TARGET + 1)) < 0.4
    source[:, 0] = target[:, 0] = False
    return LinearMap.fit(csr_array(source.astype(np.float32)), csr_array(target.astype(np.float32)), COUNTS, ridge=5.0)


def _knn() -> Recommender:
    rng = np.random.default_rng(5)
    source, target = rng.random((20, I_SOURCE + 1)) < 0.4, rng.random((20, I_TARGET + 1)) < 0.4
    source[:, 0] = target[:, 0] = False
    return UserKNN.fit(
        csr_array(source.astype(np.float32)), csr_array(target.astype(np.float32)), COUNTS, neighbours=4, prior=0.01
    )


def _item_knn() -> Recommender:
    rng = np.random.default_rng(14)
    items = rng.integers(1, I_SOURCE + I_TARGET + 1, 120).astype(np.int32)
    events = Domain("both", I_SOURCE + I_TARGET, np.arange(0, 121, 6), items, None, None)
    return ItemKNN.fit(events, I_SOURCE, window=3, prior=0.01)


def _trend(rows: int, parts: tuple[int, ...], sides: str = "past") -> Trend:
    rng = np.random.default_rng(15)
    items = rng.integers(1, rows, 200)
    trend = Trend.fit(YEAR + rng.integers(0, YEAR, 200), items, rows, parts, 40, sides)
    assert trend is not None
    return trend


def _lately(memory: str) -> Recommender:
    return Lately(_trend(I_TARGET + 1, (0,)), memory)


def _content() -> Recommender:
    rng = np.random.default_rng(6)
    vectors = rng.normal(size=(40, WIDTH)).astype(np.float32)
    whitening = Whitening.fit(vectors, components=4)
    items = whitening(vectors[: I_TARGET + 1])
    items[[0, 3]] = 0  # nothing is written about item 3
    return Content(whitening, items, np.log1p(COUNTS).astype(np.float32), "static")


def _biases() -> Recommender:
    return Biases(3.5, np.random.default_rng(7).normal(size=I_TARGET + 1).astype(np.float32), damping=2.0)


def _factors(n_items: int, seed: int) -> Factors:
    rng = np.random.default_rng(seed)
    n = 80
    ratings = Ratings(
        rng.integers(0, 12, n), rng.integers(1, n_items + 1, n), rng.integers(1, 6, n).astype("f4"), 12, n_items
    )
    return Factors.fit(ratings, factors=3, ridge=1.0)


def _mapped(kind: type[Mapped], net: torch.nn.Module) -> Recommender:
    torch.manual_seed(8)
    _stir(net)
    return kind(_factors(I_SOURCE, 8), _factors(I_TARGET, 9), net)


def _collective() -> Recommender:
    rng = np.random.default_rng(13)
    draw = lambda *shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731
    source, target = _factors(I_SOURCE, 13), _factors(I_TARGET, 14)
    return CollectiveFactors(source, target, draw(I_SOURCE + 1, 3), draw(3), 4.0, draw(5))


def _oracle() -> Recommender:
    rng = np.random.default_rng(2)
    draw = lambda *shape: rng.normal(size=shape).astype(np.float32)  # noqa: E731
    return Oracle(draw(USERS, I_TARGET + 1), draw(I_TARGET + 1, I_TARGET + 1))


def _sasrec() -> Recommender:
    torch.manual_seed(3)
    model = SASRec(SASRecConfig(dim=8, heads=2, max_len=4), I_TARGET, COUNTS)
    _stir(model)
    return SASRecRecommender(model)


def _transfer(fusion: str = "gate", pool: str = "mean", kind: str = "mlp") -> Recommender:
    torch.manual_seed(4)
    bridge = BridgeConfig(bridge=kind, fusion=fusion, bridge_hidden=5, source_pool=pool)
    source = SASRec(SASRecConfig(dim=4, max_len=3), I_SOURCE)
    model = TransferSASRec(SASRecConfig(dim=8, max_len=4, norm="post"), bridge, I_TARGET, 4, COUNTS)
    _stir(source, model)
    return TransferRecommender(model, source, bridge)


def _racrec(mode: str = "corrected", ranks: bool = True) -> Recommender:
    rng = np.random.default_rng(11)
    whitening = None if mode == "classic" else Whitening.fit(rng.normal(size=(40, WIDTH)).astype("f4"), components=4)
    torch.manual_seed(11)
    config = RACRecConfig(mode=mode, taste_dim=3, stars=mode != "classic", context=mode != "classic")
    model = RACRec(config, WIDTH if whitening is None else 4, I_TARGET, 4.0, 0.3, counts=COUNTS)
    _stir(model)
    draw = lambda items: rng.normal(size=(items + 1, model.product.in_features)).astype("f4")  # noqa: E731
    context = (draw(I_SOURCE), draw(I_TARGET)) if config.context else None
    reading = Reading("static", ranks, most_reviews=3)
    biases = Biases(4.0, np.zeros(I_TARGET + 1, np.float32), damping=2.0)
    expected = (rng.normal(4, 1, I_SOURCE + 1).astype("f4"), rng.normal(4, 1, I_TARGET + 1).astype("f4"))
    return RACRecRecommender(model, whitening, draw(I_TARGET), reading, expected, biases, context)


def _autoencoder(width: int = WIDTH, networks: int = 1, shown: float = 0.5) -> Recommender:
    rng = np.random.default_rng(12)
    words = [rng.normal(size=(n + 1, width)).astype(np.float32) for n in (I_SOURCE, I_TARGET)]
    for table in words:
        table[[0, 2]] = 0  # nothing is written about item 2
    torch.manual_seed(12)
    model = Autoencoder(AutoencoderConfig(hidden=6, networks=networks, target_shown=shown), words, COUNTS)
    _stir(model)
    return AutoencoderRecommender(model)


def _unified(width: int = WIDTH, swap: bool = False, times: str = "none", **settings: Any) -> Recommender:
    rng = np.random.default_rng(13)
    words = rng.normal(size=(I_SOURCE + I_TARGET + 1, width)).astype(np.float32)
    words[[0, 2, 12]] = 0
    counts = np.concatenate([rng.integers(0, 9, I_SOURCE + 1), COUNTS[1:]])
    torch.manual_seed(13)
    n_source = I_TARGET if swap else I_SOURCE
    trend = None if times == "none" else _trend(len(words), (0, n_source + 1), times)
    model = Unified(UnifiedConfig(**{"dim": 8, "max_len": 6, "taste": 5} | settings), n_source, words, counts, trend)
    _stir(model)
    return UnifiedRecommender(model, swap)


def _ensemble() -> Recommender:
    return Ensemble({"user-knn": _knn(), "content": _content(), "autoencoder": _autoencoder()}, [0.5, 1.0, 2.0])


def _rating_ensemble() -> Recommender:
    stars = Stars({"biases": _biases(), "collective-factors": _collective()}, [0.25, 0.75], 0.1)
    return Ensemble({"user-knn": _knn(), "popularity": _popularity()}, [0.5, 1.0], stars)


MAKERS: dict[str, Callable[[], Recommender]] = {
    "popularity": _popularity,
    "popular-lately": lambda: _lately("last"),
    "popular-lately, all the times": lambda: _lately("all"),
    "linear-map": _linear,
    "user-knn": _knn,
    "item-knn": _item_knn,
    "content": _content,
    "biases": _biases,
    "emcdr": lambda: _mapped(EMCDR, linear_net(4)),
    "emcdr, mlp": lambda: _mapped(EMCDR, mlp_net(4, 5)),
    "ptupcdr": lambda: _mapped(PTUPCDR, personal_net(4, hidden=6)),
    "racrec": _racrec,
    "racrec, by stars": lambda: _racrec(ranks=False),
    "racrec, classic": lambda: _racrec("classic", ranks=False),
    "autoencoder": _autoencoder,
    "autoencoder, source alone": lambda: _autoencoder(shown=0.0),
    "autoencoder, three, no words": lambda: _autoencoder(0, 3),
    "unified": _unified,
    "unified, gated, no words, plain products": lambda: _unified(0, block="ligr", temperature=0.0, popularity=False),
    "unified, with times": lambda: _unified(times="both"),
    "unified, with times, the other way": lambda: _unified(swap=True, times="past"),
    "unified, no taste": lambda: _unified(taste=0, norm="post"),
    "unified, the other way": lambda: _unified(swap=True),
    "collective-factors": _collective,
    "ensemble": _ensemble,
    "ensemble, with stars": _rating_ensemble,
    "oracle": _oracle,
    "sasrec": _sasrec,
    "transfer-sasrec": _transfer,
    "transfer-sasrec, concat, last": lambda: _transfer("concat", "last"),
    **{f"transfer-sasrec, {kind}": lambda kind=kind: _transfer(kind=kind) for kind in ("linear", "personal", "none")},
}
every = pytest.mark.parametrize("recommender", [pytest.param(make(), id=name) for name, make in MAKERS.items()])

SOURCE = [[], [1, 2, 3], [], [9], [4, 5, 6, 7, 8], [2]]
TARGET = [[], [], [5], [14, 1], [1, 2, 3, 4, 5, 6, 7], list(range(1, I_TARGET))]
_RNG = np.random.default_rng(10)
STARS = {row: [None, 1.0, 2.0, 3.0, 4.0, 5.0][row % 6] for row in range(40)}
"""Stars of an event by its item and row, some absent."""
TIMES = {
    which: (YEAR + _RNG.integers(0, YEAR, size + 1)).tolist()
    for which, size in (("source", I_SOURCE), ("target", I_TARGET))
}
"""When an item was taken, by whomever."""
WORDS = [[_RNG.normal(size=(len(row), WIDTH)).astype("f4") for row in rows] for rows in (SOURCE, TARGET)]


def those(rows: Sequence[int], wider: tuple[int, int] = (0, 0)) -> Histories:
    """Some of the people, with stars and review vectors, in that order; with more padding if asked."""
    parts: dict[str, Any] = {}
    for which, lists, words, more in (("source", SOURCE, WORDS[0], wider[0]), ("target", TARGET, WORDS[1], wider[1])):
        stars = [[np.nan if STARS[i + b] is None else STARS[i + b] for i in lists[b]] for b in rows]
        reviews = Reviews.of([words[b] for b in rows], stars)
        items = pad([lists[b] for b in rows])
        given = np.full(items.shape, np.nan, np.float32)
        for at, row in enumerate(stars):
            given[at, given.shape[1] - len(row) :] = row
        left = ((0, 0), (more, 0))
        parts[which] = np.pad(items, left)
        parts[f"{which}_times"] = np.pad(pad([[TIMES[which][i] for i in lists[b]] for b in rows]), left)
        parts[f"{which}_stars"] = np.pad(given, left, constant_values=np.nan)
        parts[f"{which}_reviews"] = Reviews(
            np.pad(reviews.vectors, (*left, (0, 0))),
            np.pad(reviews.mask, left),
            np.pad(reviews.stars, left, constant_values=np.nan),
            np.pad(items, left),
        )
    return Histories(users=np.array(rows, np.int64), **parts)


PEOPLE = those(range(USERS))
ITEMS = np.array([1, 5, 14, 2, 3, 3])
raters = pytest.mark.parametrize(
    "recommender", [pytest.param(r, id=name) for name, make in MAKERS.items() if (r := make()).rates]
)


def test_every_kind_is_tested() -> None:
    ours = {kind for kind, cls in Recommender._kinds.items() if cls.__module__.startswith("crossrec.")}
    assert ours == {make().kind for make in MAKERS.values()}


@every
def test_shape_type_and_padding(recommender: Recommender) -> None:
    scores = recommender.score(PEOPLE)
    assert recommender.n_items == I_TARGET
    assert scores.shape == (USERS, I_TARGET + 1)
    assert scores.dtype == np.float32
    assert np.isneginf(scores[:, 0]).all()
    assert np.isfinite(scores[:, 1:]).all()


@every
def test_batch_mates_and_padding_do_not_matter(recommender: Recommender) -> None:
    together = recommender.score(PEOPLE)
    np.testing.assert_allclose(recommender.score(those(range(USERS), (3, 2))), together, rtol=1e-4, atol=1e-5)
    order = [3, 0, 5, 1, 4, 2]
    np.testing.assert_allclose(recommender.score(those(order)), together[order], rtol=1e-4, atol=1e-5)
    for b in range(USERS):
        np.testing.assert_allclose(recommender.score(those([b]))[0], together[b], rtol=1e-4, atol=1e-5)


@every
def test_stars_and_reviews_may_be_unknown(recommender: Recommender) -> None:
    bare = Histories(PEOPLE.source, PEOPLE.target, PEOPLE.users)
    assert np.isfinite(recommender.score(bare)[:, 1:]).all()


@every
def test_it_looks_at_what_it_says_and_at_nothing_else(recommender: Recommender) -> None:
    if recommender.kind == "oracle":
        pytest.skip("the oracle knows the people themselves")
    scores = recommender.score(PEOPLE)
    nothing = Histories.of([[]] * USERS, [[]] * USERS)
    for what in ("source", "target", "source reviews", "target reviews"):
        name = what.replace(" ", "_")
        stars = {} if "reviews" in what else {f"{name}_stars": None, f"{name}_times": None}
        missing = dataclasses.replace(PEOPLE, **{name: getattr(nothing, name)}, **stars)
        same = np.allclose(recommender.score(missing), scores, atol=1e-6)
        assert same == (what not in recommender.uses), what


@raters
def test_rated_alone_or_together_and_saved(recommender: Recommender, tmp_path: Path) -> None:
    together = recommender.rate(PEOPLE, ITEMS)
    assert together.shape == (USERS,)
    assert together.dtype == np.float32
    assert np.isfinite(together).all()
    for b in range(USERS):
        np.testing.assert_allclose(recommender.rate(those([b]), ITEMS[[b]]), together[[b]], rtol=1e-4)
    recommender.save(tmp_path)
    np.testing.assert_array_equal(Recommender.load(tmp_path).rate(PEOPLE, ITEMS), together)
    assert recommender.rate(those([]), ITEMS[:0]).shape == (0,)


@every
def test_who_does_not_rate_says_so(recommender: Recommender) -> None:
    if not recommender.rates:
        with pytest.raises(CrossrecError, match=f"'{recommender.kind}' ranks, and predicts no stars"):
            recommender.rate(PEOPLE, ITEMS)


@every
def test_scoring_is_repeatable_and_leaves_its_input_alone(recommender: Recommender) -> None:
    source, target = PEOPLE.source.copy(), PEOPLE.target.copy()
    first = recommender.score(PEOPLE)
    kept = first.copy()
    first[:] = 7  # what a caller does with the scores is its own affair
    np.testing.assert_array_equal(recommender.score(PEOPLE), kept)
    recommender.recommend(PEOPLE, 3)
    np.testing.assert_array_equal(recommender.score(PEOPLE), kept)
    np.testing.assert_array_equal(PEOPLE.source, source)
    np.testing.assert_array_equal(PEOPLE.target, target)


@every
def test_recommendations_are_the_best_items_that_a_person_does_not_have(recommender: Recommender) -> None:
    scores = recommender.score(PEOPLE)
    items, values = recommender.recommend(PEOPLE, 5)
    assert items.shape == values.shape == (USERS, 5)
    for b in range(USERS):
        free = [i for i in range(1, I_TARGET + 1) if i not in TARGET[b]]
        shown = [i for i in items[b].tolist() if i]
        assert len(shown) == len(set(shown)) == min(5, len(free))
        assert set(shown) <= set(free)
        np.testing.assert_array_equal(values[b, : len(shown)], scores[b, shown])
        np.testing.assert_array_equal(values[b, : len(shown)], np.sort(scores[b, free])[::-1][:5])
        assert (items[b, len(shown) :] == 0).all()
        assert np.isneginf(values[b, len(shown) :]).all()


@every
def test_a_list_longer_than_the_catalogue_ends_in_padding(recommender: Recommender) -> None:
    k = I_TARGET + 6
    items, values = recommender.recommend(PEOPLE, k)
    assert items.shape == values.shape == (USERS, k)
    for b in range(USERS):
        left = I_TARGET - len(set(TARGET[b]))
        assert set(items[b, :left].tolist()) == set(range(1, I_TARGET + 1)) - set(TARGET[b])
        assert (items[b, left:] == 0).all()
        assert np.isneginf(values[b, left:]).all()


@every
def test_nobody_at_all(recommender: Recommender) -> None:
    nobody = Histories(np.zeros((0, 2), np.int64), np.zeros((0, 2), np.int64), np.zeros(0, np.int64))
    assert recommender.score(nobody).shape == (0, I_TARGET + 1)


@every
def test_saved_and_loaded_it_scores_the_same_bit_for_bit(recommender: Recommender, tmp_path: Path) -> None:
    before = recommender.score(PEOPLE)
    recommender.save(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["recommender.json", "weights.safetensors"]
    loaded = Recommender.load(tmp_path)
    assert type(loaded) is type(recommender)
    np.testing.assert_array_equal(loaded.score(PEOPLE), before)
    # No pickle opcode stream: safetensors begins with the length of a JSON header.
    head = (tmp_path / "weights.safetensors").read_bytes()
    assert head[8:9] == b"{"
    assert int.from_bytes(head[:8], "little") < len(head)


@every
def test_loading_what_is_not_whole_is_told_in_one_sentence(recommender: Recommender, tmp_path: Path) -> None:
    recommender.save(tmp_path)
    weights, about = tmp_path / "weights.safetensors", tmp_path / "recommender.json"
    whole = weights.read_bytes()
    for damage in (whole[: len(whole) // 2], b"", b"not weights at all"):
        weights.write_bytes(damage)
        with pytest.raises(CrossrecError, match="missing, damaged or of an older version"):
            Recommender.load(tmp_path)
    weights.unlink()
    with pytest.raises(CrossrecError, match="missing, damaged or of an older version"):
        Recommender.load(tmp_path)
    known = json.loads(about.read_text())
    if "config" in known:
        weights.write_bytes(whole)
        about.write_text(json.dumps(known | {"config": {"a setting that was": 1}}))
        with pytest.raises(CrossrecError, match="of an older version"):
            Recommender.load(tmp_path)
    about.write_text('{"kind": "bogus"}')
    with pytest.raises(CrossrecError, match=r"'bogus'.*sasrec"):
        Recommender.load(tmp_path)
    about.unlink()
    with pytest.raises(CrossrecError, match="is missing"):
        Recommender.load(tmp_path)


@pytest.mark.parametrize("columns", [200, 1281, 3000])
def test_top_k_of_a_long_row_is_that_of_a_sort(columns: int) -> None:
    scores = np.random.default_rng(0).normal(size=(7, columns)).astype(np.float32)
    scores[0, : columns - 3] = -np.inf  # fewer than k are left
    scores[1] = np.sort(scores[1])  # the largest lie side by side, at the end
    scores[2] = np.sort(scores[2])[::-1]
    items, values = top_k(scores.copy(), 10)
    assert values.tolist() == (-np.sort(-scores, axis=1)[:, :10]).tolist()
    assert items[1:].tolist() == np.argsort(-scores[1:], axis=1)[:, :10].tolist()
    assert sorted(items[0, :3].tolist()) == [columns - 3, columns - 2, columns - 1]
    assert not items[0, 3:].any()


def test_top_k() -> None:
    scores = np.array([[-np.inf, 1, 3, 2], [-np.inf, -np.inf, -np.inf, 5]], np.float32)
    items, values = top_k(scores.copy(), 2)
    assert items.tolist() == [[2, 3], [3, 0]]
    assert values.tolist() == [[3, 2], [5, -np.inf]]


def test_what_a_fused_optimiser_moved_is_scored() -> None:
    """Scores made ahead of the weights' next step are not those of the weights after it."""
    from crossrec.models.unified import Unified, UnifiedConfig, UnifiedRecommender

    torch.manual_seed(0)
    words = np.random.default_rng(0).normal(size=(4 + 6 + 1, 3)).astype(np.float32)
    unified = Unified(UnifiedConfig(dim=8, taste=5, max_len=6), 4, words, np.arange(11) + 1)
    sequence = SASRec(SASRecConfig(dim=8, max_len=6), 6, np.arange(7))
    histories = Histories.of([[1, 2]], [[3]])
    for recommender in (UnifiedRecommender(unified), SASRecRecommender(sequence)):
        before = recommender.score(histories)
        recommender.model.train()
        optimizer = torch.optim.AdamW(recommender.model.parameters(), lr=0.1, fused=True)
        sum(p.square().sum() for p in recommender.model.parameters()).backward()
        optimizer.step()
        after = recommender.score(histories)
        assert not np.allclose(before[:, 1:], after[:, 1:])
        same = type(recommender).from_state({**recommender.state()[0], "n_items": 6}, recommender.state()[1])
        np.testing.assert_allclose(after, same.score(histories), rtol=1e-5)
