"""The vectors of a dataset: what was written at each event, and the title of each item."""

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from crossrec.data.histories import Ints
from crossrec.data.pair import DOMAINS, DomainPair, EventVectors
from crossrec.errors import CrossrecError
from crossrec.text.encoder import DEFAULT, Encoder, load_encoder
from crossrec.text.store import Hashes, OnEvent, VectorStore, hashes, silent

Mask = NDArray[np.bool_]
_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)


def event_text(title: str | None, text: str | None) -> str:
    """What an encoder reads of a review: "headline. text"; either alone, or "" where there is neither.

    Line breaks and character references of HTML become what they stand for, and white space becomes single spaces.
    """
    headline, body = _plain(title), _plain(text)
    if not headline or not body or headline == body:
        return headline or body
    return f"{headline} {body}" if headline[-1] in ".!?:;…。！？" else f"{headline}. {body}"


def title_text(title: str | None, creator: str | None) -> str:
    """What an encoder reads of an item: "title by creator"; the title alone, or "" where there is no title."""
    name, maker = _plain(title), _plain(creator)
    return f"{name} by {maker}" if name and maker else name


def _plain(text: str | None) -> str:
    if not text:
        return ""
    if "<" in text:
        text = _BREAK.sub(" ", text)
    if "&" in text:
        text = html.unescape(text)
    return " ".join(text.split())


def with_vectors(
    pair: DomainPair,
    encoder: str | Encoder = DEFAULT,
    wanted: dict[str, Mask] | None = None,
    on_event: OnEvent = silent,
) -> DomainPair:
    """Returns the pair with the vectors of its reviews and titles, encoding those that the store does not have.

    Args:
        pair: a dataset as `DomainPair.open` gives it.
        encoder: an encoder or its name.
        wanted: {"source": (E,), "target": (E,)} the events whose reviews are wanted; None, or a domain that is not
            named, wants them all. The others get row -1 even where the store has them, so that what a model sees does
            not depend on what was encoded before. Titles of items are always wanted.
        on_event: told the progress (`VectorStore.add`), and at the end {"event": "encoded", "texts" (with a row),
            "distinct", "new", "seconds" (of the encoding), "folder"}.

    Raises:
        CrossrecError: there is no such encoder, or the events file is not the pair's.
    """
    encoder = load_encoder(encoder) if isinstance(encoder, str) else encoder
    store = VectorStore.open(encoder.key, encoder.dim)
    masks = {which: _mask(pair, which, wanted) for which in DOMAINS}
    titles = {which: _titles(pair, which) for which in DOMAINS}
    # The texts are read twice, a row group at a time: for their hashes, and then those to be encoded. A hash is 16
    # bytes an event, and the texts of a large dataset do not fit the memory.
    events = {which: _event_hashes(pair, which, masks[which]) for which in DOMAINS}
    names = {which: hashes(titles[which]) for which in DOMAINS}
    every = np.concatenate([*events.values(), *names.values()])
    total = store.missing(every)
    seconds, new = 0.0, 0

    def heard(event: dict[str, object]) -> None:
        nonlocal seconds
        if event["event"] == "encode":
            seconds = float(event["seconds"])  # type: ignore[arg-type]
        on_event(event)

    if total:
        new = store.add(_texts(pair, store, masks, events, titles), encoder, heard, total)
    there = every[every != b""]
    on_event(
        {
            "event": "encoded",
            "texts": len(there),
            "distinct": len(np.unique(there)),
            "new": new,
            "seconds": seconds,
            "folder": str(store.folder),
        }
    )
    return replace(
        pair,
        vectors=EventVectors(
            key=encoder.key,
            name=encoder.name,
            table=store.table,
            rows={which: store.find(events[which]) for which in DOMAINS},
            titles={which: np.concatenate([[-1], store.find(names[which])]).astype(np.int64) for which in DOMAINS},
        ),
    )


def _mask(pair: DomainPair, which: str, wanted: dict[str, Mask] | None) -> Mask:
    events = len(pair.domain(which).items)
    mask = (wanted or {}).get(which)
    if mask is None:
        return np.ones(events, bool)
    if mask.shape != (events,) or mask.dtype != bool:
        raise ValueError(f"wanted[{which!r}] must be {(events,)} bool, and is {mask.shape} {mask.dtype}")
    return mask


def _file(pair: DomainPair, which: str, what: str) -> Path | None:
    path = pair.folder / f"{pair.filed(which)}.{what}.parquet"
    return path if path.is_file() else None


def _titles(pair: DomainPair, which: str) -> list[str]:
    """I texts of the items 1..I."""
    n_items = pair.domain(which).n_items
    if not n_items or _file(pair, which, "items") is None:
        return [""] * n_items
    table = pair.items(which)
    if table["item"].tolist() != list(range(1, n_items + 1)):
        raise _not_its_own(pair, which, "items")
    known = table[["title", "creator"]].astype(object).where(table[["title", "creator"]].notna(), None)
    return [title_text(title, creator) for title, creator in zip(known["title"], known["creator"], strict=True)]


def _groups(pair: DomainPair, which: str, mask: Mask) -> Iterator[tuple[Ints, list[str]]]:
    """Positions and texts of the masked events, a row group at a time; groups without one, or without texts, unread."""
    path = _file(pair, which, "events")
    if path is None or not mask.any():
        return
    with pq.ParquetFile(path) as file:
        if file.metadata.num_rows != len(mask):
            raise _not_its_own(pair, which, "events")
        start = 0
        for group in range(file.num_row_groups):
            stop = start + file.metadata.row_group(group).num_rows
            inside = np.flatnonzero(mask[start:stop])
            if len(inside) and _has_texts(file.metadata.row_group(group)):
                table = file.read_row_group(group, columns=["title", "text"]).take(inside)
                columns: Sequence[list[str | None]] = [table[name].to_pylist() for name in ("title", "text")]
                yield inside + start, [event_text(*both) for both in zip(*columns, strict=True)]
            start = stop


def _has_texts(group: pq.RowGroupMetaData) -> bool:
    """Whether a row group has a headline or a text, by the counts in the file's footer."""
    columns = [group.column(i) for i in range(group.num_columns)]
    texts = [column for column in columns if column.path_in_schema in ("title", "text")]
    return any(not c.is_stats_set or c.statistics.null_count < c.num_values for c in texts)


def _event_hashes(pair: DomainPair, which: str, mask: Mask) -> Hashes:
    """(E,) hash of each event's text, b"" where it has none or is not wanted."""
    out = hashes([""] * len(mask))
    for at, texts in _groups(pair, which, mask):
        out[at] = hashes(texts)
    return out


def _texts(
    pair: DomainPair,
    store: VectorStore,
    masks: dict[str, Mask],
    events: dict[str, Hashes],
    titles: dict[str, list[str]],
) -> Iterator[str]:
    """What the store may not have, titles first, for they are few and every page shows them."""
    for which in DOMAINS:
        yield from titles[which]
    for which in DOMAINS:
        lacking = masks[which] & (events[which] != b"") & (store.find(events[which]) < 0)
        for _, texts in _groups(pair, which, lacking):
            yield from texts


def _not_its_own(pair: DomainPair, which: str, what: str) -> CrossrecError:
    file = pair.folder / f"{pair.filed(which)}.{what}.parquet"
    return CrossrecError(
        f"{file} does not fit the {which} domain in memory: vectors are added to a dataset as it was opened, before it "
        "is cut; if it was, make the dataset again."
    )
