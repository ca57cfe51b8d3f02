"""The pages as their visitor meets them: first paint, rerun, and what ten visitors cost in memory.

    python bench/pages.py HOME --rounds 5

HOME is a folder of artifacts with the demo (`crossrec demo`), which is copied, and perhaps other datasets with runs,
which are measured too. Times are taken in Chromium: from the start of a navigation in a fresh browser to the frame in
which the page's title stands and its script has ended; and from the key that runs a page again (R) to the frame of
its end. Each page was visited before, but for "after the start": that is its first visit on a new server.
"""

import argparse
import os
import shutil
import tempfile
from pathlib import Path

from clicks import CHROMIUM, App
from harness import memory, say, section, spread, table

PAGES = ("home", "explore", "train", "compare", "recommend", "feedback", "learn")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
WATCH = """
const app = () => document.querySelector('[data-testid=stApp]');
const ended = () => app() && app().dataset.testScriptState === 'notRunning';
window.painted = 0; window.again = 0;
const look = () => {
    if (ended() && document.querySelector('[data-testid=stMain] h1')) window.painted = performance.now();
    else requestAnimationFrame(look) };
requestAnimationFrame(look);
document.addEventListener('keydown', event => {
    let ran = false; window.again = 0;
    new MutationObserver((_, seen) => {
        if (!ended()) ran = true;
        else if (ran) { seen.disconnect();
            requestAnimationFrame(() => { window.again = performance.now() - event.timeStamp }) }
    }).observe(app(), {attributes: true, attributeFilter: ['data-test-script-state']});
}, true);
"""


def first_paint(browser, url: str) -> float:
    """Seconds to the page, in a browser that knows nothing."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    try:
        page = context.new_page()
        page.add_init_script(WATCH)
        page.goto(url, wait_until="commit")
        page.wait_for_function("window.painted > 0", timeout=120_000)
        return float(page.evaluate("window.painted")) / 1000
    finally:
        context.close()


def reruns(browser, url: str, rounds: int) -> list[float]:
    """Seconds that it takes to run again, where it was."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    try:
        page, found = context.new_page(), []
        page.add_init_script(WATCH)
        page.goto(url)
        page.wait_for_function("window.painted > 0", timeout=120_000)
        page.wait_for_timeout(1_500)
        for _ in range(rounds + 1):
            page.keyboard.press("r")
            page.wait_for_function("window.again > 0", timeout=60_000)
            found.append(float(page.evaluate("window.again")) / 1000)
            page.wait_for_timeout(300)
        return found[1:]
    finally:
        context.close()


def visitors(browser, url: str, data: str, number: int) -> None:
    """So many sessions that each look at every page, and stay."""
    for _ in range(number):
        page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
        for name in PAGES:
            page.add_init_script(WATCH)
            page.goto(f"{url}/{name}?data={data}", wait_until="commit")
            page.wait_for_function("window.painted > 0", timeout=120_000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one round, the demo alone")
    asked = parser.parse_args()
    from playwright.sync_api import sync_playwright

    parts = []
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as play:
        home = Path(folder) / "home"
        shutil.copytree(asked.home, home)
        datasets = sorted(path.name for path in (home / "datasets").glob("[!.]*") if path.name != "demo-unrelated")
        datasets.sort(key=lambda name: name != "demo")
        if asked.quick:
            asked.rounds, datasets = 1, datasets[:1]
        browser = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        for data in datasets:
            app, rows = App(home), []
            try:
                for name in PAGES:
                    url = f"{app.url}/{name}?data={data}"
                    cold = first_paint(browser, url)
                    paints = [first_paint(browser, url) for _ in range(asked.rounds)]
                    again = reruns(browser, url, 2 * asked.rounds)
                    rows.append([name, f"{cold:.2f}", spread(paints), spread(again)])
                    say(f"  {data}: {rows[-1]}")
                one = memory(app.process.pid)
                visitors(browser, app.url, data, 2 if asked.quick else 10)
                many = memory(app.process.pid)
            finally:
                app.process.terminate()
                app.process.wait()
            header = ["page", "after the start, s", "first paint, s", "rerun, s"]
            held = f"The server holds {one:,.0f} MiB after these visits, {many:,.0f} with ten sessions more."
            parts += [f"`{data}`:", table(header, rows), held]
        browser.close()
    section(
        "Pages", f"{os.cpu_count()} cores, Chromium and server on the same machine; median of {asked.rounds}.", *parts
    )


if __name__ == "__main__":
    main()
