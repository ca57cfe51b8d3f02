"""A comparison as frames for charts, numbers for cards and sentences for titles."""

from collections.abc import Sequence

import pandas as pd

from app.ui.cards import Number
from app.ui.errors import capital, percent
from crossrec.evaluation.compare import HEADLINE, Row
from crossrec.evaluation.protocol import COLD, GROUPS, group_masks
from crossrec.runs.coldstart import ColdResult
from crossrec.runs.compare import ORACLE, TRANSFER, Result
from crossrec.runs.folder import Run, open_run

METRICS = ("ndcg@10", "hr@10", "mrr@10")
"""Of the charts. With one hidden item a person recall is the hit rate and precision a tenth of it."""
NAMES = {"ndcg@10": "NDCG@10", "hr@10": "Hit rate@10", "mrr@10": "MRR@10"}
NDCG = (
    "NDCG@10: how high the hidden item stands among the first ten. 1 in first place, 0.63 in second, 0.29 in tenth, 0 "
    "below. The mean over people, with the whole catalogue ranked."
)


def recipes(result: Result | ColdResult) -> dict[str, str]:
    """{run: recipe}, with the oracle as its own."""
    return {s.run: ORACLE if s.run == ORACLE else open_run(s.run).config()["recipe"] for s in result.sides}


def challenger(result: Result) -> str:
    """The run that the page is about: transfer where it is among them, else the second."""
    known = recipes(result)
    others = [side.run for side in result.sides[1:]]
    return next((run for run in others if known[run] == TRANSFER), others[0])


def title(result: Result | ColdResult, run: str) -> str:
    return next(side.title for side in result.sides if side.run == run)


def group_names(source: str) -> dict[str, str]:
    """Short names of the groups, for axes and sentences."""
    return {
        "all": "Everyone",
        "cold": f"Cold (at most {COLD} events)",
        "warm": f"Warm (more than {COLD})",
        "with_source": f"With {source} history",
        "without_source": f"Without {source} history",
        "cold_with_source": f"Cold with {source} history",
    }


def means(
    result: Result | ColdResult, protocol: str = "full", group: str = "all", metric: str = HEADLINE
) -> pd.DataFrame:
    """label, title, recipe, mean, low, high, users: one row a recommender, best first."""
    found = [result.comparison.mean(side.run, group, metric, protocol) for side in result.sides]
    frame = to_frame([(row.title, row) for row in found if row is not None], recipes(result))
    return frame.sort_values("mean", ascending=False, kind="stable", ignore_index=True)


def by_metric(result: Result, group: str = "all") -> pd.DataFrame:
    """Differences of every chosen run to the baseline, for each metric."""
    rows = [
        (NAMES[metric], row)
        for metric in METRICS
        for side in result.sides[1:]
        if side.run != "oracle" and (row := result.comparison.difference(side.run, group, metric)) is not None
    ]
    return to_frame(rows, recipes(result))


def by_group(result: Result, run: str, source: str, metric: str = HEADLINE) -> pd.DataFrame:
    """Differences of one run to the baseline, for each group of people that has anybody."""
    names = group_names(source)
    rows = [(group, result.comparison.difference(run, group, metric)) for group in GROUPS]
    return to_frame([(f"{names[group]} · {row.users:,}", row) for group, row in rows if row], recipes(result))


def moved(result: Result, run: str) -> dict[str, float]:
    """Shares of people whose hidden item stands higher ("helped") or lower ("hurt") than with the baseline.

    Of the people with a source history, or of all where there is none.
    """
    tables = {side.run: side.table.sort_values("user").reset_index(drop=True) for side in result.sides}
    before, after = tables[result.sides[0].run], tables[run]
    mask = group_masks(before)["with_source"]
    if not mask.any():
        mask = ~mask
    gain = (before["rank"] - after["rank"])[mask]
    return {"helped": float((gain > 0).mean()), "hurt": float((gain < 0).mean()), "users": int(mask.sum())}


def numbers(result: Result, source: str) -> list[Number]:
    """The four numbers behind the verdict."""
    run = challenger(result)
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
    words = [f"{what} in {_list(names)}" for what, names in (("gains", up), ("loses", down)) if names]
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
    sentence = "; ".join(f"{what}: {_list(who)}" for what, who in (("clear gains", up), ("clear losses", down)) if who)
    return capital(sentence)


def order_sentence(result: Result) -> str:
    """Whether the sampled protocol would have told the same story."""
    full, drawn = means(result), means(result, "sampled")
    times = drawn["mean"].max() / full["mean"].max()
    same = list(full["title"]) == list(drawn["title"])
    return f"Sampling makes the numbers up to {times:.1f} times as large, " + (
        "in the same order" if same else "and orders the recommenders differently"
    )


def no_verdict(result: Result) -> str:
    """The answer where baseline and transfer are not both among the runs."""
    first, run = result.sides[0], challenger(result)
    row = result.comparison.difference(run)
    assert row is not None
    word = "ranks better than" if row.value.positive else "ranks worse than" if row.value.negative else "is level with"
    return (
        f"{title(result, run)} {word} {first.title} (NDCG@10 difference {row.value.mean:+.4f}, 95 % interval "
        f"{row.value.low:+.4f} to {row.value.high:+.4f}). For a verdict on transfer, compare a transfer run with its "
        "target-only baseline."
    )


def lists(runs: Sequence[Run], titles: dict[str, str]) -> pd.DataFrame:
    """What the recommended lists look like: coverage of the catalogue, and popularity of what is shown."""
    rows = []
    for run in runs:
        test, about = run.metrics()["test"], run.metrics()
        usual = test.get("popularity_catalogue")
        rows.append(
            {
                "Recommender": titles[run.name],
                "Catalogue shown": test["coverage@10"],
                "Takers of what is shown": test["popularity@10"],
                "Against the catalogue": test["popularity@10"] / usual if usual and test["popularity@10"] else None,
                "Parameters": about.get("parameters"),
                "Training": about["fit"]["seconds"],
            }
        )
    return pd.DataFrame(rows)


def per_user(result: Result | ColdResult) -> pd.DataFrame:
    """One row a person and recommender: the table behind every number of the comparison."""
    return pd.concat([side.table.assign(run=side.run, recommender=side.title) for side in result.sides])


def to_frame(rows: Sequence[tuple[str, Row]], known: dict[str, str]) -> pd.DataFrame:
    """label, title, recipe, mean, low, high, users of the rows of a comparison."""
    return pd.DataFrame(
        [
            {
                "label": label,
                "title": row.title,
                "recipe": known[row.run],
                "mean": row.value.mean,
                "low": row.value.low,
                "high": row.value.high,
                "users": row.users,
            }
            for label, row in rows
        ]
    )


def _list(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
