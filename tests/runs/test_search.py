"""The search for settings: the defaults first, no trial tested, gone on with as if it had not been stopped."""

import json
import math
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import pytest

from crossrec import paths
from crossrec.config import from_dict
from crossrec.errors import CrossrecError
from crossrec.evaluation.statistics import Interval
from crossrec.runs import coldstart, controls, execute
from crossrec.runs import search as searching
from crossrec.runs.compare import compare_runs, matching_runs
from crossrec.runs.execute import ask_controls, train
from crossrec.runs.folder import latest, list_runs, open_run
from crossrec.runs.plan import plan
from crossrec.runs.search import Outcome, Search, Trial, proposal, search
from crossrec.stopping import Stop, Stopped
from crossrec.training import spaces
from crossrec.training.recipes import RECIPES
from crossrec.training.spaces import SPACES, Range, score, space_of

pytestmark = pytest.mark.usefixtures("tiny_copy")
FEW = {"trials": 7, "seed": 3}
QUICK = {"dim": 8, "epochs": 1, "max_len": 10, "blocks": 1}


def told(name: str) -> list[dict[str, Any]]:
    """The log of a search without what a clock says, and without its name."""
    rows = [json.loads(line) for line in (paths.searches() / name / "trials.jsonl").read_text().splitlines()]
    return [{**row, "seconds": None, "run": row["run"].removeprefix(name)} for row in rows]


def at_event(kind: str, number: int, do: Callable[[], None]) -> Callable[[dict[str, Any]], None]:
    """Does something at the n-th event of a kind, from 1."""
    seen = 0

    def on_event(event: dict[str, Any]) -> None:
        nonlocal seen
        seen += event["event"] == kind
        if event["event"] == kind and seen == number:
            do()

    return on_event


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


# --- runs that leave the test part alone ------------------------------------------------------------------------------


def test_a_run_without_a_test_has_validation_figures_and_no_others() -> None:
    run = train("linear-map", "tiny", name="alone", tested=False)
    usual = train("linear-map", "tiny", name="usual")
    assert run.untested and not usual.untested
    assert "tested" not in usual.config()  # as of every run before
    assert run.config()["command"] == usual.config()["command"] + " --no-test"
    metrics = run.metrics()
    assert not {"test", "ratings"} & set(metrics)
    assert metrics["valid"] == usual.metrics()["valid"]
    kept = {path.name for path in usual.folder.iterdir()} - {path.name for path in run.folder.iterdir()}
    assert kept == {"per_user.parquet", "ratings.parquet", controls.LISTS, controls.SHOTS, controls.CONTROLS}
    assert "alone" not in [one.name for one in list_runs("tiny", finished=True, tested=True)]
    assert "alone" in [one.name for one in list_runs("tiny", finished=True)]
    found = latest("tiny", "linear-map")
    assert found is not None and found.name == "usual"
    assert "alone" not in [one.name for one in matching_runs("tiny") or []]
    for call in (run.per_user, lambda: ask_controls(run), lambda: compare_runs([usual, run])):
        with pytest.raises(CrossrecError, match=r"alone.* the test part alone"):
            call()


def test_the_test_part_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*_: Any, **__: Any) -> None:
        raise AssertionError("the test part was looked at")

    for name in ("evaluate", "_rate_hidden"):
        monkeypatch.setattr(execute, name, asked)
    monkeypatch.setattr(controls, "ask", asked)
    monkeypatch.setattr(controls, "write", asked)
    run = train("emcdr", "tiny", {"factors": 4}, split_kind="cold-user", tested=False)
    assert set(run.metrics()["valid"]) == {"ndcg@10", "hr@10", "rmse"}


def test_a_queued_run_stays_untested() -> None:
    queued = execute.enqueue(plan("popularity", "tiny", tested=False), "later")
    run = execute.resume(queued)
    assert run.finished and run.untested and "test" not in run.metrics()


def test_strangers_are_compared_without_trials() -> None:
    trial = train("linear-map", "tiny", split_kind="cold-user", tested=False)
    assert coldstart.cold_runs("tiny") == []
    run = train("linear-map", "tiny", split_kind="cold-user")
    assert [one.name for one in coldstart.cold_runs("tiny")] == [run.name] != [trial.name]


# --- spaces -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", SPACES)
def test_the_defaults_lie_in_the_space_and_what_is_proposed_can_be_trained(recipe: str) -> None:
    kind = RECIPES[recipe].config
    usual: Any = from_dict(kind, {})
    space = space_of(recipe, {}, usual)
    assert space == SPACES[recipe]  # nothing had to be widened
    trials: list[Trial] = []
    for number in range(9):
        settings = proposal(space, asdict(usual), trials, 0)
        config: Any = from_dict(kind, settings)
        for name, one in space.items():
            value = getattr(config, name)
            assert type(value) is type(getattr(usual, name)), name
            assert one.low <= value <= one.high if isinstance(one, Range) else value in one
        trials.append(Trial(number, settings, "", float(number), "finished", 0.0))
    assert trials[0].settings == {name: getattr(usual, name) for name in space}
    assert len({json.dumps(trial.settings) for trial in trials}) == 9


def test_what_is_fixed_is_not_searched_and_a_preset_widens() -> None:
    classic: Any = from_dict(RECIPES["target-sasrec"].config, {"preset": "classic", "dim": 16})
    found = space_of("target-sasrec", {"preset": "classic", "dim": 16}, classic)
    assert "dim" not in found and "dim" in SPACES["target-sasrec"]
    assert found["temperature"] == Range(0.0, 0.4, log=False)  # nought has no place on a logarithmic scale
    assert found["weight_decay"] == (0.0, 1e-3, 1e-2, 1e-1, 1e-6)
    assert found["dropout"] == SPACES["target-sasrec"]["dropout"]
    with pytest.raises(CrossrecError, match="All that could be searched of linear-map is fixed"):
        space_of("linear-map", {"ridge": 1, "prior": 0}, from_dict(RECIPES["linear-map"].config, {}))
    with pytest.raises(CrossrecError, match="popularity has no settings worth a search"):
        space_of("popularity", {}, None)
    with pytest.raises(CrossrecError, match=r"no recipe 'linear-mop'\. Did you mean 'linear-map'"):
        space_of("linear-mop", {}, None)


def test_stars_are_judged_by_their_error() -> None:
    assert score("linear-map", {"ndcg@10": 0.25, "rmse": 9.0}) == 0.25
    assert score("ptupcdr", {"ndcg@10": 0.25, "rmse": 0.9}) == -0.9
    assert math.isnan(score("emcdr", {"ndcg@10": 0.25}))
    assert set(spaces.BY_STARS) <= set(SPACES)


# --- the search -------------------------------------------------------------------------------------------------------


def test_the_best_by_validation_is_tested_once_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = []

    def spied(*args: Any) -> Any:
        parts.append(args[3])
        return evaluate(*args)

    evaluate = execute.evaluate
    monkeypatch.setattr(execute, "evaluate", spied)
    found = search("linear-map", "tiny", 4, {"max_users": "50"}, name="one")
    assert parts == ["test"]
    assert found.trials[0].settings == {"ridge": 400.0, "prior": 0.003}
    scores = []
    for trial in found.trials:
        run = open_run(trial.run)
        assert run.untested and run.config()["settings"] == {"max_users": 50, **trial.settings}
        scores.append(run.metrics()["valid"]["ndcg@10"])
    assert [trial.score for trial in found.trials] == scores
    assert found.best.number == scores.index(max(scores))
    best = open_run("one-best")
    assert found.run == best.name and not best.untested
    assert best.config()["settings"] == {"max_users": 50, **found.best.settings}
    assert best.metrics()["valid"]["ndcg@10"] == max(scores)  # the same training again
    assert found.test.mean == pytest.approx(best.metrics()["test"]["groups"]["all"]["full"]["ndcg@10"])
    assert found.sentence.endswith("and no trial was tested.") and found.sentence.count(". ") == 0
    about = Search("one").about()
    command = "crossrec tune linear-map --dataset tiny --seed 0 --set max_users=50 --trials 4 --name one"
    assert (about["command"], about["trials"], about["measure"]) == (command, 4, "ndcg@10")
    assert {path.name for path in Search("one").folder.iterdir()} == {"search.json", "trials.jsonl", ".lock"}
    # Told again, nothing is trained; and a second look at the test is refused.
    before = sorted(paths.runs().iterdir())
    assert search("linear-map", "tiny", 4, {"max_users": 50}, name="one").to_dict() == found.to_dict()
    with pytest.raises(CrossrecError, match="was tested after 4 trials"):
        search("linear-map", "tiny", 5, {"max_users": 50}, name="one")
    assert sorted(paths.runs().iterdir()) == before
    with pytest.raises(CrossrecError, match="'one' already, and its seed is another"):
        search("linear-map", "tiny", 4, {"max_users": 50}, seed=1, name="one")


def test_stopped_or_killed_anywhere_it_proposes_the_same() -> None:
    whole = search("linear-map", "tiny", name="whole", **FEW)
    before_a_trial = at_event("trial", 4, interrupt)  # after 3
    in_a_training = at_event("start", 3, interrupt)  # of the sixth trial
    for on_event, done in ((before_a_trial, 3), (in_a_training, 5)):
        with Stop() as stop, pytest.raises(Stopped, match=f"was stopped after {done} of 7 trials: the same command"):
            search("linear-map", "tiny", name="cut", on_event=on_event, stop=stop, **FEW)
    assert open_run("cut-t5").state == "stopped"
    assert not (paths.runs() / "cut-best").exists()
    # Killed between the end of a training and its line in the log: the training is not done again.
    log = paths.searches() / "cut" / "trials.jsonl"
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join(lines[:-1]) + lines[-1][:20])
    kept = (open_run("cut-t4").folder / "metrics.json").stat().st_mtime_ns
    found = search("linear-map", "tiny", name="cut", **FEW)
    assert (open_run("cut-t4").folder / "metrics.json").stat().st_mtime_ns == kept
    assert told("cut") == told("whole")
    assert replace(found.best, run="", seconds=None) == replace(whole.best, run="", seconds=None)
    assert found.test == whole.test
    # A search of another seed tries other things.
    search("linear-map", "tiny", 3, seed=4, name="other")
    assert [row["settings"] for row in told("other")[1:]] != [row["settings"] for row in told("whole")[1:3]]


def test_a_trial_that_fails_is_told_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*numbers: int) -> None:
        def tried(**asked: Any) -> Any:
            if asked["name"].partition("-t")[2] in map(str, numbers):
                raise CrossrecError("There is no luck.")
            return train(**asked)

        monkeypatch.setattr(searching, "train", tried)

    fails(0, 2)
    found = search("user-knn", "tiny", 4, name="some")
    assert [(trial.state, trial.error) for trial in found.trials][::2] == [("failed", "There is no luck.")] * 2
    assert found.best.number in (1, 3) and "; the defaults failed" in found.sentence
    fails(0, 1)
    with pytest.raises(CrossrecError, match="All 2 trials of 'none' failed, the first with: There is no luck"):
        search("user-knn", "tiny", 2, name="none")


def test_stars_win_by_the_least_error() -> None:
    found = search("ptupcdr", "tiny", 3, {"epochs": 2}, split_kind="cold-user", name="stars")
    errors = [open_run(trial.run).metrics()["valid"]["rmse"] for trial in found.trials]
    assert found.best.number == errors.index(min(errors)) and found.measure == "rmse"
    stored = open_run("stars-best").metrics()["ratings"]["models"]["recommender"]["rmse"]
    assert found.test.mean == pytest.approx(stored["mean"])
    assert f"validation RMSE of {min(errors):.4f}" in found.sentence


def test_every_trial_starts_from_the_same_source_run() -> None:
    with Stop() as stop, pytest.raises(Stopped):
        search("transfer-sasrec", "tiny", 2, QUICK, name="bridge", on_event=at_event("trial", 2, interrupt), stop=stop)
    train("source-sasrec", "tiny", QUICK, name="newer")
    search("transfer-sasrec", "tiny", 2, QUICK, name="bridge")
    assert {open_run(name).config()["source_run"] for name in ("bridge-t0", "bridge-t1", "bridge-best")} == {
        "tiny-source-sasrec"
    }


def test_what_cannot_be_searched_is_told_before_anything_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    for words, asked in (
        ("has no setting 'rigde'. Did you mean 'ridge'", {"fixed": {"rigde": 1}}),
        ("no dataset 'tini'", {"dataset": "tini"}),
        ("cannot name a search", {"name": "../x"}),
    ):
        with pytest.raises(CrossrecError, match=words):
            search(**{"recipe": "linear-map", "dataset": "tiny", "trials": 2, **asked})
    train("popularity", "tiny", name="mine-t0")
    with pytest.raises(CrossrecError, match="'mine-t0' that is none of this search"):
        search("linear-map", "tiny", 1, name="mine")
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(CrossrecError, match=r"Optuna is not installed: `pip install 'crossrec\[tune\]'`"):
        search("linear-map", "tiny", 1, name="again")
    assert [path.name for path in paths.searches().iterdir()] == ["mine"]


def test_two_at_a_time_do_not_search_the_same() -> None:
    def beside() -> None:
        with pytest.raises(CrossrecError, match="'busy' is under way in another process"):
            search("linear-map", "tiny", 2, name="busy")

    search("linear-map", "tiny", 2, name="busy", on_event=at_event("trial", 2, beside))


def test_the_sentence_says_what_won() -> None:
    trials = [
        Trial(0, {"ridge": 400.0}, "x-t0", 0.2, "finished", 1.0),
        Trial(1, {"ridge": 9.0}, "x-t1", 0.3, "finished", 1.0),
    ]
    found = Outcome("x", "linear-map", "d", "ndcg@10", trials, trials[1], "x-best", 1234, Interval(0.25, 0.2, 0.3))
    assert found.sentence == (
        "Trial 1 (ridge=9.0) won with a validation NDCG@10 of 0.3000 against 0.2000 of the defaults, the best of 2 "
        "trials and so partly luck; trained once more as x-best it comes to a test NDCG@10 of 0.2500 (95 % interval "
        "0.2000 to 0.3000, 1,234 people), and no trial was tested."
    )
    assert replace(found, best=trials[0]).sentence.startswith(
        "The defaults won with a validation NDCG@10 of 0.2000, the"
    )
