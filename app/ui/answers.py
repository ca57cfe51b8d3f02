"""What the recommend page says of answers: sentences, badges, frames for charts and tables, the equal command."""

import hashlib
import json
import math
import shlex
from collections import Counter
from collections.abc import Sequence
from typing import Literal, NamedTuple

import pandas as pd

from app.ui.errors import capital
from crossrec.recommend.evidence import Evidence
from crossrec.recommend.explain import Change, Contribution, Explanation, MemberPart, WhatIf
from crossrec.recommend.person import Person
from crossrec.recommend.recommender import FALLBACK, Answer, Recommendation
from crossrec.runs.catalog import Item, shortened
from crossrec.training.recipes import RECIPES

PIECES = 8
"""Bars of an explanation."""
READINGS = 4
"""Pieces of which it is told how they were read."""
K = 10
"""Length of a list."""


class Badge(NamedTuple):
    words: str
    icon: str
    colour: Literal["blue", "orange", "green", "violet", "gray", "yellow"]
    help: str


# --- the answer ------------------------------------------------------------------------------------------------------


def invitation(source: str, target: str, single: bool) -> str:
    """What stands in the answer's place before anything is told."""
    reviews = "" if single else f"Write what somebody thought of something in {source}, or take one of the examples; "
    return capital(f"{reviews}name a person, or pick items: then you see what they would like in {target}.")


def mark(*parts: object) -> str:
    """A short text that is the same for the same parts, for the key of a widget."""
    return hashlib.sha256(repr(parts).encode("utf-8", "replace")).hexdigest()[:12]


def sentence(answer: Answer, title: str, person: Person, source: str) -> str:
    """The page's answer: what was counted, what comes first, and what that rests on."""
    if not answer.items:
        return f"{title} has nothing left to recommend: all of it is there already."
    first = answer.items[0]
    best = f"“{name(first)}”" + (f" by {first.creator}" if first.creator else "")
    if answer.basis == FALLBACK:
        return f"Nobody here has the id {shortened(str(person.user_id), 60)}, so this is what most people took: {best}."
    if answer.basis == "nothing known":
        return f"{title} can use nothing of what is known here: for everybody it puts {best} first."
    rests = {
        "source history": f"the {source} history",
        "target history": "what they took before",
        "both domains": "the history in both domains",
    }
    basis = answer.basis.removesuffix(" and reviews")
    words = rests.get(basis, basis) + (" and reviews" if basis != answer.basis else "")
    return f"From {counted(answer.evidence, person, source)}, {title} would put {best} first; it rests on {words}."


def counted(evidence: Sequence[Evidence], person: Person, source: str) -> str:
    """What was used, in numbers: "2 reviews about Screen and 14 events of u0012"."""
    used = [one.kind for one in evidence if one.used]
    words = []
    for kind, one, many in (
        ("review", f"one review about {source}", f"reviews about {source}"),
        ("item", "one picked item", "picked items"),
        ("event", f"one event of {person.user_id}", f"events of {person.user_id}"),
    ):
        if n := used.count(kind):
            words.append(one if n == 1 else f"{n} {many}")
    return ", ".join(words[:-1]) + (" and " if words[:-1] else "") + words[-1] if words else "nothing"


def badge(basis: str, source: str, target: str) -> Badge:
    """What an answer rests on, as a badge: words and an icon, not colour alone."""
    if basis == FALLBACK:
        return Badge(
            "Popularity only", ":material/groups:", "yellow", "The person is not known: most people took these items."
        )
    if basis == "nothing known":
        return Badge(
            "The same for everybody", ":material/groups:", "gray", "This model used nothing of what is known here."
        )
    history, reviews = basis.removesuffix(" and reviews"), basis.endswith("reviews")
    known = {
        "source history": Badge(f"{source} history", ":material/history:", "blue", f"It looked at {source} items."),
        "target history": Badge(f"{target} history", ":material/history:", "orange", f"It looked at {target} items."),
        "both domains": Badge(
            f"{source} and {target}", ":material/join_inner:", "green", "It looked at items of both domains."
        ),
        "reviews": Badge("Reviews", ":material/rate_review:", "violet", "It looked at what was written."),
    }
    found = known.get(history) or known["reviews"]
    if history == basis or not reviews:
        return found
    return Badge(f"{found.words}, and reviews", ":material/rate_review:", "violet", found.help)


def name(item: Recommendation | Item) -> str:
    return item.title or item.item_id


def labels(items: Sequence[Item]) -> dict[str, str]:
    """Title, creator and year of each id; two that read the same get their ids."""
    words = {}
    for one in items:
        beside = ", ".join(str(part) for part in (one.creator, one.year) if part)
        words[one.item_id] = name(one) + (f" ({beside})" if beside else "")
    many = Counter(words.values())
    return {item_id: word if many[word] == 1 else f"{word} [{item_id}]" for item_id, word in words.items()}


def about(item: Recommendation) -> str:
    """Creator, year, and how many took it."""
    by = ", ".join(str(one) for one in (item.creator, item.year) if one)
    taken = "taken by one person" if item.people == 1 else f"taken by {item.people:,} people"
    return f"{by} · {taken}" if by else capital(taken)


def facts(item: Recommendation, both: bool) -> str:
    """How well an item fits, its predicted stars, and whether the other list has it."""
    stars = "" if item.stars is None else f"{item.stars:.1f} stars predicted"
    return " · ".join(filter(None, (capital(item.fit), stars, "in both lists" if both else "")))


def readings(evidence: Sequence[Evidence]) -> list[str]:
    """How each piece was read where that is not plain to see, or why it was not."""
    noted = [one for one in evidence if one.note]
    words = []
    for one in noted[:READINGS]:
        taken = one.used and one.kind == "review" and one.title
        how = (
            f"taken for “{one.title}” and the next nearest in {one.domain} (similarity {one.similarity:.2f})"
            if taken
            else one.note
        )
        words.append(f"{label(one, 40)}: {how}.")
    rest = len(noted) - READINGS
    return [*words, f"And {rest} more."] if rest > 0 else words


def shared(left: Answer, right: Answer) -> tuple[set[str], str]:
    """Ids that are in both lists, and a sentence."""
    both = {one.item_id for one in left.items} & {one.item_id for one in right.items}
    longest = max(len(left.items), len(right.items))
    if not both:
        return both, f"The two lists share none of their {longest} items."
    words = "one item" if len(both) == 1 else f"{len(both)} items"
    first = left.items[0].item_id == right.items[0].item_id
    return both, f"The two lists share {words} of {longest}" + (", and agree on the first." if first else ".")


# --- why -------------------------------------------------------------------------------------------------------------


def label(piece: Evidence, most: int = 60) -> str:
    """A piece of evidence by its title or by what was written."""
    if piece.kind == "review":
        return f"“{shortened(piece.text or '', most)}”"
    return shortened(piece.title or piece.item_id or "", most)


def why(found: Explanation) -> str:
    """What an item owes most to."""
    top = max(found.contributions, key=lambda one: one.contribution, default=None)
    if top is None:
        return f"It stands in place {found.rank}."
    if top.contribution <= 0:
        return f"It stands in place {found.rank}, and nothing that was counted speaks for it: the others fit less."
    words = f"It stands in place {found.rank}, most of all because of {label(top.evidence)}"
    if top.rank_without == found.rank:
        return f"{words}; without that it would stand there too."
    return f"{words}; without that it would be in place {top.rank_without:,}."


def quotes(found: Explanation) -> list[tuple[str, str]]:
    """What others said of the item: a lead with stars and the nearest piece of evidence, and the text."""
    known = {one.index: one.evidence for one in found.contributions}
    out = []
    for one in found.quotes:
        words = [] if one.stars is None else [f"{one.stars:g} of 5 stars"]
        if one.nearest in known and one.cosine is not None:
            words.append(f"nearest to {label(known[one.nearest], 34)} (similarity {one.cosine:.2f})")
        out.append((", ".join(words), one.text))
    return out


def gate(share: float, source: str) -> str:
    """How far a transfer model lets the source in, in words."""
    steps = (
        (0.05, "Next to nothing"),
        (0.2, "A small part"),
        (0.29, "About a quarter"),
        (0.42, "About a third"),
        (0.58, "About half"),
        (0.71, "About two thirds"),
        (0.8, "About three quarters"),
        (0.95, "Most"),
    )
    words = next((words for most, words in steps if share < most), "Nearly all")
    return f"{words} of the answer comes from {source}."


def members(parts: Sequence[MemberPart]) -> str:
    """What the members of an ensemble say of an item, in words."""
    told = [f"{RECIPES[one.member].title} {100 * one.share:.0f} %" for one in parts]
    return f"Members of the ensemble, with their share of the score: {', '.join(told)}."


def bars(contributions: Sequence[Contribution]) -> pd.DataFrame:
    """label, which, domain, contribution, without, speaks: the pieces that matter most, largest first."""
    most = sorted(contributions, key=lambda one: -abs(one.contribution))[:PIECES]
    frame = pd.DataFrame(
        {
            "label": [label(one.evidence, 34) for one in most],
            "which": [one.evidence.which for one in most],
            "domain": [one.evidence.domain for one in most],
            "contribution": [one.contribution for one in most],
            "without": [f"place {one.rank_without:,}" for one in most],
            "speaks": ["for it" if one.contribution >= 0 else "against it" for one in most],
        }
    )
    again = frame.groupby("label").cumcount()
    frame["label"] += [f" ({n + 1})" if n else "" for n in again]
    return frame.sort_values("contribution", ascending=False, kind="stable", ignore_index=True)


# --- what if ---------------------------------------------------------------------------------------------------------


def pieces(evidence: Sequence[Evidence]) -> pd.DataFrame:
    """counts, stars, what, kind: one row a piece of evidence, to be edited."""
    kinds = {"review": "Review", "item": "Picked", "event": ""}
    rows = [
        {
            "counts": True,
            "stars": math.nan if one.stars is None else one.stars,
            "what": label(one, 90),
            "kind": " · ".join(
                filter(
                    None, (kinds[one.kind], "" if one.kind == "review" else one.domain, "" if one.used else "unused")
                )
            ),
        }
        for one in evidence
    ]
    return pd.DataFrame(rows, columns=["counts", "stars", "what", "kind"]).astype({"stars": "float64"})


def changes(before: pd.DataFrame, after: pd.DataFrame) -> tuple[Change, ...]:
    """What somebody changed; stars that were rubbed out count as before."""
    found = []
    for index, (old, new) in enumerate(zip(before["stars"], after["stars"], strict=True)):
        if not after["counts"].iloc[index]:
            found.append(Change(index))
        elif pd.notna(new) and new != old:
            found.append(Change(index, float(new)))
    return tuple(found)


def moved(found: WhatIf) -> pd.DataFrame:
    """now, item, was, move: the items of either list, in the order of the second."""
    last = max(len(found.before.items), len(found.after.items))
    rows = []
    for move in found.moves:
        was, now = (rank if rank and rank <= last else None for rank in (move.rank_before, move.rank_after))
        rows.append({"now": now, "item": move.title or move.item_id, "was": was, "move": step(was, now)})
    return pd.DataFrame(rows).astype({"now": "Int64", "was": "Int64"})


def step(was: int | None, now: int | None) -> str:
    """A move in words: "up 3"."""
    if now is None:
        return "gone"
    if was is None:
        return "new"
    return "stays" if was == now else f"up {was - now}" if was > now else f"down {now - was}"


def moved_sentence(found: WhatIf, table: pd.DataFrame) -> str:
    new, still = int((table["move"] == "new").sum()), bool((table["move"] == "stays").all())
    if still:
        return "Then nothing would change among the first ten."
    if not found.after.items:
        return "Then nothing would be left to recommend."
    first = name(found.after.items[0])
    stays = found.before.items and found.before.items[0].item_id == found.after.items[0].item_id
    others = "the same ten in another order" if not new else f"{new} of {len(found.after.items)} would be others"
    return f"Then {others}, and “{first}” would {'still ' if stays else ''}come first."


# --- the same elsewhere ----------------------------------------------------------------------------------------------


def command(run: str, person: Person, fallback: bool) -> str:
    """The command that gives the same list; stars are left out where not all reviews have some."""
    words = ["crossrec", "recommend", "--run", run]
    words += [] if person.user_id is None else [_option("user", person.user_id)]
    starred = all(review.stars is not None for review in person.reviews)
    for review in person.reviews:
        words.append(_option("review", review.text))
        words += [f"--stars={review.stars:g}"] if starred else []
    words += [_option("item", one) for one in (*person.source_items, *person.target_items)]
    return shlex.join(words + (["--fallback"] if fallback else []))


def stars_are_lost(person: Person) -> bool:
    """Whether the command, which takes stars for all reviews or for none, says less than the page."""
    given = [review.stars is not None for review in person.reviews]
    return any(given) and not all(given)


def body(run: str, person: Person) -> str:
    """What is sent to POST /api/recommend for the same list."""
    sent: dict[str, object] = {"run": run}
    if person.user_id is not None:
        sent["user_id"] = person.user_id
    if person.reviews:
        sent["reviews"] = [
            {"text": review.text} | ({} if review.stars is None else {"stars": review.stars})
            for review in person.reviews
        ]
    for key in ("source_items", "target_items"):
        if getattr(person, key):
            sent[key] = list(getattr(person, key))
    return json.dumps(sent | {"k": K}, indent=2, ensure_ascii=False)


def _option(option: str, value: str) -> str:
    return f"--{option}={value}"
