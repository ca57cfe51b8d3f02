"""The loop in words, frames and numbers: what is said is what the policy did."""

import ast
import operator
import re
from pathlib import Path

import numpy as np
import pytest

from crossrec.data.pair import DomainPair
from crossrec.errors import CrossrecError
from crossrec.evaluation.statistics import Interval
from crossrec.feedback.demo import RlDemo, Starts
from crossrec.feedback.log import FeedbackLog
from crossrec.feedback.ope import Logged, Target, judge
from crossrec.feedback.policy import PolicyConfig
from crossrec.feedback.session import About, Session, textbook
from crossrec.feedback.simulator import SimulatedUsers
from crossrec.report import judging, loop
from crossrec.runs.folder import open_run


@pytest.fixture
def session(tiny: Path, tmp_path: Path) -> Session:
    starts = Starts(open_run("tiny-target-sasrec"))
    visitor = SimulatedUsers.of(DomainPair.open("tiny")).visitor(3)
    about = About("tiny", "tiny-target-sasrec", "u")
    log = FeedbackLog(tmp_path / "log.db")
    return Session(starts, starts.scores(3), about, PolicyConfig(k=3), log=log, visitor=visitor)


def test_the_sentence_counts_what_was_clicked(session: Session) -> None:
    assert loop.sentence(session).startswith("Pick what you like")
    session.react(None)
    assert "After 1 slate without a click" in loop.sentence(session)
    turn = session.react(1)
    assert turn is not None
    at = int(turn.step.slate.at[1])
    before, now = session.start_probabilities[at], session.policy.probabilities[at]
    said = loop.sentence(session)
    assert said.startswith("After 2 slates, the item that was clicked has ")
    assert loop.share(now) in said and loop.share(before) in said and now > before
    session.react(0, "dislike")  # is no click
    assert "the item that was clicked" in loop.sentence(session)


def test_true_taste_is_told_once_there_is_enough(session: Session) -> None:
    session.let(2 * loop.LATELY - 1)
    assert not loop.details(session)
    session.let(1)
    (said,) = loop.details(session)
    expected = [turn.expected for turn in session.turns]
    best = [turn.best for turn in session.turns[-loop.LATELY :]]
    for values in (expected[: loop.LATELY], expected[-loop.LATELY :], best):
        assert f"{np.mean(values):.3f}" in said  # type: ignore[arg-type]


def test_moves_name_the_slate_first_and_then_what_moved_most(session: Session) -> None:
    turn = session.react(2)
    assert turn is not None
    frame = loop.moves(turn.step, turn.actions, lambda item: "Same name", session.policy.items)
    assert frame["item"].is_unique and frame["kind"].tolist() == ["shown", "shown", "clicked"] + ["not shown"] * 5
    change = turn.step.new_probabilities - turn.step.probabilities
    rest = np.delete(np.abs(change), turn.step.slate.at)
    assert np.abs(frame["change"][3:]).to_numpy() == pytest.approx(np.sort(rest)[::-1][:5])
    assert "rose most" in loop.move_sentence(frame) or "fell most" in loop.move_sentence(frame)
    still, _ = session.replay(0, PolicyConfig(k=3, lr=0.0))
    nothing = loop.moves(still, turn.actions, str, session.policy.items)
    assert "moved nothing" in loop.move_sentence(nothing)


def test_history_has_running_means(session: Session) -> None:
    session.let(12)
    frame = loop.history(session.turns)
    assert frame["mean"].iloc[-1] == pytest.approx(np.mean([t.reward for t in session.turns[-loop.LATELY :]]))
    assert (frame["regret"] >= -1e-9).all()
    assert f"{np.mean([t.reward for t in session.turns[:5]]):.2f} in the first 5" in loop.history_sentence(frame)
    layers = loop.curves(frame, "transfer-sasrec").to_dict()["layer"]
    assert len(layers) == 2


@pytest.mark.parametrize(("k", "epsilon"), [(1, 0.0), (3, 0.1), (3, 1.0)])
def test_each_number_that_is_taken_apart_follows_from_those_before(session: Session, k: int, epsilon: float) -> None:
    """What stands left of the last "=" comes to what stands right of it."""
    session.let(6)
    turn = session.react(0)
    assert turn is not None
    config = PolicyConfig(k=3, epsilon=epsilon)
    if k == 1:
        policy = textbook(PolicyConfig(epsilon=epsilon, kl=0.0))
        config, state = policy.config, policy.state()
        step, score = policy.step(policy.slate(np.array([0])), np.array([0.3])), 0.0
    else:
        step, state = session.replay(-1, config)
        score = float(session.policy.scores[step.slate.at[0]])
    parts = loop.apart(step, config, state, score, 0)
    assert len(parts) == 10
    checked = 0
    for part in parts:
        whole = part.numbers.replace("\\begin{gathered}", "").replace("\\end{gathered}", "")
        for line in whole.replace("\\\\ =", "=").split("\\\\"):
            if "=" not in line or "ldots" in line:  # of several items the sum is not all there
                continue
            left, right = line.split("=")
            assert _value(left) == pytest.approx(_value(right), abs=2e-3, rel=2e-2), part.title
            checked += 1
    assert checked >= 5


def _value(text: str) -> float:
    """Of LaTeX: a sum of products and quotients, with brackets around differences."""
    text = re.sub(r"\\cdot 10\^\{(-?\d+)\}", r"*10**(\1)", text).replace("\\cdot", "*")
    known = {
        ast.Add: operator.add,
        ast.Sub: operator.sub,
        ast.Mult: operator.mul,
        ast.Div: operator.truediv,
        ast.Pow: operator.pow,
    }

    def value(node: ast.expr) -> float:
        if isinstance(node, ast.Constant):
            return float(node.value)  # type: ignore[arg-type]
        if isinstance(node, ast.UnaryOp):
            return -value(node.operand)
        assert isinstance(node, ast.BinOp)
        return float(known[type(node.op)](value(node.left), value(node.right)))  # type: ignore[index]

    return value(ast.parse(text.strip(), mode="eval").body)


def test_small_shares_keep_what_counts() -> None:
    assert loop.share(0.5) == "50\N{NO-BREAK SPACE}%" and loop.share(0.0123) == "1.2\N{NO-BREAK SPACE}%"
    assert loop.share(0.0) == "less than 0.05\N{NO-BREAK SPACE}%"


def test_the_curves_of_a_demo_hold_every_policy_and_two_bands(tmp_path: Path) -> None:
    curve = [Interval(0.1 * n, 0.1 * n - 0.05, 0.1 * n + 0.05) for n in range(4)]
    found = RlDemo(
        "demo", "run", [0, 1], 20, 5, {"learned": curve, "frozen": curve, "oracle": curve}, {}, curve[1], 0.5
    )
    drawn = loop.demo_curves(found).to_dict()
    (data,) = drawn["datasets"].values()
    assert {row["policy"] for row in data} == {"learned", "frozen", "oracle"} and data[0]["slate"] == 5
    for name, begins in (("curve.svg", b"<svg"), ("curve.png", b"\x89PNG")):
        loop.write_curves(found, tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(begins)
    for name, said in (("curve.gif", "neither"), ("nowhere/curve.svg", "nowhere")):
        with pytest.raises(CrossrecError, match=said):
            loop.write_curves(found, tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curve.png", "curve.svg"]


def test_a_judgement_in_frames() -> None:
    rng = np.random.default_rng(0)
    log = Logged(rng.integers(0, 2, 400).astype(float), np.full(400, 0.5))
    found = judge(log, Target("run", np.full(400, 0.5)))
    frame = judging.estimates(found, {"run": "target-sasrec"})
    assert set(frame["label"]) == {"IPS", "clipped IPS", "SNIPS"} and set(frame["recipe"]) == {
        "target-sasrec",
        "popularity",
    }
    assert judging.answer(found) == "no" and "400 rows are worth 400" in judging.support(found.diagnostics["run"], "it")
    data = next(iter(judging.weights(found.diagnostics["run"]).to_dict()["datasets"].values()))
    assert (
        sum(row["rows"] for row in data) == 400
        and next(row["rows"] for row in data if row["weight"] == "1 to 2") == 400
    )
    refused = judge(Logged(log.rewards, np.full(400, np.nan)), Target("run", np.full(400, 0.5)))
    assert judging.answer(refused) == "unknown" and len(judging.estimates(refused, {})) < len(frame)
    assert "Nobody can tell" in judging.support(refused.diagnostics["run"], "it")
