"""A comparison as small frames, for charts and tables."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import hypergeom

from crossrec.data.folder import load_meta
from crossrec.evaluation.benefit import FEW, POPULAR, Slice
from crossrec.evaluation.compare import HEADLINE, Row
from crossrec.evaluation.protocol import COLD, GROUPS, SAMPLED, group_masks
from crossrec.runs.coldstart import ColdResult, share_of_the_way
from crossrec.runs.compare import ORACLE, Result
from crossrec.runs.folder import Run, open_run
from crossrec.runs.insight import Insight

METRICS = ("ndcg@10", "hr@10", "mrr@10")
"""Of the charts. With one hidden item a person recall is the hit rate and precision a tenth of it."""
NAMES = {"ndcg@10": "NDCG@10", "hr@10": "Hit rate@10", "mrr@10": "MRR@10"}
NDCG = (
    "NDCG@10: how high the hidden item stands among the first ten. 1 in first place, 0.63 in second, 0.29 in tenth, 0 "
    "below. The mean over people, with the whole catalogue ranked."
)
GAIN, HARM, UNCLEAR, TOO_FEW = "Clear gain", "Clear harm", "Not clear", f"Fewer than {FEW} people"
NAMES_OF_CONTROLS = {
    "placebo": "Somebody else's history",
    "shuffled-order": "Own history, shuffled",
    "no-source": "No history",
}
AS_IT_IS = "As it is"
POPULARITY = {
    POPULAR["most"]: "Most taken tenth",
    POPULAR["middle"]: "Next four tenths",
    POPULAR["least"]: "Less taken half",
    POPULAR["never"]: "Never taken",
}
MOST_DOUBLINGS = 6
INTERVAL = ["mean", "low", "high"]


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


# --- what the verdict rests on ---------------------------------------------------------------------------------------


def domains(dataset: str) -> tuple[str, str]:
    """Labels of the source and the target domain."""
    meta = load_meta(dataset)["domains"]
    return meta["source"]["name"], meta["target"]["name"]


def said_of(one: Slice) -> str:
    """What may be said of a slice."""
    if one.users < FEW:
        return TOO_FEW
    return GAIN if one.helped else HARM if one.hurt else UNCLEAR


def benefit(found: Insight, kind: str) -> pd.DataFrame:
    """label, said, users, before, after, mean, low, high: one row a slice of a kind."""
    rows = []
    for one in found.slices:
        if one.kind == kind:
            said = said_of(one)
            mark = {TOO_FEW: ", too few", HARM: ", harmed"}.get(said, "")
            label = f"{POPULARITY.get(one.label, one.label)} · {one.users:,}{mark}"
            about = {"label": label, "said": said, "users": one.users, "before": one.before, "after": one.after}
            rows.append(about | asdict(one.difference.value))
    return pd.DataFrame(rows, columns=["label", "said", "users", "before", "after", *INTERVAL])


def slices(found: Insight) -> pd.DataFrame:
    """Every slice of every kind as a row of numbers, under names for people."""
    rows = [
        {
            "By": {"target": "target events", "source": "source events", "popularity": "hidden item"}[one.kind],
            "Slice": POPULARITY.get(one.label, one.label),
            "People": one.users,
            "Difference": one.difference.value.mean,
            "From": one.difference.value.low,
            "To": one.difference.value.high,
            "p": one.difference.p_holm,
            "Said of it": said_of(one),
            "Before": one.before,
            "After": one.after,
        }
        for one in found.slices
    ]
    return pd.DataFrame(rows)


def control(result: Result | ColdResult) -> pd.DataFrame:
    """label, title, recipe, mean, low, high, users, hollow: each recommender under its controls, and the baseline.

    All over the people with a source history; `hollow` marks what is shown something else than the truth. Empty where
    no recommender reads anything of the source.
    """
    found, known = result.insight, recipes(result)
    rows: list[dict[str, Any]] = []
    columns = ["label", "title", "recipe", *INTERVAL, "users", "hollow"]
    if found is None or not found.controls:
        return pd.DataFrame(rows, columns=columns)
    shown = list(dict.fromkeys(row.run for row in found.controls))
    for run in (found.baseline, *(run for run in shown if run != found.baseline)):
        if row := result.comparison.mean(run, "with_source"):
            about = {"label": AS_IT_IS, "title": row.title, "recipe": known[run], "users": row.users, "hollow": False}
            rows.append(about | asdict(row.value))
    for name, label in NAMES_OF_CONTROLS.items():
        for one in found.controls:
            if one.control == name:
                about = {"label": label, "title": one.title, "recipe": known[one.run], "users": one.users}
                rows.append(about | {"hollow": True} | asdict(one.kept.value))
    return pd.DataFrame(rows, columns=columns)


def shots(result: Result | ColdResult) -> pd.DataFrame:
    """title, recipe, shots, mean, low, high, users: every recommender by the target events that it is shown."""
    found, known = result.insight, recipes(result)
    rows = [
        {"title": one.title, "recipe": known[one.run], "shots": one.shots, "users": one.users} | asdict(one.value)
        for one in (found.shots if found else ())
    ]
    return pd.DataFrame(rows, columns=["title", "recipe", "shots", "users", *INTERVAL])


def moves(result: Result | ColdResult) -> pd.DataFrame:
    """doublings, users, share, said: how far the hidden item moves from the baseline's list to the challenger's.

    A doubling is a rank that is half as large; both ends hold all that is farther. Of the people with a source history,
    or of all where there is none.
    """
    found = result.insight
    if found is None:
        return pd.DataFrame(columns=["doublings", "users", "share", "said"])
    before, after = (ranks(result, run) for run in (found.baseline, found.challenger))
    bins = np.clip(np.rint(np.log2(before / after)), -MOST_DOUBLINGS, MOST_DOUBLINGS).astype(int)
    frame = pd.DataFrame({"doublings": np.arange(-MOST_DOUBLINGS, MOST_DOUBLINGS + 1)})
    frame["users"] = [int((bins == at).sum()) for at in frame["doublings"]]
    frame["share"] = frame["users"] / max(1, len(bins))
    frame["said"] = np.select([frame["doublings"] > 0, frame["doublings"] < 0], ["Higher", "Lower"], "About the same")
    return frame


def ranks(result: Result | ColdResult, run: str) -> NDArray[np.float64]:
    """(Q,) rank of the best hidden item, by user, of the people with a source history, or of all where none has one."""
    table = next(side.table for side in result.sides if side.run == run).sort_values("user")
    mask = group_masks(table)["with_source"]
    return table.loc[mask if mask.any() else ~mask, "rank"].to_numpy(float)


def way(result: Result | ColdResult) -> pd.DataFrame:
    """label, title, recipe, mean, low, high, users: how far each is on the way from popularity to the oracle.

    Empty where one of the two is not among the sides.
    """
    known = recipes(result)
    values = {side.run: side.table.sort_values("user")[HEADLINE].to_numpy(float) for side in result.sides}
    start = next((run for run, recipe in known.items() if recipe == "popularity"), None)
    rows = []
    for side in result.sides if start and ORACLE in values else ():
        if known[side.run] in (ORACLE, "popularity"):
            continue
        if share := share_of_the_way(values[side.run], values[str(start)], values[ORACLE]):
            about = {"label": side.title, "title": side.title, "recipe": known[side.run], "users": len(side.table)}
            rows.append(about | asdict(share))
    frame = pd.DataFrame(rows, columns=["label", "title", "recipe", *INTERVAL, "users"])
    return frame.sort_values("mean", ascending=False, kind="stable", ignore_index=True)


def seeds(result: Result | ColdResult) -> pd.DataFrame:
    """label, title, recipe, mean, low, high, users: both kinds of spread, where there are several seeds."""
    found = result.insight
    columns = ["label", "title", "recipe", *INTERVAL, "users"]
    if found is None or found.seeds is None:
        return pd.DataFrame(columns=columns)
    users = len(result.sides[0].table)
    about = {"title": title(result, found.challenger), "recipe": recipes(result)[found.challenger], "users": users}
    both = {"Over people": found.seeds.users, "Over people and trainings": found.seeds.both}
    return pd.DataFrame([{"label": label} | about | asdict(value) for label, value in both.items()])[columns]


def chance_in_sample(rank: ArrayLike, items: int, negatives: int = SAMPLED, cutoff: int = 10) -> NDArray[np.float64]:
    """Chance that an item of a true rank among all items is in the first `cutoff` among itself and drawn negatives.

    Exact: of the `items` - 1 others, rank - 1 stand before it, and the number of those that are drawn is
    hypergeometric. Krichene and Rendle, "On Sampled Metrics for Item Recommendation", KDD 2020.
    """
    others = items - 1
    return np.asarray(hypergeom.cdf(cutoff - 1, others, np.asarray(rank) - 1, min(negatives, others)))
