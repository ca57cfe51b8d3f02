"""What a comparison of two runs rests on: tests, who benefits, controls, shots, lists and seeds.

Two runs are meant throughout: the challenger, which the comparison is about, and the baseline.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from crossrec.data.pair import DomainPair
from crossrec.data.split import Split
from crossrec.evaluation.benefit import Slice, members, popularity_of, slices
from crossrec.evaluation.compare import HEADLINE, Side
from crossrec.evaluation.controls import CONTROLS
from crossrec.evaluation.lists import describe
from crossrec.evaluation.protocol import group_masks
from crossrec.evaluation.statistics import Interval, Paired, Spread, mean_intervals, paired, rounded, seed_spread
from crossrec.evaluation.verdict import Kept
from crossrec.runs import controls
from crossrec.runs.catalog import Catalog
from crossrec.runs.folder import Run, list_runs

TESTED = ("ndcg@10", "hr@10", "mrr@10")
"""Metrics that are tested together."""
NOT_OF_A_SEED = {"seed", "source_run", "run", "created", "command", "versions", "git_commit", "machine", "threads"}
NOT_OF_A_SEED |= {"resumed", "track"}
"""Keys of a config in which trainings of several seeds may differ; the source model is one of its own seed."""


@dataclass(frozen=True)
class ControlRow:
    """One recommender under one control, over the people who have a source history."""

    run: str
    title: str
    control: str
    """A key of `CONTROLS`."""
    users: int
    kept: Kept
    gap: Interval
    """Under the control against the baseline as it is: what is left of the gain."""

    def to_dict(self) -> dict[str, Any]:
        about = {"run": self.run, "title": self.title, "control": self.control, "users": self.users}
        return about | {"value": rounded(self.kept.value), "loss": rounded(self.kept.loss), "gap": rounded(self.gap)}


@dataclass(frozen=True)
class Shot:
    """One point of a curve: a recommender that is shown so many target events."""

    run: str
    title: str
    shots: int
    users: int
    value: Interval

    def to_dict(self) -> dict[str, Any]:
        return {"run": self.run, "title": self.title, "shots": self.shots, "users": self.users, **rounded(self.value)}


@dataclass(frozen=True)
class Insight:
    """All of it. What was not asked of a run is missing, and `missing` names the run."""

    challenger: str
    baseline: str
    tests: dict[str, dict[str, Paired]]
    """{"all" or "with_source": {metric: test}}, Holm over the metrics of a group."""
    slices: list[Slice]
    controls: list[ControlRow]
    shots: list[Shot]
    lists: dict[str, dict[str, float | None]]
    """{run: coverage, novelty, diversity}."""
    seeds: Spread | None
    """Where both sides were trained with several seeds."""
    trained: tuple[list[int], list[int]]
    """Seeds of challenger and baseline."""
    missing: list[str]

    @property
    def placebo(self) -> Kept | None:
        """The challenger's."""
        found = (row.kept for row in self.controls if row.run == self.challenger and row.control == "placebo")
        return next(found, None)

    def test(self, group: str = "with_source") -> Paired | None:
        return self.tests.get(group, {}).get(HEADLINE)

    def to_dict(self) -> dict[str, Any]:
        return {
            "challenger": self.challenger,
            "baseline": self.baseline,
            "tests": {group: {metric: _plain(one) for metric, one in of.items()} for group, of in self.tests.items()},
            "slices": [one.to_dict() for one in self.slices],
            "controls": [row.to_dict() for row in self.controls],
            "shots": [row.to_dict() for row in self.shots],
            "lists": self.lists,
            "seeds": None
            if self.seeds is None
            else {
                "challenger": self.trained[0],
                "baseline": self.trained[1],
                "users": rounded(self.seeds.users),
                "both": rounded(self.seeds.both),
                "by_seed": [round(value, 6) for value in self.seeds.by_seed],
            },
            "missing": self.missing,
        }


def insight(
    runs: Sequence[Run], sides: Sequence[Side], pair: DomainPair, split: Split, challenger: str, baseline: str
) -> Insight:
    """Works out all of it.

    Args:
        runs: that are compared; sides: the same as sides, of one dataset and split.
        pair, split: that they were trained and tested on.
        challenger, baseline: two of the runs, by name.
    """
    tables = {side.run: side.table.sort_values("user").reset_index(drop=True) for side in sides}
    before, after = tables[baseline], tables[challenger]
    tests = {}
    for group in ("all", "with_source"):
        mask = group_masks(before)[group]
        if mask.any():
            gain = (after.loc[mask, list(TESTED)] - before.loc[mask, list(TESTED)]).to_numpy(float).T
            tests[group] = dict(zip(TESTED, paired(gain), strict=True))
    by_name = {run.name: run for run in runs}
    spread, trained = _seeds(by_name[challenger], by_name[baseline])
    return Insight(
        challenger=challenger,
        baseline=baseline,
        tests=tests,
        slices=slices(before, after, _popularity(pair, split, before["user"].to_numpy())),
        controls=_controls(runs, sides, before.set_index("user")[HEADLINE]),
        shots=_shots(runs, sides),
        lists=_lists(runs, pair, split),
        seeds=spread,
        trained=trained,
        missing=[run.name for run in runs if run.config()["domain"] == "target" and not controls.are_there(run)],
    )


def who(found: Insight, before: Side, after: Side, pair: DomainPair, split: Split, kind: str, label: str) -> Any:
    """The users of one slice as a table: user id, events, both ranks and the difference; the most harmed first.

    The kind "all" has everybody, whatever the label.
    """
    first, second = (side.table.sort_values("user").reset_index(drop=True) for side in (before, after))
    if kind == "all":
        rows = np.arange(len(first))
    else:
        rows = members(first, _popularity(pair, split, first["user"].to_numpy()))[kind][label]
    ids = pair.users()["user_id"].to_numpy()
    users = first["user"].to_numpy()[rows]
    table = first.loc[rows, ["n_source", "n_target", "rank", HEADLINE]].rename(columns={HEADLINE: "before"})
    rank_after, ndcg_after = (second[name].to_numpy()[rows] for name in ("rank", HEADLINE))
    table = table.assign(user=ids[users], rank_after=rank_after, after=ndcg_after)
    table["difference"] = table["after"] - table["before"]
    # Where the first ten say nothing, the rank of the hidden item does.
    order = np.lexsort((-(table["rank_after"] - table["rank"]), table["difference"]))
    return table.iloc[order].reset_index(drop=True)


def _popularity(pair: DomainPair, split: Split, users: Any) -> Any:
    """(Q,) of each user of a per-user table, in its order."""
    questions = split.test
    events, row = questions.hidden(pair)
    items = pair.target.items[events].astype(np.int64)
    found = popularity_of(items, row, len(questions), split.target_counts(pair))
    place = np.argsort(questions.user, kind="stable")
    return found[place][np.searchsorted(questions.user[place], users)]


def _controls(runs: Sequence[Run], sides: Sequence[Side], baseline: Any) -> list[ControlRow]:
    titles, out = {side.run: side for side in sides}, []
    for run in runs:
        as_it_is = titles[run.name].table.set_index("user")[HEADLINE]
        for name, table in controls.read(run)[0].items():
            if name not in CONTROLS:
                continue
            value = table[HEADLINE].to_numpy(float)
            users = table["user"].to_numpy()
            real, base = (of.loc[users].to_numpy(float) for of in (as_it_is, baseline))
            mean, loss, gap = mean_intervals(np.stack([value, real - value, value - base]))
            out.append(ControlRow(run.name, titles[run.name].title, name, len(users), Kept(mean, loss), gap))
    return out


def _shots(runs: Sequence[Run], sides: Sequence[Side]) -> list[Shot]:
    titles, out = {side.run: side.title for side in sides}, []
    for run in runs:
        tables = controls.read(run)[1]
        tables = {k: table for k, table in tables.items() if len(table)}
        if tables:
            found = mean_intervals(np.stack([table[HEADLINE].to_numpy(float) for table in tables.values()]))
            out += [
                Shot(run.name, titles[run.name], k, len(table), value)
                for (k, table), value in zip(tables.items(), found, strict=True)
            ]
    return out


def _lists(runs: Sequence[Run], pair: DomainPair, split: Split) -> dict[str, dict[str, float | None]]:
    """By the text vectors of one catalogue for all runs: those of different encoders cannot be compared."""
    counts = split.target_counts(pair)
    vectors = None
    for run in runs:
        if vectors is None and (run.folder / "catalog").is_dir():
            vectors = Catalog(run.folder / "catalog").shelf(run.config()["domain"]).vectors
    out = {}
    for run in runs:
        found = controls.read_lists(run)
        if found is not None:
            out[run.name] = describe(found[1], counts, vectors)
    return out


def _seeds(challenger: Run, baseline: Run) -> tuple[Spread | None, tuple[list[int], list[int]]]:
    """Both kinds of spread, where either side was trained with at least two seeds and the other with one or more."""
    groups = [_siblings(run) for run in (challenger, baseline)]
    seeds = ([run.config()["seed"] for run in groups[0]], [run.config()["seed"] for run in groups[1]])
    if min(map(len, seeds)) < 2:
        return None, seeds
    after, before = (
        np.stack([run.per_user().sort_values("user")[HEADLINE].to_numpy(float) for run in group]) for group in groups
    )
    return seed_spread(after, before), seeds


def _siblings(run: Run) -> list[Run]:
    """The finished runs that differ from one in the seed alone, the newest of each seed, by seed."""

    def about(config: dict[str, Any]) -> dict[str, Any]:
        return {k: v for k, v in config.items() if k not in NOT_OF_A_SEED}

    wanted = about(run.config())
    found: dict[int, Run] = {run.config()["seed"]: run}
    for other in list_runs(wanted["dataset"], wanted["recipe"], finished=True, tested=True):
        if about(other.config()) == wanted:
            found.setdefault(other.config()["seed"], other)
    return [found[seed] for seed in sorted(found)]


def _plain(test: Paired) -> dict[str, Any]:
    about = {k: v for k, v in asdict(test).items() if k != "value"}
    return {k: None if np.isnan(v) else round(v, 6) for k, v in about.items()} | rounded(test.value)
