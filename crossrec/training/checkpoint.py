"""Where a training stands, on disk: enough to go on as if nothing had happened.

A checkpoint is a folder <epoch>-<step> of safetensors and JSON; it gets its name when it is whole, so a kill at any
moment leaves the one before. Accelerate's `save_state` is not used: it pickles, and passes over random states that it
cannot read, after which a training goes on as another one.
"""

import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from crossrec import processes
from crossrec.errors import CrossrecError
from crossrec.paths import read_json, write_json

Tensors = Mapping[str, Tensor]


def save(folder: Path, epoch: int, step: int, shared: Tensors, own: Tensors, state: dict[str, Any]) -> None:
    """Writes the checkpoint of (epoch, step), then removes older ones. Every process calls it.

    Args:
        folder: of all checkpoints of a training, on a disk that every process sees.
        epoch: that is being worked on, from 1.
        step: how many of its steps are done.
        shared: what is the same in every process.
        own: what is this process's: its random states.
        state: what JSON can hold.
    """
    name = f"{epoch:06d}-{step:08d}"
    new, final = folder / f".{name}", folder / name
    if processes.is_main():
        folder.mkdir(exist_ok=True)
        for left in folder.glob(".*"):
            shutil.rmtree(left)
        new.mkdir()
    processes.wait()
    try:
        _write(new / f"process-{processes.index()}.safetensors", own)
        if processes.is_main():
            _write(new / "shared.safetensors", shared)
            write_json(new / "state.json", {**state, "epoch": epoch, "step": step, "processes": processes.count()})
    except BaseException:  # such as of a full disk, which needs the room
        shutil.rmtree(new, ignore_errors=True)
        raise
    processes.wait()
    if processes.is_main():
        if final.exists():  # of a training that was taken back to an earlier checkpoint and came here again
            shutil.rmtree(final)
        new.rename(final)
        for old in _all(folder):
            if old != final:
                shutil.rmtree(old)


def newest(folder: Path | None) -> Path | None:
    """The checkpoint to go on from, or None."""
    found = _all(folder) if folder is not None else []
    return found[-1] if found else None


def read_state(checkpoint: Path) -> dict[str, Any]:
    return dict(read_json(checkpoint / "state.json"))


def load(checkpoint: Path) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Any]]:
    """(shared, own, state) of a checkpoint.

    Raises:
        CrossrecError: it was written by another number of processes.
    """
    state = read_state(checkpoint)
    if state["processes"] != processes.count():
        raise CrossrecError(
            f"The run was trained by {state['processes']} process(es) and cannot be gone on with by "
            f"{processes.count()}: resume it with --num_processes {state['processes']}."
        )
    own = load_file(checkpoint / f"process-{processes.index()}.safetensors")
    return load_file(checkpoint / "shared.safetensors"), own, state


def random_states(generators: Iterable[torch.Generator]) -> dict[str, Tensor]:
    """The states of torch's generators, and of those that are given."""
    states = {"random.cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states |= {f"random.cuda.{i}": state for i, state in enumerate(torch.cuda.get_rng_state_all())}
    return states | {f"random.given.{i}": one.get_state() for i, one in enumerate(generators)}


def set_random_states(states: Tensors, generators: Iterable[torch.Generator]) -> None:
    torch.set_rng_state(states["random.cpu"])
    for i in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        torch.cuda.set_rng_state(states[f"random.cuda.{i}"], i)
    for i, one in enumerate(generators):
        one.set_state(states[f"random.given.{i}"])


def named(prefix: str, tensors: Tensors) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def under(prefix: str, tensors: Tensors) -> dict[str, Tensor]:
    """The tensors that `named` gave the prefix."""
    start = f"{prefix}."
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}


def _all(folder: Path) -> list[Path]:
    return sorted(folder.glob("[0-9]*"))


def _write(path: Path, tensors: Tensors) -> None:
    # Tied weights share memory, which the format refuses; a copy each.
    save_file(
        {name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()},
        path,
    )
    with path.open("rb") as file:
        os.fsync(file.fileno())
