"""What is written about items: by others and before, for each event that is learned from; all of it, for the catalogue.

An item's vector that contains the review whose rating is to be told gives that rating away. So an event sees only the
reviews of its item that other people wrote before it, and only those in the training part.

Q events, K reviews, W width of a vector, I items. A title is text too, and never a leak: it comes before the reviews.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from crossrec.data.histories import Floats, Ints, Reviews, windows
from crossrec.data.pair import DOMAINS, DomainPair, first_mask
from crossrec.data.split import Split
from crossrec.errors import CrossrecError
from crossrec.text.whiten import Whitening


class ItemReviews:
    """The reviews of a domain's items, in the order of time; a pair with vectors reads them."""

    def __init__(self, pair: DomainPair, split: Split, which: str = "target", leaky: bool = False):
        """Sorts the events by item.

        Args:
            pair: opened with vectors.
            split: whose training part may be read.
            which: "source" or "target".
            leaky: the fault that this class exists to avoid, to show what it does. An event then sees the very review
                whose stars are to be told, and no other, as in data where most items have a single review; and the
                catalogue holds hidden reviews too.
        """
        self.pair, self.which, self.leaky = pair, which, leaky
        domain = pair.domain(which)
        end = split.target_train_end if which == "target" else split.source_train_end
        readable = np.ones(len(domain.items), bool) if leaky else first_mask(domain.offsets, end)
        # Where there is no time, the order of the file stands in for it: any fixed order keeps the own review out.
        self.when = domain.times if domain.times is not None else np.arange(len(domain.items))
        self.by_item = np.flatnonzero(readable)[np.lexsort((self.when[readable], domain.items[readable]))]
        items, times = domain.items[self.by_item].astype(np.int64), self.when[self.by_item]
        self.starts = np.searchsorted(items, np.arange(domain.n_items + 1))
        self.ends = np.searchsorted(items, np.arange(domain.n_items + 1), side="right")
        # (item, time) as one sortable number, with times as ranks so that it fits 64 bits.
        self.instants = np.unique(self.when)
        self.keys = items * (len(self.instants) + 1) + np.searchsorted(self.instants, times)

    def before(self, events: Ints) -> Reviews:
        """(Q, 1+K) the title and the newest reviews of each event's item by others, strictly before it.

        Where leaky, of the event's own review. What is written about an item comes without its stars.
        """
        items = self.pair.domain(self.which).items[events].astype(np.int64)
        return self._read(items, *self.events_before(events))

    def events_before(self, events: Ints) -> tuple[Ints, NDArray[np.bool_]]:
        """(Q, K) the events whose reviews `before` reads, and where there are any."""
        if self.leaky:
            return events[:, None], np.ones((len(events), 1), bool)
        items = self.pair.domain(self.which).items[events].astype(np.int64)
        rank = np.searchsorted(self.instants, self.when[events])
        # Strictly before in time leaves out the event itself, and whatever came in the same instant.
        ends = np.searchsorted(self.keys, items * (len(self.instants) + 1) + rank)
        return self._window(self.starts[items], ends)

    def catalogue(self, items: Ints | None = None) -> Reviews:
        """(I+1, 1+K) the title and the newest readable reviews of every item; row 0, padding, has none.

        Of a large catalogue, only some `items` at a time fit the memory.
        """
        items = np.arange(len(self.starts)) if items is None else items
        return self._read(items, *self._window(self.starts[items], self.ends[items]))

    def without(self, events: Ints) -> Reviews:
        """(Q, 1+K) the rows of `catalogue` for each event's item, without the review of the event itself."""
        items = self.pair.domain(self.which).items[events].astype(np.int64)
        found, inside = self._window(self.starts[items], self.ends[items])
        return self._read(items, found, inside if self.leaky else inside & (found != events[:, None]))

    def _read(self, items: Ints, events: Ints, inside: NDArray[np.bool_]) -> Reviews:
        vectors = self.pair.vectors
        assert vectors is not None
        rows = np.where(inside, vectors.rows[self.which][events], -1)
        rows = np.concatenate([vectors.titles[self.which][items][:, None], rows], axis=1)
        return Reviews(vectors.look_up(rows), rows >= 0, np.full(rows.shape, np.nan, np.float32))

    def _window(self, starts: Ints, ends: Ints) -> tuple[Ints, NDArray[np.bool_]]:
        at, inside = windows(starts, ends, self.pair.most_reviews)
        events = np.zeros(at.shape, np.int64)
        events[inside] = self.by_item[at[inside]]
        return events, inside


def mean_vectors(pair: DomainPair, split: Split, which: str, leaky: bool = False, chunk: int = 2048) -> Floats:
    """(I+1, W) mean of the title and the newest readable reviews of each item; zeros where nothing is written."""
    reader, means = ItemReviews(pair, split, which, leaky), []
    for start in range(0, pair.domain(which).n_items + 1, chunk):
        said = reader.catalogue(np.arange(start, min(start + chunk, pair.domain(which).n_items + 1)))
        means.append(said.vectors.sum(axis=1) / np.maximum(said.mask.sum(axis=1), 1)[:, None])
    return np.concatenate(means).astype(np.float32)


def item_means(pair: DomainPair, split: Split) -> list[Floats]:
    """`mean_vectors` of the source and of the target domain.

    Raises:
        CrossrecError: nothing is written about any item.
    """
    means = [mean_vectors(pair, split, which) for which in DOMAINS]
    if not any(rows.any() for rows in means):
        raise CrossrecError(f"{pair.name!r} has neither review texts nor titles: there are no words to compare.")
    return means


def fit_whitening(means: Sequence[Floats], components: int | None, shrinkage: float = 0.1) -> Whitening:
    """Whitening fitted on the mean vectors of the items of all domains, as the training part has them."""
    known = np.concatenate([rows[rows.any(axis=1)] for rows in means])
    return Whitening.fit(known, None if components is None else min(components, known.shape[1]), shrinkage)
