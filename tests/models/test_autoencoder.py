"""The autoencoder across domains against plain numpy."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from crossrec.data.histories import Histories
from crossrec.models.autoencoder import Autoencoder, AutoencoderConfig, AutoencoderRecommender, once
from crossrec.models.recommender import Recommender

I_SOURCE, I_TARGET, WIDTH = 6, 9, 4
COUNTS = np.arange(I_TARGET + 1)


def words(width: int = WIDTH) -> list[NDArray[np.float32]]:
    rng = np.random.default_rng(0)
    tables = [rng.normal(size=(n + 1, width)).astype(np.float32) for n in (I_SOURCE, I_TARGET)]
    for table in tables:
        table[[0, 2]] = 0  # nothing is written about the second item
    return tables


def made(width: int = WIDTH, **settings: Any) -> Autoencoder:
    torch.manual_seed(1)
    model = Autoencoder(AutoencoderConfig(**{"hidden": 5, "target_shown": 0.5} | settings), words(width), COUNTS)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.3)
    return model.eval()


def by_hand(weights: dict[str, NDArray[Any]], source: list[int], target: list[int]) -> NDArray[np.float64]:
    """Target logits of a person, item by item."""
    rows = [weights["source"][i] for i in source] + [weights["target"][i] for i in target]
    told = [words()[0][i] for i in source if i != 2] + [words()[1][i] for i in target if i != 2]
    mean = np.mean(told, axis=0) if told else np.zeros(WIDTH)
    total = np.sum(rows, axis=0) / np.sqrt(len(rows)) if rows else np.zeros(5)
    code = np.tanh(total + weights["read.weight"] @ mean + weights["bias"])
    return np.array(
        [
            code @ (weights["items"][i] + weights["write.weight"] @ words()[1][i]) + weights["items_bias"][i]
            for i in range(1, I_TARGET + 1)
        ]
    )


@pytest.mark.parametrize("networks", [1, 3])
def test_scores_are_the_formula_and_the_mean_of_the_networks(networks: int) -> None:
    model = made(networks=networks)
    asked = Histories.of([[1, 3], [], [2], []], [[4], [5, 2], [], []])
    scores = AutoencoderRecommender(model).score(asked)
    nets = [{name: value.numpy() for name, value in net.state_dict().items()} for net in model.networks]
    for row, (source, target) in enumerate([([1, 3], [4]), ([], [5, 2]), ([2], []), ([], [])]):
        expected = np.mean([by_hand(weights, source, target) for weights in nets], axis=0)
        np.testing.assert_allclose(scores[row, 1:], expected, rtol=1e-4, atol=1e-5)
    if networks > 1:
        assert not torch.equal(model.networks[0].items, model.networks[1].items)


def test_what_a_person_has_is_a_set() -> None:
    recommender = AutoencoderRecommender(made())
    one = recommender.score(Histories.of([[1, 3], [3, 1, 3, 1]], [[4, 5], [5, 4, 4]]))
    np.testing.assert_allclose(one[0, 1:], one[1, 1:], rtol=1e-5)
    assert once(np.array([[0, 3, 1, 3], [2, 2, 2, 2]])).tolist() == [[0, 1, 3, 0], [2, 0, 0, 0]]
    assert once(np.zeros((2, 0), np.int64)).shape == (2, 0)


def test_trained_on_the_source_alone_it_takes_no_notice_of_a_target_history() -> None:
    recommender = AutoencoderRecommender(made(target_shown=0.0))
    assert recommender.uses == {"source"}
    assert AutoencoderRecommender(made()).uses == {"source", "target"}
    scores = recommender.score(Histories.of([[1, 3], [1, 3]], [[], [4, 5]]))
    np.testing.assert_allclose(scores[0, 1:], scores[1, 1:], rtol=1e-5)


def test_dropped_items_make_the_others_weigh_more() -> None:
    """The mean over many draws is what all items say."""
    model = made(input_dropout=0.5, dropout=0.0)
    network = model.networks[0].train()
    items = torch.tensor([[1, 3, 4]]).repeat(40_000, 1)
    drawn = network._shown(items, network.source)
    assert len(drawn.unique(dim=0)) == 8
    torch.testing.assert_close(drawn.mean(0), network.source[[1, 3, 4]].sum(0), rtol=0, atol=0.03)
    assert len(network.eval()._shown(items, network.source).unique(dim=0)) == 1


def test_the_bias_begins_with_popularity() -> None:
    model = Autoencoder(AutoencoderConfig(hidden=5, popularity=0.5, networks=2), words(), COUNTS)
    for network in model.networks:
        torch.testing.assert_close(network.items_bias, 0.5 * torch.log1p(torch.from_numpy(COUNTS).float()))


def test_without_words_it_is_saved_and_loaded_too(tmp_path: Path) -> None:
    recommender = AutoencoderRecommender(made(width=0, networks=2))
    asked = Histories.of([[1, 3], []], [[4], []])
    recommender.save(tmp_path)
    loaded = Recommender.load(tmp_path)
    assert isinstance(loaded, AutoencoderRecommender)
    assert loaded.model.config == recommender.model.config
    np.testing.assert_array_equal(loaded.score(asked), recommender.score(asked))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden": 0}, r"hidden \(0\) must be positive"),
        ({"networks": 0}, r"networks \(0\) must be positive"),
        ({"dropout": 1.0}, r"dropout \(1.0\) must be in \[0, 1\)"),
        ({"target_shown": 1.5}, r"target_shown \(1.5\)"),
        ({"input_dropout": -0.1}, r"input_dropout \(-0.1\)"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AutoencoderConfig(**settings)
