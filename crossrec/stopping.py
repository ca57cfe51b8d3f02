"""The wish to stop, as a signal brings it: kept until the work is at a point where it can be taken up again."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self

from crossrec.errors import CrossrecError

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(CrossrecError):
    """The work was ended because somebody wished it; what is on disk can be gone on with."""


class Stop:
    """Takes Ctrl-C, a request to terminate and a closed terminal as a wish to stop.

    Inside `polled` the wish is only kept, for a loop that asks `wished` at every step; anywhere else, and at a second
    Ctrl-C, `Stopped` is raised on the spot.
    """

    def __init__(self) -> None:
        self.wished = False
        self._polled = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._take) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def polled(self) -> Iterator[None]:
        """A block that asks for the wish itself; one that comes too late for it counts at its end."""
        self._polled = True
        try:
            yield
        finally:
            self._polled = False
        if self.wished:
            raise Stopped("It was stopped.")

    def _take(self, number: int, frame: FrameType | None) -> None:
        first, self.wished = not self.wished, True
        # A second request to terminate does not disturb what the first began.
        if (first and not self._polled) or (not first and number == signal.SIGINT):
            raise Stopped("It was stopped.")
