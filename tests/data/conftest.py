"""An artifacts folder of its own for every test, invented reviews, and a small hub on loopback."""

import gzip
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from small_hub import Hub

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CROSSREC_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def shared() -> Path:
    if not SHARED.is_dir():
        pytest.skip(f"the real data are not at {SHARED}")
    return SHARED


@pytest.fixture
def put(tmp_path: Path) -> Callable[..., Path]:
    """Writes lines (text, or dicts that become JSON) to a file, gzip where the name says so."""

    def write(name: str, lines: list[Any]) -> Path:
        text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
        data = text.encode("utf-8")
        path = tmp_path / name
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return path

    return write


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], Hub]]:
    started: list[Hub] = []

    def start(root: Path) -> Hub:
        hub = Hub(root)
        started.append(hub)
        threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        return hub

    yield start
    for hub in started:
        hub.shutdown()
        hub.server_close()
