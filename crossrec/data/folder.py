"""The dataset folder: built in a hidden sibling and renamed when whole, listed, and described."""

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from crossrec import paths
from crossrec.errors import CrossrecError, nearest

FORMAT = 1
CHUNK = 1 << 17
"""Rows in a row group, and in each step of the hash: part of the format, so that both stay the same."""

DOMAINS = ("source", "target")

_NEW = 60.0
"""Seconds in which a hidden folder may be one whose maker has not taken hold of it yet."""

USERS = pa.schema(
    [("user", pa.int32()), ("user_id", pa.string()), ("source_events", pa.int32()), ("target_events", pa.int32())]
)
EVENTS = pa.schema(
    [
        ("user", pa.int32()),
        ("item", pa.int32()),
        ("rating", pa.float32()),
        ("time", pa.int64()),
        ("title", pa.string()),
        ("text", pa.string()),
    ]
)
ITEMS = pa.schema(
    [
        ("item", pa.int32()),
        ("item_id", pa.string()),
        ("title", pa.string()),
        ("creator", pa.string()),
        ("category", pa.string()),
        ("year", pa.int16()),
    ]
)


@contextlib.contextmanager
def building(name: str, replace: bool) -> Iterator[Path]:
    """Gives a hidden folder beside `datasets()/name` that takes that name when the block ends without an exception.

    What processes that were killed have left of such folders is cleared first.

    Raises:
        CrossrecError: the name is not a plain one, or is taken and `replace` is False; or the disk or the memory is
            full.
    """
    final = paths.datasets() / paths.slug(name, "dataset")
    taken = f"The dataset {name!r} exists: choose another name, or replace it."
    if final.exists() and not replace:
        raise CrossrecError(taken)
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        _clear_abandoned(final.parent)
        temporary = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=final.parent))
        held = os.open(temporary, os.O_RDONLY)
        fcntl.flock(held, fcntl.LOCK_EX)  # until this process ends, however it does
    except OSError as error:
        raise CrossrecError(f"{final.parent} cannot be written to ({error.strerror}).") from error
    try:
        yield temporary
        temporary.chmod(0o755)
        if final.exists() and not replace:  # made by another process meanwhile
            raise CrossrecError(taken)
        if final.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{name}-old-", dir=final.parent))
            os.replace(final, old / "dataset")
            try:
                os.replace(temporary, final)
            except BaseException:
                os.replace(old / "dataset", final)
                raise
            finally:
                shutil.rmtree(old, ignore_errors=True)
        else:
            os.replace(temporary, final)
    except (RuntimeError, duckdb.Error, OSError) as error:
        if not isinstance(error, OSError) and "interrupted" in str(error).lower():  # Ctrl-C in a DuckDB query
            raise KeyboardInterrupt from error
        told = _told(error, final)
        if told is None:
            raise
        raise told from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        os.close(held)


def _told(error: Exception, final: Path) -> CrossrecError | None:
    """The one sentence for what the machine has too little of, or None for another failure."""
    number = error.errno if isinstance(error, OSError) else None
    if number in (errno.ENOTEMPTY, errno.EEXIST):  # made by another process in this very moment
        return CrossrecError(f"The dataset {final.name!r} exists: choose another name, or replace it.")
    if number in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error):
        return CrossrecError(f"The disk of {final.parent} is full: free some space and import again.")
    if isinstance(error, duckdb.OutOfMemoryException):
        return CrossrecError("There is not enough memory or disk to prepare the data: free some, or import less of it.")
    return None


def _clear_abandoned(parent: Path) -> None:
    """Removes the hidden folders in which nobody builds any more; what a replacement has put aside stays."""
    for folder in parent.glob(".*-*"):
        with contextlib.suppress(OSError):  # somebody else clears it, or builds in it
            if (folder / "dataset").exists() or time.time() - folder.stat().st_mtime < _NEW:
                continue
            held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(held)


def write_parquet(
    connection: duckdb.DuckDBPyConnection, query: str, path: Path, schema: pa.Schema, digest: "hashlib._Hash"
) -> int:
    """Streams a query's rows into a Parquet file, `CHUNK` rows at a time; returns their number.

    The same rows give the same bytes, and feed `digest` with the same content whatever library version wrote them.
    """
    relation = connection.sql(query)
    reader = getattr(relation, "to_arrow_reader", None) or relation.fetch_arrow_reader  # its name before DuckDB 1.4
    reader = reader(CHUNK)
    digest.update(f"{path.name}:{','.join(f'{f.name} {f.type}' for f in schema)};".encode())
    rows = 0
    waiting: list[pa.RecordBatch] = []
    # Texts hardly repeat: a dictionary of them is work for nothing.
    repeated = [name for name in schema.names if name not in ("title", "text")]
    how: dict[str, Any] = {"compression": "zstd", "use_dictionary": repeated}
    # One portion is hashed and written while the next one is fetched: all three take their time outside Python.
    under_way: list[Future[Any]] = []
    with (
        pq.ParquetWriter(path, schema, **how) as writer,
        ThreadPoolExecutor(1) as hashing,
        ThreadPoolExecutor(1) as writing,
    ):

        def flush(everything: bool) -> None:
            nonlocal rows, waiting, under_way
            table = pa.Table.from_batches(waiting, reader.schema)
            while table.num_rows >= CHUNK or (everything and table.num_rows):
                chunk = table.slice(0, CHUNK).cast(schema).combine_chunks()
                for done in under_way:
                    done.result()
                under_way = [
                    hashing.submit(_hash, chunk, digest),
                    writing.submit(writer.write_table, chunk, row_group_size=CHUNK),
                ]
                rows += chunk.num_rows
                table = table.slice(CHUNK)
            waiting = table.to_batches()

        for batch in reader:
            waiting.append(batch)
            if sum(one.num_rows for one in waiting) >= CHUNK:
                flush(everything=False)
        flush(everything=True)
        for done in under_way:
            done.result()
    return rows


def _hash(chunk: pa.Table, digest: "hashlib._Hash") -> None:
    """Feeds the rows' content column by column: which are null, then values (0 or "" for null), texts with lengths."""
    digest.update(f"{chunk.num_rows};".encode())
    for column in chunk.columns:
        array = pa.concat_arrays(column.chunks)
        digest.update(np.packbits(np.asarray(array.is_null())).tobytes())
        if pa.types.is_string(array.type):
            filled = pa.concat_arrays([array.fill_null("")])
            lengths = np.asarray(pc.binary_length(filled)).astype("<i4")
            offsets = np.frombuffer(filled.buffers()[1], dtype=np.int32)[filled.offset :][: len(filled) + 1]
            data = filled.buffers()[2]
            digest.update(lengths.tobytes())
            digest.update(memoryview(data)[offsets[0] : offsets[-1]] if data is not None else b"")
        else:
            values = np.asarray(array.fill_null(0))
            digest.update(values.astype(values.dtype.newbyteorder("<")).tobytes())


def load_meta(name: str) -> dict[str, Any]:
    """Returns the content of a dataset's `dataset.json`.

    Raises:
        CrossrecError: there is no such dataset, or it is incomplete or of another format.
    """
    folder = paths.datasets() / paths.slug(name, "dataset")
    if not folder.is_dir():
        known = [one["name"] for one in list_datasets()]
        hint = nearest(name, known) or " Import one first."
        raise CrossrecError(f"There is no dataset {name!r}.{hint}")
    meta = paths.read_json(folder / "dataset.json")
    if not isinstance(meta, dict) or meta.get("format") != FORMAT:
        raise CrossrecError(f"The dataset {name!r} is not of format {FORMAT}: import it again.")
    return meta


def list_datasets() -> list[dict[str, Any]]:
    """Returns the content of every complete dataset's `dataset.json`, sorted by name; others are passed over."""
    found: list[dict[str, Any]] = []
    if not paths.datasets().is_dir():
        return found
    for folder in sorted(paths.datasets().iterdir()):
        if folder.name.startswith(".") or not (folder / "dataset.json").is_file():
            continue
        try:
            meta = paths.read_json(folder / "dataset.json")
        except CrossrecError:
            continue
        if isinstance(meta, dict) and meta.get("format") == FORMAT:
            found.append(meta | {"name": folder.name})
    return found


def describe(name: str) -> dict[str, Any]:
    """Returns `dataset.json` with derived figures, without reading the events.

    The key "derived" holds "overlap_share" of the users, and per domain: events_per_user and its quantiles (of the
    users with at least one event), events_per_item, density, days (of the time span; None without times), with_text,
    with_rating (shares of the events), with_title (share of the items).
    """
    meta = load_meta(name)
    folder = paths.datasets() / name
    users = pq.read_table(folder / "users.parquet", columns=["source_events", "target_events"])
    derived: dict[str, Any] = {"overlap_share": meta["counts"]["overlap_users"] / max(meta["counts"]["users"], 1)}
    for domain in DOMAINS:
        about = meta["domains"][domain]
        events, people, items = about["events"], about["users"], about["items"]
        per_user = np.asarray(users[f"{domain}_events"])
        per_user = per_user[per_user > 0]
        steps = (0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 1)
        quantiles = np.quantile(per_user, steps, method="inverted_cdf") if len(per_user) else []
        first, last = about["first_time"], about["last_time"]
        present = _present(folder / f"{domain}.events.parquet")
        derived[domain] = {
            "events_per_user": events / people if people else 0.0,
            "events_per_user_quantiles": {f"{s:g}": int(q) for s, q in zip(steps, quantiles, strict=False)},
            "events_per_item": events / items if items else 0.0,
            "density": events / (people * items) if people and items else 0.0,
            "days": None if first is None else (last - first) / 86_400_000,
            "with_text": present["text"] / events if events else 0.0,
            "with_rating": present["rating"] / events if events else 0.0,
            "with_title": _present(folder / f"{domain}.items.parquet")["title"] / items if items else 0.0,
        }
    return meta | {"derived": derived}


def _present(path: Path) -> dict[str, int]:
    """How many values of each column are not null, from the statistics in the file's footer."""
    footer = pq.read_metadata(path)
    counts = dict.fromkeys(footer.schema.to_arrow_schema().names, 0)
    for group in range(footer.num_row_groups):
        for place in range(footer.num_columns):
            column = footer.row_group(group).column(place)
            counts[column.path_in_schema] += column.num_values - column.statistics.null_count
    return counts
