"""What an item owes to each piece of evidence, and lists had something been otherwise."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from crossrec import paths
from crossrec.data.histories import Histories
from crossrec.data.pair import DomainPair
from crossrec.errors import CrossrecError
from crossrec.models.ensemble import Ensemble
from crossrec.models.recommender import Recommender, hide_seen
from crossrec.recommend import explain as explaining
from crossrec.recommend.explain import Change, explain, what_if
from crossrec.recommend.person import Person, Review
from crossrec.recommend.recommender import RunRecommender
from crossrec.runs.folder import Run, open_run
from crossrec.text.encoder import load_encoder

REVIEWS = (
    Review("A frozen winter drama with blizzards and despair, just how I like it", 5),
    Review("silly slapstick with pies and banana peels", 4),
    Review("comets and moons, a space opera", 4.5),
)
TOLD = Person(reviews=REVIEWS, source_items=("S0004", "S0009"), target_items=("A0003",))


def transfer() -> RunRecommender:
    return RunRecommender(open_run("tiny-transfer-sasrec"))


@pytest.mark.usefixtures("tiny")
def test_contributions_are_what_the_scorer_says_without_a_piece() -> None:
    recommender = transfer()
    pair = DomainPair.open("tiny")
    user = int(np.flatnonzero(pair.overlap & (pair.target.counts > 2))[1])
    source, target = pair.source.sequence(user).tolist(), pair.target.sequence(user).tolist()
    person = Person(pair.users()["user_id"][user])
    item_id = recommender.ask(person, 3).items[2].item_id
    item = recommender.shelf.numbers[item_id]
    found = explain(recommender, person, item_id, k=3)

    def asked(source: list[int], target: list[int]) -> tuple[float, int]:
        histories = Histories.of([source], [target])
        scores = hide_seen(recommender.recommender.score(histories), histories)[0]
        return float(scores[item]), 1 + int((scores > scores[item]).sum())

    score, rank = asked(source, target)
    assert found.score == pytest.approx(score, abs=1e-5)
    assert found.rank == rank == 3
    assert len(found.contributions) == len(source) + len(target)
    total = sum(abs(one.contribution) for one in found.contributions)
    for one in found.contributions:
        at = one.index - len(source)
        left = (
            (source[: one.index] + source[one.index + 1 :], target)
            if at < 0
            else (source, target[:at] + target[at + 1 :])
        )
        without, rank_without = asked(*left)
        assert one.contribution == pytest.approx(score - without, abs=1e-5)
        assert one.rank_without == rank_without
        assert one.share == pytest.approx(one.contribution / total)
        assert one.keeps == (rank_without > 3)
        assert one.evidence.which == ("source" if at < 0 else "target")
    sizes = [one.contribution for one in found.contributions]
    assert sizes == sorted(sizes, reverse=True)
    assert len({round(size, 5) for size in sizes}) > 1
    assert found.gate == pytest.approx(
        float(recommender.recommender.source_share(Histories.of([source], [target]))[0]),
        abs=1e-5,  # type: ignore[attr-defined]
    )
    json.dumps(found.to_dict(), allow_nan=False)


def test_the_members_of_an_ensemble_share_its_score(tiny_copy: Path) -> None:
    folder = paths.runs() / "tiny-transfer-sasrec" / "recommender"
    members = {"popularity": "tiny-popularity", "transfer-sasrec": "tiny-transfer-sasrec", "target-sasrec": ""}
    loaded = {name: Recommender.load(open_run(run or f"tiny-{name}").recommender) for name, run in members.items()}
    both = Ensemble(loaded, [0.5, 1.5, 0])
    both.save(folder)
    recommender = transfer()
    item = recommender.ask(TOLD).items[1]
    found = explain(recommender, TOLD, item.item_id)
    assert {one.member: one.weight for one in found.members} == {"popularity": 0.5, "transfer-sasrec": 1.5}
    assert sum(one.contribution for one in found.members) == pytest.approx(found.score, rel=1e-5)
    assert sum(one.share for one in found.members) == pytest.approx(1)
    assert [one.share for one in found.members] == sorted((one.share for one in found.members), reverse=True)
    number = recommender.shelf.numbers[item.item_id]
    popular = loaded["popularity"].score(Histories.of([[]], [[]]))[0, 1:]
    rank = 1 + (popular > popular[number - 1]).sum() + ((popular == popular[number - 1]).sum() - 1) / 2
    (plain,) = (one for one in found.members if one.member == "popularity")
    assert plain.contribution == pytest.approx(0.5 * np.log(len(popular) / rank), rel=1e-5)
    json.dumps(found.to_dict(), allow_nan=False)


def test_a_pasted_review_is_read_as_words_and_as_items_where_both_are_known(words_run: Run) -> None:
    words, items = (
        Recommender.load(words_run.recommender),
        Recommender.load(open_run("tiny-transfer-sasrec").recommender),
    )
    Ensemble({"near-words": words, "transfer-sasrec": items}, [1, 1]).save(words_run.recommender)
    recommender = RunRecommender(words_run)
    pieces = recommender.asked(Person(reviews=(*REVIEWS, Review("qzx vvk", 5)))).pieces
    assert all(piece.item and piece.vector is not None for piece in pieces[:3])
    known = recommender.reader.histories([pieces[:3]])
    assert known.source_reviews is not None
    assert known.source_reviews.mask.sum() == 3
    assert {piece.item for piece in pieces[:3]} <= set(known.source[0].tolist())
    assert all(one.used for one in recommender.reader.shown(pieces[:3]))


def test_contributions_of_words(words_run: Run) -> None:
    recommender = RunRecommender(words_run)
    person = replace(TOLD, source_items=())
    item_id = recommender.ask(person).items[0].item_id
    item = recommender.shelf.numbers[item_id]
    found = {one.index: one.contribution for one in explain(recommender, person, item_id).contributions}
    # This recommender is a sum, so a piece contributes its own term.
    words = load_encoder("static").encode([review.text for review in REVIEWS]).astype(np.float16).astype(np.float32)
    assert recommender.shelf.vectors is not None
    terms = words @ np.array(recommender.shelf.vectors[item], np.float32) * [2, 1, 1.5]
    assert [found[i] for i in (1, 2, 3)] == pytest.approx(terms.tolist(), abs=1e-5)


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("run", ["tiny-transfer-sasrec", "tiny-target-sasrec", "tiny-source-sasrec"])
@pytest.mark.parametrize("index", range(6))
def test_what_is_taken_away_was_never_there(run: str, index: int) -> None:
    """Removing a piece gives the answer of a person who never had it."""
    recommender = RunRecommender(open_run(run))
    person = replace(TOLD, target_items=("A0003",) if run != "tiny-source-sasrec" else ("A0003",)[:0])
    parts = [("source_items", 0), ("source_items", 1)]
    parts += [("target_items", 0)] * len(person.target_items) + [("reviews", i) for i in range(3)]
    if index >= len(parts):
        return  # a source recommender knows no target items
    name, at = parts[index]
    values = getattr(person, name)
    without = replace(person, **{name: values[:at] + values[at + 1 :]})
    result = what_if(recommender, person, [Change(index)], 7)
    assert result.before == recommender.ask(person, 7)
    assert result.after == recommender.ask(without, 7)
    for move in result.moves:
        for rank, answer in ((move.rank_before, result.before), (move.rank_after, result.after)):
            shown = next((one.rank for one in answer.items if one.item_id == move.item_id), None)
            assert rank == shown if shown is not None else rank is None or rank > 7
    assert {move.item_id for move in result.moves} == {
        one.item_id for answer in (result.before, result.after) for one in answer.items
    }


@pytest.mark.usefixtures("tiny")
def test_an_item_that_is_given_back_may_be_recommended() -> None:
    recommender = transfer()
    person = Person(target_items=("A0003",), source_items=("S0004",))
    result = what_if(recommender, person, [Change(1)], 60)
    given = next(move for move in result.moves if move.item_id == "A0003")
    assert given.rank_before is None
    assert given.rank_after == next(one.rank for one in result.after.items if one.item_id == "A0003")


@pytest.mark.usefixtures("tiny")
def test_events_of_a_user_can_be_taken_away() -> None:
    recommender = transfer()
    pair = DomainPair.open("tiny")
    user = int(np.flatnonzero(pair.overlap)[4])
    source, target = pair.source.sequence(user).tolist(), pair.target.sequence(user).tolist()
    result = what_if(recommender, Person(pair.users()["user_id"][user]), [Change(0), Change(len(source))], 5)
    items, scores = recommender.recommender.recommend(Histories.of([source[1:]], [target[1:]]), 5)
    assert [one.item_id for one in result.after.items] == [i.item_id for i in recommender.shelf.items(items[0])]
    assert [one.score for one in result.after.items] == pytest.approx(scores[0].tolist(), abs=1e-5)
    assert len(result.after.evidence) == len(result.before.evidence) - 2


@pytest.mark.usefixtures("tiny")
def test_other_stars_are_as_if_they_had_been_given() -> None:
    recommender = transfer()
    result = what_if(recommender, TOLD, [Change(3, stars=1)])
    changed = replace(TOLD, reviews=(replace(REVIEWS[0], stars=1), *REVIEWS[1:]))
    assert result.after == recommender.ask(changed)
    assert result.after.items != result.before.items
    assert result.after.n_reviews == 2


def test_other_stars_of_words(words_run: Run) -> None:
    recommender = RunRecommender(words_run)
    person = Person(reviews=REVIEWS)
    result = what_if(recommender, person, [Change(0, stars=1), Change(2)])
    assert result.after == recommender.ask(Person(reviews=(replace(REVIEWS[0], stars=1), REVIEWS[1])))
    assert result.after.items != result.before.items


@pytest.mark.usefixtures("tiny")
def test_changes_of_nothing() -> None:
    recommender = transfer()
    with pytest.raises(CrossrecError, match="There is no piece of evidence 6: there are 6, numbered from 0"):
        what_if(recommender, TOLD, [Change(6)])
    with pytest.raises(CrossrecError, match="There is no piece of evidence -1"):
        what_if(recommender, TOLD, [Change(-1)])
    with pytest.raises(CrossrecError, match="The stars of evidence 3 must be from 1 to 5, and they are nan"):
        what_if(recommender, TOLD, [Change(3, float("nan"))])
    same = what_if(recommender, TOLD, [])
    assert same.before == same.after
    assert [move.rank_before for move in same.moves] == [move.rank_after for move in same.moves] == list(range(1, 11))


@pytest.mark.usefixtures("tiny")
def test_what_cannot_be_explained() -> None:
    recommender = transfer()
    with pytest.raises(CrossrecError, match="'A0003' is among the items of this person"):
        explain(recommender, TOLD, "A0003")
    with pytest.raises(CrossrecError, match="There is no item 'A9999' in Sound"):
        explain(recommender, TOLD, "A9999")


@pytest.mark.usefixtures("tiny")
def test_quotes_are_nearest_to_a_piece_of_evidence() -> None:
    recommender = transfer()
    item_id = recommender.ask(TOLD).items[0].item_id
    found = explain(recommender, TOLD, item_id)
    said = recommender.shelf.said(recommender.shelf.numbers[item_id])
    assert sorted(quote.text for quote in found.quotes) == sorted(one.text for one in said)
    encode = load_encoder("static").encode
    source = np.array(recommender.catalog.shelf("source").vectors, np.float32)
    target = np.array(recommender.shelf.vectors, np.float32)
    known = np.stack([source[4], source[9], target[3], *encode([review.text for review in REVIEWS])])
    for quote in found.quotes:
        cosines = encode([quote.text])[0] @ known.T
        assert quote.cosine == pytest.approx(cosines.max(), abs=2e-3)
        assert quote.nearest == int(cosines.argmax())
    order = [quote.cosine or 0 for quote in found.quotes]
    assert order == sorted(order, reverse=True)


@pytest.mark.usefixtures("tiny")
def test_nothing_known_is_told() -> None:
    recommender = RunRecommender(open_run("tiny-popularity"))
    found = explain(recommender, Person(reviews=REVIEWS), "A0001")
    assert (found.contributions, found.gate, found.basis) == ([], None, "nothing known")
    assert "Nothing that is known" in found.notes[0]


@pytest.mark.usefixtures("tiny")
def test_an_unknown_person_who_gets_what_is_popular_is_told_so() -> None:
    """The list, its explanations and what-if are of the same recommender."""
    recommender, person = transfer(), Person("nobody here")
    listed = recommender.ask(person, 5, fallback=True)
    for one in listed.items:
        found = explain(recommender, person, one.item_id, k=5, fallback=True)
        assert (found.rank, found.basis, found.contributions) == (one.rank, "popularity fallback", [])
    told = what_if(recommender, person, [], k=5, fallback=True)
    assert told.before == told.after == listed
    assert all(move.rank_before == move.rank_after for move in told.moves)


@pytest.mark.usefixtures("tiny")
def test_items_of_one_score_are_explained_where_they_stand() -> None:
    recommender = RunRecommender(open_run("tiny-popularity"))
    person = Person(DomainPair.open("tiny").users()["user_id"][0])
    for one in recommender.ask(person, 20).items:
        assert explain(recommender, person, one.item_id, k=20).rank == one.rank


@pytest.mark.usefixtures("tiny")
def test_long_histories_are_left_out_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    recommender = transfer()
    whole = explain(recommender, TOLD, "A0001")
    monkeypatch.setattr(explaining, "MOST_SCORES", 3 * 61)
    assert [c.contribution for c in explain(recommender, TOLD, "A0001").contributions] == pytest.approx(
        [c.contribution for c in whole.contributions], abs=1e-5
    )
    monkeypatch.setattr(explaining, "MOST_EXPLAINED", 2)
    few = explain(recommender, TOLD, "A0001")
    assert sorted(one.index for one in few.contributions) == [4, 5]
    assert few.notes == ["Of 6 pieces of evidence, the last 2 were left out in turn."]
