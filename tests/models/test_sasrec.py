"""SASRec against an independent computation in NumPy, and what a state may and may not depend on."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import erf

from crossrec.config import from_dict
from crossrec.data.histories import Histories, pad
from crossrec.errors import CrossrecError
from crossrec.models.sasrec import SASRec, SASRecConfig, SASRecRecommender, right_pad
from crossrec.training.sequence import SequenceConfig

Doubles = NDArray[np.float64]
N_ITEMS = 23


def build(seed: int = 0, counts: NDArray[np.int64] | None = None, **settings: Any) -> SASRec:
    """A model in evaluation mode whose weights are all far from where they start, so that each of them matters."""
    settings = {"dim": 8, "heads": 2, "max_len": 6, **settings}
    torch.manual_seed(seed)
    model = SASRec(SASRecConfig(**settings), N_ITEMS, counts)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.add_(torch.randn_like(weight) * 0.3)
            if name == "item.weight":
                weight[0] = 0
    return model.eval()


def reference(model: SASRec, items: list[int]) -> Doubles:
    """(T+1, D) states of one sequence, from the weights alone, position after position."""
    w = {name: tensor.detach().double().numpy() for name, tensor in model.state_dict().items()}
    config = model.config
    d, heads = config.dim, config.heads
    width = d // heads

    def norm(x: Doubles, name: str) -> Doubles:
        x = (x - x.mean()) / np.sqrt(x.var() + 1e-5)
        return x * w[f"{name}.weight"] + w[f"{name}.bias"]

    def linear(x: Doubles, name: str) -> Doubles:
        return w[f"{name}.weight"] @ x + w[f"{name}.bias"]

    def attend(xs: Doubles, name: str) -> Doubles:
        qkv = np.stack([linear(x, f"{name}.qkv") for x in xs]).reshape(len(xs), 3, heads, width)
        out = np.zeros((len(xs), heads, width))
        for t, h in itertools.product(range(len(xs)), range(heads)):
            logits = np.array([qkv[t, 0, h] @ qkv[s, 1, h] / np.sqrt(width) for s in range(t + 1)])
            weights = np.exp(logits - logits.max())
            out[t, h] = (weights / weights.sum()) @ qkv[: t + 1, 2, h]
        return np.stack([linear(row.reshape(d), f"{name}.out") for row in out])

    def feed(x: Doubles, name: str) -> Doubles:
        hidden = linear(x, f"{name}.ff.0")
        gelu = hidden * (1 + erf(hidden / np.sqrt(2))) / 2
        return linear(gelu if config.activation == "gelu" else np.maximum(hidden, 0), f"{name}.ff.3")

    x = np.stack([np.zeros(d), *(w["item.weight"][i] for i in items)]) + w["position.weight"][: len(items) + 1]
    for b in range(config.blocks):
        name = f"blocks.{b}"
        if config.norm == "pre":
            x = x + attend(np.stack([norm(row, f"{name}.norm1") for row in x]), name)
            x = x + np.stack([feed(norm(row, f"{name}.norm2"), name) for row in x])
        else:
            x = np.stack([norm(row, f"{name}.norm1") for row in x + attend(x, name)])
            x = np.stack([norm(row + feed(row, name), f"{name}.norm2") for row in x])
    return np.stack([norm(row, "norm") for row in x]) if config.norm == "pre" else x


def reference_scores(model: SASRec, state: Doubles) -> Doubles:
    items = model.item.weight.detach().double().numpy()
    if model.config.temperature:
        state = state / np.linalg.norm(state) / model.config.temperature
        items = items / np.maximum(np.linalg.norm(items, axis=1, keepdims=True), 1e-6)
    scores = items @ state
    return scores + model.bias.detach().double().numpy() if model.config.popularity else scores


SHAPES = [
    {"norm": "pre", "activation": "gelu", "temperature": 0.2, "popularity": True, "heads": 1},
    {"norm": "post", "activation": "relu", "temperature": 0.0, "popularity": False, "heads": 2},
    {"norm": "pre", "activation": "relu", "temperature": 0.0, "popularity": True, "heads": 4, "blocks": 1},
    {"norm": "post", "activation": "gelu", "temperature": 0.5, "popularity": False, "heads": 8, "blocks": 3},
]


@pytest.mark.parametrize("settings", SHAPES)
@pytest.mark.parametrize("items", [[], [5], [3, 1, 4, 1, 5, 9]])
def test_states_and_scores_equal_the_reference(settings: dict[str, Any], items: list[int]) -> None:
    model = build(**settings)
    expected = reference(model, items)
    with torch.no_grad():
        states = model(torch.tensor([items], dtype=torch.long))[0].double().numpy()
    np.testing.assert_allclose(states, expected, atol=2e-5)
    scores = SASRecRecommender(model).score(Histories.of([[]], [items]))[0]
    np.testing.assert_allclose(scores[1:], reference_scores(model, expected[-1])[1:], atol=1e-4)


def test_attention_equals_an_explicit_masked_softmax() -> None:
    model = build(heads=2)
    block = model.blocks[0]
    torch.manual_seed(1)
    x = torch.randn(3, 5, 8)
    q, k, v = block.qkv(x).split(8, dim=-1)
    heads = []
    for h in range(2):
        part = slice(4 * h, 4 * h + 4)
        logits = q[..., part] @ k[..., part].transpose(1, 2) / 2  # sqrt(4)
        logits = logits.masked_fill(torch.ones(5, 5).triu(1).bool(), -torch.inf)
        heads.append(torch.softmax(logits, dim=-1) @ v[..., part])
    torch.testing.assert_close(block.attend(x), block.out(torch.cat(heads, dim=-1)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("norm", ["pre", "post"])
@given(data=st.data(), seed=st.integers(0, 3))
def test_a_state_does_not_depend_on_what_comes_later(norm: str, data: st.DataObject, seed: int) -> None:
    model = build(seed, norm=norm)
    items = data.draw(st.lists(st.integers(1, N_ITEMS), min_size=1, max_size=6))
    at = data.draw(st.integers(0, len(items) - 1))
    other = data.draw(st.integers(1, N_ITEMS).filter(lambda i: i != items[at]))
    changed = [*items[:at], other, *items[at + 1 :]]
    with torch.no_grad():
        one, two = model(torch.tensor([items]))[0], model(torch.tensor([changed]))[0]
    # State k is the one after k items; item `at` is the (at+1)-th.
    torch.testing.assert_close(one[: at + 1], two[: at + 1], rtol=0, atol=1e-6)
    assert (one[at + 1 :] - two[at + 1 :]).abs().amax(1).gt(1e-4).all()


histories = st.lists(st.lists(st.integers(1, N_ITEMS), max_size=9), min_size=1, max_size=5)


@given(rows=histories, extra=st.integers(0, 4))
def test_padding_and_batch_mates_do_not_matter(rows: list[list[int]], extra: int) -> None:
    model = build()
    together = torch.from_numpy(np.pad(pad(rows), ((0, 0), (extra, 0))))
    with torch.no_grad():
        for name in ("last", "mean"):
            pooled = getattr(model, name)(together)
            for i, row in enumerate(rows):
                alone = getattr(model, name)(torch.tensor([row], dtype=torch.long))[0]
                torch.testing.assert_close(pooled[i], alone, rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", ["last", "mean"])
def test_pooling_many_rows(name: str) -> None:
    rng = np.random.default_rng(0)
    rows = [rng.integers(1, N_ITEMS + 1, n).tolist() for n in rng.integers(0, 9, 400)]
    model = build()
    with torch.no_grad():
        together = getattr(model, name)(torch.from_numpy(pad(rows)))
        alone = torch.cat([getattr(model, name)(torch.tensor([row], dtype=torch.long)) for row in rows])
    torch.testing.assert_close(together, alone, rtol=0, atol=2e-5)


@given(row=st.lists(st.integers(1, N_ITEMS), max_size=6))
def test_last_and_mean_are_of_the_states_of_the_sequence(row: list[int]) -> None:
    model = build()
    items = torch.tensor([row], dtype=torch.long)
    with torch.no_grad():
        states = model(items)[0]
        torch.testing.assert_close(model.last(items)[0], states[-1])
        mean = states[1:].mean(0) if row else torch.zeros(8)
        torch.testing.assert_close(model.mean(items)[0], mean, rtol=1e-4, atol=1e-6)


def test_without_history_there_is_the_start_state() -> None:
    model = build()
    with torch.no_grad():
        start = model(torch.zeros(1, 0, dtype=torch.long))[0, 0]
        torch.testing.assert_close(model.last(torch.zeros(2, 0, dtype=torch.long)), start.expand(2, 8))
        torch.testing.assert_close(model.last(torch.zeros(2, 4, dtype=torch.long)), start.expand(2, 8))
        torch.testing.assert_close(model.last(torch.tensor([[0, 0], [3, 4]]))[0], start)
        assert not torch.allclose(model.last(torch.tensor([[3]]))[0], start, atol=1e-3)
    assert model.last(torch.zeros(0, 3, dtype=torch.long)).shape == (0, 8)


@given(row=st.lists(st.integers(1, N_ITEMS), min_size=7, max_size=14))
def test_of_a_long_history_the_last_max_len_count(row: list[int]) -> None:
    model = build()
    with torch.no_grad():
        for name in ("last", "mean"):
            pool = getattr(model, name)
            torch.testing.assert_close(pool(torch.tensor([row])), pool(torch.tensor([row[-6:]])), rtol=0, atol=2e-5)
        five = model.last(torch.tensor([row[-5:]]))
        assert not torch.allclose(model.last(torch.tensor([row])), five, atol=1e-4)


def test_the_order_of_items_matters() -> None:
    model = build()
    with torch.no_grad():
        one, two = model.last(torch.tensor([[1, 2, 3]])), model.last(torch.tensor([[2, 1, 3]]))
    assert not torch.allclose(one, two, atol=1e-3)


def test_pre_and_post_norm_differ_with_the_same_weights() -> None:
    pre, post = build(norm="pre"), build(norm="post")
    shared = {k: v for k, v in pre.state_dict().items() if k in post.state_dict()}
    post.load_state_dict(shared)
    items = torch.tensor([[1, 2, 3]])
    with torch.no_grad():
        assert not torch.allclose(pre.last(items), post.last(items), atol=1e-2)


@given(rows=st.lists(st.lists(st.integers(1, 9), max_size=5), min_size=1, max_size=5), extra=st.integers(0, 3))
def test_right_pad(rows: list[list[int]], extra: int) -> None:
    left = torch.from_numpy(np.pad(pad(rows), ((0, 0), (extra, 0))))
    right, length = right_pad(left)
    assert length.tolist() == [len(row) for row in rows]
    width = max(map(len, rows))
    assert right.tolist() == [row + [0] * (width - len(row)) for row in rows]


def test_the_bias_starts_at_the_log_of_popularity() -> None:
    counts = np.arange(N_ITEMS + 1) * 3
    model = SASRec(SASRecConfig(dim=8), N_ITEMS, counts)
    expected = np.log1p(counts) - np.log1p(counts[1:]).mean()
    np.testing.assert_allclose(model.bias.detach().numpy()[1:], expected[1:], rtol=1e-5)
    assert not hasattr(SASRec(SASRecConfig(dim=8, popularity=False), N_ITEMS, counts), "bias")


def test_keys_of_some_items_are_rows_of_all_keys() -> None:
    model = build(temperature=0.2, popularity=True)
    picked = torch.tensor([[1, 5], [7, 1]])
    torch.testing.assert_close(model.keys(picked), model.keys()[picked])
    states = torch.randn(4, 8)
    torch.testing.assert_close(model.logits(states), model.queries(states) @ model.keys().T)


def test_dropout_acts_in_training_only() -> None:
    model = build(dropout=0.5)
    items = torch.tensor([[1, 2, 3]])
    torch.testing.assert_close(model(items), model(items), rtol=0, atol=0)
    model.train()
    assert not torch.allclose(model(items), model(items), atol=1e-3)
    # Scoring switches it off whatever state the model was left in.
    recommender = SASRecRecommender(model)
    model.train()
    known = Histories.of([[]], [[1, 2]])
    np.testing.assert_array_equal(recommender.score(known), recommender.score(known))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dim": 10, "heads": 3}, r"dim \(10\) must be divisible by heads \(3\)"),
        ({"blocks": 0}, r"blocks \(0\) must be positive"),
        ({"dropout": 1.0}, r"dropout \(1\.0\) must be in \[0, 1\)"),
        ({"max_len": 0}, r"max_len \(0\) must be positive"),
        ({"norm": "mid"}, "norm \\('mid'\\) must be 'pre' or 'post'"),
        ({"activation": "tanh"}, "activation \\('tanh'\\)"),
        ({"temperature": -0.1}, r"temperature \(-0\.1\)"),
        ({"heads": 0}, r"heads \(0\)"),
    ],
)
def test_bad_numbers_are_refused_with_their_values(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SASRecConfig(**settings)
    with pytest.raises(CrossrecError, match=message):
        from_dict(SequenceConfig, settings)


def test_the_classic_preset_is_that_of_system_a() -> None:
    """facts.md, section 2: post-LN, d 64, 2 blocks, 2 heads, dropout .3, maxlen 50, BCE, 4 negatives, Adam, ..."""
    config = from_dict(SequenceConfig, {"preset": "classic"})
    assert (config.norm, config.dim, config.blocks, config.heads) == ("post", 64, 2, 2)
    assert (config.dropout, config.max_len, config.activation) == (0.3, 50, "relu")
    assert (config.loss, config.negatives) == ("bce", 4)
    assert (config.lr, config.weight_decay, config.batch_size, config.epochs) == (1e-3, 1e-6, 512, 20)
    assert (config.temperature, config.popularity) == (0.0, False)  # plain inner products
    assert config.patience >= config.epochs  # System A has no early stopping


def test_the_modern_form_is_the_default() -> None:
    config = SequenceConfig()
    assert config == from_dict(SequenceConfig, {"preset": "modern"})
    assert config.norm == "pre"
    assert config.loss != "bce"
    assert config.temperature > 0
