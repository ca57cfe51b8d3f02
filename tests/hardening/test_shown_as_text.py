"""Titles and reviews that are markup, script or formulas are shown, and exported, as the text that they are."""

from pathlib import Path

import pandas as pd
import pytest

from app.ui.errors import plain
from crossrec.data import explore
from crossrec.data.pair import DomainPair
from crossrec.data.prepare import write_tables
from crossrec.report.words import for_sheets

HOSTILE = (
    "<script>alert(1)</script>",
    "[click](javascript:alert(1))",
    "<img src=x onerror=alert(1)>",
    "**bold** _it_ `code` $x^2$ :smile: ~~no~~",
    '=HYPERLINK("http://x","y")',
    "../../etc/passwd",
    "\u202eright to left",
)


@pytest.fixture
def hostile(home: Path) -> DomainPair:
    rows = [(f"u{n}", one, 5.0, n, one, f"A review: {one}") for n in range(8) for one in HOSTILE]
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "time", "title", "text"])
    items = pd.DataFrame({"item_id": HOSTILE, "title": HOSTILE})
    write_tables("bad", {"source": frame, "target": frame}, {"source": items, "target": items}, labels=("A<b>", "B|c"))
    return DomainPair.open("bad")


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_finds_nothing_to_format(text: str) -> None:
    shown = plain(text)
    assert "<" not in shown.replace("\\<", "")
    for sign in "*_[~$":
        assert shown.count(sign) == shown.count(f"\\{sign}") or "`" in text


def test_they_are_kept_as_they_are(hostile: DomainPair) -> None:
    path = explore.path(hostile, "u0")
    assert set(path["item"]) == set(HOSTILE)
    found, total = explore.search(hostile, "<script>alert(1)</script>")
    assert total == 16 and found["text"].str.contains("<script>", regex=False).all()


def test_a_sheet_does_not_compute_them() -> None:
    frame = pd.DataFrame({"user": ["=1+1", "+1", "-1", "@x", "\tx", "fine", "a=b"], "n": [-1, 2, 3, 4, 5, 6, 7]})
    made = for_sheets(frame)
    assert made["user"].tolist() == ["'=1+1", "'+1", "'-1", "'@x", "'\tx", "fine", "a=b"]
    assert made["n"].tolist() == frame["n"].tolist() and frame["user"][0] == "=1+1"
