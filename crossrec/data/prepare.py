"""Two files, or two tables, of events -> a dataset folder. The steps are in `work.py`, the folder in `folder.py`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb

from crossrec.data import folder as folders
from crossrec.data.amazon import read_events, read_items
from crossrec.data.folder import DOMAINS, describe, list_datasets
from crossrec.data.sniff import ReadOptions
from crossrec.data.source import Report
from crossrec.data.work import EVENT_COLUMNS, ITEM_COLUMNS, OnEvent, PrepareOptions, Work
from crossrec.errors import CrossrecError

__all__ = ["PrepareOptions", "ReadOptions", "describe", "import_pair", "list_datasets", "write_tables"]


def _ignore(_: Any) -> None:
    return None


def import_pair(
    name: str,
    source: Path | None,
    target: Path,
    *,
    source_items: Path | None = None,
    target_items: Path | None = None,
    read: ReadOptions | tuple[ReadOptions, ReadOptions] | None = None,
    options: PrepareOptions | None = None,
    labels: tuple[str, str] | None = None,
    origin_kind: str = "files",
    replace: bool = False,
    on_event: OnEvent = _ignore,
    watch: Callable[[duckdb.DuckDBPyConnection | None], None] = _ignore,
) -> Path:
    """Reads two files of events, and of items where given, and writes the dataset folder `name`; returns its path.

    Args:
        source: None for a dataset of one domain: the source domain is then empty.
        read: for both files, or one for the source and one for the target.
        labels: what people call the two domains; by default the files' names.
        replace: whether a dataset of this name gives way, once the new one is complete.
        on_event: called with {"event": "read", "domain", "file"} before a file is read and, after each step, with
            {"event": "step", "step", "domain", "events" (left after it), "dropped", ...}; with {"event": "write"}
            before the folder is written, and {"event": "done", "name", "path", "counts", "hash"} at the end.
        watch: gets the connection before the first file is read, and None before it is closed: in between another
            thread may ask for its `query_progress`.

    Raises:
        CrossrecError: a file is not what it should be, a filter leaves no event or no user in both domains, or the
            name is taken.
    """
    reads = read if isinstance(read, tuple) else (read or ReadOptions(),) * 2
    files = {"source": (source, source_items, reads[0]), "target": (target, target_items, reads[1])}
    labels = labels or ("" if source is None else _label(source), _label(target))
    with folders.building(name, replace) as folder:
        work = Work(folder, options or PrepareOptions(), on_event, paired=source is not None)
        watch(work.connection)
        try:
            origin: dict[str, Any] = {"kind": origin_kind}
            for domain, (events, items, how) in files.items():
                if events is None:
                    work.no_events(domain)
                    work.no_items(domain)
                    origin[domain] = None
                    continue
                on_event({"event": "read", "domain": domain, "file": Path(events).name})
                report = read_events(work.connection, Path(events), f"{domain}_raw", how, work.scratch)
                origin[domain] = {"file": Path(events).name, "format": report.format, "columns": report.columns}
                work.read(domain, report)
                if items is None:
                    work.no_items(domain)
                else:
                    on_event({"event": "read", "domain": domain, "file": Path(items).name})
                    about = read_items(work.connection, Path(items), f"{domain}_meta", how, work.scratch)
                    origin[domain] |= {"items_file": Path(items).name, "items_format": about.format}
                    origin[domain] |= {"items_skipped": about.skipped}
            return work.finish(name, labels, origin)
        finally:
            watch(None)
            work.close()


def write_tables(
    name: str,
    events: dict[str, Any],
    items: dict[str, Any],
    *,
    labels: tuple[str, str],
    options: PrepareOptions | None = None,
    origin: dict[str, Any] | None = None,
    extra_files: Callable[[Path], None] | None = None,
    replace: bool = False,
    on_event: OnEvent = _ignore,
) -> Path:
    """Writes the dataset folder from tables in memory, pandas or Arrow, by the same steps as `import_pair`.

    Args:
        events: per domain (`source` may be absent) user_id, item_id and where known rating, time (ms), title, text;
            the rows' order is the file's order.
        items: per domain, where known, item_id, title, creator, category, year.
        extra_files: writes more files into the folder it is given, before the folder gets its name.

    Raises:
        CrossrecError: as for `import_pair`.
    """
    if "target" not in events:
        raise CrossrecError("There is no table of target events: give one, or name the only domain 'target'.")
    with folders.building(name, replace) as folder:
        work = Work(folder, options or PrepareOptions(), on_event, paired=events.get("source") is not None)
        try:
            for domain in DOMAINS:
                if events.get(domain) is None:
                    work.no_events(domain)
                else:
                    work.take(f"{domain}_raw", events[domain], EVENT_COLUMNS)
                    rows = work.count(f"{domain}_raw")
                    work.read(domain, Report("table", rows, 0))
                if items.get(domain) is None:
                    work.no_items(domain)
                else:
                    work.take(f"{domain}_meta_all", items[domain], ITEM_COLUMNS)
                    work.first_of_each_item(domain)
            full = {"kind": "tables", "source": None, "target": None} | (origin or {})
            return work.finish(name, labels, full, extra_files)
        finally:
            work.close()


def _label(path: Path) -> str:
    name = Path(path).name.split(".")[0].replace("_", " ")
    return name[:1].upper() + name[1:]
