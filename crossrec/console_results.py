"""What the command line shows of results: their tables in a terminal. Apart from `console.py`, for it takes seconds to
load what computes them, and what imports or lists data needs none of it."""

from collections.abc import Sequence
from typing import Any

from crossrec.console import console, table
from crossrec.evaluation.protocol import GROUPS
from crossrec.evaluation.ratings import BASELINES as RATING_BASELINES
from crossrec.evaluation.ratings import METRICS as RATING_METRICS
from crossrec.evaluation.ratings import REFERENCE
from crossrec.report.tables import insight_tables, interval


def show_evaluation(run: str, result: dict[str, Any]) -> None:
    """Prints the groups of `protocol.summary`."""
    names = ("hr@10", "ndcg@10", "mrr@10", "recall@20")
    rows = []
    for group, means in result["groups"].items():
        if means["users"]:
            values = [f"{means['full'][name]:.4f}" for name in names]
            rows.append((GROUPS[group], f"{means['users']:,}", *values, f"{means['sampled']['hr@10']:.4f}"))
    table(("", "users", *names, "hr@10 among 1+99"), rows, title=f"{run}, full ranking")
    if result["popularity@10"] is not None:
        console.print(
            f"Its lists cover {result['coverage@10']:.1%} of the catalogue; an item in them has "
            f"{result['popularity@10']:.1f} training events, one of the catalogue {result['popularity_catalogue']:.1f}."
        )


def show_comparison(result: Any) -> None:
    """Prints a `runs.compare.Result`: the verdict first, then what it rests on."""
    console.print(result.verdict.headline, style="bold")
    for detail in result.verdict.details:
        console.print(detail)
    groups = list(dict.fromkeys(row.group for row in result.comparison.means))
    for protocol, title in (("full", "full ranking"), ("sampled", "1 + 99 sampled, for orientation only")):
        for metric in ("ndcg@10", "hr@10"):
            rows = []
            for side in result.sides:
                cells = [result.comparison.mean(side.run, group, metric, protocol) for group in groups]
                rows.append((side.title, *(f"{c.value.mean:.4f}" if c else "" for c in cells)))
            table(("", *(group.replace("_", " ") for group in groups)), rows, title=f"\n{metric}, {title}")
    rows = [
        (
            d.title,
            GROUPS[d.group],
            f"{d.users:,}",
            f"{d.value.mean:+.4f}",
            f"{d.value.low:+.4f}",
            f"{d.value.high:+.4f}",
        )
        for d in result.comparison.differences
        if d.metric == "ndcg@10" and d.protocol == "full"
    ]
    if rows:
        header = ("", "group", "users", "difference", "low", "high")
        table(header, rows, title=f"\nndcg@10 against {result.sides[0].title}, 95 % bootstrap interval over users")
    show_insight(result)
    show_ratings(result.ratings)


def show_insight(result: Any) -> None:
    """Prints what a verdict rests on, of a `Result` or a `ColdResult`; nothing where it rests on nothing."""
    if result.insight is None:
        return
    for one in insight_tables(result):
        if one.rows:
            table(one.header, one.rows, title=f"\n{one.title}")
    if missing := result.insight.missing:
        console.print(f"\nWithout controls: {', '.join(missing)}. `crossrec compare` asks them.")


def show_control(run: str, control: str, found: dict[str, Any]) -> None:
    """Prints what `controls.under` found."""
    rows = [
        (metric, interval(one["real"]), interval(one["value"]), interval(one["loss"], sign=True))
        for metric, one in found["metrics"].items()
    ]
    title = f"{run}, {control}: {found['users']:,} people with a source history, 95 % intervals"
    table(("", "as it is", control.replace("-", " "), "lost, paired"), rows, title=title)


def show_ratings(rows: Sequence[Any], title: str = "\nStars of hidden events") -> None:
    """Prints `runs.compare.RatingRow`s, if there are any."""
    if not rows:
        return
    names = list(RATING_METRICS)
    cells = [
        (
            row.title,
            *(_number(row.values[name]) for name in names),
            *(f"{d.mean:+.4f} ({d.low:+.4f} to {d.high:+.4f})" if (d := row.differences.get("rmse")) else "",),
        )
        for row in rows
    ]
    header = ("", *RATING_METRICS.values(), f"RMSE against {RATING_BASELINES[REFERENCE].lower()}, 95 % interval")
    table(header, cells, title=title)


def show_cold(result: Any) -> None:
    """Prints a `runs.coldstart.ColdResult`: its sentences, and one table."""
    for sentence in result.sentences:
        console.print(sentence, style="bold")
    stars = {row.run: row for row in result.ratings if row.run}
    first, rows = result.sides[0], []
    for side in result.sides:
        ndcg, hits = (result.comparison.mean(side.run, "all", metric) for metric in ("ndcg@10", "hr@10"))
        gap, told = result.comparison.difference(side.run), stars.get(side.run)
        rows.append(
            (
                side.title,
                f"{ndcg.value.mean:.4f} ({ndcg.value.low:.4f} to {ndcg.value.high:.4f})",
                "" if gap is None else f"{gap.value.mean:+.4f} ({gap.value.low:+.4f} to {gap.value.high:+.4f})",
                f"{hits.value.mean:.4f}",
                *(_number(told.values[name]) if told else "" for name in RATING_METRICS),
            )
        )
    plain = [row for row in result.ratings if row.run is None]
    rows += [(row.title, "", "", "", *(_number(row.values[name]) for name in RATING_METRICS)) for row in plain]
    header = ("", "NDCG@10", f"against {first.title}", "HR@10", *RATING_METRICS.values())
    title = f"\n{result.dataset}, {result.split}: {result.users:,} cold users, full ranking, 95 % intervals over users"
    table(header, rows, title=title)
    show_insight(result)


def _number(value: Any) -> str:
    return f"{value.mean:.4f}" if value else ""
