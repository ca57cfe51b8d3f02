"""Text vectors on disk: one row for each different text, encoded once and appended.

A store is a folder of three files. `vectors.f16` holds the rows and `hashes.b16` the hash of the text of each, in the
same order; `store.json` says what they are. A chunk's rows are written, and are on the disk, before its hashes are:
a row exists once its hash does, so a reader never sees half of one, and what an interrupt leaves beyond that is cut off
at the next opening or writing. Writers take turns by a lock file, a chunk at a time.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from crossrec import paths
from crossrec.data.histories import Ints
from crossrec.errors import CrossrecError
from crossrec.text.encoder import Encoder

FORMAT = 1
HASH = 16
"""Bytes of a text's hash."""
CHUNK = 2048
"""Texts that are encoded and written at a time: what an interrupt loses at most."""
SLICE = 256
"""Texts of similar length between two progress events."""

_KIND = np.dtype(f"S{HASH}")

Hashes = NDArray[np.bytes_]
OnEvent = Callable[[dict[str, Any]], None]


def silent(event: dict[str, Any]) -> None:
    """Tells nobody."""


def hashes(texts: Iterable[str]) -> Hashes:
    """(N,) BLAKE2b-128 of each text; of an empty one, the empty string, which no store has."""
    found = [blake2b(t.encode("utf-8", "replace"), digest_size=HASH).digest() if t else b"" for t in texts]
    return np.array(found, dtype=_KIND)


class VectorStore:
    """The vectors of one encoder, of all datasets. Not for several threads at once: each opens its own."""

    def __init__(self, folder: Path, key: str, dim: int):
        self.folder, self.key, self.dim = folder, key, dim
        self._length = 0
        self._sorted: Hashes = np.zeros(0, _KIND)
        self._order: Ints = np.zeros(0, np.int64)
        self.refresh()

    @classmethod
    def open(cls, encoder_key: str, dim: int) -> "VectorStore":
        """Opens, or makes, the store of an encoder in `paths.vectors()`; heals what an interrupt left.

        Raises:
            CrossrecError: the folder is of another width or format, or cannot be written.
        """
        folder = paths.vectors() / paths.slug(encoder_key, "store of vectors")
        about = {"format": FORMAT, "key": encoder_key, "dim": dim, "dtype": "<f2", "hash": "blake2b-128"}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not (folder / "store.json").exists() and not (folder / "hashes.b16").exists():
                paths.write_json(folder / "store.json", about)
        except OSError as error:
            raise CrossrecError(f"{folder} cannot be written to ({error.strerror}).") from error
        found = paths.read_json(folder / "store.json")
        if found != about:
            raise CrossrecError(f"{folder} holds other vectors ({found}) than those of {about}: remove it.")
        store = cls(folder, encoder_key, dim)
        if store._torn():
            try:
                with FileLock(folder / "lock", blocking=False):
                    store._heal()
            except (Timeout, OSError):
                pass  # a writer is at work and will do it, or the disk is not to be written: readers pass over it
        return store

    def __len__(self) -> int:
        """N, rows as of the last opening, refresh or addition."""
        return self._length

    @property
    def table(self) -> NDArray[np.float16]:
        """(N, dim) all rows, memory-mapped for reading; what is added later is not in it."""
        if not self._length:
            return np.zeros((0, self.dim), np.float16)
        return np.memmap(self.folder / "vectors.f16", np.dtype("<f2"), "r", shape=(self._length, self.dim))

    def rows(self, texts: Sequence[str]) -> Ints:
        """(len(texts),) row of each text, -1 where it is not there or is empty."""
        return self.find(hashes(texts))

    def find(self, wanted: Hashes) -> Ints:
        """(len(wanted),) row of each hash, -1 where it is not there."""
        if not self._length:
            return np.full(len(wanted), -1, np.int64)
        at = np.minimum(self._sorted.searchsorted(wanted), self._length - 1)
        return np.where((self._sorted[at] == wanted) & (wanted != b""), self._order[at], -1)

    def missing(self, wanted: Hashes) -> int:
        """How many different texts are not there, empty ones aside."""
        return len(np.unique(wanted[(self.find(wanted) < 0) & (wanted != b"")]))

    def add(self, texts: Iterable[str], encoder: Encoder, on_event: OnEvent = silent, total: int | None = None) -> int:
        """Encodes and appends the texts that are not there, each once; returns how many were encoded here.

        What another process adds meanwhile is not encoded again. An interrupt loses the chunk in work, at most.

        Args:
            texts: texts of which only a chunk is held at a time; empty ones are passed over.
            encoder: of this store's key.
            on_event: told about once a second, and at the end: {"event": "encode", "done", "total", "seconds", "eta"},
                counts of different texts that were not there, and seconds.
            total: `missing` of all the texts, where the caller knows it; None looks at them all first.

        Raises:
            CrossrecError: the encoder gives no finite vectors of its width, or the disk cannot be written.
        """
        if encoder.key != self.key:
            raise ValueError(f"the store is of {self.key}, and the encoder is {encoder.key}")
        if total is None:
            texts = list(texts)
            total = self.missing(hashes(texts))
        progress = _Progress(total, on_event)
        encoded = 0
        for chunk in self._chunks(texts):
            with self._writing(on_event):
                self.refresh()
                marks = hashes(chunk)
                new = np.flatnonzero(self.find(marks) < 0)
                progress.add(len(chunk) - len(new))
                if len(new):
                    vectors = self._encode([chunk[i] for i in new], encoder, progress)
                    self._append(vectors, marks[new])
                    encoded += len(new)
        self.refresh()
        progress.end()
        return encoded

    def refresh(self) -> None:
        """Takes in the rows that were added since, by whichever process."""
        length = min(self._sizes())
        if length < self._length:  # the folder was removed and made again
            self._length, self._sorted, self._order = 0, self._sorted[:0], self._order[:0]
        if length == self._length:
            return
        with (self.folder / "hashes.b16").open("rb") as file:
            file.seek(self._length * HASH)
            new = np.frombuffer(file.read((length - self._length) * HASH), dtype=_KIND)
        order = np.argsort(new, kind="stable")
        at = self._sorted.searchsorted(new[order], side="right")
        self._sorted = np.insert(self._sorted, at, new[order])
        self._order = np.insert(self._order, at, order + self._length)
        self._length = length

    def _sizes(self) -> tuple[int, int]:
        """Whole rows in the two files. Hashes are counted first: of those, the rows have been written before."""
        count = _size(self.folder / "hashes.b16") // HASH
        return count, _size(self.folder / "vectors.f16") // (2 * self.dim)

    def _torn(self) -> bool:
        rows = min(self._sizes())
        data, marks = _size(self.folder / "vectors.f16"), _size(self.folder / "hashes.b16")
        return (data, marks) != (rows * 2 * self.dim, rows * HASH)

    def _heal(self) -> None:
        """Cuts off what has no hash, or no row. Only the holder of the lock may."""
        if self._torn():
            rows = min(self._sizes())
            for name, width in (("vectors.f16", 2 * self.dim), ("hashes.b16", HASH)):
                with (self.folder / name).open("ab") as file:
                    file.truncate(rows * width)

    @contextmanager
    def _writing(self, on_event: OnEvent) -> Iterator[None]:
        lock = FileLock(self.folder / "lock")
        try:
            try:
                lock.acquire(blocking=False)
            except Timeout:
                on_event({"event": "note", "text": f"waiting for another process that writes {self.folder}"})
                lock.acquire(poll_interval=0.05)
            self._heal()
        except OSError as error:
            raise CrossrecError(f"{self.folder} cannot be written to ({error.strerror}).") from error
        try:
            yield
        finally:
            lock.release()

    def _chunks(self, texts: Iterable[str]) -> Iterator[list[str]]:
        """Texts that are not there, different ones, `CHUNK` or a few more at a time, in their order."""
        waiting: dict[bytes, str] = {}
        left = iter(texts)
        while block := list(islice(left, SLICE)):
            marks = hashes(block)
            for i in np.flatnonzero((self.find(marks) < 0) & (marks != b"")):
                waiting.setdefault(bytes(marks[i]), block[i])
            if len(waiting) >= CHUNK:
                yield list(waiting.values())
                waiting = {}
        if waiting:
            yield list(waiting.values())

    def _encode(self, texts: list[str], encoder: Encoder, progress: "_Progress") -> NDArray[np.float16]:
        """(N, dim) of N texts, encoded in slices of nearly one length: batches of mixed lengths are mostly padding."""
        out = np.zeros((len(texts), self.dim), np.dtype("<f2"))
        order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
        for start in range(0, len(order), SLICE):
            some = order[start : start + SLICE]
            vectors = encoder.encode([texts[i] for i in some])
            if vectors.shape != (len(some), self.dim) or not np.isfinite(vectors).all():
                raise CrossrecError(
                    f"The encoder {encoder.name!r} gave vectors {vectors.shape} for {len(some)} texts, or not all are "
                    f"finite; {(len(some), self.dim)} finite ones were expected: choose another encoder."
                )
            out[some] = np.clip(vectors, -_LARGEST, _LARGEST)
            progress.add(len(some))
        return out

    def _append(self, vectors: NDArray[np.float16], marks: Hashes) -> None:
        try:
            with (self.folder / "vectors.f16").open("ab") as file:
                file.write(vectors.tobytes())
                file.flush()
                os.fsync(file.fileno())
            with (self.folder / "hashes.b16").open("ab") as file:
                file.write(marks.tobytes())
        except OSError as error:
            raise CrossrecError(f"{self.folder} cannot be written to ({error.strerror}).") from error
        self.refresh()


_LARGEST = float(np.finfo(np.float16).max)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


class _Progress:
    """Tells `on_event` how far an encoding is, about once a second."""

    def __init__(self, total: int, on_event: OnEvent):
        self.total, self.on_event, self.done, self.last = total, on_event, 0, -1
        self.start = self.told = time.monotonic()

    def add(self, texts: int) -> None:
        self.done = min(self.done + texts, self.total)
        if time.monotonic() - self.told >= 1:
            self.tell()

    def end(self) -> None:
        if self.last != self.total:
            self.tell()

    def tell(self) -> None:
        self.last = self.done
        self.told = time.monotonic()
        seconds = self.told - self.start
        eta = seconds / self.done * (self.total - self.done) if self.done else None
        self.on_event({"event": "encode", "done": self.done, "total": self.total, "seconds": seconds, "eta": eta})
