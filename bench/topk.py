"""How long one answer takes: from a person's vectors to ten titles, in catalogues of real size.

    python bench/topk.py
    python bench/topk.py --sizes 10000 100000 --items 70511 --widths 64

The nearest of many vectors, by comparing with all of them and by a FAISS index with the share that it finds; ten titles
for a stranger out of a catalogue, from vectors; and the review model's from five pasted reviews, their words included.
Items, vectors and people are drawn at random. One person at a time, medians of `--repeats`.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from harness import say, section, table
from safetensors.numpy import save_file

from crossrec import paths
from crossrec.data.folder import ITEMS
from crossrec.data.histories import Histories
from crossrec.models.biases import Biases
from crossrec.models.racrec import RACRec, RACRecConfig
from crossrec.models.racrec_recommender import RACRecRecommender, Reading
from crossrec.models.recommender import Recommender
from crossrec.recommend.evidence import Evidence, Piece
from crossrec.recommend.person import Person, Review
from crossrec.recommend.recommender import Asked, RunRecommender
from crossrec.runs import neighbours
from crossrec.runs.catalog import unit
from crossrec.text.whiten import Whitening


class Products(Recommender):
    """Scores items by their product with what a person wrote: the cheapest model that looks at every item."""

    kind: ClassVar[str] = "bench-products"
    uses: ClassVar[frozenset[str]] = frozenset({"source reviews"})

    def __init__(self, items: np.ndarray):
        self.items, self.n_items = torch.from_numpy(items), len(items) - 1

    @torch.inference_mode()
    def score(self, histories: Histories) -> np.ndarray:
        assert histories.source_reviews is not None
        taste = torch.from_numpy(histories.source_reviews.vectors.sum(axis=1))
        return (taste @ self.items.T).numpy()

    def state(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return {}, {"items": self.items.numpy()}

    @classmethod
    def from_state(cls, about: dict[str, Any], arrays: dict[str, Any]) -> Self:
        return cls(arrays["items"])


def vectors_of(items: int, width: int) -> np.ndarray:
    """(I+1, W) float16 unit vectors in 200 loose groups, as texts are: uniform ones have no neighbours."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((200, width)).astype(np.float32)
    out = np.zeros((items + 1, width), np.float16)
    for start in range(1, items + 1, 65_536):
        some = out[start : start + 65_536]
        noise = rng.standard_normal(some.shape).astype(np.float32)
        some[:] = unit(centres[rng.integers(0, 200, len(some))] + noise)
    return out


def write(folder: Path, vectors: np.ndarray, model: Recommender | None = None) -> None:
    """A folder that looks like an export, of one domain in both places."""
    model = model or Products(vectors.astype(np.float32))
    items = len(vectors) - 1
    number = np.arange(1, items + 1)
    columns = {
        "item": number,
        "item_id": [f"B{i:09}" for i in number],
        "title": [f"An invented title of some length, number {i}" for i in number],
        "creator": [f"Somebody {i % 5000}" for i in number],
        "category": ["Something"] * items,
        "year": number % 100 + 1920,
        "people": number % 50,
    }
    rows = pa.table(columns, schema=ITEMS.append(pa.field("people", pa.int64())))
    catalog, recommender = folder / "catalog", folder / "recommender"
    catalog.mkdir(parents=True)
    recommender.mkdir()
    for which in ("source", "target"):
        pq.write_table(rows, catalog / f"items.{which}.parquet")
    arrays = {f"{which}.vectors": vectors for which in ("source", "target")}
    save_file(
        arrays | {f"{which}.known": vectors.any(axis=1) for which in ("source", "target")},
        catalog / "vectors.safetensors",
    )
    about = {which: {"label": which, "items": items, "scale": 1.0} for which in ("source", "target")}
    paths.write_json(
        catalog / "catalog.json", {"format": 1, "dataset": "d", "encoder": model.encoder or "static", "domains": about}
    )
    model.save(recommender)
    names = {"run": "r", "title": "t", "recipe": "r", "dataset": "d", "dataset_hash": "", "domain": "target"}
    paths.write_json(folder / "export.json", names)


def median_ms(ask: Callable[[int], object], repeats: int) -> float:
    ask(0)
    taken = []
    for i in range(repeats):
        start = time.perf_counter()
        ask(i)
        taken.append(time.perf_counter() - start)
    return 1000 * float(np.median(taken))


def answers(items: int, width: int, repeats: int) -> list[str]:
    with tempfile.TemporaryDirectory() as name:
        write(Path(name) / "export", vectors_of(items, width))
        start = time.perf_counter()
        recommender = RunRecommender(Path(name) / "export")
        opened = time.perf_counter() - start
        words = unit(np.random.default_rng(1).standard_normal((repeats, width)).astype(np.float32))

        def ask(i: int) -> object:
            shown = Evidence("review", "source", "source", None, None, "words", 5.0)
            return recommender.answer(Asked([Piece(shown, 0, words[i])], None), 10)

        def match(i: int) -> object:
            return recommender.catalog.nearest("source", words[i : i + 1])

        def search(i: int) -> object:
            return recommender.catalog.search("target", f"number {i}")

        found = [f"{median_ms(one, repeats):.1f}" for one in (ask, match, search)]
        return [f"{items:,}", str(width), *found, f"{opened:.2f}"]


REVIEWS = (
    "I saw it twice in one week, number {i}. The rain never stops, nobody tells the truth, and the saxophone stays.",
    "Funny in places, number {i}, although the jokes about the neighbour wear thin well before the end of it.",
    "A quiet one for winter evenings, number {i}. Snow, a stove, letters that nobody answers. I was moved by it.",
    "Too long by half, number {i}, and the chase through the harbour has been done better by others many times.",
    "The best thing I have come across this year, number {i}: honest people, plain words, and a fair on the green.",
)


def review_model(items: int, repeats: int) -> list[str]:
    rng, width, kept = np.random.default_rng(3), 384, 64
    vectors = vectors_of(items, width)
    whitening = Whitening.fit(vectors[1:20_001].astype(np.float32), kept)
    model = RACRec(RACRecConfig(), kept, items, 4.0, 0.3, counts=rng.integers(1, 99, items + 1))
    expected = np.full(items + 1, 4, np.float32)
    biases = Biases(4.0, np.zeros(items + 1, np.float32), 5.0)
    seen = np.concatenate([whitening(vectors[i : i + 65_536].astype(np.float32)) for i in range(0, items + 1, 65_536)])
    context = (seen, seen)
    made = RACRecRecommender(model, whitening, 8 * seen, Reading("minilm", True), (expected, expected), biases, context)
    with tempfile.TemporaryDirectory() as name:
        write(Path(name) / "export", vectors, made)
        recommender = RunRecommender(Path(name) / "export")

        def person(i: int) -> Person:
            return Person(reviews=tuple(Review(text.format(i=i), 5 - i % 5) for text in REVIEWS))

        asked = recommender.asked(person(repeats + 1))
        told = median_ms(lambda i: recommender.ask(person(i)), repeats)
        answered = median_ms(lambda i: recommender.answer(asked), repeats)
        return [f"{items:,}", f"{answered:.1f}", f"{told:.1f}"]


def nearest(items: int, width: int, repeats: int, indexed: int) -> list[str]:
    """Exact products beside an index, where FAISS is installed."""
    vectors = vectors_of(items, width)
    known = vectors.any(axis=1)
    noise = np.random.default_rng(2).standard_normal((repeats, width)).astype(np.float32)
    queries = unit(vectors[1 : repeats + 1].astype(np.float32) + 0.05 * noise)

    def exact(some: np.ndarray) -> np.ndarray:
        return neighbours.exact(vectors, known, some, 10)[0]

    exact_ms = median_ms(lambda i: exact(queries[i : i + 1]), repeats)
    say(f"  {items:,}: exact {exact_ms:.1f} ms")
    row = [f"{items:,}", f"{vectors.nbytes / 2**20:,.0f}", f"{exact_ms:.2f}"]
    if items > indexed or not neighbours.has_faiss():
        return [*row, "not asked for" if items > indexed else "not installed", "", ""]
    with tempfile.TemporaryDirectory() as name:
        start = time.perf_counter()
        neighbours.write_index(vectors, known, Path(name) / "index")
        built = time.perf_counter() - start
        index = neighbours.read_index(Path(name) / "index")
    ann_ms = median_ms(lambda i: neighbours.approximate(index, queries[i : i + 1], 10), repeats)
    pairs = zip(exact(queries).tolist(), neighbours.approximate(index, queries, 10)[0].tolist(), strict=True)
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in pairs])
    return [*row, f"{ann_ms:.2f}", f"{recall:.3f}", f"{built:.0f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000, 10_000_000])
    parser.add_argument(
        "--indexed", type=int, default=1_000_000, help="most vectors of an index, which takes long to build"
    )
    parser.add_argument("--items", type=int, default=70_511, help="of the catalogue for whole answers")
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 384])
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="small catalogues, few repeats")
    asked = parser.parse_args()
    if asked.quick:
        asked.sizes, asked.items, asked.repeats = [10_000, 100_000], 5_000, 5
    torch.set_num_threads(asked.threads)
    near = table(
        ["vectors of 64", "MiB", "exact, ms", "FAISS, ms", "recall@10", "built in s"],
        [nearest(items, 64, asked.repeats, asked.indexed) for items in asked.sizes],
    )
    whole = table(
        ["items", "width", "ten titles, ms", "nearest item of a review, ms", "search by a word, ms", "opened in s"],
        [answers(asked.items, width, asked.repeats) for width in asked.widths],
    )
    reviews = table(
        ["items", "review model, from vectors, ms", "with five new reviews encoded, ms"],
        [review_model(asked.items, asked.repeats)],
    )
    beside = "The first review system took 19 s for ten titles out of 70,511, as its authors report."
    about = f"{asked.threads} thread, medians of {asked.repeats}."
    section("Answers", about, near, "A whole answer, from a catalogue on disk:", whole, reviews, beside)


if __name__ == "__main__":
    main()
