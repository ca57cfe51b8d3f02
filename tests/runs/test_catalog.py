"""The catalogue of a run: what it says of items, what it must not know, and how its items are found."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from crossrec import paths
from crossrec.data.pair import DOMAINS, DomainPair, first_mask
from crossrec.data.split import open_split, split_unstored
from crossrec.errors import CrossrecError
from crossrec.runs import catalog_write, neighbours
from crossrec.runs.catalog import Catalog, shortened
from crossrec.runs.catalog_write import open_catalog, usual_encoder, write_catalog
from crossrec.runs.execute import load
from crossrec.runs.folder import open_run
from crossrec.text.dataset import event_text, title_text
from crossrec.text.encoder import load_encoder
from crossrec.text.store import VectorStore


def catalog(name: str = "tiny-transfer-sasrec") -> Catalog:
    return Catalog.open(open_run(name).folder / "catalog")


def training_texts(pair: DomainPair, which: str) -> pd.DataFrame:
    """item, text of the training part, in the order of time, worked out anew from the files."""
    split = open_split(pair)
    end = split.target_train_end if which == "target" else split.source_train_end
    domain = pair.domain(which)
    frame = pd.read_parquet(pair.folder / f"{which}.events.parquet")[first_mask(domain.offsets, end)]
    text = [event_text(*both) for both in zip(frame["title"], frame["text"], strict=True)]
    return frame.assign(text=text).sort_values(["time", "user"], kind="stable")


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("which", DOMAINS)
def test_vectors_are_means_of_titles_and_training_reviews(which: str) -> None:
    pair, shelf = DomainPair.open("tiny"), catalog().shelf(which)
    texts, items = training_texts(pair, which), pair.items(which)
    encode = load_encoder("static").encode
    assert shelf.vectors is not None
    assert shelf.vectors.dtype == np.float16
    assert shelf.vectors.shape == (61, 256)
    assert not shelf.vectors[0].any()
    for item in (1, 7, 60):
        row = items.iloc[item - 1]
        newest = texts.loc[texts["item"] == item, "text"].tolist()[-15:]
        mean = encode([title_text(row["title"], row["creator"]), *newest]).sum(axis=0)
        assert shelf.vectors[item] == pytest.approx(mean / np.linalg.norm(mean), abs=2e-3)


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("which", DOMAINS)
def test_nothing_hidden_is_quoted(which: str) -> None:
    pair, shelf = DomainPair.open("tiny"), catalog().shelf(which)
    texts = training_texts(pair, which)
    for item in range(1, 61):
        mine = texts[texts["item"] == item]
        said = shelf.said(item)
        newest = mine.iloc[::-1].head(3)
        assert [one.text for one in said] == [shortened(text, 400) for text in newest["text"]]
        assert [one.stars for one in said] == newest["rating"].tolist()
        assert shelf.people[item] == len(mine)
    assert max(len(shelf.said(item)) for item in range(1, 61)) == 3


@pytest.mark.usefixtures("tiny")
def test_what_is_known_of_an_item() -> None:
    pair, found = DomainPair.open("tiny"), catalog()
    item, said = found.about("target", 5)
    row = pair.items("target").iloc[4]
    counts = open_split(pair).target_counts(pair)
    assert (item.item_id, item.title, item.creator) == (row["item_id"], row["title"], row["creator"])
    assert (item.category, item.year, item.people) == (row["category"], row["year"], counts[5])
    assert (item.which, item.item, item.name) == ("target", 5, row["title"])
    assert said == found.shelf("target").said(5)
    assert found.by_id("target", row["item_id"]) == item
    for number in (0, 61, -1):
        with pytest.raises(CrossrecError, match=f"numbered 1 to 60, and this is {number}"):
            found.about("target", number)
    with pytest.raises(CrossrecError, match="There is no item 'A00600' in Sound; the nearest ids are A0060,"):
        found.by_id("target", "A00600")


@pytest.mark.usefixtures("tiny")
def test_no_user_is_in_it() -> None:
    folder = open_run("tiny-transfer-sasrec").folder / "catalog"
    columns = {
        "items": ["item", "item_id", "title", "creator", "category", "year", "people"],
        "reviews": ["item", "stars", "text"],
    }
    files = {path.name for path in folder.iterdir()}
    assert files == {"catalog.json", "vectors.safetensors"} | {f"{k}.{w}.parquet" for k in columns for w in DOMAINS}
    for kind, names in columns.items():
        for which in DOMAINS:
            assert pq.read_schema(folder / f"{kind}.{which}.parquet").names == names
    ids = DomainPair.open("tiny").users()["user_id"]
    content = b"".join(path.read_bytes() for path in folder.iterdir())
    assert not [one for one in ids if one.encode() in content]


@pytest.mark.usefixtures("tiny")
def test_a_source_run_knows_its_domain_and_hides_its_own_test() -> None:
    found = catalog("tiny-source-sasrec")
    assert list(found.shelves) == ["source"]
    with pytest.raises(CrossrecError, match="knows no items of the target domain: its catalogue has source"):
        found.shelf("target")
    pair = DomainPair.open("tiny")
    alone = pair.source_alone(open_split(pair).source_train_end)
    counts = split_unstored(alone).target_counts(alone)
    assert found.shelf("source").people.tolist() == counts.tolist()
    assert counts.sum() < open_split(pair).source_counts(pair).sum()
    assert max(len(found.shelf("source").said(item)) for item in range(1, 61)) == 3


# --- search -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def titled(tiny_copy: Path) -> Catalog:
    """The tiny world with titles in which every character of a pattern language occurs."""
    path = tiny_copy / "datasets" / "tiny" / "target.items.parquet"
    frame = pd.read_parquet(path)
    titles = ["100 % Pure", "100 Pure", "a_b", "axb", "Sounds of PURE joy", "Ärger", "(.*)", None, "a\\b", *["x"] * 51]
    makers = ["Ann Bell"] * 4 + [None] * 56
    frame.assign(title=titles, creator=makers).to_parquet(path)
    pair = DomainPair.open("tiny")
    write_catalog(tiny_copy / "catalog", pair, open_split(pair), "static")
    return Catalog(tiny_copy / "catalog")


@pytest.mark.parametrize(
    ("words", "numbers"),
    [
        ("%", {1}),
        ("_", {3}),
        ("(.*)", {7}),
        ("\\", {9}),
        ("pure", {1, 2, 5}),
        ("PURE 100", {1, 2}),
        ("ann bell", {1, 2, 3, 4}),
        ("bell a_b", {3}),
        ("ärger", {6}),
        ("A0008", {8}),
        ("nothing of the kind", set()),
        ("\ud800", set()),
    ],
)
def test_words_are_literal(titled: Catalog, words: str, numbers: set[int]) -> None:
    assert {item.item for item in titled.search("target", words)} == numbers


def test_order_and_length_of_what_is_found(titled: Catalog) -> None:
    people = titled.shelf("target").people
    found = titled.search("target", "a", 100)
    begin = [(item.title or item.item_id).lower().startswith("a") for item in found]
    assert begin == sorted(begin, reverse=True)
    for part in (True, False):
        taken = [item.people for item, starts in zip(found, begin, strict=True) if starts == part]
        assert taken == sorted(taken, reverse=True)
    popular = titled.search("target", "  ", 7)
    assert [item.people for item in popular] == sorted(people.tolist(), reverse=True)[:7]
    assert len(titled.search("target", "", 1000)) == 60
    assert titled.search("target", "x", -1) == []


# --- neighbours -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [7, 50, 4096])
def test_the_nearest_are_those_of_comparing_one_by_one(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(neighbours, "BLOCK", block)
    monkeypatch.setattr(neighbours, "CELLS", 3 * 51)
    rng = np.random.default_rng(0)
    table = rng.standard_normal((51, 8)).astype(np.float16)
    known = rng.random(51) < 0.8
    table[~known] = 0
    queries = rng.standard_normal((10, 8)).astype(np.float32)
    items, values = neighbours.exact(table, known, queries, 4)
    for query, found, products in zip(queries, items, values, strict=True):
        ours = sorted(((float(table[i].astype(np.float32) @ query), i) for i in range(1, 51) if known[i]), reverse=True)
        assert found.tolist() == [i for _, i in ours[:4]]
        assert products == pytest.approx([product for product, _ in ours[:4]], abs=1e-5)


def test_fewer_items_than_asked_for() -> None:
    table = np.eye(4, dtype=np.float16)
    known = np.array([False, True, False, True])
    items, values = neighbours.exact(table, known, -np.ones((1, 4), np.float32), 3)
    assert sorted(items[0].tolist()) == [0, 1, 3]
    assert np.isneginf(values[0]).tolist() == [False, False, True]


@pytest.mark.usefixtures("tiny")
def test_the_nearest_of_a_catalogue() -> None:
    found = catalog()
    vectors = np.array(found.shelf("source").vectors, np.float32)
    items, cosines = found.nearest("source", 7 * vectors[[3, 9]], 2)
    assert items[:, 0].tolist() == [3, 9]
    assert cosines[:, 0] == pytest.approx([1, 1], abs=1e-2)
    assert found.nearest("source", vectors[:1], 999)[0].shape == (1, 60)


def test_a_large_catalogue_is_searched_by_an_index(tiny_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("faiss")
    pair = DomainPair.open("tiny")
    monkeypatch.setattr(neighbours, "ANN_FROM", 10)
    write_catalog(tiny_copy / "catalog", pair, open_split(pair), "static")
    found, exact = Catalog(tiny_copy / "catalog"), catalog()
    assert found.shelf("target").index is not None
    assert exact.shelf("target").index is None
    queries = load_encoder("static").encode(["snow and ice", "comets", "pies"])
    for which in DOMAINS:
        items, cosines = found.nearest(which, queries, 5)
        expected = exact.nearest(which, queries, 5)
        assert items.tolist() == expected[0].tolist()
        assert cosines == pytest.approx(expected[1], abs=2e-3)
    # Without FAISS the same catalogue is compared one by one.
    monkeypatch.setattr(neighbours, "has_faiss", lambda: False)
    again = Catalog(tiny_copy / "catalog")
    assert again.shelf("target").index is None
    assert again.nearest("target", queries, 5)[0].tolist() == expected[0].tolist()


# --- encoders and texts -----------------------------------------------------------------------------------------------


class Fake:
    """Vectors of the right width, made of nothing."""

    def __init__(self, key: str, dim: int):
        self.name, self.key, self.dim = "minilm", key, dim

    def encode(self, texts: list[str]) -> np.ndarray:  # type: ignore[type-arg]
        return np.ones((len(texts), self.dim), np.float32)


def test_the_usual_encoder_is_the_one_whose_vectors_are_there(tiny_copy: Path) -> None:
    pair = DomainPair.open("tiny")
    assert usual_encoder(pair) == "static"
    encoder = load_encoder("minilm")
    store = VectorStore.open(encoder.key, encoder.dim)
    fake = Fake(encoder.key, encoder.dim)
    store.add(["something else"], fake)
    assert usual_encoder(pair) == "static"
    for which in DOMAINS:
        frame = pd.read_parquet(pair.folder / f"{which}.events.parquet")
        store.add([event_text(*both) for both in zip(frame["title"], frame["text"], strict=True)], fake)
    assert usual_encoder(pair) == "minilm"


def test_data_without_words_has_no_vectors(home: Path, crossrec: Callable[..., tuple[int, str, str]]) -> None:
    home.mkdir()
    rows = [f"u{u},i{(u * 3 + i) % 9},{i}" for u in range(12) for i in range(5)]
    for name in ("a", "b"):
        (home / f"{name}.csv").write_text("user_id,item_id,timestamp\n" + "\n".join(rows) + "\n")
    words = ("data", "import", "mine", "--source", str(home / "a.csv"), "--target", str(home / "b.csv"))
    assert crossrec(*words)[0] == 0
    assert crossrec("train", "popularity", "--dataset", "mine", "--name", "p")[0] == 0
    found = catalog("p")
    assert found.encoder is None
    assert found.about("target", 1)[1] == []
    assert found.search("target", "I3")[0].title is None
    with pytest.raises(CrossrecError, match="neither titles nor reviews"):
        found.nearest("source", np.ones((1, 3), np.float32))


@pytest.mark.parametrize(
    ("text", "most", "short"),
    [
        ("one two three", 13, "one two three"),
        ("one two three", 12, "one two…"),
        ("one two three", 8, "one two…"),
        ("one two three", 7, "one…"),
        ("  one \n two ", 20, "one two"),
        ("abcdefgh", 4, "abc…"),
        ("", 4, ""),
    ],
)
def test_texts_are_cut_at_a_word(text: str, most: int, short: str) -> None:
    assert shortened(text, most) == short
    assert len(short) <= most


# --- files ------------------------------------------------------------------------------------------------------------


def test_a_catalogue_that_is_there_is_left_alone(tiny_copy: Path) -> None:
    pair = DomainPair.open("tiny")
    folder = open_run("tiny-popularity").folder / "catalog"
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    write_catalog(folder, pair, open_split(pair), "static")
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert sorted(path.name for path in folder.parent.glob(".*")) == []


def test_a_run_without_one_gets_it_when_it_is_opened(tiny_copy: Path) -> None:
    import shutil

    run = open_run("tiny-source-sasrec")
    recommender = load(run)[0]
    before = {path.name: path.read_bytes() for path in (run.folder / "catalog").iterdir()}
    shutil.rmtree(run.folder / "catalog")
    assert open_catalog(run, recommender).encoder == "static"
    assert {path.name: path.read_bytes() for path in (run.folder / "catalog").iterdir()} == before


def test_a_failure_leaves_nothing_behind(tiny_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(catalog_write, "save_file", full)
    pair = DomainPair.open("tiny")
    with pytest.raises(CrossrecError, match="cannot be written \\(No space left on device\\)"):
        write_catalog(tiny_copy / "catalog", pair, open_split(pair), "static")
    assert not [path for path in tiny_copy.iterdir() if "catalog" in path.name]


@pytest.mark.parametrize("damage", ["cut", "json", "missing", "format", "rows"])
def test_a_damaged_catalogue_is_told(tiny_copy: Path, damage: str) -> None:
    folder = open_run("tiny-popularity").folder / "catalog"
    vectors = folder / "vectors.safetensors"
    if damage == "cut":
        vectors.write_bytes(vectors.read_bytes()[:1000])
    elif damage == "json":
        (folder / "catalog.json").write_text("{")
    elif damage == "missing":
        (folder / "items.target.parquet").unlink()
    elif damage == "format":
        paths.write_json(folder / "catalog.json", {"format": 99})
    else:
        pq.write_table(pq.read_table(folder / "items.target.parquet").slice(1), folder / "items.target.parquet")
    with pytest.raises(CrossrecError, match=r"(made|make it) again"):
        Catalog(folder)


@pytest.mark.usefixtures("tiny")
def test_reviews_of_others_do_not_depend_on_what_else_is_stored() -> None:
    """A pair that has every vector gives the same catalogue as one whose vectors are fetched for it."""
    from crossrec.runs.catalog_write import item_vectors
    from crossrec.text.dataset import with_vectors
    from crossrec.training.reviews import ItemReviews

    pair = with_vectors(DomainPair.open("tiny"), "static")
    vectors, known, _ = item_vectors(ItemReviews(replace(pair, most_reviews=15), open_split(pair), "target"))
    assert np.array_equal(vectors, np.array(catalog().shelf("target").vectors))
    assert known[1:].all()
