"""The training loop: the best weights stay, nonsense stops it, and its events say what happened."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from crossrec.errors import CrossrecError
from crossrec.training.loop import Control, Fitted, LoopConfig, fit


class Given:
    """Batches that are the given numbers, epoch after epoch."""

    def __init__(self, numbers: Callable[[int], list[Any]]):
        self.numbers = numbers

    def __len__(self) -> int:
        return len(self.numbers(1))

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Any]:
        return iter(self.numbers(epoch)[start:])


class Counter(nn.Module):
    """One weight that plain gradient descent would move by the same amount each step."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))


def run(scores: list[float], events: list[dict[str, Any]] | None = None, **settings: Any) -> tuple[Counter, Fitted]:
    """Trains with validation scores that are given, epoch after epoch."""
    model, left = Counter(), iter(scores)
    fitted = fit(
        model,
        batches=Given(lambda epoch: [1.0, 1.0]),
        loss=lambda net, batch: {"loss": net.weight.sum() * batch, "other": net.weight.sum() + 5},
        validate=lambda: {"score": next(left), "hr": 0.5},
        monitor="score",
        config=LoopConfig(**{"epochs": len(scores), "lr": 0.1, **settings}),
        control=Control(events.append if events is not None else lambda event: None),
    )
    return model, fitted


def test_the_best_weights_stay() -> None:
    # A constant gradient moves Adam by lr each step: -0.2 an epoch. The third of five epochs is the best.
    model, fitted = run([0.1, 0.2, 0.9, 0.3, 0.4])
    assert (fitted.best_epoch, fitted.best_score, fitted.epochs) == (3, 0.9, 5)
    assert model.weight.item() == pytest.approx(-0.6, abs=1e-4)
    assert not model.training


def test_it_stops_after_patience() -> None:
    model, fitted = run([0.5, 0.9, 0.8, 0.9, 0.7, 0.95], patience=3)
    # An equal score is not a better one: epochs 3, 4, 5 bring nothing, and the sixth is not begun.
    assert (fitted.best_epoch, fitted.epochs) == (2, 5)
    assert model.weight.item() == pytest.approx(-0.4, abs=1e-4)


def test_each_improvement_starts_patience_anew() -> None:
    _, fitted = run([0.1, 0.0, 0.2, 0.0, 0.3, 0.0, 0.0, 0.9], patience=2)
    assert (fitted.best_epoch, fitted.epochs) == (5, 7)


def test_validation_every_other_epoch() -> None:
    events: list[dict[str, Any]] = []
    model, fitted = Counter(), None
    scores = iter([0.1, 0.9, 0.2])
    fitted = fit(
        model,
        Given(lambda epoch: [1.0, 1.0]),
        lambda net, batch: {"loss": net.weight.sum()},
        lambda: {"score": next(scores)},
        "score",
        LoopConfig(epochs=5, lr=0.1, validate_every=2),
        Control(events.append),
    )
    assert [e["epoch"] for e in events] == [2, 4, 5]  # the last epoch is always validated
    assert fitted.best_epoch == 4
    assert model.weight.item() == pytest.approx(-0.8, abs=1e-4)


def test_negative_scores_count_too() -> None:
    _, fitted = run([-3.0, -1.0, -2.0])
    assert (fitted.best_epoch, fitted.best_score) == (2, -1.0)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_it(bad: float) -> None:
    def loss(net: nn.Module, batch: float) -> dict[str, Tensor]:
        return {"loss": net.weight.sum() * batch}  # type: ignore[union-attr,operator]

    validated: list[int] = []
    with pytest.raises(CrossrecError, match=r"epoch 2 the loss or a weight is not a finite number.*lr 0\.03"):
        model = Counter()
        with torch.no_grad():
            model.weight.fill_(1.0)
        fit(
            model,
            Given(lambda epoch: [1.0, bad if epoch == 2 else 1.0]),
            loss,
            lambda: validated.append(1) or {"score": 0.1},  # type: ignore[func-returns-value]
            "score",
            LoopConfig(epochs=4, lr=0.03),
        )
    assert len(validated) == 1


def test_events() -> None:
    events: list[dict[str, Any]] = []
    run([0.1, 0.3, 0.2], events, patience=5)
    epochs = [event for event in events if event["event"] == "epoch"]
    assert [e["epoch"] for e in epochs] == [1, 2, 3]
    assert [e["best"] for e in epochs] == [1, 2, 2]
    assert [e["valid"] for e in epochs] == [{"score": s, "hr": 0.5} for s in (0.1, 0.3, 0.2)]
    assert all(e["epochs"] == 3 and e["monitor"] == "score" for e in epochs)
    # The mean over the steps: the weight was 0 and then -0.1 in the first epoch.
    assert epochs[0]["losses"] == {"loss": pytest.approx(-0.05, abs=1e-4), "other": pytest.approx(4.95, abs=1e-4)}
    assert epochs[1]["losses"]["loss"] == pytest.approx(-0.25, abs=1e-4)
    assert epochs[-1]["eta"] == 0
    assert epochs[0]["seconds"] <= epochs[-1]["seconds"]


def test_the_speed_is_that_of_the_steps_whatever_lies_between(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that a step moves by 0.4 s and a validation by 100 s: 2 windows a step are 5 a second."""
    clock = [0.0]

    def tick(seconds: float, value: Any) -> Any:
        clock[0] += seconds
        return value

    events: list[dict[str, Any]] = []
    monkeypatch.setattr("crossrec.training.loop.time.monotonic", lambda: clock[0])
    fit(
        Counter(),
        Given(lambda epoch: [1.0] * 4),
        lambda net, batch: tick(0.4, {"loss": net.weight.sum() * batch}),
        lambda: tick(100.0, {"score": 0.5}),
        "score",
        LoopConfig(epochs=3, batch_size=2),
        Control(events.append),
    )
    rates = [event["rate"] for event in events]
    assert [event["event"] for event in events].count("step") >= 3
    assert rates == [pytest.approx(5.0, abs=0.1)] * len(rates)


def test_a_part_is_averaged_over_the_steps_that_have_it() -> None:
    events: list[dict[str, Any]] = []
    fit(
        Counter(),
        batches=Given(lambda epoch: [1.0, 2.0, 3.0, 6.0]),
        loss=lambda net, batch: (
            {"loss": net.weight.sum() + batch} | ({"rare": net.weight.sum() * 0 + 100} if batch == 3 else {})
        ),
        validate=lambda: {"score": 1.0},
        monitor="score",
        config=LoopConfig(epochs=1, lr=1e-9),
        control=Control(events.append),
    )
    (epoch,) = (event for event in events if event["event"] == "epoch")
    assert epoch["losses"] == pytest.approx({"loss": 3.0, "rare": 100.0})


def test_fitted_keeps_the_epochs() -> None:
    events: list[dict[str, Any]] = []
    _, fitted = run([0.1, 0.3], events)
    assert fitted.history == [event for event in events if event["event"] == "epoch"]


def test_warmup_raises_the_rate_step_by_step() -> None:
    # Rates of the steps at warmup 3 are 1/4, 2/4, 3/4, 1, 1, ... of lr.
    model, _ = run([0.1, 0.2], warmup=3)
    assert model.weight.item() == pytest.approx(-0.1 * (0.25 + 0.5 + 0.75 + 1), abs=1e-4)


def test_weight_decay_is_for_matrices_only() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.matrix, self.bias = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2))

    model = Two()
    fit(
        model,
        Given(lambda epoch: [0]),
        lambda net, batch: {"loss": (net.matrix.sum() + net.bias.sum()) * 0},
        lambda: {"score": 1.0},
        "score",
        LoopConfig(epochs=1, lr=0.1, weight_decay=0.5),
    )
    torch.testing.assert_close(model.matrix.detach(), torch.full((2, 2), 1 - 0.1 * 0.5))
    torch.testing.assert_close(model.bias.detach(), torch.ones(2))


def test_frozen_weights_stay() -> None:
    model = Counter()
    model.register_parameter("frozen", nn.Parameter(torch.ones(1), requires_grad=False))
    fit(
        model,
        Given(lambda epoch: [0]),
        lambda net, batch: {"loss": net.weight.sum() * net.frozen.sum()},
        lambda: {"score": 1.0},
        "score",
        LoopConfig(epochs=1),
    )
    assert model.frozen.item() == 1  # type: ignore[operator]
    assert model.weight.item() != 0


def test_a_validation_that_is_never_a_number_is_told() -> None:
    with pytest.raises(CrossrecError):
        run([float("nan"), float("nan")])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, r"epochs \(0\) must be positive"),
        ({"batch_size": -1}, r"batch_size \(-1\) must be positive"),
        ({"patience": 0}, r"patience \(0\)"),
        ({"validate_every": 0}, r"validate_every \(0\)"),
        ({"lr": 0.0}, r"lr \(0\.0\) must be positive"),
        ({"weight_decay": -1e-3}, r"weight_decay \(-0\.001\)"),
        ({"beta2": 1.0}, r"beta2 \(1\.0\) must be in \(0, 1\)"),
        ({"warmup": -1}, r"warmup \(-1\)"),
    ],
)
def test_bad_numbers_are_refused_with_their_values(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LoopConfig(**settings)
