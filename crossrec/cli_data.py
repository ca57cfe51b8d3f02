"""The `crossrec data` commands: make, fetch, describe and list datasets, here and now or by the queue."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from crossrec import paths
from crossrec.console import Reporter, bars, console, table
from crossrec.errors import CrossrecError
from crossrec.stopping import Stop

if TYPE_CHECKING:
    from crossrec.data.prepare import ReadOptions
    from crossrec.runs.task import Task

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
Import = Annotated[str, typer.Argument(metavar="IMPORT", help="Name of an import.")]
KCore = Annotated[int, typer.Option(help="Keep users and items with at least so many events, to a fixed point.")]
MaxUsers = Annotated[int | None, typer.Option(help="Keep so many users, those in both domains first.")]
ChoiceSeed = Annotated[int, typer.Option(min=0, help="Of the choice of users under a cap.")]
OverlapOnly = Annotated[bool, typer.Option(help="Keep only users with events in both domains.")]
MinRating = Annotated[float | None, typer.Option(help="Drop events rated lower.")]
Queue = Annotated[bool, typer.Option(help="Do it in the background: `crossrec data imports` tells how far it is.")]
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
    title_column: Annotated[str | None, typer.Option(help="Column of review titles.")] = None,
    read: Annotated[
        list[str] | None,
        typer.Option(metavar="DOMAIN.KEY=VALUE", help="For one file only, such as source.user_column=who; repeatable."),
    ] = None,
    k_core: KCore = 1,
    overlap_only: OverlapOnly = False,
    min_rating: MinRating = None,
    max_users: MaxUsers = None,
    max_items: MaxItems = None,
    seed: ChoiceSeed = 0,
    replace: Replace = False,
    queue: Queue = False,
    json_: Json = False,
) -> None:
    """Make a dataset from files on disk."""
    from crossrec.data.prepare import PrepareOptions, describe, import_pair
    from crossrec.runs.imports import enqueue_files

    labels = None
    if source_label or target_label:
        labels = (source_label or "Source", target_label or "Target")
    columns = {"user": user_column, "item": item_column, "rating": rating_column, "time": time_column}
    columns |= {"text": text_column, "title": title_column}
    how: dict[str, str | None] = {"format": edition, **{f"{role}_column": name for role, name in columns.items()}}
    given: dict[str, Any] = {
        "source_items": source_items,
        "target_items": target_items,
        "read": _reads(how, read or []),
        "options": PrepareOptions(
            k_core=k_core,
            overlap_only=overlap_only,
            min_rating=min_rating,
            max_users=max_users,
            max_events=max_items,
            seed=seed,
        ),
        "labels": labels,
        "replace": replace,
    }
    if queue:
        tell_queued(enqueue_files(name, source, target, **given), json_)
        return
    with Stop(), Reporter(quiet=json_) as report:
        import_pair(name, source, target, on_event=report, **given)
    _describe(describe(name), json_)


def _reads(how: dict[str, str | None], words: list[str]) -> "tuple[ReadOptions, ReadOptions]":
    """How to read the source and the target file: what is said of both, and of one alone."""
    from crossrec.data.prepare import ReadOptions

    each = {"source": dict(how), "target": dict(how)}
    for word in words:
        place, equals, value = word.partition("=")
        domain, dot, key = place.partition(".")
        if not (equals and dot and domain in each):
            raise CrossrecError(f"--read {word!r} is not understood: write it as source.user_column=NAME.")
        each[domain][key] = value
    return ReadOptions.from_dict(each["source"]), ReadOptions.from_dict(each["target"])


@data.command("download")
def data_download(
    name: Name,
    source: Annotated[str, typer.Option(help="Source category, such as Electronics.")],
    target: Annotated[str, typer.Option(help="Target category, such as Video_Games.")],
    subset: Subset = "raw",
    k_core: KCore = 1,
    overlap_only: OverlapOnly = False,
    min_rating: MinRating = None,
    max_users: MaxUsers = None,
    max_items: MaxItems = None,
    seed: ChoiceSeed = 0,
    replace: Replace = False,
    queue: Queue = False,
    json_: Json = False,
) -> None:
    """Fetch two categories of the Amazon Reviews 2023 from the hub and make a dataset of them."""
    from crossrec.data.hub import download_pair
    from crossrec.data.prepare import PrepareOptions, describe
    from crossrec.runs.imports import enqueue_download

    options = PrepareOptions(
        k_core=k_core,
        overlap_only=overlap_only,
        min_rating=min_rating,
        max_users=max_users,
        max_events=max_items,
        seed=seed,
    )
    if queue:
        tell_queued(enqueue_download(name, source, target, subset, options, replace=replace), json_)
        return
    with Stop(), Reporter(quiet=json_) as report:
        download_pair(name, source, target, subset, options, on_event=report, replace=replace)
    _describe(describe(name), json_)


@data.command("describe")
def data_describe(name: str, json_: Json = False) -> None:
    """Sizes, overlap, activity and the leak reports of a dataset."""
    from crossrec.data.prepare import describe

    _describe(describe(paths.slug(name, "dataset")), json_)


@data.command("map")
def data_map(name: Annotated[str, typer.Argument(metavar="NAME")], json_: Json = False) -> None:
    """Make the map of a dataset's items that explore shows, in a process of its own."""
    from crossrec.runs import item_map

    task = item_map.enqueue(name)
    state = task.shown()["state"]
    if json_:
        print_json({"map": task.name, "state": state})
    else:
        words = "is there" if state == "finished" else "is being made"
        console.print(f"The map of {name} {words}: the explore page shows it.")


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


@data.command("imports")
def data_imports(json_: Json = False) -> None:
    """The imports and downloads of the queue, newest first, with how far each is."""
    from crossrec.runs.imports import list_imports
    from crossrec.runs.queue import look_after

    look_after()
    found = [task.config() | {"status": task.shown()} for task in list_imports()]
    if json_:
        print_json(found)
        return
    rows = [(one["import"], one["dataset"], one["kind"], *_far(one["status"])) for one in found]
    table(("import", "dataset", "from", "state", "done", ""), rows)


@data.command("cancel")
def data_cancel(name: Import, json_: Json = False) -> None:
    """Take an import out of the queue, or stop it; what was downloaded is kept."""
    from crossrec.runs import queue
    from crossrec.runs.imports import open_import

    state = queue.cancel(open_import(name))
    if json_:
        print_json({name: state})
    else:
        console.print(f"{name} is {state}. `crossrec data resume {name}` does it again.")


@data.command("resume")
def data_resume(name: Import, json_: Json = False) -> None:
    """Put a stopped or failed import into the queue again; a download goes on from its bytes."""
    from crossrec.runs import queue
    from crossrec.runs.imports import open_import

    queue.resume(open_import(name))
    if json_:
        print_json({name: "queued"})
    else:
        console.print(f"{name} waits for its turn.")


@data.command("forget")
def data_forget(name: Import, json_: Json = False) -> None:
    """Remove the record of an import; the dataset stays."""
    from crossrec.runs.imports import forget, open_import

    forget(open_import(name))
    if json_:
        print_json({name: "forgotten"})
    else:
        console.print(f"The record of {name} is removed.")


def tell_queued(task: "Task", json_: bool) -> None:
    """Says that an import waits, and how to look after it."""
    if json_:
        print_json(task.config() | {"status": task.shown()})
    else:
        console.print(f"{task.name} waits for its turn: `crossrec data imports` tells how far it is.")


def _far(status: dict[str, Any]) -> tuple[str, str, str]:
    """The state of an import, its share done, and what it does or why it does nothing."""
    state, share = status["state"], status.get("progress")
    doing = status.get("error") or status.get("doing") or (status.get("split") or {}).get("note") or ""
    return state, "" if share is None or state == "queued" else f"{share:.0%}", doing


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
