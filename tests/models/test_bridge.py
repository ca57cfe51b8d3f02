"""The bridges' formulas against NumPy, people without a source vector, and the gate at its ends."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from crossrec.models.bridge import BRIDGES, FUSIONS, Bridge, BridgeConfig
from crossrec.models.personal import PersonalBridge

Doubles = NDArray[np.float64]
S, D = 5, 3


def build(fusion: str, **settings: float | str) -> tuple[Bridge, dict[str, Doubles]]:
    torch.manual_seed(0)
    bridge = Bridge(BridgeConfig(fusion=fusion, bridge_hidden=7, **settings), S, D).double().eval()  # type: ignore[arg-type]
    with torch.no_grad():
        for weight in bridge.parameters():
            weight.copy_(torch.randn_like(weight))
    return bridge, {name: tensor.numpy() for name, tensor in bridge.state_dict().items()}


def mlp(w: dict[str, Doubles], s: Doubles) -> Doubles:
    return w["mlp.3.weight"] @ np.maximum(w["mlp.0.weight"] @ s + w["mlp.0.bias"], 0) + w["mlp.3.bias"]


def personal(w: dict[str, Doubles], s: Doubles, items: Doubles) -> Doubles:
    """The items of a person one by one; there are no pads among them."""
    scores = np.array(
        [w["personal.attention.2.weight"][0] @ np.maximum(w["personal.attention.0.weight"] @ v, 0) for v in items]
    )
    weights = np.exp(scores - scores.max())
    taste = weights / weights.sum() @ items
    hidden = np.maximum(w["personal.meta.0.weight"] @ taste + w["personal.meta.0.bias"], 0)
    matrix = (w["personal.meta.2.weight"] @ hidden + w["personal.meta.2.bias"]).reshape(S, D)
    return s @ matrix


def norm(w: dict[str, Doubles], x: Doubles, name: str) -> Doubles:
    return (x - x.mean()) / np.sqrt(x.var() + 1e-5) * w[f"{name}.weight"] + w[f"{name}.bias"]


def fused(w: dict[str, Doubles], fusion: str, h: Doubles, b: Doubles) -> Doubles:
    if fusion == "add":
        return h + b
    if fusion == "concat":
        return w["join.weight"] @ np.concatenate([h, b]) + w["join.bias"]
    logits = w["gate_layer.weight"] @ np.concatenate([norm(w, h, "norm_h"), norm(w, b, "norm_b")])
    g = 1 / (1 + np.exp(-(logits + w["gate_layer.bias"])))
    return g * h + (1 - g) * b


@pytest.mark.parametrize("fusion", FUSIONS)
def test_fusion_is_its_formula_and_h_without_a_source(fusion: str) -> None:
    bridge, w = build(fusion)
    rng = np.random.default_rng(1)
    h, s = rng.normal(size=(4, 2, D)), rng.normal(size=(4, 2, S))
    present = np.array([[True, False], [True, True], [False, False], [True, True]])
    with torch.no_grad():
        z = bridge(torch.from_numpy(h), torch.from_numpy(s), torch.from_numpy(present)).numpy()
    for at in np.ndindex(4, 2):
        if present[at]:
            np.testing.assert_allclose(z[at], fused(w, fusion, h[at], mlp(w, s[at])), rtol=1e-9)
        else:
            np.testing.assert_array_equal(z[at], h[at])


@pytest.mark.parametrize("fusion", FUSIONS)
def test_the_linear_bridge_is_one_matrix(fusion: str) -> None:
    bridge, w = build(fusion, bridge="linear")
    assert [name for name in w if not name.startswith(("norm", "gate", "join"))] == ["linear.weight"]
    h, s = np.random.default_rng(2).normal(size=(D,)), np.random.default_rng(3).normal(size=(S,))
    with torch.no_grad():
        z = bridge(torch.from_numpy(h), torch.from_numpy(s), torch.tensor(True)).numpy()
    np.testing.assert_allclose(z, fused(w, fusion, h, w["linear.weight"] @ s), rtol=1e-9)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_the_personal_bridge_is_made_from_the_items_that_a_person_has(fusion: str) -> None:
    bridge, w = build(fusion, bridge="personal")
    rng = np.random.default_rng(4)
    h, source = rng.normal(size=(2, 2, D)), rng.normal(size=(2, 2, 4, S))  # the vector, and three items
    counts = {(0, 0): 3, (0, 1): 1, (1, 0): 2, (1, 1): 0}
    for at, n in counts.items():
        source[(*at, slice(1, 4 - n))] = 0  # left-padded
    present = np.array([[True, True], [True, False]])
    with torch.no_grad():
        z = bridge(torch.from_numpy(h), torch.from_numpy(source), torch.from_numpy(present)).numpy()
    for at, n in counts.items():
        s, items = source[at][0], source[at][4 - n :]
        expected = fused(w, fusion, h[at], personal(w, s, items)) if n else h[at]
        np.testing.assert_allclose(z[at], expected, rtol=1e-9)


def test_a_person_times_their_own_matrix() -> None:
    bridge = PersonalBridge(factors=3, source=2, target=2)
    with torch.no_grad():
        for weight in bridge.meta.parameters():
            weight.zero_()
        bridge.meta[2].bias.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0]))  # W_u = [[1, 2], [3, 4]] for everybody
    found = bridge(torch.ones(1, 2), torch.ones(1, 1, 3), torch.ones(1, 1, dtype=torch.bool))
    assert found.tolist() == [[4, 6]]
    weights = bridge.weights(torch.ones(3, 3), torch.tensor([True, True, False]))
    np.testing.assert_allclose(weights.detach(), [0.5, 0.5, 0])


@pytest.mark.parametrize("fusion", FUSIONS)
def test_no_bridge_is_the_target_state_and_has_no_weights(fusion: str) -> None:
    bridge, w = build(fusion, bridge="none")
    assert w == {}
    h = torch.randn(4, D, dtype=torch.float64)
    present = torch.ones(4, dtype=torch.bool)
    assert torch.equal(bridge(h, torch.randn(4, S, dtype=torch.float64), present), h)


def test_the_gate_at_its_ends() -> None:
    bridge, w = build("gate")
    h, s = torch.randn(6, D, dtype=torch.float64), torch.randn(6, S, dtype=torch.float64)
    present = torch.ones(6, dtype=torch.bool)
    b = np.stack([mlp(w, row) for row in s.numpy()])
    with torch.no_grad():
        bridge.gate_layer.weight.zero_()
        bridge.gate_layer.bias.fill_(50)  # g = 1: the target alone
        np.testing.assert_allclose(bridge(h, s, present).numpy(), h.numpy(), rtol=1e-12)
        bridge.gate_layer.bias.fill_(-50)  # g = 0: the source alone
        np.testing.assert_allclose(bridge(h, s, present).numpy(), b, rtol=1e-12)
        bridge.gate_layer.bias.fill_(0)
        np.testing.assert_allclose(bridge(h, s, present).numpy(), (h.numpy() + b) / 2)
        bridge.gate_layer.bias.copy_(torch.tensor([50.0, -50.0, 0.0]))  # the gate is a vector
        expected = np.stack([h.numpy()[:, 0], b[:, 1], (h.numpy()[:, 2] + b[:, 2]) / 2], axis=1)
        np.testing.assert_allclose(bridge(h, s, present).numpy(), expected)


@pytest.mark.parametrize("kind", BRIDGES)
def test_no_gradient_reaches_the_bridge_without_a_source(kind: str) -> None:
    bridge, _ = build("gate", bridge=kind)
    h = torch.randn(2, D, dtype=torch.float64, requires_grad=True)
    source = torch.zeros(2, *([4] if kind == "personal" else []), S, dtype=torch.float64)
    bridge(h, source, torch.zeros(2, dtype=torch.bool)).sum().backward()
    torch.testing.assert_close(h.grad, torch.ones_like(h))
    assert all(p.grad is None or not p.grad.any() for p in bridge.parameters())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fusion": "mul"}, "fusion \\('mul'\\) must be one of gate, add, concat"),
        ({"bridge": "cubic"}, "bridge \\('cubic'\\) must be one of mlp, linear, personal, none"),
        ({"bridge_hidden": 0}, r"bridge_hidden \(0\)"),
        ({"bridge_dropout": 1}, r"bridge_dropout \(1\)"),
        ({"source_dropout": -0.5}, r"source_dropout \(-0\.5\)"),
        ({"source_pool": "max"}, "source_pool \\('max'\\) must be one of last, mean"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BridgeConfig(**settings)  # type: ignore[arg-type]
