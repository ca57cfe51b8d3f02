"""The whole evaluation against brute force, chance level, and what must never be ranked."""

from collections.abc import Callable
from typing import Any, ClassVar, Self

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from crossrec.data.histories import Histories
from crossrec.data.pair import DomainPair
from crossrec.data.split import Questions, Split, _split, cold_user, split_unstored
from crossrec.evaluation import protocol
from crossrec.evaluation.protocol import GROUPS, evaluate, group_masks, metric_names, quick, ranked, summary
from crossrec.models.recommender import Floats, Recommender

MakePair = Callable[..., DomainPair]


class Table(Recommender):
    """Scores people by a table (U, I+1)."""

    kind: ClassVar[str] = "test-table"

    def __init__(self, table: Floats):
        self.table, self.n_items = table, table.shape[1] - 1
        self.asked: list[Histories] = []

    def score(self, histories: Histories) -> Floats:
        self.asked.append(histories)
        assert histories.users is not None
        return self.table[histories.users]

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        return {}, {"table": self.table}

    @classmethod
    def from_state(cls, about: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Self:
        return cls(arrays["table"])


def random_table(users: int, n_items: int, seed: int, levels: int = 6) -> Table:
    return Table(np.random.default_rng(seed).integers(0, levels, (users, n_items + 1)).astype(np.float32))


def split_of(pair: DomainPair, kind: str, seed: int) -> Split:
    return split_unstored(pair) if kind == "next" else _split(pair, "cold-user", seed, *cold_user(pair, seed, 0.3))


@given(seed=st.integers(0, 100_000), kind=st.sampled_from(["next", "cold"]), part=st.sampled_from(["valid", "test"]))
@hypothesis_settings(max_examples=25)
def test_against_brute_force(random_pair: MakePair, seed: int, kind: str, part: str) -> None:
    pair = random_pair(seed, users=40, longest=5)
    split = split_of(pair, kind, seed)
    recommender = random_table(40, 15, seed)
    found = evaluate(recommender, pair, split, part, seed=7)
    shuffle = np.random.default_rng(7).permutation(16)
    questions = split.part(part)
    assert found.table["user"].tolist() == questions.user.tolist()
    for q in range(len(questions)):
        user, end = int(questions.user[q]), int(questions.target_end[q])
        own = pair.target.sequence(user)[:end].tolist()
        truth = pair.target.sequence(user)[end : questions.truth_end[q]].tolist()
        free = [j for j in range(1, 16) if j not in own]
        order = sorted(free, key=lambda j: (-recommender.table[user, j], shuffle[j]))
        ranks = [order.index(t) + 1 for t in truth]
        row = found.table.iloc[q]
        assert row["rank"] == min(ranks)
        assert row["hr@5"] == float(min(ranks) <= 5)
        assert row["recall@10"] == pytest.approx(sum(r <= 10 for r in ranks) / len(truth))
        assert row["mrr@20"] == pytest.approx(1 / min(ranks))
        assert (row["n_source"], row["n_target"]) == (questions.source_end[q], end)
        assert (row["n_train"], row["n_truth"]) == (split.target_train_end[user], len(truth))
        shown = found.top[q][found.top[q] > 0].tolist()
        assert len(shown) == min(10, len(free))
        assert not set(shown) & set(own)
        best = sorted((recommender.table[user, j] for j in free), reverse=True)[:10]
        assert [recommender.table[user, j] for j in shown] == best


@given(seed=st.integers(0, 1000))
@hypothesis_settings(max_examples=15)
def test_a_model_sees_the_visible_events_and_no_others(random_pair: MakePair, seed: int) -> None:
    pair = random_pair(seed, users=20)
    split = split_unstored(pair)
    recommender = random_table(20, 15, seed)
    evaluate(recommender, pair, split)
    seen = {}
    for batch in recommender.asked:
        assert batch.users is not None
        for user, source, target in zip(batch.users, batch.source, batch.target, strict=True):
            seen[int(user)] = (source[source > 0].tolist(), target[target > 0].tolist())
    test = split.test
    assert seen == {
        int(test.user[q]): (
            pair.source.sequence(test.user[q])[: test.source_end[q]].tolist(),
            pair.target.sequence(test.user[q])[: test.target_end[q]].tolist(),
        )
        for q in range(len(test))
    }


def test_sampled_negatives_are_the_same_for_all_and_never_owned(
    random_pair: MakePair, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = random_pair(0, users=30, n_items=200, fewest=1)
    split = split_unstored(pair)
    drawn: list[NDArray[np.int64]] = []
    asked: list[int] = []
    real = protocol.sampled_ranks

    def spy(scores: Floats, truth: Any, row: Any, others: Any, shuffle: Any) -> Any:
        drawn.append(others)
        return real(scores, truth, row, others, shuffle)

    monkeypatch.setattr(protocol, "sampled_ranks", spy)
    for seed in (1, 2):
        recommender = random_table(30, 200, seed)
        evaluate(recommender, pair, split)
        assert len(recommender.asked) == 1
        assert recommender.asked[0].users is not None
        asked = recommender.asked[0].users.tolist()
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert drawn[0].shape == (30, 99)
    evaluate(random_table(30, 200, 1), pair, split, sampled=150)
    assert drawn[-1].shape == (30, 150)
    for user, row in zip(asked, drawn[0].tolist(), strict=True):
        # Not the truth and not what is hidden in the other part, either.
        assert not set(row) & set(pair.target.sequence(user).tolist())


def test_a_constant_scorer_is_at_chance(make_pair: MakePair) -> None:
    rng = np.random.default_rng(0)
    users, n_items = 3000, 200
    pair = make_pair([[]] * users, [[int(i)] for i in rng.integers(1, n_items + 1, users)], n_target=n_items)
    constant = Table(np.zeros((users, n_items + 1), np.float32))
    table = evaluate(constant, pair, split_unstored(pair)).table
    chance = 10 / n_items
    assert table["hr@10"].mean() == pytest.approx(chance, abs=5 * (chance * (1 - chance) / users) ** 0.5)
    assert table["sampled.hr@10"].mean() == pytest.approx(0.1, abs=0.04)
    assert table["rank"].mean() == pytest.approx((n_items + 1) / 2, rel=0.06)
    # Another seed orders the ties in another way, and the level stays.
    other = evaluate(constant, pair, split_unstored(pair), seed=1).table
    assert (other["rank"] != table["rank"]).mean() > 0.9


def test_the_perfect_and_the_worst_scorer(random_pair: MakePair) -> None:
    pair = random_pair(0, users=25, fewest=2)
    best = np.zeros((25, 16), np.float32)
    for user in range(25):
        best[user, pair.target.sequence(user)[-1]] = 1
    split = split_unstored(pair)
    perfect, worst = (evaluate(Table(sign * best), pair, split).table for sign in (1, -1))
    assert (perfect["rank"] == 1).all()
    assert (perfect[metric_names()].drop(columns=[n for n in metric_names() if "precision" in n]) == 1).all(axis=None)
    assert (worst["rank"] == 15 - worst["n_target"]).all()
    assert (worst["sampled.hr@20"] == 0).all()


def test_own_items_are_masked_however_well_they_score(make_pair: MakePair) -> None:
    pair = make_pair([[]], [[1, 2, 3]], n_target=4)
    loves_old = Table(np.array([[99, 50, 40, 1, 2]], np.float32))
    found = evaluate(loves_old, pair, split_unstored(pair))
    assert found.table["rank"].tolist() == [2]  # of items 3 and 4, four is better
    assert found.top.tolist() == [[4, 3] + [0] * 8]


def test_chunks_change_nothing(random_pair: MakePair, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = random_pair(3, users=50, longest=5)
    split = split_of(pair, "cold", 0)
    recommender = random_table(50, 15, 1)
    whole = evaluate(recommender, pair, split)
    assert len(recommender.asked) == 1

    def small(questions: Questions, n_items: int) -> list[NDArray[np.int64]]:
        return [np.array([q]) for q in np.lexsort((questions.source_end, questions.target_end))]

    monkeypatch.setattr(protocol, "_chunks", small)
    cut = evaluate(recommender, pair, split)
    full = [c for c in whole.table if not c.startswith("sampled.")]
    assert cut.table[full].equals(whole.table[full])
    np.testing.assert_array_equal(cut.top, whole.top)


def test_of_too_many_questions_quick_asks_some(random_pair: MakePair, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = random_pair(3, users=40)
    split = split_unstored(pair)
    recommender = random_table(pair.n_users, pair.target.n_items, 0)
    alone = ranked(recommender, pair, split.valid)["ndcg@10"].to_numpy()
    monkeypatch.setattr(protocol, "LOOKED_AT", 12)
    recommender.asked.clear()
    found = quick(recommender, pair, split)
    assert sum(map(len, recommender.asked)) == 12
    assert quick(recommender, pair, split) == found  # always the same ones
    assert found["ndcg@10"] != alone.mean()


def test_quick_is_the_mean_of_the_table(random_pair: MakePair) -> None:
    pair = random_pair(5, users=40)
    split = split_unstored(pair)
    recommender = random_table(40, 15, 2)
    table = evaluate(recommender, pair, split, "valid", seed=0).table
    assert quick(recommender, pair, split) == {
        "ndcg@10": pytest.approx(table["ndcg@10"].mean()),
        "hr@10": pytest.approx(table["hr@10"].mean()),
    }


def test_scores_that_break_the_contract_are_refused(random_pair: MakePair) -> None:
    pair = random_pair(0)
    split = split_unstored(pair)
    with pytest.raises(ValueError, match="should be"):
        evaluate(random_table(12, 14, 0), pair, split)
    broken = random_table(12, 15, 0)
    broken.table[:, 3] = np.nan
    with pytest.raises(ValueError, match="test-table scored NaN"):
        evaluate(broken, pair, split)


def test_a_part_without_questions_has_no_number(make_pair: MakePair) -> None:
    pair = make_pair([[]] * 3, [[1], [2], [1]])
    split = split_unstored(pair)
    assert len(split.valid) == 0
    assert np.isnan(quick(random_table(3, 2, 0), pair, split)["ndcg@10"])


def test_groups_and_means_by_hand(make_pair: MakePair) -> None:
    pair = make_pair(
        [[1], [1], [], [1]],
        [[1, 2, 3], [1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6]],
        [[0], [9], [], [0]],
        [[1, 2, 3], [1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6]],
        n_target=8,
    )
    split = split_unstored(pair)
    scores = np.zeros((4, 9), np.float32)
    for user, item in ((0, 3), (1, 8), (2, 6), (3, 7)):
        scores[user, item] = 1  # right for users 0 and 2
    evaluation = evaluate(Table(scores), pair, split)
    masks = group_masks(evaluation.table)
    assert set(masks) == set(GROUPS)
    assert masks["cold"].tolist() == [True, True, False, False]  # 1, 3, 4, 4 training events
    assert masks["warm"].tolist() == [False, False, True, True]
    assert masks["with_source"].tolist() == [True, False, False, True]  # that of user 1 comes too late
    assert masks["without_source"].tolist() == [False, True, True, False]
    assert masks["cold_with_source"].tolist() == [True, False, False, False]
    said = summary(evaluation, split.target_counts(pair))
    assert {name: group["users"] for name, group in said["groups"].items()} == {
        "all": 4, "cold": 2, "warm": 2, "with_source": 2, "without_source": 2, "cold_with_source": 1,
    }  # fmt: skip
    table = evaluation.table
    assert said["groups"]["warm"]["full"]["ndcg@10"] == pytest.approx(table["ndcg@10"][2:].mean())
    assert said["groups"]["cold_with_source"]["full"]["ndcg@10"] == 1
    assert said["groups"]["all"]["sampled"]["mrr@10"] == pytest.approx(table["sampled.mrr@10"].mean())


def test_what_the_lists_look_like() -> None:
    import pandas as pd

    names = metric_names()
    columns = {n: [1.0, 0.0] for n in names} | {f"sampled.{n}": [1.0, 0.0] for n in names}
    table = pd.DataFrame({"n_train": [5, 6], "n_source": [0, 0], **columns})
    top = np.zeros((2, 10), np.int64)
    top[0, :3], top[1, :2] = [1, 2, 3], [1, 4]
    said = summary(protocol.Evaluation(table, top), np.array([0, 10, 20, 0, 5, 0, 0, 0, 1]))
    assert said["coverage@10"] == 4 / 8
    assert said["popularity@10"] == pytest.approx((10 + 20 + 0 + 10 + 5) / 5)
    assert said["popularity_catalogue"] == pytest.approx(36 / 8)
    assert said["groups"]["cold"] == {"users": 0}
    assert said["groups"]["all"]["full"]["hr@10"] == 0.5
