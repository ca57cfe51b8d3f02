"""Locks on files, which the system lets go of however the process that holds one ends."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class BusyError(Exception):
    """Another process holds the lock."""


def take_lock(path: Path, wait: float = 0.0) -> int:
    """The descriptor of a lock file, held until it is closed or the process ends.

    Raises:
        BusyError: another process held it for `wait` seconds.
    """
    until = time.monotonic() + wait
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError as error:
            if time.monotonic() >= until:
                os.close(descriptor)
                raise BusyError(str(path)) from error
            time.sleep(0.02)


def locked(path: Path) -> bool:
    """Whether a process holds the lock; to look does not stand in the way of another who looks."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)


@contextmanager
def holding(path: Path, wait: float = 0.0) -> Iterator[None]:
    """A block that holds a lock.

    Raises:
        BusyError: another process held it for `wait` seconds.
    """
    descriptor = take_lock(path, wait)
    try:
        yield
    finally:
        os.close(descriptor)
