"""From a finished run to recommendations for a person."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from crossrec.data.histories import Histories
from crossrec.data.pair import DomainPair
from crossrec.errors import CrossrecError
from crossrec.models.recommender import Recommender
from crossrec.models.simple import Popularity
from crossrec.runs.execute import load
from crossrec.runs.folder import Run


@dataclass(frozen=True)
class Recommendation:
    rank: int
    item_id: str
    title: str | None
    creator: str | None
    year: int | None
    score: float
    """Comparable within one list only."""
    people: int
    """Training events of the item: how many took it."""


@dataclass(frozen=True)
class Answer:
    """A list for one person, and what it rests on."""

    run: str
    basis: str
    """"both domains", "source history", "target history", "nothing known" or "popularity fallback"."""
    n_source: int
    n_target: int
    items: list[Recommendation]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class RunRecommender:
    """A finished run opened for questions; load once, ask often."""

    def __init__(self, run: Run):
        """Raises CrossrecError where the run is not finished or its dataset has changed."""
        self.run = run
        self.recommender, view, split = load(run)
        self.counts = split.target_counts(view)
        config = run.config()
        pair = DomainPair.open(config["dataset"])
        # Answers rest on all that is known of a person; only tests hide something.
        self.which = config["domain"]
        self.pair = pair.source_alone(pair.source.counts) if self.which == "source" else pair
        self.catalogue = pair.items(self.which)

    def for_user(self, user_id: str, k: int = 10, fallback: bool = False) -> Answer:
        """The k best items that a user of the dataset does not have.

        Raises:
            CrossrecError: the user is unknown and `fallback` is off; the nearest ids are named.
        """
        try:
            row = np.array([self.pair.user_index(user_id)])
        except CrossrecError:
            if not fallback:
                raise
            nobody = Histories.of([[]], [[]])
            return self.answer(nobody, k, Popularity(self.counts), "popularity fallback")
        histories = self.pair.histories(row, self.pair.source.counts[row], self.pair.target.counts[row])
        return self.answer(histories, k)

    def answer(
        self, histories: Histories, k: int = 10, recommender: Recommender | None = None, basis: str | None = None
    ) -> Answer:
        """The k best items for a batch of one."""
        if len(histories) != 1:
            raise ValueError(f"one person at a time, and there are {len(histories)}")
        if k < 1:
            raise CrossrecError(f"k must be at least 1, and it is {k}.")
        chosen = recommender or self.recommender
        items, scores = chosen.recommend(histories, min(k, len(self.counts) - 1))
        n_source, n_target = int((histories.source > 0).sum()), int((histories.target > 0).sum())
        used = (n_source > 0 and "source" in chosen.uses, n_target > 0 and "target" in chosen.uses)
        if self.which == "source":  # a source recommender sees its domain in the target's place
            n_source, n_target, used = n_target, n_source, used[::-1]
        known = {(True, True): "both domains", (True, False): "source history", (False, True): "target history"}
        return Answer(
            run=self.run.name,
            basis=basis or known.get(used, "nothing known"),
            n_source=n_source,
            n_target=n_target,
            items=[
                self._about(i + 1, item, score)
                for i, (item, score) in enumerate(zip(items[0], scores[0], strict=True))
                if item
            ],
        )

    def _about(self, rank: int, item: int, score: float) -> Recommendation:
        row = self.catalogue.iloc[item - 1]
        text = {
            name: None if row[name] is None or row[name] != row[name] else str(row[name])
            for name in ("title", "creator")
        }
        year = row["year"]
        return Recommendation(
            rank=rank,
            item_id=str(row["item_id"]),
            title=text["title"],
            creator=text["creator"],
            year=None if year is None or year != year else int(year),
            score=float(score),
            people=int(self.counts[item]),
        )
