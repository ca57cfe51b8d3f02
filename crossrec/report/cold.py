"""A comparison for people whom the target domain does not know, as frames and sentences."""

from typing import Any

import pandas as pd

from crossrec.evaluation.compare import HEADLINE, Row
from crossrec.evaluation.ratings import METRICS as STARS
from crossrec.evaluation.statistics import Interval
from crossrec.report import frames
from crossrec.runs.coldstart import ColdResult
from crossrec.runs.compare import ORACLE, RatingRow
from crossrec.runs.folder import open_run

HELP = {
    "rmse": "Root mean squared error in stars: large misses weigh more. Lower is better.",
    "mae": "Mean absolute error: by how many stars a prediction is off. Lower is better.",
    "auc": "Pooled: of two hidden ratings of anybody, one liked (4 stars or more) and one not, how often the liked one "
    "has the higher prediction. Higher is better, 0.5 is chance. Knowing who gives many stars helps here.",
    "auc_user": "Per user: the same within each person who has both, then the mean over people. Higher is better, 0.5 "
    "is chance. Only the order of one person's items counts; who predicts no stars is judged by the ranking scores.",
}
BEST = {
    "rmse": "{best} comes nearest to the stars",
    "mae": "{best} is off by the fewest stars",
    "auc": "{best} best tells the liked from the rest",
    "auc_user": "{best} best orders one person's items",
}
ERRORS = ("rmse", "mae")
CHANCE = 0.5


def differences(found: ColdResult) -> pd.DataFrame:
    """Paired differences of NDCG@10 to the first side, best first; without the oracle."""
    known = frames.recipes(found)
    rows = [found.comparison.difference(side.run) for side in found.sides[1:] if side.run != ORACLE]
    frame = frames.to_frame([(row.title, row) for row in rows if row], known)
    return frame.sort_values("mean", ascending=False, kind="stable", ignore_index=True)


def difference_sentence(frame: pd.DataFrame, baseline: str) -> str:
    """Who is clearly better than the baseline."""
    better = list(frame[frame["low"] > 0]["title"])
    if not better:
        return f"None is shown to rank better than {baseline}"
    if len(better) == len(frame):
        return f"All rank better than {baseline}"
    return f"Clearly better than {baseline}: {', '.join(better)}"


def stars(found: ColdResult, metric: str) -> pd.DataFrame:
    """label, title, recipe, mean, low, high, users: who is judged by a metric of stars, the best first.

    A run that is the plain mean + item + user is shown once, under that name.
    """
    known = frames.recipes(found)
    plain_values = [row.values for row in found.ratings if row.run is None]
    told = next((told for side in found.sides if (told := _rated(side.run))), {})
    users = told.get("users_auc" if metric == "auc_user" else "users")
    rows = []
    for row in found.ratings:
        value = row.values.get(metric)
        recipe = known[row.run] if row.run else "popularity" if row.differences else "biases"
        if value is None or (row.run and recipe == "biases" and row.values in plain_values):
            continue
        about = {"label": row.title, "title": row.title, "recipe": recipe, "users": users}
        rows.append(about | {"mean": value.mean, "low": value.low, "high": value.high})
    frame = pd.DataFrame(rows, columns=["label", "title", "recipe", "mean", "low", "high", "users"])
    return frame.sort_values("mean", ascending=metric in ERRORS, kind="stable", ignore_index=True)


def _rated(run: str) -> dict[str, Any]:
    """What a run stored about stars: the number of people, too."""
    return {} if run == ORACLE else open_run(run).metrics().get("ratings") or {}


def stars_sentence(found: ColdResult, metric: str) -> str:
    """Who is best, and whether that is better than mean + item + user, paired over people."""
    frame = stars(found, metric)
    best = frame.iloc[0]
    row = next(row for row in found.ratings if row.title == best["title"])
    said = f"{STARS[metric]} {best['mean']:.3f}"
    if not row.differences:
        return f"Nothing is better than {best['title'].lower()}: {said}"
    reference = next((row.title.lower() for row in found.ratings if row.run is None and not row.differences), None)
    gap = row.differences.get(metric)
    if gap is None or reference is None:
        return f"{BEST[metric].format(best=best['title'])}: {said}"
    better = gap.negative if metric in ERRORS else gap.positive
    than = f"clearly better than {reference}" if better else f"not shown to be better than {reference}"
    return f"{BEST[metric].format(best=best['title'])}: {said}, {than}"


def table(found: ColdResult) -> pd.DataFrame:
    """All numbers, a row a recommender: every metric with its 95 % interval."""
    told = {row.run: row for row in found.ratings if row.run}
    rows = []
    for side in found.sides:
        row: dict[str, object] = {"Recommender": side.title, "Run": side.run}
        for metric, name in frames.NAMES.items():
            mean = found.comparison.mean(side.run, "all", metric)
            row |= _numbers(name, mean.value if mean else None)
        gap = found.comparison.difference(side.run)
        row |= _numbers(f"NDCG@10 against {found.sides[0].title}", gap.value if gap else None)
        rows.append(row | _told(told.get(side.run)))
    rows += [{"Recommender": row.title} | _told(row) for row in found.ratings if row.run is None]
    return pd.DataFrame(rows)


def _told(row: RatingRow | None) -> dict[str, object]:
    told: dict[str, object] = {}
    for metric, name in STARS.items():
        told |= _numbers(name, row.values.get(metric) if row else None)
    return told


def _numbers(name: str, value: Interval | None) -> dict[str, object]:
    ends = (value.mean, value.low, value.high) if value else (None, None, None)
    return dict(zip((name, f"{name}, from", f"{name}, to"), ends, strict=True))


def versus(found: ColdResult, run: str) -> Row | None:
    """The difference of a run to the best simple one."""
    wanted = (run, "all", HEADLINE, "full")
    rows = found.comparison.versus
    return next((row for row in rows if (row.run, row.group, row.metric, row.protocol) == wanted), None)
