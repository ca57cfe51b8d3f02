"""What a comparison shows, in sentences that follow from its numbers."""

import pandas as pd

from crossrec.report.frames import means
from crossrec.report.words import capital, listed, percent
from crossrec.runs.coldstart import ColdResult
from crossrec.runs.compare import Result


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
    words = [f"{what} in {listed(names)}" for what, names in (("gains", up), ("loses", down)) if names]
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
    sentence = "; ".join(f"{what}: {listed(who)}" for what, who in (("clear gains", up), ("clear losses", down)) if who)
    return capital(sentence)


def order_sentence(result: Result) -> str:
    """Whether the sampled protocol would have told the same story."""
    full, drawn = means(result), means(result, "sampled")
    times = drawn["mean"].max() / full["mean"].max()
    same = list(full["title"]) == list(drawn["title"])
    return f"Sampling makes the numbers up to {times:.1f} times as large, " + (
        "in the same order" if same else "and orders the recommenders differently"
    )
