"""The life of a run's folder."""

import datetime as real_datetime
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from crossrec import paths
from crossrec.errors import CrossrecError
from crossrec.runs import folder
from crossrec.runs.folder import RunWriter, latest, list_runs, open_run

pytestmark = pytest.mark.usefixtures("home")
CONFIG = {"recipe": "target-sasrec", "dataset": "data", "seed": 3, "settings": {"dim": 8}}


def epoch(number: int) -> dict[str, Any]:
    return {"event": "epoch", "epoch": number, "epochs": 9, "best": 1, "seconds": 1.0, "eta": 2.0, "losses": {}}


def finished(name: str | None = None, **changes: Any) -> RunWriter:
    writer = RunWriter({**CONFIG, **changes}, name)
    writer.finish({"ok": 1}, pd.DataFrame({"user": [1, 2]}))
    return writer


class Clock(real_datetime.datetime):
    """A clock that advances by a millisecond whenever it is read."""

    ticks = 0

    @classmethod
    def now(cls, tz: Any = None) -> "Clock":
        cls.ticks += 1
        return cls(2026, 1, 1, tzinfo=tz) + real_datetime.timedelta(milliseconds=cls.ticks)


def test_from_running_to_finished(home: Path) -> None:
    writer = RunWriter(CONFIG, "mine")
    run = open_run("mine")
    assert run.folder == home / "runs" / "mine"
    assert run.status()["state"] == "running"
    assert not run.finished
    with pytest.raises(CrossrecError, match="'mine' has no results: its state is 'running'"):
        run.per_user()
    assert run.events() == []
    writer.event({"event": "step", "epoch": 1, "step": 3})
    writer.event(epoch(1))
    writer.event(epoch(2))
    assert [(e["event"], e["epoch"]) for e in run.events()] == [("step", 1), ("epoch", 1), ("epoch", 2)]
    assert {k: run.status()[k] for k in ("epoch", "epochs", "best", "eta")} == {
        "epoch": 2, "epochs": 9, "best": 1, "eta": 2.0,
    }  # fmt: skip
    writer.finish({"ndcg@10": 0.5}, pd.DataFrame({"user": [4]}))
    assert run.finished
    assert run.status()["eta"] == 0
    assert run.metrics() == {"ndcg@10": 0.5}
    assert run.per_user()["user"].tolist() == [4]
    assert not [p.name for p in run.folder.iterdir() if p.name.startswith(".")]


def test_a_failure_says_why() -> None:
    writer = RunWriter(CONFIG, "mine")
    writer.end("failed", "The data are gone.")
    assert open_run("mine").status()["state"] == "failed"
    assert open_run("mine").status()["error"] == "The data are gone."
    assert not open_run("mine").finished


def test_the_config_holds_what_repeats_the_run() -> None:
    config = RunWriter(CONFIG, "mine").run.config()
    assert config["run"] == "mine"
    for key, value in CONFIG.items():
        assert config[key] == value
    assert {"crossrec", "torch", "numpy", "python"} <= set(config["versions"])
    assert config["created"].endswith("+00:00")
    assert config["machine"]["cpus"] >= 1
    assert "git_commit" in config


def test_a_last_line_that_is_still_being_written_is_left_out() -> None:
    writer = RunWriter(CONFIG, "mine")
    writer.event(epoch(1))
    path = writer.folder / "events.jsonl"
    with path.open("a") as file:
        file.write(json.dumps(epoch(2))[:20])
    assert [e["epoch"] for e in writer.run.events()] == [1]


def test_names() -> None:
    RunWriter(CONFIG, "mine")
    with pytest.raises(CrossrecError, match="There is a run 'mine' already"):
        RunWriter(CONFIG, "mine")
    for bad in ("../up", "a/b", "", ".hidden", "x" * 101):
        with pytest.raises(CrossrecError, match="cannot name a run"):
            RunWriter(CONFIG, bad) if bad else open_run(bad)
    one, two = RunWriter(CONFIG), RunWriter(CONFIG)
    assert one.run.name != two.run.name
    assert one.run.name.startswith("data-target-sasrec-s3-2")


def test_an_unknown_run_names_the_nearest() -> None:
    with pytest.raises(CrossrecError, match=r"no run 'mine'. There is none at all yet."):
        open_run("mine")
    RunWriter(CONFIG, "mine")
    with pytest.raises(CrossrecError, match=r"no run 'mime'. Did you mean 'mine'"):
        open_run("mime")


def test_latest_filters(monkeypatch: pytest.MonkeyPatch) -> None:
    class Hours(Clock):
        @classmethod
        def now(cls, tz: Any = None) -> "Clock":
            cls.ticks += 1
            return cls(2026, 1, 1, tzinfo=tz) + real_datetime.timedelta(minutes=cls.ticks)

    monkeypatch.setattr(folder, "datetime", Hours)
    finished("zz", split={"kind": "next-item", "seed": 0})
    finished("bb", seed=4)
    finished("aa", split={"kind": "cold-user", "seed": 1})
    finished("other-recipe", recipe="popularity")
    finished("other-data", dataset="data2")
    RunWriter(CONFIG, "running")
    RunWriter(CONFIG, "broken").end("failed", "no")

    def name(*args: str, **wanted: Any) -> str | None:
        run = latest(*args, **wanted)
        return run and run.name

    assert name("data", "target-sasrec") == "aa"
    assert name("data", "target-sasrec", seed=4) == "bb"
    assert name("data", "target-sasrec", seed=3) == "aa"
    assert name("data", "target-sasrec", split={"kind": "next-item", "seed": 0}) == "zz"
    assert name("data", "target-sasrec", seed=5) is None
    assert name("data2", "target-sasrec") == "other-data"
    assert name("data", "transfer-sasrec") is None
    assert [run.name for run in list_runs("data", "target-sasrec")] == ["broken", "running", "aa", "bb", "zz"]
    assert [run.name for run in list_runs(finished=True)] == ["other-data", "other-recipe", "aa", "bb", "zz"]


def test_the_newer_of_two_runs_of_one_second_is_the_latest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "datetime", Clock)
    finished("zz")
    finished("aa")
    run = latest("data", "target-sasrec")
    assert run is not None
    assert run.name == "aa"


def test_no_runs_at_all() -> None:
    assert list_runs() == []
    assert latest("data", "popularity") is None


def test_status_is_never_seen_half_written(home: Path) -> None:
    writer = RunWriter(CONFIG, "mine")
    before = (writer.folder / "status.json").read_bytes()
    with pytest.raises(ValueError, match="JSON"):
        writer.status(eta=float("nan"))  # JSON has no such number
    assert (writer.folder / "status.json").read_bytes() == before
    assert not list(writer.folder.glob(".status*"))
    (writer.folder / "status.json").write_text("{half")
    with pytest.raises(CrossrecError, match="not readable as JSON"):
        writer.run.status()
    assert paths.runs() == home / "runs"
