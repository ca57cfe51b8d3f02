"""The vectors of a dataset: whose text is in which row, what is encoded, and what is not read at all."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from crossrec.data import folder as folders
from crossrec.data.pair import DomainPair, EventVectors
from crossrec.data.prepare import import_pair
from crossrec.errors import CrossrecError
from crossrec.text.dataset import event_text, title_text, with_vectors

Make = Callable[..., Any]


@pytest.mark.parametrize(
    ("title", "text", "expected"),
    [
        ("Great", "I like it.", "Great. I like it."),
        (" Great! ", "\n I like it. ", "Great! I like it."),
        ("Why?", "No idea", "Why? No idea"),
        ("Great", None, "Great"),
        (None, "I like it", "I like it"),
        ("", " \n", ""),
        (None, None, ""),
        ("Same", "Same", "Same"),
        ("It&#39;s &amp; was", "one<br />two<BR>three <b>x</b>", "It's & was. one two three <b>x</b>"),
        ("最高。", "面白い", "最高。 面白い"),
    ],
)
def test_headline_and_text_are_joined(title: str | None, text: str | None, expected: str) -> None:
    assert event_text(title, text) == expected


@pytest.mark.parametrize(
    ("title", "creator", "expected"),
    [("Zelda", "Nintendo", "Zelda by Nintendo"), ("Zelda", None, "Zelda"), (None, "Nintendo", ""), (" ", " ", "")],
)
def test_title_and_creator_are_joined(title: str | None, creator: str | None, expected: str) -> None:
    assert title_text(title, creator) == expected


REVIEWS = {
    "source": [
        # user, item, time, headline, text
        ("u1", "s1", 1, "Great", "loved it"),
        ("u1", "s2", 2, "", ""),
        ("u2", "s1", 1, "Great", "loved it"),
        ("u2", "s3", 3, "Bad", ""),
    ],
    "target": [("u1", "t1", 5, "", "only a text"), ("u2", "t2", 6, "Great", "loved it"), ("u3", "t1", 7, "Fine", "ok")],
}
TITLES = {"source": {"s1": ("Lamp", "Ikea"), "s3": ("Desk", "")}, "target": {"t1": ("Zelda", "Nintendo")}}


def write(folder: Path, texts: bool = True) -> dict[str, Path]:
    """Files of the 2023 edition."""
    folder.mkdir()
    files = {}
    for which, rows in REVIEWS.items():
        files[which] = folder / f"{which}.jsonl"
        lines = [
            {"user_id": u, "parent_asin": i, "asin": i, "rating": 5.0, "timestamp": 1_600_000_000_000 + t}
            | ({"title": title, "text": text} if texts else {"title": "", "text": ""})
            for u, i, t, title, text in rows
        ]
        files[which].write_text("".join(json.dumps(line) + "\n" for line in lines))
        files[f"{which}_items"] = folder / f"meta_{which}.jsonl"
        items = [{"parent_asin": i, "title": t, "store": s or None} for i, (t, s) in TITLES[which].items()]
        files[f"{which}_items"].write_text("".join(json.dumps(item) + "\n" for item in items))
    return files


@pytest.fixture
def pair(home: Path, tmp_path: Path) -> DomainPair:
    files = write(tmp_path / "files")
    import_pair(
        "small",
        files["source"],
        files["target"],
        source_items=files["source_items"],
        target_items=files["target_items"],
    )
    return DomainPair.open("small")


def expected(pair: DomainPair, which: str) -> list[str]:
    """The text of each event, through ids and by another way than the room's."""
    texts = {(u, i): (title, text) for u, i, _, title, text in REVIEWS[which]}
    users, items = pair.users()["user_id"].tolist(), pair.items(which)["item_id"].tolist()
    domain = pair.domain(which)
    pairs = [(users[user], items[item - 1]) for user in range(pair.n_users) for item in domain.sequence(user)]
    return [". ".join(part for part in texts[one] if part) for one in pairs]


def check(vectors: EventVectors, rows: Any, texts: list[str], encoder: Any) -> None:
    assert [row >= 0 for row in rows] == [bool(text) for text in texts]
    for row, text in zip(rows, texts, strict=True):
        if text:
            np.testing.assert_array_equal(vectors.table[row], encoder.of(text).astype(np.float16))


def test_every_event_and_title_has_its_own_text(pair: DomainPair, counting: Make) -> None:
    encoder = counting()
    vectors = with_vectors(pair, encoder).vectors
    assert vectors is not None
    assert (vectors.key, vectors.name, vectors.width) == (encoder.key, "counting", 4)
    for which in ("source", "target"):
        check(vectors, vectors.rows[which], expected(pair, which), encoder)
        known = {i: f"{t} by {s}" if s else t for i, (t, s) in TITLES[which].items()}
        titles = [known.get(item, "") for item in pair.items(which)["item_id"]]
        check(vectors, vectors.titles[which], ["", *titles], encoder)
        assert vectors.titles[which].shape == (pair.domain(which).n_items + 1,)
    # "Great. loved it" was written three times, in both domains, and encoded once.
    assert sorted(encoder.seen) == sorted(
        ["Great. loved it", "Bad", "only a text", "Fine. ok", "Lamp by Ikea", "Desk", "Zelda by Nintendo"]
    )


def test_the_second_time_nothing_is_encoded(pair: DomainPair, counting: Make) -> None:
    first = with_vectors(pair, counting()).vectors
    again = counting()
    events: list[dict[str, Any]] = []
    second = with_vectors(pair, again, on_event=events.append).vectors
    assert again.seen == []
    assert first is not None
    assert second is not None
    for which in ("source", "target"):
        np.testing.assert_array_equal(first.rows[which], second.rows[which])
        np.testing.assert_array_equal(first.titles[which], second.titles[which])
    assert [event["event"] for event in events] == ["encoded"]
    assert (events[0]["texts"], events[0]["distinct"], events[0]["new"]) == (9, 7, 0)


def test_only_wanted_events_are_encoded(pair: DomainPair, counting: Make) -> None:
    encoder = counting()
    wanted = {"source": np.zeros(4, bool), "target": np.array([True, False, False])}
    wanted["source"][expected(pair, "source").index("Bad")] = True
    vectors = with_vectors(pair, encoder, wanted).vectors
    assert vectors is not None
    texts = [text if keep else "" for text, keep in zip(expected(pair, "target"), wanted["target"], strict=True)]
    check(vectors, vectors.rows["target"], texts, encoder)
    assert "Bad" in encoder.seen
    assert "Great. loved it" not in encoder.seen
    # What the store has besides is not given: a run sees what it asked for, whatever was encoded before.
    with_vectors(pair, encoder)
    vectors = with_vectors(pair, encoder, wanted).vectors
    assert vectors is not None
    assert (vectors.rows["source"] >= 0).tolist() == wanted["source"].tolist()
    # A domain that is not named is wanted whole.
    vectors = with_vectors(pair, encoder, {"target": wanted["target"]}).vectors
    assert vectors is not None
    check(vectors, vectors.rows["source"], expected(pair, "source"), encoder)


def test_wanted_of_another_shape_is_refused(pair: DomainPair, counting: Make) -> None:
    for wrong in (np.ones(3, bool), np.ones(4, int)):
        with pytest.raises(ValueError, match="wanted"):
            with_vectors(pair, counting(), {"source": wrong})


def test_row_groups_are_read_one_by_one(pair: DomainPair, counting: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = with_vectors(pair, counting()).vectors
    assert whole is not None
    for which in ("source", "target"):
        path = pair.folder / f"{which}.events.parquet"
        pq.write_table(pq.read_table(path), path, row_group_size=2)
    read: list[int] = []
    reader = pq.ParquetFile.read_row_group

    def counted(self: Any, group: int, **options: Any) -> Any:
        read.append(group)
        return reader(self, group, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counted)
    parts = with_vectors(pair, counting()).vectors
    assert parts is not None
    for which in ("source", "target"):
        np.testing.assert_array_equal(whole.rows[which], parts.rows[which])
    assert read == [0, 1, 0, 1]
    read.clear()
    with_vectors(pair, counting(), {"source": np.zeros(4, bool), "target": np.array([False, False, True])})
    assert read == [1]  # the groups without a wanted event are passed over


def test_a_dataset_without_texts_is_not_scanned(
    home: Path, tmp_path: Path, counting: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = write(tmp_path / "files", texts=False)
    import_pair("bare", files["source"], files["target"])
    monkeypatch.setattr(pq.ParquetFile, "read_row_group", lambda *_, **__: pytest.fail("the events were read"))
    pair, encoder = DomainPair.open("bare"), counting()
    vectors = with_vectors(pair, encoder).vectors
    assert vectors is not None
    assert encoder.seen == []
    assert vectors.table.shape == (0, 4)
    for which in ("source", "target"):
        assert vectors.rows[which].tolist() == [-1] * len(pair.domain(which).items)
        assert set(vectors.titles[which].tolist()) == {-1}
    assert vectors.look_up(vectors.rows["source"]).shape == (4, 4)


def test_one_domain_alone(home: Path, tmp_path: Path, counting: Make) -> None:
    files = write(tmp_path / "files")
    import_pair("single", None, files["target"], target_items=files["target_items"])
    pair, encoder = DomainPair.open("single"), counting()
    vectors = with_vectors(pair, encoder).vectors
    assert vectors is not None
    assert vectors.rows["source"].shape == (0,)
    assert vectors.titles["source"].tolist() == [-1]
    check(vectors, vectors.rows["target"], expected(pair, "target"), encoder)


def test_a_pair_in_memory_has_no_texts(home: Path, make_pair: Callable[..., DomainPair], counting: Make) -> None:
    vectors = with_vectors(make_pair([[1, 2]], [[1]]), counting()).vectors
    assert vectors is not None
    assert vectors.rows["source"].tolist() == [-1, -1]
    assert vectors.titles["target"].tolist() == [-1, -1]


def test_a_cut_pair_is_refused(pair: DomainPair, counting: Make) -> None:
    cut = pair.source_alone(pair.source.counts)
    with pytest.raises(CrossrecError, match="before it is cut"):
        with_vectors(cut, counting())


def test_the_pair_is_not_changed(pair: DomainPair, counting: Make) -> None:
    given = with_vectors(pair, counting())
    assert pair.vectors is None
    assert given.folder == pair.folder
    assert folders.describe("small")["hash"] == pair.meta["hash"]
    assert given.source is pair.source
