"""Transfer: what the source adds, and that it adds nothing where there is none."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from crossrec.data.histories import Histories
from crossrec.models.bridge import BRIDGES, BridgeConfig
from crossrec.models.recommender import Recommender
from crossrec.models.sasrec import SASRec, SASRecConfig, SASRecRecommender
from crossrec.models.transfer import TransferRecommender, TransferSASRec
from crossrec.training.sequence import SequenceConfig, TransferConfig

N_TARGET, N_SOURCE = 17, 11


READING = ("mlp", "linear", "personal")
"""Bridges that read the source."""


def build(**bridge: Any) -> TransferRecommender:
    torch.manual_seed(0)
    config = BridgeConfig(bridge_hidden=6, **bridge)
    source = SASRec(SASRecConfig(dim=4, max_len=5), N_SOURCE)
    model = TransferSASRec(SASRecConfig(dim=8, max_len=5), config, N_TARGET, source_dim=4)
    with torch.no_grad():
        for weight in [*model.parameters(), *source.parameters()]:
            weight.add_(torch.randn_like(weight) * 0.3)
    return TransferRecommender(model, source, config)


TARGETS = [[], [3], [1, 2, 3, 4, 5, 6, 7]]


@pytest.mark.parametrize("fusion", ["gate", "add", "concat"])
@pytest.mark.parametrize(("kind", "pool"), [*((kind, "mean") for kind in READING), ("mlp", "last")])
def test_without_a_source_history_it_scores_as_the_sequence_alone(fusion: str, kind: str, pool: str) -> None:
    recommender = build(bridge=kind, fusion=fusion, source_pool=pool)
    alone = SASRecRecommender(recommender.model.sequence)
    # Beside somebody who has source events, and with none in the whole batch.
    mixed = Histories.of([[], [], [], [4, 5]], [*TARGETS, [1]])
    expected = alone.score(mixed)
    np.testing.assert_allclose(recommender.score(mixed)[:3], expected[:3], atol=1e-5)
    assert np.abs(recommender.score(mixed)[3, 1:] - expected[3, 1:]).max() > 1e-2
    nobody = Histories.of([[], [], []], TARGETS)
    np.testing.assert_allclose(recommender.score(nobody), alone.score(nobody), atol=1e-5)


@pytest.mark.parametrize("pool", ["last", "mean"])
def test_scores_are_those_of_the_fused_states(pool: str) -> None:
    recommender = build(source_pool=pool)
    model, source_model = recommender.model, recommender.source_model
    source, target = [2, 9, 4], [5, 1]
    with torch.no_grad():
        states = source_model(torch.tensor([source]))[0]
        vector = states[-1] if pool == "last" else states[1:].mean(0)
        h = model.sequence(torch.tensor([target]))[0, -1]
        z = model.bridge(h, vector, torch.tensor(True))
        expected = model.sequence.logits(z)[1:].numpy()
    np.testing.assert_allclose(recommender.score(Histories.of([source], [target]))[0, 1:], expected, atol=1e-5)


def test_the_personal_bridge_is_made_from_the_newest_items() -> None:
    recommender = build(bridge="personal")
    model, source_model = recommender.model, recommender.source_model
    source = np.random.default_rng(0).integers(1, N_SOURCE + 1, 25).tolist()
    with torch.no_grad():
        vector = source_model.mean(torch.tensor([source]))[0]
        items = source_model.item(torch.tensor(source[-20:]))
        b = model.bridge.personal(vector, items, torch.ones(20, dtype=torch.bool))
        h = model.sequence(torch.tensor([[5, 1]]))[0, -1]
        g = model.bridge.gate(h, b)
        expected = model.sequence.logits(g * h + (1 - g) * b)[1:].numpy()
    asked = Histories.of([source, [3]], [[5, 1], [2]])
    np.testing.assert_allclose(recommender.score(asked)[0, 1:], expected, atol=1e-5)
    other = Histories.of([[1, 2, 3, 4, 5], [3]], [[5, 1], [2]])
    assert np.abs(recommender.score(other)[0, 1:] - expected).max() > 1e-3


def test_without_a_bridge_the_source_is_not_read() -> None:
    recommender = build(bridge="none")
    alone = SASRecRecommender(recommender.model.sequence)
    people, strangers = Histories.of([[1, 2], [], [3]], TARGETS), Histories.of([[4], [5, 6, 7], []], TARGETS)
    np.testing.assert_array_equal(recommender.score(people), alone.score(people))
    np.testing.assert_array_equal(recommender.score(people), recommender.score(strangers))
    assert (recommender.uses, recommender.ordered) == ({"target"}, False)
    assert recommender.source_share(people).tolist() == [0, 0, 0]
    assert (build().uses, build().ordered) == ({"source", "target"}, True)


@pytest.mark.parametrize("kind", BRIDGES)
@pytest.mark.parametrize("fusion", ["gate", "concat"])
def test_saved_and_loaded_it_scores_the_same(kind: str, fusion: str, tmp_path: Path) -> None:
    recommender = build(bridge=kind, fusion=fusion)
    recommender.save(tmp_path)
    people = Histories.of([[1, 2], [], [3]], TARGETS)
    loaded = Recommender.load(tmp_path)
    assert isinstance(loaded, TransferRecommender)
    assert loaded.bridge_config.bridge == kind
    np.testing.assert_array_equal(loaded.score(people), recommender.score(people))


def test_a_model_that_was_saved_before_there_were_bridges_to_choose_has_the_mlp() -> None:
    recommender = build()
    about, arrays = recommender.state()
    about["bridge"] = {name: value for name, value in about["bridge"].items() if name != "bridge"}
    loaded = TransferRecommender.from_state(about | {"n_items": N_TARGET}, arrays)
    people = Histories.of([[1, 2], [], [3]], TARGETS)
    np.testing.assert_array_equal(loaded.score(people), recommender.score(people))


def test_the_training_states_are_those_asked_for_in_testing() -> None:
    recommender = build(source_pool="mean")
    target, source = [5, 1, 7], [2, 9, 4]
    known = [0, 1, 1, 3]  # source events before each of the four states
    with torch.no_grad():
        vectors = torch.stack(
            [recommender.source_model.mean(torch.tensor([source[:n]], dtype=torch.long))[0] for n in known]
        )
        fused = recommender.model(torch.tensor([target]), vectors[None], torch.tensor([[n > 0 for n in known]]))[0]
        for k, n in enumerate(known):
            asked = recommender.states(Histories.of([source[:n]], [target[:k]]))[0]
            torch.testing.assert_close(fused[k], asked, rtol=0, atol=1e-5)


def test_source_share() -> None:
    recommender = build()
    people = Histories.of([[1, 2], [], [3]], [[4], [5], []])
    with torch.no_grad():
        recommender.model.bridge.gate_layer.weight.zero_()
        recommender.model.bridge.gate_layer.bias.fill_(-np.log(3))  # g = 1/4
    np.testing.assert_allclose(recommender.source_share(people), [0.75, 0, 0.75], atol=1e-6)
    for kind in ("linear", "personal"):
        share = build(bridge=kind).source_share(people)
        assert share[1] == 0
        assert ((share[[0, 2]] > 0) & (share[[0, 2]] < 1)).all()
    assert np.isnan(build(fusion="add").source_share(people)).all()


def test_baseline_and_transfer_have_the_same_width_and_budget() -> None:
    """The baseline of System A was twice as wide as what it was compared with (facts.md, section 1, 4)."""
    for preset in ("modern", "classic"):
        base = SequenceConfig(**SequenceConfig.PRESETS[preset])
        transfer = TransferConfig(**TransferConfig.PRESETS[preset])
        for field in dataclasses.fields(SequenceConfig):
            assert getattr(base, field.name) == getattr(transfer, field.name), field.name
    assert base.sasrec == transfer.sasrec


def test_the_classic_bridge_is_that_of_system_a() -> None:
    bridge = TransferConfig(**TransferConfig.PRESETS["classic"]).bridging
    assert (bridge.bridge, bridge.fusion, bridge.bridge_hidden) == ("mlp", "gate", 128)
    assert (bridge.source_pool, bridge.source_dropout) == ("last", 0)
