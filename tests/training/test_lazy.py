"""AdamW by rows against AdamW of all rows: the same weights, the same averages, at the price of what was read."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from crossrec.models.tables import take
from crossrec.stopping import Stop, Stopped
from crossrec.training import lazy
from crossrec.training.lazy import LazyAdamW, sums
from crossrec.training.loop import Control, LoopConfig, fit

StopAfter = Callable[[int], Stop]

ROWS, WIDTH = 50, 3


class Tables(nn.Module):
    """Two tables, of vectors and of numbers, that a step reads by rows."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.item = nn.Parameter(torch.randn(ROWS, WIDTH))
        self.bias = nn.Parameter(torch.randn(ROWS))

    def loss(self, rows: Tensor, goal: Tensor) -> Tensor:
        # Each table is read in two portions, as items and their rivals are.
        parts = [take(self.item, some).sum(-1) + take(self.bias, some) for some in (rows[:2], rows[2:])]
        return ((torch.cat(parts) - goal) ** 2).mean()


def trained(
    by_rows: bool, steps: int, decay: float, weight_decay: float, beta2: float = 0.98
) -> tuple[Tables, Tables, LazyAdamW]:
    """Weights and their average after steps that read rows 0..4 often, 5..48 now and then, and 49 never."""
    model, averaged = Tables(), Tables()
    groups = [
        {"params": [model.item], "weight_decay": weight_decay},
        {"params": [model.bias], "weight_decay": 0.0},
    ]
    options = {"lr": 1e-2, "betas": (0.9, beta2)}
    optimizer = LazyAdamW(groups, [model.item, model.bias] if by_rows else [], **options)
    optimizer.averages = (
        {id(p): (q.data, decay) for p, q in zip(model.parameters(), averaged.parameters(), strict=True)}
        if by_rows
        else {}
    )
    optimizer.start()
    rng = np.random.default_rng(1)
    for _ in range(steps):
        rows = torch.from_numpy(np.concatenate([rng.integers(0, 5, 3), rng.integers(5, ROWS - 1, 2)]))
        goal = torch.from_numpy(rng.normal(size=5).astype(np.float32))
        optimizer.zero_grad()
        model.loss(rows, goal).backward()
        assert model.item.grad is not None and model.item.grad.is_sparse == by_rows
        assert model.bias.grad is not None and model.bias.grad.is_sparse == by_rows
        optimizer.step()
        if not by_rows:
            for p, q in zip(model.parameters(), averaged.parameters(), strict=True):
                q.data.lerp_(p.data, 1 - decay)
    for table in optimizer.tables:
        optimizer.freshen(table)
    return model, averaged, optimizer


@pytest.fixture(autouse=True)
def _short_tables_are_lazy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lazy, "LAZY_FROM", 1)


@pytest.mark.parametrize("weight_decay", [0.0, 0.5])
def test_rows_move_as_all_at_once_would(weight_decay: float) -> None:
    there, average, _ = trained(False, 400, 0.97, weight_decay)
    here, mine, _ = trained(True, 400, 0.97, weight_decay)
    for name in ("item", "bias"):
        moved = (getattr(there, name) - getattr(Tables(), name)).abs().max()
        for ours, theirs in ((here, there), (mine, average)):
            # The bias corrections of the first steps are all that differs.
            assert (getattr(ours, name) - getattr(theirs, name)).abs().max() < 0.01 * moved, name


def test_momentum_of_a_row_that_is_not_read_again_is_not_lost() -> None:
    # Beside what "sparse Adam" does, which stops a row at its last gradient.
    there, _, _ = trained(False, 60, 0.97, 0.0)
    here, _, _ = trained(True, 60, 0.97, 0.0)
    model = Tables()
    optimizer = torch.optim.SparseAdam([model.item, model.bias], lr=1e-2, betas=(0.9, 0.98))
    rng = np.random.default_rng(1)
    for _ in range(60):
        rows = torch.from_numpy(np.concatenate([rng.integers(0, 5, 3), rng.integers(5, ROWS - 1, 2)]))
        goal = torch.from_numpy(rng.normal(size=5).astype(np.float32))
        optimizer.zero_grad()
        found = nn.functional.embedding(rows, model.item, sparse=True).sum(-1)
        found = found + model.bias.gather(0, rows, sparse_grad=True)
        ((found - goal) ** 2).mean().backward()
        optimizer.step()
    rare = slice(5, ROWS - 1)
    far = (there.item[rare] - Tables().item[rare]).abs().mean()
    assert (here.item[rare] - there.item[rare]).abs().mean() < 0.05 * far
    assert (model.item[rare] - there.item[rare]).abs().mean() > 0.3 * far


def test_a_row_that_is_never_read_only_decays() -> None:
    here, average, _ = trained(True, 100, 0.9, 0.5)
    start, keep = Tables().item[-1], 1 - 1e-2 * 0.5
    assert torch.allclose(here.item[-1], start * keep**100)
    slow = start.clone()
    for step in range(1, 101):
        slow = 0.9 * slow + 0.1 * start * keep**step
    assert torch.allclose(average.item[-1], slow, atol=1e-6)
    assert here.bias[-1] == Tables().bias[-1]


def test_freshening_twice_moves_once_and_a_finished_table_is_plain() -> None:
    model, _, optimizer = trained(True, 30, 0.9, 0.1)
    before = model.item.detach().clone()
    optimizer.freshen(model.item)
    assert torch.equal(model.item, before)
    optimizer.finish()
    model.loss(torch.tensor([1, 2]), torch.zeros(2)).backward()
    assert model.item.grad is not None and not model.item.grad.is_sparse


def test_short_tables_are_moved_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lazy, "LAZY_FROM", ROWS + 1)
    model = Tables()
    assert not LazyAdamW(model.parameters(), [model.item], lr=1e-2).tables


@pytest.mark.parametrize(("x", "y"), [(0.9, 0.5), (0.5, 0.9), (1.0, 0.9), (0.9, 0.9)])
def test_sums(x: float, y: float) -> None:
    k = torch.tensor([1.0, 2.0, 7.0], dtype=torch.float64)
    expected = [sum(x ** (int(n) - j) * y**j for j in range(1, int(n) + 1)) for n in k]
    assert torch.allclose(sums(x, y, k), torch.tensor(expected, dtype=torch.float64))


class Rows:
    """Steps that each read five rows, drawn from (epoch, step)."""

    def __len__(self) -> int:
        return 6

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        for step in range(start, len(self)):
            rng = np.random.default_rng([epoch, step])
            yield torch.from_numpy(rng.integers(1, ROWS, 5)), torch.from_numpy(rng.normal(size=5).astype(np.float32))


def fitted(
    folder: Path | None = None, stop: Stop | None = None, average: float = 1.0, warmup: int = 0
) -> tuple[Tables, list[Any]]:
    """A trained model, and the scores that each of its validations gave."""
    model, scores = Tables(), list[Any]()

    def validate() -> dict[str, float]:
        scores.append(float(model.item.detach().norm() + model.bias.detach().norm()))
        return {"score": len(scores)}

    def loss(net: Tables, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        return {"loss": net.loss(*batch)}

    config = LoopConfig(epochs=20, lr=1e-2, weight_decay=0.1, average=average, warmup=warmup)
    control = Control(checkpoint=folder, stop=stop)
    fit(model, Rows(), loss, validate, "score", config, control, tables=[model.item, model.bias])
    return model, scores


@pytest.mark.parametrize("average", [0.0, 1.0])
def test_a_training_by_rows_validates_and_keeps_what_one_of_all_rows_does(
    average: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, scores = fitted(average=average)
    monkeypatch.setattr(lazy, "LAZY_FROM", ROWS + 1)
    there, expected = fitted(average=average)
    assert scores == pytest.approx(expected, rel=1e-3)
    assert scores != expected  # it was by rows
    for ours, theirs, start in zip(here.parameters(), there.parameters(), Tables().parameters(), strict=True):
        assert (ours - theirs).abs().mean() < 0.02 * (theirs - start).abs().mean()


def test_with_a_warmup_all_rows_are_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sums that stand for missed steps know one learning rate."""
    here, scores = fitted(warmup=30)
    monkeypatch.setattr(lazy, "LAZY_FROM", ROWS + 1)
    there, expected = fitted(warmup=30)
    assert scores == expected
    assert torch.equal(here.item, there.item)


@pytest.mark.parametrize("after", [0, 5, 6, 44])
def test_stopped_and_resumed_a_training_by_rows_is_the_same(after: int, tmp_path: Path, stop_after: StopAfter) -> None:
    whole, scores = fitted()
    with pytest.raises(Stopped):
        fitted(tmp_path, stop_after(after))
    parts, rest = fitted(tmp_path)
    assert torch.equal(parts.item, whole.item)
    assert torch.equal(parts.bias, whole.bias)
    assert rest == scores[len(scores) - len(rest) :]
