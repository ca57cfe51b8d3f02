"""Why an item is recommended, and what the list would be if something were not known.

The contribution of a piece of evidence is what the item's score loses without it, asked of the scorer itself. Pieces
that say the same share what they say, so contributions need not add up to the score.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossrec.errors import CrossrecError
from crossrec.models.ensemble import Ensemble
from crossrec.models.recommender import top_k
from crossrec.models.transfer import TransferRecommender
from crossrec.recommend.evidence import Evidence, Piece
from crossrec.recommend.person import Person, checked_k, checked_stars
from crossrec.recommend.recommender import FALLBACK, Answer, Asked, RunRecommender, basis_of
from crossrec.runs.catalog import Floats, Said, unit

MOST_EXPLAINED = 100
"""Pieces of evidence that are left out in turn, the last ones of a person."""
MOST_SCORES = 32_000_000
"""Scores computed in one call: leaving out a hundred pieces of a catalogue of a million takes several."""


@dataclass(frozen=True)
class Contribution:
    """What an item owes to one piece of evidence."""

    index: int
    """Of the evidence in `Answer.evidence`."""
    evidence: Evidence
    contribution: float
    """Score with all that is known, minus the score without this piece; negative where the piece speaks against it."""
    share: float
    """Contribution over the sum of all contributions' sizes: -1 to 1."""
    rank_without: int
    """Rank of the item, had this piece not been known."""
    keeps: bool
    """Whether the item is among the first k only because of this piece."""


@dataclass(frozen=True)
class MemberPart:
    """What an item owes to one member of an ensemble."""

    member: str
    """Name of its recipe."""
    weight: float
    contribution: float
    """Weight times log(items / rank); they add up to the score."""
    share: float
    """Contribution over the score, 0 to 1."""


@dataclass(frozen=True)
class Quote:
    """What somebody said of the item, and the piece of evidence that is nearest to it."""

    stars: float | None
    text: str
    cosine: float | None
    """-1 to 1; None where the run has no encoder, or nothing is known of the person."""
    nearest: int | None
    """Index of that piece."""


@dataclass(frozen=True)
class Explanation:
    run: str
    item_id: str
    title: str | None
    basis: str
    """As in `Answer`."""
    score: float
    rank: int
    """Among all items that the person does not have."""
    contributions: list[Contribution]
    """Largest first."""
    gate: float | None
    """How far a transfer model lets the source domain in, 0 to 1; None for other models and other bridges."""
    quotes: list[Quote]
    """Nearest first."""
    notes: list[str]
    members: list[MemberPart] = field(default_factory=list)
    """Of an ensemble, largest first; empty for other recommenders."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Change:
    """One thing that might have been otherwise."""

    evidence: int
    """Index in `Answer.evidence`."""
    stars: float | None = None
    """Its stars; None takes the piece away."""


@dataclass(frozen=True)
class Move:
    """An item of either list, and where it stands in both."""

    item_id: str
    title: str | None
    rank_before: int | None
    """None where the person has the item."""
    rank_after: int | None


@dataclass(frozen=True)
class WhatIf:
    before: Answer
    after: Answer
    moves: list[Move]
    """Of the items of either list, in the order of the second."""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def explain(
    run_recommender: RunRecommender, person: Person, item_id: str, k: int = 10, fallback: bool = False
) -> Explanation:
    """Why an item stands where it stands in a person's list.

    Args:
        run_recommender: the one that answers.
        person: as for `ask`.
        item_id: any item that could be recommended.
        k: length of the list that `Contribution.keeps` speaks of.
        fallback: as for `ask`.

    Raises:
        CrossrecError: as for `ask`; or the person has the item, so that it is not recommended at all.
    """
    checked_k(k)
    item = run_recommender.catalog.by_id(run_recommender.which, item_id)
    asked = run_recommender.asked(person, fallback)
    pieces, evidence = asked.pieces, run_recommender.reader.shown(asked.pieces)
    used = [i for i, one in enumerate(evidence) if one.used]
    tried = used[-MOST_EXPLAINED:]
    batch = [pieces, *(pieces[:i] + pieces[i + 1 :] for i in tried)]
    popular = run_recommender.popular(asked, fallback)
    basis = None if popular is None else FALLBACK
    scores, ranks = (
        _scores_and_ranks(run_recommender, asked, batch, item.item, k)
        if popular is None
        else (popular[[item.item]], _ranks(popular[None], item.item, k))
    )
    if np.isneginf(scores[0]):
        raise CrossrecError(f"{item.item_id!r} is among the items of this person, so it is not recommended to them.")
    lost = scores[0] - scores[1:]
    total = float(np.abs(lost).sum())
    contributions = [
        Contribution(
            index=i,
            evidence=evidence[i],
            contribution=float(loss),
            share=float(loss) / total if total else 0.0,
            rank_without=int(rank),
            keeps=bool(ranks[0] <= k < rank),
        )
        for i, loss, rank in zip(tried, lost, ranks[1:], strict=True)
    ]
    notes = list(asked.notes)
    if not used:
        notes.append("Nothing that is known of the person was used, so the item stands where it stands for everybody.")
    if len(tried) < len(used):
        notes.append(f"Of {len(used)} pieces of evidence, the last {len(tried)} were left out in turn.")
    return Explanation(
        run=run_recommender.name,
        item_id=item.item_id,
        title=item.title,
        basis=basis or basis_of(evidence),
        score=float(scores[0]),
        rank=int(ranks[0]),
        contributions=sorted(contributions, key=lambda one: -one.contribution),
        gate=None if basis else _gate(run_recommender, asked),
        quotes=_quotes(run_recommender, item.item, {i: pieces[i] for i in tried}),
        notes=notes,
        members=[] if basis else _members(run_recommender, asked, item.item),
    )


def what_if(
    run_recommender: RunRecommender, person: Person, changes: Sequence[Change], k: int = 10, fallback: bool = False
) -> WhatIf:
    """The list of a person, and the list had some of the evidence been missing or had other stars.

    Raises:
        CrossrecError: as for `ask`; or a change speaks of evidence that there is not, or of stars off the scale.
    """
    checked_k(k)
    asked = run_recommender.asked(person, fallback)
    wanted = {change.evidence: change for change in changes}
    for index, change in wanted.items():
        if not 0 <= index < len(asked.pieces):
            raise CrossrecError(
                f"There is no piece of evidence {index}: there are {len(asked.pieces)}, numbered from 0."
            )
        checked_stars(change.stars, f"evidence {index}")
    pieces = []
    for i, piece in enumerate(asked.pieces):
        stars = wanted[i].stars if i in wanted else piece.shown.stars
        if i not in wanted or stars is not None:
            pieces.append(piece.with_stars(stars))
    lists = (asked, replace(asked, pieces=pieces))
    ranked = [run_recommender.ranked_by(one, fallback) for one in lists]
    before, after = (run_recommender.answer_from(one, *by, k) for one, by in zip(lists, ranked, strict=True))
    return WhatIf(before, after, _moves(run_recommender, (before, after), [row for row, _ in ranked]))


def _moves(run_recommender: RunRecommender, lists: tuple[Answer, Answer], scores: list[Floats]) -> list[Move]:
    listed = [{one.item_id: one.rank for one in answer.items} for answer in lists]
    titles = {one.item_id: one.title for answer in lists for one in answer.items}

    def rank(which: int, item_id: str) -> int | None:
        row = scores[which]
        item = run_recommender.shelf.numbers[item_id]
        return None if np.isneginf(row[item]) else int(_ranks(row[None], item, len(listed[which]))[0])

    moves = [Move(item_id, title, rank(0, item_id), rank(1, item_id)) for item_id, title in titles.items()]
    return sorted(moves, key=lambda move: (move.rank_after is None, move.rank_after or 0))


def _scores_and_ranks(
    run_recommender: RunRecommender, asked: Asked, batch: list[list[Piece]], item: int, k: int
) -> tuple[Floats, NDArray[np.int64]]:
    """(B,) score and rank of an item for B lists of pieces."""
    size = max(1, MOST_SCORES // (run_recommender.shelf.n_items + 1))
    scores, ranks = [], []
    for start in range(0, len(batch), size):
        rows = run_recommender.scores(asked, batch[start : start + size])
        scores.append(rows[:, item])
        ranks.append(_ranks(rows, item, k))
    return np.concatenate(scores), np.concatenate(ranks)


def _ranks(rows: Floats, item: int, k: int) -> NDArray[np.int64]:
    """(B, I+1) scores -> (B,) rank of an item: its place in the list of k, which decides between equal scores, or
    behind it."""
    listed = top_k(rows, min(k, rows.shape[1] - 1))[0] == item
    behind = np.maximum(listed.shape[1] + 1, 1 + (rows > rows[:, item, None]).sum(axis=1))
    return np.where(listed.any(axis=1), 1 + listed.argmax(axis=1), behind)


def _gate(run_recommender: RunRecommender, asked: Asked) -> float | None:
    model = run_recommender.recommender
    if not isinstance(model, TransferRecommender):
        return None
    share = float(model.source_share(run_recommender.reader.histories([asked.pieces], asked.user))[0])
    return None if np.isnan(share) else share


def _members(run_recommender: RunRecommender, asked: Asked, item: int) -> list[MemberPart]:
    model = run_recommender.recommender
    if not isinstance(model, Ensemble):
        return []
    parts = model.parts(run_recommender.reader.histories([asked.pieces], asked.user))
    own = {name: float(part[0, item]) for name, part in parts.items()}
    total = sum(own.values())
    weights = dict(zip(model.members, model.weights.tolist(), strict=True))
    found = [MemberPart(name, weights[name], part, part / total if total else 0.0) for name, part in own.items()]
    return sorted(found, key=lambda one: -one.contribution)


def _quotes(run_recommender: RunRecommender, item: int, pieces: dict[int, Piece]) -> list[Quote]:
    """What others said of an item, nearest to the words of the pieces first."""
    said: list[Said] = run_recommender.shelf.said(item)
    words = run_recommender.reader.words
    known = {i: vector for i, piece in pieces.items() if (vector := _words_of(run_recommender, piece)) is not None}
    if not said or words is None or not known:
        return [Quote(one.stars, one.text, None, None) for one in said]
    cosines = unit(words.encode([one.text for one in said])) @ unit(np.stack(list(known.values()))).T
    best, indices = cosines.argmax(axis=1), list(known)
    quotes = [
        Quote(one.stars, one.text, float(np.clip(cosines[row, at], -1, 1)), indices[at])
        for row, (one, at) in enumerate(zip(said, best.tolist(), strict=True))
    ]
    return sorted(quotes, key=lambda quote: -(quote.cosine or 0.0))


def _words_of(run_recommender: RunRecommender, piece: Piece) -> Floats | None:
    """(W,) of a pasted review itself, and of an item what is said of it."""
    if piece.shown.kind == "review":
        return piece.vector
    vectors = run_recommender.catalog.shelf(piece.shown.which).vectors
    vector = None if vectors is None or not piece.item else np.asarray(vectors[piece.item], np.float32)
    return vector if vector is not None and vector.any() else None
