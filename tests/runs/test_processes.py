"""Two processes on the CPU, started as for two GPUs: one run, trained and tested by both, told once."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from patience import in_epoch

from crossrec import processes
from crossrec.errors import CrossrecError
from crossrec.runs.execute import resume, train
from crossrec.runs.folder import Run, open_run

pytestmark = [pytest.mark.usefixtures("tiny_copy"), pytest.mark.slow, pytest.mark.xdist_group("processes")]
SMALL = {"dim": 16, "epochs": 6, "max_len": 20, "batch_size": 16}


def launch(*words: str) -> "subprocess.Popen[str]":
    launcher = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    launcher += ["--main_process_port", "0", "-m", "crossrec"]  # a port that is free
    return subprocess.Popen(
        [sys.executable, *launcher, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def done(child: "subprocess.Popen[str]") -> Any:
    out, err = child.communicate(timeout=300)
    assert child.returncode == 0, err
    return json.loads(out)


def words(settings: dict[str, Any]) -> list[str]:
    return [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]


def weights(run: Run) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in run.recommender.rglob("*.safetensors")}


def test_trained_by_two_as_by_one() -> None:
    told = done(launch("train", "target-sasrec", "--dataset", "tiny", *words(SMALL), "--json"))
    run = open_run(told["run"])
    assert told["processes"] == run.metrics()["processes"] == 2
    assert [event["epoch"] for event in run.events() if event["event"] == "epoch"] == list(range(1, 7))
    assert len(list(run.folder.parent.glob("tiny-target-sasrec-s0*"))) == 1
    alone = [train("target-sasrec", "tiny", SMALL, seed=seed) for seed in range(4)]
    for part, metric in (("valid", "ndcg@10"), ("valid", "hr@10")):
        spread = np.array([one.metrics()[part][metric] for one in alone])
        assert abs(run.metrics()[part][metric] - spread.mean()) < 4 * spread.std(ddof=1) + 0.02
    losses = [[e["losses"]["loss"] for e in one.events() if e["event"] == "epoch"][-1] for one in (run, *alone)]
    assert losses[0] == pytest.approx(np.mean(losses[1:]), rel=0.1)


def test_tested_by_two_as_by_one() -> None:
    told = done(launch("evaluate", "tiny-transfer-sasrec", "--json"))
    stored = open_run("tiny-transfer-sasrec").metrics()
    for group, means in stored["test"]["groups"].items():
        for protocol in ("full", "sampled") if means["users"] else ():
            assert told["groups"][group][protocol] == pytest.approx(means[protocol])
    assert told["coverage@10"] == stored["test"]["coverage@10"]
    assert told["ratings"] == stored["ratings"]


def test_losses_that_one_of_two_lacks_are_told_right() -> None:
    """One person of one domain alone in an epoch: one process has a part that the other never sees."""
    settings = {"encoder": "none", "epochs": 3, "batch_size": 4, "hidden": 8, "others": 0.02}
    told = done(launch("train", "autoencoder", "--dataset", "tiny", *words(settings), "--no-test", "--json"))
    for event in open_run(told["run"]).events():
        if event["event"] == "epoch":
            losses = event["losses"]
            assert next(iter(losses)) == "loss" and {"target", "source"} <= set(losses)
            assert losses["target"] < losses["loss"] < losses["target"] + losses["source"] + losses.get("alone", 0)


def test_the_review_model_stopped_and_gone_on_with_by_two() -> None:
    settings = {"encoder": "static", "epochs": 12, "patience": 12, "batch_size": 32, "components": 16, "average": 1.0}
    asked = ["train", "racrec", "--dataset", "tiny", "--split", "cold-user", *words(settings), "--json", "--name"]
    whole = done(launch(*asked, "whole"))["run"]
    stopped = launch(*asked, "parts")
    run = in_epoch("parts", 3)
    os.kill(run.status()["pid"], signal.SIGTERM)
    _, err = stopped.communicate(timeout=300)
    assert run.state == "stopped", err
    assert err.count("Go on with `crossrec train --resume parts`") == 1
    (checkpoint,) = (run.folder / "checkpoint").iterdir()
    assert sorted(path.name for path in checkpoint.iterdir()) == [
        "process-0.safetensors", "process-1.safetensors", "shared.safetensors", "state.json",
    ]  # fmt: skip
    with pytest.raises(CrossrecError, match=r"trained by 2 process\(es\).*--num_processes 2"):
        resume(run)
    done(launch("train", "--resume", "parts", "--json"))
    assert weights(run) == weights(open_run(whole))
    assert [event["epoch"] for event in run.events() if event["event"] == "epoch"] == list(range(1, 13))


# --- what each takes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "world"), [(0, 3), (1, 4), (5, 2), (6, 3), (7, 3)])
def test_parts_are_of_one_size_and_leave_nothing_out(monkeypatch: pytest.MonkeyPatch, n: int, world: int) -> None:
    monkeypatch.setattr(processes, "count", lambda: world)
    parts = []
    for index in range(world):
        monkeypatch.setattr(processes, "index", lambda index=index: index)
        parts.append(processes.part(np.arange(n)))
    assert {len(part) for part in parts} == {-(-n // world)}
    assert set(np.concatenate(parts)) == set(range(n))


def test_alone_it_takes_everything(tmp_path: Path) -> None:
    assert (processes.count(), processes.index(), processes.is_main(), processes.mine(7)) == (1, 0, True, True)
    rows = np.arange(5)
    assert processes.part(rows) is rows
    assert processes.gather("a") == ["a"]
    assert processes.from_main(tmp_path) == tmp_path
    np.testing.assert_array_equal(processes.combined(np.array([1.0, np.nan])), [1.0, np.nan])
