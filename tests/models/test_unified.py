"""The unified encoder: causal, in both directions, with words for what no id is known of."""

from typing import Any

import numpy as np
import pytest
import torch

from crossrec.data.histories import Histories
from crossrec.models.ligr import LiGRBlock, SwiGLU
from crossrec.models.sasrec import SASRecConfig
from crossrec.models.unified import Unified, UnifiedConfig, UnifiedRecommender, turned

SOURCE, TARGET, WIDTH = 5, 7, 4


def model(width: int = WIDTH, seed: int = 0, counts: np.ndarray | None = None, **settings: Any) -> Unified:
    torch.manual_seed(seed)
    words = np.random.default_rng(seed).normal(size=(SOURCE + TARGET + 1, width)).astype(np.float32)
    words[0] = 0
    counts = np.arange(SOURCE + TARGET + 1) + 1 if counts is None else counts
    made = Unified(UnifiedConfig(**{"dim": 8, "taste": 6, "max_len": 5} | settings), SOURCE, words, counts)
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(torch.randn_like(weight) * 0.3)
    return made.eval()


@pytest.mark.parametrize("block", ["sasrec", "ligr"])
@pytest.mark.parametrize("taste", [0, 6])
def test_a_query_does_not_depend_on_what_follows(block: str, taste: int) -> None:
    net = model(block=block, taste=taste)
    table = net.table()
    items = torch.tensor([[3, 9, 1, 12, 6]])
    whole = net.queries(table, items)
    for length in range(6):
        torch.testing.assert_close(net.queries(table, items[:, :length])[:, length], whole[:, length])
        left = torch.cat([torch.zeros(1, 3, dtype=torch.long), items[:, :length]], dim=1)
        torch.testing.assert_close(net.after(table, left), whole[:, length])


def test_only_the_last_events_count() -> None:
    net = model()
    table = net.table()
    long = torch.tensor([[4, 4, 3, 9, 1, 12, 6]])
    torch.testing.assert_close(net.after(table, long), net.after(table, long[:, -5:]))


def test_a_score_is_the_cosine_over_the_temperature_and_the_taste_and_the_bias() -> None:
    net = model(temperature=0.25)
    table = net.table()
    query, items = net.queries(table, torch.tensor([[2, 8]]))[0, -1].detach(), net.table()
    state, taste = query[:8] * 0.25, query[8:14]
    assert state.norm() == pytest.approx(1, abs=1e-5)
    assert query[-1] == 1
    for item in (1, 6, 12):
        vector = net.item[item] + net.adapter(net.words[item])  # type: ignore[misc]
        cosine = torch.cosine_similarity(state, vector, dim=0)
        liked = taste @ (net.write[item] + net.write_words(net.words[item]))  # type: ignore[misc]
        torch.testing.assert_close(query @ items.keys[item], cosine / 0.25 + liked + net.bias[item])


def test_the_same_weights_answer_the_other_direction() -> None:
    recommender = UnifiedRecommender(model())
    one, other = [[1, 5], [2]], [[7, 3], []]
    before = np.array([[1, 2], [0, 0]])
    here = recommender.score(Histories.of(one, other))
    assert here.shape == (2, TARGET + 1)
    there = recommender.swapped()
    assert there.n_items == SOURCE
    # Source events first, from this side and from that one.
    histories = Histories(Histories.of(other, one).source, Histories.of(other, one).target, source_before=before * 0)
    scores = there.score(histories)
    assert scores.shape == (2, SOURCE + 1)
    net = recommender.model
    query = net.after(net.table(), torch.tensor([[1, 5, 7 + SOURCE, 3 + SOURCE], [0, 0, 0, 2]]))
    both = (query @ net.table().keys.T).detach().numpy()
    np.testing.assert_allclose(here[:, 1:], both[:, SOURCE + 1 :], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(scores[:, 1:], both[:, 1 : SOURCE + 1], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(there.swapped().score(Histories.of(one, other)), here)


def test_numbers_from_the_other_side() -> None:
    assert turned(np.array([[0, 1, 7, 8, 12]]), 7, 5).tolist() == [[0, 6, 12, 1, 5]]


def test_an_item_that_was_never_trained_on_is_its_words_alone() -> None:
    counts = np.ones(SOURCE + TARGET + 1, np.int64)
    counts[9] = 0
    net = model(counts=counts)
    with torch.no_grad():
        before = net.table().keys[[9, 10], :-1]
        net.item[[9, 10]] += 5
        net.write[[9, 10]] += 5
        after = net.table().keys[[9, 10], :-1]
    torch.testing.assert_close(after[0], before[0])
    assert (after[1] - before[1]).abs().max() > 0.1
    # As an event it is read by its words alone too.
    asked = Histories.of([[]], [[9 - SOURCE]])
    first = UnifiedRecommender(net).score(asked)
    with torch.no_grad():
        net.read[9] += 5
    np.testing.assert_array_equal(UnifiedRecommender(net).score(asked), first)


def test_in_training_some_ids_are_withheld_and_never_those_without_words() -> None:
    net = model(item_dropout=0.5).train()
    with torch.no_grad():
        net.words[3] = 0
        net.adapter.weight.zero_()  # type: ignore[union-attr]
        torch.manual_seed(0)
        shown = torch.stack([net.table().vectors.any(1) for _ in range(60)]).float().mean(0)
    assert shown[3] == 1
    assert ((shown[[1, 2, 4, 5]] > 0.2) & (shown[[1, 2, 4, 5]] < 0.8)).all()
    assert net.eval().table().vectors[1:].any(1).all()


def test_scores_follow_the_weights() -> None:
    recommender, asked = UnifiedRecommender(model()), Histories.of([[1]], [[2]])
    first = recommender.score(asked)
    recommender.model.load_state_dict(model(seed=4).state_dict())
    assert not np.allclose(recommender.score(asked)[:, 1:], first[:, 1:])
    optimizer = torch.optim.AdamW(recommender.model.parameters(), lr=0.1, fused=True)
    second = recommender.score(asked)
    for weight in recommender.model.parameters():
        weight.grad = torch.ones_like(weight)
    optimizer.step()
    assert not np.allclose(recommender.score(asked)[:, 1:], second[:, 1:])


def test_a_gated_block_by_hand() -> None:
    torch.manual_seed(0)
    block = LiGRBlock(SASRecConfig(dim=4, dropout=0.0)).eval()
    x = torch.randn(2, 3, 4)
    first, second = block.gates
    y = x + torch.sigmoid(first(x)) * block.attend(block.norm1(x))
    torch.testing.assert_close(block(x), y + torch.sigmoid(second(y)) * block.ff(block.norm2(y)))
    glu = SwiGLU(2, 0.0).eval()
    with torch.no_grad():
        glu.up.weight.copy_(torch.ones(16, 2))
        glu.up.bias.zero_()
        glu.down.weight.copy_(torch.ones(2, 8) / 8)
        glu.down.bias.zero_()
    # silu(3) * 3, the same in each of the eight hidden units.
    torch.testing.assert_close(
        glu(torch.tensor([1.0, 2.0])), torch.full((2,), 3 * 3 * torch.sigmoid(torch.tensor(3.0)).item())
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"block": "other"}, "block"), ({"taste": -1}, "taste"), ({"item_dropout": 1.0}, r"item_dropout \(1.0\)")],
)
def test_numbers_that_make_no_sense_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        UnifiedConfig(**settings)
