"""The one training loop, on Accelerate: one CPU, one GPU or many processes run the same lines."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from crossrec.config import require
from crossrec.errors import CrossrecError
from crossrec.paths import write_json

OnEvent = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class LoopConfig:
    epochs: int = 60
    """Most passes over the training part; early stopping usually ends sooner."""
    batch_size: int = 128
    """Windows a step."""
    lr: float = 1e-3
    """Learning rate of Adam."""
    weight_decay: float = 0.0
    """Decoupled weight decay (AdamW)."""
    beta2: float = 0.98
    """Adam's second moment decay; the SASRec paper's value."""
    warmup: int = 0
    """Steps over which the learning rate rises from 0."""
    average: float = 0.0
    """Epochs over which the weights that are validated and kept are averaged (exponentially); 0 keeps the last ones.
    Averages rank better than the weights they are made of, at the price of a slower start."""
    patience: int = 8
    """Epochs without a better validation score before training stops."""
    validate_every: int = 1
    """Epochs between two validations."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "patience", "validate_every"):
            require(getattr(self, name) > 0, f"{name} ({getattr(self, name)}) must be positive")
        require(self.lr > 0, f"lr ({self.lr}) must be positive")
        require(self.weight_decay >= 0, f"weight_decay ({self.weight_decay}) must not be negative")
        require(0 < self.beta2 < 1, f"beta2 ({self.beta2}) must be in (0, 1)")
        require(self.average >= 0, f"average ({self.average}) must not be negative")
        require(self.warmup >= 0, f"warmup ({self.warmup}) must not be negative")


@dataclass
class Fitted:
    """What a training came to; the model holds the weights of the best epoch."""

    best_epoch: int
    best_score: float
    epochs: int
    seconds: float
    history: list[dict[str, Any]] = field(default_factory=list)


def fit(
    model: nn.Module,
    batches: Callable[[int], Iterable[Any]],
    steps: int,
    loss: Callable[[nn.Module, Any], dict[str, Tensor]],
    validate: Callable[[], dict[str, float]],
    monitor: str,
    config: LoopConfig,
    on_event: OnEvent = lambda event: None,
    checkpoint: Path | None = None,
) -> Fitted:
    """Trains until the validation score has stopped rising, and leaves the best weights in the model.

    Args:
        model: trained in place.
        batches: epoch number (from 1) -> its batches, `steps` of them.
        steps: batches an epoch.
        loss: (model, batch) -> named losses; "loss" is the one that is minimised, the others are reported.
        validate: scores the model as it is; higher is better.
        monitor: which validation score decides.
        config: how long and how fast.
        on_event: gets {"event": "epoch", "epoch", "epochs", "losses", "valid", "best", "seconds", "eta"} after each
            epoch that was validated and {"event": "step", "epoch", "step", "steps", "loss"} about once a second.
        checkpoint: folder that gets the best weights so far whenever they improve (model.safetensors, state.json).

    Raises:
        CrossrecError: the loss or a weight is no longer a finite number, or no validation score ever was one.
    """
    accelerator = Accelerator()
    decayed = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
    plain = [p for p in model.parameters() if p.requires_grad and p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}],
        lr=config.lr,
        betas=(0.9, config.beta2),
        fused=True,
    )
    warm = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / (config.warmup + 1)))
    wrapped, optimizer = accelerator.prepare(model, optimizer)
    averaged = None
    if config.average:
        averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(1 - 1 / (1 + steps * config.average)))
    started = told = time.monotonic()
    fitted = Fitted(best_epoch=0, best_score=float("-inf"), epochs=0, seconds=0.0)
    best: dict[str, Tensor] = {}
    for epoch in range(1, config.epochs + 1):
        wrapped.train()
        sums: dict[str, Tensor] = {}
        for step, batch in enumerate(batches(epoch), start=1):
            parts = loss(wrapped, batch)
            optimizer.zero_grad()
            accelerator.backward(parts["loss"])
            optimizer.step()
            warm.step()
            if averaged is not None:
                averaged.update_parameters(model)
            for name, value in parts.items():
                sums[name] = sums.get(name, torch.zeros((), device=value.device)) + value.detach()
            if time.monotonic() - told > 1.0:
                told = time.monotonic()
                on_event(
                    {"event": "step", "epoch": epoch, "step": step, "steps": steps, "loss": _number(parts["loss"])}
                )
        losses = {name: _number(value) / steps for name, value in sums.items()}
        numbers = [torch.tensor(list(losses.values())), *model.parameters()]
        if not all(torch.isfinite(tensor).all() for tensor in numbers):
            raise CrossrecError(
                f"After epoch {epoch} the loss or a weight is not a finite number: "
                f"lower the learning rate (lr {config.lr})."
            )
        fitted.epochs = epoch
        if epoch % config.validate_every and epoch != config.epochs:
            continue
        model.eval()
        live = None
        if averaged is not None:
            live = {name: value.detach().clone() for name, value in model.state_dict().items()}
            model.load_state_dict(averaged.module.state_dict())
        valid = validate()
        if valid[monitor] > fitted.best_score:
            fitted.best_score, fitted.best_epoch = valid[monitor], epoch
            best = {name: value.detach().clone() for name, value in model.state_dict().items()}
            if checkpoint is not None and accelerator.is_main_process:
                _keep(checkpoint, best, {"epoch": epoch, "monitor": monitor, "score": fitted.best_score})
        if live is not None:
            model.load_state_dict(live)
        spent = time.monotonic() - started
        event = {
            "event": "epoch",
            "epoch": epoch,
            "epochs": config.epochs,
            "losses": losses,
            "valid": valid,
            "monitor": monitor,
            "best": fitted.best_epoch,
            "seconds": round(spent, 2),
            "eta": round(spent / epoch * (config.epochs - epoch), 1),
        }
        fitted.history.append(event)
        on_event(event)
        if epoch - fitted.best_epoch >= config.patience:
            break
    if not best:
        raise CrossrecError(f"No validation gave a number for {monitor}: there is nothing to choose the weights by.")
    model.load_state_dict(best)
    model.eval()
    fitted.seconds = time.monotonic() - started
    return fitted


def _keep(folder: Path, weights: dict[str, Tensor], state: dict[str, Any]) -> None:
    """Writes a checkpoint; a reader finds the old weights or the new ones whole."""
    folder.mkdir(exist_ok=True)
    temporary = folder / ".model.safetensors"
    save_file({name: tensor.cpu().contiguous() for name, tensor in weights.items()}, temporary)
    temporary.replace(folder / "model.safetensors")
    write_json(folder / "state.json", state)


def _number(value: Tensor) -> float:
    return float(value.detach())
