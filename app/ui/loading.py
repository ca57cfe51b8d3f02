"""What takes seconds to load, torch above all, is loaded beside the server, which answers meanwhile.

Two threads that load packages which import each other in circles may each see the other's half: so pages and routes
wait until this is done, and load what is left of it themselves where it failed.
"""

import threading
from importlib import import_module

LATER = ("crossrec.api", "crossrec.runs.compare", "crossrec.runs.coldstart", "crossrec.report.figures")
"""What pages and routes stand on."""
_done = threading.Event()
_done.set()


def begin() -> None:
    """Starts it, in a thread of its own."""
    _done.clear()
    threading.Thread(target=_load, daemon=True, name="loading").start()


def wait() -> None:
    """Returns once it is done; at once where nobody began."""
    _done.wait()


def _load() -> None:
    try:
        import_module("crossrec.threads").set_threads()
        for name in LATER:
            import_module(name)
    finally:
        _done.set()
