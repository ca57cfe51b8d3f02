"""Feedback logs that were made ready for a dataset: what was shown to whom, how probably, and what came back.

A log is a folder, artifacts/logs/<name>/: `log.json` (which dataset, where it comes from, what was left out), and two
Parquet files, `slates` (what was shown together) and `events` (each shown item with the reaction that stands). Items
and users are numbers of the dataset, so that a recommender can score them as they are.
"""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from crossrec import paths
from crossrec.data.pair import DomainPair
from crossrec.errors import CrossrecError, nearest

SLATES = pa.schema(
    [
        ("session", pa.string()),
        ("user", pa.int32()),
        ("policy", pa.string()),
        ("candidates", pa.list_(pa.int32())),
    ]
)
"""Row n is slate n. `user` is a row of the dataset's user table, -1 where nobody knows; `policy` names what chose;
`candidates` are what it chose from, null where that is unknown."""
EVENTS = pa.schema(
    [
        ("slate", pa.int32()),
        ("position", pa.int32()),
        ("item", pa.int32()),
        ("propensity", pa.float64()),
        ("action", pa.string()),
        ("reward", pa.float64()),
        ("time", pa.int64()),
    ]
)
"""Sorted by slate and position. `position` counts from 0, -1 where it is unknown; `item` is a number of the target
domain; `propensity` is the probability of the item at its position, given those above it, null where it is unknown;
`time` is in milliseconds since 1970 in UTC, null where it is unknown."""


@dataclass(frozen=True)
class StoredLog:
    """A log on disk, read whole."""

    name: str
    meta: dict[str, Any]
    """"dataset", "dataset_hash", "origin" (in words), "rewards" (by action), "left_out" ({reason in words: rows})."""
    slates: pd.DataFrame
    """Columns as in `SLATES`; `candidates` holds arrays, None where unknown."""
    events: pd.DataFrame
    """Columns as in `EVENTS`; NaN for an unknown propensity."""

    @property
    def known(self) -> bool:
        """Whether every event has a propensity."""
        return bool(self.events["propensity"].notna().all())

    def check(self, pair: DomainPair) -> None:
        """Raises CrossrecError where the log belongs to other data than `pair`."""
        if (self.meta["dataset"], self.meta["dataset_hash"]) != (pair.name, pair.meta["hash"]):
            raise CrossrecError(
                f"The log {self.name!r} was made ready for {self.meta['dataset']!r} as it was then, not for "
                f"{pair.name!r} as it is now: import it again."
            )


def save_log(
    name: str, pair: DomainPair, slates: pd.DataFrame, events: pd.DataFrame, meta: dict[str, Any], replace: bool = False
) -> StoredLog:
    """Writes a log; its folder appears when it is whole.

    Args:
        name: of the folder.
        pair: the dataset that users and items are numbers of.
        slates: columns as in `SLATES`.
        events: columns as in `EVENTS`, in any order of rows.
        meta: "origin", "rewards" and "left_out"; the dataset is added.
        replace: an earlier log of the name.

    Raises:
        CrossrecError: the name is taken or no name, there is no event, or a number is out of the dataset's range.
    """
    final = paths.logs() / paths.slug(name, "log")
    if final.exists() and not replace:
        raise CrossrecError(f"There is a log {name!r} already: give the new one another name, or replace it.")
    if not len(events):
        raise CrossrecError("A log without an event cannot be kept: there is nothing to learn from it.")
    items, users, places = events["item"], slates["user"], events["slate"]
    if not (items.between(1, pair.target.n_items).all() and users.between(-1, pair.n_users - 1).all()):
        raise CrossrecError(f"The log {name!r} has items or users that {pair.name!r} does not have: import it again.")
    if not places.between(0, len(slates) - 1).all():
        raise CrossrecError(f"The log {name!r} has events of slates that it does not have: import it again.")
    events = events.sort_values(["slate", "position"], kind="stable")
    whole = {"dataset": pair.name, "dataset_hash": pair.meta["hash"], **meta}
    whole |= {"slates": len(slates), "events": len(events), "sessions": int(slates["session"].nunique())}
    final.parent.mkdir(parents=True, exist_ok=True)
    hidden = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=final.parent))
    try:
        for kind, frame, schema in (("slates", slates, SLATES), ("events", events, EVENTS)):
            table = pa.Table.from_pandas(frame[schema.names], schema=schema, preserve_index=False)
            pq.write_table(table, hidden / f"{kind}.parquet")
        paths.write_json(hidden / "log.json", whole)
        hidden.chmod(0o755)
        aside = Path(tempfile.mkdtemp(prefix=f".{name}-old-", dir=final.parent))
        if final.exists():  # there is the old one or the new one, whatever ends this process
            final.rename(aside / name)
        hidden.rename(final)
        shutil.rmtree(aside)
    except OSError as error:
        raise CrossrecError(f"{final} cannot be written ({error.strerror}).") from error
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
    return open_log(name)


def read_meta(name: str) -> dict[str, Any]:
    """What log.json says: see `StoredLog.meta`; and "slates", "events" and "sessions", how many there are.

    Raises:
        CrossrecError: there is no log of that name; the nearest is named.
    """
    folder = paths.logs() / paths.slug(name, "log")
    if not (folder / "log.json").exists():
        hint = nearest(name, list_logs()) or " `crossrec feedback import` makes one."
        raise CrossrecError(f"There is no log {name!r}.{hint}")
    return dict(paths.read_json(folder / "log.json"))


def open_log(name: str) -> StoredLog:
    """Reads a log; raises as `read_meta`."""
    meta, folder = read_meta(name), paths.logs() / name
    slates, events = (pq.read_table(folder / f"{kind}.parquet").to_pandas() for kind in ("slates", "events"))
    slates["candidates"] = [
        None if one is None else np.asarray(one, np.int64) for one in slates["candidates"]
    ]  # a column of nothing but nulls comes back as such
    return StoredLog(name, meta, slates, events)


def list_logs(dataset: str | None = None) -> list[str]:
    """Names of the logs, of a dataset or all, newest first."""
    found = [path.parent for path in paths.logs().glob("[!.]*/log.json")]
    found.sort(key=lambda folder: (folder / "log.json").stat().st_mtime, reverse=True)
    return [folder.name for folder in found if dataset in (None, paths.read_json(folder / "log.json").get("dataset"))]


def remove_log(name: str) -> None:
    """Removes a log: first its name, so that nobody finds half of it."""
    folder = paths.logs() / paths.slug(name, "log")
    if not folder.exists():
        raise CrossrecError(f"There is no log {name!r}.{nearest(name, list_logs())}")
    aside = Path(tempfile.mkdtemp(prefix=".removed-", dir=folder.parent))
    folder.rename(aside / name)
    shutil.rmtree(aside)
