"""The recipe of the cross-domain autoencoder: its batches, its loss, and what it learns."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from crossrec.config import from_dict
from crossrec.data.demo import DemoConfig
from crossrec.data.histories import Histories
from crossrec.data.pair import DomainPair
from crossrec.data.split import Split, _split, cold_user, open_split
from crossrec.errors import CrossrecError
from crossrec.evaluation.protocol import quick
from crossrec.models.autoencoder import Autoencoder, AutoencoderConfig, AutoencoderRecommender
from crossrec.models.simple import Popularity
from crossrec.runs.demo import make_world
from crossrec.training import autoencoder as recipe
from crossrec.training.autoencoder import (
    AutoencoderLoss,
    AutoencoderRecipeConfig,
    People,
    PeopleBatches,
    autoencoder,
    multinomial_nll,
)
from crossrec.training.job import Job
from crossrec.training.words import item_words

MakePair = Callable[..., DomainPair]


def held_out(pair: DomainPair) -> Split:
    return _split(pair, "cold-user", 0, *cold_user(pair, 0, share=0.2))


def job(pair: DomainPair, split: Split | None = None, seed: int = 0, **settings: Any) -> Job:
    split = split or held_out(pair)
    return Job(pair, split, from_dict(AutoencoderRecipeConfig, settings), seed, lambda r: quick(r, pair, split))


def trained(work: Job) -> AutoencoderRecommender:
    found = autoencoder(work)[0]
    assert isinstance(found, AutoencoderRecommender)
    return found


def sets_of(rows: torch.Tensor) -> list[set[int]]:
    return [set(row.tolist()) - {0} for row in rows]


def pairs_of(people: People) -> list[tuple[set[int], set[int]]]:
    return list(zip(sets_of(people.source), sets_of(people.answers), strict=True))


# --- batches ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_an_epoch_shows_everybody_with_something_to_tell_once(random_pair: MakePair, weight: float) -> None:
    """Held-out people too, where their source histories teach what goes with what."""
    pair = random_pair(0, users=90, fewest=0)
    split = held_out(pair)
    batches = PeopleBatches(job(pair, split, batch_size=16, target_shown=0.4, source_loss=weight, others=99))
    drawn = list(batches.epoch(3))
    assert len(drawn) == len(batches)
    rows = [row for one in drawn for row in zip(*(sets_of(part) for part in one), strict=True)]
    expected = [
        (set(pair.source.sequence(u)[:s].tolist()), set(pair.target.sequence(u)[:t].tolist()))
        for u, (s, t) in enumerate(zip(split.source_train_end, split.target_train_end, strict=True))
        if t or (s and weight)
    ]
    plain = lambda pairs: sorted((sorted(a), sorted(b)) for a, b in pairs)  # noqa: E731
    assert plain((source, answers) for source, _, answers in rows) == plain(expected)
    assert all(shown in (set(), answers) for _, shown, answers in rows)
    assert 0.2 < np.mean([bool(shown) for source, shown, answers in rows if source and answers]) < 0.6
    assert 0.2 < np.mean([bool(shown) for source, shown, _ in rows if not source]) < 0.8


def test_of_people_of_one_domain_no_more_are_drawn_than_asked_for(random_pair: MakePair) -> None:
    pair = random_pair(0, users=90, fewest=0)
    split = held_out(pair)
    both = int(((split.source_train_end > 0) & (split.target_train_end > 0)).sum())
    few = PeopleBatches(job(pair, split, batch_size=16, others=0.25))
    epochs = [list(few.epoch(number)) for number in (1, 2)]
    alone = [sum(int(not (s and a)) for one in steps for s, a in pairs_of(one)) for steps in epochs]
    assert alone == [round(0.25 * both)] * 2
    assert all(sum(int(bool(s and a)) for one in steps for s, a in pairs_of(one)) == both for steps in epochs)
    assert len(epochs[0]) == len(few) == -(-(both + alone[0]) // 16)
    seen = [sorted(sorted(s) + sorted(a) for one in steps for s, a in pairs_of(one)) for steps in epochs]
    assert seen[0] != seen[1]
    none = PeopleBatches(job(pair, split, batch_size=16, others=0.0))
    assert sum(len(one.source) for one in none.epoch(1)) == both


def test_where_nobody_is_in_both_domains_all_are_shown(make_pair: MakePair) -> None:
    pair = make_pair([[1], [2], []], [[], [], [1, 2]], n_source=2, n_target=2)
    ends = {"source_train_end": pair.source.counts, "target_train_end": pair.target.counts}
    split = dataclasses.replace(held_out(make_pair([[1]] * 3, [[1]] * 3)), **ends)
    assert sum(len(one.source) for one in PeopleBatches(job(pair, split)).epoch(1)) == 3


def test_batches_depend_on_epoch_and_step_alone(random_pair: MakePair) -> None:
    work = job(random_pair(0, users=60, fewest=1), batch_size=8)
    whole = list(PeopleBatches(work).epoch(2))
    rest = list(PeopleBatches(work).epoch(2, start=3))
    assert len(rest) == len(whole) - 3
    for one, other in zip(whole[3:], rest, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    again = next(PeopleBatches(work).epoch(3))
    assert sets_of(again.answers) != sets_of(whole[0].answers)


def test_nobody_to_learn_from_is_one_sentence(make_pair: MakePair) -> None:
    pair = make_pair([[1], [2]], [[1], [2]])
    split = held_out(pair)
    nothing = dataclasses.replace(split, target_train_end=np.zeros_like(split.target_train_end))
    with pytest.raises(CrossrecError, match="No Target event is left to train on"):
        autoencoder(job(pair, nothing))


# --- loss -------------------------------------------------------------------------------------------------------------


def test_the_likelihood_is_that_of_every_item_alone() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 6)
    items = torch.tensor([[0, 4, 2], [0, 0, 0], [1, 5, 3]])
    rows, columns = torch.nonzero(items, as_tuple=True)
    expected = F.cross_entropy(logits[:, rows].flatten(0, 1), items[rows, columns].repeat(2))
    torch.testing.assert_close(multinomial_nll(logits, items), expected)


def loss(source: int, target: int, **settings: Any) -> AutoencoderLoss:
    """Of so many rows in each domain, every item taken once."""
    return AutoencoderLoss(AutoencoderRecipeConfig(**settings), np.ones(source, int), np.ones(target, int), 0)


def test_a_sample_of_a_large_catalogue_tells_the_same_in_the_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe, "SMALL_CATALOGUE", 0)
    torch.manual_seed(0)
    size, people = 400, 40
    rng = np.random.default_rng(0)
    weights = 1 / np.arange(1, size + 1)
    has = [1 + rng.choice(size, 6, replace=False, p=weights / weights.sum()) for _ in range(2000)]
    counts = np.bincount(np.concatenate(has), minlength=size + 1)
    words = [np.zeros((n, 0), np.float32) for n in (2, size + 1)]
    model = Autoencoder(AutoencoderConfig(hidden=8, popularity=1.0), words, counts).eval()
    with torch.no_grad():
        for network in model.networks:
            network.items.mul_(40)  # type: ignore[union-attr, operator]
    sampled = AutoencoderLoss(AutoencoderRecipeConfig(negatives=60), np.zeros(2, int), counts, 0)
    gaps, looked_at = [], []
    for step in range(40):
        items = torch.from_numpy(np.stack(has[step * people : (step + 1) * people]))
        nothing = torch.zeros(people, 0, dtype=torch.long)
        codes = model.codes(nothing, items[:, :3])

        def logits(codes: list[torch.Tensor], columns: torch.Tensor | None = None) -> torch.Tensor:
            looked_at.append(None if columns is None else len(columns))
            return model.target_logits(codes, columns)

        gap = sampled._told("target", logits, codes, items) - multinomial_nll(logits(codes), items)
        gaps.append(float(gap.detach()))
    assert max(n for n in looked_at if n) < size / 2
    assert np.std(gaps) > 1e-3  # it is a sample
    assert abs(np.mean(gaps)) < 3 * np.std(gaps) / np.sqrt(len(gaps)) + 0.02


def test_with_everything_drawn_the_sample_is_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    words = [np.zeros((n, 0), np.float32) for n in (7, 9)]
    model = Autoencoder(AutoencoderConfig(hidden=4), words, np.arange(9)).eval()
    people = People(torch.tensor([[1, 3], [0, 0]]), torch.tensor([[0, 0], [5, 2]]), torch.tensor([[0, 8], [5, 2]]))
    whole = loss(7, 9)(model, people)
    monkeypatch.setattr(recipe, "SMALL_CATALOGUE", 0)
    drawn = loss(7, 9, negatives=2000)(model, people)
    for name, value in whole.items():
        torch.testing.assert_close(drawn[name], value)


def test_the_source_counts_by_its_weight() -> None:
    torch.manual_seed(0)
    words = [np.zeros((n, 0), np.float32) for n in (7, 9)]
    model = Autoencoder(AutoencoderConfig(hidden=4), words, np.arange(9)).eval()
    people = People(torch.tensor([[1, 3], [0, 0]]), torch.tensor([[0, 0], [5, 2]]), torch.tensor([[0, 8], [5, 2]]))
    alone, both = (loss(7, 9, source_loss=weight)(model, people) for weight in (0.0, 0.25))
    torch.testing.assert_close(both["loss"], alone["loss"] + 0.25 * both["source"])
    assert set(alone) == {"loss", "target", "alone"}
    # Whoever has no source is a mean of their own.
    codes = model.codes(people.source, people.target)
    for name, row in (("target", 0), ("alone", 1)):
        expected = multinomial_nll(model.target_logits([code[[row]] for code in codes]), people.answers[[row]])
        torch.testing.assert_close(both[name], expected)
    cold = People(torch.zeros(2, 0, dtype=torch.long), people.target, people.answers)
    parts = loss(7, 9, source_loss=0.25)(model, cold)
    assert set(parts) == {"loss", "alone"}
    parts["loss"].backward()
    assert all(w.grad is None or w.grad.isfinite().all() for w in model.parameters())


# --- learning ---------------------------------------------------------------------------------------------------------


def test_it_learns_which_source_item_goes_with_which_target_item(make_pair: MakePair) -> None:
    kinds = np.random.default_rng(0).integers(1, 7, 200)
    pair = make_pair([[int(k)] for k in kinds], [[int(k), int(k) + 6] for k in kinds])
    settings = {"hidden": 16, "epochs": 60, "patience": 60, "lr": 0.02, "batch_size": 32, "target_shown": 0.5}
    work = job(pair, **settings, input_dropout=0.0, dropout=0.2)
    recommender = trained(work)
    lists = recommender.recommend(Histories.of([[k] for k in range(1, 7)], [[]] * 6), 2)[0]
    assert [set(row) for row in lists.tolist()] == [{k, k + 6} for k in range(1, 7)]
    # The same weights answer people whose target history is known.
    warm = recommender.recommend(Histories.of([[k] for k in range(1, 7)], [[k] for k in range(1, 7)]), 1)[0]
    assert warm[:, 0].tolist() == [k + 6 for k in range(1, 7)]


def test_words_alone_carry_over(make_pair: MakePair, with_telling_titles: Callable[[DomainPair], DomainPair]) -> None:
    """Source items that nobody of the training part has: only what is written about them tells their kind."""
    kinds = np.random.default_rng(0).integers(0, 2, 240)
    rng = np.random.default_rng(1)
    pair = make_pair([[1 + k + 2 * int(rng.integers(8))] for k in kinds], [[1 + int(k)] for k in kinds])
    pair = with_telling_titles(pair)
    split = held_out(pair)
    rare = list(range(13, 17))
    # Each has one source event: of those with a rare item nothing is trained on but the target.
    hidden = dataclasses.replace(split, source_train_end=split.source_train_end * ~np.isin(pair.source.items, rare))
    settings = {"hidden": 8, "epochs": 30, "patience": 30, "lr": 0.01, "batch_size": 32, "components": 3}
    asked = Histories.of([[item] for item in rare], [[]] * len(rare))
    best = trained(job(pair, hidden, **settings)).recommend(asked, 1)[0][:, 0]
    assert best.tolist() == [1 + (item - 1) % 2 for item in rare]


def test_without_words_there_are_none(random_pair: MakePair, with_words: Callable[[DomainPair], DomainPair]) -> None:
    pair = random_pair(0, users=60, fewest=1)
    short = {"hidden": 4, "epochs": 2}
    assert [table.shape for table in item_words(job(pair))] == [(16, 0), (16, 0)]
    assert [table.shape for table in item_words(job(with_words(pair), components=3))] == [(16, 3), (16, 3)]
    scores = trained(job(pair, **short)).score(Histories.of([[], [3]], [[], []]))
    assert np.isfinite(scores[:, 1:]).all()


def test_on_a_world_of_shared_taste_it_beats_popularity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSREC_HOME", str(tmp_path))
    make_world("world", DemoConfig(users=500, source_items=80, target_items=80, source_events=7000, target_events=6000))
    pair = DomainPair.open("world")
    split = open_split(pair, "cold-user-50", 0)
    work = job(pair, split, hidden=32, epochs=15, lr=5e-3, batch_size=32)
    found = quick(trained(work), pair, split, "test")["ndcg@10"]
    popular = quick(Popularity(split.target_counts(pair)), pair, split, "test")["ndcg@10"]
    assert found > 1.1 * popular


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"target_shown": 1.5}, r"target_shown \(1.5\)"),
        ({"source_loss": -1}, r"source_loss \(-1.0\)"),
        ({"components": 0}, r"components \(0\)"),
        ({"hidden": 0}, r"hidden \(0\)"),
        ({"epochs": 0}, r"epochs \(0\)"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(CrossrecError, match=message):
        from_dict(AutoencoderRecipeConfig, settings)
