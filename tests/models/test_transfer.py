"""Transfer: what the source adds, and that it adds nothing where there is none."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from crossrec.data.histories import Histories
from crossrec.models.bridge import BridgeConfig
from crossrec.models.sasrec import SASRec, SASRecConfig, SASRecRecommender
from crossrec.models.transfer import TransferRecommender, TransferSASRec
from crossrec.training.sequence import SequenceConfig, TransferConfig

N_TARGET, N_SOURCE = 17, 11


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
@pytest.mark.parametrize("pool", ["last", "mean"])
def test_without_a_source_history_it_scores_as_the_sequence_alone(fusion: str, pool: str) -> None:
    recommender = build(fusion=fusion, source_pool=pool)
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
    bridge = TransferConfig(**TransferConfig.PRESETS["classic"]).bridge
    assert (bridge.fusion, bridge.bridge_hidden, bridge.source_pool, bridge.source_dropout) == ("gate", 128, "last", 0)
