"""Strangers and users, by reviews, picked items and ids, of recommenders that know ids and of one that reads."""

from pathlib import Path

import numpy as np
import pytest

from crossrec.data.histories import TODAY, Histories, Reviews
from crossrec.data.pair import DomainPair
from crossrec.errors import CrossrecError
from crossrec.recommend.evidence import NEAREST, written
from crossrec.recommend.person import Person, Review
from crossrec.recommend.recommender import RunRecommender, fit_in_words
from crossrec.runs.folder import Run, open_run
from crossrec.text.dataset import title_text
from crossrec.text.encoder import load_encoder

WINTER = Review("A frozen winter drama with blizzards and despair, just how I like it", 5)
JOKE = Review("silly slapstick with pies and banana peels", 4)


def transfer() -> RunRecommender:
    return RunRecommender(open_run("tiny-transfer-sasrec"))


# --- recommenders that know only ids ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("tiny")
def test_a_review_stands_for_its_nearest_item() -> None:
    recommender = transfer()
    answer = recommender.ask(Person(reviews=(WINTER, JOKE)), 5)
    vectors = np.array(recommender.catalog.shelf("source").vectors, np.float32)
    words = load_encoder("static").encode([WINTER.text, JOKE.text])
    order = np.argsort(-(words @ vectors[1:].T), axis=1)[:, :NEAREST] + 1
    nearest = order[:, 0]
    assert len(set(order.ravel().tolist())) == 2 * NEAREST
    ids = [item.item_id for item in recommender.catalog.items("source", nearest)]
    assert [one.item_id for one in answer.evidence] == ids
    assert [one.similarity for one in answer.evidence] == pytest.approx(
        (words @ vectors.T)[[0, 1], nearest].tolist(), abs=2e-3
    )
    assert answer.evidence[0].note == (
        f"taken for the 3 nearest items of Screen, similarity {answer.evidence[0].similarity:.2f}"
    )
    told = [*order[0, ::-1].tolist(), *order[1, ::-1].tolist()]  # of each review the nearest is the newest
    items, scores = recommender.recommender.recommend(Histories.of([told], [[]]), 5)
    assert [one.item_id for one in answer.items] == [i.item_id for i in recommender.catalog.items("target", items[0])]
    assert [one.score for one in answer.items] == pytest.approx(scores[0].tolist())
    assert (answer.basis, answer.n_reviews, answer.n_source, answer.n_target) == ("reviews", 2, 0, 0)


@pytest.mark.usefixtures("tiny")
def test_a_review_of_two_stars_is_left_out_and_told() -> None:
    recommender = transfer()
    with_bad = recommender.ask(Person(reviews=(WINTER, Review(JOKE.text, 2))), 5)
    assert with_bad.items == recommender.ask(Person(reviews=(WINTER,)), 5).items
    assert [one.used for one in with_bad.evidence] == [True, False]
    assert "2 stars or fewer" in str(with_bad.evidence[1].note)
    assert with_bad.notes == ["1 of 2 reviews was not used."]
    assert with_bad.n_reviews == 1
    # A little more than two stars is praise enough; no stars are no complaint.
    for stars in (2.5, None):
        assert recommender.ask(Person(reviews=(WINTER, Review(JOKE.text, stars))), 5).n_reviews == 2


@pytest.mark.usefixtures("tiny")
def test_all_that_is_told_counts_together() -> None:
    recommender = transfer()
    pair = DomainPair.open("tiny")
    user = int(np.flatnonzero(pair.overlap)[2])
    source, target = pair.items("source")["item_id"], pair.items("target")["item_id"]
    mine = pair.source.sequence(user).tolist()
    new = next(i for i in range(1, 61) if i not in mine)
    other = next(i for i in range(1, 61) if i not in pair.target.sequence(user))
    answer = recommender.ask(
        Person(pair.users()["user_id"][user], (), (source[new - 1], source[mine[0] - 1]), (target[other - 1],)), 60
    )
    stars = pair.source.ratings[pair.source.offsets[user] : pair.source.offsets[user + 1]].tolist()
    known = Histories.of([[*mine, new]], [[*pair.target.sequence(user).tolist(), other]])
    items, scores = recommender.recommender.recommend(known, 60)
    assert [one.score for one in answer.items] == pytest.approx(scores[0][items[0] > 0].tolist())
    assert target[other - 1] not in [one.item_id for one in answer.items]
    kinds = [one.kind for one in answer.evidence]
    n = len(mine), int(pair.target.counts[user])
    assert kinds == ["event"] * sum(n) + ["item"] * 3
    assert [one.stars for one in answer.evidence[: n[0]]] == stars
    assert answer.basis == "both domains"
    # What is in the history already counts once, and says so.
    assert [one.used for one in answer.evidence[-3:]] == [True, False, True]
    assert "there already" in str(answer.evidence[-2].note)


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(
    ("run", "person", "basis"),
    [
        ("tiny-transfer-sasrec", {"reviews": (WINTER,), "source_items": ("S0001",)}, "source history and reviews"),
        ("tiny-transfer-sasrec", {"reviews": (WINTER,), "target_items": ("A0001",)}, "target history and reviews"),
        ("tiny-transfer-sasrec", {"source_items": ("S0001",), "target_items": ("A0001",)}, "both domains"),
        ("tiny-transfer-sasrec", {"source_items": ("S0001",)}, "source history"),
        ("tiny-target-sasrec", {"reviews": (WINTER,), "target_items": ("A0001",)}, "target history"),
        ("tiny-target-sasrec", {"reviews": (WINTER,)}, "nothing known"),
        ("tiny-popularity", {"target_items": ("A0001",)}, "nothing known"),
        ("tiny-source-sasrec", {"reviews": (WINTER,), "source_items": ("S0001",)}, "source history and reviews"),
    ],
)
def test_the_basis_names_what_was_used(run: str, person: dict[str, tuple[str, ...]], basis: str) -> None:
    answer = RunRecommender(open_run(run)).ask(Person(**person), 5)  # type: ignore[arg-type]
    assert answer.basis == basis
    for one in answer.evidence:
        assert one.used or one.note
    own = "source_items" if run == "tiny-source-sasrec" else "target_items"
    assert not {item.item_id for item in answer.items} & set(person.get(own, ()))


@pytest.mark.usefixtures("tiny")
def test_what_a_recommender_does_not_look_at_changes_nothing() -> None:
    recommender = RunRecommender(open_run("tiny-target-sasrec"))
    assert (
        recommender.ask(Person(reviews=(WINTER,), source_items=("S0001",)), 5).items
        == recommender.ask(Person(), 5).items
    )


@pytest.mark.usefixtures("tiny")
def test_the_order_of_picked_items_counts_as_time() -> None:
    recommender = transfer()
    forth = recommender.ask(Person(source_items=("S0001", "S0002", "S0003")), 5)
    back = recommender.ask(Person(source_items=("S0003", "S0002", "S0001")), 5)
    _, scores = recommender.recommender.recommend(Histories.of([[1, 2, 3]], [[]]), 5)
    assert [one.score for one in forth.items] == pytest.approx(scores[0].tolist())
    assert [one.score for one in back.items] != pytest.approx(scores[0].tolist())


@pytest.mark.usefixtures("tiny")
def test_unknown_items_and_users() -> None:
    recommender = transfer()
    with pytest.raises(CrossrecError, match=r"There is no item 'S001' in Screen; the nearest ids are S00\d+"):
        recommender.ask(Person(source_items=("S001",)))
    with pytest.raises(CrossrecError, match="There is no item 'S0001' in Sound"):
        recommender.ask(Person(target_items=("S0001",)))
    stranger = Person("nobody", (WINTER,))
    with pytest.raises(CrossrecError, match="'nobody' is not in 'tiny'"):
        recommender.ask(stranger)
    answer = recommender.ask(stranger, fallback=True)
    assert (answer.basis, answer.notes) == ("reviews", ["User 'nobody' is not known."])
    assert answer.items == recommender.ask(Person(reviews=(WINTER,))).items
    assert recommender.ask(Person(), fallback=True).basis == "popularity fallback"
    with pytest.raises(CrossrecError, match="knows no items of the target domain"):
        RunRecommender(open_run("tiny-source-sasrec")).ask(Person(target_items=("A0001",)))


@pytest.mark.usefixtures("tiny")
def test_how_well_an_item_fits() -> None:
    recommender = transfer()
    answer = recommender.ask(Person(source_items=("S0001",), target_items=("A0001",)), 100)
    histories = Histories.of([[1]], [[1]])
    scores = np.delete(recommender.recommender.score(histories)[0], [0, 1])
    for one in answer.items:
        assert one.top_share == pytest.approx((scores >= one.score - 1e-6).mean())
        assert one.fit == fit_in_words(one.top_share)
        assert one.stars is None
    assert answer.items[-1].top_share == 1
    assert [fit_in_words(share) for share in (0.001, 0.002, 0.05, 0.051, 0.5, 0.51)] == [
        *("among the best 0.1 %", "among the best 1 %", "among the best 5 %", "among the best 10 %"),
        *("among the best 50 %", "in the lower half"),
    ]


@pytest.mark.usefixtures("tiny")
def test_items_of_one_score_are_not_called_the_best() -> None:
    """Popularity among items that nobody took: every one of the last scores as well as all of them."""
    recommender = RunRecommender(open_run("tiny-popularity"))
    answer = recommender.ask(Person(), 100)
    last = [one for one in answer.items if one.people == answer.items[-1].people]
    assert {one.top_share for one in last} == {1.0}


def test_a_stranger_needs_no_dataset(tiny_copy: Path) -> None:
    import shutil

    shutil.rmtree(tiny_copy / "datasets")
    recommender = transfer()
    assert recommender.ask(Person(reviews=(WINTER,), source_items=("S0001",)), 3).items
    with pytest.raises(CrossrecError, match="There is no dataset 'tiny'"):
        recommender.ask(Person("u0001"))


def test_a_changed_dataset_has_no_users(tiny_copy: Path) -> None:
    import json

    path = tiny_copy / "datasets" / "tiny" / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"hash": "other"}))
    with pytest.raises(CrossrecError, match="is not the one that run 'tiny-transfer-sasrec' was trained on"):
        transfer().ask(Person("u0001"))


@pytest.mark.usefixtures("tiny")
def test_the_order_of_both_domains_is_that_of_the_dataset_and_what_is_told_comes_last() -> None:
    recommender, pair = transfer(), DomainPair.open("tiny")
    for user in np.flatnonzero(pair.overlap)[:12]:
        told = Person(pair.users()["user_id"][user], source_items=("S0001",), target_items=("A0002",))
        pieces = recommender.asked(told).pieces
        events = [piece for piece in pieces if piece.shown.kind == "event"]
        known = pair.histories(np.array([user]), pair.source.counts[[user]], pair.target.counts[[user]])
        read = recommender.reader.histories([events])
        assert read.source_before is not None
        np.testing.assert_array_equal(read.source_before, known.source_before)
        np.testing.assert_array_equal(read.last, known.last)
        assert recommender.reader.histories([pieces]).last.tolist() == [TODAY]  # what is told is told now
        np.testing.assert_array_equal(read.merged(1000), known.merged(1000))
        # One source event less moves up what came after it, and nothing else.
        less = recommender.reader.histories([[piece for piece in events if piece is not events[0]]]).merged(1000)
        assert less[0].tolist() == [item for item in known.merged(1000)[0].tolist() if item != known.source[0, 0]]
        merged = recommender.reader.histories([pieces]).merged(1000)[0].tolist()
        assert {1, 1002} >= set(merged[len(events) :])


# --- a recommender that reads -----------------------------------------------------------------------------------------


def test_words_are_read_with_their_stars(words_run: Run) -> None:
    recommender = RunRecommender(words_run)
    bad = Review(JOKE.text, 1)
    answer = recommender.ask(Person(reviews=(WINTER, bad), target_items=("A0003",)), 60)
    words = load_encoder("static").encode([WINTER.text, JOKE.text]).astype(np.float16).astype(np.float32)
    shelf = recommender.shelf
    assert shelf.vectors is not None
    picked = np.array(shelf.vectors[3], np.float32) * shelf.scale
    expected = np.array(shelf.vectors, np.float32) @ (2 * words[0] - 2 * words[1] + picked)
    assert {one.item_id: one.score for one in answer.items} == pytest.approx(
        {item.item_id: expected[item.item] for item in shelf.items(np.arange(1, 61)) if item.item != 3}, abs=1e-5
    )
    assert answer.basis == "target history and reviews"
    assert [one.used for one in answer.evidence] == [True] * 3
    assert [one.similarity for one in answer.evidence] == [None] * 3
    stars = [one.stars for one in answer.items]
    assert stars == pytest.approx(
        [float(np.clip(3 + 40 * (one.score - expected[1:].mean()), 1, 5)) for one in answer.items], abs=1e-3
    )
    assert (max(s or 0 for s in stars), min(s or 0 for s in stars)) == (5, 1)


def test_a_users_reviews_are_those_of_the_dataset(words_run: Run) -> None:
    recommender = RunRecommender(words_run)
    pair = DomainPair.open("tiny")
    user = int(np.flatnonzero(pair.overlap & (pair.source.counts > 4))[0])
    recommender.ask(Person(pair.users()["user_id"][user], (WINTER,)), 5)
    histories = recommender.reader.histories(
        [recommender.asked(Person(pair.users()["user_id"][user], (WINTER,))).pieces]
    )
    texts = written(pair, "source", user)[-3:]
    assert all(texts)
    vectors = load_encoder("static").encode([*texts, WINTER.text])
    end = pair.source.offsets[user + 1]
    assert isinstance(histories.source_reviews, Reviews)
    assert histories.source_reviews.vectors[0] == pytest.approx(vectors, abs=1e-3)
    assert histories.source_reviews.stars[0].tolist() == [*pair.source.ratings[end - 3 : end].tolist(), 5]
    answer = recommender.ask(Person(pair.users()["user_id"][user], (WINTER,)), 5)
    source = [one for one in answer.evidence if one.which == "source"]
    assert [one.used for one in source] == [False] * (len(source) - 4) + [True] * 4
    assert source[0].note == "left out: only the last 4 of Screen are read"


def test_an_event_without_words_is_read_by_its_title(words_run: Run, tiny_copy: Path) -> None:
    import pandas as pd

    path = tiny_copy / "datasets" / "tiny" / "source.events.parquet"
    frame = pd.read_parquet(path)
    frame.assign(title=None, text=None).astype({"title": "str", "text": "str"}).to_parquet(path)
    pair = DomainPair.open("tiny")
    recommender = RunRecommender(words_run)
    pieces = [p for p in recommender.asked(Person("u0002")).pieces if p.shown.which == "source"]
    rows = pair.items("source").iloc[pair.source.sequence(pair.user_index("u0002")) - 1]
    titles = [title_text(*row) for row in zip(rows["title"], rows["creator"], strict=True)]
    vectors = load_encoder("static").encode(titles)
    assert len(titles) > 1
    assert np.stack([piece.vector for piece in pieces if piece.vector is not None]) == pytest.approx(vectors, abs=1e-3)
    assert {piece.shown.text for piece in pieces} == {None}


def test_nobody_in_particular_of_a_reader(words_run: Run) -> None:
    answer = RunRecommender(words_run).ask(Person(), 5)
    assert (answer.basis, len(answer.items), answer.evidence) == ("nothing known", 5, [])


def test_neither_a_run_nor_an_export(tmp_path: Path) -> None:
    with pytest.raises(CrossrecError, match="is neither a run nor what `crossrec export` wrote"):
        RunRecommender(tmp_path)


@pytest.mark.usefixtures("tiny")
def test_the_folder_of_a_run_is_the_run() -> None:
    run = open_run("tiny-transfer-sasrec")
    person = Person("u0001", (WINTER,))
    assert RunRecommender(run.folder).ask(person) == RunRecommender(run).ask(person)


@pytest.mark.usefixtures("tiny")
def test_threads_share_a_recommender() -> None:
    from concurrent.futures import ThreadPoolExecutor

    recommender = transfer()
    people = [Person(reviews=(Review(f"{WINTER.text} {i}"),), source_items=(f"S{i + 1:04}",)) for i in range(8)]
    alone = [transfer().ask(person, 5) for person in people]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda person: recommender.ask(person, 5), people * 3)) == alone * 3
