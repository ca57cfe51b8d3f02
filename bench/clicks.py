"""How long a person waits after a click: on the train page beside a training, and on the feedback page.

Times are taken in the browser, from its own event of the click or key to the frame in which the answer stands on the
page. `python bench/clicks.py HOME` needs a folder of artifacts with the demo (`crossrec demo`), which it copies, and
Chromium.
"""

import argparse
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WATCH = """
for (const kind of ["click", "keydown"]) document.addEventListener(kind, event => {
    window.began = event.timeStamp; window.ended = 0;
    const look = () => { if (window.ready && window.ready()) window.ended = performance.now();
                         else requestAnimationFrame(look) };
    requestAnimationFrame(look) }, true);
"""
MAIN = "document.querySelector('[data-testid=stMain]').innerText"
CHROMIUM = "/usr/bin/chromium"


class App:
    """The app on a home and a port of its own."""

    def __init__(self, home: Path):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{free.getsockname()[1]}"
        self.env = os.environ | {"CROSSREC_HOME": str(home)}
        command = [sys.executable, "-m", "streamlit", "run", "app", "--server.headless", "true"]
        command += ["--server.address", "127.0.0.1", "--server.port", self.url.rsplit(":", 1)[1]]
        self.process = subprocess.Popen(command, cwd=ROOT, env=self.env, stdout=-3, stderr=-3)
        for _ in range(300):
            try:
                urllib.request.urlopen(f"{self.url}/_stcore/health", timeout=2)
                return
            except OSError:
                time.sleep(0.2)

    def crossrec(self, *words: str) -> None:
        subprocess.run([sys.executable, "-m", "crossrec", *words], cwd=ROOT, env=self.env, check=True, stdout=-3)


def wait(page, act: Callable[[], None], ready: str) -> float:
    """Milliseconds from the event that `act` causes to the frame in which the expression `ready` holds."""
    page.evaluate(f"window.ready = () => {ready}; window.ended = 0")
    act()
    page.wait_for_function("window.ended > 0", timeout=30_000)
    took = float(page.evaluate("window.ended - window.began"))
    page.wait_for_timeout(500)
    return took


def train_page(page, app: App, rounds: int) -> dict[str, list[float]]:
    """A setting is changed; the runs are looked at; the form is gone back to."""
    page.goto(f"{app.url}/train?data=demo&trn_recipe=Transfer+SASRec")
    page.get_by_text("What it takes").wait_for()
    page.wait_for_timeout(4_000)
    found: dict[str, list[float]] = {"a setting": [], "to the runs": [], "to the form": []}
    width = page.get_by_role("spinbutton", name="Width")
    for n in range(rounds):
        width.fill(str(32 + n))
        shown = " || ".join(f"{MAIN}.includes('dim={32 + n}{end}')" for end in (" ", "\\n"))
        found["a setting"].append(wait(page, lambda: width.press("Enter"), f"({shown})"))
    for _ in range(rounds):
        tab = page.get_by_role("tab", name="Runs")
        found["to the runs"].append(wait(page, tab.click, f"{MAIN}.includes('Runs on all datasets')"))
        tab = page.get_by_role("tab", name="New training")
        found["to the form"].append(wait(page, tab.click, f"{MAIN}.includes('What it takes')"))
    return found


def feedback_page(page, app: App, rounds: int) -> dict[str, list[float]]:
    """A slate is answered by keyboard; the next one is there."""
    page.goto(f"{app.url}/feedback?data=demo")
    page.locator(".st-key-fb_card_0_1").wait_for()
    page.wait_for_timeout(2_000)
    found = []
    for n in range(1, rounds + 1):
        there = f"document.querySelector('.st-key-fb_card_{n}_1')"
        found.append(wait(page, lambda n=n: page.keyboard.press(str(1 + n % 5)), there))
    return {"a slate": found}


def tell(title: str, found: dict[str, list[float]]) -> None:
    together = [took for times in found.values() for took in times]
    for what, times in (*found.items(), *([("all", together)] if len(found) > 1 else [])):
        quarters = statistics.quantiles(times, n=4)
        told = f"median {statistics.median(times):.0f} ms, quarters {quarters[0]:.0f} and {quarters[2]:.0f}"
        print(f"{title}, {what}: {told}, {len(times)} times")


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("home", type=Path)
    asked.add_argument("--rounds", type=int, default=12)
    given = asked.parse_args()
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as play:
        home = Path(folder) / "home"
        shutil.copytree(given.home, home)
        app = App(home)
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        try:
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.add_init_script(WATCH)
            tell("Feedback page", feedback_page(page, app, 2 * given.rounds))
            tell("Train page, nothing in training", train_page(page, app, given.rounds))
            endless = ["--set", "epochs=100000", "--set", "patience=100000"]
            app.crossrec("train", "target-sasrec", "--dataset", "demo", *endless, "--queue", "--name", "beside")
            time.sleep(10)
            tell("Train page beside a training", train_page(page, app, given.rounds))
            tell("Feedback page beside a training", feedback_page(page, app, 2 * given.rounds))
            app.crossrec("runs", "cancel", "beside")
            time.sleep(5)
        finally:
            browser.close()
            app.process.terminate()


if __name__ == "__main__":
    main()
