"""Controls: the same recommender asked the same questions, with something taken from what it is shown.

What a gain rests on shows when it goes away. The **placebo** shows each person somebody else's source history: a
recommender that ranks as well with it has not used the person's own. The **shuffled order** shows the own source
history in random order. **Without source**, nothing of it is shown. And the **shots** reveal 0, 1, 2, ... target events
to the same people, who are asked for the same items.

Q questions, U users.
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from crossrec.data.histories import Histories, Ints, ranges
from crossrec.data.pair import Domain, DomainPair
from crossrec.data.split import Questions
from crossrec.errors import CrossrecError, nearest
from crossrec.models.recommender import Recommender

CONTROLS = {
    "placebo": "With somebody else's source history",
    "shuffled-order": "With the source history in random order",
    "no-source": "Without the source history",
}
"""Each control, and how it is called."""
SHOTS = (0, 1, 2, 3, 5, 10)
"""Target events that are revealed."""
MOST = 2000
"""People who are asked with each number of shots, drawn where there are more."""
LEAST = 100
"""People that a number of shots needs: it is left out where fewer have so many events."""


@dataclass(frozen=True)
class Shown:
    """What recommenders are shown in place of what is known: row b of `questions` here for row b of those asked."""

    pair: DomainPair
    questions: Questions

    def histories(self, rows: Ints) -> Histories:
        return self.questions.take(rows).histories(self.pair)


def controls_of(recommender: Recommender) -> list[str]:
    """The controls that can change anything for a recommender; none for one that reads nothing of the source."""
    if not {"source", "source reviews"} & recommender.uses:
        return []
    return [name for name in CONTROLS if name != "shuffled-order" or recommender.ordered]


def control(name: str, pair: DomainPair, questions: Questions, seed: int = 0) -> Shown:
    """What a control shows for each question.

    Args:
        name: one of `CONTROLS`.
        pair: the dataset.
        questions: that are asked.
        seed: of the permutations. People without a source history keep none; with fewer than two that have one, the
            placebo has nobody else's to show.

    Raises:
        CrossrecError: there is no such control.
    """
    rng = np.random.default_rng(seed)
    if name == "no-source":
        return Shown(pair, replace(questions, source_end=np.zeros_like(questions.source_end)))
    if name == "placebo":
        whose = _strangers(questions, rng)
        starts, ends = pair.source.offsets[questions.user[whose]], questions.source_end[whose]
        shown = _shown(pair, "source", questions, ranges(starts, ends)[0], ends)
        times = pair.source.times
        if times is None or not len(times):
            return shown
        # It ends when the own one does: a recommender that goes by the time is shown another taste, at the same time.
        own = pair.source.offsets[questions.user] + questions.source_end - 1
        later = np.where(ends > 0, times[own] - times[starts + ends - 1], 0)
        moved = shown.pair.source.times + np.repeat(later, ends)
        return replace(shown, pair=replace(shown.pair, source=replace(shown.pair.source, times=moved)))
    if name == "shuffled-order":
        ends = questions.source_end
        events, owner = ranges(pair.source.offsets[questions.user], ends)
        return _shown(pair, "source", questions, events[np.lexsort((rng.random(len(events)), owner))], ends)
    raise CrossrecError(f"There is no control {name!r}.{nearest(name, CONTROLS)}")


def shots(pair: DomainPair, questions: Questions, cold: bool) -> tuple[Questions, dict[int, Shown]]:
    """The questions of those who have the most target events, with 0, 1, 2, ... of them revealed.

    The same people are asked for the same items at each number of shots, so that a curve over them is one of shots and
    not of people. What is revealed are the last events before the items that are asked for; all their own earlier
    items are left out of the ranking, revealed or not.

    Args:
        pair: the dataset.
        questions: of a part of a split.
        cold: whether the split hides whole people: then the first of their hidden events are what can be revealed, and
            they are asked for the others.

    Returns:
        The questions (empty where fewer than `LEAST` people have any target event to reveal), and by number of shots
        what is shown.
    """
    starts = questions.target_end
    there = (questions.truth_end - starts - 1) if cold else starts
    most = max((k for k in SHOTS if (there >= k).sum() >= LEAST), default=0)
    if not most:
        return questions.take(np.zeros(0, np.int64)), {}
    able = np.flatnonzero(there >= most)
    if len(able) > MOST:
        able = np.sort(np.random.default_rng(0).choice(able, MOST, replace=False))
    asked = questions.take(able)
    if cold:
        asked = replace(asked, target_end=asked.target_end + most)
    out = {}
    for k in SHOTS[: SHOTS.index(most) + 1]:
        counts = np.full(len(asked), k)
        events = ranges(pair.target.offsets[asked.user] + asked.target_end - k, counts)[0]
        out[k] = _shown(pair, "target", asked, events, counts)
    return asked, out


def _strangers(questions: Questions, rng: np.random.Generator) -> Ints:
    """(Q,) whose source history each question shows: of those who have one, another's; never one's own."""
    whose = np.arange(len(questions))
    known = np.flatnonzero(questions.source_end > 0)
    if len(known) > 1:
        order = rng.permutation(known)
        whose[order] = np.roll(order, 1)  # one cycle: nobody comes back to himself
    return whose


def _shown(pair: DomainPair, which: str, questions: Questions, events: Ints, counts: Ints) -> Shown:
    """A pair in which row b of the questions is a person of its own, whose history in a domain is counts[b] `events`.

    events: (sum of counts,) positions in the domain's flat arrays, question by question.
    """
    other = "target" if which == "source" else "source"
    ends = {which: counts, other: questions.target_end if other == "target" else questions.source_end}
    picked = {which: events}
    picked[other] = ranges(pair.domain(other).offsets[questions.user], ends[other])[0]
    domains = {name: _domain(pair.domain(name), picked[name], ends[name]) for name in picked}
    vectors = pair.vectors
    if vectors is not None:
        vectors = replace(vectors, rows={name: vectors.rows[name][picked[name]] for name in picked})
    made = replace(pair, source=domains["source"], target=domains["target"], vectors=vectors)
    rows = np.arange(len(questions))
    asked = Questions(rows, ends["source"].astype(np.int64), ends["target"].astype(np.int64), np.zeros_like(rows))
    return Shown(made, asked)


def _domain(domain: Domain, events: Ints, counts: Ints) -> Domain:
    times = None if domain.times is None else domain.times[events]
    if times is not None:  # stay in order where the items were put into another one
        times = times[np.lexsort((times, np.repeat(np.arange(len(counts)), counts)))]
    return replace(
        domain,
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        items=domain.items[events],
        times=times,
        ratings=None if domain.ratings is None else domain.ratings[events],
    )


def stacked(tables: dict[str, pd.DataFrame], name: str) -> pd.DataFrame:
    """Per-user tables under each other, with their key in the column `name` first."""
    return pd.concat([table.assign(**{name: key})[[name, *table.columns]] for key, table in tables.items()])
