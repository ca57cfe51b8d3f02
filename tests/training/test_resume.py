"""Stopped anywhere and gone on with, a training ends with the weights of one that was not: bit for bit."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from crossrec.errors import CrossrecError
from crossrec.stopping import Stop, Stopped
from crossrec.training import loop
from crossrec.training.checkpoint import newest, read_state
from crossrec.training.loop import Control, Fitted, LoopConfig, fit

StopAfter = Callable[[int], Stop]
STEPS = 5


class Data:
    """Batches drawn from (epoch, step), which remember what was asked of them."""

    def __init__(self) -> None:
        self.given: list[tuple[int, int]] = []

    def __len__(self) -> int:
        return STEPS

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Tensor]:
        for step in range(start, STEPS):
            self.given.append((epoch, step))
            yield torch.from_numpy(np.random.default_rng([epoch, step]).normal(size=(8, 6)).astype(np.float32))


class Net(nn.Module):
    """Draws in two ways: dropout from torch's generator, noise from one of its own."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.body = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.4), nn.Linear(8, 1))
        self.register_buffer("seen", torch.zeros(1))


def train(folder: Path, stop: Stop | None = None, events: list[dict[str, Any]] | None = None, **settings: Any) -> Any:
    """One part of a training, from a fresh process's point of view: everything is made anew."""
    model, data, generator = Net(), Data(), torch.Generator().manual_seed(7)

    def loss(net: Net, batch: Tensor) -> dict[str, Tensor]:
        noise = torch.randn(batch.shape, generator=generator)
        net.seen += 1  # type: ignore[operator]
        return {"loss": net.body(batch + 0.1 * noise).square().mean() + (net.body(batch) - 1).square().mean()}

    def validate() -> dict[str, float]:
        with torch.no_grad():
            return {"score": float(-(model.body(torch.ones(1, 6)) - 0.7).abs())}

    config = LoopConfig(**{"epochs": 6, "lr": 0.05, "warmup": 7, "weight_decay": 0.1, **settings})
    control = Control((events if events is not None else []).append, folder, stop)
    fitted = fit(model, data, loss, validate, "score", config, control, [generator])
    return model, fitted, data


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(one: nn.Module, two: nn.Module) -> bool:
    return all(torch.equal(value, weights(two)[name]) for name, value in weights(one).items())


def told(fitted: Fitted) -> list[dict[str, Any]]:
    timing = ("seconds", "eta", "rate", "train_seconds", "valid_seconds")
    return [{key: value for key, value in event.items() if key not in timing} for event in fitted.history]


@pytest.mark.parametrize("after", [0, 1, 3, 4, 5, 11, 17])
@pytest.mark.parametrize("settings", [{}, {"average": 1.5}, {"patience": 2}, {"validate_every": 3}])
def test_stopped_and_resumed_it_is_the_same(
    tmp_path: Path, after: int, settings: dict[str, Any], stop_after: StopAfter
) -> None:
    whole, fitted, _ = train(tmp_path / "whole", **settings)
    with pytest.raises(Stopped, match="It was stopped"):
        train(tmp_path / "parts", stop_after(after), **settings)
    parts, again, data = train(tmp_path / "parts", **settings)
    assert same(whole, parts)
    assert told(again) == told(fitted)
    assert (again.best_epoch, again.best_score, again.epochs) == (fitted.best_epoch, fitted.best_score, fitted.epochs)
    # It went on where it was: steps that were done are not done again.
    epochs, steps = divmod(after + 1, STEPS)
    assert data.given[0] == (1 + epochs, steps)


def test_stopped_again_and_again(tmp_path: Path, stop_after: StopAfter) -> None:
    whole, *_ = train(tmp_path / "whole", average=1.0)
    stops = 0
    while True:
        try:
            parts, *_ = train(tmp_path / "parts", stop_after(3), average=1.0)
            break
        except Stopped:
            stops += 1
    assert stops == 7
    assert same(whole, parts)


class Killed(BaseException):
    """Nobody saves anything any more."""


@pytest.mark.parametrize("when", [3, 9, 16, 22])
def test_killed_after_its_last_checkpoint(tmp_path: Path, when: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpoints every few steps; the kill comes between two of them."""
    monkeypatch.setattr(loop, "KEEP", 0.0)
    monkeypatch.setattr(loop, "KEEP_SHARE", 0)
    whole, fitted, _ = train(tmp_path / "whole")
    keep, count = loop._Training._keep, 0

    def now_and_then(self: Any, folder: Path) -> None:
        nonlocal count
        count += 1
        if count > when:
            raise Killed
        if count % 4 == 0:
            keep(self, folder)

    with monkeypatch.context() as patch:
        patch.setattr(loop._Training, "_keep", now_and_then)
        with pytest.raises(Killed):
            train(tmp_path / "parts")
    at = newest(tmp_path / "parts")
    assert (at is None) == (when < 4)
    events: list[dict[str, Any]] = []
    parts, again, _ = train(tmp_path / "parts", events=events)
    assert same(whole, parts)
    assert told(again) == told(fitted)
    assert [e["event"] for e in events if e["event"] == "resume"] == (["resume"] if when >= 4 else [])


def test_a_finished_training_is_not_trained_again(tmp_path: Path) -> None:
    whole, fitted, _ = train(tmp_path / "one")
    again, told_again, data = train(tmp_path / "one")
    assert data.given == []
    assert same(whole, again)
    assert told_again.best_epoch == fitted.best_epoch


def test_there_is_one_checkpoint_and_it_is_whole(tmp_path: Path, stop_after: StopAfter) -> None:
    with pytest.raises(Stopped):
        train(tmp_path / "parts", stop_after(8))
    folder = tmp_path / "parts"
    assert [path.name for path in folder.iterdir()] == ["000002-00000004"]
    assert sorted(path.name for path in (folder / "000002-00000004").iterdir()) == [
        "process-0.safetensors", "shared.safetensors", "state.json",
    ]  # fmt: skip
    state = read_state(folder / "000002-00000004")
    assert (state["epoch"], state["step"], state["done"]) == (2, 4, False)
    # What a kill left half written is passed over, and cleared away by the next.
    (folder / ".000003-00000001").mkdir()
    assert newest(folder) == folder / "000002-00000004"
    train(folder)
    assert not list(folder.glob(".*"))


def test_another_number_of_processes_is_told(tmp_path: Path, stop_after: StopAfter) -> None:
    with pytest.raises(Stopped):
        train(tmp_path / "parts", stop_after(3))
    path = newest(tmp_path / "parts") / "state.json"  # type: ignore[operator]
    path.write_text(path.read_text().replace('"processes": 1', '"processes": 4'))
    with pytest.raises(CrossrecError, match=r"trained by 4 process.*--num_processes 4"):
        train(tmp_path / "parts")


def test_a_sample_ends_after_its_seconds(tmp_path: Path) -> None:
    model, data, events = Net(), Data(), list[dict[str, Any]]()
    fitted = fit(
        model,
        data,
        lambda net, batch: {"loss": net.body(batch).square().mean()},
        lambda: {"score": 1.0},
        "score",
        LoopConfig(epochs=9),
        Control(events.append, sample=0.0),
    )
    assert data.given == [(1, 0)]
    assert [event["epoch"] for event in events if event["event"] == "epoch"] == [1]
    assert fitted.history[0]["rate"] > 0


def test_a_checkpoint_that_does_not_count_its_losses_is_gone_on_with(tmp_path: Path, stop_after: StopAfter) -> None:
    """As they were written before parts of a loss were counted one by one."""
    with pytest.raises(Stopped):
        train(tmp_path / "parts", stop_after(3))
    (file,) = (tmp_path / "parts").glob("*/process-0.safetensors")
    kept = load_file(file)
    assert any(name.startswith("seen") for name in kept)
    save_file({name: value for name, value in kept.items() if not name.startswith("seen")}, file)
    events: list[dict[str, Any]] = []
    whole: list[dict[str, Any]] = []
    train(tmp_path / "parts", events=events)
    train(tmp_path / "whole", events=whole)
    told, expected = ([event["losses"] for event in one if event["event"] == "epoch"] for one in (events, whole))
    assert told == expected[-len(told) :]
