"""One dataset in the making: deduplicate, filter to a core, cap, number, sort, write.

The filters work on tables of integers in DuckDB; the texts stay where they were read and are joined at the end.
"""

# ruff: noqa: S608  (what is put into a query is a name from this file or a number)

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa

from crossrec import paths
from crossrec.data import folder as folders
from crossrec.data.folder import DOMAINS
from crossrec.data.source import Report, connect, do, one
from crossrec.errors import CrossrecError, nearest

OnEvent = Callable[[dict[str, Any]], None]

EVENT_COLUMNS = {
    "user_id": "VARCHAR",
    "item_id": "VARCHAR",
    "rating": "FLOAT",
    "time": "BIGINT",
    "title": "VARCHAR",
    "text": "VARCHAR",
}


ITEM_COLUMNS = {"item_id": "VARCHAR", "title": "VARCHAR", "creator": "VARCHAR", "category": "VARCHAR"} | {
    "year": "SMALLINT"
}


_WORDS = {
    "read": "reading",
    "no_id": "dropping events without a user or item id",
    "rating_0": "dropping ratings of 0",
    "duplicates": "dropping repeated pairs of user and item",
}


@dataclass(frozen=True)
class PrepareOptions:
    """Which events are kept."""

    k_core: int = 1
    """Each user and each item of a domain keeps at least this many events there: those below are dropped, again and
    again, until nothing changes. 1 keeps everything."""

    overlap_only: bool = False
    """Keep only the users with events in both domains; repeated together with `k_core` until nothing changes."""

    max_events: int | None = None
    """At most this many events in each domain, taken by whole users in the order of `seed`, users of both domains
    first; a user's sequence is never cut. A core that the cap has broken is taken again, so it may be fewer."""

    max_users: int | None = None
    """At most this many users over both domains, in the same order."""

    min_rating: float | None = None
    """Drop events rated below this, and those without a rating."""

    seed: int = 0
    """Settles the order of users for the two caps: by the MD5 of seed and user id, so the same on every machine."""

    def __post_init__(self) -> None:
        if self.k_core < 1:
            raise CrossrecError(f"k_core ({self.k_core}) must be at least 1, which keeps everything.")
        for name in ("max_events", "max_users"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise CrossrecError(f"{name} ({value}) must be at least 1, or absent for no cap.")

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "PrepareOptions":
        """Makes the options from a dict; an unknown key is a CrossrecError that names the nearest known one."""
        known = [f.name for f in fields(cls)]
        for key in values:
            if key not in known:
                raise CrossrecError(f"The option {key!r} is not known.{nearest(key, known)}")
        return cls(**values)


class Work:
    """One dataset in the making: a DuckDB database in a hidden folder, and the steps done so far.

    Tables: {domain}_raw as read, {domain}_meta the items as read, users_all and {domain}_items_all the ids sorted (a
    row's `rowid` is its code), {domain} the events as codes: u, i, row, rating, time.
    """

    def __init__(self, folder: Path, options: PrepareOptions, on_event: OnEvent, paired: bool) -> None:
        self.folder, self.options, self.on_event, self.paired = folder, options, on_event, paired
        self.scratch = folder / ".work"
        self.scratch.mkdir()
        self.connection: duckdb.DuckDBPyConnection = connect(self.scratch)
        self.domains = DOMAINS if paired else DOMAINS[1:]
        self.steps: list[dict[str, Any]] = []
        self.left: dict[str, int] = dict.fromkeys(DOMAINS, 0)
        self.timed: dict[str, bool] = dict.fromkeys(DOMAINS, False)

    def close(self) -> None:
        self.connection.close()
        shutil.rmtree(self.scratch, ignore_errors=True)

    def count(self, table: str, where: str = "true") -> int:
        return int(self.value(f"SELECT count(*) FROM {table} WHERE {where}"))

    def value(self, query: str) -> Any:
        return self.connection.execute(query).fetchall()[0][0]

    def do(self, statement: str) -> None:
        do(self.connection, statement)

    def step(self, step: str, domain: str, events: int, dropped: int, **more: Any) -> None:
        """Records a step and tells it; stops when it left nothing to go on with."""
        self.left[domain] = events
        done = {"step": step, "domain": domain, "events": events, "dropped": dropped, **more}
        self.steps.append(done)
        self.on_event({"event": "step", **done})
        if events == 0:
            raise CrossrecError(
                f"No event is left in the {domain} domain after {_WORDS.get(step, step)}: check the file or loosen the "
                "filter."
            )

    def take(self, table: str, frame: Any, columns: dict[str, str]) -> None:
        """Copies a pandas or Arrow table into DuckDB; absent columns become NULL, and so do NaN and empty strings."""
        arrow = pa.Table.from_pandas(frame, preserve_index=False) if isinstance(frame, pd.DataFrame) else frame
        needed = [name for name in ("user_id", "item_id") if name in columns and name not in arrow.column_names]
        if needed:
            seen = ", ".join(map(str, arrow.column_names))
            raise CrossrecError(f"The table has no column {needed[0]!r}: its columns are {seen}.")
        self.connection.register("given", arrow)
        cells = []
        for name, kind in columns.items():
            cell = "NULL" if name not in arrow.column_names else f'"{name}"'
            if kind == "VARCHAR":
                cell = f"nullif(({cell})::VARCHAR, '')"
            elif cell != "NULL":
                cell = f"CASE WHEN NOT isnan(({cell})::DOUBLE) THEN {cell} END"
            cells.append(f"({cell})::{kind} AS {name}")
        self.do(f"CREATE TABLE {table} AS SELECT 0::UTINYINT AS bad, {', '.join(cells)} FROM given")
        self.connection.unregister("given")

    def first_of_each_item(self, domain: str) -> None:
        """Makes {domain}_meta of {domain}_meta_all, where an item may have several rows."""
        self.do(
            f"""CREATE TABLE {domain}_meta AS SELECT * FROM {domain}_meta_all
            QUALIFY row_number() OVER (PARTITION BY item_id ORDER BY rowid) = 1"""
        )

    def no_events(self, domain: str) -> None:
        columns = ", ".join(f"{name} {kind}" for name, kind in EVENT_COLUMNS.items())
        self.do(f"CREATE TABLE {domain}_raw (bad UTINYINT, {columns})")

    def no_items(self, domain: str) -> None:
        columns = ", ".join(f"{name} {kind}" for name, kind in ITEM_COLUMNS.items())
        self.do(f"CREATE TABLE {domain}_meta ({columns})")

    def read(self, domain: str, report: Report) -> None:
        """Records what reading left, and drops events without ids or with the rating 0, which is no rating."""
        raw = f"{domain}_raw"
        events = report.rows - report.skipped
        self.step("read", domain, events, report.skipped)
        missing = self.count(raw, "bad = 0 AND (user_id IS NULL OR item_id IS NULL)")
        self.step("no_id", domain, events - missing, missing)
        self.do(f"UPDATE {raw} SET bad = 4 WHERE user_id IS NULL OR item_id IS NULL")
        zero = self.count(raw, "bad = 0 AND rating = 0")
        self.step("rating_0", domain, self.left[domain] - zero, zero)
        self.do(f"UPDATE {raw} SET bad = 5 WHERE bad = 0 AND rating = 0")
        timeless = self.count(raw, "bad = 0 AND time IS NULL")
        self.timed[domain] = timeless == 0
        if timeless:
            self.step("no_time", domain, self.left[domain], 0, without_time=timeless)

    def finish(
        self,
        name: str,
        labels: tuple[str, str],
        origin: dict[str, Any],
        extra_files: Callable[[Path], None] | None = None,
    ) -> Path:
        """Codes, filters and writes; the folder is complete when this returns."""
        self.code()
        self.must_overlap("reading")
        for domain in self.domains:
            self.deduplicate(domain)
        if self.options.min_rating is not None:
            for domain in self.domains:
                self.drop_low_ratings(domain)
            self.must_overlap("min_rating")
        self.core()
        capped = self.cap_users() + self.cap_events()
        if capped:
            self.core()
        self.on_event({"event": "write"})
        meta = self.write(name, labels, origin)
        paths.write_json(self.folder / "dataset.json", meta)
        self.close()
        if extra_files is not None:
            extra_files(self.folder)
        final = paths.datasets() / name
        self.on_event(
            {"event": "done", "name": name, "path": str(final), "counts": meta["counts"], "hash": meta["hash"]}
        )
        return final

    def code(self) -> None:
        run = self.do
        run(
            """CREATE TABLE users_all AS SELECT user_id FROM (
                SELECT user_id FROM source_raw WHERE bad = 0 UNION SELECT user_id FROM target_raw WHERE bad = 0
            ) ORDER BY user_id"""
        )
        for domain in DOMAINS:
            run(
                f"""CREATE TABLE {domain}_items_all AS
                SELECT DISTINCT item_id FROM {domain}_raw WHERE bad = 0 ORDER BY item_id"""
            )
            run(
                f"""CREATE TABLE {domain} AS
                SELECT users.rowid::INTEGER AS u, items.rowid::INTEGER AS i, raw.rowid AS row, raw.rating,
                       {"raw.time" if self.timed[domain] else "NULL::BIGINT AS time"}
                FROM {domain}_raw AS raw
                JOIN users_all AS users ON users.user_id = raw.user_id
                JOIN {domain}_items_all AS items ON items.item_id = raw.item_id
                WHERE raw.bad = 0"""
            )

    def keep(self, domain: str, where: str) -> int:
        """Keeps a domain's events for which `where` holds; returns how many were dropped."""
        before = self.count(domain)
        self.do(f"CREATE TABLE kept AS SELECT u, i, row, rating, time FROM {domain} {where}")
        self.do(f"DROP TABLE {domain}")
        self.do(f"ALTER TABLE kept RENAME TO {domain}")
        return before - self.count(domain)

    def deduplicate(self, domain: str) -> None:
        dropped = self.keep(domain, "QUALIFY row_number() OVER (PARTITION BY u, i ORDER BY time, row) = 1")
        self.step("duplicates", domain, self.left[domain] - dropped, dropped)

    def drop_low_ratings(self, domain: str) -> None:
        if not self.count(domain, "rating IS NOT NULL"):
            raise CrossrecError(f"The {domain} domain has no ratings, so min_rating cannot apply: leave it out.")
        dropped = self.keep(domain, f"WHERE rating >= {float(self.options.min_rating or 0)!r}::FLOAT")
        self.step("min_rating", domain, self.left[domain] - dropped, dropped)

    def core(self) -> None:
        """Drops users and items with fewer than k events, and users of one domain only if asked, to a fixed point.

        The largest set that meets both is one set, in whatever order the drops are made.
        """
        k = self.options.k_core
        overlap_only = self.options.overlap_only and self.paired
        step = " and ".join(["k_core"] * (k > 1) + ["overlap_only"] * overlap_only)
        if not step:
            return
        dropped = dict.fromkeys(self.domains, 0)
        rounds, changed = 0, True
        while changed:
            rounds, changed = rounds + 1, False
            for domain in self.domains:
                other = "target" if domain == "source" else "source"
                tests = []
                if k > 1:
                    often = "SELECT {0} FROM {1} GROUP BY {0} HAVING count(*) >= {2}"
                    tests += [f"{one} IN ({often.format(one, domain, k)})" for one in "ui"]
                if overlap_only:
                    tests.append(f"u IN (SELECT u FROM {other})")
                fewer = self.keep(domain, "WHERE " + " AND ".join(tests))
                dropped[domain] += fewer
                changed |= fewer > 0
        for domain in self.domains:
            self.step(step, domain, self.left[domain] - dropped[domain], dropped[domain], rounds=rounds)
        self.must_overlap(step)

    def order_users(self) -> None:
        """Makes the table ranked: u, s and t (events in source and target), key to order by."""
        self.do(
            f"""CREATE OR REPLACE TABLE ranked AS
            SELECT u, s, t, md5('{int(self.options.seed)}:' || users.user_id) AS key
            FROM (SELECT u, sum(s)::BIGINT AS s, sum(t)::BIGINT AS t FROM (
                      SELECT u, count(*) AS s, 0 AS t FROM source GROUP BY u
                      UNION ALL SELECT u, 0, count(*) FROM target GROUP BY u) GROUP BY u)
            JOIN users_all AS users ON users.rowid = u"""
        )

    def cap_users(self) -> int:
        if self.options.max_users is None:
            return 0
        self.order_users()
        self.do(
            f"""CREATE OR REPLACE TABLE chosen AS
            SELECT u FROM ranked ORDER BY (s > 0 AND t > 0) DESC, key, u LIMIT {int(self.options.max_users)}"""
        )
        return sum(self.keep_chosen("max_users", domain, "chosen") for domain in self.domains)

    def cap_events(self) -> int:
        cap = self.options.max_events
        if cap is None:
            return 0
        self.order_users()
        # A user with more events than the cap can never be taken whole, and would end the count if he came first.
        both = f"s > 0 AND t > 0 AND s <= {cap} AND t <= {cap}" if self.paired else "false"
        self.do(
            f"""CREATE OR REPLACE TABLE chosen_both AS SELECT u, total_s, total_t FROM (
                SELECT u, sum(s) OVER w AS total_s, sum(t) OVER w AS total_t FROM ranked WHERE {both}
                WINDOW w AS (ORDER BY key, u ROWS UNBOUNDED PRECEDING))
            WHERE total_s <= {cap} AND total_t <= {cap}"""
        )
        dropped = 0
        for domain, mine, its in (("source", "s", "t"), ("target", "t", "s")):
            if domain not in self.domains:
                continue
            used = self.value(f"SELECT coalesce(max(total_{mine}), 0) FROM chosen_both")
            self.do(
                f"""CREATE OR REPLACE TABLE chosen AS SELECT u FROM chosen_both UNION ALL SELECT u FROM (
                    SELECT u, sum({mine}) OVER (ORDER BY key, u ROWS UNBOUNDED PRECEDING) AS total
                    FROM ranked WHERE {its} = 0 AND {mine} > 0 AND {mine} <= {cap} - {used})
                WHERE total <= {cap} - {used}"""
            )
            dropped += self.keep_chosen("max_events", domain, "chosen")
        return dropped

    def keep_chosen(self, step: str, domain: str, chosen: str) -> int:
        dropped = self.keep(domain, f"WHERE u IN (SELECT u FROM {chosen})")
        self.step(step, domain, self.left[domain] - dropped, dropped)
        self.must_overlap(step)
        return dropped

    def must_overlap(self, step: str) -> None:
        if self.paired and not self.value("SELECT count(*) FROM (SELECT u FROM source INTERSECT SELECT u FROM target)"):
            raise CrossrecError(
                f"No user has events in both domains after {_WORDS.get(step, step)}: check that the two files name the "
                "same users, or loosen the filter."
            )

    def write(self, name: str, labels: tuple[str, str], origin: dict[str, Any]) -> dict[str, Any]:
        """Writes the Parquet files and returns the content of dataset.json."""
        digest = hashlib.sha256()
        self.do("CREATE TABLE users AS SELECT u FROM (SELECT u FROM source UNION SELECT u FROM target) ORDER BY u")
        users = folders.write_parquet(
            self.connection,
            """SELECT users.rowid AS "user", user_id,
                   coalesce(s.n, 0) AS source_events, coalesce(t.n, 0) AS target_events
            FROM users JOIN users_all AS ids ON ids.rowid = users.u
            LEFT JOIN (SELECT u, count(*) AS n FROM source GROUP BY u) AS s ON s.u = users.u
            LEFT JOIN (SELECT u, count(*) AS n FROM target GROUP BY u) AS t ON t.u = users.u
            ORDER BY users.rowid""",
            self.folder / "users.parquet",
            folders.USERS,
            digest,
        )
        domains, counts = {}, {"users": users}
        shared = "SELECT count(*) FROM (SELECT u FROM source INTERSECT SELECT u FROM target)"
        counts["overlap_users"] = self.value(shared)
        for domain, label in zip(DOMAINS, labels, strict=True):
            self.do(f"CREATE TABLE {domain}_items AS SELECT DISTINCT i FROM {domain} ORDER BY i")
            events = folders.write_parquet(
                self.connection,
                f"""SELECT users.rowid AS "user", items.rowid + 1 AS item, e.rating, e.time, raw.title, raw.text
                FROM {domain} AS e JOIN users ON users.u = e.u JOIN {domain}_items AS items ON items.i = e.i
                JOIN {domain}_raw AS raw ON raw.rowid = e.row ORDER BY users.rowid, e.time, e.row""",
                self.folder / f"{domain}.events.parquet",
                folders.EVENTS,
                digest,
            )
            items = folders.write_parquet(
                self.connection,
                f"""SELECT items.rowid + 1 AS item, ids.item_id, title, creator, category, year
                FROM {domain}_items AS items JOIN {domain}_items_all AS ids ON ids.rowid = items.i
                LEFT JOIN {domain}_meta AS meta ON meta.item_id = ids.item_id ORDER BY items.rowid""",
                self.folder / f"{domain}.items.parquet",
                folders.ITEMS,
                digest,
            )
            first, last, rated = one(self.connection, f"SELECT min(time), max(time), count(rating) FROM {domain}")
            texts = self.value(
                f"""SELECT count(*) FROM {domain} AS e JOIN {domain}_raw AS raw ON raw.rowid = e.row
                WHERE raw.text IS NOT NULL"""
            )
            people = self.value(f"SELECT count(DISTINCT u) FROM {domain}")
            domains[domain] = {
                "name": label,
                "has_rating": rated > 0,
                "has_text": texts > 0,
                "has_time": self.timed[domain],
                "events": events,
                "users": people,
                "items": items,
                "first_time": first,
                "last_time": last,
            }
            counts |= {f"{domain}_users": people, f"{domain}_events": events, f"{domain}_items": items}
        return {
            "format": folders.FORMAT,
            "name": name,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "origin": origin,
            "options": asdict(self.options),
            "domains": domains,
            "counts": counts,
            "steps": self.steps,
            "hash": digest.hexdigest(),
        }
