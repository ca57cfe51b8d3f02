"""Artifacts folders that are never the real one, small dataset pairs built by hand, and a tiny demo world with runs."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import settings

from crossrec.data.pair import Domain, DomainPair
from crossrec.runs.demo import make_world
from crossrec.runs.execute import train
from crossrec.stopping import Stop

# Examples are not timed, for the machine is shared; those of a failure are printed and need no database.
settings.register_profile("crossrec", deadline=None, max_examples=60, database=None)
settings.load_profile("crossrec")

TINY = {"dim": 16, "epochs": 2, "max_len": 20}
"""Settings with which a sequence model trains in a tenth of a second."""


@pytest.fixture(scope="session", autouse=True)
def _never_the_real_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test, and no process that a test starts, writes to the real artifacts folder or takes every core."""
    before = {key: os.environ.get(key) for key in ("CROSSREC_HOME", "CROSSREC_THREADS")}
    os.environ["CROSSREC_HOME"] = str(tmp_path_factory.mktemp("home"))
    os.environ["CROSSREC_THREADS"] = "1"
    torch.set_num_threads(1)
    yield
    for key, value in before.items():
        os.environ.pop(key) if value is None else os.environ.__setitem__(key, value)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty artifacts folder of the test's own."""
    monkeypatch.setenv("CROSSREC_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(scope="session")
def stop_after() -> Callable[[int], Stop]:
    """Makes a `Stop` that wishes it from the question on that follows so many."""

    class After(Stop):
        def __init__(self, times: int):
            super().__init__()
            self.times = times

        @property
        def wished(self) -> bool:
            self.times -= 1
            return self.times < 0

        @wished.setter
        def wished(self, value: bool) -> None:
            pass

    return After


# --- pairs built by hand --------------------------------------------------------------------------

Lists = Sequence[Sequence[int]]


def _domain(label: str, items: Lists, times: Lists | None, n_items: int | None) -> Domain:
    def flat(rows: Lists, kind: Any) -> Any:
        return np.array([x for row in rows for x in row], kind)

    return Domain(
        label=label,
        n_items=n_items if n_items is not None else max((x for row in items for x in row), default=0),
        offsets=np.concatenate([[0], np.cumsum([len(row) for row in items])]).astype(np.int64),
        items=flat(items, np.int32),
        times=None if times is None else flat(times, np.int64),
        ratings=None,
    )


@pytest.fixture(scope="session")
def make_pair() -> Callable[..., DomainPair]:
    """Lists of items a user, and of times, oldest first -> a DomainPair in memory."""

    def make(
        source: Lists,
        target: Lists,
        source_times: Lists | None = None,
        target_times: Lists | None = None,
        n_source: int | None = None,
        n_target: int | None = None,
        folder: Path = Path("nowhere"),
    ) -> DomainPair:
        return DomainPair(
            folder=folder,
            meta={"hash": "by hand"},
            source=_domain("Source", source, source_times, n_source),
            target=_domain("Target", target, target_times, n_target),
        )

    return make


@pytest.fixture(scope="session")
def random_pair(make_pair: Callable[..., DomainPair]) -> Callable[..., DomainPair]:
    """A pair of a seed: users with 0, 1, 2, ... distinct items in each domain, times from few instants, so many tie."""

    def make(
        seed: int,
        users: int = 12,
        n_items: int = 15,
        longest: int = 8,
        instants: int = 10,
        timed: bool = True,
        fewest: int = 0,
        folder: Path = Path("nowhere"),
    ) -> DomainPair:
        rng = np.random.default_rng(seed)

        def rows() -> tuple[list[list[int]], list[list[int]]]:
            counts = rng.integers(fewest, longest + 1, users)
            items = [rng.permutation(np.arange(1, n_items + 1))[:n].tolist() for n in counts]
            return items, [np.sort(rng.integers(0, instants, n)).tolist() for n in counts]

        (source, source_times), (target, target_times) = rows(), rows()
        times = (source_times, target_times) if timed else (None, None)
        return make_pair(source, target, *times, n_source=n_items, n_target=n_items, folder=folder)

    return make


@pytest.fixture(scope="session")
def rated_pair(random_pair: Callable[..., DomainPair]) -> Callable[..., DomainPair]:
    """A `random_pair` whose events have stars, and now and then none."""

    def make(seed: int, absent: float = 0.1, **kwargs: Any) -> DomainPair:
        pair, rng = random_pair(seed, **kwargs), np.random.default_rng(seed + 1)

        def rated(domain: Domain) -> Domain:
            stars = rng.integers(1, 6, len(domain.items)).astype(np.float32)
            stars[rng.random(len(stars)) < absent] = np.nan
            return replace(domain, ratings=stars)

        return replace(pair, source=rated(pair.source), target=rated(pair.target))

    return make


# --- a tiny demo world with runs ------------------------------------------------------------------


@pytest.fixture(scope="session")
def tiny_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset "tiny" with a finished run tiny-<recipe> of each recipe but the linear map. Only to be read."""
    from crossrec.data.demo import DemoConfig

    folder = tmp_path_factory.mktemp("tiny")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CROSSREC_HOME", str(folder))
        make_world(
            "tiny", DemoConfig(users=120, source_items=60, target_items=60, source_events=1500, target_events=1000)
        )
        for recipe in ("popularity", "source-sasrec", "target-sasrec", "transfer-sasrec"):
            train(recipe, "tiny", TINY if "sasrec" in recipe else {}, name=f"tiny-{recipe}")
    return folder


@pytest.fixture
def tiny(tiny_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The shared tiny home as the artifacts folder; for tests that write nothing."""
    monkeypatch.setenv("CROSSREC_HOME", str(tiny_home))
    return tiny_home


@pytest.fixture
def tiny_copy(tiny_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the tiny home as the artifacts folder; for tests that write."""
    copy = tmp_path / "copy"
    shutil.copytree(tiny_home, copy)
    monkeypatch.setenv("CROSSREC_HOME", str(copy))
    return copy


@pytest.fixture(scope="session")
def tiny_settings() -> dict[str, Any]:
    return dict(TINY)


@pytest.fixture
def crossrec(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Runs the command line in this process: words -> exit code, stdout, stderr. Only SystemExit may leave it."""
    from crossrec.cli import main

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["crossrec", *map(str, words)])
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return run
