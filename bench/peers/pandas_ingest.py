"""Reviews of the 2023 edition to a dataset, the usual ways: read, drop_duplicates, a loop for the core, factorize.

    python pandas_ingest.py FILE.jsonl FOLDER K_CORE loop|chunks

`loop` reads with json.loads, line by line, into one DataFrame, as most tutorials do; `chunks` with read_json in parts,
as who knows pandas well does. Writes events and items as Parquet and tells how many users, items and events are left.
"""

import json
import sys
from pathlib import Path

import pandas as pd

COLUMNS = ["user_id", "parent_asin", "rating", "timestamp", "title", "text"]


def main(path, folder, k, way):
    if way == "loop":
        with open(path) as file:
            frame = pd.DataFrame([json.loads(line) for line in file])[COLUMNS]
    else:
        parts = pd.read_json(path, lines=True, chunksize=100_000, dtype=False)
        frame = pd.concat([part[COLUMNS] for part in parts], ignore_index=True)
    frame = frame[frame["rating"] > 0]
    frame = frame.sort_values("timestamp", kind="stable").drop_duplicates(["user_id", "parent_asin"], keep="first")
    while True:
        users = frame["user_id"].map(frame["user_id"].value_counts())
        items = frame["parent_asin"].map(frame["parent_asin"].value_counts())
        keep = (users >= int(k)) & (items >= int(k))
        if keep.all():
            break
        frame = frame[keep]
    frame["user"], user_ids = pd.factorize(frame["user_id"], sort=True)
    frame["item"], item_ids = pd.factorize(frame["parent_asin"], sort=True)
    frame = frame.sort_values(["user", "timestamp"], kind="stable")
    events = frame[["user", "item", "rating", "timestamp", "title", "text"]]
    events.to_parquet(Path(folder) / "events.parquet", index=False)
    pd.DataFrame({"user_id": user_ids}).to_parquet(Path(folder) / "users.parquet")
    pd.DataFrame({"item_id": item_ids}).to_parquet(Path(folder) / "items.parquet")
    print(json.dumps({"users": len(user_ids), "items": len(item_ids), "events": len(events)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
