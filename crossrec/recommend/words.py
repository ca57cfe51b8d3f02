"""Texts that people paste, and texts of a dataset, as vectors."""

from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from crossrec.text.encoder import load_encoder
from crossrec.text.store import VectorStore, hashes

Floats = NDArray[np.float32]


class Words:
    """An encoder that remembers what it encoded last, for the same few texts are asked for again and again."""

    KEPT = 1024

    def __init__(self, name: str):
        self.name = name
        self._known: OrderedDict[bytes, Floats] = OrderedDict()
        self._store: VectorStore | None = None
        self._lock = Lock()

    def encode(self, texts: Sequence[str], stored: bool = False) -> Floats:
        """(N, W) vectors of N texts, as exact as a store keeps them; zeros for an empty one.

        What is remembered are hashes, not the texts. With `stored`, texts of a dataset are looked up before they are
        encoded.
        """
        keys = [bytes(one) for one in hashes(texts)]
        with self._lock:
            found = {key: self._known[key] for key in keys if key in self._known}
            if stored:
                found |= self._stored([key for key in keys if key not in found])
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in found}
        if missing:
            fresh = load_encoder(self.name).encode(list(missing.values())).astype(np.float16).astype(np.float32)
            found |= dict(zip(missing, fresh, strict=True))
        with self._lock:
            for key in keys:
                self._known[key] = found[key]
                self._known.move_to_end(key)
            while len(self._known) > self.KEPT:
                self._known.popitem(last=False)
        return np.stack([found[key] for key in keys])

    def _stored(self, keys: list[bytes]) -> dict[bytes, Floats]:
        if self._store is None:
            encoder = load_encoder(self.name)
            self._store = VectorStore.open(encoder.key, encoder.dim)
        rows = self._store.find(np.array(keys, "S16"))
        there = np.flatnonzero(rows >= 0)
        vectors = self._store.table[rows[there]].astype(np.float32)
        return {keys[i]: vector for i, vector in zip(there, vectors, strict=True)}
