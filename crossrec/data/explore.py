"""What a dataset looks like: small tables for charts, one person's path, and a search in the reviews.

Every function takes a `DomainPair` and returns a frame of at most a few hundred rows, however large the data is.
A domain without events is left out of the frames.
"""

from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crossrec.data.pair import DOMAINS, Domain, DomainPair
from crossrec.errors import CrossrecError

FEW = 3
"""A person with at most so many target events has little for a target model to go by."""
STEPS = (1, 2, 3, 5, 10, 20, 50, 100)
"""Lower edges of the bins for events a person: finer where most people are."""
MOST_FOUND = 50
MOST_WORDS = 8
DAY_MS = 86_400_000


@dataclass(frozen=True)
class Overview:
    """How much of two domains could help each other."""

    users: int
    both: int
    source_only: int
    target_only: int
    cold: int
    """People in both domains with at most `FEW` target events."""
    target_events: int
    """Target events of people in both domains."""
    preceded: int
    """Those of them with at least one source event strictly before; all of them where times are missing."""
    median_before: float
    """Median number of source events before a target event of people in both domains; NaN where there is none."""
    has_time: bool
    """Whether "before" is known."""

    @property
    def both_share(self) -> float:
        return self.both / self.users if self.users else 0.0

    @property
    def preceded_share(self) -> float:
        return self.preceded / self.target_events if self.target_events else 0.0


def overview(pair: DomainPair) -> Overview:
    """Counts people in both domains and the source history that precedes their target events."""
    source, target = pair.source.counts, pair.target.counts
    both = pair.overlap
    before = pair.source_before[np.repeat(both, target)]
    return Overview(
        users=pair.n_users,
        both=int(both.sum()),
        source_only=int(((source > 0) & (target == 0)).sum()),
        target_only=int(((target > 0) & (source == 0)).sum()),
        cold=int((both & (target <= FEW)).sum()),
        target_events=len(before),
        preceded=int((before > 0).sum()),
        median_before=float(np.median(before)) if len(before) else float("nan"),
        has_time=pair.has_time,
    )


def sizes(pair: DomainPair) -> pd.DataFrame:
    """domain, people, items, events, events a person, first and last: one row a domain that has events."""
    rows = []
    for which, domain in _domains(pair):
        people = int((domain.counts > 0).sum())
        times = domain.times
        rows.append(
            {
                "which": which,
                "domain": domain.label,
                "people": people,
                "items": domain.n_items,
                "events": len(domain.items),
                "per_person": len(domain.items) / people,
                "first": _date(times.min()) if times is not None else None,
                "last": _date(times.max()) if times is not None else None,
            }
        )
    return pd.DataFrame(rows)


def activity(pair: DomainPair) -> pd.DataFrame:
    """which, domain, time (start of a month, or of a week or year where months are too few or many), events.

    Empty where no domain has times.
    """
    timed = [(which, domain) for which, domain in _domains(pair) if domain.times is not None]
    if not timed:
        return pd.DataFrame(columns=["which", "domain", "time", "events"])
    first = min(int(domain.times.min()) for _, domain in timed if domain.times is not None)
    last = max(int(domain.times.max()) for _, domain in timed if domain.times is not None)
    days = (last - first) / DAY_MS
    unit = "W" if days < 200 else "M" if days < 366 * 20 else "Y"
    frames = []
    for which, domain in timed:
        assert domain.times is not None
        when = domain.times.astype("datetime64[ms]").astype(f"datetime64[{unit}]")
        start, count = np.unique(when, return_counts=True)
        # Periods without events are zeros, not gaps that a line would bridge.
        every = np.arange(start[0], start[-1] + 1)
        events = np.zeros(len(every), np.int64)
        events[np.searchsorted(every, start)] = count
        frames.append(
            pd.DataFrame(
                {"which": which, "domain": domain.label, "time": every.astype("datetime64[ms]"), "events": events}
            )
        )
    return pd.concat(frames, ignore_index=True)


def events_per_person(pair: DomainPair) -> pd.DataFrame:
    """which, domain, bin ("3-4"), order (of the bin), people, share (of the domain's people); from the first bin
    that has anybody on."""
    frames = []
    for which, domain in _domains(pair):
        counts = domain.counts[domain.counts > 0]
        frames.append(_binned(counts, STEPS).rename(columns={"n": "people"}).assign(which=which, domain=domain.label))
    found = _concat(frames)
    return found[found["order"] >= found.loc[found["people"] > 0, "order"].min()].reset_index(drop=True)


def source_history(pair: DomainPair) -> pd.DataFrame:
    """bin, order, n, share: target events of people in both domains by how many source events came before them."""
    before = pair.source_before[np.repeat(pair.overlap, pair.target.counts)]
    return _binned(before, (0, *STEPS))


def first_domain(pair: DomainPair) -> pd.DataFrame:
    """began ("source", "target" or "same time"), people, share: where people in both domains began.

    Empty where a domain has no times, or nobody is in both.
    """
    users = np.flatnonzero(pair.overlap)
    if pair.source.times is None or pair.target.times is None or not len(users):
        return pd.DataFrame(columns=["began", "people", "share"])
    source = pair.source.times[pair.source.offsets[users]]
    target = pair.target.times[pair.target.offsets[users]]
    people = [int((source < target).sum()), int((source > target).sum()), int((source == target).sum())]
    return pd.DataFrame(
        {"began": ["source", "target", "same time"], "people": people, "share": np.array(people) / len(users)}
    )


def ratings(pair: DomainPair) -> pd.DataFrame:
    """which, domain, rating, events, share (of the domain's rated events); ratings rounded to halves.

    Empty where no domain has ratings.
    """
    frames = []
    for which, domain in _domains(pair):
        if domain.ratings is None or np.isnan(domain.ratings).all():
            continue
        known = domain.ratings[~np.isnan(domain.ratings)]
        value, count = np.unique(np.round(known * 2) / 2, return_counts=True)
        frames.append(
            pd.DataFrame(
                {
                    "which": which,
                    "domain": domain.label,
                    "rating": value.astype(float),
                    "events": count,
                    "share": count / count.sum(),
                }
            )
        )
    return _concat(frames, ["which", "domain", "rating", "events", "share"])


def popularity(pair: DomainPair, points: int = 60) -> pd.DataFrame:
    """which, domain, items (share of the catalogue, most taken first), events (share that they hold)."""
    frames = []
    for which, domain in _domains(pair):
        counts = np.sort(np.bincount(domain.items, minlength=domain.n_items + 1)[1:])[::-1]
        held = np.concatenate([[0], np.cumsum(counts)]) / counts.sum()
        at = np.unique(np.round(np.linspace(0, 1, points) ** 2 * len(counts)).astype(int))
        frames.append(
            pd.DataFrame({"which": which, "domain": domain.label, "items": at / len(counts), "events": held[at]})
        )
    return _concat(frames)


def top_share(pair: DomainPair, which: str, share: float = 0.1) -> float:
    """Share of a domain's events that its most taken items hold, such as the top tenth; NaN without events."""
    domain = pair.domain(which)
    if not len(domain.items):
        return float("nan")
    counts = np.sort(np.bincount(domain.items, minlength=domain.n_items + 1)[1:])[::-1]
    return float(counts[: max(1, round(share * len(counts)))].sum() / counts.sum())


def example_users(pair: DomainPair, n: int = 8) -> list[str]:
    """A few user ids worth looking at: middling histories in both domains first, then a cold one and a lone one."""
    source, target = pair.source.counts, pair.target.counts
    chosen: list[int] = []

    def take(mask: NDArray[np.bool_], many: int, wanted: float) -> None:
        rows = np.flatnonzero(mask)
        near = np.argsort(np.abs(source[rows] + target[rows] - wanted), kind="stable")
        chosen.extend(int(row) for row in rows[near][:many] if int(row) not in chosen)

    both = pair.overlap
    take(both & (source >= 3) & (target >= 3) & (source < 4 * target) & (target < 4 * source), n - 2, 18)
    take(both & (target <= FEW), 1, 10)
    take(~both & (target > 0), 1, 6)
    take(source + target > 0, max(0, n - len(chosen)), 12)
    ids = pair.users().set_index("user")["user_id"]
    return [str(ids[row]) for row in chosen[:n]]


def path(pair: DomainPair, user_id: str) -> pd.DataFrame:
    """One person's events in both domains, oldest first in each: which, domain, step, time, item, rating, title, text.

    `item` is the item's title or, without one, its id; `title` and `text` are the review's.

    Raises:
        CrossrecError: the id is not in the dataset; the nearest ids are named.
    """
    user = pair.user_index(user_id)
    frames = []
    with duckdb.connect() as con:
        for which, domain in _domains(pair):
            found = con.execute(
                "select e.time, coalesce(i.title, i.item_id) as item, e.rating, e.title, e.text "
                "from (select * from read_parquet(?, file_row_number = true) where user = ?) e "
                "left join read_parquet(?) i using (item) order by e.file_row_number",
                _files(pair, which, user),
            ).df()
            found.insert(0, "which", which)
            found.insert(1, "domain", domain.label)
            found.insert(2, "step", np.arange(1, len(found) + 1))
            found["time"] = pd.to_datetime(found["time"], unit="ms")
            frames.append(found.astype({"item": object, "title": object, "text": object}))
    found = _concat(frames)
    return found.sort_values(["time", "which", "step"], kind="stable", ignore_index=True) if pair.has_time else found


def has_text(pair: DomainPair) -> bool:
    return any(pair.meta["domains"][which]["has_text"] for which, _ in _domains(pair))


def search(pair: DomainPair, words: str, limit: int = MOST_FOUND) -> tuple[pd.DataFrame, int]:
    """Reviews whose title or text has every one of the words, whatever the case, newest first.

    Args:
        pair: the dataset.
        words: taken literally: "%" and "_" mean themselves.
        limit: most reviews to return.

    Returns:
        (domain, item, rating, title, text, time, user_id) of at most `limit` reviews, and how many there are in all.

    Raises:
        CrossrecError: there is no word, or there are too many.
    """
    wanted = words.split()
    if not wanted:
        raise CrossrecError("There is no word to search for: type one or more.")
    if len(wanted) > MOST_WORDS or len(words) > 200:
        raise CrossrecError(f"That is too much to search for at once: give at most {MOST_WORDS} words.")
    clause = " and ".join(["(coalesce(e.title, '') || ' ' || coalesce(e.text, '')) ilike ? escape '\\'"] * len(wanted))
    patterns = [f"%{_escaped(word)}%" for word in wanted]
    frames, total = [], 0
    with duckdb.connect() as con:
        for which, domain in _domains(pair):
            if not pair.meta["domains"][which]["has_text"]:
                continue
            events, _, items = _files(pair, which, 0)
            found = con.execute(
                "with hit as (select *, count(*) over () as total from "  # noqa: S608  only fixed words are put in
                f"(select user, item, rating, time, title, text from read_parquet(?) e where {clause}) "
                "order by time desc nulls last, user, item limit ?) "
                "select coalesce(i.title, i.item_id) as item, h.rating, h.title, h.text, h.time, u.user_id, h.total "
                "from hit h left join read_parquet(?) i using (item) left join read_parquet(?) u using (user)",
                [events, *patterns, limit, items, str(pair.folder / "users.parquet")],
            ).df()
            total += int(found["total"].iloc[0]) if len(found) else 0
            frames.append(found.drop(columns="total").assign(domain=domain.label))
    columns = ["domain", "item", "rating", "title", "text", "time", "user_id"]
    found = _concat(frames, columns)[columns]
    found["time"] = pd.to_datetime(found["time"], unit="ms")
    newest = found.sort_values(["time", "user_id"], ascending=[False, True], kind="stable", na_position="last")
    return newest.head(limit).reset_index(drop=True), total


def _domains(pair: DomainPair) -> list[tuple[str, Domain]]:
    return [(which, pair.domain(which)) for which in DOMAINS if len(pair.domain(which).items)]


def _files(pair: DomainPair, which: str, user: int) -> tuple[str, int, str]:
    return str(pair.folder / f"{which}.events.parquet"), user, str(pair.folder / f"{which}.items.parquet")


def _escaped(word: str) -> str:
    """A word in which LIKE finds only itself."""
    return word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _binned(values: NDArray[Any], steps: tuple[int, ...]) -> pd.DataFrame:
    """bin, order, n, share of values in bins that begin at `steps`; bins above the largest value are left out."""
    used = [step for step in steps if len(values) and step <= values.max()] or list(steps[:1])
    n = np.bincount(np.searchsorted(used, values, side="right") - 1, minlength=len(used)) if len(values) else [0]
    last = [*(step - 1 for step in used[1:]), None]
    names = [
        f"{low}+" if high is None and low == steps[-1] else f"{low}" if high in (low, None) else f"{low}–{high}"
        for low, high in zip(used, last, strict=True)
    ]
    if last[-1] is None and used[-1] != steps[-1]:
        high = steps[steps.index(used[-1]) + 1] - 1
        names[-1] = f"{used[-1]}" if high == used[-1] else f"{used[-1]}–{high}"
    return pd.DataFrame({"bin": names, "order": range(len(used)), "n": n, "share": np.asarray(n) / max(1, len(values))})


def _concat(frames: list[pd.DataFrame], columns: list[str] | None = None) -> pd.DataFrame:
    full = [frame for frame in frames if len(frame)]
    return pd.concat(full, ignore_index=True) if full else pd.DataFrame(columns=columns or list(_first_columns(frames)))


def _first_columns(frames: list[pd.DataFrame]) -> Any:
    return frames[0].columns if frames else []


def _date(milliseconds: int) -> Any:
    return pd.Timestamp(int(milliseconds), unit="ms").date()
