"""The report: one file that loads nothing, says everything, and names nobody."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from crossrec import paths
from crossrec.data.pair import DomainPair
from crossrec.errors import CrossrecError
from crossrec.report.html import page, write_html
from crossrec.runs.coldstart import compare_cold_runs
from crossrec.runs.compare import compare_runs
from crossrec.runs.execute import train
from crossrec.runs.folder import open_run

SECTIONS = [
    "Is there a difference?",
    "The tests",
    "Who benefits?",
    "Is it transfer?",
    "How much is it worth?",
    "How far do people move?",
    "How good is each recommender?",
    "Beyond accuracy",
    "How it learned",
    "How far is it to the best possible?",
    "Leak report",
    "How to repeat it",
    "Versions and dates",
]
EMPTY = {"meta", "br", "img", "link", "input", "hr"}
SCRIPT = "<script>alert('x')</script> & \"co\""


class Reader(HTMLParser):
    """What a browser would make of it: words, elements, and what is not closed."""

    def __init__(self, text: str):
        super().__init__()
        self.words, self.tags, self.open, self.ids = [], [], [], []  # type: ignore[var-annotated]
        self.attributes: list[tuple[str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())


def runs(*names: str) -> list[Any]:
    return [open_run(f"tiny-{name}") for name in names]


def headings(text: str) -> list[str]:
    return re.findall(r"<h2>(.*?)</h2>", text)


def check_alone(text: str) -> Reader:
    """Nothing is loaded, nothing runs, every element is closed, and no two charts share an id."""
    read = Reader(text)
    assert not read.open
    assert not {"script", "link", "iframe", "img", "object", "embed", "base", "form"} & set(read.tags)
    assert not [name for name, _ in read.attributes if name in ("src", "href", "xlink:href", "srcset", "action")]
    assert not [name for name, _ in read.attributes if name.startswith("on")]
    assert not re.search(r"@import|url\((?!#)", text)
    assert not [link for link in re.findall(r"https?://[^\"' <]+", text) if "www.w3.org" not in link]  # names of SVG
    assert len(read.ids) == len(set(read.ids))
    used = set(re.findall(r"url\(#([^)]+)\)", text))
    assert used <= set(read.ids)
    assert "default-src 'none'" in text
    return read


@pytest.mark.usefixtures("tiny")
def test_the_report_says_all_of_it_and_stands_alone() -> None:
    result = compare_runs(runs("target-sasrec", "transfer-sasrec", "popularity"))
    text = page(result)
    read = check_alone(text)
    assert text.index("<h1>") < text.index('class="answer"') < text.index("<h2>")  # the verdict first
    assert " ".join(result.verdict.headline.split()) in read.text
    for detail in result.verdict.details:
        assert " ".join(detail.split()) in read.text
    assert headings(text) == SECTIONS
    assert read.tags.count("svg") >= 12
    assert text.count('role="img" aria-label="') == read.tags.count("svg")
    gap = result.comparison.difference("tiny-transfer-sasrec", "with_source")
    assert gap is not None
    assert f"{gap.value.mean:+.4f} ({gap.value.low:+.4f} to {gap.value.high:+.4f})" in read.text
    assert "No leak was found." in read.text
    for run in runs("target-sasrec", "transfer-sasrec", "popularity"):
        assert run.config()["command"] in read.text
        assert run.config()["created"][:10] in read.text
    assert "crossrec compare tiny-target-sasrec tiny-transfer-sasrec tiny-popularity" in read.text
    assert "torch" in read.text


@pytest.mark.usefixtures("tiny")
def test_nobody_is_named() -> None:
    text = page(compare_runs(runs("target-sasrec", "transfer-sasrec")))
    ids = set(DomainPair.open("tiny").users()["user_id"])
    assert not ids & set(re.findall(r"\w+", Reader(text).text))


def test_what_others_wrote_is_only_text(tiny_copy: Path) -> None:
    for name in ("target-sasrec", "transfer-sasrec"):
        file = tiny_copy / "runs" / f"tiny-{name}" / "config.json"
        config = paths.read_json(file)
        config["settings"]["note"] = SCRIPT
        paths.write_json(file, config | {"title": f"{name} {SCRIPT}", "command": f"crossrec {SCRIPT}"})
    file = tiny_copy / "datasets" / "tiny" / "dataset.json"
    meta = paths.read_json(file)
    meta["domains"]["source"]["name"] = SCRIPT
    paths.write_json(file, meta)
    text = page(compare_runs(runs("target-sasrec", "transfer-sasrec")))
    assert "<script" not in text
    assert "&lt;script&gt;alert" in text
    check_alone(text)


def test_some_are_harmed_is_said_with_a_triangle(tiny_copy: Path) -> None:
    file = tiny_copy / "runs" / "tiny-transfer-sasrec" / "per_user.parquet"
    table = open_run("tiny-target-sasrec").per_user()
    worse = table["n_target"].between(5, 9)  # they lose all they had, and hits are given to them to lose
    assert worse.sum() >= 30
    base = table.copy()
    base.loc[worse, ["ndcg@10", "hr@10", "mrr@10", "rank"]] = [1.0, 1.0, 1.0, 1]
    base.to_parquet(tiny_copy / "runs" / "tiny-target-sasrec" / "per_user.parquet")
    table.loc[worse, ["ndcg@10", "hr@10", "mrr@10"]] = 0.0
    table.to_parquet(file)
    result = compare_runs(runs("target-sasrec", "transfer-sasrec"))
    text = Reader(page(result)).text
    assert "▲ Some people are harmed." in text
    assert "People with 5 to 9 events in Sound are harmed" in text
    assert result.verdict.answer == "harm"
    assert f"▲ {result.verdict.headline}" in text


def test_without_controls_it_says_so(tiny_copy: Path) -> None:
    for name in ("controls", "shots", "lists"):
        (tiny_copy / "runs" / "tiny-transfer-sasrec" / f"{name}.parquet").unlink()
    text = page(compare_runs(runs("target-sasrec", "transfer-sasrec")))
    assert "tiny-transfer-sasrec: the controls were not asked." in text
    check_alone(text)


@pytest.mark.usefixtures("tiny_copy")
def test_strangers_have_a_report_too() -> None:
    for recipe in ("popularity", "linear-map", "emcdr"):
        train(recipe, "tiny", split_kind="cold-user-50", name=f"tiny-{recipe}-cold")
    found = compare_cold_runs(runs("linear-map-cold", "popularity-cold", "emcdr-cold"))
    assert found.insight is not None
    read = check_alone(page(found))
    for sentence in found.sentences:
        assert " ".join(sentence.split()) in read.text
    assert "strangers of the split cold-user-50, seed 0" in read.text
    said = headings(page(found))
    assert {"Who tells how many stars they will give?", "The tests", "Is it transfer?"} <= set(said)
    alone = compare_cold_runs(runs("linear-map-cold", "popularity-cold"))
    assert alone.insight is None
    assert "The tests" not in headings(page(alone))


@pytest.mark.usefixtures("tiny")
def test_the_file_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = compare_runs(runs("target-sasrec", "popularity"))
    file = tmp_path / "report.html"
    file.write_text("before")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(CrossrecError, match="disk"):
        write_html(result, file)
    assert [one.name for one in tmp_path.iterdir()] == ["report.html"]
    assert file.read_text() == "before"
    monkeypatch.undo()
    with pytest.raises(CrossrecError, match="there is no folder"):
        write_html(result, tmp_path / "absent" / "report.html")
    with pytest.raises(CrossrecError, match="is a folder"):
        write_html(result, tmp_path)
