"""Three people go through the whole app in Chromium: one who decides, one who shows it, one who learns."""

import csv
import io
import shutil

import pytest
from test_browser import NOIR, browser, visit  # noqa: F401
from test_browser_feedback import played, wait_until_played
from test_browser_train import Server, wait_for

from app.ui.errors import plain
from crossrec.recommend.person import Person, Review
from crossrec.recommend.recommender import RunRecommender
from crossrec.runs.compare import compare_runs, matching_runs
from crossrec.runs.folder import open_run

pytestmark = pytest.mark.browser

REVIEWS = (
    NOIR,
    "Two people write each other letters for years and meet once, too late. Tender and lovely.",
    "Somebody slips on a peel and the goose gets away. So silly, I cried with laughter.",
)


@pytest.fixture(scope="module")
def server(built, tmp_path_factory):
    home = tmp_path_factory.mktemp("journeys") / "home"
    shutil.copytree(built, home)
    server = Server(home)
    yield server
    server.stop()


def settled(page) -> None:
    page.wait_for_timeout(300)
    page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]', timeout=60_000)
    page.wait_for_timeout(300)


def answer(page) -> str:
    return page.locator('[data-testid="stAlert"]').first.inner_text()


def follow(page, label: str, title: str) -> None:
    """Goes on by a link of the page itself."""
    page.get_by_role("link", name=label).click()
    page.get_by_role("heading", name=title).wait_for(timeout=60_000)
    settled(page)


def test_who_decides(server, browser, home):  # noqa: F811
    """A shared link, the verdict, who benefits, the report in hand."""
    result = compare_runs(matching_runs("demo"))
    page, faults = visit(browser, f"{server.url}/home?data=demo", 1280)
    try:
        assert plain(result.verdict.headline) in answer(page)
        follow(page, "See whom transfer helped", "Did transfer help, and whom?")
        assert plain(result.verdict.headline) in answer(page)
        page.get_by_role("heading", name="Who benefits?").scroll_into_view_if_needed()
        page.get_by_text("All slices in numbers").wait_for()
        with page.expect_download(timeout=60_000) as told:
            page.get_by_role("button", name="Download the report").click()
        report = told.value.path().read_text()
        assert told.value.suggested_filename == "demo.html"
        assert result.verdict.headline.split(" (")[0] in report.replace("&#x27;", "'") and "<svg" in report
        assert "u0001" not in report, "nobody is named in it"
        assert not faults
    finally:
        page.close()


def test_who_shows_it(server, browser, home):  # noqa: F811
    """Three reviews, two models, why, one review less, and the same page for somebody else by its link."""
    page, faults = visit(browser, f"{server.url}/recommend?data=demo", 1280)
    try:
        for number, text in enumerate(REVIEWS, 1):
            page.get_by_label(f"Review {number}").fill(text)
        page.get_by_role("button", name="Recommend", exact=True).click()
        page.get_by_text("would put").first.wait_for()
        settled(page)
        model = RunRecommender(open_run("demo-racrec"))
        three = model.ask(Person(reviews=tuple(Review(one) for one in REVIEWS)))
        assert f"“{three.items[0].title}”" in answer(page)
        assert page.get_by_role("button", name="Why").count() == 20, "ten of each of two models"
        page.get_by_role("button", name="Why").first.click()
        page.get_by_text("It stands in place 1").wait_for()
        settled(page)
        page.get_by_role("button", name="Remove").first.click()
        settled(page)
        two = model.ask(Person(reviews=tuple(Review(one) for one in REVIEWS[1:])))
        assert page.get_by_label("Review 1").input_value() == REVIEWS[1]
        assert f"“{two.items[0].title}”" in answer(page)
        other, more = visit(browser, page.url, 390)
        try:
            other.get_by_text("would put").first.wait_for()
            settled(other)
            assert answer(other) == answer(page)
            assert not more
        finally:
            other.close()
        assert not faults
    finally:
        page.close()


def test_who_learns(server, browser, home, tmp_path):  # noqa: F811
    """Ten slates, one step taken apart, a constant changed, the log downloaded, uploaded, and a policy judged by it."""
    page, faults = visit(browser, f"{server.url}/feedback?data=demo", 1280)
    try:
        page.get_by_text("Pick what you like in the slate").wait_for()
        for n, key in enumerate("2s15341s22", 1):
            page.keyboard.press(key)
            wait_until_played(page, n)
        assert played(page) == 10
        settled(page)
        with page.expect_download(timeout=60_000) as told:
            page.get_by_role("button", name="Download this session").click()
        log = tmp_path / "mine.csv"
        told.value.save_as(log)
        rows = list(csv.DictReader(io.StringIO(log.read_text())))
        assert len(rows) == 55, "ten slates that were answered, and the one that stands there"
        assert sum(row["action"] == "click" for row in rows) == 8

        page.get_by_role("tab", name="Step through").click()
        page.get_by_text("The whole slate in numbers").wait_for()
        settled(page)
        slider = page.get_by_role("slider").first
        slider.focus()
        page.keyboard.press("ArrowLeft")
        page.get_by_text("With the constants above, not those of the session").wait_for()
        settled(page)

        page.get_by_role("tab", name="Judge").click()
        page.get_by_text("Where from").wait_for()
        settled(page)
        page.get_by_role("radio", name="A file").or_(page.get_by_role("button", name="A file")).first.click()
        settled(page)
        page.locator('input[type="file"]').first.set_input_files(str(log))
        page.get_by_text("Which column is what").wait_for()
        settled(page)
        page.get_by_role("button", name="Make it ready").click()
        wait_for(page, "is ready: 50 events")
        page.get_by_text("What this rests on").wait_for()
        settled(page)
        said = answer(page)
        assert "Nobody can tell yet" not in said and len(said) > 40
        assert not faults
    finally:
        page.close()
