"""A session of the loop: what it logs, learns and takes back."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from crossrec.data.pair import DomainPair
from crossrec.errors import CrossrecError
from crossrec.feedback.demo import Starts
from crossrec.feedback.log import FeedbackLog
from crossrec.feedback.policy import PolicyConfig
from crossrec.feedback.rewards import RewardTable
from crossrec.feedback.session import About, Session, textbook
from crossrec.feedback.simulator import Habits, SimulatedUsers
from crossrec.runs.folder import open_run

CONFIG = PolicyConfig(k=3)
Play = Callable[..., Session]


@pytest.fixture(scope="module")
def world(tiny_home: Path) -> tuple[Starts, SimulatedUsers]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CROSSREC_HOME", str(tiny_home))
        starts = Starts(open_run("tiny-target-sasrec"))
        starts.ids  # noqa: B018  the dataset is read once
        return starts, SimulatedUsers.of(DomainPair.open("tiny"))


@pytest.fixture
def play(tiny: Path, world: tuple[Starts, SimulatedUsers], tmp_path: Path) -> Play:
    """Sessions of one person, logged in the test's folder."""
    starts, people = world

    def begin(seed: int = 0, known: bool = False, **other: object) -> Session:
        about = About("tiny", "tiny-target-sasrec", starts.ids[3])
        log, visitor = FeedbackLog(tmp_path / "log.db"), people.visitor(3) if known else None
        return Session(
            starts, starts.scores(3), about, **{"config": CONFIG, "log": log, "visitor": visitor, "seed": seed} | other
        )  # type: ignore[arg-type]

    return begin


def logged(session: Session) -> list[tuple[int, int, str | None, int]]:
    frame = session.log.frame(session.name)
    columns = ("slate", "position", "action", "undone")
    return [
        tuple(row) for row in frame[list(columns)].astype(object).where(frame[list(columns)].notna(), None).to_numpy()
    ]


def test_a_slate_is_in_the_log_before_anybody_reacts(play: Play) -> None:
    session = play()
    frame = session.log.frame()
    assert list(frame["item"]) == list(session.slate.items) and list(frame["propensity"]) == list(
        session.slate.propensities
    )
    assert set(frame["user"]) == {session.about.user} and set(frame["run"]) == {"tiny-target-sasrec"}
    assert frame["candidates"][0].tolist() == session.policy.items.tolist() and frame["action"].isna().all()


def test_a_click_is_logged_with_the_skips_beside_it_and_learned_from(play: Play) -> None:
    session = play()
    shown, before = session.slate, session.policy.probabilities
    turn = session.react(1)
    assert turn is not None and turn.actions == ("skip", "click", "skip") and turn.reward == 0.3
    assert logged(session)[:3] == [(0, 0, "skip", 0), (0, 1, "click", 0), (0, 2, "skip", 0)]
    assert [row[:3] for row in logged(session)[3:]] == [(1, place, None) for place in range(3)]
    assert turn.step.slate is shown and (turn.step.probabilities == before).all()
    assert session.policy.probabilities[shown.at[1]] > before[shown.at[1]]
    assert list(session.log.frame(session.name)["version"]) == ["0"] * 3 + ["1"] * 3


def test_a_skip_of_all_and_another_action(play: Play) -> None:
    session = play()
    first, second = session.react(None), session.react(0, "dislike")
    assert first is not None and first.actions == ("skip",) * 3 and first.reward == 0.0
    assert second is not None and second.reward == -0.5
    assert list(session.log.frame(session.name)["reward"][:6]) == [0, 0, 0, -0.5, 0, 0]


def test_the_second_press_of_a_double_one_does_nothing(play: Play) -> None:
    session = play()
    seen = session.number
    assert session.react(0, number=seen) and session.react(0, number=seen) is None
    assert len(session.turns) == 1 and session.policy.updates == 1


def test_what_is_not_there_is_told_and_changes_nothing(play: Play) -> None:
    session = play()
    for wrong, said in ((dict(position=3), "no position 3"), (dict(position=0, action="clik"), "Did you mean 'click'")):
        with pytest.raises(CrossrecError, match=said):
            session.react(**wrong)  # type: ignore[arg-type]
    with pytest.raises(CrossrecError, match="by themselves"):
        session.let()
    assert not session.turns and session.policy.updates == 0 and logged(session) == [(0, p, None, 0) for p in range(3)]
    with pytest.raises(CrossrecError, match="'skip'"):
        play(rewards=RewardTable({"click": 1.0}))


def test_a_turn_is_taken_back_whole(play: Play) -> None:
    session = play(known=True)
    session.let(4)
    shown, state, visitor = session.slate, session.policy.state(), session.visitor.copy()  # type: ignore[union-attr]
    first = session.let(2)
    assert session.undo() and session.undo()
    assert session.slate is shown and session.policy.state() == state
    assert (session.visitor.shown == visitor.shown).all() and session.visitor.last == visitor.last  # type: ignore[union-attr]
    assert [one.actions for one in session.let(2)] == [one.actions for one in first]
    assert (session.turns[-1].step.new_logits == first[-1].step.new_logits).all()
    undone = session.log.frame(session.name).groupby("slate")["undone"].max()
    assert undone.tolist() == [0, 0, 0, 0, 1, 1, 0, 0, 0]  # 5 was shown again as a new slate
    while session.undo():
        pass
    assert not session.turns and session.policy.updates == 0 and not session.undo()


def test_another_reaction_after_an_undone_one_takes_another_way(play: Play) -> None:
    session = play()
    session.react(0)
    other = session.slate
    session.undo()
    session.react(2)
    assert session.log.frame(session.name)["action"][:3].tolist() == ["skip", "skip", "click"]
    assert (session.slate.propensities != other.propensities).any()


def test_a_log_that_cannot_be_written_leaves_the_session_as_it_was(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    session = play(known=True)
    session.let(2)
    state, shown, number = session.policy.state(), session.slate, session.number

    def full(*_: object) -> int:
        raise CrossrecError("The disk is full.")

    for broken in ("react_all", "show"):
        with monkeypatch.context() as patch:
            patch.setattr(session.log, broken, full)
            with pytest.raises(CrossrecError, match="full"):
                session.react(0)
        assert len(session.turns) == 2 and session.slate is shown and session.number == number
        assert session.policy.state() == state
    assert session.react(1) is not None  # another action than the one that failed
    assert session.log.frame(session.name)["action"][6:9].tolist() == ["skip", "click", "skip"]


def test_the_same_seed_draws_the_same_slates(play: Play) -> None:
    one, two, other = play(known=True), play(known=True), play(7, known=True)
    for session in (one, two, other):
        session.let(5)
    assert [t.step.slate.items.tolist() for t in one.turns] == [t.step.slate.items.tolist() for t in two.turns]
    assert [t.step.slate.items.tolist() for t in one.turns] != [t.step.slate.items.tolist() for t in other.turns]
    assert one.name != two.name


def test_regret_is_measured_by_true_taste(play: Play, world: tuple[Starts, SimulatedUsers]) -> None:
    session = play(known=True)
    assert session.visitor is not None
    click = session.visitor.click()
    looks = 1 / np.sqrt([1, 2, 3])
    turn = session.react(None)
    assert turn is not None
    assert turn.expected == pytest.approx(0.3 * looks @ click[turn.step.slate.items])
    # Of what may be shown: what the person has already is not.
    allowed = np.isfinite(world[0].scores(3))
    assert (~allowed[1:]).any()
    assert turn.best == pytest.approx(0.3 * looks @ np.sort(click[allowed])[::-1][:3])
    assert turn.regret == pytest.approx(turn.best - turn.expected) and turn.regret >= 0  # type: ignore[operator]
    unknown = play().react(0)
    assert unknown is not None and unknown.regret is None


def test_a_simulated_person_is_not_drawn_to_what_was_disliked(play: Play) -> None:
    session = play(known=True)
    assert session.visitor is not None
    session.react(0, "dislike")
    assert session.visitor.last == 0
    liked = session.slate.items[0]
    session.react(0, "click")
    assert session.visitor.last == liked


def test_somebody_who_plays_as_a_person_of_the_demo_tires_them_too(world: tuple[Starts, SimulatedUsers]) -> None:
    visitor = SimulatedUsers(np.zeros((1, 4)), habits=Habits(item_fatigue=1.0)).visitor(0)
    before = visitor.click()
    visitor.take(np.array([2]), np.array([False]))
    after = visitor.click()
    assert after[2] < before[2] and after[1] == before[1]


def test_a_turn_is_replayed_with_other_constants(play: Play) -> None:
    session = play()
    for position in (0, None, 2):
        session.react(position)
    state = session.policy.state()
    for at in (0, 1, 2):
        step, before = session.replay(at)
        real = session.turns[at].step
        assert np.allclose(step.new_logits, real.new_logits) and np.allclose(step.gradient, real.gradient)
        assert before["updates"] == at and step.loss == pytest.approx(real.loss)
    faster, _ = session.replay(0, PolicyConfig(k=3, lr=8.0))
    moved = lambda step: step.new_logits - step.logits  # noqa: E731
    assert np.allclose(moved(faster), 2 * moved(session.turns[0].step))
    cold, _ = session.replay(0, PolicyConfig(k=3, temperature=5.0, epsilon=0.0))
    assert cold.entropy > session.turns[0].step.entropy
    nothing, _ = session.replay(0, rewards=np.zeros(3))
    assert nothing.advantages.tolist() == [0, 0, 0]
    assert session.policy.state() == state


def test_the_textbook_step_has_the_numbers_of_the_book() -> None:
    config = PolicyConfig(temperature=1.0, epsilon=0.0, entropy=0.01, kl=0.0)
    policy = textbook(config)
    step = policy.step(policy.slate(np.array([0])), np.array([0.3]))
    assert step.baseline[0] == pytest.approx(0.03) and step.advantages[0] == pytest.approx(0.27)
    assert step.loss == pytest.approx(0.187150 - 0.01 * 0.693147, abs=1e-6)
    assert step.gradient == pytest.approx([-0.135, 0.135])
