"""What a dataset folder holds, read without the code under test."""

from typing import Any

import pyarrow.parquet as pq

from crossrec import paths


def rows(name: str, table: str) -> list[dict[str, Any]]:
    return pq.read_table(paths.datasets() / name / f"{table}.parquet").to_pylist()


def triples(name: str, domain: str = "target") -> list[tuple[str, str, int | None]]:
    """The dataset's events as (user id, item id, time), in the order of the file."""
    users = {row["user"]: row["user_id"] for row in rows(name, "users")}
    items = {row["item"]: row["item_id"] for row in rows(name, f"{domain}.items")}
    return [(users[row["user"]], items[row["item"]], row["time"]) for row in rows(name, f"{domain}.events")]
