"""How long one answer takes: from a person's vectors to ten titles, in catalogues of real size.

    python bench/topk.py                        70,511 items of width 64 and of width 384
    python bench/topk.py --review-model         five pasted reviews, from their words to ten titles
    python bench/topk.py --faiss 10000 100000   exact products beside a FAISS index, with the share that it finds

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
    table = pa.table(columns, schema=ITEMS.append(pa.field("people", pa.int64())))
    catalog, recommender = folder / "catalog", folder / "recommender"
    catalog.mkdir(parents=True)
    recommender.mkdir()
    for which in ("source", "target"):
        pq.write_table(table, catalog / f"items.{which}.parquet")
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


def answers(items: int, width: int, repeats: int) -> None:
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

        print(
            f"{items:>9,} x {width:<4} answer with 10 titles {median_ms(ask, repeats):6.1f} ms"
            f"   nearest item of a review {median_ms(match, repeats):6.1f} ms"
            f"   search by a word {median_ms(search, repeats):6.1f} ms"
            f"   opened in {opened:.2f} s"
        )


REVIEWS = (
    "I saw it twice in one week, number {i}. The rain never stops, nobody tells the truth, and the saxophone stays.",
    "Funny in places, number {i}, although the jokes about the neighbour wear thin well before the end of it.",
    "A quiet one for winter evenings, number {i}. Snow, a stove, letters that nobody answers. I was moved by it.",
    "Too long by half, number {i}, and the chase through the harbour has been done better by others many times.",
    "The best thing I have come across this year, number {i}: honest people, plain words, and a fair on the green.",
)


def review_model(items: int, repeats: int) -> None:
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
        print(
            f"{items:>9,} items, review model: from vectors to 10 titles {answered:6.1f} ms"
            f"   with five new reviews encoded {told:6.1f} ms"
        )


def faiss(items: int, width: int, repeats: int) -> None:
    vectors = vectors_of(items, width)
    known = vectors.any(axis=1)
    queries = unit(
        vectors[1 : repeats + 1].astype(np.float32)
        + 0.05 * np.random.default_rng(2).standard_normal((repeats, width)).astype(np.float32)
    )
    with tempfile.TemporaryDirectory() as name:
        start = time.perf_counter()
        neighbours.write_index(vectors, known, Path(name) / "index")
        built = time.perf_counter() - start
        index = neighbours.read_index(Path(name) / "index")

    def exact(some: np.ndarray) -> np.ndarray:
        return neighbours.exact(vectors, known, some, 10)[0]

    def approximate(some: np.ndarray) -> np.ndarray:
        return neighbours.approximate(index, some, 10)[0]

    exact_ms, ann_ms = (median_ms(lambda i, f=f: f(queries[i : i + 1]), repeats) for f in (exact, approximate))
    pairs = zip(exact(queries).tolist(), approximate(queries).tolist(), strict=True)
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in pairs])
    print(
        f"{items:>9,} x {width:<4} exact {exact_ms:7.1f} ms   FAISS {ann_ms:7.2f} ms, recall@10 {recall:.3f}, "
        f"built in {built:.1f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=70_511)
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 384])
    parser.add_argument("--repeats", type=int, default=50)
    parser.add_argument("--faiss", type=int, nargs="+", metavar="ITEMS", help="sizes to compare with an index")
    parser.add_argument("--review-model", action="store_true", help="RACRec and MiniLM instead of plain products")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.review_model:
        review_model(options.items, options.repeats)
        return
    for width in options.widths:
        if options.faiss:
            for items in options.faiss:
                faiss(items, width, options.repeats)
        else:
            answers(options.items, width, options.repeats)


if __name__ == "__main__":
    main()
