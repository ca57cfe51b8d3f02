"""The whole app in Chromium: what a person's browser makes of it."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from app.ui.errors import plain
from crossrec.recommend.person import Person, Review
from crossrec.recommend.recommender import RunRecommender
from crossrec.runs.compare import compare_runs, matching_runs
from crossrec.runs.folder import open_run

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
PROBES = ("/_stcore/host-config", "/_stcore/health")
"""Streamlit's browser side asks for these below a page's address first, gets a 404, and goes on at the root."""
NOIR = "Rain on dark streets, smoke and a lonely detective. Slow and sad, and I loved it."

pytestmark = pytest.mark.browser

if CHROMIUM is None and os.environ.get("CROSSREC_REQUIRE_BROWSER") != "1":
    pytest.skip("there is no chromium on this machine", allow_module_level=True)


@pytest.fixture(scope="module")
def server(built, tmp_path_factory):
    """On a copy, for a page may write, such as the feedback page a slate that is seen."""
    built = shutil.copytree(built, tmp_path_factory.mktemp("served") / "home")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", "app", "--server.port", str(port), "--server.headless", "true"]
    command += ["--server.address", "127.0.0.1"]
    log = built / "server.log"
    with log.open("w") as out:
        process = subprocess.Popen(
            command, cwd=ROOT, env=os.environ | {"CROSSREC_HOME": str(built)}, stdout=out, stderr=out
        )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(120):
            try:
                urllib.request.urlopen(f"{url}/_stcore/health", timeout=2)
                break
            except OSError:
                assert process.poll() is None, log.read_text()
                time.sleep(0.5)
        else:
            pytest.fail(log.read_text())
        yield url
    finally:
        process.terminate()
        process.wait(15)


@pytest.fixture(scope="module")
def browser():
    assert CHROMIUM, "CROSSREC_REQUIRE_BROWSER=1, and there is no chromium on this machine"
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def verdict(home):
    return compare_runs(matching_runs("demo")).verdict.headline


def visit(browser, url: str, width: int, scheme: str = "light"):
    """Opens a page and waits until it is drawn; returns it with the faults that a picture hides."""
    faults = []
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.on("pageerror", lambda error: faults.append(f"page error: {error}"))

    def console(message) -> None:
        at = message.location.get("url", "")
        if message.type == "error" and not at.endswith(PROBES):
            faults.append(f"{message.text} {at}")

    page.on("console", console)
    page.goto(url, wait_until="domcontentloaded")
    page.wait_for_selector('[data-testid="stHeading"]', timeout=60_000)
    page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]', timeout=60_000)
    page.wait_for_function('!document.querySelector(\'[data-testid="stSkeleton"], [data-testid="stSpinner"]\')')
    page.wait_for_timeout(700)
    faults += [box.inner_text() for box in page.query_selector_all('[data-testid="stException"]')]
    return page, faults


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize(
    ("path", "question"),
    [
        ("", "Does taste carry over?"),
        ("explore", "Can these domains help each other?"),
        ("compare", "Did transfer help, and whom?"),
    ],
)
def test_page_in_chromium(server, browser, verdict, path, question, width):
    page, faults = visit(browser, f"{server}/{path}", width)
    try:
        assert not faults
        assert page.locator("h1").inner_text() == question
        answer = page.locator('[data-testid="stAlert"]').first
        assert answer.is_visible()
        said = answer.inner_text()
        assert plain(verdict) in said if path != "explore" else "people" in said
        wide = page.locator('[data-testid="stMain"]').evaluate("main => main.scrollWidth - main.clientWidth")
        assert wide <= 2, f"{wide} px wider than the window"
        assert page.locator(".vega-embed, [data-testid=stVegaLiteChart]").count() > 0
    finally:
        page.close()


@pytest.mark.parametrize("width", [1280, 390])
def test_recommend_in_chromium(server, browser, home, width):
    """From nothing to a list, its reasons, and the list had the review not been written."""
    page, faults = visit(browser, f"{server}/recommend?data=demo", width)

    def settled() -> None:
        page.wait_for_timeout(300)
        page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]', timeout=60_000)
        page.wait_for_timeout(300)

    def fits() -> None:
        wide = page.locator('[data-testid="stMain"]').evaluate("main => main.scrollWidth - main.clientWidth")
        assert wide <= 2, f"{wide} px wider than the window"

    try:
        assert page.locator("h1").inner_text() == "What would this person like?"
        answer = page.locator('[data-testid="stAlert"]').first
        assert "Write what somebody thought" in answer.inner_text()
        fits()
        page.get_by_label("Review 1").fill(NOIR)
        page.get_by_role("button", name="Recommend", exact=True).click()
        page.get_by_text("would put").wait_for()
        settled()
        found = RunRecommender(open_run("demo-racrec")).ask(Person(reviews=(Review(NOIR),)))
        assert f"“{found.items[0].title}”" in answer.inner_text()
        assert page.get_by_label("Review 1").input_value() == NOIR  # the click took nothing away

        page.get_by_role("button", name="Why").first.click()
        page.get_by_text("It stands in place 1").wait_for()
        settled()
        assert page.locator("[data-testid=stVegaLiteChart]").count() == 1
        fits()

        table = page.locator('[data-testid="stDataFrame"]').first
        table.scroll_into_view_if_needed()
        table.click(position={"x": 40, "y": 52})  # the box "Counts" of the first row
        page.locator('[data-testid="stDataFrame"]').nth(1).wait_for()
        settled()
        without = RunRecommender(open_run("demo-racrec")).ask(Person())
        assert page.get_by_text(f"“{without.items[0].title}” would").count() == 1
        fits()
        page.get_by_role("button", name="As it was").click()
        page.get_by_text("Nothing has been changed yet.").wait_for()

        page.reload()
        page.get_by_text("would put").wait_for()
        settled()
        assert page.get_by_label("Review 1").input_value() == NOIR
        assert f"“{found.items[0].title}”" in answer.inner_text()
        assert not faults
    finally:
        page.close()


def test_home_has_an_address_of_its_own(server, browser, verdict):
    page, faults = visit(browser, f"{server}/home", 1280)
    try:
        assert not faults  # a page that is not found says so in the console
        assert plain(verdict) in page.locator('[data-testid="stAlert"]').first.inner_text()
        assert page.get_by_text("Page not found").count() == 0
    finally:
        page.close()


def test_an_address_shows_what_it_says(server, browser):
    page, faults = visit(
        browser, f"{server}/compare?data=demo&cmp_baseline=demo-popularity&cmp_runs=demo-linear-map", 1280
    )
    try:
        assert not faults
        assert page.locator('[data-testid="stAlert"]').first.inner_text().splitlines()[-1].startswith("Linear map ")
    finally:
        page.close()


# What Streamlit itself draws and a page cannot change: the navigation, the place for a file, an index without a name,
# and formulas wider than their card.
STREAMLIT = ("list", "listitem", "presentation-role-conflict", "empty-table-header", "scrollable-region-focusable")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", ["home", "explore", "train", "compare", "recommend", "feedback", "learn"])
def test_everybody_can_read_it(server, browser, path, scheme):
    """axe finds nothing on a page: contrast 4.5 : 1, headings in order, a name for each thing to press.

    In light on every tab of it, in dark on the first.
    """
    from axe_playwright_python.sync_playwright import Axe

    page, faults = visit(browser, f"{server}/{path}?data=demo", 1280, scheme)
    found = set()
    try:
        for place in range(max(1, page.get_by_role("tab").count()) if scheme == "light" else 1):
            if place:
                page.get_by_role("tab").nth(place).click()
                page.wait_for_timeout(700)
                page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]', timeout=60_000)
                page.wait_for_timeout(700)
            for broken in Axe().run(page).response["violations"]:
                if broken["id"] not in STREAMLIT:
                    found |= {(broken["id"], node["html"][:120]) for node in broken["nodes"]}
        assert not faults
        assert not found
    finally:
        page.close()
