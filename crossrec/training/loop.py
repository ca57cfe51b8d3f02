"""The one training loop, on Accelerate: one CPU, one GPU or many processes run the same lines."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from crossrec import processes
from crossrec.config import require
from crossrec.errors import CrossrecError
from crossrec.stopping import Stop, Stopped
from crossrec.training import checkpoint as checkpoints
from crossrec.training.lazy import LazyAdamW

OnEvent = Callable[[dict[str, Any]], None]
Loss = Callable[[Any, Any], dict[str, Tensor]]

TELL = 1.0
"""Seconds between two events within an epoch."""
KEEP = 10.0
"""Least seconds between two checkpoints."""
KEEP_SHARE = 50
"""A checkpoint is not begun before so many times of what the last one took have passed: they cost at most 2 %."""


@dataclass(frozen=True)
class LoopConfig:
    epochs: int = 60
    """Most passes over the training part; early stopping usually ends sooner."""
    batch_size: int = 128
    """Windows a step, over all processes."""
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


class Batches(Protocol):
    """The batches of a training: the same for the same epoch and step, whatever was asked before."""

    def __len__(self) -> int:
        """Steps an epoch."""

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Any]:
        """The batches of an epoch (from 1) from step `start` (from 0) on; each process gets its part of each."""


@dataclass(frozen=True)
class Control:
    """What surrounds a training: who is told, where it is kept, what ends it early."""

    on_event: OnEvent = lambda event: None
    checkpoint: Path | None = None
    """Folder of its checkpoints; a training that finds one there goes on from it."""
    stop: Stop | None = None
    """Asked at every step."""
    sample: float | None = None
    """Seconds after which an epoch is cut short and the training ends, to measure what it would cost."""
    track: Path | None = None
    """Folder for TensorBoard files."""


@dataclass
class Fitted:
    """What a training came to; the model holds the weights of the best epoch."""

    best_epoch: int = 0
    best_score: float = float("-inf")
    epochs: int = 0
    seconds: float = 0.0
    """Over all of its parts, if it was stopped and resumed."""
    history: list[dict[str, Any]] = field(default_factory=list)


class _Objective(nn.Module):
    """The loss as a module: data-parallel training sees every weight that the loss uses, in one forward."""

    def __init__(self, model: nn.Module, loss: Loss):
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, batch: Any) -> dict[str, Tensor]:
        parts = self.loss(self.model, batch)
        return {name: value if name == "loss" else value.detach() for name, value in parts.items()}


def fit(
    model: nn.Module,
    batches: Batches,
    loss: Loss,
    validate: Callable[[], dict[str, float]],
    monitor: str,
    config: LoopConfig,
    control: Control | None = None,
    generators: Iterable[torch.Generator] = (),
    tables: Iterable[Tensor] = (),
) -> Fitted:
    """Trains until the validation score has stopped rising, and leaves the best weights in the model.

    A training that was stopped, or killed after a checkpoint, and is begun again with the same arguments ends with the
    weights of one that was not: bit for bit on one CPU with the same number of threads.

    Args:
        model: trained in place.
        batches: what it is trained on.
        loss: (model, batch) -> named losses; "loss" is the one that is minimised, the others are reported.
        validate: scores the model as it is; higher is better; the same number in every process.
        monitor: which validation score decides.
        config: how long and how fast.
        control: its on_event gets {"event": "epoch", "epoch", "epochs", "steps", "losses", "valid", "monitor",
            "best", "seconds", "eta" (s, at most), "rate" (windows/s), "train_seconds", "valid_seconds"} after each
            epoch that was validated, {"event": "step", "epoch", "epochs", "step", "steps", "loss", "seconds", "eta",
            "rate"} about once a second, and {"event": "resume", "epoch", "step"} where it goes on from a checkpoint.
        generators: beside torch's own, those that `loss` draws from.
        tables: weights that `loss` reads by rows, with `models.tables.take` alone: a step does not touch the others.

    Raises:
        Stopped: `control.stop` wished it; the checkpoint is written.
        CrossrecError: the loss or a weight is no longer a finite number, or no validation score ever was one.
    """
    control = control or Control()
    with control.stop.polled() if control.stop else nullcontext():
        return _Training(model, batches, loss, validate, monitor, config, control, list(generators), tables).run()


class _Training:
    """One call of `fit`: its pieces, and where it stands."""

    def __init__(
        self,
        model: nn.Module,
        batches: Batches,
        loss: Loss,
        validate: Callable[[], dict[str, float]],
        monitor: str,
        config: LoopConfig,
        control: Control,
        generators: list[torch.Generator],
        tables: Iterable[Tensor],
    ):
        self.model, self.batches, self.validate, self.monitor = model, batches, validate, monitor
        self.config, self.control, self.generators = config, control, generators
        self.steps = len(batches)
        ddp = DistributedDataParallelKwargs(find_unused_parameters=True)
        track = {"log_with": "tensorboard", "project_dir": str(control.track)} if control.track else {}
        self.accelerator = Accelerator(cpu=processes.without_accelerator(), kwargs_handlers=[ddp], **track)
        if control.track:
            self.accelerator.init_trackers("")
        decayed = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
        plain = [p for p in model.parameters() if p.requires_grad and p.ndim <= 1]
        self.adam = optimizer = LazyAdamW(
            [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}],
            () if config.warmup else tables,  # the sums that stand for missed steps want one learning rate for all
            lr=config.lr,
            betas=(0.9, config.beta2),
            fused=True,
        )
        self.warm = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: min(1.0, (step + 1) / (config.warmup + 1))
        )
        self.objective, self.optimizer = self.accelerator.prepare(_Objective(model, loss), optimizer)
        self.averaged: AveragedModel | None = None
        if config.average:
            self._keep_average(1 - 1 / (1 + self.steps * config.average))
        self.fitted, self.best = Fitted(), dict[str, Tensor]()
        self.epoch, self.step, self.done = 1, 0, False
        self.sums: dict[str, Tensor] = {}
        """Of each named loss over the steps of this epoch so far,"""
        self.seen: dict[str, int] = {}
        """and in how many of them it was there: a part that nobody of a batch has is left out."""
        self.trained = 0.0
        """Seconds of this epoch's steps."""
        self.before = 0.0
        """Seconds of earlier parts of this training."""
        self.started = self.kept = self.told = time.monotonic()
        self.since = (0, 0.0)
        """Steps since the last event, and the seconds that they took."""
        self.keeping = 0.0
        """Seconds that the last checkpoint took."""

    def run(self) -> Fitted:
        self.adam.start()
        try:
            self._go_on()
            while not self.done:
                self._train_epoch()
                self._end_epoch()
        finally:
            self.adam.finish()
        if not self.best:
            raise CrossrecError(
                f"No validation gave a number for {self.monitor}: there is nothing to choose the weights by."
            )
        self.model.load_state_dict(self.best)
        self.model.eval()
        self.fitted.seconds = self._seconds()
        if self.control.track:
            self.accelerator.end_training()
        return self.fitted

    def _train_epoch(self) -> None:
        self.objective.train()
        last = time.monotonic()
        for batch in self.batches.epoch(self.epoch, self.step):
            parts = self.objective(batch)
            self.optimizer.zero_grad()
            self.accelerator.backward(parts["loss"])
            self.optimizer.step()
            self.warm.step()
            if self.averaged is not None:
                self._average()
            for name, value in parts.items():
                self.sums[name] = self.sums.get(name, torch.zeros((), device=value.device)) + value.detach()
                self.seen[name] = self.seen.get(name, 0) + 1
            self.step += 1
            now = time.monotonic()
            self.trained += now - last
            self.since = (self.since[0] + 1, self.since[1] + now - last)
            if now - self.told > TELL:
                self._tell_step(parts["loss"], now)
            if self._sampled():
                break
            if self.step < self.steps:  # after the last step the epoch is ended first
                self._look_around()
            last = time.monotonic()

    def _keep_average(self, decay: float) -> None:
        self.average_of = get_ema_multi_avg_fn(decay)
        self.averaged = AveragedModel(self.model, multi_avg_fn=self.average_of)
        lazy = {id(table) for table in self.adam.tables}
        pairs = list(zip(self.model.parameters(), self.averaged.module.parameters(), strict=True))
        self.adam.averages = {id(p): (average, decay) for p, average in pairs if id(p) in lazy}
        self.at_once = [pair for pair in pairs if id(pair[0]) not in lazy]

    def _average(self) -> None:
        """After a step; `AveragedModel` alone would go through all rows of all tables, and all constants, each time."""
        assert self.averaged is not None
        if not self.averaged.n_averaged:
            self._freshen()
            self.averaged.update_parameters(self.model)
            return
        weights, averages = ([pair[i].detach() for pair in self.at_once] for i in range(2))
        if weights:
            self.average_of(averages, weights, self.averaged.n_averaged)
        self.averaged.n_averaged += 1

    def _freshen(self) -> None:
        """Moves all rows of tables that are trained lazily to where they belong by now."""
        for table in self.adam.tables:
            self.adam.freshen(table)

    def _end_epoch(self) -> None:
        """Looks at what the epoch brought, and decides what comes next."""
        losses = self._mean_losses()
        numbers = [torch.tensor(list(losses.values())), *self.model.parameters()]
        if not all(torch.isfinite(tensor).all() for tensor in numbers):
            raise CrossrecError(
                f"After epoch {self.epoch} the loss or a weight is not a finite number: "
                f"lower the learning rate (lr {self.config.lr})."
            )
        epoch, last = self.epoch, self.epoch == self.config.epochs or self._sampled()
        self.fitted.epochs = epoch
        if last or epoch % self.config.validate_every == 0:
            self._validate(losses)
            last = last or epoch - self.fitted.best_epoch >= self.config.patience
        self.epoch, self.step, self.done = epoch + 1, 0, last
        self.sums, self.seen, self.trained = {}, {}, 0.0
        self._look_around()

    def _validate(self, losses: dict[str, float]) -> None:
        """Scores the weights, the averaged ones where there are, and keeps them when they are the best so far."""
        began = time.monotonic()
        self._freshen()
        self.model.eval()
        live = None
        if self.averaged is not None:
            live = _copy(self.model)
            self.model.load_state_dict(live | dict(self.averaged.module.named_parameters()))
        valid = self.validate()
        if valid[self.monitor] > self.fitted.best_score:
            self.fitted.best_score, self.fitted.best_epoch = valid[self.monitor], self.epoch
            self.best = _copy(self.model)
        if live is not None:
            self.model.load_state_dict(live)
        spent = self._seconds()
        event = {
            "event": "epoch",
            "epoch": self.epoch,
            "epochs": self.config.epochs,
            "steps": self.steps,
            "losses": losses,
            "valid": valid,
            "monitor": self.monitor,
            "best": self.fitted.best_epoch,
            "seconds": round(spent, 2),
            "eta": round(spent / self.epoch * (self.config.epochs - self.epoch), 1),
            "rate": round(self.step * self.config.batch_size / max(self.trained, 1e-9), 1),
            "train_seconds": round(self.trained, 3),
            "valid_seconds": round(time.monotonic() - began, 3),
        }
        self.fitted.history.append(event)
        if self.control.track:
            values = {f"loss/{name}": value for name, value in losses.items()}
            values |= {f"valid/{name}": value for name, value in valid.items()}
            self.accelerator.log(values | {"windows per second": event["rate"]}, step=self.epoch)
        self.control.on_event(event)

    def _tell_step(self, loss: Tensor, now: float) -> None:
        spent, config = self._seconds(), self.config
        done = self.epoch - 1 + self.step / self.steps
        rate = self.since[0] * config.batch_size / max(self.since[1], 1e-9)
        self.told, self.since = now, (0, 0.0)
        self.control.on_event(
            {
                "event": "step",
                "epoch": self.epoch,
                "epochs": config.epochs,
                "step": self.step,
                "steps": self.steps,
                "loss": float(loss.detach()),
                "seconds": round(spent, 2),
                "eta": round(spent / done * (config.epochs - done), 1),
                "rate": round(rate, 1),
            }
        )

    def _look_around(self) -> None:
        """Between two steps: writes a checkpoint when it is time, and stops when it is wished."""
        if self.control.checkpoint is None and self.control.stop is None:
            return
        wished = self.control.stop is not None and self.control.stop.wished
        due = time.monotonic() - self.kept > max(KEEP, KEEP_SHARE * self.keeping)
        if processes.several():  # all of them, or none
            wishes = torch.tensor([float(wished), float(due)], device=self.accelerator.device)
            wished, due = (bool(number) for number in self.accelerator.reduce(wishes, "sum"))
        if self.control.checkpoint is not None and (wished or due or self.done):
            self._keep(self.control.checkpoint)
        if wished and not self.done:
            raise Stopped(f"It was stopped in epoch {self.epoch}, after {self.step} of {self.steps} steps.")

    def _keep(self, folder: Path) -> None:
        began = time.monotonic()
        inner = self.optimizer.state_dict()
        shared = checkpoints.named("model", self.model.state_dict()) | checkpoints.named("best", self.best)
        for number, values in inner["state"].items():
            shared |= checkpoints.named(f"optimizer.{number}", values)
        if self.averaged is not None:
            shared |= checkpoints.named("averaged", self.averaged.state_dict())
        seen = {name: torch.tensor(steps) for name, steps in self.seen.items()}
        own = checkpoints.random_states(self.generators)
        own |= checkpoints.named("sums", self.sums) | checkpoints.named("seen", seen)
        state = {
            "param_groups": inner["param_groups"],
            "warm": self.warm.state_dict(),
            "fitted": {**vars(self.fitted), "best_score": self.fitted.best_score if self.best else None},
            "done": self.done,
            "trained": self.trained,
            "seconds": self._seconds(),
        }
        checkpoints.save(folder, self.epoch, self.step, shared, own, state)
        self.kept = time.monotonic()
        self.keeping = self.kept - began

    def _go_on(self) -> None:
        """Takes up the newest checkpoint, if there is one."""
        found = checkpoints.newest(self.control.checkpoint)
        if found is None:
            return
        shared, own, state = checkpoints.load(found)
        self.model.load_state_dict(checkpoints.under("model", shared))
        self.best = checkpoints.under("best", shared)
        if self.averaged is not None:
            self.averaged.load_state_dict(checkpoints.under("averaged", shared))
        moments = {i: checkpoints.under(f"optimizer.{i}", shared) for i in range(len(list(self.model.parameters())))}
        self.optimizer.load_state_dict(
            {"state": {i: values for i, values in moments.items() if values}, "param_groups": state["param_groups"]}
        )
        self.warm.load_state_dict(state["warm"])
        self.sums = {name: v.to(self.accelerator.device) for name, v in checkpoints.under("sums", own).items()}
        self.epoch, self.step, self.done = state["epoch"], state["step"], state["done"]
        # A checkpoint of before these were counted has none: there every part counts for all steps.
        self.seen = dict.fromkeys(self.sums, self.step)
        self.seen |= {name: int(steps) for name, steps in checkpoints.under("seen", own).items()}
        self.trained, self.before = state["trained"], state["seconds"]
        self.fitted = Fitted(**state["fitted"])
        if self.fitted.best_score is None:
            self.fitted.best_score = float("-inf")
        self.control.on_event({"event": "resume", "epoch": self.epoch, "step": self.step})
        # Last: nothing drawn until here counts.
        checkpoints.set_random_states(own, self.generators)

    def _mean_losses(self) -> dict[str, float]:
        """Of the epoch's steps that had them, over all processes."""
        # A part may have been there for other processes alone: all of them must add up the same.
        names = list(dict.fromkeys(chain.from_iterable(processes.gather(list(self.sums)))))
        if not names:
            return {}
        none = torch.zeros(())
        found = torch.tensor(
            [[float(self.sums.get(name, none)), self.seen.get(name, 0)] for name in names],
            dtype=torch.double,
            device=self.accelerator.device,
        )
        if processes.several():
            found = self.accelerator.reduce(found, "sum")
        return dict(zip(names, (found[:, 0] / found[:, 1]).tolist(), strict=True))

    def _sampled(self) -> bool:
        """Whether this is a measurement that has seen enough."""
        return self.control.sample is not None and self._seconds() > self.control.sample

    def _seconds(self) -> float:
        return self.before + time.monotonic() - self.started


def _copy(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}
