"""What fine-tuning on feedback did to a run, told honestly: on the log, and on the next items that nobody logged."""

from typing import Any

import numpy as np

from crossrec.data.pair import DomainPair
from crossrec.data.split import Split
from crossrec.evaluation.protocol import BRIEF, ranked
from crossrec.evaluation.statistics import mean_intervals, rounded
from crossrec.models.recommender import Recommender

PARTS = ("valid", "test")


def report(
    before: Recommender, after: Recommender, pair: DomainPair, split: Split, base: str, learned: dict[str, Any]
) -> dict[str, Any]:
    """What goes to metrics.json.

    Args:
        before: of the run that was started from.
        after: the fine-tuned one.
        pair: the dataset.
        split: whose validation and test questions both are asked.
        base: name of the run that was started from.
        learned: the training's own report.

    Returns:
        `learned`, "base", and "next_item": {part: {metric: {"before", "after", "difference"}}}, each with its 95 %
        interval over users, the difference paired.
    """
    return {"base": base, **learned, "next_item": {part: _asked(before, after, pair, split, part) for part in PARTS}}


def _asked(before: Recommender, after: Recommender, pair: DomainPair, split: Split, part: str) -> dict[str, Any]:
    tables = [ranked(one, pair, split.part(part)) for one in (before, after)]
    old, new = (np.stack([table[name].to_numpy(float) for name in BRIEF]) for table in tables)
    found = zip(BRIEF, mean_intervals(old), mean_intervals(new), mean_intervals(new - old), strict=True)
    return {name: {"before": rounded(a), "after": rounded(b), "difference": rounded(d)} for name, a, b, d in found}


def sentence(metrics: dict[str, Any]) -> str | None:
    """What came of a fine-tuning, in words; None for another run."""
    about = metrics.get("finetune")
    if about is None:
        return None
    judge, rows = about["judge"], sum(about["rows"].values())
    change = f"{100 * judge['gain'] / judge['before']:+.1f} %; " if judge["before"] else ""
    held = (
        f"its value on {judge['sessions']:,} sessions that judged was {judge['before']:.4f} before and "
        f"{judge['after']:.4f} after ({change}gain {judge['gain']:+.4f}, 95 % interval {judge['low']:+.4f} to "
        f"{judge['high']:+.4f})"
    )
    left = sum(about["left_out"].values())
    of = f"{rows:,} shown items of the log {about['log']!r}" + (f", {left:,} left out" if left else "")
    if about["kept_start"]:
        return f"Fine-tuning {about['base']} on {of}: {held}. The start's weights were kept, for {about['why']}."
    test = about["next_item"]["test"]["ndcg@10"]
    moved = test["difference"]
    return (
        f"Fine-tuning {about['base']} on {of}: {held}. The new weights were taken, for {about['why']}. "
        f"Next-item NDCG@10 on test went from {test['before']['mean']:.4f} to {test['after']['mean']:.4f} "
        f"({moved['mean']:+.4f}, {moved['low']:+.4f} to {moved['high']:+.4f})."
    )
