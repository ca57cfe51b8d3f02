"""What the measurements share: turns, children with their peak memory, ratios with their spread, and tables.

Every script prints Markdown on standard output, one section under a heading of the second level, and its progress on
standard error; `all.py` runs them and puts the sections into `results.md`.
"""

import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
ROOT = Path(__file__).resolve().parents[1]
PEERS = ROOT / "bench" / ".venv" / "bin" / "python"
"""The Python that has what `requirements.txt` of this folder names; `make bench` makes it."""
POLL = 0.02
"""Seconds between two looks at a child's memory."""


@dataclass(frozen=True)
class Ran:
    """One run of a child process."""

    seconds: float
    """From its start to its end."""
    peak: float
    """MiB, the most memory that it and its own children held at once."""
    out: str

    @property
    def told(self) -> dict[str, Any]:
        """The JSON object in the last line of what it printed."""
        found: dict[str, Any] = json.loads(self.out.strip().splitlines()[-1])
        return found


def child(command: Sequence[str | Path], env: Mapping[str, str] | None = None, cwd: Path = ROOT) -> Ran:
    """Runs a command to its end; its standard error passes through.

    Raises:
        RuntimeError: it failed.
    """
    began = time.perf_counter()
    process = subprocess.Popen(
        [str(word) for word in command], stdout=subprocess.PIPE, text=True, cwd=cwd, env=os.environ | dict(env or {})
    )
    most, done = [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(POLL):
            most[0] = max(most[0], memory(process.pid))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    out = process.communicate()[0]
    took = time.perf_counter() - began
    done.set()
    watcher.join()
    if process.returncode:
        raise RuntimeError(f"{command[0]} ... ended with {process.returncode}")
    return Ran(took, most[0], out)


def memory(pid: int) -> float:
    """MiB that a process and its descendants hold now."""
    import psutil

    try:
        root = psutil.Process(pid)
        family = [root, *root.children(recursive=True)]
    except psutil.Error:
        return 0.0
    total = 0.0
    for one in family:
        try:
            total += one.memory_info().rss / 2**20
        except psutil.Error:
            continue
    return total


def peak() -> float:
    """MiB, the most memory that this process ever held (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return float("nan")


def seconds(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def turns(runs: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """Each of them once a round, one after the other, so that all meet the same moods of the machine."""
    found: dict[str, list[T]] = {name: [] for name in runs}
    for number in range(1, rounds + 1):
        for name, run in runs.items():
            found[name].append(run())
            say(f"  round {number} of {rounds}, {name}: {found[name][-1]}")
    return found


def spread(values: Iterable[float], digits: int = 2) -> str:
    """ "median (least to most)"."""
    some = list(values)
    if len(some) == 1:
        return f"{some[0]:,.{digits}f}"
    return f"{statistics.median(some):,.{digits}f} ({min(some):,.{digits}f} to {max(some):,.{digits}f})"


def ratio(slow: Sequence[float], fast: Sequence[float], digits: int = 1) -> str:
    """How many times `slow` takes `fast`, round by round: median (least to most)."""
    return spread([a / b for a, b in zip(slow, fast, strict=True)], digits)


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = ["| " + " | ".join(str(cell) for cell in row) + " |" for row in (header, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(header), *lines[1:]])


def section(title: str, *parts: str) -> None:
    """Prints one section; the only thing that goes to standard output."""
    print("\n\n".join([f"## {title}", *parts]), flush=True)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


class Steps:
    """A child that answers each line of standard input with a line of JSON, so that two of them can take turns."""

    def __init__(self, command: Sequence[str | Path], env: Mapping[str, str] | None = None):
        self.process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=os.environ | dict(env or {}),
        )
        self.read()

    def read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):
                found: dict[str, Any] = json.loads(line)
                return found
        raise RuntimeError(f"the child ended with {self.process.wait()}")

    def ask(self, what: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        return self.read()

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("end\n")
        self.process.stdin.close()
        self.process.wait()
