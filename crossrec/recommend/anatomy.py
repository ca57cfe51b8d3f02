"""What goes on inside a recommender for one person: attention, bridge and gate, tastes, and where the losses pull.

Everything is computed by the trained weights of a run; nothing is trained, and nothing is changed.

T events, D width, I items.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from crossrec.data.histories import Histories
from crossrec.models.racrec import RACRec
from crossrec.models.racrec_recommender import RACRecRecommender
from crossrec.models.recommender import Recommender
from crossrec.models.sasrec import SASRec, SASRecRecommender
from crossrec.models.taste_losses import domain_nll, separation
from crossrec.models.transfer import TransferRecommender, TransferSASRec
from crossrec.models.unified import UnifiedRecommender
from crossrec.recommend.evidence import Piece
from crossrec.recommend.recommender import Asked, RunRecommender
from crossrec.runs.catalog import Floats

COMPANY = 31
"""Other people beside whom the loss is asked that keeps tastes apart: of one person alone it is constant."""
LOSSES = ("pred", "rank", "diff", "class", "rec", "align")
"""Losses of the review model that reach a person's tastes, by the names of their parts in training/racrec.py."""


@dataclass(frozen=True)
class Seen:
    """A place of the sequence that a transformer reads: the start, or an item."""

    which: str
    """"start", "source" or "target"."""
    name: str


@dataclass(frozen=True)
class Attention:
    """How a transformer over items weighs the places of one person's sequence."""

    seen: list[Seen]
    """(T+1) the start state first, then the items, oldest first."""
    weights: Floats
    """(blocks, T+1, T+1) mean over heads; row t is what the state at place t takes from the places 0..t."""


@dataclass(frozen=True)
class Bridging:
    """How a source history enters the state of one person."""

    target: Floats
    """(D,) h, the state after the target events."""
    bridged: Floats
    """(D,) b, the source vector in the target space."""
    gate: Floats | None
    """(D,) g, the share of h in each dimension; None for a bridge without a gate."""
    fused: Floats
    """(D,) z, which is compared with the items."""
    present: bool
    """Whether there is a source event; without, z is h."""


@dataclass(frozen=True)
class Pull:
    """One loss of the review model, asked for one person."""

    loss: str
    """One of `LOSSES`."""
    value: float
    weight: float
    shared: float
    """Length of weight times gradient with respect to the shared tastes: how hard a step would move them."""
    specific: float
    """Of the specific ones."""


@dataclass(frozen=True)
class TasteReading:
    """What the review model reads of one person."""

    tastes: dict[str, Floats]
    """(D,) by "shared source", "specific source", "shared target", "specific target"; only of domains with reviews."""
    query: Floats
    """(2D,) [th; sp], which meets the items."""
    told_source: dict[str, float]
    """By "source" and "target": with which probability the domain classifier takes the shared taste for a source one;
    at 0.5 it cannot tell."""
    pulls: list[Pull]


def pieces_of(opened: RunRecommender, asked: Asked, newest: dict[str, int]) -> list[Piece]:
    """The pieces of evidence with only the newest so many of each domain, oldest first."""
    kept: list[Piece] = []
    for which in ("source", "target"):
        of = [piece for piece in asked.pieces if piece.shown.which == which]
        kept += of[len(of) - min(newest.get(which, len(of)), len(of)) :]
    return kept


@torch.inference_mode()
def attention(opened: RunRecommender, asked: Asked, pieces: Sequence[Piece]) -> Attention | None:
    """The attention over a person's sequence; None for recommenders that have none.

    Args:
        opened: the run.
        asked: what is known of the person.
        pieces: what of it is read.
    """
    recommender, histories = opened.recommender, opened.reader.histories([pieces], asked.user)
    if isinstance(recommender, UnifiedRecommender):
        merged, shift = histories.merged(recommender.model.n_source), recommender.model.n_source
        items = _right(merged, recommender.model.config.max_len)
        weights = recommender.model.attention(recommender._current(), items)
        seen = [_seen(opened, "source", n) if n <= shift else _seen(opened, "target", n - shift) for n in _list(items)]
    else:
        model = _sequence(recommender)
        if model is None:
            return None
        items = _right(histories.target, model.config.max_len)
        weights = model.attention(items)
        seen = [_seen(opened, opened.which, n) for n in _list(items)]
    return Attention([Seen("start", "start"), *seen], weights[:, 0].mean(1).numpy())


@torch.inference_mode()
def bridging(opened: RunRecommender, asked: Asked, pieces: Sequence[Piece]) -> Bridging | None:
    """How the source history enters; None for recommenders without a bridge."""
    recommender = opened.recommender
    if not isinstance(recommender, TransferRecommender) or recommender.bridge_config.bridge == "none":
        return None
    h, source, present = recommender._parts(opened.reader.histories([pieces], asked.user))
    bridge = recommender.model.bridge
    b = bridge.bridged(source)
    gate = bridge.gate(h, b)[0].numpy() if bridge.fusion == "gate" else None
    return Bridging(h[0].numpy(), b[0].numpy(), gate, bridge(h, source, present)[0].numpy(), bool(present[0]))


def tastes(
    opened: RunRecommender, asked: Asked, pieces: Sequence[Piece], weights: dict[str, float]
) -> TasteReading | None:
    """Tastes and pulls of one person; None for recommenders that are not the review model.

    The losses are those of training, of this person alone: "pred" and "rank" ask for the newest target item that is
    read, which a training would hide. Losses that need what is not there, such as stars, are left out.

    Args:
        opened: the run.
        asked: what is known of the person.
        pieces: what of it is read.
        weights: of the losses by name, as the run was trained.
    """
    recommender = opened.recommender
    if not isinstance(recommender, RACRecRecommender):
        return None
    model = recommender.model
    histories = opened.reader.histories([pieces])
    sides = recommender.sides(histories)
    with torch.no_grad():
        found = model.tastes(*sides)
        named = {
            "shared source": (found.shared_source, found.has_source),
            "specific source": (found.specific_source, found.has_source),
            "shared target": (found.shared_target, found.has_target),
            "specific target": (found.specific_target, found.has_target),
        }
        told = {
            which: float(F.softmax(model.classifier(named[f"shared {which}"][0]), -1)[0, 0])
            for which in ("source", "target")
            if named[f"shared {which}"][1][0]
        }
    others = model.tastes(*recommender.sides(opened.reader.histories(_company(opened, asked))))
    pulls = [] if model.config.classic else _pulls(recommender, histories, sides, others, weights)
    vectors = {name: vector[0].numpy() for name, (vector, there) in named.items() if there[0]}
    return TasteReading(vectors, found.query[0].numpy(), told, pulls)


def _pulls(
    recommender: RACRecRecommender, histories: Histories, sides: tuple[Any, Any], others: Any, weights: dict[str, float]
) -> list[Pull]:
    model = recommender.model.eval()
    with torch.enable_grad():
        found = model.tastes(*sides)
        s, t = bool(found.has_source[0]), bool(found.has_target[0])
        shared = [v for v, there in ((found.shared_source, s), (found.shared_target, t)) if there]
        specific = [v for v, there in ((found.specific_source, s), (found.specific_target, t)) if there]
        if not shared:
            return []
        parts = _parts(recommender, histories, found, others, s, t)
        pulls = []
        for name in LOSSES:
            weight = 1.0 if name == "pred" else weights.get(name, 0.0)
            if name not in parts or not weight:
                continue
            grads = torch.autograd.grad(parts[name], [*shared, *specific], retain_graph=True, allow_unused=True)
            lengths = [0.0 if one is None else float(one.norm()) for one in grads]
            first, rest = lengths[: len(shared)], lengths[len(shared) :]
            pulls.append(Pull(name, parts[name].item(), weight, weight * _length(first), weight * _length(rest)))
    return pulls


def _parts(
    recommender: RACRecRecommender, histories: Histories, found: Any, others: Any, s: bool, t: bool
) -> dict[str, Tensor]:
    """The losses that can be asked for one person."""
    model: RACRec = recommender.model
    parts = {}
    pairs = [(found.shared_source, found.specific_source)] * s + [(found.shared_target, found.specific_target)] * t
    company = [(others.shared_source, others.specific_source, others.has_source)] * s
    company += [(others.shared_target, others.specific_target, others.has_target)] * t
    apart = []
    for pair, (shared, specific, there) in zip(pairs, company, strict=True):
        together = [torch.cat([one, rest[there].detach()]) for one, rest in zip(pair, (shared, specific), strict=True)]
        # As the other losses are of this person alone, so is the part that this person has in it.
        apart.append(separation(*together) * len(together[0]))
    parts["diff"] = torch.stack(apart).sum() / 2
    empty = found.shared_source[:0]
    parts["class"] = domain_nll(
        model.classifier(found.shared_source if s else empty), model.classifier(found.shared_target if t else empty)
    )
    decoders = [(model.decode_source, found.source)] * s + [(model.decode_target, found.target)] * t
    told = [
        F.mse_loss(decode(torch.cat(pair, dim=-1)), wanted)
        for pair, (decode, wanted) in zip(pairs, decoders, strict=True)
    ]
    parts["rec"] = torch.stack(told).sum()
    if s and t:
        parts["align"] = F.mse_loss(found.shared_source, found.shared_target)
    last = int(histories.target[0, -1]) if histories.target.shape[1] else 0
    if last:
        products = model.product(recommender.items)
        if recommender.reading.ranks:
            logits = model.ranking(found.query, products)[:, 1:]
            parts["rank"] = F.cross_entropy(logits, torch.tensor([last - 1]))
        star = np.nan if histories.target_stars is None else float(histories.target_stars[0, -1])
        if recommender.rates and not np.isnan(star):
            person = model.person(recommender._usual(histories), recommender._bias(histories))
            told_stars = model.stars(found.query, products[[last]], torch.tensor([last]), person)
            parts["pred"] = (told_stars - star).square().mean()
    return parts


def _company(opened: RunRecommender, asked: Asked) -> list[list[Piece]]:
    """What is known of some other people of the dataset, spread over it."""
    n = opened.pair.n_users
    rows = [row for row in np.linspace(0, n - 1, min(COMPANY, n)).astype(int).tolist() if row != asked.user]
    return [opened.reader.events(opened.pair, row) for row in rows]


def _length(lengths: Sequence[float]) -> float:
    return float(np.hypot.reduce(lengths)) if lengths else 0.0


def _sequence(recommender: Recommender) -> SASRec | None:
    if isinstance(recommender, SASRecRecommender):
        return recommender.model
    if isinstance(recommender, TransferRecommender):
        assert isinstance(recommender.model, TransferSASRec)
        return recommender.model.sequence
    return None


def _right(items: NDArray[np.int64], max_len: int) -> Tensor:
    """(1, T) left-padded -> (1, T') without padding, the newest `max_len`."""
    return torch.from_numpy(items[:1, -max_len:][items[:1, -max_len:] > 0][None].copy())


def _list(items: Tensor) -> list[int]:
    return [int(number) for number in items[0]]


def _seen(opened: RunRecommender, which: str, number: int) -> Seen:
    item = opened.catalog.items(which, [number])[0]
    return Seen(which, item.title or item.item_id)
