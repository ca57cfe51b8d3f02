"""Logs made ready for a dataset: a file of one's own, or what the app wrote down.

Item ids become numbers of the target domain and user ids rows of the user table. What cannot be used is left out, and
counted in words; nothing is made up.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crossrec.data.logged import StoredLog, save_log
from crossrec.data.pair import DomainPair
from crossrec.errors import CrossrecError
from crossrec.feedback.events import SHOWN, read_events
from crossrec.feedback.log import FeedbackLog
from crossrec.feedback.rewards import DEFAULT_REWARDS, RewardTable
from crossrec.runs.folder import list_runs

Ints = NDArray[np.int64]

MAX_POSITION = 10_000


def import_file(
    name: str,
    path: Path,
    pair: DomainPair,
    columns: Mapping[str, str] | None = None,
    rewards: Mapping[str, float] = DEFAULT_REWARDS,
    replace: bool = False,
) -> StoredLog:
    """Makes a log of a file of events (see `events.read_events`) whose items are ids of the dataset.

    Rows of one session with the same slate form a slate; without a slate those of the same time; else each row is one.

    Args:
        name: of the log.
        path: of the file.
        pair: the dataset.
        columns: column by role, where it has another name.
        rewards: reward of each action, for rows without one.
        replace: an earlier log of the name.

    Raises:
        CrossrecError: the file cannot be read, nothing in it can be used, or the name is taken.
    """
    found = read_events(path, columns, RewardTable(rewards).values)
    rows, left = found.frame, Left(pair, path.name, found.failed, found.waiting, found.errors)
    numbers = pd.Series(pair.items("target").set_index("item_id")["item"])
    users = pd.Series(pair.users().set_index("user_id")["user"])
    kind = "row" if path.suffix == ".parquet" else "line"
    rows["place"] = [f"{kind} {line}" for line in rows["line"]]
    if rows["position"].min() == 1:  # of all that the file tells: what stood at 0 may be left out below
        rows["position"] -= 1
        left.notes.append("Positions are taken to count from 1, as none is 0.")
    if rows["time"].notna().all():
        rows = rows.sort_values("time", kind="stable")
    told, timed = rows["slate"].notna(), rows["time"].notna()
    rows["slate"] = rows["slate"].where(told, "")
    rows["moment"] = rows["time"].where(~told & timed, -1.0)
    rows["alone"] = np.where(told | timed, -1, np.arange(len(rows)))
    rows["slate"] = rows.groupby(["session", "slate", "moment", "alone"], sort=False).ngroup()
    rows["user"] = rows["user"].map(users).fillna(-1).astype(int)
    rows["id"], rows["item"] = rows["item"], rows["item"].map(numbers)
    rows = left.out(rows, rows["item"].isna(), "item not in the dataset", "the item {id!r} is not in {dataset!r}")
    rows["candidates"] = pd.Series(_numbered(rows["candidates"], numbers, left), rows.index, dtype=object)
    return _store(name, pair, rows, left, f"imported from {path.name}", rewards, replace)


def import_played(
    name: str, log: FeedbackLog, pair: DomainPair, session: str | None = None, replace: bool = False
) -> StoredLog:
    """Makes a log of what was shown of a dataset in the app and reacted to.

    Args:
        name: of the log.
        log: the app's.
        pair: the dataset.
        session: one; None takes all.
        replace: an earlier log of the name.

    Raises:
        CrossrecError: nothing of the dataset was shown, nobody reacted to it, or the name is taken.
    """
    rows = log.frame(session)
    rows = rows[rows["dataset"] == pair.name].reset_index(drop=True)
    where = "the app's log" if session is None else f"session {session[:80]!r}"
    if rows.empty:
        raise CrossrecError(f"Nothing of {pair.name!r} was shown in {where}: play on the feedback page first.")
    left = Left(pair, where)
    rows["place"] = [f"slate {slate}, position {place}" for slate, place in zip(rows["slate"], rows["position"])]  # noqa: B905
    rows["slate"] = rows.groupby(["session", "slate"], sort=False).ngroup()
    users = pd.Series(pair.users().set_index("user_id")["user"])
    rows["user"] = rows["user"].map(users).fillna(-1).astype(int)
    rows = left.out(rows, rows["action"].isna(), "shown, and nobody reacted")
    others = {run.name for run in list_runs() if run.config().get("dataset_hash") != pair.meta["hash"]}
    changed = rows["run"].isin(others)
    rows = left.out(rows, changed, "shown before the dataset changed", "{dataset!r} has changed since it was shown")
    wrong = ~rows["item"].between(1, pair.target.n_items)
    rows = left.out(rows, wrong, "item not in the dataset", "{dataset!r} has no item {item}")
    known = pd.Series(range(1, pair.target.n_items + 1), range(1, pair.target.n_items + 1))
    numbered = _numbered(rows["candidates"].map(tuple), known, left)
    rows["candidates"] = pd.Series(numbered, rows.index, dtype=object)
    last = rows.drop_duplicates("action", keep="last")
    rewards = dict(zip(last["action"].tolist(), last["reward"].tolist(), strict=True))
    return _store(name, pair, rows, left, f"played in the app, {where}", rewards, replace)


class Left:
    """What of a log was left out, and why."""

    def __init__(
        self, pair: DomainPair, where: str, failed: int = 0, waiting: int = 0, errors: Sequence[str] = ()
    ) -> None:
        self.dataset, self.where = pair.name, where
        self.rows = Counter({"row in error": failed, "nobody has reacted": waiting})
        """Rows by reason."""
        self.errors, self.notes = list(errors), list[str]()
        """The first in full, with their place; and what else is to be known."""

    def out(self, rows: pd.DataFrame, wrong: "pd.Series[bool]", why: str, told: str = "") -> pd.DataFrame:
        """The rows that are not wrong; the others are counted, and the first of them told where there are words."""
        self.rows[why] += int(wrong.sum())
        if told:
            for row in rows[wrong].head(max(0, SHOWN - len(self.errors))).to_dict("records"):
                values = {str(key): value for key, value in row.items()}
                values |= {"dataset": self.dataset, "id": str(row.get("id"))[:40]}
                self.errors.append(f"{row['place']}: {told.format(**values)}.")
        return rows[~wrong].copy()

    def told(self) -> dict[str, Any]:
        """For the log's `meta`."""
        return {"left_out": dict(+self.rows), "errors": self.errors, "notes": self.notes}

    def nothing(self) -> CrossrecError:
        """What to say where nothing is left."""
        counts = "; ".join(f"{why}: {rows:,}" for why, rows in self.rows.most_common() if rows)
        first = f" The first: {self.errors[0]}" if self.errors else ""
        return CrossrecError(f"Nothing in {self.where} can be used for {self.dataset!r} ({counts}).{first}")


def _numbered(sets: "pd.Series[Any]", numbers: "pd.Series[Any]", left: Left) -> list[Ints | None]:
    """Candidates as numbers of items; those that the dataset does not have are left out, and told."""
    known: dict[Any, Ints | None] = {None: None}
    unknown = 0
    for one in sets:
        if one is not None and one not in known:
            found = numbers.reindex(pd.unique(pd.Series(one, dtype=object)))
            unknown += int(found.isna().any())
            known[one] = found.dropna().to_numpy(np.int64)
    if unknown:
        left.notes.append(
            f"{unknown:,} sets of candidates hold items that {left.dataset!r} does not have; a policy that is judged "
            "by the log could not show them."
        )
    return [known[one] for one in sets]


def _store(
    name: str,
    pair: DomainPair,
    rows: pd.DataFrame,
    left: Left,
    origin: str,
    rewards: Mapping[str, float],
    replace: bool,
) -> StoredLog:
    """Keeps rows with session, user, policy, slate (any numbers), candidates, position, item, propensity, action,
    reward, time and place."""
    rows["position"] = rows["position"].fillna(-1)
    beyond = rows["position"] > MAX_POSITION
    rows = left.out(rows, beyond, f"position beyond {MAX_POSITION:,}", "the position {position:.0f} is out of range")
    sets: dict[int, frozenset[int]] = {}
    among = [
        one is None or item in (sets.get(id(one)) or sets.setdefault(id(one), frozenset(one.tolist())))
        for item, one in zip(rows["item"], rows["candidates"], strict=True)
    ]
    stray = ~pd.Series(among, rows.index, dtype=bool)
    rows = left.out(rows, stray, "item not among its candidates", "what was shown is not among its own candidates")
    again = rows.duplicated(["slate", "item"]) | (
        (rows["position"] >= 0) & rows.duplicated(["slate", "position"])
    )  # which of two reactions stands, nobody knows
    rows = left.out(rows, again, "told twice in one slate", "its item or its position was told before in the slate")
    if rows.empty:
        raise left.nothing()
    rows["slate"] = pd.factorize(rows["slate"])[0]
    slates = rows.drop_duplicates("slate")[["session", "user", "policy", "candidates"]].reset_index(drop=True)
    whose = slates.groupby("session")["user"].max()
    if strangers := int((whose < 0).sum()):
        left.notes.append(
            f"{strangers:,} of {len(whose):,} sessions are of people whom {pair.name!r} does not have, or who are not "
            "named; they count as people of whom nothing is known."
        )
    if unknown := int(rows["propensity"].isna().sum()):
        left.notes.append(f"{unknown:,} of {len(rows):,} rows have no propensity: the log cannot rank policies.")
    events = rows.astype({"item": int, "position": int})
    events["time"] = events["time"].astype("Int64")
    meta = {"origin": origin, "rewards": dict(rewards), **left.told()}
    return save_log(name, pair, slates, events, meta, replace)
