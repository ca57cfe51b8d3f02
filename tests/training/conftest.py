"""Pairs with vectors made by hand."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from crossrec.data.pair import DomainPair, EventVectors


@pytest.fixture(scope="session")
def with_words() -> Callable[..., DomainPair]:
    """Gives a pair vectors: every event has a review, and every item a title, with a vector of its own."""

    def make(pair: DomainPair, seed: int = 0) -> DomainPair:
        n = {which: (len(pair.domain(which).items), pair.domain(which).n_items + 1) for which in ("source", "target")}
        table = np.random.default_rng(seed).normal(size=(sum(map(sum, n.values())), 6)).astype(np.float16)
        rows, titles, at = {}, {}, 0
        for which, (events, items) in n.items():
            rows[which], titles[which] = at + np.arange(events), at + events + np.arange(items)
            titles[which][0] = -1
            at += events + items
        return dataclasses.replace(pair, vectors=EventVectors("by hand", "static", table, rows, titles))

    return make


@pytest.fixture(scope="session")
def with_telling_titles(with_words: Callable[..., DomainPair]) -> Callable[[DomainPair], DomainPair]:
    """Gives a pair titles whose vectors tell odd items from even ones, but for some noise, and no reviews."""

    def make(pair: DomainPair) -> DomainPair:
        pair = with_words(pair)
        vectors = pair.vectors
        assert vectors is not None
        table = vectors.table.copy()
        for titles in vectors.titles.values():
            for item, row in enumerate(titles[1:]):
                table[row] = np.eye(6)[item % 2] + 0.1 * table[row]
        none = {which: np.full_like(rows, -1) for which, rows in vectors.rows.items()}
        return dataclasses.replace(pair, vectors=dataclasses.replace(vectors, table=table, rows=none))

    return make
