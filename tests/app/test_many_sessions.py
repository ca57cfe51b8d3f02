"""Many people at once, on two servers that share one folder: nobody sees a fault, and memory stays bounded."""

import os
import shutil
import time

import psutil
import pytest
from test_browser import browser, visit  # noqa: F401
from test_browser_train import Server

pytestmark = pytest.mark.browser

LONG = os.environ.get("CROSSREC_LONG") == "1"
SESSIONS, SECONDS = (20, 300.0) if LONG else (6, 15.0)
PAGES = ("home", "explore", "compare", "recommend", "feedback", "learn", "train")
GROWTH = 60.0
"""MiB that a session may take."""


def held(server: Server) -> float:
    """Memory of a server without the trainings that it started, in MiB."""
    return psutil.Process(server.process.pid).memory_info().rss / 2**20


def test_many_sessions_at_once(built, tmp_path_factory, browser):  # noqa: F811
    home = tmp_path_factory.mktemp("many") / "home"
    shutil.copytree(built, home)
    servers = [Server(home), Server(home)]
    try:
        for server in servers:
            for name in PAGES:
                visit(browser, f"{server.url}/{name}?data=demo", 1280)[0].close()
        before = [held(server) for server in servers]
        opened = []
        for n in range(SESSIONS):
            url = servers[n % 2].url
            page, faults = visit(browser, f"{url}/{PAGES[n % len(PAGES)]}?data=demo", 1280)
            opened.append((page, faults, url))
        end, turn, visits = time.monotonic() + SECONDS, 0, 0
        while time.monotonic() < end or turn < 2:
            turn += 1
            for n, (page, _, url) in enumerate(opened):
                page.goto(f"{url}/{PAGES[(n + turn) % len(PAGES)]}?data=demo", wait_until="commit")
            for page, faults, _ in opened:
                page.wait_for_selector('[data-testid="stHeading"]', timeout=120_000)
                page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]', timeout=120_000)
                faults += [box.inner_text() for box in page.query_selector_all('[data-testid="stException"]')]
                visits += 1
        after = [held(server) for server in servers]
        print(f"{SESSIONS} sessions, {visits} visits in {SECONDS:.0f} s; MiB before {before}, after {after}")
        assert [faults for _, faults, _ in opened] == [[]] * SESSIONS
        for one, two in zip(before, after, strict=True):
            assert two - one < 150 + GROWTH * SESSIONS / 2, f"{one:.0f} MiB became {two:.0f}"
        for page, _, _ in opened:
            page.close()
    finally:
        for server in servers:
            server.stop()
