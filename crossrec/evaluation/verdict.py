"""The answer in words: one sentence that follows from the numbers, with the right hedge, and what goes with it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from crossrec.evaluation.benefit import FEW, Slice
from crossrec.evaluation.compare import HEADLINE, Comparison, find_row
from crossrec.evaluation.statistics import Interval, Paired


@dataclass(frozen=True)
class Verdict:
    """The answer to "does taste carry over?" in words."""

    answer: str
    """"yes", "no", "harm" or "unknown"."""
    headline: str
    """One sentence that stands alone."""
    details: list[str]
    """What else the numbers say: cold users, simple recommenders."""


def verdict(
    comparison: Comparison,
    transfer: str,
    baseline: str,
    simple: Sequence[str] = (),
    source_label: str = "source",
    target_label: str = "target",
) -> Verdict:
    """Puts the comparison of a transfer run with its baseline into words.

    Args:
        comparison: whose first side is the baseline.
        transfer, baseline: run names.
        simple: run names of simple recommenders in the comparison.
        source_label, target_label: names of the domains.
    """
    main = comparison.difference(transfer, "with_source")
    if main is None or main.users < FEW:
        n = main.users if main else 0
        few = f"Too few people with a {source_label} history to tell: {n} of them were tested, and {FEW} are the least."
        return Verdict("unknown", few, [])
    before, after = (comparison.mean(run, "with_source") for run in (baseline, transfer))
    assert before is not None and after is not None
    change = f"{HEADLINE.upper()} {before.value.mean:.4f} → {after.value.mean:.4f}, {signed(main.value)}"
    who = f"for the {main.users:,} people with a {source_label} history"
    if main.value.positive:
        answer, headline = "yes", f"Yes: {source_label} taste carries over to {target_label} {who} ({change})."
    elif main.value.negative:
        answer, headline = "harm", f"No, transfer does harm {who} ({change})."
    else:
        answer, headline = "no", f"No evidence of a gain from {source_label} {who} ({change})."
    details = []
    cold = comparison.difference(transfer, "cold_with_source")
    if cold is None or cold.users < FEW:
        details.append(f"There are too few cold users with a {source_label} history to judge them apart.")
    else:
        word = "gain" if cold.value.positive else "lose" if cold.value.negative else "show no evidence of a gain"
        details.append(f"Cold users with a {source_label} history ({cold.users:,}) {word}: {signed(cold.value)}.")
    without = comparison.difference(transfer, "without_source")
    if without is not None and without.users >= FEW:
        details.append(
            f"People without a {source_label} history ({without.users:,}), for whom nothing can carry over: "
            f"{signed(without.value)}."
        )
    for run in simple:
        row, best = comparison.mean(run), comparison.mean(transfer)
        gap = find_row(comparison.versus, run, "all", HEADLINE, "full")
        if row is None or best is None or gap is None or gap.value.negative:
            continue
        reached = f"{row.title} alone reaches {row.value.mean:.4f} over all users and transfer {best.value.mean:.4f}"
        if gap.value.positive:
            details.append(
                f"{reached}: on this data the simple recommender is the better choice ({signed(gap.value)})."
            )
        else:
            details.append(f"{reached}: neither is shown to be better ({signed(gap.value)}).")
    return Verdict(answer, headline, details)


def plain_verdict(comparison: Comparison, challenger: str, baseline: str) -> Verdict:
    """The verdict on any two runs, of which neither need be about transfer.

    Args:
        comparison: whose first side is the baseline.
        challenger, baseline: run names.
    """
    row, before, after = comparison.difference(challenger), comparison.mean(baseline), comparison.mean(challenger)
    if row is None or before is None or after is None or row.users < FEW:
        n = row.users if row else 0
        return Verdict("unknown", f"Too few people to tell: {n} were tested, and {FEW} are the least.", [])
    change = f"{HEADLINE.upper()} {before.value.mean:.4f} → {after.value.mean:.4f}, {signed(row.value)}"
    who = f"for the {row.users:,} people who were tested"
    if row.value.positive:
        return Verdict("yes", f"{after.title} ranks better than {before.title} {who} ({change}).", [])
    if row.value.negative:
        return Verdict("harm", f"{after.title} ranks worse than {before.title} {who} ({change}).", [])
    return Verdict("no", f"No evidence that {after.title} and {before.title} differ {who} ({change}).", [])


@dataclass(frozen=True)
class Kept:
    """What a recommender keeps under a control."""

    value: Interval
    """Mean NDCG@10 under the control, of the people with a source history."""
    loss: Interval
    """What it ranked better without the control, paired over them."""


def qualified(
    found: Verdict,
    challenger: str,
    test: Paired | None = None,
    placebo: Kept | None = None,
    slices: Sequence[Slice] = (),
    source_label: str = "source",
    target_label: str = "target",
    whom: str = "them",
) -> Verdict:
    """A verdict with what may change it: the placebo, people who are harmed, and how strong the evidence is.

    Args:
        found: that follows from the means alone.
        challenger: title of the recommender it is about.
        test: of the difference that it rests on.
        placebo: what the challenger keeps of its ranking with somebody else's source history.
        slices: of the people who were tested.
        source_label, target_label: names of the domains.
        whom: the people who were tested, where the verdict does not name them.
    """
    if found.answer == "unknown":
        return found
    details = []
    if test is not None:
        details.append(
            f"{_share(test.helped)} of {whom} gain, {_share(test.hurt)} lose and for {_share(test.unchanged)} nothing "
            f"changes; {p_words(test)}, effect size {test.effect:+.3f} of a standard deviation."
        )
    if placebo is not None:
        now = f"{placebo.value.mean:.4f}, {signed(placebo.loss)}"
        if placebo.loss.positive:
            details.append(
                f"Placebo: with somebody else's {source_label} history {challenger} falls to {now}: what helps is "
                "the person's own."
            )
        elif found.answer == "yes":
            found = replace(
                found,
                answer="no",
                headline=f"{challenger} ranks better, but with somebody else's {source_label} history it does as well "
                f"({now}): the gain is not taste that carries over.",
            )
        else:
            details.append(
                f"Placebo: with somebody else's {source_label} history {challenger} ranks as well ({now}): it is "
                "not shown to use the person's own."
            )
    hurt = [one for one in slices if one.hurt]
    if hurt and found.answer != "harm":
        worst = min(hurt, key=lambda one: one.difference.value.mean)
        found = replace(found, headline=f"{found.headline} But it harms {worst.whom(source_label, target_label)}.")
    details += [
        f"Harm for {one.whom(source_label, target_label)} ({one.users:,}): {signed(one.difference.value)}, "
        f"{p_words(one.difference)}."
        for one in hurt
    ]
    return replace(found, details=[*details, *found.details])


def p_words(test: Paired) -> str:
    """A p value in words: never 0."""
    p = test.p_holm
    return "p below 0.001 after Holm's correction" if p < 0.001 else f"p = {p:.3f} after Holm's correction"


def signed(value: Interval) -> str:
    return f"difference {value.mean:+.4f}, 95 % interval {value.low:+.4f} to {value.high:+.4f}"


def _share(share: float) -> str:
    return f"{100 * share:.0f} %"
