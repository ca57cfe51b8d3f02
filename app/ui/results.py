"""The four numbers behind a verdict."""

from app.ui.cards import Number
from crossrec.report.frames import NDCG, moved
from crossrec.report.words import percent
from crossrec.runs.compare import Result


def numbers(result: Result, source: str) -> list[Number]:
    """The four numbers behind the verdict."""
    run = result.insight.challenger
    group = "with_source" if result.comparison.mean(run, "with_source") else "all"
    who = f"people with a {source} history" if group == "with_source" else "all people"
    before, after = result.comparison.mean(result.sides[0].run, group), result.comparison.mean(run, group)
    change, everyone = result.comparison.difference(run, group), result.comparison.mean(run, "all")
    assert before and after and change and everyone
    share = moved(result, run)
    clear = change.value.positive or change.value.negative
    return [
        Number(
            after.title,
            f"{after.value.mean:.3f}",
            f"{NDCG} Here over the {after.users:,} {who}.",
            f"{change.value.mean:+.3f}",
            "to baseline",
            "normal" if clear else "off",
        ),
        Number(
            before.title,
            f"{before.value.mean:.3f}",
            f"The baseline, by the same measure and the same {before.users:,} people: it has never seen {source}.",
            "NDCG@10",
            delta_color="off",
            arrow="off",
        ),
        Number(
            "Ranked higher for",
            percent(share["helped"]),
            f"Share of the {share['users']:,} {who} whose hidden item stands higher in the list of {after.title} than "
            f"in that of {before.title}. Two lists without anything between them give about half.",
            percent(share["hurt"]),
            "lower",
            "off",
            "off",
        ),
        Number(
            "People tested",
            f"{everyone.users:,}",
            f"Each with one or more hidden target events. {after.users:,} of them are {who}.",
            f"{after.users:,}",
            "with history" if group == "with_source" else "all alike",
            "off",
            "off",
        ),
    ]
