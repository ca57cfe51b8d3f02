"""Waiting for what other processes do."""

import time
from collections.abc import Callable
from typing import Any

from crossrec.errors import CrossrecError
from crossrec.runs.folder import Run, open_run

PATIENCE = 180.0
"""Seconds after which something never comes true, however busy the machine is."""


def until(true: Callable[[], Any]) -> Any:
    """What it gives, once that is true."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if found := true():
            return found
        time.sleep(0.02)
    raise AssertionError("it never came true")


def in_epoch(name: str, epoch: int) -> Run:
    """The run, once it is in an epoch."""

    def there() -> Run | None:
        try:
            return open_run(name) if open_run(name).status().get("epoch", 0) >= epoch else None
        except CrossrecError:
            return None

    return until(there)  # type: ignore[no-any-return]
