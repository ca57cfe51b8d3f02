"""What a run can recommend, for people: its items, what is said of them, and vectors in which the nearest are found.

It is written with the run and needs neither the dataset nor its users: a run can answer a stranger where the data is
not. I items 1..I, 0 is padding; W width of a vector.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from crossrec import paths
from crossrec.errors import CrossrecError
from crossrec.runs import neighbours

FORMAT = 1
MOST_FOUND = 100
Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Item:
    """An item as people know it."""

    which: str
    """"source" or "target"."""
    item: int
    """1..I."""
    item_id: str
    title: str | None
    creator: str | None
    category: str | None
    year: int | None
    people: int
    """Training events of the item: how many took it."""

    @property
    def name(self) -> str:
        """The title or, without one, the id."""
        return self.title or self.item_id


@dataclass(frozen=True)
class Said:
    """A review of an item from the training part, shortened."""

    stars: float | None
    text: str


class Shelf:
    """One domain of a catalogue. Vectors stay on disk and are mapped into memory."""

    def __init__(self, folder: Path, which: str, about: dict[str, Any], arrays: dict[str, NDArray[Any]]):
        self.which, self.label = which, str(about["label"])
        self.table = pq.read_table(folder / f"items.{which}.parquet")
        self.n_items = len(self.table)
        self.vectors: NDArray[np.float16] | None = arrays.get(f"{which}.vectors")
        """(I+1, W) unit vectors, zeros where nothing is known; None where the catalogue has no encoder."""
        self.known: NDArray[np.bool_] | None = arrays.get(f"{which}.known")
        self.scale = float(about["scale"])
        """Mean length of the encoder's vectors before they were made unit vectors."""
        self._said = folder / f"reviews.{which}.parquet"
        self._index = folder / f"{which}.faiss"
        if self.n_items != about["items"] or (self.vectors is not None and len(self.vectors) != self.n_items + 1):
            raise CrossrecError(f"The catalogue {folder} is not whole; remove it and it is made again.")

    @cached_property
    def people(self) -> Ints:
        """(I+1,) training events of each item."""
        return np.concatenate([[0], self.table["people"].to_numpy()]).astype(np.int64)

    @cached_property
    def words(self) -> pa.Array:
        """(I,) title and creator in lower case, or the id where there is no title: what a search looks at."""
        title, item_id, creator = (self.table[name].cast(pa.string()) for name in ("title", "item_id", "creator"))
        joined = pc.binary_join_element_wise(pc.coalesce(title, item_id), creator, " ", null_handling="skip")
        return pc.utf8_lower(joined).combine_chunks()

    @cached_property
    def index(self) -> Any:
        """The FAISS index; None where there is none or FAISS is not installed."""
        usable = self._index.exists() and neighbours.has_faiss()
        return neighbours.read_index(self._index) if usable else None

    @cached_property
    def numbers(self) -> dict[str, int]:
        """Item number of each id."""
        return {item_id: number for number, item_id in enumerate(self.table["item_id"].to_pylist(), 1)}

    def items(self, numbers: Sequence[int] | Ints) -> list[Item]:
        rows = self.table.take(np.asarray(numbers, np.int64) - 1).to_pylist()
        return [Item(self.which, **row) for row in rows]

    def said(self, item: int) -> list[Said]:
        found = pq.read_table(self._said, columns=["stars", "text"], filters=[("item", "=", item)])
        return [Said(**row) for row in found.to_pylist()]


class Catalog:
    """The catalogue of a run, opened for reading."""

    def __init__(self, folder: Path):
        """Raises CrossrecError where the folder is no catalogue, or is damaged."""
        self.folder = folder
        about = paths.read_json(folder / "catalog.json")
        if not isinstance(about, dict) or about.get("format") != FORMAT:
            raise CrossrecError(f"The catalogue {folder} is not of format {FORMAT}: remove it and it is made again.")
        self.dataset = str(about["dataset"])
        self.encoder: str | None = about["encoder"]
        """Name of the encoder of its vectors; None where it has none."""
        path = folder / "vectors.safetensors"
        try:
            arrays = mapped(path) if self.encoder is not None else {}
            self.shelves = {which: Shelf(folder, which, one, arrays) for which, one in about["domains"].items()}
        except (OSError, ValueError, KeyError) as error:
            raise CrossrecError(f"The catalogue {folder} is damaged; remove it and it is made again.") from error

    @classmethod
    def open(cls, folder: Path) -> "Catalog":
        return cls(folder)

    def shelf(self, which: str) -> Shelf:
        """Raises CrossrecError where the catalogue has no such domain."""
        if which not in self.shelves:
            has = " and ".join(self.shelves)
            raise CrossrecError(f"This run knows no items of the {which} domain: its catalogue has {has}.")
        return self.shelves[which]

    def items(self, which: str, numbers: Sequence[int] | Ints) -> list[Item]:
        return self.shelf(which).items(numbers)

    def about(self, which: str, item: int) -> tuple[Item, list[Said]]:
        """An item, and up to three reviews of it from the training part, newest first."""
        shelf = self.shelf(which)
        if not 1 <= item <= shelf.n_items:
            raise CrossrecError(f"Items of {shelf.label} are numbered 1 to {shelf.n_items:,}, and this is {item}.")
        return shelf.items([item])[0], shelf.said(item)

    def by_id(self, which: str, item_id: str) -> Item:
        """Raises CrossrecError where there is no such id; the nearest ids are named."""
        shelf = self.shelf(which)
        if item_id not in shelf.numbers:
            raise CrossrecError(
                f"There is no item {item_id[:80]!r} in {shelf.label}; the nearest ids are "
                f"{', '.join(nearest_ids(shelf.table, item_id))}."
            )
        return shelf.items([shelf.numbers[item_id]])[0]

    def find(self, item_id: str) -> Item:
        """The item of an id, of the source domain if both have it.

        Raises:
            CrossrecError: neither has it; the nearest ids are named.
        """
        for which, shelf in self.shelves.items():
            if item_id in shelf.numbers:
                return self.by_id(which, item_id)
        near = [one for shelf in self.shelves.values() for one in nearest_ids(shelf.table, item_id)]
        labels = " or ".join(shelf.label for shelf in self.shelves.values())
        raise CrossrecError(f"There is no item {item_id[:80]!r} in {labels}; near ids are {', '.join(near)}.")

    def search(self, which: str, words: str, limit: int = 20) -> list[Item]:
        """Items whose title or creator has every one of the words, whatever the case; no character is special.

        Those whose title begins with the words come first, then those that more people took. Without a word: the most
        popular.
        """
        shelf = self.shelf(which)
        wanted = words[:200].lower().encode("utf-8", "replace").decode().split()
        hit = np.ones(shelf.n_items, bool)
        for word in wanted:
            hit &= pc.match_substring(shelf.words, word).to_numpy(zero_copy_only=False)
        found = np.flatnonzero(hit)
        begins = pc.starts_with(shelf.words.take(pa.array(found)), " ".join(wanted)).to_numpy(zero_copy_only=False)
        order = np.lexsort((found, -shelf.people[found + 1], ~begins))
        return shelf.items(found[order[: min(max(limit, 0), MOST_FOUND)]] + 1)

    def nearest(self, which: str, vectors: Floats, k: int = 1) -> tuple[Ints, Floats]:
        """The k items of a domain whose vectors point most nearly the way of each of B vectors (B, W).

        Returns:
            items (B, k), nearest first, and cosines (B, k); 0 and -inf where there are fewer.

        Raises:
            CrossrecError: the catalogue has no vectors, for its data has neither titles nor reviews.
        """
        shelf = self.shelf(which)
        if shelf.vectors is None or shelf.known is None:
            raise CrossrecError("This run's data has neither titles nor reviews, so nothing can be found by words.")
        queries = unit(np.asarray(vectors, np.float32))
        wanted = min(k, shelf.n_items)
        if shelf.index is not None:
            return neighbours.approximate(shelf.index, queries, wanted)
        return neighbours.exact(shelf.vectors, shelf.known, queries, wanted)


def unit(vectors: Floats) -> Floats:
    """(..., W) vectors of length 1; zeros stay zeros."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)


def shortened(text: str, most: int) -> str:
    """A text of at most `most` characters in one line, cut at a word and marked where it was longer."""
    text = " ".join(text.split())
    if len(text) <= most:
        return text
    cut = text[: most - 1]
    words = cut if text[most - 1] == " " else cut.rpartition(" ")[0]
    return f"{words or cut}…"


def nearest_ids(table: pa.Table, item_id: str) -> list[str]:
    """The three ids that look most like one that is not there."""
    with duckdb.connect() as con:
        con.register("items", table)
        found = con.execute(
            "select item_id from items order by jaro_winkler_similarity(item_id, ?) desc, item_id limit 3",
            [item_id[:200]],
        ).fetchall()
    return [row[0] for row in found]


DTYPES = {"F16": np.float16, "BOOL": np.bool_}


def mapped(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a safetensors file, mapped into memory: pages are read when they are looked at.

    Raises:
        ValueError: the file is not what it should be.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if size > path.stat().st_size:
            raise ValueError(f"{path} is cut off")
        header = json.loads(file.read(size))
    header.pop("__metadata__", None)
    # "c": writes would stay in this process; torch refuses to look at arrays that forbid them.
    return {
        name: np.memmap(path, DTYPES[about["dtype"]], "c", 8 + size + about["data_offsets"][0], tuple(about["shape"]))
        for name, about in header.items()
    }
