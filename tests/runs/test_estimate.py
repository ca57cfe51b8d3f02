"""What a training will cost, before it is started."""

import time
from pathlib import Path
from typing import Any

import pytest

from crossrec.paths import read_json, write_json
from crossrec.runs import estimate, queue
from crossrec.runs.estimate import Estimate
from crossrec.runs.execute import enqueue, train
from crossrec.runs.folder import open_run
from crossrec.runs.plan import plan

pytestmark = pytest.mark.usefixtures("tiny_copy")
SMALL = {"dim": 8, "epochs": 7, "max_len": 20}


def measured(monkeypatch: pytest.MonkeyPatch, **asked: Any) -> Estimate:
    """The estimate of a measurement that is made in this process."""
    planned = plan(asked.pop("recipe", "target-sasrec"), "tiny", **asked)

    def here(module: str, words: list[str], log: Any) -> None:
        assert module == "crossrec.runs.estimate"
        monkeypatch.setattr(estimate, "step_back", lambda: None)
        monkeypatch.setattr(estimate, "LONGEST", 0)
        estimate.main(*words)

    with monkeypatch.context() as patch:
        patch.setattr(estimate, "spawn", here)
        patch.setattr(estimate, "SAMPLE", 0.2)
        estimate.begin(planned)
    assert not estimate.under_way(planned)
    assert estimate.failure(planned) is None
    found = estimate.known(planned)
    assert found is not None
    return found


def test_a_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    found = measured(monkeypatch, settings=SMALL)
    assert found.epoch_seconds is not None
    assert 0 < found.epoch_seconds < found.most_seconds
    # Finished runs of the recipe took 2 epochs, of 7 that may be trained.
    assert found.seconds - 2 * found.epoch_seconds == pytest.approx(found.most_seconds - 7 * found.epoch_seconds)
    assert found.memory_mb > 100
    assert found.basis == (
        "Measured on this machine in a few seconds of training; early stopping as in the finished run of this recipe."
    )


def test_what_does_not_change_the_cost_needs_no_new_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    one = measured(monkeypatch, settings=SMALL)
    longer = estimate.known(plan("target-sasrec", "tiny", {**SMALL, "epochs": 70, "lr": 0.1, "patience": 3}))
    assert longer is not None
    assert one.epoch_seconds is not None
    assert longer.most_seconds == pytest.approx(one.most_seconds + 63 * one.epoch_seconds)
    assert estimate.known(plan("target-sasrec", "tiny", {**SMALL, "dim": 16, "epochs": 1})) is not None  # as a run took
    assert estimate.known(plan("target-sasrec", "tiny", {**SMALL, "dim": 24})) is None
    assert estimate.known(plan("target-sasrec", "tiny", SMALL, split_kind="cold-user")) is None


def test_recipes_without_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    found = measured(monkeypatch, recipe="linear-map")
    assert found.epoch_seconds is None
    assert found.seconds == found.most_seconds > 0


def test_a_bridge_whose_source_model_still_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "keep", lambda: None)
    source = enqueue(plan("source-sasrec", "tiny", {"dim": 8}, split_kind="cold-user"), "later")
    found = measured(
        monkeypatch,
        recipe="transfer-sasrec",
        settings=SMALL,
        split_kind="cold-user",
        source_run=source.name,
        later=True,
    )
    assert found.seconds > 0


def test_as_earlier_runs_took() -> None:
    train("target-sasrec", "tiny", SMALL, name="before")
    run = open_run("before")
    fit = run.metrics()["fit"]
    found = estimate.known(plan("target-sasrec", "tiny", {**SMALL, "epochs": 14}, seed=3))
    assert found is not None
    assert found.basis == "As the run before took."
    assert found.epoch_seconds == pytest.approx(fit["seconds"] / fit["epochs"])
    assert found.memory_mb == run.metrics()["peak_memory_mb"]
    assert found.most_seconds - found.seconds == pytest.approx((14 - fit["epochs"]) * found.epoch_seconds)


def test_a_measurement_in_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    planned = plan("target-sasrec", "tiny", {**SMALL, "max_len": 10})
    assert not estimate.under_way(planned)
    estimate.begin(planned)
    estimate.begin(planned)  # pressed twice
    end = time.monotonic() + 120
    while estimate.under_way(planned) and time.monotonic() < end:
        time.sleep(0.05)
    assert estimate.known(planned) is not None, estimate.failure(planned)


def test_a_measurement_that_came_to_nothing_is_told(monkeypatch: pytest.MonkeyPatch, tiny_copy: Path) -> None:
    planned = plan("target-sasrec", "tiny", {**SMALL, "max_len": 10})
    monkeypatch.setattr(estimate, "spawn", lambda *words: None)
    estimate.begin(planned)
    assert estimate.under_way(planned)
    (file,) = (tiny_copy / "estimates").glob("*.json")
    write_json(file, read_json(file) | {"begun": time.time() - 60})  # and nobody is at it
    assert not estimate.under_way(planned)
    assert estimate.failure(planned) == "The measurement took more than five minutes, or too much memory."
    write_json(file, read_json(file) | {"failed": "The data are gone."})
    assert estimate.failure(planned) == "The data are gone."
    assert estimate.known(planned) is None
