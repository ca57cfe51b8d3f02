"""What a log says of a policy, as frames and charts."""

from itertools import pairwise

import altair as alt
import numpy as np
import pandas as pd

from crossrec.feedback.ope import EDGES, Diagnostics, Judgement
from crossrec.report import theme
from crossrec.report.charts import Drawn
from crossrec.report.words import percent

MEANINGS = {
    "IPS": "Rewards weighted by how much oftener the policy would have shown the item. Free of bias, wild where "
    "weights are large.",
    "clipped IPS": "The same with large weights cut: calmer, and too low where rewards are positive.",
    "SNIPS": "A weighted mean of the rewards: the weights are divided by their sum.",
    "DM": "What a model of the rewards expects of the policy: as good as that model.",
    "DR": "The model, corrected by the weighted errors that it makes: right where either is.",
}


def estimates(found: Judgement, recipes: dict[str, str]) -> pd.DataFrame:
    """Reward a row by estimator and policy, as `charts.dots` takes it; what cannot be known is left out."""
    rows = [
        {
            "label": estimator,
            "title": policy,
            "recipe": recipes.get(policy, "popularity"),
            "mean": value.mean,
            "low": value.low,
            "high": value.high,
            "users": found.diagnostics[policy].rows,
        }
        for policy, own in found.estimates.items()
        for estimator, value in own.items()
        if not np.isnan(value.mean)
    ]
    return pd.DataFrame(rows)


def support(one: Diagnostics, policy: str) -> str:
    """How much of the log speaks of a policy, in one sentence."""
    if np.isnan(one.ess):
        return f"Nobody can tell how much of the log speaks of {policy}: propensities are missing"
    share = one.ess / one.rows if one.rows else 0.0
    return f"For {policy} the {one.rows:,} rows are worth {one.ess:,.0f} ({percent(share)})"


def weights(one: Diagnostics) -> Drawn:
    """How often each weight occurs: near 1 the policy does what the log's did; far above, few rows speak for many."""
    names = [f"below {EDGES[1]:g}"] + [f"{low:g} to {high:g}" for low, high in pairwise(EDGES[1:-1])]
    names += [f"{EDGES[-2]:g} and more"]
    frame = pd.DataFrame({"weight": names, "rows": one.histogram})
    return (
        alt.Chart(frame)
        .mark_bar(color=theme.MUTED, cornerRadiusTopLeft=2, cornerRadiusTopRight=2)
        .encode(
            x=alt.X(
                "weight:N",
                sort=names,
                title="Weight of a row",
                axis=alt.Axis(labelAngle=-40),
            ),
            y=alt.Y("rows:Q", title="Rows"),
            tooltip=[alt.Tooltip("weight:N", title="Weight"), alt.Tooltip("rows:Q", title="Rows", format=",")],
        )
        .properties(height=240)
    )


def answer(found: Judgement) -> str:
    """The kind of the verdict: "yes", "harm", "no" or, where the policies are not ranked, "unknown"."""
    difference = found.differences[found.primary]
    if found.refusals:
        return "unknown"
    return "yes" if difference.positive else "harm" if difference.negative else "no"
