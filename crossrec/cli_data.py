"""The `crossrec data` commands: make, fetch, describe and list datasets."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from crossrec import paths
from crossrec.console import Reporter, bars, console, table
from crossrec.errors import CrossrecError

data = typer.Typer(no_args_is_help=True, help="Make, fetch and describe datasets.")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
MaxItems = Annotated[
    int | None, typer.Option("--max-items", help="Most events a domain, taken by whole users, never by rows.")
]
Subset = Annotated[
    Literal["raw", "5core", "0core"], typer.Option(help="raw (with texts), 5core or 0core (ratings only).")
]
Dataset = Annotated[str | None, typer.Option(help="Name of a dataset; or give --source and --target.")]
Category = Annotated[str | None, typer.Option(help="An Amazon category, such as Electronics.")]
Name = Annotated[str, typer.Argument(help="Name of the new dataset.")]
KCore = Annotated[int, typer.Option(help="Keep users and items with at least so many events, to a fixed point.")]
MaxUsers = Annotated[int | None, typer.Option(help="Keep so many users, those in both domains first.")]
ChoiceSeed = Annotated[int, typer.Option(help="Of the choice of users under a cap.")]
Replace = Annotated[bool, typer.Option(help="Replace a dataset of this name once the new one is complete.")]
DEFAULT_PAIR = ("Electronics", "Video_Games")
DEFAULT_MAX_ITEMS = 300_000


def dataset_name(dataset: str | None, source: str | None, target: str | None, max_items: int | None) -> str:
    """The name of the dataset that the options mean: given, or made of a pair of categories."""
    if dataset is not None:
        if source or target or max_items:
            raise CrossrecError("Give either --dataset, or --source, --target and --max-items, not both.")
        return paths.slug(dataset, "dataset")
    pair = (source or DEFAULT_PAIR[0], target or DEFAULT_PAIR[1])
    return paths.slug("-".join((*pair, str(max_items or DEFAULT_MAX_ITEMS))), "dataset")


@data.command("import")
def data_import(
    name: Name,
    target: Annotated[Path, typer.Option(help="File of target events: CSV, JSONL, Parquet or sequences, gzip too.")],
    source: Annotated[Path | None, typer.Option(help="File of source events; without it there is one domain.")] = None,
    source_items: Annotated[Path | None, typer.Option(help="File of source item titles.")] = None,
    target_items: Annotated[Path | None, typer.Option(help="File of target item titles.")] = None,
    source_label: Annotated[str | None, typer.Option(help="What people call the source domain.")] = None,
    target_label: Annotated[str | None, typer.Option(help="What people call the target domain.")] = None,
    edition: Annotated[
        str | None, typer.Option("--format", help="2014, 2018, 2023, csv or sequences, where detection is in doubt.")
    ] = None,
    user_column: Annotated[str | None, typer.Option(help="Column of user ids (1, 2, ... without a header).")] = None,
    item_column: Annotated[str | None, typer.Option(help="Column of item ids.")] = None,
    rating_column: Annotated[str | None, typer.Option(help="Column of ratings.")] = None,
    time_column: Annotated[str | None, typer.Option(help="Column of times, seconds or milliseconds.")] = None,
    text_column: Annotated[str | None, typer.Option(help="Column of review texts.")] = None,
    k_core: KCore = 1,
    overlap_only: Annotated[bool, typer.Option(help="Keep only users with events in both domains.")] = False,
    min_rating: Annotated[float | None, typer.Option(help="Drop events rated lower.")] = None,
    max_users: MaxUsers = None,
    max_items: MaxItems = None,
    seed: ChoiceSeed = 0,
    replace: Replace = False,
    json_: Json = False,
) -> None:
    """Make a dataset from files on disk."""
    from crossrec.data.prepare import PrepareOptions, ReadOptions, describe, import_pair

    labels = None
    if source_label or target_label:
        labels = (source_label or "Source", target_label or "Target")
    with Reporter(quiet=json_) as report:
        import_pair(
            name,
            source,
            target,
            source_items=source_items,
            target_items=target_items,
            read=ReadOptions(
                format=edition,
                user_column=user_column,
                item_column=item_column,
                rating_column=rating_column,
                time_column=time_column,
                text_column=text_column,
            ),
            options=PrepareOptions(
                k_core=k_core,
                overlap_only=overlap_only,
                min_rating=min_rating,
                max_users=max_users,
                max_events=max_items,
                seed=seed,
            ),
            labels=labels,
            replace=replace,
            on_event=report,
        )
    _describe(describe(name), json_)


@data.command("download")
def data_download(
    name: Name,
    source: Annotated[str, typer.Option(help="Source category, such as Electronics.")],
    target: Annotated[str, typer.Option(help="Target category, such as Video_Games.")],
    subset: Subset = "raw",
    k_core: KCore = 1,
    max_users: MaxUsers = None,
    max_items: MaxItems = None,
    seed: ChoiceSeed = 0,
    replace: Replace = False,
    json_: Json = False,
) -> None:
    """Fetch two categories of the Amazon Reviews 2023 from the hub and make a dataset of them."""
    from crossrec.data.hub import download_pair
    from crossrec.data.prepare import PrepareOptions, describe

    options = PrepareOptions(k_core=k_core, max_users=max_users, max_events=max_items, seed=seed)
    with Reporter(quiet=json_) as report:
        download_pair(name, source, target, subset, options, on_event=report, replace=replace)
    _describe(describe(name), json_)


@data.command("describe")
def data_describe(name: str, json_: Json = False) -> None:
    """Sizes, overlap, activity and the leak reports of a dataset."""
    from crossrec.data.prepare import describe

    _describe(describe(paths.slug(name, "dataset")), json_)


@data.command("list")
def data_list(json_: Json = False) -> None:
    """The datasets on this machine."""
    from crossrec.data.prepare import list_datasets

    found = list_datasets()
    if json_:
        print_json(found)
        return
    rows = [
        (
            m["name"],
            m["domains"]["source"]["name"],
            m["domains"]["target"]["name"],
            *map(_thousands, _sizes(m["counts"])),
        )
        for m in found
    ]
    table(("dataset", "source", "target", "users", "in both", "source events", "target events"), rows)


def _describe(about: dict[str, Any], json_: bool) -> None:
    from crossrec.data.split import KINDS, read_leak_report

    reports = [read_leak_report(paths.datasets() / about["name"], f"{kind}-0") for kind in KINDS]
    about = about | {"leak_reports": [report for report in reports if report]}
    if json_:
        # The headline counts stand at the top level too, where a script looks first.
        print_json(about["counts"] | about)
        return
    rows = []
    for which in ("source", "target"):
        domain, derived = about["domains"][which], about["derived"][which]
        if not domain["events"]:
            continue
        has = [word for word in ("time", "rating", "text") if domain[f"has_{word}"]]
        per_user = f"{derived['events_per_user']:.1f}"
        sizes = [_thousands(domain[key]) for key in ("users", "items", "events")]
        rows.append((which, domain["name"], *sizes, per_user, ", ".join(has) or "order only"))
    table(("", "domain", "users", "items", "events", "events a user", "known"), rows)
    counts = about["counts"]
    if counts["source_events"]:
        console.print(f"{counts['overlap_users']:,} of {counts['users']:,} users are in both domains.")
    bars([(step["step"], step.get("domain", ""), step["events"], step["dropped"]) for step in about["steps"]])
    for report in about["leak_reports"]:
        console.print(f"Split {report['split']}: {report['leaks']} leaks in {len(report['checks'])} checks.")


def _sizes(counts: dict[str, int]) -> tuple[int, ...]:
    return tuple(counts[key] for key in ("users", "overlap_users", "source_events", "target_events"))


def _thousands(number: int) -> str:
    return f"{number:,}"


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    json.dump(value, sys.stdout, indent=1, ensure_ascii=False, default=asdict)
    sys.stdout.write("\n")
