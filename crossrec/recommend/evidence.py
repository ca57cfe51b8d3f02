"""What is known of one person, piece by piece, and how the pieces become the histories that a recommender scores.

Every way to ask ends here: events of a known user, pasted reviews, picked items. So leaving one piece out, which is how
an answer is explained, asks the same scorer the same question. n pieces, W width of a text vector.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from crossrec.data.histories import TODAY, Histories, Reviews, pad
from crossrec.data.pair import DOMAINS, DomainPair
from crossrec.models.recommender import Recommender
from crossrec.recommend.person import Person
from crossrec.recommend.words import Words
from crossrec.runs.catalog import Catalog, shortened
from crossrec.text.dataset import event_text, title_text

Floats = NDArray[np.float32]
LONGEST = 400
"""Characters of a review that are shown."""
NEAREST = 3
"""Items that stand for a pasted review where only items are known."""
DISLIKED = 2.0
"""A pasted review of so few stars is no item that a person took."""


@dataclass(frozen=True)
class Evidence:
    """One thing that an answer rests on, or why it does not."""

    kind: str
    """"event" of a user of the dataset, "item" that was picked, or "review" that was pasted."""
    which: str
    """"source" or "target"."""
    domain: str
    """The domain's label."""
    item_id: str | None
    """None for a review that is read as words."""
    title: str | None
    text: str | None
    """What was written, shortened."""
    stars: float | None
    used: bool = True
    """Whether the recommender looked at it."""
    note: str | None = None
    """How it was read, or why not."""
    similarity: float | None = None
    """Cosine between a pasted review and the item that stands for it."""


@dataclass(frozen=True)
class Piece:
    """A piece of evidence with what it puts into the histories."""

    shown: Evidence
    item: int = 0
    """Enters the item sequence of its domain; 0 enters nothing."""
    vector: Floats | None = None
    """(W,) of its words; None where it has none."""
    also: tuple[int, ...] = ()
    """Items that enter before `item`: the next nearest to a review, for one alone may be about another thing."""
    time: float = np.inf
    """Of an event, in milliseconds, NaN where there is none; what is told now comes after every event."""

    def with_stars(self, stars: float | None) -> "Piece":
        return replace(self, shown=replace(self.shown, stars=stars))


class Reader:
    """Reads people as one recommender can: as items, as words, or not at all."""

    def __init__(self, recommender: Recommender, catalog: Catalog, which: str):
        """What reads.

        Args:
            recommender: whose `uses` say what it looks at.
            catalog: of the same run.
            which: the domain that is recommended; a recommender of the source domain sees it in the target's place.
        """
        self.catalog, self.most_reviews = catalog, recommender.most_reviews
        self.place = {"source": "target"} if which == "source" else {"source": "source", "target": "target"}
        """Where in the histories a domain stands."""
        self.reads_items = {d: p in recommender.uses for d, p in self.place.items()}
        self.reads_reviews = {d: f"{p} reviews" in recommender.uses for d, p in self.place.items()}
        encoder = recommender.encoder or catalog.encoder
        self.words = Words(encoder) if encoder is not None else None

    # --- from a person to pieces ------------------------------------------------------------------

    def told(self, person: Person) -> list[Piece]:
        """What a person tells: picked items, then reviews.

        Raises:
            CrossrecError: an item is not in the catalogue.
        """
        picked = [
            (w, i) for w, ids in zip(DOMAINS, (person.source_items, person.target_items), strict=True) for i in ids
        ]
        return [self._picked(which, item_id) for which, item_id in picked] + self._pasted(person)

    def _picked(self, which: str, item_id: str) -> Piece:
        item = self.catalog.by_id(which, item_id)
        shelf = self.catalog.shelf(which)
        vector = None
        if self.reads_reviews[which] and shelf.vectors is not None:
            vector = np.asarray(shelf.vectors[item.item], np.float32) * shelf.scale
        shown = Evidence("item", which, shelf.label, item.item_id, item.title, None, None)
        return Piece(shown, item.item, vector if vector is not None and vector.any() else None)

    def _pasted(self, person: Person) -> list[Piece]:
        label = self.catalog.shelves["source"].label if "source" in self.catalog.shelves else "source"
        shown = [
            Evidence("review", "source", label, None, None, shortened(review.text, LONGEST), review.stars)
            for review in person.reviews
        ]
        reads = self.reads_items["source"] or self.reads_reviews["source"]
        if not shown or self.words is None or not reads or "source" not in self.catalog.shelves:
            return [Piece(one) for one in shown]
        vectors = self.words.encode([review.text for review in person.reviews])
        readable = np.any(vectors, axis=1)
        if not self.reads_items["source"]:
            return [Piece(*one) for one in zip(shown, [0] * len(shown), _or_none(vectors, readable), strict=True)]
        items, cosines = self.catalog.nearest("source", vectors, NEAREST)
        pieces = []
        for one, (item, *others), cosine, vector in zip(
            shown, items.tolist(), cosines[:, 0].tolist(), _or_none(vectors, readable), strict=True
        ):
            if vector is None or not item:
                pieces.append(Piece(one, vector=vector if self.reads_reviews["source"] else None))
                continue
            about = self.catalog.items("source", [item])[0]
            matched = replace(one, item_id=about.item_id, title=about.title, similarity=cosine)
            pieces.append(Piece(matched, item, vector, tuple(other for other in reversed(others) if other)))
        return pieces

    def events(self, pair: DomainPair, user: int) -> list[Piece]:
        """All events of a user, oldest first: those of the source domain, then those of the target."""
        pieces: list[Piece] = []
        for which in self.place:
            domain = pair.domain(which)
            at = np.arange(domain.offsets[user], domain.offsets[user + 1])
            if not len(at):
                continue
            shelf = self.catalog.shelf(which)
            items, texts = shelf.items(domain.items[at].astype(np.int64)), written(pair, which, user)
            vectors: Sequence[Floats | None] = [None] * len(at)
            if self.reads_reviews[which] and self.words is not None:
                read = [text or title_text(item.title, item.creator) for item, text in zip(items, texts, strict=True)]
                encoded = self.words.encode(read, stored=True)
                vectors = _or_none(encoded, np.array([bool(text) for text in read]))
            stars = [None] * len(at) if domain.ratings is None else [_star(one) for one in domain.ratings[at]]
            label = shelf.label
            times = [np.nan] * len(at) if domain.times is None else domain.times[at].tolist()
            rows = zip(items, texts, stars, vectors, times, strict=True)
            pieces += [
                Piece(
                    Evidence("event", which, label, item.item_id, item.title, shortened(text, LONGEST) or None, star),
                    item.item,
                    vector,
                    time=time,
                )
                for item, text, star, vector, time in rows
            ]
        return pieces

    # --- from pieces to histories -----------------------------------------------------------------

    def histories(self, batch: Sequence[Sequence[Piece]], user: int | None = None) -> Histories:
        """The histories of B lists of pieces; `user` is the row of a known user, the same in all of them."""
        parts: dict[str, Any] = {"source": pad([[]] * len(batch)), "target": pad([[]] * len(batch))}
        times: dict[str, list[list[float]]] = {place: [[]] * len(batch) for place in ("source", "target")}
        for which, place in self.place.items():
            chosen = [_sequence(self._items(pieces, which)) for pieces in batch]
            parts[place] = pad([[item for item, _, _ in sequence] for sequence in chosen])
            times[place] = [[time for _, _, time in sequence] for sequence in chosen]
            stars = np.full(parts[place].shape, np.nan, np.float32)
            for row, sequence in zip(stars, chosen, strict=True):
                if sequence:
                    row[-len(sequence) :] = [given for _, given, _ in sequence]
            parts[f"{place}_stars"] = None if np.isnan(stars).all() else stars
            if self.reads_reviews[which]:
                parts[f"{place}_reviews"] = self._stacked([self._read(pieces, which) for pieces in batch])
            parts[f"{place}_times"] = pad([[_milliseconds(time) for _, _, time in sequence] for sequence in chosen])
        users = None if user is None else np.full(len(batch), user, np.int64)
        shelves = self.catalog.shelves
        labels = {place: shelves[which].label for which, place in self.place.items() if which in shelves}
        first = labels.get("source", "") <= labels["target"]
        parts["source_before"] = pad(
            [_before(*both, first) for both in zip(times["source"], times["target"], strict=True)]
        )
        return Histories(users=users, **parts)

    def shown(self, pieces: Sequence[Piece]) -> list[Evidence]:
        """The evidence of the pieces, with what became of each."""
        items = {id(p) for which in self.place if self.reads_items[which] for p in self._items(pieces, which)}
        read = {
            id(p)
            for which in self.place
            if self.reads_reviews[which]
            for p in self._read(pieces, which)
            if p.vector is not None
        }
        return [
            replace(piece.shown, used=(used := id(piece) in items or id(piece) in read), note=self._note(piece, used))
            for piece in pieces
        ]

    def _items(self, pieces: Sequence[Piece], which: str) -> list[Piece]:
        """The pieces whose items make the sequence of a domain; what is told twice, or known already, counts once."""
        chosen, seen = [], set()
        for piece in pieces:
            wanted = piece.item and piece.shown.which == which and not _disliked(piece)
            if wanted and (piece.shown.kind == "event" or piece.item not in seen):
                chosen.append(piece)
                seen.add(piece.item)
        return chosen

    def _read(self, pieces: Sequence[Piece], which: str) -> list[Piece]:
        """The pieces whose words are read: the last K of a domain, so what is told comes before what is old."""
        return [piece for piece in pieces if piece.shown.which == which][-self.most_reviews :]

    def _stacked(self, batch: Sequence[Sequence[Piece]]) -> Reviews:
        width = next((len(p.vector) for pieces in batch for p in pieces if p.vector is not None), 0)
        longest = max((len(pieces) for pieces in batch), default=0) if width else 0
        out = Reviews.none(len(batch), longest, width)
        assert out.items is not None
        for b, pieces in enumerate(batch):
            for k, piece in enumerate(pieces, longest - len(pieces)):
                if piece.vector is not None:
                    out.vectors[b, k], out.mask[b, k] = piece.vector, True
                    out.stars[b, k] = _nan(piece.shown.stars)
                    # A pasted review is about something that nobody named, even where an item stands for it.
                    out.items[b, k] = 0 if piece.shown.kind == "review" else piece.item
        return out

    def _note(self, piece: Piece, used: bool) -> str | None:
        one = piece.shown
        if used:
            match = one.kind == "review" and one.similarity is not None
            many = f"the {1 + len(piece.also)} nearest items" if piece.also else "the nearest item"
            return f"taken for {many} of {one.domain}, similarity {one.similarity:.2f}" if match else None
        if not (self.reads_items.get(one.which) or self.reads_reviews.get(one.which)):
            hidden = one.kind != "review" and self.place.get(one.which) == "target"
            return "only kept out of the list" if hidden else f"not used: this run does not look at {one.domain}"
        if _disliked(piece):
            return "left out: with 2 stars or fewer it did not please, and this run knows only what people took"
        if one.kind == "review" and piece.vector is None:
            return (
                "left out: this run has no words to compare it with"
                if self.words is None
                else ("left out: the encoder knows none of its words")
            )
        if self.reads_items[one.which]:
            return "counted once: it is there already"
        many = f"left out: only the last {self.most_reviews} of {one.domain} are read"
        return "left out: it has no words" if piece.vector is None else many


def written(pair: DomainPair, which: str, user: int) -> list[str]:
    """What a user wrote at each event of a domain, oldest first; "" where there is nothing."""
    with _database().cursor() as con:
        rows = con.execute(
            "select title, text from read_parquet(?, file_row_number = true) where user = ? order by file_row_number",
            [str(pair.folder / f"{which}.events.parquet"), user],
        ).fetchall()
    return [event_text(*row) for row in rows]


@cache
def _database() -> duckdb.DuckDBPyConnection:
    """Opened once, for opening takes longer than a user's reviews."""
    return duckdb.connect()


def _milliseconds(time: float) -> int:
    """What histories have for the time of a piece."""
    return 0 if np.isnan(time) else TODAY if time == np.inf else int(time)


def _before(source: list[float], target: list[float], first: bool) -> list[int]:
    """How many source items came before each target item, by their times in order, as `DomainPair.merged_before`.

    first: whether a source item goes before a target item of the same instant. What is told goes so in any case, and
    without times all source items do.
    """
    if np.isnan([*source, *target]).any():
        return [len(source)] * len(target)
    return [bisect_right(source, time) if first or time == np.inf else bisect_left(source, time) for time in target]


def _sequence(pieces: Sequence[Piece]) -> list[tuple[int, float, float]]:
    """Items, stars and times of the pieces, in order; an item that stands beside a review's nearest one counts once."""
    seen, out = {piece.item for piece in pieces}, []
    for piece in pieces:
        for item in (*piece.also, piece.item):
            if item == piece.item or item not in seen:
                seen.add(item)
                out.append((item, _nan(piece.shown.stars), piece.time))
    return out


def _disliked(piece: Piece) -> bool:
    """Whether a review is so bad that the item that stands for it must not count as taken."""
    shown = piece.shown
    return shown.kind == "review" and piece.item > 0 and shown.stars is not None and shown.stars <= DISLIKED


def _or_none(vectors: Floats, there: Any) -> list[Floats | None]:
    return [vector if yes else None for vector, yes in zip(vectors, there.tolist(), strict=True)]


def _star(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _nan(stars: float | None) -> float:
    return np.nan if stars is None else stars
