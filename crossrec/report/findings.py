"""What a comparison shows, in sentences that follow from its numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from crossrec.evaluation.benefit import FEW
from crossrec.evaluation.compare import HEADLINE
from crossrec.evaluation.protocol import SAMPLED
from crossrec.evaluation.statistics import Interval, mean_intervals
from crossrec.evaluation.verdict import p_words, signed
from crossrec.report.frames import chance_in_sample, means, ranks
from crossrec.report.words import capital, listed, percent
from crossrec.runs import controls
from crossrec.runs.coldstart import ColdResult
from crossrec.runs.compare import Result
from crossrec.runs.folder import open_run
from crossrec.runs.insight import ControlRow, Insight


def lead_sentence(result: Result | ColdResult) -> str:
    """Which recommender has the highest mean, and how far that is from the best possible."""
    frame = means(result)
    real = frame[frame["recipe"] != "oracle"]
    best = real.iloc[0]
    words = f"{best['title']} has the highest mean, {best['mean']:.3f}"
    oracle = frame[frame["recipe"] == "oracle"]
    return words + (
        f", {percent(best['mean'] / oracle.iloc[0]['mean'])} of what an oracle reaches" if len(oracle) else ""
    )


def metric_sentence(frame: pd.DataFrame, who: str) -> str:
    """What the differences per metric of one recommender say."""
    mine = frame[frame["title"] == who]
    up, down = list(mine[mine["low"] > 0]["label"]), list(mine[mine["high"] < 0]["label"])
    if len(up) == len(mine):
        return f"{who} gains in every metric"
    if len(down) == len(mine):
        return f"{who} loses in every metric"
    if not up and not down:
        return f"No metric tells {who} from the baseline"
    words = [f"{what} in {listed(names)}" for what, names in (("gains", up), ("loses", down)) if names]
    return f"{who} {' and '.join(words)}; the rest is not clear"


def group_sentence(frame: pd.DataFrame) -> str:
    """Who clearly gains or loses."""
    parts = frame[~frame["label"].str.startswith("Everyone")]
    short = parts["label"].str.split(" · ").str[0].str.replace(r" \(.*\)", "", regex=True)
    short = short.str[0].str.lower() + short.str[1:]
    up, down = list(short[parts["low"] > 0]), list(short[parts["high"] < 0])
    if not up and not down:
        return "No group of people clearly gains or loses"
    if len(up) == len(parts):
        return "Every group of people gains"
    rest = [name for name in short if name not in up]
    if len(rest) == 1 and not down:
        return f"Every group of people clearly gains, except one: {rest[0]}"
    sentence = "; ".join(f"{what}: {listed(who)}" for what, who in (("clear gains", up), ("clear losses", down)) if who)
    return capital(sentence)


def order_sentence(result: Result) -> str:
    """Whether the sampled protocol would have told the same story."""
    full, drawn = means(result), means(result, "sampled")
    times = drawn["mean"].max() / full["mean"].max()
    same = list(full["title"]) == list(drawn["title"])
    return f"Sampling makes the numbers up to {times:.1f} times as large, " + (
        "in the same order" if same else "and orders the recommenders differently"
    )


# --- who benefits ----------------------------------------------------------------------------------------------------


def benefit_sentence(found: Insight, kind: str, source: str, target: str) -> str:
    """Which slices of a kind clearly gain or lose."""
    judged = [one for one in found.slices if one.kind == kind and one.users >= FEW]
    if not judged:
        return f"Every slice has fewer than {FEW} people, so none is judged"
    up, down = [one for one in judged if one.helped], [one for one in judged if one.hurt]
    by = {"source": f"by {source} events", "target": f"by {target} events", "popularity": "by the hidden item"}[kind]
    if not up and not down:
        return f"No slice {by} clearly gains or loses"
    if len(up) == len(judged) > 1:
        return f"Every slice {by} that can be judged clearly gains"
    parts = [(what, of) for what, of in (("clear gains for", up), ("clear harm for", down)) if of]
    said = "; ".join(f"{what} {_whom(kind, [one.label for one in of], source, target)}" for what, of in parts)
    return capital(said)


def _whom(kind: str, labels: Sequence[str], source: str, target: str) -> str:
    if kind == "popularity":
        return f"people whose hidden item is among {listed(labels)}"
    events = "event" if labels == ["1"] else "events"
    return f"people with {listed(labels)} {source if kind == 'source' else target} {events}"


def harm_sentences(found: Insight, source: str, target: str) -> list[str]:
    """One for each slice that is harmed beyond chance."""
    return [
        f"{capital(one.whom(source, target))} are harmed: {one.users:,} people, NDCG@10 {one.before:.4f} → "
        f"{one.after:.4f}, {signed(one.difference.value)}, {p_words(one.difference)}."
        for one in found.slices
        if one.hurt
    ]


# --- is it transfer? -------------------------------------------------------------------------------------------------

TOLD = {
    "placebo": (
        "With somebody else's {source} history {who} {falls}: it is the person's own history that helps",
        "With somebody else's {source} history {who} ranks as well ({now}): it is not shown to use the person's own",
    ),
    "shuffled-order": (
        "With the {source} history in random order {who} {falls}: it uses the order of events",
        "With the {source} history in random order {who} ranks as well ({now}): the order is not shown to matter",
    ),
    "no-source": (
        "Without any {source} history {who} {falls}: the history is what it ranks by",
        "Without any {source} history {who} ranks as well ({now}): it is not shown to need the history",
    ),
}
"""Of each control, where something is lost and where nothing is shown to be."""


def control_sentence(row: ControlRow, baseline: str, source: str) -> str:
    """What one control of one recommender says."""
    lost = row.kept.loss
    now = f"{row.kept.value.mean:.4f}, which is {-lost.mean:+.4f}, 95 % interval {-lost.high:+.4f} to {-lost.low:+.4f}"
    words = TOLD[row.control][0 if row.kept.loss.positive else 1]
    sentence = words.format(source=source, who=row.title, falls=f"falls to {now}", now=now)
    if row.kept.loss.negative:
        sentence = f"{sentence.split(' ranks as well')[0]} ranks better ({now}): its use of the history does harm"
    if row.title == baseline:
        return f"{sentence}."
    left = "still better than" if row.gap.positive else "worse than" if row.gap.negative else "level with"
    return f"{sentence}; it is then {left} {baseline}."


def transfer_sentence(found: Insight, source: str) -> str:
    """The title of the chart of controls: what they say of the challenger together."""
    mine = {row.control: row for row in found.controls if row.run == found.challenger}
    if "placebo" not in mine:
        return f"What the recommenders lose without the right {source} history"
    row = mine["placebo"]
    if not row.kept.loss.positive:
        return f"{row.title} is not shown to use the person's own {source} history"
    left = "still better than" if row.gap.positive else "no better than"
    return f"{row.title} uses the person's own {source} history: with somebody else's it is {left} the baseline"


# --- how much it is worth --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Worth:
    """How many target events a source history stands for: the challenger that is shown none, and the baseline."""

    challenger: str
    baseline: str
    """Titles."""
    gaps: dict[int, Interval]
    """{k: the challenger with no event less the baseline with k, paired over people}."""
    flat: bool
    """Whether the baseline makes no use of what it is shown."""

    reads: bool
    """Whether the challenger reads the source, and the baseline does not: what it is ahead by is then transfer."""

    def sentence(self, target: str) -> str:
        """That it is worth some events is said only where it is clearly ahead with none revealed on either side."""
        start = f"With no {target} event revealed {self.challenger}"
        if not self.gaps[0].positive:
            return f"{start} is not shown to rank better than {self.baseline}"
        if self.flat:
            return f"{start} ranks better than {self.baseline}, which no revealed event changes"
        most = max(self.gaps)
        reached = next((k for k, gap in self.gaps.items() if gap.mean <= 0), None)
        if reached is None and self.gaps[most].positive:
            many, as_good = f"more than {most} {target} events", f"better than {self.baseline} with {most}"
        elif reached is not None and self.gaps[reached].negative:
            before = max(k for k in self.gaps if k < reached)
            many = f"{before} to {reached} {target} events" if before else f"less than {reached} {target} event"
            as_good = f"behind {self.baseline} with {reached}"
        else:
            at = reached or most
            many, as_good = f"about {at} {target} event{'s' if at > 1 else ''}", f"level with {self.baseline} with {at}"
            many += "" if reached else " or more"
        if not self.reads:
            return f"{start} is {as_good}"
        return f"Transfer is worth {many}: {start[0].lower()}{start[1:]} is {as_good}"


def worth(result: Result | ColdResult) -> Worth | None:
    """None where one of the two was not asked."""
    found = result.insight
    if found is None:
        return None
    challenger, baseline = (controls.read(open_run(run))[1] for run in (found.challenger, found.baseline))
    if 0 not in challenger or 0 not in baseline:
        return None
    start = challenger[0].sort_values("user")[HEADLINE].to_numpy(float)
    other = {k: table.sort_values("user")[HEADLINE].to_numpy(float) for k, table in baseline.items()}
    gaps = mean_intervals(np.stack([start - value for value in other.values()]))
    flat = all(np.array_equal(value, other[0]) for value in other.values())
    titles = {side.run: side.title for side in result.sides}
    reading = {row.run for row in found.controls}
    return Worth(
        titles[found.challenger],
        titles[found.baseline],
        dict(zip(other, gaps, strict=True)),
        flat,
        found.challenger in reading and found.baseline not in reading,
    )


# --- people, trainings, and how far it is to go ----------------------------------------------------------------------


def moves_sentence(result: Result | ColdResult) -> str:
    """How many people's hidden item moves up, down, or not at all."""
    assert result.insight is not None
    before, after = (ranks(result, run) for run in (result.insight.baseline, result.insight.challenger))
    up, down = float((after < before).mean()), float((after > before).mean())
    return (
        f"The hidden item stands higher for {percent(up)} of the people, lower for {percent(down)} and at the same "
        f"rank for {percent(1 - up - down)}"
    )


def seeds_sentence(found: Insight) -> str:
    """Whether the difference outlives another training."""
    assert found.seeds is not None
    both, alone = found.seeds.both, found.seeds.users
    if both.positive or both.negative:
        word = "gain" if both.positive else "loss"
        return f"The {word} is clear over people and over trainings: {signed(both)}"
    if alone.positive or alone.negative:
        return f"Clear for these trainings, but another training may turn it round: {signed(both)}"
    return f"Neither over people nor over trainings is a difference clear: {signed(both)}"


def way_sentence(frame: pd.DataFrame) -> str:
    """Who is nearest to the oracle."""
    best = frame.iloc[0]
    return (
        f"{best['title']} goes {percent(best['mean'])} of the way from popularity to the oracle, 95 % interval "
        f"{percent(best['low'])} to {percent(best['high'])}"
    )


def sample_sentence(rank: int, items: int) -> str:
    """What the sampled protocol makes of a hidden item at a true rank."""
    chance = float(chance_in_sample(rank, items))
    full = "a hit" if rank <= 10 else "a miss"
    return (
        f"An item that stands at rank {rank:,} of {items:,} is {full} in the full ranking; among 1 + {SAMPLED} it is "
        f"in the first ten {'nearly always' if chance > 0.999 else f'with a chance of {percent(chance)}'}"
    )
