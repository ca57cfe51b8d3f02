"""Charts of what goes on inside a recommender: attention as bars and as a grid, vectors as strips, pulls as bars."""

from collections.abc import Mapping, Sequence

import altair as alt
import numpy as np
import pandas as pd

from crossrec.recommend.anatomy import Attention, Pull, Seen
from crossrec.report import theme
from crossrec.report.charts import Drawn
from crossrec.runs.catalog import Floats, shortened

NEWEST = 16
"""Most items of a sequence that are drawn, the newest."""
AROUND = 130
"""Height in px of what stands below the bars: the axis, its title and the legend."""
PLACE = {"start": theme.MUTED, **theme.DOMAIN}
MEANINGS = {
    "pred": "tell the stars of the newest target item",
    "rank": "put the newest target item first in the catalogue",
    "diff": "keep shared and specific tastes unrelated, among other people's",
    "class": "leave nothing in the shared taste that tells its domain",
    "rec": "tell from both tastes what was written",
    "align": "make the shared tastes of both domains the same",
}
"""What each loss of the review model is for."""
PULLS = {
    "pred": "Stars",
    "rank": "Ranking",
    "diff": "Apart",
    "class": "Domains",
    "rec": "Memory",
    "align": "Alignment",
}


def attention_bars(found: Attention, block: int, labels: Mapping[str, str]) -> Drawn:
    """What the newest state takes from each place, newest item on top.

    Args:
        found: of one person.
        block: which one's weights.
        labels: names of the domains.
    """
    frame = attention_frame(found.seen, found.weights[block][-1], labels)
    names = [labels.get(which, which) for which in frame["which"].drop_duplicates()]
    colours = [PLACE[which] for which in frame["which"].drop_duplicates()]
    legend = alt.Legend(title=None, orient="bottom")
    return (
        alt.Chart(frame)
        .mark_bar(cornerRadiusEnd=2)
        .encode(
            y=alt.Y("place:N", sort=list(frame["place"]), title=None, axis=alt.Axis(labelLimit=220, ticks=False)),
            x=alt.X("weight:Q", title="Share of the attention", axis=alt.Axis(format="%", tickCount=5)),
            color=alt.Color("domain:N", scale=alt.Scale(domain=names, range=colours), legend=legend),
            tooltip=[
                alt.Tooltip("place:N", title=" "),
                alt.Tooltip("domain:N", title="Domain"),
                alt.Tooltip("weight:Q", title="Share", format=".1%"),
            ],
        )
        .properties(height=AROUND + 26 * len(frame))
    )


def attention_frame(seen: Sequence[Seen], weights: Floats, labels: Mapping[str, str]) -> pd.DataFrame:
    """place, which, domain, weight; newest first, the older ones and the start summed up in a row each."""
    rows = [
        (f"{at}. {shortened(one.name, 30)}", one.which, labels.get(one.which, "start"), float(weights[at]))
        for at, one in enumerate(seen)
        if at
    ][::-1]
    older = rows[NEWEST:]
    rows = rows[:NEWEST]
    if older:
        rows.append((f"{len(older)} older items", "start", "start", sum(row[3] for row in older)))
    rows.append(("The start, before any item", "start", "start", float(weights[0])))
    return pd.DataFrame(rows, columns=["place", "which", "domain", "weight"])


def attention_grid(found: Attention, block: int) -> Drawn:
    """Who looks at whom: a row for each state, a column for each place it may look at, the newest `NEWEST`."""
    weights = found.weights[block]
    at = range(max(0, len(weights) - NEWEST), len(weights))
    names = {place: "start" if not place else str(place) for place in at}
    frame = pd.DataFrame(
        [
            (names[row], names[column], found.seen[row].name, found.seen[column].name, float(weights[row, column]))
            for row in at
            for column in at
            if column <= row
        ],
        columns=["state", "place", "after", "of", "weight"],
    )
    order = list(names.values())
    return (
        alt.Chart(frame)
        .mark_rect()
        .encode(
            x=alt.X("place:N", sort=order, title="Looks at item", axis=alt.Axis(labelAngle=0)),
            y=alt.Y("state:N", sort=order, title="State after item"),
            color=alt.Color(
                "weight:Q",
                scale=alt.Scale(scheme="blues", domainMin=0),
                legend=alt.Legend(title="Share", format="%", orient="bottom"),
            ),
            tooltip=[
                alt.Tooltip("after:N", title="State after"),
                alt.Tooltip("of:N", title="Looks at"),
                alt.Tooltip("weight:Q", title="Share", format=".1%"),
            ],
        )
        .properties(height=AROUND + 40 + 22 * len(order))
    )


def strips(vectors: Mapping[str, Floats], order: Floats | None = None, middle: float = 0.0) -> Drawn:
    """Vectors as strips of cells, one above the other, a cell for each dimension.

    Args:
        vectors: (D,) by their names, from top to bottom; each is coloured on its own scale, by its largest size.
        order: (D,) by which the dimensions are sorted; by number without it.
        middle: the value that has no colour.
    """
    names = list(vectors)
    width = len(vectors[names[0]])
    place = np.empty(width, int)
    place[np.arange(width) if order is None else np.argsort(order, kind="stable")] = np.arange(width)
    rows = []
    for name, vector in vectors.items():
        most = float(np.abs(vector - middle).max()) or 1.0
        rows += [
            (name, int(place[d]), d + 1, float(value), float(value - middle) / most) for d, value in enumerate(vector)
        ]
    frame = pd.DataFrame(rows, columns=["name", "place", "dimension", "value", "shade"])
    return (
        alt.Chart(frame)
        .mark_rect()
        .encode(
            x=alt.X("place:O", title=None, axis=None),
            y=alt.Y("name:N", sort=names, title=None, axis=alt.Axis(labelLimit=200, ticks=False, domain=False)),
            color=alt.Color(
                "shade:Q",
                scale=alt.Scale(domain=[-1, 0, 1], range=[theme.TARGET, "#F2F2F2", theme.SOURCE]),
                legend=None,
            ),
            tooltip=[
                alt.Tooltip("name:N", title=" "),
                alt.Tooltip("dimension:Q", title="Dimension"),
                alt.Tooltip("value:Q", title="Value", format="+.3f"),
            ],
        )
        .properties(height=max(60, 34 * len(names)))
    )


def gates(gate: Floats, labels: tuple[str, str]) -> Drawn:
    """How far each dimension lets the source in, 1 - g, dimensions sorted by it."""
    source, target = labels
    frame = pd.DataFrame({"dimension": np.argsort(-(1 - gate), kind="stable") + 1, "share": np.sort(1 - gate)[::-1]})
    frame["place"] = np.arange(1, len(frame) + 1)
    return (
        alt.Chart(frame)
        .mark_bar(color=theme.TRANSFER, opacity=0.85)
        .encode(
            x=alt.X("place:O", title=f"Dimensions, the most open to {source} first", axis=alt.Axis(labels=False)),
            y=alt.Y(
                "share:Q",
                title=f"Share of {source}",
                scale=alt.Scale(domain=[0, 1]),
                axis=alt.Axis(format="%", tickCount=5),
            ),
            tooltip=[
                alt.Tooltip("dimension:Q", title="Dimension"),
                alt.Tooltip("share:Q", title=f"From {source}, the rest from {target}", format=".1%"),
            ],
        )
        .properties(height=180)
    )


def pulls(found: Sequence[Pull]) -> Drawn:
    """How hard each loss pulls at the shared and at the specific tastes."""
    rows = [
        (PULLS[one.loss], which, size, one.value, one.weight)
        for one in found
        for which, size in (("shared", one.shared), ("specific", one.specific))
    ]
    frame = pd.DataFrame(rows, columns=["loss", "taste", "pull", "value", "weight"])
    side = alt.Axis(labelLimit=300, ticks=False, domain=False)
    return (
        alt.Chart(frame)
        .mark_bar(cornerRadiusEnd=2)
        .encode(
            y=alt.Y("loss:N", sort=list(dict.fromkeys(frame["loss"])), title=None, axis=side),
            yOffset=alt.YOffset("taste:N", sort=["shared", "specific"]),
            x=alt.X("pull:Q", title="Pull", scale=alt.Scale(type="symlog", constant=0.01), axis=alt.Axis(tickCount=4)),
            color=alt.Color(
                "taste:N",
                scale=alt.Scale(domain=["shared", "specific"], range=[theme.BOTH, theme.REVIEW]),
                legend=alt.Legend(title="Pulls at the taste that is", orient="bottom"),
            ),
            tooltip=[
                alt.Tooltip("loss:N", title=" "),
                alt.Tooltip("taste:N", title="Taste"),
                alt.Tooltip("pull:Q", title="Pull", format=".4f"),
                alt.Tooltip("value:Q", title="Loss", format=".4f"),
                alt.Tooltip("weight:Q", title="Its weight", format=".2f"),
            ],
        )
        .properties(height=AROUND + 36 * len(frame["loss"].unique()))
    )
