"""Rows of (person, item, stars) with what may be read beside each: nothing of the row itself, and nothing later.

B rows in a batch, K reviews, C width of a vector, I items.
"""

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crossrec.data.histories import Floats, Histories, Ints, windows
from crossrec.data.pair import DOMAINS, DomainPair, EventVectors, first_mask
from crossrec.data.ratings import Ratings
from crossrec.data.split import Questions, Split
from crossrec.models.biases import Biases
from crossrec.models.racrec import Side, as_side, context_of, habits
from crossrec.text.whiten import Whitening
from crossrec.training.reviews import ItemReviews


class Rows(NamedTuple):
    """B rows to learn from, or to test on."""

    source: Side
    target: Side
    item: Side
    """What others wrote about the item before."""
    liked: Side
    """What others wrote about it at any time in the training part: how the catalogue shows it."""
    number: Tensor
    """(B,) item."""
    usual: Tensor
    """(B,) how far above others a person rates in the source, see `habits`."""
    bias: Tensor
    """(B,) b_u: in training from a person's other ratings, so that tastes need not explain habits; on hidden rows from
    the stars of the visible target history."""
    rating: Tensor
    """(B,) stars, NaN where none were given."""
    progress: float = 0.0
    """Share of the training that is done."""

    def to(self, device: torch.device) -> "Rows":
        """The same rows on another device."""
        moved: dict[str, Any] = {
            name: Side(*(tensor.to(device) for tensor in part)) if isinstance(part, Side) else part.to(device)
            for name, part in self._asdict().items()
            if name != "progress"
        }
        return Rows(**moved, progress=self.progress)


class RowReader:
    """Reads rows of one split from a pair with vectors."""

    def __init__(self, pair: DomainPair, split: Split, biases: Biases | None = None, leaky: bool = False):
        """biases: of the training part, None without ratings; leaky: items show every review, see `ItemReviews`."""
        self.pair, self.split = pair, split
        self.items = ItemReviews(pair, split, "target", leaky)
        self.expected = (_expected(pair, split, "source"), _expected(pair, split, "target"))
        """(I+1,) usual stars of source and target items."""
        self.users = np.repeat(np.arange(pair.n_users), pair.target.counts)
        self.biases = biases
        self.others = _bias_of_others(pair, split, biases)
        self.context: tuple[Floats, Floats] | None = None
        """(I+1, C) of source and target items, where reviews are read in their context."""

    def read_in_context(self, means: dict[str, Floats]) -> None:
        """Reads every review of a known item together with what the training part says of the item, `mean_vectors`."""
        self.context = (context_of(means["source"]), context_of(means["target"]))

    def habit(self) -> float:
        """Slope of people's b_u in the target on their usual stars in the source, by least squares; never negative."""
        users = np.flatnonzero((self.split.source_train_end > 0) & (self.split.target_train_end > 0))
        if self.biases is None or self.pair.source.ratings is None or not len(users):
            return 0.0
        known = self._known(users, self.split.source_train_end[users], self.split.target_train_end[users])
        usual = habits(known, self.expected[0])
        return max(0.0, float(usual @ self.biases.users(known) / max(float(usual @ usual), 1e-9)))

    def _known(self, users: Ints, source_end: Ints, target_end: Ints) -> Histories:
        """Items and stars of people, without vectors."""
        return replace(self.pair, vectors=None).histories(users, source_end, target_end)

    def training(self, events: Ints, alone: NDArray[np.bool_] | None = None) -> Rows:
        """Rows of training events (B,): a person as of just before each.

        alone: (B,) people whose reviews are read without their context, as a stranger's are.
        """
        users = self.users[events]
        source_end = np.minimum(self.pair.source_before[events], self.split.source_train_end[users]).astype(np.int64)
        rows = self._rows(users, source_end, events - self.pair.target.offsets[users], events, alone)
        return rows._replace(bias=torch.from_numpy(self.others[events]))

    def hidden(self, questions: Questions, events: Ints, rows: Ints) -> Rows:
        """Rows of hidden events (B,) that belong to `rows` of the questions."""
        return self._rows(questions.user[rows], questions.source_end[rows], questions.target_end[rows], events)

    def _rows(
        self, users: Ints, source_end: Ints, target_end: Ints, events: Ints, alone: NDArray[np.bool_] | None = None
    ) -> Rows:
        def side(number: int, end: Ints) -> Side:
            which = DOMAINS[number]
            start = self.pair.domain(which).offsets[users]
            at, inside = windows(start, start + end, self.pair.most_reviews)
            reviews = self.pair.reviews(which, at, inside)
            if alone is not None and reviews.items is not None:
                reviews = replace(reviews, items=np.where(alone[:, None], 0, reviews.items))
            return as_side(reviews, self.expected[number], self.context[number] if self.context else None)

        target = self.pair.target
        rating = np.full(len(events), np.nan, np.float32) if target.ratings is None else target.ratings[events]
        known = self._known(users, source_end, target_end)
        bias = np.zeros(len(events), np.float32)
        if self.biases is not None:
            bias = self.biases.users(known)
        return Rows(
            source=side(0, source_end),
            target=side(1, target_end),
            item=as_side(self.items.before(events)),
            liked=as_side(self.items.without(events)),
            number=torch.from_numpy(target.items[events].astype(np.int64)),
            usual=torch.from_numpy(habits(known, self.expected[0])),
            bias=torch.from_numpy(bias),
            rating=torch.from_numpy(rating),
        )


def without_target(rows: Rows, empty: Tensor) -> Rows:
    """The rows with the target histories of people where `empty` (B,) is True taken away."""
    keep = ~empty[:, None]
    target = rows.target
    return rows._replace(
        target=Side(target.vectors * keep[..., None], target.mask & keep, target.stars * keep),
    )


def _bias_of_others(pair: DomainPair, split: Split, biases: Biases | None) -> Floats:
    """(E,) b_u at each training event of the target from the person's other training ratings; 0 elsewhere."""
    out = np.zeros(len(pair.target.items), np.float32)
    stars = pair.target.ratings
    if biases is None or stars is None:
        return out
    at = np.flatnonzero(first_mask(pair.target.offsets, split.target_train_end) & ~np.isnan(stars))
    users = np.searchsorted(pair.target.offsets, at, side="right") - 1
    rest = stars[at] - biases.mean - biases.item[pair.target.items[at]]
    sums, counts = np.bincount(users, rest, pair.n_users), np.bincount(users, minlength=pair.n_users)
    out[at] = (sums[users] - rest) / (counts[users] - 1 + biases.damping)
    return out


def _expected(pair: DomainPair, split: Split, which: str) -> Floats:
    """(I+1,) mean plus item bias of the training ratings of a domain; zeros where it has none."""
    domain = pair.domain(which)
    ends = split.source_train_end if which == "source" else split.target_train_end
    if domain.ratings is None or not np.isfinite(domain.ratings[first_mask(domain.offsets, ends)]).any():
        return np.zeros(domain.n_items + 1, np.float32)
    biases = Biases.fit(Ratings.training(pair, split, which))
    return (biases.mean + biases.item).astype(np.float32)


def whitened(pair: DomainPair, whitening: Whitening, chunk: int = 65_536) -> DomainPair:
    """The pair with a table in memory that holds the whitened vectors of its own texts only."""
    vectors = pair.vectors
    assert vectors is not None
    used = np.unique(np.concatenate([part[which] for part in (vectors.rows, vectors.titles) for which in DOMAINS]))
    used = used[used >= 0]
    parts = [
        whitening(vectors.table[used[start : start + chunk]].astype(np.float32)).astype(np.float16)
        for start in range(0, len(used), chunk)
    ]

    def renumbered(rows: Ints) -> Ints:
        return np.where(rows >= 0, np.searchsorted(used, rows), -1)

    table = np.concatenate(parts) if parts else np.zeros((0, vectors.width), np.float16)
    rows, titles = ({which: renumbered(part[which]) for which in DOMAINS} for part in (vectors.rows, vectors.titles))
    return replace(pair, vectors=EventVectors(vectors.key, vectors.name, table, rows, titles))
