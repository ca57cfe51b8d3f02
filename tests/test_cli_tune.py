"""The commands of a search, and of runs that leave the test part alone, as a terminal shows them."""

import json
import sys
from collections.abc import Callable

import pytest

from crossrec import paths
from crossrec.runs.folder import open_run

Command = Callable[..., tuple[int, str, str]]
pytestmark = pytest.mark.usefixtures("tiny_copy")
TUNE = ("tune", "linear-map", "--dataset", "tiny", "--trials", "2", "--split", "cold-user")


def test_a_search_prints_its_trials_and_one_sentence(crossrec: Command) -> None:
    code, out, err = crossrec(*TUNE)
    assert code == 0
    lines = [line for line in out.splitlines() if line.strip()]
    assert lines[0].split() == ["trial", "validation", "ndcg@10", "ridge", "prior", "trained", "run"]
    assert len(lines) == 4 and lines[1].split()[-1] == "tune-tiny-linear-map-cold-user-s0-t0"
    assert "[2/2] ridge=" in err and "  validation 0." in err
    assert lines[3].endswith("and no trial was tested.") and "tune-tiny-linear-map-cold-user-s0-best" in lines[3]
    assert sum("*" in line.split()[:2] for line in lines[1:3]) == 1  # the winner is marked
    code, again, err = crossrec(*TUNE)
    assert (code, again, err) == (0, out, "")


def test_the_search_as_json(crossrec: Command) -> None:
    asked = (*TUNE, "--set", "prior=0.01", "--seed", "2", "--split-seed", "5", "--name", "mine", "--json")
    code, out, err = crossrec(*asked)
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert found["run"] == "mine-best" and len(found["trials"]) == 2
    assert all(set(trial["settings"]) == {"ridge"} for trial in found["trials"])
    best = open_run("mine-best").config()
    assert best["settings"]["prior"] == 0.01 and best["split"] == {"kind": "cold-user", "seed": 5}
    about = json.loads((paths.searches() / "mine" / "search.json").read_text())
    words = about["command"].split()
    assert words[:2] == ["crossrec", "tune"]
    # The command that is kept goes on with the same search.
    assert json.loads(crossrec(*words[1:], "--json")[1]) == found


def test_what_is_wrong_is_one_sentence(crossrec: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, err = crossrec("tune", "popularity", "--dataset", "tiny", "--trials", "2")
    assert (code, out) == (1, "") and err.count("\n") == 1 and "no settings worth a search" in err
    assert crossrec("tune", "linear-map", "--dataset", "tiny", "--trials", "0")[0] == 2
    monkeypatch.setitem(sys.modules, "optuna", None)
    code, out, err = crossrec(*TUNE)
    assert (code, out) == (1, "")
    assert err == "crossrec: Optuna is not installed: `pip install 'crossrec[tune]'` adds it.\n"


def test_train_without_the_test(crossrec: Command) -> None:
    words = ("train", "linear-map", "--dataset", "tiny", "--no-test", "--name")
    code, out, _ = crossrec(*words, "alone")
    assert code == 0 and "alone on the validation people: ndcg@10 0." in out and "The test part was left alone." in out
    assert "test" not in json.loads(crossrec(*words, "other", "--json")[1])
    row = next(line for line in crossrec("runs", "list")[1].splitlines() if line.startswith("alone "))
    assert row.split()[-3:] == ["finished", "not", "tested"]
    listed = {run["run"]: run for run in json.loads(crossrec("runs", "list", "--json")[1])}
    assert listed["alone"]["tested"] is False and "tested" not in listed["tiny-popularity"]
    shown = crossrec("runs", "show", "alone")[1]
    assert "--no-test" in shown and "The test part was left alone." in shown
    code, _, err = crossrec("compare", "tiny-popularity", "alone")
    assert code == 1 and "alone leaves the test part alone: only runs that were tested can be compared" in err


def test_fine_tuning_is_told_by_its_test(crossrec: Command) -> None:
    code, _, err = crossrec("train", "policy-finetune", "--dataset", "tiny", "--set", "log=x", "--no-test")
    assert code == 1 and err.count("\n") == 1
