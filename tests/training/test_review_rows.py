"""What a row of RACRec's training may read: against plain loops over events, and what its losses come to."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from crossrec.config import from_dict
from crossrec.data.histories import Histories
from crossrec.data.pair import DomainPair
from crossrec.data.ratings import Ratings
from crossrec.data.split import Split, _split, cold_user, next_item
from crossrec.errors import CrossrecError
from crossrec.models.biases import Biases
from crossrec.models.racrec import RACRec
from crossrec.models.racrec_recommender import RACRecRecommender
from crossrec.models.taste_losses import CLASSIC_WEIGHTS
from crossrec.training.job import Job
from crossrec.training.racrec import RACRecLoss, RACRecRecipeConfig, racrec
from crossrec.training.review_rows import RowReader, Rows, whitened, without_target
from crossrec.training.reviews import ItemReviews, fit_whitening, item_means

MakePair = Callable[..., DomainPair]
SMALL = {"components": 3, "taste_dim": 2, "most_reviews": 4, "epochs": 2, "batch_size": 64, "encoder": "static"}


@pytest.fixture(params=[0, 1, 2])
def pair(request: pytest.FixtureRequest, rated_pair: MakePair, with_words: MakePair) -> DomainPair:
    made = with_words(rated_pair(request.param, users=30, n_items=8, longest=6), request.param)
    return dataclasses.replace(made, most_reviews=4)


def split_of(pair: DomainPair) -> Split:
    return _split(pair, "next-item", 0, *next_item(pair))


def owner(pair: DomainPair, event: int) -> int:
    return int(np.searchsorted(pair.target.offsets, event, side="right") - 1)


def in_training(pair: DomainPair, split: Split) -> list[int]:
    starts = pair.target.offsets[:-1]
    return [e for start, n in zip(starts, split.target_train_end, strict=True) for e in range(start, start + n)]


def read(pair: DomainPair, rows: list[int]) -> set[bytes]:
    assert pair.vectors is not None
    return {pair.vectors.table[row].astype("f4").tobytes() for row in rows}


def seen(vectors: np.ndarray, mask: np.ndarray) -> set[bytes]:
    return {vector.tobytes() for vector in vectors[mask]}


def test_an_item_shows_what_others_wrote_before_and_nothing_else(pair: DomainPair) -> None:
    split, vectors, when = split_of(pair), pair.vectors, pair.target.times
    assert vectors is not None
    assert when is not None
    events = np.arange(len(pair.target.items))
    found = ItemReviews(pair, split).before(events)
    assert np.isnan(found.stars).all()
    trained = in_training(pair, split)
    checked = 0
    for event in events:
        item = pair.target.items[event]
        before = sorted(
            (e for e in trained if pair.target.items[e] == item and when[e] < when[event]), key=lambda e: when[e]
        )
        title = vectors.titles["target"][item]
        shown = seen(found.vectors[event], found.mask[event])
        assert read(pair, [title]) <= shown
        assert shown <= read(pair, [title, *vectors.rows["target"][before]])
        assert len(shown) == 1 + min(len(before), 4)
        last = before[-4:] if len({when[e] for e in before}) == len(before) else []
        assert read(pair, vectors.rows["target"][last].tolist()) <= shown  # the newest, where no tie leaves a choice
        assert not read(pair, [vectors.rows["target"][event]]) & shown
        checked += len(before) > 0
    assert checked > 10


def test_the_leak_shows_the_own_review_and_no_other(pair: DomainPair) -> None:
    vectors = pair.vectors
    assert vectors is not None
    events = np.arange(len(pair.target.items))
    found = ItemReviews(pair, split_of(pair), leaky=True).before(events)
    for event in events:
        rows = [vectors.titles["target"][pair.target.items[event]], vectors.rows["target"][event]]
        assert seen(found.vectors[event], found.mask[event]) == read(pair, rows)


def test_the_catalogue_holds_the_training_part_and_leaves_a_row_out_on_request(pair: DomainPair) -> None:
    split, vectors = split_of(pair), pair.vectors
    assert vectors is not None
    reader, trained = ItemReviews(dataclasses.replace(pair, most_reviews=99), split), in_training(pair, split)
    catalogue = reader.catalogue()
    assert not catalogue.mask[0].any()
    events = np.array(trained)
    without = reader.without(events)
    for item in range(1, pair.target.n_items + 1):
        about = [e for e in trained if pair.target.items[e] == item]
        rows = [vectors.titles["target"][item], *vectors.rows["target"][about]]
        assert seen(catalogue.vectors[item], catalogue.mask[item]) == read(pair, rows)
        for event in about:
            at = trained.index(event)
            kept = [row for row in rows if row != vectors.rows["target"][event]]
            assert seen(without.vectors[at], without.mask[at]) == read(pair, kept)


def test_a_person_is_read_as_of_just_before_the_row(pair: DomainPair) -> None:
    split, vectors = split_of(pair), pair.vectors
    source_times, target_times = pair.source.times, pair.target.times
    assert vectors is not None
    assert source_times is not None
    assert target_times is not None
    reader = RowReader(pair, split)
    events = np.array(in_training(pair, split))
    rows = reader.training(events)
    for at, event in enumerate(events):
        user = owner(pair, event)
        first, position = pair.target.offsets[user], event - pair.target.offsets[user]
        own = range(first, first + position)
        assert seen(rows.target.vectors[at].numpy(), rows.target.mask[at].numpy()) == read(
            pair, vectors.rows["target"][list(own)[-4:]].tolist()
        )
        start = pair.source.offsets[user]
        earlier = [e for e in range(start, pair.source.offsets[user + 1]) if source_times[e] < target_times[event]]
        earlier = [e for e in earlier if e - start < split.source_train_end[user]]
        assert seen(rows.source.vectors[at].numpy(), rows.source.mask[at].numpy()) == read(
            pair, vectors.rows["source"][earlier[-4:]].tolist()
        )
        assert rows.number[at] == pair.target.items[event]


def test_the_bias_of_a_training_row_comes_from_the_other_ratings(pair: DomainPair) -> None:
    split, stars = split_of(pair), pair.target.ratings
    assert stars is not None
    biases = Biases.fit(Ratings.training(pair, split))
    events = np.array(in_training(pair, split))
    found = RowReader(pair, split, biases).training(events).bias
    for at, event in enumerate(events):
        if np.isnan(stars[event]):
            continue
        others = [e for e in events if owner(pair, e) == owner(pair, event) and e != event and not np.isnan(stars[e])]
        rest = sum(stars[e] - biases.mean - biases.item[pair.target.items[e]] for e in others)
        assert found[at].item() == pytest.approx(rest / (len(others) + biases.damping), abs=1e-5)


def test_an_emptied_target_history_is_gone(pair: DomainPair) -> None:
    rows = RowReader(pair, split_of(pair)).training(np.array(in_training(pair, split_of(pair))))
    empty = torch.arange(len(rows.number)) % 2 == 0
    left = without_target(rows, empty).target
    assert not left.mask[empty].any()
    assert not left.vectors[empty].any()
    assert not left.stars[empty].any()
    assert torch.equal(left.mask[~empty], rows.target.mask[~empty])
    assert left.mask.any()


def test_the_whitened_pair_reads_the_same_events(pair: DomainPair) -> None:
    whitening = fit_whitening(item_means(pair, split_of(pair)), 3)
    small = whitened(pair, whitening)
    users = np.arange(pair.n_users)
    whole = pair.histories(users, pair.source.counts, pair.target.counts)
    other = small.histories(users, pair.source.counts, pair.target.counts)
    for reviews, found in ((whole.source_reviews, other.source_reviews), (whole.target_reviews, other.target_reviews)):
        assert reviews is not None
        assert found is not None
        np.testing.assert_array_equal(found.mask, reviews.mask)
        np.testing.assert_allclose(found.vectors, whitening(reviews.vectors), atol=2e-3)


def loss_of(pair: DomainPair, **settings: Any) -> tuple[dict[str, Tensor], RACRec, Rows, Tensor]:
    config = from_dict(RACRecRecipeConfig, SMALL | {"dropout": 0.0} | settings)
    torch.manual_seed(0)
    model = RACRec(config.model, 6, pair.target.n_items, mean=3.0)
    split = split_of(pair)
    rows = RowReader(pair, split).training(np.array(in_training(pair, split)))._replace(progress=0.5)
    items = torch.randn(pair.target.n_items + 1, 6)
    return RACRecLoss(config, model, items)(model, rows), model, rows, items


def test_classic_adds_up_its_five_losses_and_no_other(pair: DomainPair) -> None:
    parts, _, rows, _ = loss_of(pair, mode="classic")
    assert set(parts) == {"loss", *CLASSIC_WEIGHTS}
    total = sum(weight * parts[name].item() for name, weight in CLASSIC_WEIGHTS.items())
    assert parts["loss"].item() == pytest.approx(total, rel=1e-5)
    config = from_dict(RACRecRecipeConfig, {"mode": "classic"})
    assert (config.lr, config.batch_size, config.epochs, config.dropout) == (5e-5, 64, 50, 0.3)
    assert not (config.whiten or config.stars or config.context or config.rank or config.target_dropout)
    assert not rows.rating.isnan().all()


def test_the_corrected_form_has_five_losses_and_a_ranking(pair: DomainPair) -> None:
    parts, model, rows, items = loss_of(pair, diff=0.3, domains=0.2, rec=0.5, irec=0.7, rank=2.0)
    weights = {"pred": 1.0, "diff": 0.3, "class": 0.2, "rec": 0.5, "irec": 0.7, "rank": 2.0}
    assert set(parts) == {"loss", *weights}
    assert parts["loss"].item() == pytest.approx(sum(w * parts[n].item() for n, w in weights.items()), rel=1e-5)
    # The ranking again, one row at a time: the row's item is shown without the row's own review.
    query = model.tastes(rows.source, rows.target).query
    losses = []
    for at, number in enumerate(rows.number.tolist()):
        shown = items.clone()
        shown[number] = model.item_vector(type(rows.liked)(*(part[at : at + 1] for part in rows.liked)))[0]
        logits = query[at] @ model.product(shown).T + model.popularity
        losses.append(F.cross_entropy(logits[1:], torch.tensor(number - 1)).item())
    assert parts["rank"].item() == pytest.approx(np.mean(losses), rel=1e-4)


def test_a_large_catalogue_is_told_from_drawn_items(pair: DomainPair, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = torch.tensor([3, 1, 5, 3])
    monkeypatch.setattr("crossrec.training.racrec.MOST_SCORED", 4)
    monkeypatch.setattr(torch, "randint", lambda low, high, size, **_: drawn)
    parts, model, rows, items = loss_of(pair)
    query, products = model.tastes(rows.source, rows.target).query, model.product(items)
    losses = []
    for at, number in enumerate(rows.number.tolist()):
        own = model.item_vector(type(rows.liked)(*(part[at : at + 1] for part in rows.liked)))
        logits = [query[at] @ model.product(own)[0] + model.popularity[number]]
        logits += [query[at] @ products[j] + model.popularity[j] for j in drawn.tolist() if j != number]
        losses.append(F.cross_entropy(torch.stack(logits), torch.tensor(0)).item())
    assert parts["rank"].item() == pytest.approx(np.mean(losses), rel=1e-4)


def test_coattention_is_trained_and_rates_otherwise_than_the_mean(pair: DomainPair) -> None:
    made = {selection: racrec(job(pair, selection=selection))[0] for selection in ("mean", "coattention")}
    people, items = pair.histories(np.arange(9), pair.source.counts[:9], pair.target.counts[:9]), np.arange(9) % 8 + 1
    events = np.arange(9)
    said = ItemReviews(pair, split_of(pair)).before(events)
    stars = {selection: model.rate(people, items, said) for selection, model in made.items()}
    assert np.isfinite(stars["coattention"]).all()
    assert np.abs(stars["coattention"] - stars["mean"]).max() > 1e-4
    model = made["coattention"]
    assert isinstance(model, RACRecRecommender)
    assert not torch.equal(model.model.affinity, torch.eye(len(model.model.affinity)))


def test_a_classifier_behind_the_reversal_teaches_the_towers_the_opposite(pair: DomainPair) -> None:
    parts, model, *_ = loss_of(pair)
    towards = torch.autograd.grad(parts["class"], model.classifier.weight, retain_graph=True)[0]
    away = torch.autograd.grad(parts["class"], model.shared.weight)[0]
    assert towards.abs().sum() > 0
    with torch.no_grad():
        model.shared.weight.add_(away, alpha=-1e-2)  # a step of the towers down their gradient
    config = from_dict(RACRecRecipeConfig, SMALL | {"dropout": 0.0})
    split = split_of(pair)
    rows = RowReader(pair, split).training(np.array(in_training(pair, split)))._replace(progress=0.5)
    after = RACRecLoss(config, model, torch.randn(pair.target.n_items + 1, 6))(model, rows)["class"]
    assert after.item() > parts["class"].item()  # makes the domains harder to tell


def job(pair: DomainPair, **settings: Any) -> Job:
    split = _split(pair, "cold-user", 0, *cold_user(pair, 0, share=0.2))
    config = from_dict(RACRecRecipeConfig, SMALL | settings)
    return Job(pair, split, config, 0, lambda r: {"ndcg@10": 0.0})


@pytest.mark.parametrize("mode", ["corrected", "classic"])
def test_training_and_rating_without_stars(pair: DomainPair, mode: str) -> None:
    bare = dataclasses.replace(pair, target=dataclasses.replace(pair.target, ratings=None))
    if mode == "classic":
        with pytest.raises(CrossrecError, match="has no ratings: RACRec can only be trained on it with rank above 0"):
            racrec(job(bare, mode=mode))
        return
    model, _ = racrec(job(bare))
    assert isinstance(model, RACRecRecommender)
    assert not model.rates
    with pytest.raises(CrossrecError, match="predicts no stars"):
        model.rate(Histories.of([[]], [[]]), np.array([1]))


def test_classic_ranks_by_its_stars(pair: DomainPair) -> None:
    model, fitted = racrec(job(pair, mode="classic", epochs=2, whiten=False))
    assert model.rates
    people = pair.histories(np.arange(5), pair.source.counts[:5], np.zeros(5, np.int64))
    scores = model.score(people)
    for item in range(1, pair.target.n_items + 1):
        np.testing.assert_allclose(model.rate(people, np.full(5, item)), scores[:, item], rtol=1e-4, atol=1e-5)
    assert all(set(event["losses"]) == {"loss", *CLASSIC_WEIGHTS} for event in fitted.history)
