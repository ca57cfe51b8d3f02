"""A comparison as small frames, for charts and tables."""

from collections.abc import Sequence

import pandas as pd

from crossrec.evaluation.compare import HEADLINE, Row
from crossrec.evaluation.protocol import COLD, GROUPS, group_masks
from crossrec.runs.coldstart import ColdResult
from crossrec.runs.compare import ORACLE, Result
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
