"""A training from the first click to its results, in Chromium: it outlives the page, the server and its own process."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from test_browser import ROOT, browser, visit  # noqa: F401

from crossrec.runs import queue
from crossrec.runs.folder import open_run
from crossrec.runs.locks import locked

pytestmark = pytest.mark.browser

NAME = "from-the-page"
SLACK = 3
"""What a busy machine may take beyond what is usual."""
SETTINGS = {"Epochs, at most": 4000, "Patience": 4000, "Batch size": 4, "Width": 32}
"""Long enough to be stopped, killed and looked at from two sides however slow the machine is."""


class Server:
    """The app on a home and a port of its own."""

    def __init__(self, home: Path):
        self.home = home
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "streamlit", "run", "app", "--server.headless", "true"]
        command += ["--server.port", str(self.port), "--server.address", "127.0.0.1"]
        with (self.home / "server.log").open("a") as log:
            env = os.environ | {"CROSSREC_HOME": str(self.home)}
            self.process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=log)
        until(self.answers, 60)

    def answers(self) -> bool:
        assert self.process.poll() is None, (self.home / "server.log").read_text()
        try:
            urllib.request.urlopen(f"{self.url}/_stcore/health", timeout=2)
        except OSError:
            return False
        return True

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(15)


@pytest.fixture(scope="module")
def server(built, tmp_path_factory):
    home = tmp_path_factory.mktemp("train") / "home"
    shutil.copytree(built, home)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CROSSREC_HOME", str(home))
        server = Server(home)
        try:
            yield server
        finally:
            server.stop()
            for task in [*queue.waiting("run"), *queue.working("run")]:
                if queue.cancel(task) == "stopping":
                    os.kill(task.status()["pid"], signal.SIGKILL)
            until(lambda: not locked(home / ".keeper.lock"), 30)


def until(what, seconds: float):
    """Waits until something is so, and returns it."""
    end = time.monotonic() + SLACK * seconds
    while not (found := what()):
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.1)
    return found


def status(home: Path) -> dict:
    return json.loads((home / "runs" / NAME / "status.json").read_text())


def epoch(page) -> int:
    """The epoch that the page tells of the run; 0 before the first."""
    found = re.search(rf"{NAME} is in epoch (\d+) of at most", page.locator('[data-testid="stMain"]').inner_text())
    return int(found[1]) if found else 0


def wait_for(page, words: str, seconds: float = 30 * SLACK) -> None:
    page.get_by_text(words).locator("visible=true").first.wait_for(timeout=1000 * seconds)


def fill(page, settings: dict[str, int]) -> None:
    for label, value in settings.items():
        field = page.get_by_role("spinbutton", name=label)
        field.fill(str(value))
        field.press("Enter")


def press(page, label: str) -> None:
    page.get_by_role("button", name=label, exact=True).click()


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_wider_than_the_window(server, browser, width):  # noqa: F811
    page, faults = visit(browser, f"{server.url}/train?data=demo", width)

    def fits() -> None:
        wide = page.locator('[data-testid="stMain"]').evaluate("main => main.scrollWidth - main.clientWidth")
        assert wide <= 2, f"{wide} px wider than the window"

    assert page.locator("h1").inner_text() == "What does it take?"
    assert "Nothing is in training" in page.locator('[data-testid="stAlert"]').first.inner_text()
    fits()
    page.get_by_role("tab", name="Runs").click()
    wait_for(page, "how to repeat it")
    fits()
    assert not faults
    page.close()


def test_a_training_from_the_page_to_its_results(server, browser, monkeypatch):  # noqa: F811
    monkeypatch.setenv("CROSSREC_HOME", str(server.home))
    home = server.home
    page, faults = visit(browser, f"{server.url}/train?data=demo&trn_recipe=Transfer+SASRec", 1280)
    fill(page, SETTINGS)
    page.get_by_label("Name of the run").last.fill(NAME)
    page.get_by_label("Name of the run").last.press("Enter")
    wait_for(page, f"--name {NAME}")
    page.get_by_role("button", name="Start", exact=True).dblclick()

    # It is in the queue once, starts by itself, and what the page tells moves on without a hand.
    # What is said of it passes by: on a busy machine before anybody can read it.
    until((home / "runs" / NAME / "status.json").exists, 40)
    wait_for(page, f"{NAME} is in epoch")
    assert [run.name for run in (home / "runs").glob(f"{NAME}*")] == [NAME]
    first = until(lambda: epoch(page), 40)
    until(lambda: epoch(page) > first, 20)
    page.locator("[data-testid=stVegaLiteChart]").first.wait_for()
    assert f"run={NAME}" in page.url

    # A reload and another person's browser show the same.
    page.reload()
    until(lambda: epoch(page), 30)
    context = browser.new_context()
    other = context.new_page()
    other.goto(f"{server.url}/train?data=demo&run={NAME}")
    until(lambda: epoch(other), 30)

    # Stopped by one, it is stopped for both, and goes on from where it was.
    press(page, "Cancel")
    wait_for(page, "Stopped in epoch")
    wait_for(other, "Stopped in epoch")
    stopped = status(home)["epoch"]
    assert status(home)["state"] == "stopped"
    press(other, "Resume")
    until(lambda: epoch(page) >= stopped or epoch(other) >= stopped, 40)
    context.close()

    # The server goes, the training stays.
    page.close()
    before = status(home)
    server.stop()
    os.kill(before["pid"], 0)
    server.start()
    page, more = visit(browser, f"{server.url}/train?data=demo&run={NAME}", 1280)
    until(lambda: epoch(page) > before["epoch"], 30)
    assert status(home)["pid"] == before["pid"] and status(home)["started"] == before["started"]

    # Its process is killed: that is told within half a minute, with what to do.
    os.kill(before["pid"], signal.SIGKILL)
    wait_for(page, "was killed (SIGKILL", 30)
    assert status(home)["state"] == "failed"
    told = [event["epoch"] for event in open_run(NAME).events() if event["event"] == "epoch"]
    assert told == list(range(1, len(told) + 1))  # over two parts none is missing, none is told twice

    # The same with fewer epochs ends, and stands on the other pages.
    press(page, "Duplicate with changes")
    page.get_by_role("spinbutton", name="Patience").wait_for()
    fill(page, {"Epochs, at most": 3})
    wait_for(page, "--set epochs=3 ")
    press(page, "Start")
    wait_for(page, "hit rate@10", 180)
    name = until(lambda: re.search(r"run=([\w-]+)", page.url), 10)[1]
    config = open_run(name).config()
    assert name != NAME and config["settings"] == open_run(NAME).config()["settings"] | {"epochs": 3}
    page.get_by_role("link", name="Compare it with the others").click()
    wait_for(page, "Did transfer help, and whom?")
    wait_for(page, f"demo-target-sasrec and {name} differ in more than transfer", 240)
    assert not [fault for fault in faults + more if "ERR_CONNECTION_REFUSED" not in fault and "WebSocket" not in fault]
    page.close()
