"""How many cores the program takes: one is left to the pages, but for the moments when nobody can be looking."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

NICENESS = 10
"""Of what works in the background: pages and terminals come first."""


def set_threads() -> None:
    """Threads of torch, once a process: CROSSREC_THREADS, or every core but one.

    The core that is left keeps the pages responsive, and on a busy machine one thread too many costs more than it
    brings: threads wait for each other at every step.
    """
    import torch

    # Processes that a launcher started on one machine share its cores.
    share = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    torch.set_num_threads(_wanted() or max(1, ((os.cpu_count() or 1) - 1) // share))


def step_back() -> None:
    """Lets every other process of the machine go before this one, for as long as it lives.

    Linux shares out the processor between sessions first where it groups tasks by session (autogroup), and niceness
    counts within a session only: a worker, which has one of its own, must lower the group's place too.
    """
    os.nice(NICENESS)
    with suppress(OSError):  # another system, or one that does not group
        Path("/proc/self/autogroup").write_text(str(NICENESS), encoding="ascii")


@contextmanager
def every_core() -> Iterator[None]:
    """A block that takes all cores, for encoding texts: its batches know nothing of each other, so none waits.

    CROSSREC_THREADS still is the limit where it is set.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(_wanted() or os.cpu_count() or 1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _wanted() -> int:
    """CROSSREC_THREADS, 0 where it is not set to a number above 0."""
    wanted = os.environ.get("CROSSREC_THREADS", "")
    return int(wanted) if wanted.isdigit() else 0
