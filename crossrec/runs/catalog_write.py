"""Writes the catalogue of a run from the training part of its data. I items, W width of a vector."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from safetensors.numpy import save_file

from crossrec import paths
from crossrec.data.folder import ITEMS
from crossrec.data.pair import DOMAINS, DomainPair
from crossrec.data.split import Split, open_split, split_unstored
from crossrec.errors import CrossrecError
from crossrec.models.recommender import Recommender
from crossrec.runs import neighbours
from crossrec.runs.catalog import FORMAT, Catalog, shortened, unit
from crossrec.runs.folder import Run
from crossrec.text.dataset import event_text, with_vectors
from crossrec.text.encoder import DEFAULT, load_encoder
from crossrec.text.store import VectorStore
from crossrec.training.reviews import ItemReviews

OnEvent = Callable[[dict[str, Any]], None]

SAID = 3
"""Most reviews kept of an item."""
LONGEST = 400
"""Most characters kept of a review."""
SAMPLE = 100
"""Texts of a domain that tell whether a dataset is encoded."""
QUICK = "static"
"""The encoder that needs seconds for what takes others minutes."""
AT_ONCE = 8192
"""Items whose review vectors are read at once."""


def open_catalog(run: Run, recommender: Recommender) -> Catalog:
    """The catalogue of a finished run; one from before there were catalogues gets its own now.

    Raises:
        CrossrecError: it has to be made, and the dataset has changed or is gone.
    """
    folder = run.folder / "catalog"
    if not (folder / "catalog.json").exists():
        config, pair = run.config(), run.pair()
        split = open_split(pair, config["split"]["kind"], config["split"]["seed"])
        write_run_catalog(run.folder, recommender, pair, split, config["domain"])
    return Catalog(folder)


def renew_catalog(run: Run) -> None:
    """Makes the catalogue of a finished run anew where it has the quick encoder's vectors and the usual ones are there.

    Whoever has the old one open goes on with it.
    """
    folder = run.folder / "catalog"
    if paths.read_json(folder / "catalog.json")["encoder"] != QUICK or usual_encoder(run.pair()) != DEFAULT:
        return
    recommender = Recommender.load(run.recommender)
    if recommender.encoder is None:
        shutil.rmtree(folder)
        open_catalog(run, recommender)


def write_run_catalog(
    folder: Path,
    recommender: Recommender,
    pair: DomainPair,
    split: Split,
    domain: str,
    on_event: OnEvent = lambda event: None,
) -> None:
    """Writes <folder>/catalog/ for a recommender of the target domain, or of the source domain alone.

    Args:
        folder: of the run.
        recommender: whose encoder, if it has one, makes the vectors.
        pair: the whole dataset; with vectors of that encoder, none are looked for.
        split: the one that was trained on.
        domain: "target", or "source" for recommenders that see only that one.
        on_event: gets what the encoder reports.
    """
    domains: tuple[str, ...] = DOMAINS
    if domain == "source":
        # Such a run hides the ends of the visible source sequences for its own test.
        ends = split_unstored(pair.source_alone(split.source_train_end)).target_train_end
        split, domains = replace(split, source_train_end=ends), ("source",)
    write_catalog(folder / "catalog", pair, split, recommender.encoder or usual_encoder(pair), domains, on_event)


def usual_encoder(pair: DomainPair) -> str | None:
    """The encoder for recommenders that read no text; None where there is nothing to encode.

    The default encoder's vectors where they are stored already, else the static one, which takes seconds. The first
    texts of each domain tell: a dataset is encoded as a whole or not at all.
    """
    titles, reviews = [], []
    for which in DOMAINS:
        if pair.domain(which).n_items:
            titles += pair.items(which)["title"].dropna().head(SAMPLE).tolist()
            if pair.meta["domains"][which]["has_text"]:
                first = next(_columns(pair.folder / f"{which}.events.parquet"))
                reviews += [event_text(*both) for both in zip(*(c[:SAMPLE].to_pylist() for c in first), strict=True)]
    if not titles and not any(reviews):
        return None
    encoder = load_encoder(DEFAULT)
    texts = [text for text in reviews if text]
    if texts and (paths.vectors() / encoder.key).is_dir():
        store = VectorStore.open(encoder.key, encoder.dim)
        if (store.rows(texts) >= 0).all():
            return DEFAULT
    return QUICK


def write_catalog(
    folder: Path,
    pair: DomainPair,
    split: Split,
    encoder: str | None,
    domains: tuple[str, ...] = DOMAINS,
    on_event: OnEvent = lambda event: None,
) -> None:
    """Writes a catalogue into a folder that appears when it is whole; one that is there already is left alone."""
    reviews = read_items(pair, split, encoder, domains, on_event)
    temporary = Path(tempfile.mkdtemp(prefix=".catalog-", dir=folder.parent))
    try:
        temporary.chmod(0o755)
        arrays: dict[str, NDArray[Any]] = {}
        about: dict[str, Any] = {}
        for which, read in reviews.items():
            about[which] = {"label": pair.domain(which).label, "items": pair.domain(which).n_items, "scale": 1.0}
            pq.write_table(_items(pair, split, which), temporary / f"items.{which}.parquet")
            pq.write_table(_said(pair, read, which), temporary / f"reviews.{which}.parquet", row_group_size=AT_ONCE)
            if encoder is not None:
                vectors, known, about[which]["scale"] = item_vectors(read)
                arrays |= {f"{which}.vectors": vectors, f"{which}.known": known}
                if known.sum() >= neighbours.ANN_FROM and neighbours.has_faiss():
                    neighbours.write_index(vectors, known, temporary / f"{which}.faiss")
        if arrays:
            save_file(arrays, temporary / "vectors.safetensors")
            (temporary / "vectors.safetensors").chmod(0o644)
        written = {"format": FORMAT, "dataset": pair.name, "encoder": encoder, "domains": about}
        paths.write_json(temporary / "catalog.json", written)
        try:
            os.replace(temporary, folder)
        except OSError:
            if not (folder / "catalog.json").exists():  # else another process was quicker
                raise
    except OSError as error:
        raise CrossrecError(f"The catalogue {folder} cannot be written ({error.strerror or error}).") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def read_items(
    pair: DomainPair,
    split: Split,
    encoder: str | None,
    domains: tuple[str, ...] = DOMAINS,
    on_event: OnEvent = lambda event: None,
) -> dict[str, ItemReviews]:
    """What the training part says of the items, by domain; with an encoder, and with its vectors where they lack."""
    reviews = {which: ItemReviews(pair, split, which) for which in domains if pair.domain(which).n_items}
    if encoder is None or (pair.vectors is not None and pair.vectors.name == encoder):
        return reviews
    wanted = {which: _newest(pair, which, reviews.get(which)) for which in DOMAINS}
    pair = with_vectors(pair, encoder, wanted, on_event)
    return {which: ItemReviews(pair, split, which) for which in reviews}


def item_vectors(reviews: ItemReviews) -> tuple[NDArray[np.float16], NDArray[np.bool_], float]:
    """Vectors of a domain's items.

    Returns:
        (I+1, W) the unit mean of each item's title and newest training reviews, (I+1,) where there are any, and the
        mean length of what went into the means.
    """
    assert reviews.pair.vectors is not None
    rows = reviews.pair.domain(reviews.which).n_items + 1
    out = np.zeros((rows, reviews.pair.vectors.width), np.float16)
    length, texts = 0.0, 0
    for start in range(0, rows, AT_ONCE):
        some = reviews.catalogue(np.arange(start, min(start + AT_ONCE, rows)))
        out[start : start + len(some)] = unit((some.vectors * some.mask[..., None]).sum(axis=1))
        length += float(np.linalg.norm(some.vectors[some.mask], axis=1).sum())
        texts += int(some.mask.sum())
    return out, np.asarray(out.any(axis=1)), length / texts if texts else 1.0


def _newest(pair: DomainPair, which: str, reviews: ItemReviews | None) -> NDArray[np.bool_]:
    """(E,) the events of a domain whose reviews a catalogue reads; none where it does not have the domain."""
    domain = pair.domain(which)
    mask = np.zeros(len(domain.items), bool)
    if reviews is not None:
        items = domain.items[reviews.by_item]
        mask[reviews.by_item[_from_end(items) <= pair.most_reviews]] = True
    return mask


def _from_end(items: NDArray[np.int32]) -> NDArray[np.int64]:
    """For sorted items, how many rows of the same item there are from each to the last: 1 for the last."""
    return np.searchsorted(items, items, side="right") - np.arange(len(items))


def _items(pair: DomainPair, split: Split, which: str) -> pa.Table:
    counts = split.target_counts(pair) if which == "target" else split.source_counts(pair)
    frame = pair.items(which).sort_values("item").assign(people=counts[1:])
    return pa.Table.from_pandas(frame, ITEMS.append(pa.field("people", pa.int64())), preserve_index=False)


def _said(pair: DomainPair, reviews: ItemReviews, which: str) -> pa.Table:
    """item, stars, text of up to `SAID` readable reviews an item, newest first."""
    events = reviews.by_item
    written = np.zeros(0, bool)
    path = pair.folder / f"{which}.events.parquet"
    if pair.meta["domains"][which]["has_text"]:
        flags = [pc.fill_null(pc.greater(pc.binary_length(text), 0), False) for _, text in _columns(path)]
        written = np.concatenate([np.asarray(flag) for flag in flags] or [written])
        events = events[written[events]]
    else:
        events = events[:0]
    items = pair.domain(which).items[events]
    newest = _from_end(items) <= SAID
    events, items = events[newest][::-1], items[newest][::-1]
    texts = np.empty(len(events), object)
    order = np.argsort(events)
    start, rows = 0, events[order]
    for title, text in _columns(path) if len(events) else []:
        inside = slice(*np.searchsorted(rows, (start, start + len(text))))
        at = pa.array(rows[inside] - start)
        both = zip(title.take(at).to_pylist(), text.take(at).to_pylist(), strict=True)
        texts[order[inside]] = [shortened(event_text(*one), LONGEST) for one in both]
        start += len(text)
    ratings = pair.domain(which).ratings
    stars = np.full(len(events), np.nan, np.float32) if ratings is None else ratings[events]
    by_item = np.argsort(items, kind="stable")
    table = {"item": items[by_item], "stars": pa.array(stars[by_item], from_pandas=True), "text": list(texts[by_item])}
    return pa.table(table, schema=pa.schema([("item", pa.int32()), ("stars", pa.float32()), ("text", pa.string())]))


def _columns(path: Path) -> Iterator[tuple[pa.Array, pa.Array]]:
    """Title and text of a domain's reviews, a batch of events at a time, in their order."""
    for batch in pq.ParquetFile(path).iter_batches(columns=["title", "text"]):
        yield batch["title"], batch["text"]
