"""The loop on the command line."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from crossrec.data.logged import list_logs, open_log
from crossrec.data.pair import DomainPair
from crossrec.feedback.judging import judge_run
from crossrec.feedback.log import FeedbackLog, LoggedSlate
from crossrec.runs.folder import open_run

Crossrec = Callable[..., tuple[int, str, str]]
pytestmark = pytest.mark.usefixtures("tiny")


def test_the_demo_of_the_loop(crossrec: Crossrec) -> None:
    asked = ("rl-demo", "--dataset", "tiny", "--steps", "40", "--seeds", "3")
    code, out, err = crossrec(*asked)
    assert code == 0, err
    assert out.startswith("Learning from 40 slates brings ")
    for name in ("Learned", "Frozen", "Greedy", "Random", "Popularity", "Oracle"):
        assert f"\n{name}" in out
    assert "Regret to the oracle" in out
    assert "The people are simulated" in out
    found = json.loads(crossrec(*asked, "--json")[1])
    assert found["run"] == "tiny-transfer-sasrec"
    assert len(found["curves"]["learned"]) == 40
    mean = found["measures"]["learned"]["reward"]["mean"] - found["measures"]["frozen"]["reward"]["mean"]
    assert found["gain"]["mean"] == pytest.approx(mean, abs=1e-5)
    assert found["measures"]["oracle"]["regret"]["mean"] == 0


def test_what_it_cannot_do_is_told(crossrec: Crossrec) -> None:
    assert crossrec("rl-demo", "--dataset", "tinny")[0] == 1
    assert crossrec("rl-demo", "--dataset", "tiny", "--seeds", "1")[0] == 2
    code, _, err = crossrec("rl-demo", "--dataset", "tiny", "--run", "tiny-source-sasrec")
    assert (code, "source domain" in err) == (1, True)


def test_the_demo_is_drawn(crossrec: Crossrec, tmp_path: Path) -> None:
    asked = ("rl-demo", "--dataset", "tiny", "--steps", "5", "--seeds", "2", "--chart")
    assert crossrec(*asked, tmp_path / "curve.svg")[0] == 0
    assert (tmp_path / "curve.svg").read_text().startswith("<svg")
    code, _, err = crossrec(*asked, tmp_path / "curve.gif")
    assert (code, "curve.gif cannot be drawn" in err) == (1, True)


# --- logs ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def simulated(crossrec: Crossrec, tiny_copy: Path) -> str:
    asked = ("simulate", "log", "--dataset", "tiny", "--people", "60", "--slates", "10", "--epsilon", "0.3")
    code, out, err = crossrec("feedback", *asked, "--run", "tiny-target-sasrec")
    assert code == 0, err
    assert out.startswith("The log 'log' is ready: 3,000 events in 600 slates of 60 sessions.")
    return "log"


def test_a_log_is_simulated_listed_judged_and_removed(crossrec: Crossrec, simulated: str) -> None:
    listed = json.loads(crossrec("feedback", "list", "--json")[1])
    assert list(listed) == ["log"] and listed["log"]["dataset"] == "tiny"
    assert "60" in crossrec("feedback", "list", "--dataset", "tiny")[1]
    ask = ("feedback", "ope", "log", "--policy", "tiny-popularity")
    code, out, err = crossrec(*ask)
    assert code == 0, err
    wanted = judge_run(open_log("log"), open_run("tiny-popularity"))
    assert out.startswith(wanted.judgement.verdict)
    for estimator in ("IPS", "clipped IPS", "SNIPS", "DM", "DR"):
        assert f"\n{estimator} " in out
    found = json.loads(crossrec(*ask, "--json")[1])
    assert found["verdict"] == wanted.judgement.verdict and found["rows"] == 3000
    other = json.loads(crossrec(*ask, "--against", "tiny-target-sasrec", "--temperature", "1", "--json")[1])
    assert set(other["estimates"]) == {"tiny-popularity", "tiny-target-sasrec"}
    code, _, err = crossrec("feedback", "rm", "log")
    assert (code, "say --yes" in err) == (1, True) and list_logs() == ["log"]
    assert crossrec("feedback", "rm", "log", "--yes")[0] == 0 and not list_logs()


def test_what_was_played_goes_out_and_comes_back(crossrec: Crossrec, tiny_copy: Path, tmp_path: Path) -> None:
    pair, log = DomainPair.open("tiny"), FeedbackLog()
    user = str(pair.users()["user_id"][4])
    for n in range(3):
        log.show(LoggedSlate("s", "p", str(n), [1, 2, 3, 4], [3, 1], [0.5, 0.4], user=user, dataset="tiny"))
        log.react_all("s", n, [(0, "click", 0.3), (1, "skip", 0.0)])
    code, out, err = crossrec("feedback", "import", "--played", "--dataset", "tiny", "--json")
    assert code == 0, err
    assert json.loads(out)["events"] == 6 and json.loads(out)["log"] == "tiny-played"
    path = tmp_path / "out.csv"
    assert crossrec("feedback", "export", path)[1] == f"6 rows were written to {path}.\n"
    ids = pair.items("target").set_index("item")["item_id"]
    assert pd.read_csv(path)["item_id"].tolist() == [ids[3], ids[1]] * 3
    assert crossrec("feedback", "import", path, "--dataset", "tiny", "--name", "again")[0] == 0
    pd.testing.assert_frame_equal(open_log("again").events, open_log("tiny-played").events)


def test_columns_and_rewards_are_named(crossrec: Crossrec, tiny_copy: Path, tmp_path: Path) -> None:
    ids = DomainPair.open("tiny").items("target")["item_id"]
    path = tmp_path / "mine.csv"
    rows = "".join(f"v{n},{ids[n]},yes,0.5\n" for n in range(5)) + "v9,nowhere,yes,0.5\n"
    path.write_text("who,what,did,chance\n" + rows)
    named = [
        word for one in ("session=who", "item=what", "action=did", "propensity=chance") for word in ("--column", one)
    ]
    code, out, err = crossrec("feedback", "import", path, "--dataset", "tiny", *named, "--reward", "yes=2")
    assert code == 0, err
    assert "1 rows are left out: item not in the dataset" in out and "line 7" in out
    assert open_log("mine").events["reward"].tolist() == [2.0] * 5
    code, _, err = crossrec("feedback", "import", path, "--dataset", "tiny", *named, "--reward", "yes=2")
    assert (code, "already" in err) == (1, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("import",), "Give either a file, or --played"),
        (("import", "x.csv", "--played"), "Give either a file, or --played"),
        (("import", "nowhere.csv", "--dataset", "tiny"), "nowhere.csv"),
        (("import", "x.csv", "--session", "s"), "--session goes with --played"),
        (("import", "--played", "--dataset", "tiny", "--column", "session"), "not of the form key=value"),
        (("import", "--played", "--dataset", "tiny", "--reward", "click=much"), "give a number"),
        (("import", "--played", "--dataset", "tiny", "--reward", "click=1"), "go with a file"),
        (("import", "--played", "--dataset", "tiny"), "play on the feedback page first"),
        (("ope", "nowhere", "--policy", "tiny-popularity"), "There is no log 'nowhere'"),
        (("rm", "nowhere", "--yes"), "There is no log 'nowhere'"),
        (("simulate", "../log", "--dataset", "tiny"), "cannot name a log"),
        (("export", "out.xlsx"), "ends in none of"),
    ],
)
def test_what_is_asked_wrongly_is_told(crossrec: Crossrec, tiny_copy: Path, words: tuple[str, ...], said: str) -> None:
    code, out, err = crossrec("feedback", *words)
    assert (code, out) == (1, "") and said in err and not list_logs()


def test_a_file_with_its_own_probabilities_is_judged_as_it_is(crossrec: Crossrec, tmp_path: Path) -> None:
    rng, path = np.random.default_rng(0), tmp_path / "log.csv"
    frame = pd.DataFrame(
        {"session": np.arange(400), "item": rng.integers(0, 9, 400), "reward": rng.integers(0, 2, 400)}
    )
    frame.assign(propensity=0.5, target_probability=0.5).to_csv(path, index=False)
    code, out, err = crossrec("feedback", "ope", path, "--policy", "mine")
    assert code == 0, err
    assert out.startswith("No evidence that 'mine' and the log's own policy differ")
    frame.assign(target_probability=0.5).to_csv(path, index=False)
    assert "no propensity" in crossrec("feedback", "ope", path, "--policy", "mine")[1]
    code, out, _ = crossrec("feedback", "ope", path, "--policy", "mine", "--assume-uniform", "--json")
    assert code == 0 and "not ranked" in json.loads(out)["verdict"]
    code, _, err = crossrec("feedback", "ope", path, "--policy", "mine", "--against", "other")
    assert (code, "leave --against" in err) == (1, True)
