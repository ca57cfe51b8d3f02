"""From a finished run to recommendations for a person."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossrec import paths
from crossrec.data.histories import Histories
from crossrec.data.pair import DomainPair
from crossrec.errors import CrossrecError
from crossrec.models.recommender import Floats, Recommender, hide_seen, top_k
from crossrec.models.simple import Popularity
from crossrec.recommend.evidence import Evidence, Piece, Reader
from crossrec.recommend.person import Person, checked_k
from crossrec.runs.catalog import Catalog, Item
from crossrec.runs.catalog_write import open_catalog
from crossrec.runs.folder import Run
from crossrec.training import recipes  # noqa: F401  a kind of recommender is known once it is imported

FALLBACK = "popularity fallback"
"""What the list of an unknown person rests on."""
BEST = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5)
"""Shares of the catalogue that have a name: an item is among the best 0.1 %, 1 %, ..."""


@dataclass(frozen=True)
class Recommendation:
    rank: int
    item_id: str
    title: str | None
    creator: str | None
    category: str | None
    year: int | None
    score: float
    """Comparable within one list only."""
    fit: str
    """The score in words: "among the best 1 %"."""
    top_share: float
    """Share of the items that the person does not have which score at least as high: 0.01 is the best hundredth."""
    stars: float | None
    """Predicted stars, 1 to 5; None where the recommender predicts none."""
    people: int
    """Training events of the item: how many took it."""


@dataclass(frozen=True)
class Answer:
    """A list for one person, and what it rests on."""

    run: str
    basis: str
    """What the recommender really looked at: "source history", "target history", "both domains", "reviews", one of
    the former "and reviews", "nothing known", or `FALLBACK`."""
    n_source: int
    """Source events and picked source items."""
    n_target: int
    n_reviews: int
    """Pasted reviews that were used."""
    items: list[Recommendation]
    evidence: list[Evidence]
    """Every piece of what is known: source events, target events, picked items, reviews."""
    notes: list[str]
    """Sentences about what could not be used."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Asked:
    """A person as the recommender sees them."""

    pieces: list[Piece]
    user: int | None
    """Row in the user table."""
    notes: tuple[str, ...] = ()


class RunRecommender:
    """A finished run, or an exported one, opened for questions; load once, ask often. Threads may share it."""

    def __init__(self, place: Run | Path):
        """Opens a run, the folder of a run, or a folder that `export` wrote.

        The dataset is not opened before a user id is asked for.

        Raises:
            CrossrecError: the run is not finished, or the folder is neither.
        """
        if isinstance(place, Path):
            exported = (place / "export.json").is_file()
            if not exported and not (place / "config.json").is_file():
                raise CrossrecError(f"{place} is neither a run nor what `crossrec export` wrote.")
            place = place if exported else Run(place)
        self.run = place if isinstance(place, Run) else None
        folder = place.folder if isinstance(place, Run) else place
        if self.run is not None and not self.run.finished:
            raise CrossrecError(f"Run {self.run.name!r} cannot be used: its state is {self.run.state!r}.")
        about = paths.read_json(folder / ("export.json" if self.run is None else "config.json"))
        self.name, self.title, self.recipe = str(about["run"]), str(about["title"]), str(about["recipe"])
        self.dataset, self.which = str(about["dataset"]), str(about["domain"])
        self.recommender = Recommender.load(folder / "recommender")
        self.catalog = Catalog(folder / "catalog") if self.run is None else open_catalog(self.run, self.recommender)
        self.shelf = self.catalog.shelf(self.which)
        """The items that it recommends."""
        if self.shelf.n_items != self.recommender.n_items:
            raise CrossrecError(
                f"The catalogue of {self.name!r} has {self.shelf.n_items:,} items and its recommender knows "
                f"{self.recommender.n_items:,}: remove {folder / 'catalog'} and it is made again."
            )
        self.counts = self.shelf.people
        self.reader = Reader(self.recommender, self.catalog, self.which)

    @cached_property
    def pair(self) -> DomainPair:
        """The dataset, for the histories of its users.

        Raises:
            CrossrecError: this is an export, which has none; or the dataset is gone or has changed.
        """
        if self.run is None:
            raise CrossrecError(f"{self.name!r} is an export and has no users: give reviews or items instead of an id.")
        return self.run.pair()

    def for_user(self, user_id: str, k: int = 10, fallback: bool = False) -> Answer:
        """The k best items that a user of the dataset does not have; as `ask`."""
        return self.ask(Person(user_id), k, fallback)

    def ask(self, person: Person, k: int = 10, fallback: bool = False) -> Answer:
        """The k best items that a person does not have. All that is known of them counts together.

        Args:
            person: a user id, reviews and picked items, in any combination.
            k: 1 to 100.
            fallback: of an unknown user, takes what else is told, or else answers by popularity, marked as such.

        Raises:
            CrossrecError: an item is unknown, or the user is and `fallback` is off; the nearest ids are named.
        """
        checked_k(k)
        asked = self.asked(person, fallback)
        return self.answer_from(asked, *self.ranked_by(asked, fallback), k)

    def asked(self, person: Person, fallback: bool = False) -> Asked:
        """What is known of a person, in pieces. Raises as `ask` does."""
        told = self.reader.told(person)
        if person.user_id is None:
            return Asked(told, None)
        try:
            user = self.pair.user_index(person.user_id)
        except CrossrecError:
            if not fallback or self.run is None:
                raise
            return Asked(told, None, (f"User {person.user_id[:80]!r} is not known.",))
        return Asked(self.reader.events(self.pair, user) + told, user)

    def ranked_by(self, asked: Asked, fallback: bool = False) -> tuple[Floats, str | None]:
        """(I+1,) scores for what is known of a person; and `FALLBACK` where they are popularity, for nothing is."""
        popular = self.popular(asked, fallback)
        return (self.scores(asked, [asked.pieces])[0], None) if popular is None else (popular, FALLBACK)

    def popular(self, asked: Asked, fallback: bool) -> Floats | None:
        """(I+1,) popularity, where it answers: `fallback` is wished, and nothing at all is known of a person."""
        if not fallback or asked.pieces or asked.user is not None:
            return None
        nobody = Histories.of([[]], [[]])
        return hide_seen(Popularity(self.counts).score(nobody), nobody)[0]

    def scores(self, asked: Asked, batch: Sequence[Sequence[Piece]]) -> Floats:
        """(B, I+1) scores for B lists of pieces of one person; -inf for what is in them and for padding."""
        histories = self.reader.histories(batch, asked.user)
        return hide_seen(self.recommender.score(histories), histories)

    def answer_from(self, asked: Asked, scores: Floats, basis: str | None, k: int) -> Answer:
        """The list of the k largest of (I+1,) scores; `basis` is given where they come from another recommender."""
        items, values = top_k(scores[None], min(k, self.shelf.n_items))
        chosen = items[0][items[0] > 0]
        stars = self._stars(asked, chosen) if basis is None else [None] * len(chosen)
        ordered = np.sort(scores[np.isfinite(scores)])
        shares = (1 - np.searchsorted(ordered, values[0][: len(chosen)]) / max(1, len(ordered))).tolist()
        evidence = self.reader.shown(asked.pieces)
        return Answer(
            run=self.name,
            basis=basis or basis_of(evidence),
            n_source=sum(e.which == "source" and e.kind != "review" for e in evidence),
            n_target=sum(e.which == "target" and e.kind != "review" for e in evidence),
            n_reviews=sum(e.kind == "review" and e.used for e in evidence),
            items=[
                _recommendation(rank, item, float(value), share, star)
                for rank, (item, value, share, star) in enumerate(
                    zip(self.shelf.items(chosen), values[0], shares, stars, strict=False), 1
                )
            ],
            evidence=evidence,
            notes=[*asked.notes, *_notes(evidence)],
        )

    def _stars(self, asked: Asked, items: NDArray[np.int64]) -> list[float | None]:
        """Predicted stars of some items, on the scale."""
        if not self.recommender.rates or not len(items):
            return [None] * len(items)
        histories = self.reader.histories([asked.pieces] * len(items), asked.user)
        return [float(star) for star in np.clip(self.recommender.rate(histories, items), 1, 5)]


def basis_of(evidence: Sequence[Evidence]) -> str:
    """What was used of some evidence, in a few words."""
    used = [one for one in evidence if one.used]
    source, target = (any(e.which == which and e.kind != "review" for e in used) for which in ("source", "target"))
    history = {(True, True): "both domains", (True, False): "source history", (False, True): "target history"}
    words = [history[source, target]] if source or target else []
    words += ["reviews"] if any(e.kind == "review" for e in used) else []
    return " and ".join(words) or "nothing known"


def fit_in_words(top_share: float) -> str:
    """Where a score stands among all: "among the best 5 %"."""
    best = next((share for share in BEST if top_share <= share), None)
    return "in the lower half" if best is None else f"among the best {100 * best:g} %"


def _recommendation(rank: int, item: Item, score: float, share: float, stars: float | None) -> Recommendation:
    return Recommendation(
        rank=rank,
        item_id=item.item_id,
        title=item.title,
        creator=item.creator,
        category=item.category,
        year=item.year,
        score=score,
        fit=fit_in_words(share),
        top_share=share,
        stars=stars,
        people=item.people,
    )


def _notes(evidence: Sequence[Evidence]) -> list[str]:
    """One sentence about the pasted reviews that were left out; each says why by itself."""
    left = sum(e.kind == "review" and not e.used for e in evidence)
    pasted = sum(e.kind == "review" for e in evidence)
    return [f"{left} of {pasted} reviews {'was' if left == 1 else 'were'} not used."] if left else []
