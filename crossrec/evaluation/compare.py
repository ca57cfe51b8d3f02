"""Two or more evaluated runs side by side, paired over users."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from crossrec.errors import CrossrecError
from crossrec.evaluation.metrics import METRICS
from crossrec.evaluation.protocol import group_masks
from crossrec.evaluation.statistics import Interval, mean_intervals, rounded

HEADLINE = "ndcg@10"


@dataclass(frozen=True)
class Side:
    """One evaluated run."""

    run: str
    title: str
    table: pd.DataFrame
    """The per-user table of `protocol.evaluate` on the test part."""


@dataclass(frozen=True)
class Row:
    """One metric in one group of users: the mean of a side, or its difference to the baseline."""

    run: str
    title: str
    group: str
    protocol: str
    """"full" ranking or "sampled"."""
    metric: str
    users: int
    value: Interval
    baseline: str | None = None
    """Title of the side it is compared with, for a difference."""
    relative: float | None = None
    """Difference over the baseline's mean."""

    def to_dict(self) -> dict[str, Any]:
        return {k: v for k, v in asdict(self).items() if k != "value"} | rounded(self.value)


@dataclass(frozen=True)
class Comparison:
    """Means of all sides, and paired differences of each later side to the first."""

    means: list[Row]
    differences: list[Row]
    versus: list[Row] = field(default_factory=list)
    """Differences of every other side to the champion, where one was named."""

    def mean(self, run: str, group: str = "all", metric: str = HEADLINE, protocol: str = "full") -> Row | None:
        return find_row(self.means, run, group, metric, protocol)

    def difference(self, run: str, group: str = "all", metric: str = HEADLINE, protocol: str = "full") -> Row | None:
        return find_row(self.differences, run, group, metric, protocol)

    def to_dict(self) -> dict[str, Any]:
        return {
            "means": [row.to_dict() for row in self.means],
            "differences": [row.to_dict() for row in self.differences],
            "versus": [row.to_dict() for row in self.versus],
        }


def compare(sides: Sequence[Side], champion: str | None = None, cutoff: int = 10, seed: int = 0) -> Comparison:
    """Compares every later side with the first one, and every other side with the champion.

    Means and paired differences of all metrics at one cutoff, for every group, by full ranking and by the sampled
    protocol, each with a bootstrap interval over users.

    Args:
        sides: the evaluated runs; the first is the baseline.
        champion: run name of the side that the others, too, are compared with.
        cutoff: the k of the metrics.
        seed: of the resampling.

    Raises:
        CrossrecError: the sides were not asked the same questions.
    """
    tables = [side.table.sort_values("user").reset_index(drop=True) for side in sides]
    first = tables[0]
    for side, table in zip(sides[1:], tables[1:], strict=True):
        if not all(np.array_equal(first[c], table[c]) for c in ("user", "n_source", "n_target", "n_truth")):
            raise CrossrecError(
                f"{sides[0].run} and {side.run} were not tested on the same questions: "
                "compare runs of one dataset and split."
            )
    names = [f"{metric}@{cutoff}" for metric in METRICS]
    columns = names + [f"sampled.{name}" for name in names]
    # Blocks of M metrics: the sides, then their differences; (side, reference) with None for a mean.
    blocks: list[tuple[int, int | None]] = [(i, None) for i in range(len(sides))]
    blocks += [(i, 0) for i in range(1, len(sides))]
    best = next((i for i, side in enumerate(sides) if side.run == champion), None)
    if best is not None:
        blocks += [(i, best) for i in range(len(sides)) if i != best]
    found = Comparison([], [], [])
    for group, mask in group_masks(first).items():
        users = int(mask.sum())
        if not users:
            continue
        values = [table.loc[mask, columns].to_numpy(float).T for table in tables]  # each (M, Q)
        stacked = np.concatenate([values[i] if ref is None else values[i] - values[ref] for i, ref in blocks])
        # One resampling for all sides and metrics of a group: what is compared saw the same resampled users.
        intervals = iter(mean_intervals(stacked, seed=seed))
        for n, (i, ref) in enumerate(blocks):
            later = n >= 2 * len(sides) - 1
            rows = found.means if ref is None else found.versus if later else found.differences
            for j, column in enumerate(columns):
                value, sampled = next(intervals), column.startswith("sampled.")
                base = float(np.nanmean(values[ref][j])) if ref is not None else 0.0
                rows.append(
                    Row(
                        run=sides[i].run,
                        title=sides[i].title,
                        group=group,
                        protocol="sampled" if sampled else "full",
                        metric=column.removeprefix("sampled."),
                        users=users,
                        value=value,
                        baseline=None if ref is None else sides[ref].title,
                        relative=value.mean / base if base else None,
                    )
                )
    return found


def find_row(rows: list[Row], run: str, group: str, metric: str, protocol: str) -> Row | None:
    wanted = (run, group, metric, protocol)
    return next((r for r in rows if (r.run, r.group, r.metric, r.protocol) == wanted), None)
