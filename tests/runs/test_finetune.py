"""Runs of `policy-finetune`: planned, refused with a sentence, carried out, queued, and told as the numbers are."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crossrec import paths
from crossrec.data.pair import DomainPair
from crossrec.data.split import open_split
from crossrec.errors import CrossrecError
from crossrec.evaluation.protocol import BRIEF, evaluate, summary
from crossrec.feedback.demo import Starts
from crossrec.feedback.policy import PolicyConfig
from crossrec.feedback.simulated import simulated_log
from crossrec.feedback.simulator import SimulatedUsers
from crossrec.models.recommender import Recommender
from crossrec.runs import estimate, queue
from crossrec.runs.execute import enqueue, train
from crossrec.runs.finetune import sentence
from crossrec.runs.folder import open_run
from crossrec.runs.plan import plan
from crossrec.training import policy

LOG = {"log": "played"}
QUICK = LOG | {"temperature": 1.0, "epsilon": 0.2, "epochs": 2, "batch_size": 64, "lr": 1e-3}
Crossrec = Callable[..., tuple[int, str, str]]


@pytest.fixture
def played(tiny_copy: Path) -> DomainPair:
    """The tiny world, with a log of 60 people and six slates of three items each."""
    pair = DomainPair.open("tiny")
    build = Starts(open_run("tiny-target-sasrec")).builds(PolicyConfig(k=3, temperature=1.0, epsilon=0.2))["frozen"]
    simulated_log("played", pair, SimulatedUsers.of(pair), build, np.flatnonzero(pair.overlap)[:60], 6, seed=2)
    return pair


@pytest.mark.parametrize("kept", [True, False])
def test_a_run_from_start_to_end(
    played: DomainPair, kept: bool, monkeypatch: pytest.MonkeyPatch, crossrec: Crossrec
) -> None:
    monkeypatch.setattr(policy, "_refusal", lambda chosen, judged: "of a test" if kept else None)
    base = open_run("tiny-target-sasrec")
    run = train("policy-finetune", "tiny", QUICK, source_run=base.name, name="tuned")
    assert run.finished
    assert run.config()["source_run"] == base.name
    metrics = run.metrics()
    told = metrics["finetune"]
    assert told.keys() == {
        *("base", "log", "kept_start", "why", "choose", "judge", "sessions", "rows", "left_out", "next_item")
    }
    assert (told["base"], told["log"], told["kept_start"]) == (base.name, "played", kept)
    assert told["sessions"] == {"train": 36, "choose": 12, "judge": 12}
    assert sum(told["rows"].values()) + sum(told["left_out"].values()) == 60 * 6 * 3
    # The next items: each side is what an evaluation of that run alone says, and the difference is of the two.
    split = open_split(played, "next-item", 0)
    old, new = (Recommender.load(one.recommender) for one in (base, run))
    for part in ("valid", "test"):
        beside = told["next_item"][part]
        assert beside.keys() == set(BRIEF)
        for name, found in beside.items():
            for side, recommender in (("before", old), ("after", new)):
                alone = summary(evaluate(recommender, played, split, part), split.target_counts(played))
                assert found[side]["mean"] == pytest.approx(alone["groups"]["all"]["full"][name], abs=2e-6)
            assert found["difference"]["mean"] == pytest.approx(
                found["after"]["mean"] - found["before"]["mean"], abs=2e-6
            )
            if kept:
                assert set(found["difference"].values()) == {0.0}
    same = all(np.array_equal(a, b) for a, b in zip(weights(old), weights(new), strict=True))
    assert same is kept
    assert metrics["fit"]["best_epoch"] == (0 if kept else told_best(run))
    # What a person reads.
    said = sentence(metrics)
    assert said is not None
    code, out, err = crossrec("runs", "show", "tuned")
    assert code == 0, err
    assert " ".join(said.split()) in " ".join(out.split())
    assert sentence(base.metrics()) is None


def weights(recommender: Any) -> list[Any]:
    return [value.numpy() for value in recommender.model.state_dict().values()]


def told_best(run: Any) -> int:
    scores = {e["epoch"]: e["valid"]["gain"] for e in run.events() if e["event"] == "epoch"}
    return max(scores, key=lambda epoch: scores[epoch])


def numbers(**changed: Any) -> dict[str, Any]:
    judge = {"before": 0.04, "after": 0.05, "gain": 0.01, "low": 0.002, "high": 0.018, "sessions": 1234, "ess": 9.0}
    ndcg = {
        "before": {"mean": 0.1, "low": 0, "high": 1},
        "after": {"mean": 0.125, "low": 0, "high": 1},
        "difference": {"mean": 0.025, "low": -0.005, "high": 0.055},
    }
    about = {"base": "b", "log": "l", "kept_start": False, "why": "it was so", "judge": judge, "left_out": {}}
    about |= {"rows": {"train": 4000, "choose": 500, "judge": 500}, "next_item": {"test": {"ndcg@10": ndcg}}}
    return {"finetune": about | changed}


def test_the_sentence_says_what_the_numbers_say() -> None:
    held = (
        "its value on 1,234 sessions that judged was 0.0400 before and 0.0500 after "
        "(+25.0 %; gain +0.0100, 95 % interval +0.0020 to +0.0180)"
    )
    assert sentence(numbers()) == (
        f"Fine-tuning b on 5,000 shown items of the log 'l': {held}. The new weights were taken, for it was so. "
        "Next-item NDCG@10 on test went from 0.1000 to 0.1250 (+0.0250, -0.0050 to +0.0550)."
    )
    assert sentence(numbers(kept_start=True, left_out={"a": 2, "b": 1000})) == (
        f"Fine-tuning b on 5,000 shown items of the log 'l', 1,002 left out: {held}. "
        "The start's weights were kept, for it was so."
    )
    nothing = numbers()
    nothing["finetune"]["judge"]["before"] = 0.0
    assert "was 0.0000 before and 0.0500 after (gain +0.0100, " in str(sentence(nothing))  # of nothing no share


# --- the plan ---------------------------------------------------------------------------------------------------------


def test_the_preferred_start_is_the_bridge(played: DomainPair) -> None:
    assert plan("policy-finetune", "tiny", LOG).asked["source_run"] == "tiny-transfer-sasrec"
    named = plan("policy-finetune", "tiny", LOG, source_run="tiny-target-sasrec")
    assert named.asked["source_run"] == "tiny-target-sasrec"
    assert "--set log=played" in named.asked["command"]
    assert "--source-run tiny-target-sasrec" in named.asked["command"]


@pytest.mark.parametrize("base", ["tiny-popularity", "tiny-source-sasrec"])
def test_a_start_of_another_kind_is_refused(played: DomainPair, base: str) -> None:
    with pytest.raises(CrossrecError, match=rf"Run '{base}' is not a SASRec run to fine-tune of 'tiny' with this data"):
        plan("policy-finetune", "tiny", LOG, source_run=base)


def test_without_a_start_the_command_that_makes_one_is_named(played: DomainPair) -> None:
    with pytest.raises(CrossrecError, match=r"no finished SASRec run to fine-tune .*`crossrec train transfer-sasrec "):
        plan("policy-finetune", "tiny", LOG, split_kind="cold-user-50")


def test_a_log_is_asked_for_by_name(played: DomainPair) -> None:
    with pytest.raises(CrossrecError, match=r"Name the feedback log .* --set log=NAME; of 'tiny': played\."):
        plan("policy-finetune", "tiny")
    with pytest.raises(CrossrecError, match=r"There is no log 'playd'\. .*'played'"):
        plan("policy-finetune", "tiny", {"log": "playd"})
    path = paths.logs() / "played" / "log.json"
    paths.write_json(path, paths.read_json(path) | {"dataset_hash": "0" * 64})
    with pytest.raises(CrossrecError, match="'played' was made ready for 'tiny' as it was then"):
        plan("policy-finetune", "tiny", LOG)
    path.unlink()
    with pytest.raises(CrossrecError, match="none yet; the feedback page and `crossrec feedback import` make one"):
        plan("policy-finetune", "tiny")


def test_a_recipe_that_starts_from_no_run_says_so(played: DomainPair) -> None:
    with pytest.raises(CrossrecError, match="target-sasrec starts from no run: leave the source run"):
        plan("target-sasrec", "tiny", source_run="tiny-source-sasrec")


def test_it_waits_for_a_start_that_is_queued(played: DomainPair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "keep", lambda: None)  # nothing is started
    small = {"dim": 16, "epochs": 1, "max_len": 20}
    enqueue(plan("transfer-sasrec", "tiny", small, seed=4, later=True), "first")
    with pytest.raises(CrossrecError, match="SASRec run to fine-tune 'first' is not there yet: its state is 'queued'"):
        plan("policy-finetune", "tiny", QUICK, source_run="first")
    planned = plan("policy-finetune", "tiny", QUICK, seed=4, later=True)
    assert planned.asked["source_run"] == "first"  # of its seed
    run = enqueue(planned, "second")
    assert (run.state, run.config()["source_run"]) == ("queued", "first")
    assert run.config()["settings"]["log"] == "played"
    assert [task.name for task in queue.waiting("run")] == ["first", "second"]
    # What it would cost is measured on a model of the size of the one that is not there yet.
    assert estimate.measure(planned, sample=0.0)["train"] > 0


def test_its_cost_is_measured(played: DomainPair) -> None:
    measured = estimate.measure(plan("policy-finetune", "tiny", QUICK), sample=0.0)
    assert all(measured[part] > 0 for part in ("prepare", "train", "valid", "test"))
