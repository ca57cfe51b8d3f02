"""The commands that put imports into the queue and look after them; and Ctrl-C at those that do not."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from crossrec import paths
from crossrec.data.pair import DomainPair
from crossrec.data.prepare import list_datasets
from crossrec.runs import imports, queue

Command = Callable[..., tuple[int, str, str]]
HEADER = "user_id,item_id,rating,timestamp\n"


def rows(which: str) -> str:
    return "".join(f"u{u},{which}{(u + i) % 7},4,{1_600_000_000 + i}\n" for u in range(9) for i in range(4))


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, ...]:
    for which in "st":
        (tmp_path / f"{which}.csv").write_text(HEADER + rows(which))
    return "--source", str(tmp_path / "s.csv"), "--target", str(tmp_path / "t.csv")


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setattr(queue, "keep", lambda: None)


@pytest.mark.usefixtures("waits")
def test_an_import_is_queued_listed_cancelled_resumed_and_forgotten(crossrec: Command, files: tuple[str, ...]) -> None:
    code, out, err = crossrec("data", "import", "pair", *files, "--queue")
    assert (code, err) == (0, "")
    assert out == "pair waits for its turn: `crossrec data imports` tells how far it is.\n"
    assert list_datasets() == []
    code, _, err = crossrec("data", "import", "pair", *files, "--queue")
    assert code == 1 and err.count("\n") == 1 and "is under way" in err
    code, out, _ = crossrec("data", "cancel", "pair")
    assert code == 0 and out.startswith("pair is stopped.")
    code, out, _ = crossrec("data", "resume", "pair", "--json")
    assert json.loads(out) == {"pair": "queued"}
    imports.carry_out(imports.open_import("pair").folder)
    code, out, _ = crossrec("data", "imports", "--json")
    (one,) = json.loads(out)
    assert one["status"]["state"] == "finished" and one["status"]["counts"]["users"] == 9
    code, out, _ = crossrec("data", "imports")
    assert "finished" in out and "100%" in out
    for command in ("cancel", "resume"):
        code, _, err = crossrec("data", command, "pair")
        assert code == 1 and "its state is 'finished'" in err
    assert crossrec("data", "forget", "pair") == (0, "The record of pair is removed.\n", "")
    assert [meta["name"] for meta in list_datasets()] == ["pair"]
    code, _, err = crossrec("data", "forget", "pair")
    assert code == 1 and "There is no import 'pair'" in err


@pytest.mark.usefixtures("waits")
def test_a_download_is_queued_with_its_filters(crossrec: Command) -> None:
    words = ("--source", "All_Beauty", "--target", "Video_Games", "--subset", "5core", "--overlap-only")
    code, out, _ = crossrec("data", "download", "pair", *words, "--min-rating", "4", "--queue", "--json")
    asked = json.loads(out)
    assert code == 0 and asked["status"]["state"] == "queued" and asked["subset"] == "5core"
    assert asked["options"]["overlap_only"] is True and asked["options"]["min_rating"] == 4.0
    assert asked["command"] == "crossrec data download pair " + " ".join(words) + " --min-rating 4.0"
    code, _, err = crossrec("data", "download", "other", "--source", "Books", "--target", "Bokos", "--queue")
    assert code == 1 and "Did you mean 'Books'" in err


@pytest.mark.usefixtures("waits")
def test_one_file_can_be_read_otherwise_than_the_other(crossrec: Command, tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("who,what,headline\n" + "u1,i1,fine\nu2,i2,good\n")
    (tmp_path / "t.csv").write_text("user_id,item_id\nu1,j1\nu2,j2\n")
    words = ["data", "import", "pair", "--source", str(tmp_path / "s.csv"), "--target", str(tmp_path / "t.csv")]
    for key, column in (("user_column", "who"), ("item_column", "what"), ("title_column", "headline")):
        words += ["--read", f"source.{key}={column}"]
    assert crossrec(*words)[0] == 0
    assert DomainPair.open("pair").n_users == 2
    for wrong, told in (("user_column=x", "is not understood"), ("source.user_colum=x", "Did you mean")):
        code, _, err = crossrec(*words[:-1], wrong, "--replace")
        assert code == 1 and told in err and err.count("\n") == 1


@pytest.mark.usefixtures("home")
def test_an_interrupt_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    for which in "st":
        (tmp_path / f"{which}.csv").write_text(HEADER + rows(which) * 60_000)
    words = ["data", "import", "pair", "--source", str(tmp_path / "s.csv"), "--target", str(tmp_path / "t.csv")]
    child = subprocess.Popen(
        [sys.executable, "-m", "crossrec", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    end = time.monotonic() + 120
    while not list(paths.datasets().glob(".pair-*/.work/work.duckdb")):
        assert child.poll() is None and time.monotonic() < end
        time.sleep(0.02)
    os.kill(child.pid, signal.SIGINT)
    out, err = child.communicate(timeout=120)
    assert (child.returncode, out) == (1, "")
    assert err.splitlines()[-1] in ("crossrec: interrupted.", "crossrec: It was stopped.") and "Traceback" not in err
    assert list(paths.datasets().iterdir()) == []
