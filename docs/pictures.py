"""Takes the pictures of the README from the app as it is: `python docs/pictures.py HOME [NAME ...]`.

HOME is a folder of artifacts with the demo (`crossrec demo`); it is copied, so nothing that is pressed here stays.
Needs chromium and what `requirements-dev.txt` installs.
"""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS.parent / "bench"))

from clicks import CHROMIUM, App  # noqa: E402

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
REVIEWS = (
    "Rain on dark streets, smoke and a lonely detective. Slow and sad, and I loved it.",
    "One astronaut, a dead radio and the dark between the stars. Dreamy, and very quiet.",
    "Ministers, bribes and a stolen file. Angry, cold, and it does not let you go.",
)


def settle(page: Any) -> None:
    page.wait_for_timeout(400)
    page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]', timeout=120_000)
    page.wait_for_function('!document.querySelector(\'[data-testid="stSkeleton"], [data-testid="stSpinner"]\')')
    page.wait_for_timeout(1200)


def home(page: Any, app: App) -> None:
    page.goto(f"{app.url}/home?data=demo")


def train(page: Any, app: App) -> None:
    words = ["--set", "epochs=400", "--set", "patience=400", "--set", "batch_size=64", "--set", "lr=0.003"]
    app.crossrec("train", "transfer-sasrec", "--dataset", "demo", "--name", "picture", "--queue", *words)
    page.goto(f"{app.url}/train?data=demo&run=picture")
    page.get_by_text("of at most 400").locator("visible=true").first.wait_for(timeout=120_000)
    page.wait_for_timeout(30_000)


def recommend(page: Any, app: App) -> None:
    page.goto(f"{app.url}/recommend?data=demo")
    page.get_by_label("Review 1").wait_for(timeout=120_000)
    settle(page)
    for number, text in enumerate(REVIEWS, 1):
        page.get_by_label(f"Review {number}").fill(text)
    page.get_by_role("button", name="Recommend", exact=True).click()
    page.get_by_text("would put").first.wait_for()
    settle(page)
    page.get_by_role("button", name="Why").first.click()
    page.get_by_text("It stands in place 1").wait_for()


def feedback(page: Any, app: App) -> None:
    page.goto(f"{app.url}/feedback?data=demo")
    page.get_by_text("Pick what you like in the slate").wait_for(timeout=120_000)
    for _ in range(3):
        page.keyboard.press("t")
        settle(page)


def learn(page: Any, app: App) -> None:
    page.goto(f"{app.url}/learn?data=demo&lrn_tab=Bridge and gate")


PICTURES: dict[str, tuple[Callable[[Any, App], None], int]] = {
    "home": (home, 900),
    "train": (train, 1750),
    "recommend": (recommend, 1350),
    "feedback": (feedback, 1500),
    "learn": (learn, 1000),
}
"""What is done for each, and its height in px."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", type=Path)
    parser.add_argument("names", nargs="*", metavar="NAME", default=list(PICTURES), help=", ".join(PICTURES))
    asked = parser.parse_args()
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as play:
        copied = Path(folder) / "home"
        shutil.copytree(asked.home, copied)
        app = App(copied)
        browser = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            for name in asked.names:
                act, height = PICTURES[name]
                page = browser.new_context(viewport={"width": 1280, "height": height}).new_page()
                act(page, app)
                settle(page)
                page.screenshot(path=str(DOCS / f"{name}.png"))
                page.close()
                sys.stdout.write(f"{name}.png\n")
        finally:
            browser.close()
            if "train" in asked.names:
                app.crossrec("runs", "cancel", "picture")
            app.process.terminate()
            app.process.wait()


if __name__ == "__main__":
    main()
