"""How many cores the program takes: one is left to the pages, but for the moments when nobody can be looking."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


def set_threads() -> None:
    """Threads of torch, once a process: CROSSREC_THREADS, or every core but one.

    The core that is left keeps the pages responsive, and on a busy machine one thread too many costs more than it
    brings: threads wait for each other at every step.
    """
    import torch

    # Processes that a launcher started on one machine share its cores.
    share = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    torch.set_num_threads(_wanted() or max(1, ((os.cpu_count() or 1) - 1) // share))


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
