"""Altair charts: a small frame in, a chart out. Titles are the page's, so that they wrap on a narrow screen."""

from functools import partial
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from crossrec.report import theme

Drawn = alt.Chart | alt.LayerChart | alt.FacetChart
Drawing = partial[Drawn]
"""A chart that is not drawn yet: one of the functions below with what it is called with."""
TALL = 260
"""Height in px of a chart with a free vertical axis."""
SMALL = 150
"""Height in px of one of many small charts."""
ROW = 40
"""Height in px of a row of dots."""

# Every event of a person may stand in one chart; sizes are those said here and the page's.
alt.data_transformers.disable_max_rows()
alt.theme.enable("none")


def spec(drawing: Drawing) -> dict[str, Any]:
    """The chart in Vega-Lite's words, with its numbers below `datasets`.

    It is not held against Vega-Lite's schema: that takes longer than all the rest, and the tests do it for every chart.
    """
    return drawing().to_dict(validate=False)


def dots(
    frame: pd.DataFrame,
    x: str,
    rows: list[str],
    difference: bool = False,
    zero: bool = True,
    mark: float | None = None,
) -> Drawn:
    """A dot with its 95 % interval in each row; several recipes in a row stand one below the other.

    Args:
        frame: label, title, recipe, mean, low, high, users; hollow (bool) where some marks are hollow.
        x: title of the horizontal axis.
        rows: labels from top to bottom.
        difference: whether 0 means "no difference", and is marked.
        zero: whether the axis begins at 0; without, where the values are.
        mark: a value that is marked, such as that of chance.
    """
    mark = 0.0 if difference else mark
    titles = frame.drop_duplicates("title").set_index("title")["recipe"]
    many = len(titles) > 1 and bool((frame.groupby("label")["title"].count() > 1).any())
    columns = 1 if "hollow" in frame else 2  # its labels leave less room
    legend = alt.Legend(title=None, orient="bottom", columns=columns, labelLimit=320) if many else None
    colours = [theme.recipe_colour(recipe) for recipe in titles]
    shapes = [theme.recipe_shape(recipe) for recipe in titles]
    side = alt.Axis(labelLimit=200, labelFlush=False, ticks=False, domain=False)
    encoded: dict[str, Any] = {
        "y": alt.Y("label:N", sort=rows, title=None, axis=side),
        "color": alt.Color("title:N", scale=alt.Scale(domain=list(titles.index), range=colours), legend=legend),
    }
    if many:
        encoded["yOffset"] = alt.YOffset("title:N", sort=list(titles.index))
    shown = [*frame[["mean", "low", "high"]].to_numpy(float).ravel(), *([0.0] if zero else [])]
    shown += [] if mark is None else [mark]
    low, high = float(np.nanmin(shown)), float(np.nanmax(shown))
    axis = alt.Axis(format=decimals(high - low, difference), tickCount=5, labelFlush=True)
    room = (high - low) * 0.04
    scale = alt.Scale(domain=[low if zero and low == 0 else low - room, high + room], nice=False, zero=zero)
    number = "+.4f" if difference else ".4f"
    tooltip = [
        alt.Tooltip("label:N", title=" "),
        alt.Tooltip("title:N", title="Recommender"),
        alt.Tooltip("mean:Q", title="Difference" if difference else "Mean", format=number),
        alt.Tooltip("low:Q", title="95 % interval from", format=number),
        alt.Tooltip("high:Q", title="to", format=number),
        alt.Tooltip("users:Q", title="People", format=","),
    ]
    base = alt.Chart(frame).encode(**encoded)
    interval = base.mark_rule(strokeWidth=2.5, opacity=0.75).encode(
        x=alt.X("low:Q", title=x, axis=axis, scale=scale), x2="high:Q"
    )
    dot = base.mark_point(filled=True, size=110, opacity=1).encode(
        x="mean:Q",
        shape=alt.Shape("title:N", scale=alt.Scale(domain=list(titles.index), range=shapes), legend=legend),
        tooltip=tooltip,
    )
    if "hollow" in frame:
        scale = alt.Scale(domain=list(titles.index), range=colours)
        dot = dot.encode(
            stroke=alt.Stroke("title:N", scale=scale, legend=None),
            strokeWidth=alt.value(2),
            fillOpacity=alt.condition(alt.datum.hollow, alt.value(0), alt.value(1)),
        )
    layers = [interval, dot]
    if mark is not None:
        rule = alt.Chart(pd.DataFrame({"x": [mark]})).mark_rule(color=theme.MUTED, strokeDash=[4, 3]).encode(x="x:Q")
        layers.insert(0, rule)
    per_row = max(ROW, 22 * (len(titles) if many else 1) + 10)
    return alt.layer(*layers).properties(height=per_row * len(rows) + (110 if many else 60))


def decimals(span: float, sign: bool = False) -> str:
    """The format of an axis that spans so much: as many decimals as tell its ticks apart."""
    places = 2 if span >= 0.06 else 3 if span >= 0.006 else 4
    return f"{'+' if sign else ''}.{places}f"


def overlap(frame: pd.DataFrame) -> Drawn:
    """One bar of people: in the source only, in both, in the target only.

    Args:
        frame: part, people, share, colour; in order.
    """
    frame = frame.assign(end=frame["people"].cumsum())
    frame["begin"] = frame["end"] - frame["people"]
    frame["middle"] = (frame["begin"] + frame["end"]) / 2
    colour = alt.Color(
        "part:N",
        scale=alt.Scale(domain=list(frame["part"]), range=list(frame["colour"])),
        legend=alt.Legend(title=None, orient="bottom", columns=1, labelLimit=320),
    )
    base = alt.Chart(frame)
    bar = base.mark_bar(size=56, cornerRadius=2).encode(
        x=alt.X("begin:Q", axis=None, scale=alt.Scale(nice=False)),
        x2="end:Q",
        color=colour,
        tooltip=[
            alt.Tooltip("part:N", title=" "),
            alt.Tooltip("people:Q", title="People", format=","),
            alt.Tooltip("share:Q", title="Share", format=".1%"),
        ],
    )
    wide = alt.datum.share >= 0.2
    text = (
        base.mark_text(fontWeight="bold", fontSize=15)
        .encode(
            x="middle:Q",
            text=alt.Text("people:Q", format=","),
            # White is legible on the blue of the source, which comes first, and on neither of the others.
            color=alt.condition(alt.datum.begin == 0, alt.value("white"), alt.value("#10100F")),
        )
        .transform_filter(wide)
    )
    return alt.layer(bar, text).properties(height=150)


def activity(frame: pd.DataFrame) -> Drawn:
    """Events over time, a line a domain."""
    return (
        alt.Chart(frame)
        .mark_line(strokeWidth=2.2, interpolate="monotone")
        .encode(
            x=alt.X("time:T", title=None, axis=alt.Axis(tickCount=6)),
            y=alt.Y("events:Q", title="Events"),
            color=_domains(frame),
            strokeDash=_dashes(frame),
            tooltip=[
                alt.Tooltip("domain:N", title="Domain"),
                alt.Tooltip("time:T", title="From"),
                alt.Tooltip("events:Q", title="Events", format=","),
            ],
        )
        .properties(height=TALL)
    )


def shares(frame: pd.DataFrame, x: str, y: str, count: str, order: str | None = None) -> Drawn:
    """Bars of shares in bins, side by side for each domain.

    Args:
        frame: bin, domain, share, and the column `count`.
        x, y: titles of the axes.
        count: column with the number behind the share.
        order: column that orders the bins, or None for the frame's own order.
    """
    bins = list(frame.sort_values(order)["bin"].drop_duplicates()) if order else list(frame["bin"].drop_duplicates())
    return (
        alt.Chart(frame)
        .mark_bar(cornerRadiusTopLeft=2, cornerRadiusTopRight=2)
        .encode(
            x=alt.X("bin:N", sort=bins, title=x, axis=alt.Axis(labelAngle=0)),
            xOffset=alt.XOffset("domain:N", sort=list(frame["domain"].drop_duplicates())),
            y=alt.Y("share:Q", title=y, axis=alt.Axis(format="%", tickCount=5)),
            color=_domains(frame),
            tooltip=[
                alt.Tooltip("domain:N", title="Domain"),
                alt.Tooltip("bin:N", title=x),
                alt.Tooltip(f"{count}:Q", title=count.capitalize(), format=","),
                alt.Tooltip("share:Q", title="Share", format=".1%"),
            ],
        )
        .properties(height=TALL)
    )


def popularity(frame: pd.DataFrame) -> Drawn:
    """Which share of the events the most taken items hold; the dashed diagonal is a catalogue of equals."""
    equal = (
        alt.Chart(pd.DataFrame({"items": [0, 1], "events": [0, 1]}))
        .mark_line(color=theme.MUTED, strokeDash=[4, 3], strokeWidth=1.2)
        .encode(x="items:Q", y="events:Q")
    )
    curve = (
        alt.Chart(frame)
        .mark_line(strokeWidth=2.4)
        .encode(
            x=alt.X("items:Q", title="Items, most taken first", axis=alt.Axis(format="%", tickCount=5)),
            y=alt.Y("events:Q", title="Events that they hold", axis=alt.Axis(format="%", tickCount=5)),
            color=_domains(frame),
            strokeDash=_dashes(frame),
            tooltip=[
                alt.Tooltip("domain:N", title="Domain"),
                alt.Tooltip("items:Q", title="Items", format=".1%"),
                alt.Tooltip("events:Q", title="Events", format=".1%"),
            ],
        )
    )
    return alt.layer(equal, curve).properties(height=TALL)


def timeline(frame: pd.DataFrame, timed: bool) -> Drawn:
    """One person's events, a line a domain: by time, or by step where times are unknown."""
    x = (
        alt.X("time:T", title=None, axis=alt.Axis(tickCount=6), scale=alt.Scale(padding=14))
        if timed
        else alt.X("step:Q", title="Step, oldest first")
    )
    tooltip = [alt.Tooltip("item:N", title="Item"), alt.Tooltip("domain:N", title="Domain")]
    if timed:
        tooltip.append(alt.Tooltip("time:T", title="On"))
    if frame["rating"].notna().any():
        tooltip.append(alt.Tooltip("rating:Q", title="Stars"))
    return (
        alt.Chart(frame)
        .mark_point(filled=True, size=110, opacity=0.75)
        .encode(
            x=x,
            y=alt.Y("domain:N", title=None, sort=list(frame["domain"].drop_duplicates()), axis=alt.Axis(grid=True)),
            color=_domains(frame, legend=False),
            shape=alt.Shape("domain:N", legend=None),
            tooltip=tooltip,
        )
        .properties(height=150)
    )


def learning(frame: pd.DataFrame, y: str) -> Drawn:
    """A value per epoch, a line a run, with the epoch that was kept marked.

    Args:
        frame: title, recipe, epoch, value, best (bool).
        y: title of the vertical axis.
    """
    titles = frame.drop_duplicates("title").set_index("title")["recipe"]
    scale = alt.Scale(domain=list(titles.index), range=[theme.recipe_colour(recipe) for recipe in titles])
    base = alt.Chart(frame).encode(
        x=alt.X("epoch:Q", title="Epoch", axis=alt.Axis(tickMinStep=1, format="d", tickCount=8)),
        y=alt.Y("value:Q", title=y, scale=alt.Scale(zero=False)),
        color=alt.Color(
            "title:N", scale=scale, legend=alt.Legend(title=None, orient="bottom", columns=1, labelLimit=320)
        ),
        tooltip=[
            alt.Tooltip("title:N", title="Run"),
            alt.Tooltip("epoch:Q", title="Epoch"),
            alt.Tooltip("value:Q", title=y, format=".4f"),
        ],
    )
    kept = base.mark_point(filled=True, size=130, shape="diamond", opacity=1).transform_filter(alt.datum.best)
    return alt.layer(base.mark_line(strokeWidth=2.2), kept).properties(height=TALL)


def curve(frame: pd.DataFrame, y: str, recipe: str, mark: float | None = None) -> Drawn:
    """One value per epoch, small, on an axis of its own, with the epoch that was kept marked.

    Args:
        frame: epoch, value, best (bool).
        y: title of the value, for the tooltip.
        recipe: whose colour the line has.
        mark: a value that is marked by a dashed line.
    """
    base = alt.Chart(frame).encode(
        x=alt.X("epoch:Q", title="Epoch", axis=alt.Axis(tickMinStep=1, format="d", tickCount=5)),
        y=alt.Y("value:Q", title=None, scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=4)),
        color=alt.value(theme.recipe_colour(recipe)),
        tooltip=[alt.Tooltip("epoch:Q", title="Epoch"), alt.Tooltip("value:Q", title=y, format=".4f")],
    )
    kept = base.mark_point(filled=True, size=110, shape="diamond", opacity=1).transform_filter(alt.datum.best)
    layers = [base.mark_line(strokeWidth=2.2), kept]
    if mark is not None:
        rule = alt.Chart(pd.DataFrame({"value": [mark]})).mark_rule(color=theme.MUTED, strokeDash=[4, 3])
        layers.insert(0, rule.encode(y="value:Q"))
    return alt.layer(*layers).properties(height=SMALL)


def contributions(frame: pd.DataFrame) -> Drawn:
    """What each piece of evidence does for an item; a bar that speaks against it is hollow, with a triangle.

    Args:
        frame: label, which, domain, contribution, without, speaks; in order.
    """
    low, high = min(0.0, frame["contribution"].min()), max(0.0, frame["contribution"].max())
    named = frame.drop_duplicates("domain").sort_values("which")  # the source first
    colours = alt.Scale(domain=list(named["domain"]), range=[theme.DOMAIN[which] for which in named["which"]])
    against = alt.datum.contribution < 0
    base = alt.Chart(frame).encode(
        x=alt.X(
            "contribution:Q",
            title="Score lost without it",
            scale=alt.Scale(domain=[low, high or 1.0], nice=False),
            axis=alt.Axis(format="~g", tickCount=3, labelFlush=True),
        ),
        y=alt.Y(
            "label:N",
            sort=list(frame["label"]),
            title=None,
            axis=alt.Axis(labelLimit=180, labelOverlap=False, ticks=False, domain=False),
        ),
        tooltip=[
            alt.Tooltip("label:N", title=" "),
            alt.Tooltip("domain:N", title="Domain"),
            alt.Tooltip("speaks:N", title="Speaks"),
            alt.Tooltip("contribution:Q", title="Score", format="+.3f"),
            alt.Tooltip("without:N", title="Without it"),
        ],
    )
    bar = base.mark_bar(size=14, strokeWidth=1.6).encode(
        fill=alt.Fill(
            "domain:N", scale=colours, legend=alt.Legend(title=None, orient="top") if len(named) > 1 else None
        ),
        stroke=alt.Stroke("domain:N", scale=colours, legend=None),
        fillOpacity=alt.condition(against, alt.value(0.1), alt.value(1)),
    )
    mark = base.mark_point(shape="triangle-down", filled=True, size=70, opacity=1, color=theme.MUTED)
    zero = alt.Chart(pd.DataFrame({"x": [0.0]})).mark_rule(color=theme.MUTED).encode(x="x:Q")
    return alt.layer(bar, zero, mark.transform_filter(against)).properties(
        height=26 * len(frame) + (100 if len(named) > 1 else 60)
    )


def _domains(frame: pd.DataFrame, legend: bool = True) -> alt.Color:
    """The colours of the domains that are in the frame, by their labels."""
    named = frame.drop_duplicates("domain")
    return alt.Color(
        "domain:N",
        scale=alt.Scale(domain=list(named["domain"]), range=[theme.DOMAIN[which] for which in named["which"]]),
        legend=alt.Legend(title=None, orient="top") if legend else None,
    )


def _dashes(frame: pd.DataFrame) -> alt.StrokeDash:
    """The target's line is dashed, so that lines are told apart without colour."""
    named = frame.drop_duplicates("domain")
    dashes = [[1, 0] if which == "source" else [6, 2] for which in named["which"]]
    return alt.StrokeDash("domain:N", scale=alt.Scale(domain=list(named["domain"]), range=dashes), legend=None)
