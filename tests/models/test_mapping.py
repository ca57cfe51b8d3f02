"""EMCDR and PTUPCDR by hand, and what happens at the edges."""

import numpy as np
import pytest
import torch
from torch import nn

from crossrec.data.histories import Histories, pad
from crossrec.models.factors import Factors
from crossrec.models.mapping import EMCDR, PTUPCDR, liked, linear_net, personal_net


def factors(n_items: int, width: int, seed: int) -> Factors:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(n_items + 1, width - 1)).astype(np.float32)
    vectors[0] = 0
    return Factors(3.5, rng.normal(size=n_items + 1).astype(np.float32), vectors, 1.0, 2.0, 0.5)


class Fixed(nn.Module):
    """A meta network that answers one matrix for everybody."""

    def __init__(self, matrix: list[list[float]]):
        super().__init__()
        self.matrix = torch.tensor(matrix)

    def forward(self, taste: torch.Tensor) -> torch.Tensor:
        return self.matrix.flatten().expand(len(taste), -1)


def test_a_person_times_their_bridge() -> None:
    bridge = personal_net(2)
    bridge.meta = Fixed([[1.0, 2.0], [3.0, 4.0]])  # type: ignore[assignment]
    found = bridge(torch.ones(1, 2), torch.zeros(1, 1, 1), torch.ones(1, 1, dtype=torch.bool))
    assert found.tolist() == [[4, 6]]


def test_one_map_for_everybody_multiplies_from_the_right() -> None:
    net = linear_net(2)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]).T)
    assert net(torch.ones(1, 2)).tolist() == [[4, 6]]


def test_attention_leaves_pads_out() -> None:
    bridge = personal_net(4)
    same = torch.ones(1, 3, 3)
    mask = torch.tensor([[True, True, False]])
    np.testing.assert_allclose(bridge.weights(same, mask).detach(), [[0.5, 0.5, 0]])
    nobody = bridge.weights(same, torch.zeros_like(mask))
    assert nobody.tolist() == [[0, 0, 0]]
    loss = bridge(torch.ones(1, 4), same, torch.zeros_like(mask)).sum()
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in bridge.parameters() if p.grad is not None)


def test_attention_is_that_of_the_paper() -> None:
    torch.manual_seed(0)
    bridge, items = personal_net(4), torch.randn(1, 2, 3)
    w, out = bridge.attention[0].weight, bridge.attention[2].weight
    scores = [(out[0] @ torch.relu(w @ items[0, j])).item() for j in range(2)]
    expected = np.exp(scores) / np.exp(scores).sum()
    mask = torch.ones(1, 2, dtype=torch.bool)
    np.testing.assert_allclose(bridge.weights(items, mask).detach()[0], expected, rtol=1e-5)
    taste = torch.tensor(expected, dtype=torch.float32) @ items[0]
    matrix = bridge.meta(taste).view(4, 4)
    vector = torch.randn(1, 4)
    np.testing.assert_allclose(bridge(vector, items, mask).detach(), (vector @ matrix).detach(), rtol=1e-4)


def test_the_newest_liked_items() -> None:
    items = np.array([[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]])
    stars = np.array([[np.nan, 5, 1, 4, np.nan], [1, 2, 3, 3.5, 2]], np.float32)
    assert liked(items, stars).tolist() == [[0, 0, 1, 3, 4], [0] * 5]
    assert liked(items, stars, 2).tolist() == [[3, 4], [0, 0]]
    assert liked(items, None, 3).tolist() == [[2, 3, 4], [7, 8, 9]]
    assert liked(np.zeros((2, 0), np.int64), None).shape == (2, 0)


@pytest.mark.parametrize("kind", ["emcdr", "ptupcdr"])
def test_stars_are_what_the_formula_says(kind: str) -> None:
    torch.manual_seed(1)
    source, target = factors(5, 3, 0), factors(7, 3, 1)
    model = EMCDR(source, target, linear_net(3)) if kind == "emcdr" else PTUPCDR(source, target, personal_net(3, 4))
    stars = np.array([[5, 2], [np.nan, 4]], np.float32)
    cold = Histories(pad([[1, 2], [3]]), pad([[], []]), source_stars=stars)
    vectors = model.mapped(cold)
    for b in range(2):
        for item in (1, 7):
            expected = 3.5 + target.item_bias[item] + vectors[b, :2] @ target.vectors[item] + vectors[b, 2]
            assert model.rate(cold, np.array([item, item]))[b] == pytest.approx(expected, rel=1e-4)
            assert model.score(cold)[b, item] == pytest.approx(expected, rel=1e-4)
    # Target stars of the first person: what the prediction misses of them, over n + damping, is added to all.
    warm = Histories(
        cold.source, pad([[4, 5], []]), source_stars=stars, target_stars=np.array([[1, 2], [np.nan] * 2], np.float32)
    )
    before = model.score(cold)
    shift = ((1 - before[0, 4]) + (2 - before[0, 5])) / (2 + 2)
    np.testing.assert_allclose(model.score(warm)[0, 1:], before[0, 1:] + shift, rtol=1e-4)
    np.testing.assert_allclose(model.score(warm)[1, 1:], before[1, 1:], rtol=1e-4)


@pytest.mark.parametrize("kind", ["emcdr", "ptupcdr"])
def test_a_person_without_anything_gets_the_biases(kind: str) -> None:
    torch.manual_seed(2)
    source, target = factors(5, 3, 0), factors(7, 3, 1)
    model = EMCDR(source, target, nn.Linear(3, 3)) if kind == "emcdr" else PTUPCDR(source, target, personal_net(3, 4))
    nobody = Histories.of([[]], [[]])
    np.testing.assert_allclose(model.score(nobody)[0, 1:], 3.5 + target.item_bias[1:], rtol=1e-6)
