"""Who is tested on what, and a report that counts leaks.

A split is a table of questions. Each row hides something of one user and says what may be looked at instead: the first
`source_end` source events and the first `target_end` target events; the truth is target events target_end..truth_end-1.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from crossrec import paths
from crossrec.data.histories import Histories, Ints, ranges
from crossrec.data.pair import Domain, DomainPair, first_mask
from crossrec.errors import CrossrecError, nearest

COLD_SHARES = {"cold-user": 0.1, "cold-user-20": 0.2, "cold-user-50": 0.5, "cold-user-80": 0.8}
"""Share of the overlap users who are test users; 20, 50 and 80 % are the cold ratios of PTUPCDR."""
ALL_SOURCE = "-all-source"
"""Ends the name of a cold-user split that shows held-out users' whole source history, also what came later."""
MERGED = "merged"
"""The split of ABXI (WWW 2025): both domains in one order; the last event of all is the test, the one before it the
validation, in whichever domain they fall. Only those of the target are asked; `DomainPair.swapped` asks the others."""
ONE_SEED = ("next-item", MERGED)
"""Splits that draw nothing."""
KINDS = ("next-item", *COLD_SHARES, *(kind + ALL_SOURCE for kind in COLD_SHARES), MERGED)
COLUMNS = ["user", "source_end", "target_end", "truth_end"]


@dataclass(frozen=True)
class Questions:
    """Q held-out questions of one part ("valid" or "test")."""

    user: Ints
    source_end: Ints
    target_end: Ints
    truth_end: Ints

    def __len__(self) -> int:
        return len(self.user)

    def take(self, rows: Ints) -> "Questions":
        """The questions of some rows."""
        return Questions(self.user[rows], self.source_end[rows], self.target_end[rows], self.truth_end[rows])

    def hidden(self, pair: DomainPair, rated: bool = False) -> tuple[Ints, Ints]:
        """(R,) the hidden target events of all questions, and the question of each; `rated`: only those with stars."""
        starts = pair.target.offsets[self.user] + self.target_end
        events, rows = ranges(starts, self.truth_end - self.target_end)
        if not rated:
            return events, rows
        stars = pair.target.ratings
        known = np.zeros(len(events), bool) if stars is None else ~np.isnan(stars[events])
        return events[known], rows[known]

    def histories(self, pair: DomainPair, rows: slice = slice(None)) -> Histories:
        """What a recommender may look at to answer these rows."""
        return pair.histories(self.user[rows], self.source_end[rows], self.target_end[rows])


@dataclass(frozen=True)
class Split:
    """Which events of a dataset train, validate and test."""

    kind: str
    seed: int
    valid: Questions
    test: Questions
    source_train_end: Ints
    """(U,) how many of each user's first source events a model may be trained on."""
    target_train_end: Ints
    """(U,) how many of each user's first target events a model may be trained on."""

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.seed}"

    @property
    def cold(self) -> bool:
        """Whether it holds out whole users."""
        return self.kind not in ONE_SEED

    @property
    def all_source(self) -> bool:
        """Whether source events from the future are shown on purpose."""
        return self.kind.endswith(ALL_SOURCE)

    def part(self, name: str) -> Questions:
        if name not in ("valid", "test"):
            raise CrossrecError(f"There is no part {name!r} of a split; the parts are 'valid' and 'test'.")
        return self.valid if name == "valid" else self.test

    def target_counts(self, pair: DomainPair) -> NDArray[np.int64]:
        """(I+1,) how often each target item occurs in the training part: the only popularity a model may know."""
        return _train_counts(pair.target.items, pair.target.offsets, self.target_train_end, pair.target.n_items)

    def source_counts(self, pair: DomainPair) -> NDArray[np.int64]:
        """(I+1,) how often each source item occurs in the training part."""
        return _train_counts(pair.source.items, pair.source.offsets, self.source_train_end, pair.source.n_items)


def _train_counts(items: NDArray[np.int32], offsets: Ints, ends: Ints, n_items: int) -> NDArray[np.int64]:
    return np.bincount(items[first_mask(offsets, ends)], minlength=n_items + 1)


def merged_domain(pair: DomainPair, split: Split) -> Domain:
    """The training events of both domains in one order; target items are raised by the number of source items."""
    ends = {"source": split.source_train_end, "target": split.target_train_end}
    total = ends["source"] + ends["target"]
    offsets = np.concatenate([[0], np.cumsum(total)]).astype(np.int64)
    items = np.zeros(offsets[-1], np.int32)
    at, owner = ranges(pair.target.offsets[:-1], ends["target"])
    before = np.minimum(pair.merged_before[at], ends["source"][owner])
    place = offsets[owner] + at - pair.target.offsets[owner] + before
    free = np.ones(len(items), bool)
    free[place] = False
    items[place] = pair.target.items[at] + pair.source.n_items
    others = ranges(pair.source.offsets[:-1], ends["source"])[0]
    items[free] = pair.source.items[others]
    times = None
    if pair.source.times is not None and pair.target.times is not None:
        times = np.zeros(len(items), np.int64)
        times[place], times[free] = pair.target.times[at], pair.source.times[others]
    elif not pair.source.n_items:  # one domain alone
        times = None if pair.target.times is None else pair.target.times[at]
    label = f"{pair.source.label} and {pair.target.label}"
    return Domain(label, pair.source.n_items + pair.target.n_items, offsets, items, times, None)


def next_item(pair: DomainPair) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Leave-one-out per target user: the last event is the test, the one before it the validation.

    A user with a single target event is tested on it with an empty target history: nobody is colder. Source events at
    or after the hidden event are hidden with it.
    """
    counts = pair.target.counts

    def hold_out(back: int) -> pd.DataFrame:
        users = np.flatnonzero(counts >= back)
        at = counts[users] - back
        events = pair.target.offsets[users] + at
        return _table(users, pair.source_before[events], at, at + 1)

    return hold_out(2), hold_out(1)


def merged(pair: DomainPair) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The last and the last but one event of each user over both domains, where they fall in the target.

    Source events of the same instant count as before or after by `DomainPair.merged_before`, so some that are shown may
    have come at the hidden event's own instant, but none after it.
    """
    counts = pair.target.counts
    total = counts + pair.source.counts

    def hold_out(back: int) -> pd.DataFrame:
        owner = np.repeat(np.arange(pair.n_users), counts)
        nth = np.arange(len(owner)) - pair.target.offsets[owner]
        events = np.flatnonzero(nth + pair.merged_before == total[owner] - back)
        return _table(owner[events], pair.merged_before[events], nth[events], nth[events] + 1)

    return hold_out(2), hold_out(1)


def _merged_ends(pair: DomainPair) -> dict[str, Ints]:
    """{"source", "target"} (U,) events of each user before the last two over both domains."""
    before = pair.merged_before
    owner = np.repeat(np.arange(pair.n_users), pair.target.counts)
    nth = np.arange(len(owner)) - pair.target.offsets[owner]
    limit = pair.target.counts + pair.source.counts - 2
    trained = np.bincount(owner, nth + before < limit[owner], minlength=pair.n_users).astype(np.int64)
    return {"source": np.maximum(limit, 0) - trained, "target": trained}


def cold_user(
    pair: DomainPair, seed: int, share: float = 0.1, all_source: bool = False, fold: int = 0
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Overlap users split into train, validation and test users; all target events of the latter two are hidden.

    Source events at or after a held-out user's first target event are hidden too, where times are known.

    Args:
        pair: the dataset.
        seed: of the permutation of users.
        share: of the overlap users, who are test users. Of 10 %, as many are validation users; of more, a tenth of
            the others, and at least one.
        all_source: shows the whole source history of held-out users instead, for data in which only the order is known
            in truth, and for the figures of papers that do so.
        fold: which part of the permuted users is tested; the next one validates. Folds 0, 1, ... test everybody once.
    """
    users = np.flatnonzero(pair.overlap)
    users = np.random.default_rng(seed).permutation(users)
    users = np.roll(users, -fold * round(len(users) * share))
    test = round(len(users) * share)
    rest = len(users) - test
    valid = test if share <= 0.1 else min(rest, max(1, round(rest * 0.1)))

    def hide(chosen: NDArray[np.intp]) -> pd.DataFrame:
        chosen = np.sort(chosen)
        first = pair.target.offsets[chosen]
        shown = pair.source.counts[chosen] if all_source else pair.source_before[first]
        return _table(chosen, shown, np.zeros(len(chosen), np.int64), pair.target.counts[chosen])

    return hide(users[:valid]), hide(users[valid : valid + test])


def _table(user: Any, source_end: Any, target_end: Any, truth_end: Any) -> pd.DataFrame:
    return pd.DataFrame(
        {"user": user, "source_end": source_end, "target_end": target_end, "truth_end": truth_end}, dtype="int32"
    )


def check_kind(kind: str) -> None:
    """Raises CrossrecError where there is no split of this kind; the sentence names the nearest, or all of them."""
    if kind not in KINDS:
        raise CrossrecError(f"There is no split {kind!r}.{nearest(kind, KINDS)}")


def open_split(pair: DomainPair, kind: str = "next-item", seed: int = 0) -> Split:
    """Reads the split from the dataset's folder, or makes it, with its leak report, and stores both there.

    Raises:
        CrossrecError: the kind is unknown, or the stored leak report found a leak.
    """
    check_kind(kind)
    # Leave-one-out draws nothing: every seed asks for the same one.
    seed = 0 if kind in ONE_SEED else seed
    folder = pair.folder / "splits"
    path = folder / f"{kind}-{seed}.parquet"
    if path.exists():
        table = pd.read_parquet(path)
        parts = [table[table["part"] == part] for part in ("valid", "test")]
        _refuse_leaks(pair, read_leak_report(pair.folder, f"{kind}-{seed}"))
        return _split(pair, kind, seed, *parts)
    parts = list(_draw(pair, kind, seed))
    split = _split(pair, kind, seed, *parts)
    folder.mkdir(exist_ok=True)
    report = leak_report(pair, split)
    _refuse_leaks(pair, report)
    paths.write_json(path.with_suffix(".json"), report)
    table = pd.concat([part.assign(part=name) for part, name in zip(parts, ("valid", "test"), strict=True)])
    temporary = path.with_name(f".{path.name}.{id(table)}")
    table.to_parquet(temporary, index=False)
    temporary.replace(path)
    return split


def _draw(pair: DomainPair, kind: str, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    if kind in ONE_SEED:
        return next_item(pair) if kind == "next-item" else merged(pair)
    return cold_user(pair, seed, COLD_SHARES[kind.removesuffix(ALL_SOURCE)], kind.endswith(ALL_SOURCE))


def _refuse_leaks(pair: DomainPair, report: dict[str, Any] | None) -> None:
    if report is not None and report["leaks"]:
        raise CrossrecError(
            f"The split {report['split']} of {pair.name!r} leaks: its report found {report['leaks']} hidden events in "
            "what a model sees, so nothing is trained or tested on it."
        )


def split_unstored(pair: DomainPair, kind: str = "next-item", seed: int = 0) -> Split:
    """A split of a pair that has no folder of its own, such as `DomainPair.source_alone` or `swapped`.

    Raises:
        CrossrecError: the kind is unknown.
    """
    check_kind(kind)
    seed = 0 if kind in ONE_SEED else seed
    return _split(pair, kind, seed, *_draw(pair, kind, seed))


def cold_fold(pair: DomainPair, fold: int, seed: int = 0, all_source: bool = False) -> Split:
    """Fold 0 to 9 of a rotation that tests the overlap users a tenth at a time, so that all of them count.

    Of people whose number does not divide by ten, a few are tested twice or not at all.
    """
    kind = "cold-user" + ALL_SOURCE * all_source
    return _split(pair, kind, seed, *cold_user(pair, seed, all_source=all_source, fold=fold))


def _split(pair: DomainPair, kind: str, seed: int, valid: pd.DataFrame, test: pd.DataFrame) -> Split:
    both = pd.concat([valid, test])
    ends = {"source": pair.source.counts.copy(), "target": pair.target.counts.copy()}
    for which, column in (("source", "source_end"), ("target", "target_end")):
        np.minimum.at(ends[which], both["user"].to_numpy(), both[column].to_numpy())
    if kind == MERGED:  # also of people whose hidden events are of the source
        ends = _merged_ends(pair)
    return Split(
        kind=kind,
        seed=seed,
        valid=_questions(valid),
        test=_questions(test),
        source_train_end=ends["source"],
        target_train_end=ends["target"],
    )


def _questions(table: pd.DataFrame) -> Questions:
    return Questions(*(table[column].to_numpy(np.int64) for column in COLUMNS))


def read_leak_report(folder: Path, split_name: str) -> dict[str, Any] | None:
    """The stored report of a split, or None where the split has not been made."""
    path = folder / "splits" / f"{split_name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def leak_report(pair: DomainPair, split: Split) -> dict[str, Any]:
    """Counts what could leak from the hidden events into what a model sees, event by event.

    It looks at the raw times and items again instead of trusting how the split was made.

    Returns:
        {"split", "checks": [{"name", "checked", "found", "meaning"}], "notes": [sentence], "leaks": total found}.
        `found` is None where the data does not allow the check.
    """
    checks: list[dict[str, Any]] = []
    notes: list[str] = []
    hidden_later = tied = late = trained_late = seen_twice = trained_on = visible_events = trained_source = 0
    source, target = pair.source, pair.target
    # An order of both domains gives events of one instant their place: there only what came after is a leak.
    together, later = 0, np.greater if split.kind == MERGED else np.greater_equal
    for part in ("valid", "test"):
        asked = split.part(part)
        first_target, first_source = target.offsets[asked.user], source.offsets[asked.user]
        trained_end = split.source_train_end[asked.user]
        visible, visible_of = ranges(first_target, asked.target_end)
        truth, truth_of = ranges(first_target + asked.target_end, asked.truth_end - asked.target_end)
        keys = [of * (target.n_items + 1) + target.items[at] for at, of in ((visible, visible_of), (truth, truth_of))]
        seen_twice += int(np.isin(keys[1], keys[0]).sum())
        trained_on += int(np.maximum(0, split.target_train_end[asked.user] - asked.target_end).sum())
        visible_events += int(asked.source_end.sum())
        trained_source += int(trained_end.sum())
        if source.times is not None and target.times is not None:
            now = target.times[first_target + asked.target_end]
            shown, shown_of = ranges(first_source, asked.source_end)
            late += int(later(source.times[shown], now[shown_of]).sum())
            trained, trained_of = ranges(first_source, trained_end)
            trained_late += int(later(source.times[trained], now[trained_of]).sum())
            together += int((source.times[shown] == now[shown_of]).sum())
            hidden_later += int((source.counts[asked.user] - asked.source_end).sum())
            tied += len(np.unique(visible_of[target.times[visible] == now[visible_of]]))
    questions = len(split.valid) + len(split.test)

    def check(name: str, checked: int, found: int | None, meaning: str) -> None:
        checks.append({"name": name, "checked": checked, "found": found, "meaning": meaning})

    timed = pair.has_time
    if not split.all_source:
        check(
            "Source events from the future",
            visible_events,
            late if timed else None,
            "source events shown to a model at or after the hidden target event",
        )
        check(
            "Source events trained on from the future",
            trained_source,
            trained_late if timed else None,
            "source events in the training part at or after a hidden target event of the same user",
        )
    check("Hidden target events in training", questions, trained_on, "hidden events that lie inside the training part")
    check("Truth already seen", questions, seen_twice, "hidden items that the same user's visible history contains")
    if split.cold:
        both = int(np.isin(split.valid.user, split.test.user).sum())
        check("Users in two parts", questions, both, "users that are in validation and in test")
        left = int(split.target_train_end[np.concatenate([split.valid.user, split.test.user])].sum())
        check("Target events of held-out users", questions, left, "target events of held-out users left in training")
    if timed and split.all_source:
        notes.append(
            f"{late:,} of the {visible_events:,} source events shown of held-out users came with or after the first "
            "hidden target event: this kind of split shows them on purpose."
        )
    elif timed and split.kind == MERGED:
        notes.append(
            f"{together:,} of the {visible_events:,} source events shown share their time with the hidden event and "
            f"stand before it because {min(source.label, target.label)} comes first."
        )
    elif timed:
        notes.append(
            f"{hidden_later:,} source events were hidden because they came with or after a hidden target event."
        )
        notes.append(
            f"{tied:,} questions share their time with a visible target event; their order is that of the file."
        )
    elif pair.source.n_items:
        notes.append("The data has no times in both domains, so whether source events came later cannot be checked.")
    unseen = split.target_counts(pair)[1:] == 0
    notes.append(f"{int(unseen.sum()):,} of {pair.target.n_items:,} target items do not occur in the training part.")
    return {
        "split": split.name,
        "checks": checks,
        "notes": notes,
        "leaks": sum(c["found"] or 0 for c in checks),
    }
