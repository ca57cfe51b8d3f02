"""One process or many: what each takes of the work, and how the parts come together again.

Everything here costs nothing in a single process. `accelerate launch` starts several; which one this is, and the way
to the others, is Accelerate's to know.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")


def several() -> bool:
    """Whether a launcher started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def count() -> int:
    return int(_state().num_processes) if several() else 1


def index() -> int:
    """This process among `count()`, from 0."""
    return int(_state().process_index) if several() else 0


def is_main() -> bool:
    """Whether this is the process that writes and speaks."""
    return index() == 0


def part(rows: NDArray[Any]) -> NDArray[Any]:
    """This process's rows of a batch (B, ...); as many for each process, the first ones twice if need be.

    Parts of equal size make the mean of the parts' means the mean of the batch, but for the rows that are there twice.
    """
    world = count()
    if world == 1 or not len(rows):
        return rows
    return rows[np.arange(index(), world * -(-len(rows) // world), world) % len(rows)]


def mine(number: int) -> bool:
    """Whether piece `number` (from 0) of a work that is shared out is this process's."""
    return number % count() == index()


def gather(own: T) -> list[T]:
    """What each process has, in their order."""
    if not several():
        return [own]
    from accelerate.utils import gather_object

    return list(gather_object([own]))


def combined(values: NDArray[Any]) -> NDArray[Any]:
    """(N,) numbers of which each process filled in some, NaN elsewhere."""
    return np.fmax.reduce(gather(values))


def from_main(value: T) -> T:
    """What the main process has, for all."""
    if not several():
        return value
    from accelerate.utils import broadcast_object_list

    return broadcast_object_list([value])[0]


@contextmanager
def main_first() -> Iterator[None]:
    """A block that the main process goes through before the others, which then find what it wrote."""
    if several():
        with _state().main_process_first():
            yield
    else:
        yield


def wait() -> None:
    """Waits until every process has come here."""
    if several():
        _state().wait_for_everyone()


def without_accelerator() -> bool:
    """Whether several processes share a machine that has only CPUs: Accelerate wants to be told, and otherwise takes
    each for the only one."""
    from torch.accelerator import is_available

    return several() and not is_available()


def _state() -> Any:
    from accelerate import PartialState

    return PartialState(cpu=without_accelerator())
