"""Building the demo, with a world and trainings so small that it takes seconds."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from crossrec.data.demo import DemoConfig
from crossrec.data.pair import DomainPair
from crossrec.data.prepare import write_tables
from crossrec.errors import CrossrecError
from crossrec.paths import read_json
from crossrec.runs import catalog_write, demo, demo_task, queue
from crossrec.runs.catalog_write import QUICK, renew_catalog
from crossrec.runs.folder import list_runs, open_run
from crossrec.runs.task import TaskWriter
from crossrec.stopping import Stop, Stopped

StopAfter = Callable[[int], Stop]


@pytest.fixture
def small(home: Path, monkeypatch: pytest.MonkeyPatch, tiny_settings: dict[str, Any]) -> Path:
    def config(**changes: Any) -> DemoConfig:
        sizes = {"users": 60, "source_items": 40, "target_items": 40, "source_events": 500, "target_events": 350}
        return DemoConfig(**sizes, **changes)  # type: ignore[arg-type]

    monkeypatch.setattr(demo, "DemoConfig", config)
    monkeypatch.setattr(queue, "keep", lambda: None)  # the maps wait: nothing works beside the test

    def settings(recipe: str) -> dict[str, Any]:
        least = {"epochs": 1, "dim": 8, "taste": 4}
        own = {"racrec": {"epochs": 1}, "content": {}, "ensemble": {"epochs": 1, "hidden": 8}}
        own |= {"unified": least, "known-ensemble": least}
        if recipe in own:
            return {"encoder": "static", **own[recipe]}
        return tiny_settings if "sasrec" in recipe else {}

    monkeypatch.setattr(demo, "RECIPES", [(recipe, split, settings(recipe)) for recipe, split, _ in demo.RECIPES])
    return home


def stamps(home: Path) -> dict[str, int]:
    return {str(p): p.stat().st_mtime_ns for p in home.rglob("*") if p.is_file()}


def test_a_second_build_does_nothing(small: Path) -> None:
    events: list[dict[str, Any]] = []
    first = demo.build(on_event=events.append)
    steps = [event for event in events if event["event"] == "demo"]
    expected = len(demo.WORLDS) * (2 + len(demo.RECIPES))
    assert [e["step"] for e in steps] == list(range(1, expected + 1))
    assert {e["steps"] for e in steps} == {expected}
    names = [f"{recipe}{'-cold' if split.startswith('cold') else ''}" for recipe, split, _ in demo.RECIPES]
    assert [run.name for run in first] == [f"{world}-{name}" for world in demo.WORLDS for name in names]
    assert all(run.finished for run in first)
    strengths = [DomainPair.open(name).meta["origin"]["transfer_strength"] for name in demo.WORLDS]
    assert strengths == [1.0, 0.0]
    before = stamps(small)
    assert [run.name for run in demo.build()] == [run.name for run in first]
    assert stamps(small) == before
    # The command that is shown repeats the run.
    assert (
        open_run("demo-target-sasrec")
        .config()["command"]
        .startswith("crossrec train target-sasrec --dataset demo --seed 0 --set dim=16")
    )


def test_what_was_stopped_is_gone_on_with(small: Path, stop_after: StopAfter) -> None:
    with pytest.raises(Stopped, match=r"Go on with `crossrec train --resume demo-"):
        demo.build(stop=stop_after(4))  # at some point of the only training that is asked so often
    (run,) = list_runs(states=("stopped",))
    before = stamps(small)
    every = len(demo.WORLDS) * len(demo.RECIPES)
    assert len(demo.build()) == every
    assert {run.state for run in list_runs()} == {"finished"}
    assert len(list_runs()) == every  # nothing was made twice
    done = {path: t for path, t in before.items() if f"runs/{run.name}/" not in path and "/runs/" in path}
    after = stamps(small)
    assert {path: after[path] for path in done} == done


def test_what_failed_or_is_another_is_made_again(small: Path) -> None:
    demo.build()
    failed, other = (small / "runs" / name for name in ("demo-popularity", "demo-target-sasrec"))
    (failed / "status.json").write_text((failed / "status.json").read_text().replace('"finished"', '"failed"'))
    for name, old, new in (("status.json", '"finished"', '"stopped"'), ("config.json", '"dim": 16', '"dim": 8')):
        (other / name).write_text((other / name).read_text().replace(old, new))
    before = stamps(small)
    demo.build()
    assert {open_run(path.name).state for path in (failed, other)} == {"finished"}
    assert open_run("demo-target-sasrec-old1").state == "stopped"  # nothing of a person's is deleted
    kept = {path: t for path, t in before.items() if not path.startswith((f"{failed}/", f"{other}/"))}
    after = stamps(small)
    assert {path: after[path] for path in kept} == kept
    assert len(list_runs()) == len(demo.WORLDS) * len(demo.RECIPES) + 1
    # One that another process trains is left alone.
    status = failed / "status.json"
    status.write_text(status.read_text().replace('"finished"', '"queued"'))
    with TaskWriter(failed), pytest.raises(CrossrecError, match="demo-popularity is in training in another"):
        demo.build()


def test_a_dataset_of_that_name_that_is_not_the_demos_is_left_alone(small: Path) -> None:
    frame = pd.DataFrame({"user_id": ["a", "a", "b"], "item_id": ["x", "y", "x"], "time": [1, 2, 3]})
    write_tables("demo", {"target": frame}, {}, labels=("", "Mine"))
    before = stamps(small)
    with pytest.raises(CrossrecError, match="'demo' is not the demo's"):
        demo.build()
    assert stamps(small) == before


def test_only_demo_worlds_have_an_oracle(small: Path) -> None:
    frame = pd.DataFrame({"user_id": ["a", "a", "b"], "item_id": ["x", "y", "x"], "time": [1, 2, 3]})
    write_tables("mine", {"target": frame}, {}, labels=("", "Mine"))
    assert demo.oracle(DomainPair.open("mine")) is None


def test_the_demo_is_built_as_a_task(small: Path) -> None:
    assert demo_task.task() is None and not demo_task.under_way()
    task = demo_task.enqueue()
    assert task.state == "queued" and demo_task.under_way()
    assert demo_task.enqueue().folder == task.folder and len(queue.tasks("demo")) == 1
    with pytest.raises(CrossrecError, match="cannot be started"):
        demo_task.carry_out(task.folder)
        demo_task.carry_out(task.folder)
    status = task.status()
    assert status["state"] == "finished" and not demo_task.under_way()
    assert status["made"] == [run.name for run in demo.build()]
    assert (status["step"], status["steps"]) == (len(task.events()),) * 2
    # What the app's first answer rests on comes before everything that reads texts.
    doing = [event["doing"] for event in task.events()]
    first = max(doing.index(f"transfer-sasrec on {world}") for world in demo.WORLDS)
    assert first < min(doing.index(f"vectors of {world}") for world in demo.WORLDS)
    # What is whole is left alone; what is not is begun again.
    assert demo_task.enqueue().status()["state"] == "finished"
    queue.remove(open_run("demo-unrelated-popularity"))
    assert demo_task.enqueue().state == "queued"


def test_a_catalogue_gets_the_usual_vectors_when_they_are_there(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    demo.build()
    run = open_run("demo-popularity")
    file = run.folder / "catalog" / "catalog.json"
    before = file.stat().st_mtime_ns
    renew_catalog(run)
    assert file.stat().st_mtime_ns == before and read_json(file)["encoder"] == QUICK
    monkeypatch.setattr(catalog_write, "DEFAULT", QUICK)  # as if the usual encoder's were there
    renew_catalog(run)
    assert file.stat().st_mtime_ns != before
    reads = open_run("demo-racrec-cold")
    before = (reads.folder / "catalog" / "catalog.json").stat().st_mtime_ns
    renew_catalog(reads)  # its own encoder's vectors are what it was trained with
    assert (reads.folder / "catalog" / "catalog.json").stat().st_mtime_ns == before
