"""Every recipe that trains in epochs, stopped or killed and gone on with: the same weights to the last bit."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from patience import in_epoch

from crossrec.config import from_dict
from crossrec.data.pair import DomainPair
from crossrec.errors import CrossrecError
from crossrec.feedback.demo import Starts
from crossrec.feedback.policy import PolicyConfig
from crossrec.feedback.simulated import simulated_log
from crossrec.feedback.simulator import SimulatedUsers
from crossrec.runs.execute import resume, train
from crossrec.runs.folder import Run, open_run
from crossrec.stopping import Stop, Stopped
from crossrec.training import loop
from crossrec.training.loop import LoopConfig
from crossrec.training.recipes import RECIPES

StopAfter = Callable[[int], Stop]
pytestmark = pytest.mark.usefixtures("tiny_copy")
SMALL = {"dim": 16, "epochs": 3, "max_len": 20, "batch_size": 16, "dropout": 0.3}
WORK: list[tuple[str, str, dict[str, Any]]] = [
    ("source-sasrec", "next-item", {**SMALL, "loss": "sampled", "negatives": 8, "average": 1.0}),
    ("target-sasrec", "next-item", {**SMALL, "loss": "bce", "negatives": 3, "warmup": 9}),
    ("transfer-sasrec", "next-item", {**SMALL, "source_dropout": 0.3}),
    ("racrec", "cold-user", {"encoder": "static", "epochs": 3, "batch_size": 64, "components": 16, "average": 1.0}),
    ("autoencoder", "cold-user", {"encoder": "none", "hidden": 8, "epochs": 3, "batch_size": 16, "networks": 2}),
    ("ensemble", "cold-user", {"encoder": "static", "hidden": 8, "epochs": 3, "batch_size": 16, "components": 8}),
    ("unified", "cold-user", {**SMALL, "encoder": "none", "taste": 8, "negatives": 8}),
    ("known-ensemble", "next-item", {**SMALL, "encoder": "static", "taste": 8, "components": 8}),
    ("policy-finetune", "next-item", {"log": "played", "epochs": 3, "batch_size": 64, "lr": 1e-3, "weights": "all"}),
    ("emcdr", "cold-user", {"mapping": "mlp", "epochs": 4, "batch_size": 16}),
    ("ptupcdr", "cold-user", {"epochs": 4, "batch_size": 64}),
]


def files(run: Run) -> dict[str, bytes]:
    return {
        str(path.relative_to(run.folder)): path.read_bytes() for path in run.recommender.rglob("*") if path.is_file()
    }


def history(run: Run) -> list[Any]:
    return [(e["epoch"], e["losses"], e["valid"]) for e in run.events() if e["event"] == "epoch"]


def same(one: Run, two: Run) -> None:
    assert files(one) == files(two)
    assert history(one) == history(two)
    for key in ("test", "valid", "ratings"):
        assert one.metrics()[key] == two.metrics()[key]


def test_every_recipe_with_epochs_is_here() -> None:
    def has_epochs(name: str) -> bool:
        return issubclass(RECIPES[name].config, LoopConfig)

    assert {name for name in RECIPES if has_epochs(name)} == {name for name, _, _ in WORK}
    assert all(from_dict(RECIPES[name].config, settings) for name, _, settings in WORK)


@pytest.mark.parametrize(("recipe", "split", "settings"), WORK, ids=[work[0] for work in WORK])
def test_stopped_twice_and_resumed(recipe: str, split: str, settings: dict[str, Any], stop_after: StopAfter) -> None:
    if "log" in settings:
        builds = Starts(open_run("tiny-target-sasrec")).builds(PolicyConfig(k=3, temperature=1.0, epsilon=0.2))
        pair = DomainPair.open("tiny")
        people = SimulatedUsers.of(pair)
        simulated_log(settings["log"], pair, people, builds["frozen"], np.flatnonzero(pair.overlap)[:60], 6)
    whole = train(recipe, "tiny", settings, seed=3 if recipe == "racrec" else 0, split_kind=split, name="whole")
    seed = whole.config()["seed"]
    with pytest.raises(Stopped, match=r"It was stopped in epoch 1, after 2 of .*crossrec train --resume parts`\."):
        train(recipe, "tiny", settings, seed=seed, split_kind=split, name="parts", stop=stop_after(1))
    parts = open_run("parts")
    assert (parts.state, parts.finished) == ("stopped", False)
    with pytest.raises(Stopped):
        resume(parts, stop=stop_after(3))
    resume(parts)
    same(whole, parts)
    assert not (parts.folder / "checkpoint").exists()


def test_a_run_that_is_finished_or_changed_is_not_resumed(tiny_copy: Path, stop_after: StopAfter) -> None:
    with pytest.raises(CrossrecError, match="'tiny-popularity' cannot be started: its state is 'finished'"):
        resume(open_run("tiny-popularity"))
    with pytest.raises(Stopped):
        train("target-sasrec", "tiny", SMALL, name="parts", stop=stop_after(1))
    meta = tiny_copy / "datasets" / "tiny" / "dataset.json"
    meta.write_text(meta.read_text().replace(DomainPair.open("tiny").meta["hash"], "0" * 64))
    with pytest.raises(CrossrecError, match="is not the one that run 'parts' was trained on: train again"):
        resume(open_run("parts"))
    assert open_run("parts").state == "failed"


# --- in processes of their own ----------------------------------------------------------------------------------------

OFTEN = "from crossrec.training import loop; loop.KEEP, loop.KEEP_SHARE = 0.1, 0; from crossrec.cli import main; main()"
LONG = ["--set", "epochs=30", "--set", "patience=30", "--set", "dim=16", "--set", "batch_size=8"]


def start(*words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", OFTEN, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_killed_interrupted_and_resumed_from_the_command_line() -> None:
    command = ["train", "target-sasrec", "--dataset", "tiny", *LONG, "--name"]
    whole = start(*command, "whole")
    assert whole.wait() == 0, whole.communicate()[1]
    killed = start(*command, "parts")
    run = in_epoch("parts", 5)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert run.state == "failed"
    assert "killed" in run.shown()["error"]
    interrupted = start("train", "--resume", "parts")
    in_epoch("parts", 15)
    interrupted.send_signal(signal.SIGINT)
    _, err = interrupted.communicate()
    assert interrupted.returncode == 1
    assert err.splitlines()[-1].startswith("crossrec: It was stopped in epoch ")
    assert err.splitlines()[-1].endswith("Go on with `crossrec train --resume parts`.")
    assert run.state == "stopped"
    last = start("train", "--resume", "parts", "--json")
    assert last.wait() == 0, last.communicate()[1]
    same(open_run("whole"), run)
    assert [epoch for epoch, _, _ in history(run)] == list(range(1, 31))
    steps = [(e["epoch"], e["step"]) for e in run.events() if e["event"] == "step"]
    assert steps == sorted(set(steps))


def test_a_terminal_that_closes_stops_it_too() -> None:
    child = start("train", "target-sasrec", "--dataset", "tiny", *LONG, "--name", "parts")
    run = in_epoch("parts", 3)
    os.kill(child.pid, signal.SIGHUP)
    child.communicate()
    assert (child.returncode, run.state) == (1, "stopped")


def test_the_loop_writes_a_checkpoint_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[str] = []
    monkeypatch.setattr(loop, "KEEP", 0.0)
    monkeypatch.setattr(loop, "KEEP_SHARE", 0)
    save = loop.checkpoints.save
    monkeypatch.setattr(loop.checkpoints, "save", lambda *a: (kept.append(f"{a[1]}-{a[2]}"), save(*a))[1])
    run = train("target-sasrec", "tiny", SMALL, name="often")
    steps = -(-len(run.per_user()) // 16)
    assert len(kept) > steps
    assert kept[:2] == ["1-1", "1-2"]
