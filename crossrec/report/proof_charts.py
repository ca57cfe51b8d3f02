"""Charts of what a verdict rests on: slices of people, shots, moves of ranks, and the sampled protocol."""

import altair as alt
import numpy as np
import pandas as pd

from crossrec.report import theme
from crossrec.report.charts import ROW, TALL, Drawn, decimals
from crossrec.report.frames import GAIN, HARM, TOO_FEW, UNCLEAR, chance_in_sample

SAID = {GAIN: "triangle-up", UNCLEAR: "circle", HARM: "triangle-down", TOO_FEW: "circle"}
"""What is said of a slice, and its shape; too few people are a hollow one."""
SIDES = {"Higher": theme.TRANSFER, "About the same": theme.LIGHTER, "Lower": theme.UNIFIED}


def benefit(frame: pd.DataFrame, x: str, recipe: str) -> Drawn:
    """A difference with its 95 % interval for each slice; the shape says what may be said of it.

    Args:
        frame: of `frames.benefit`, in order.
        x: title of the horizontal axis.
        recipe: whose colour it has.
    """
    there = [said for said in SAID if (frame["said"] == said).any()]
    colour = theme.recipe_colour(recipe)
    fills = ["transparent" if said == TOO_FEW else colour for said in there]
    legend = alt.Legend(title=None, orient="bottom", columns=1, labelLimit=320, symbolStrokeWidth=1.6)
    base = alt.Chart(frame).encode(
        y=alt.Y(
            "label:N",
            sort=list(frame["label"]),
            title=None,
            axis=alt.Axis(labelLimit=220, labelFlush=False, ticks=False, domain=False),
        ),
        color=alt.value(colour),
    )
    shown = [*frame[["mean", "low", "high"]].to_numpy(float).ravel(), 0.0]
    span = float(np.nanmax(shown) - np.nanmin(shown))
    axis = alt.Axis(format=decimals(span, sign=True), tickCount=4, labelFlush=True)
    interval = base.mark_rule(strokeWidth=2.5).encode(
        x=alt.X("low:Q", title=x, axis=axis),
        x2="high:Q",
        opacity=alt.condition(alt.datum.said == TOO_FEW, alt.value(0.35), alt.value(0.75)),
    )
    dot = base.mark_point(size=120, opacity=1, filled=True).encode(
        x="mean:Q",
        shape=alt.Shape("said:N", scale=alt.Scale(domain=there, range=[SAID[said] for said in there]), legend=legend),
        fill=alt.Fill("said:N", scale=alt.Scale(domain=there, range=fills), legend=legend),
        stroke=alt.Stroke("said:N", scale=alt.Scale(domain=there, range=[colour] * len(there)), legend=legend),
        strokeWidth=alt.value(1.6),
        tooltip=[
            alt.Tooltip("label:N", title=" "),
            alt.Tooltip("said:N", title="Said of it"),
            alt.Tooltip("mean:Q", title="Difference", format="+.4f"),
            alt.Tooltip("low:Q", title="95 % interval from", format="+.4f"),
            alt.Tooltip("high:Q", title="to", format="+.4f"),
            alt.Tooltip("before:Q", title="Baseline", format=".4f"),
            alt.Tooltip("users:Q", title="People", format=","),
        ],
    )
    zero = alt.Chart(pd.DataFrame({"x": [0.0]})).mark_rule(color=theme.MUTED, strokeDash=[4, 3]).encode(x="x:Q")
    return alt.layer(zero, interval, dot).properties(height=ROW * len(frame) + 60 + 22 * len(there))


def shots(frame: pd.DataFrame, x: str) -> Drawn:
    """A mean with its 95 % interval by the number of events that are shown, a line a recommender.

    Args:
        frame: of `frames.shots`.
        x: title of the horizontal axis.
    """
    titles = frame.drop_duplicates("title").set_index("title")["recipe"]
    names, recipes = list(titles.index), list(titles)
    # Points of one number stand beside each other, that their intervals can be told apart.
    at = {name: 0.14 * (i - (len(names) - 1) / 2) for i, name in enumerate(names)}
    frame = frame.assign(at=frame["shots"] + frame["title"].map(at))
    colours = [theme.recipe_colour(recipe) for recipe in recipes]
    # Recommenders of one colour are told apart by their dashes.
    dashes = [[1, 0] if (n := colours[:i].count(colour)) == 0 else [8, 3 * n] for i, colour in enumerate(colours)]
    legend = alt.Legend(title=None, orient="bottom", columns=2, labelLimit=320)
    base = alt.Chart(frame).encode(
        x=alt.X(
            "at:Q",
            title=x,
            axis=alt.Axis(values=sorted(frame["shots"].unique().tolist()), format="d", grid=False),
            scale=alt.Scale(nice=False, padding=12),
        ),
        color=alt.Color("title:N", scale=alt.Scale(domain=names, range=colours), legend=legend),
    )
    value = alt.Y("mean:Q", title="NDCG@10", axis=alt.Axis(tickCount=5))
    line = base.mark_line(strokeWidth=2.2).encode(y=value)
    if len(set(colours)) < len(colours):
        dash = alt.StrokeDash("title:N", scale=alt.Scale(domain=names, range=dashes), legend=legend)
        line = line.encode(strokeDash=dash)
    interval = base.mark_rule(strokeWidth=2, opacity=0.6).encode(y="low:Q", y2="high:Q")
    dot = base.mark_point(filled=True, size=80, opacity=1).encode(
        y=value,
        shape=alt.Shape(
            "title:N",
            scale=alt.Scale(domain=names, range=[theme.recipe_shape(recipe) for recipe in recipes]),
            legend=legend,
        ),
        tooltip=[
            alt.Tooltip("title:N", title="Recommender"),
            alt.Tooltip("shots:Q", title="Events shown"),
            alt.Tooltip("mean:Q", title="NDCG@10", format=".4f"),
            alt.Tooltip("low:Q", title="95 % interval from", format=".4f"),
            alt.Tooltip("high:Q", title="to", format=".4f"),
            alt.Tooltip("users:Q", title="People", format=","),
        ],
    )
    return alt.layer(line, interval, dot).properties(height=TALL + 120)


def moves(frame: pd.DataFrame) -> Drawn:
    """How many people's hidden item moves how far, in doublings of the rank."""
    words = "datum.value == 0 ? 'same' : pow(2, abs(datum.value)) + '\u00d7'"
    scale = alt.Scale(domain=list(SIDES), range=list(SIDES.values()))
    return (
        alt.Chart(frame)
        .mark_bar(cornerRadiusTopLeft=2, cornerRadiusTopRight=2)
        .encode(
            x=alt.X(
                "doublings:O",
                title="← lower in the list · higher in the list →",
                axis=alt.Axis(labelExpr=words, labelAngle=0, labelOverlap=True),
            ),
            y=alt.Y("share:Q", title="Share of the people", axis=alt.Axis(format="%", tickCount=5)),
            color=alt.Color("said:N", scale=scale, legend=alt.Legend(title=None, orient="bottom")),
            tooltip=[
                alt.Tooltip("said:N", title="The hidden item stands"),
                alt.Tooltip("doublings:Q", title="Doublings"),
                alt.Tooltip("users:Q", title="People", format=","),
                alt.Tooltip("share:Q", title="Share", format=".1%"),
            ],
        )
        .properties(height=TALL + 80)
    )


def sample(rank: int, items: int) -> Drawn:
    """Chance of a hit among 1 + 99 by the true rank, with one rank marked; dashed, the full ranking."""
    ranks = np.unique(np.round(np.geomspace(1, items, 160)).astype(int))
    frame = pd.DataFrame({"rank": ranks, "chance": chance_in_sample(ranks, items)})
    # A step falls at once: on a line of few points it would lean.
    full = pd.DataFrame({"rank": [1, 10, 10, items], "chance": [1.0, 1.0, 0.0, 0.0], "order": range(4)})
    x = alt.X(
        "rank:Q",
        title="True rank of the hidden item",
        scale=alt.Scale(type="log", domain=[1, items], nice=False),
        axis=alt.Axis(format="~s", values=[10**n for n in range(7) if 10**n <= items], grid=False),
    )
    y = alt.Y("chance:Q", title="Chance of a hit", axis=alt.Axis(format="%", tickCount=3))
    drawn = [
        alt.Chart(full).mark_line(color=theme.BASELINE, strokeDash=[5, 3]).encode(x=x, y=y, order="order:Q"),
        alt.Chart(frame).mark_line(color=theme.SOURCE, strokeWidth=2.4).encode(x=x, y=y),
        alt.Chart(pd.DataFrame({"rank": [rank], "chance": [float(chance_in_sample(rank, items))]}))
        .mark_point(filled=True, size=140, color=theme.SOURCE, opacity=1)
        .encode(x=x, y=y, tooltip=[alt.Tooltip("rank:Q", title="Rank"), alt.Tooltip("chance:Q", format=".1%")]),
    ]
    return alt.layer(*drawn).properties(height=TALL)
