"""The loop in Chromium: slates are played by keyboard, and stand in the log as they were played."""

import shutil

import pytest
from test_browser import browser, visit  # noqa: F401
from test_browser_train import Server

from crossrec.feedback.log import FeedbackLog

pytestmark = pytest.mark.browser

KEYS = ["2", "s", "1", "5", "3", "4", "1", "s", "2", "2"] * 2


@pytest.fixture(scope="module")
def server(built, tmp_path_factory):
    home = tmp_path_factory.mktemp("loop") / "home"
    shutil.copytree(built, home)
    server = Server(home)
    yield server
    server.stop()


def played(page) -> int:
    """Slates that the page says were answered."""
    found = page.locator('[data-testid="stMetricValue"]').first
    return int(found.inner_text()) if found.count() else 0


def wait_until_played(page, slates: int) -> None:
    page.wait_for_function(
        """n => { const found = document.querySelector('[data-testid="stMetricValue"]');
                  return found && found.innerText.trim() === String(n) }""",
        arg=slates,
        timeout=60_000,
    )


def test_twenty_slates_by_keyboard_stand_in_the_log(server, browser):  # noqa: F811
    page, faults = visit(browser, f"{server.url}/feedback?data=demo", 1280)
    page.get_by_text("Pick what you like in the slate").wait_for()
    for n, key in enumerate(KEYS, 1):
        page.keyboard.press(key)
        wait_until_played(page, n)
    log = FeedbackLog(server.home / "feedback.db").frame()
    answered = log[log["action"].notna()]
    assert log["session"].nunique() == 1 and answered["slate"].nunique() == 20
    for n, key in enumerate(KEYS):
        actions = answered[answered["slate"] == n].sort_values("position")["action"].tolist()
        assert actions == ["click" if key == str(place) else "skip" for place in range(1, 6)], n
    assert log["propensity"].between(0, 1).all() and (log["undone"] == 0).all()
    assert log["version"].astype(int).tolist() == sorted([n for n in range(21) for _ in range(5)])

    page.keyboard.press("u")
    wait_until_played(page, 19)
    last = FeedbackLog(server.home / "feedback.db").frame().query("slate == 19")
    assert last["undone"].tolist() == [1] * 5 and last["action"].isna().all()

    page.get_by_role("tab", name="Step through").click()
    page.get_by_text("The whole slate in numbers").wait_for()
    page.reload()
    page.get_by_text("The smallest example").or_(page.get_by_text("Answer a slate on the first tab")).first.wait_for()
    assert not faults, faults


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_wider_than_the_window(server, browser, width):  # noqa: F811
    page, faults = visit(browser, f"{server.url}/feedback?data=demo", width)

    def fits() -> None:
        wide = page.locator('[data-testid="stMain"]').evaluate("main => main.scrollWidth - main.clientWidth")
        assert wide <= 2, f"{wide} px wider than the window"

    page.get_by_text("Pick what you like in the slate").wait_for()
    fits()
    page.keyboard.press("t")
    wait_until_played(page, 10)
    fits()
    page.get_by_role("tab", name="Step through").click()
    page.get_by_text("The whole slate in numbers").wait_for()
    fits()
    page.get_by_role("tab", name="Judge").click()
    page.get_by_text("Where from").wait_for()
    fits()
    assert not faults, faults


def test_two_browsers_play_sessions_of_their_own(server, browser):  # noqa: F811
    before = set(FeedbackLog(server.home / "feedback.db").frame()["session"])
    pages = [visit(browser, f"{server.url}/feedback?data=demo", 1280)[0] for _ in range(2)]
    for page in pages:
        page.get_by_text("Pick what you like in the slate").wait_for()
    for n in range(1, 4):
        for page, key in zip(pages, ("1", "s"), strict=True):
            page.keyboard.press(key)
            wait_until_played(page, n)
    log = FeedbackLog(server.home / "feedback.db").frame()
    new = log[~log["session"].isin(before) & log["action"].notna()]
    rewards = new.groupby("session")["reward"].sum().round(2).tolist()
    assert sorted(rewards) == [0.0, 0.9]
