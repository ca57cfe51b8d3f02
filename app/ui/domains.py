"""What explore says of a dataset: the answer, the numbers, and titles made from the data."""

from typing import Any

import pandas as pd
import streamlit as st

from app.ui.cards import Number
from app.ui.errors import percent
from crossrec.data.explore import FEW, Overview
from crossrec.report import theme

ENOUGH = 0.5
"""From this share of preceded target events on, source history is there when it is needed."""


def answer(seen: Overview, source: str, target: str, single: bool) -> tuple[str, str]:
    """The answer in one sentence, and its kind."""
    if single:
        return (
            f"There is only one domain here, {target}, with {seen.users:,} people: nothing can carry over.",
            "unknown",
        )
    if not seen.both:
        return f"No: none of the {seen.users:,} people is in both {source} and {target}.", "harm"
    people = f"{seen.both:,} of {seen.users:,} people ({percent(seen.both_share)}) are in both {source} and {target}"
    if not seen.has_time:
        return f"They may: {people}. The data has no times, so how much {source} came first is not known.", "no"
    before = f"{percent(seen.preceded_share)} of their {target} events have at least one {source} event before them"
    if seen.preceded_share >= ENOUGH:
        return f"They can: {people}, and {before}.", "yes"
    return f"Hardly: {people}, but only {before}.", "no"


def numbers(seen: Overview, sizes: pd.DataFrame, source: str, target: str) -> list[Number]:
    size = sizes.set_index("which")
    goal = size.loc["target"]
    per_person = Number(
        f"{target} events a person",
        f"{goal['per_person']:.1f}",
        f"Mean over the {goal['people']:,} people with at least one {target} event.",
    )
    if "source" not in size.index:
        return [
            Number("People", f"{goal['people']:,}", f"With at least one {target} event."),
            Number("Items", f"{goal['items']:,}", f"{target} items that somebody took."),
            per_person,
        ]
    before = "–" if pd.isna(seen.median_before) else f"{seen.median_before:.0f}"
    known = "strictly before" if seen.has_time else "anywhere, because times are missing, beside"
    return [
        Number(
            "People in both",
            f"{seen.both:,}",
            f"People with at least one event in {source} and one in {target}: only for them can anything carry over.",
            percent(seen.both_share),
            "of all",
            "off",
            "off",
        ),
        Number(
            "History in time",
            percent(seen.preceded_share),
            f"Share of the {seen.target_events:,} {target} events of people in both that have a {source} event {known} "
            "them.",
        ),
        Number(
            f"{source} events known",
            before,
            f"Median number of {source} events {known} a {target} event, over people in both.",
        ),
        Number(
            f"Cold in {target}",
            f"{seen.cold:,}",
            f"People in both with at most {FEW} {target} events: a model of {target} alone has little to go by, so "
            "they stand to gain most.",
            percent(seen.cold / seen.both) if seen.both else None,
            "of those in both" if seen.both else None,
            "off",
            "off",
        ),
    ]


def parts(seen: Overview, source: str, target: str) -> pd.DataFrame:
    """The three kinds of people, for the overlap chart."""
    frame = pd.DataFrame(
        {
            "part": [f"{source} only", "In both", f"{target} only"],
            "people": [seen.source_only, seen.both, seen.target_only],
            "colour": [theme.SOURCE, theme.BOTH, theme.TARGET],
        }
    )
    frame = frame[frame["people"] > 0].reset_index(drop=True)
    return frame.assign(
        share=frame["people"] / max(1, seen.users),
        part=frame["part"] + frame["people"].map(" · {:,}".format),
    )


def overlap_sentence(seen: Overview, source: str, target: str) -> str:
    there = seen.both + seen.target_only
    if not there:
        return "Nobody is in the target domain"
    if seen.both == there:
        return f"Everyone in {target} is in {source} too"
    return f"{percent(seen.both / there)} of the people in {target} bring a history from {source}"


def size_sentence(sizes: pd.DataFrame) -> str:
    if len(sizes) == 1:
        return f"{sizes.iloc[0]['domain']} in numbers"
    ratio = sizes.iloc[0]["events"] / sizes.iloc[1]["events"]
    source, target = sizes["domain"]
    if 0.9 <= ratio <= 1.1:
        return f"{source} and {target} have about as many events"
    return (
        f"{source} has {ratio:.1f} times as many events as {target}"
        if ratio > 1
        else (f"{target} has {1 / ratio:.1f} times as many events as {source}")
    )


def size_table(sizes: pd.DataFrame) -> pd.DataFrame:
    """Measures in rows and domains in columns: narrow enough for a phone."""
    rows = {
        "People": sizes["people"].map("{:,}".format),
        "Items": sizes["items"].map("{:,}".format),
        "Events": sizes["events"].map("{:,}".format),
        "Events a person": sizes["per_person"].map("{:.1f}".format),
        "From": sizes["first"].map(str),
        "To": sizes["last"].map(str),
    }
    if sizes["first"].isna().all():
        rows = {name: row for name, row in rows.items() if name not in ("From", "To")}
    table = pd.DataFrame(rows).T.replace("None", "not known")
    table.columns = list(sizes["domain"])
    return table.rename_axis(" ").reset_index()


def began_sentence(began: pd.DataFrame, sizes: pd.DataFrame) -> str:
    labels = dict(zip(sizes["which"], sizes["domain"], strict=True))
    share = began.set_index("began")["share"]
    words = f"{percent(share['source'])} of the people in both began with {labels['source']}, "
    words += f"{percent(share['target'])} with "
    return (
        words
        + labels["target"]
        + (f" and {percent(share['same time'])} with both at once." if share["same time"] else ".")
    )


def activity_sentence(activity: pd.DataFrame) -> str:
    peak = activity.loc[activity["events"].idxmax()]
    return f"{peak['domain']} was busiest in {peak['time']:%B %Y}, with {peak['events']:,} events"


def tail_sentence(per_person: pd.DataFrame) -> str:
    """Where most people of the target (or of the only) domain are."""
    frame = per_person[per_person["which"] == "target"]
    top = frame.loc[frame["people"].idxmax()]
    return f"Most often a person has {top['bin']} events in {top['domain']}; a few have many more"


def popularity_sentence(top_tenth: dict[str, float], source: str, target: str) -> str:
    words = f"The most taken tenth of the items holds {percent(top_tenth['target'])} of {target}"
    return words + ("" if pd.isna(top_tenth["source"]) else f" and {percent(top_tenth['source'])} of {source}")


def rating_sentence(ratings: pd.DataFrame) -> str:
    means = [
        f"{part['domain'].iloc[0]} {(part['rating'] * part['share']).sum():.1f}"
        for _, part in ratings.groupby("which", sort=False)
    ]
    return f"Mean stars: {', '.join(means)}"


def history_sentence(seen: Overview, source: str, target: str) -> str:
    if not seen.has_time:
        return f"A person in both has a median of {seen.median_before:.0f} {source} events"
    return f"Half of the {target} events have {seen.median_before:.0f} or more {source} events before them"


def path_sentence(path: pd.DataFrame, user: str) -> str:
    counts = path.sort_values("which").groupby("domain", sort=False).size()
    return f"Person {user}: " + " and ".join(f"{n} events in {domain}" for domain, n in counts.items())


def search_sentence(total: int, shown: int, words: str) -> str:
    many = f"{total:,} reviews have" if total != 1 else "One review has"
    return f"{many} “{words.strip()}”" + (f"; the newest {shown} are shown" if shown < total else "")


def search_table(found: pd.DataFrame) -> pd.DataFrame:
    """What was found, with the review's title before its text: one wide column is easier to read than two."""
    text = found["title"].fillna("").str.cat(found["text"].fillna(""), sep=" – ").str.strip(" –")
    columns = ["item", "domain", "rating", "text", "time", "user_id"]
    return found.assign(text=text)[columns].dropna(axis="columns", how="all")


def event_columns() -> dict[str, Any]:
    column = st.column_config
    return {
        "domain": column.TextColumn("Domain", width="small"),
        "step": column.NumberColumn("Step", width="small"),
        "time": column.DateColumn("Date", width="small", format="YYYY-MM-DD"),
        "item": column.TextColumn("Item", width="medium", pinned=True),
        "rating": column.NumberColumn("Stars", width="small", format="%.1f"),
        "title": column.TextColumn("Review", width="medium"),
        "text": column.TextColumn("Text", width="large"),
        "user_id": column.TextColumn("Person", width="small"),
    }
