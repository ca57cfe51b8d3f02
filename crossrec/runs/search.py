"""A search for settings: trials that leave the test part alone, and one run of the best settings that is tested.

A search is a folder, searches/<name>/: search.json says what was asked, trials.jsonl what each trial tried and came to.
Optuna only proposes: it keeps nothing, and is told the trials of the log each time it is asked. So a proposal depends
on the seed and the trials before it alone, and a search that was stopped or killed goes on as if it had not been.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from crossrec import paths, processes
from crossrec.config import from_dict
from crossrec.errors import CrossrecError
from crossrec.evaluation.statistics import Interval, mean_intervals, rounded
from crossrec.runs.compare import stored_rows
from crossrec.runs.disk import disk_errors
from crossrec.runs.execute import resume, train
from crossrec.runs.folder import Run, open_run
from crossrec.runs.locks import BusyError, holding
from crossrec.runs.plan import command_line, plan
from crossrec.runs.task import now
from crossrec.stopping import Stop, Stopped
from crossrec.training.loop import OnEvent
from crossrec.training.recipes import find_recipe
from crossrec.training.spaces import NDCG, RMSE, Range, Space, measure, score, space_of

AT_RANDOM = 5
"""Trials, the defaults among them, before the sampler learns from what they came to."""
DIGITS = 4
"""Significant digits of a number that is proposed: more would be noise in a command."""
DONE, FAILED = "finished", "failed"


@dataclass(frozen=True)
class Trial:
    """A line of trials.jsonl."""

    number: int
    settings: dict[str, Any]
    """What the search chose; what is fixed and what is usual stands in the run."""
    run: str
    score: float | None
    """To be made large: the validation NDCG@10, or minus the RMSE; None of one that failed."""
    state: str
    """"finished" or "failed"."""
    seconds: float | None
    error: str | None = None


@dataclass(frozen=True)
class Outcome:
    """What a search came to."""

    name: str
    recipe: str
    dataset: str
    measure: str
    """ndcg@10 or rmse."""
    trials: list[Trial]
    best: Trial
    run: str
    """Trained with the settings of the best, and tested once."""
    users: int
    """Who were tested."""
    test: Interval
    """The same measure of the run on the test part."""

    @property
    def sentence(self) -> str:
        """Which settings won, by how much on validation, and what the one test says."""
        first = self.trials[0]
        won = "The defaults" if self.best is first else f"Trial {self.best.number} ({words(self.best.settings)})"
        value = self._told(self.best)
        beside = "" if self.best is first else f" against {self._told(first)} of the defaults"
        if first.score is None:
            beside = "; the defaults failed"
        luck = f"the best of {len(self.trials)} trials and so partly luck" if len(self.trials) > 1 else "the only trial"
        test, by = self.test, self.measure.upper()
        return (
            f"{won} won with a validation {by} of {value}{beside}, {luck}; trained once more as {self.run} it comes to "
            f"a test {by} of {test.mean:.4f} (95 % interval {test.low:.4f} to {test.high:.4f}, {self.users:,} people), "
            "and no trial was tested."
        )

    def _told(self, trial: Trial) -> str:
        return "nothing" if trial.score is None else f"{abs(trial.score):.4f}"

    def to_dict(self) -> dict[str, Any]:
        return {
            **{key: getattr(self, key) for key in ("name", "recipe", "dataset", "measure", "run", "users")},
            "best": self.best.number,
            "test": rounded(self.test),
            "sentence": self.sentence,
            "trials": [asdict(trial) for trial in self.trials],
        }


@dataclass(frozen=True)
class Search:
    """A search's folder."""

    name: str

    @property
    def folder(self) -> Path:
        return paths.searches() / self.name

    @property
    def there(self) -> bool:
        return (self.folder / "search.json").exists()

    def about(self) -> dict[str, Any]:
        return dict(paths.read_json(self.folder / "search.json"))

    def trials(self) -> list[Trial]:
        """The trials that ended, by number; a last line that was cut short is none."""
        path = self.folder / "trials.jsonl"
        lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
        try:
            return [Trial(**json.loads(line)) for line in lines]
        except (TypeError, ValueError) as error:
            raise CrossrecError(f"{path} is not a log of trials: give the search another --name.") from error

    def write(self, trials: Sequence[Trial]) -> None:
        temporary = self.folder / ".trials.jsonl"
        lines = [json.dumps(asdict(trial), ensure_ascii=False, allow_nan=False) + "\n" for trial in trials]
        with disk_errors(self.folder):
            temporary.write_text("".join(lines), encoding="utf-8")
            temporary.replace(self.folder / "trials.jsonl")


def search(
    recipe: str,
    dataset: str,
    trials: int,
    fixed: Mapping[str, Any] | None = None,
    seed: int = 0,
    split_kind: str = "next-item",
    split_seed: int | None = None,
    source_run: str | None = None,
    name: str | None = None,
    on_event: OnEvent = lambda event: None,
    stop: Stop | None = None,
) -> Outcome:
    """Tries settings of a recipe, the defaults first, and trains and tests the best by validation once.

    A search of this name that was stopped goes on; one that is done is told again, and nothing is trained.

    Args:
        recipe: one that has a space in `training.spaces`.
        dataset: its name.
        trials: how many; a search that is not done yet may be given another number.
        fixed: settings that all trials have.
        seed: of the proposals and of each training.
        split_kind: as for `train`.
        split_seed: of a cold-user split, where it is another than `seed`.
        source_run: for recipes that start from one; None takes the newest that fits, the same for all trials.
        name: of the search; None makes one of recipe, dataset, split and seed.
        on_event: gets {"event": "trial", "number", "trials", "settings"} before a trial, what the trainings report, and
            {"event": "tried", "trial", "best"} after it.
        stop: asked during each training.

    Raises:
        CrossrecError: Optuna is missing, a name or a setting is wrong, there is a search of this name that was asked
            for something else, or all trials failed.
        Stopped: it was stopped, and the same command goes on with it.
    """
    _require_optuna()
    if processes.count() > 1:
        raise CrossrecError("A search is one process: start it without accelerate launch.")
    fixed = dict(fixed or {})
    one = Search(paths.slug(name or _usual_name(recipe, dataset, seed, split_kind, split_seed), "search"))
    paths.slug(f"{one.name}-best", "run")
    if source_run is None and one.there:  # a newer one may have come since
        source_run = one.about()["source_run"]
    planned = plan(recipe, dataset, fixed, seed, split_kind, source_run, split_seed=split_seed, tested=False)
    space = space_of(recipe, fixed, planned.config)
    asked = {key: planned.asked[key] for key in ("recipe", "dataset", "dataset_hash", "split", "seed", "source_run")}
    asked |= {"settings": planned.asked["settings"], "space": _plain(space), "measure": measure(recipe)}
    asked = json.loads(json.dumps(asked))  # as it is read again
    command = command_line(recipe, dataset, fixed, seed, planned.split, asked["source_run"])
    command = command.replace("crossrec train", "crossrec tune", 1) + f" --trials {trials} --name {one.name}"
    with disk_errors(one.folder):
        one.folder.mkdir(parents=True, exist_ok=True)
    try:
        with holding(one.folder / ".lock"):
            _begin(one, asked, command, trials)
            return _go_on(one, space, fixed, trials, on_event, stop)
    except BusyError as error:
        raise CrossrecError(f"The search {one.name!r} is under way in another process.") from error


def _usual_name(recipe: str, dataset: str, seed: int, split_kind: str, split_seed: int | None) -> str:
    """The same for the same command, which so goes on with its search."""
    kind = "" if split_kind == "next-item" else f"-{split_kind}"
    people = "" if not kind or split_seed in (None, seed) else f"-p{split_seed}"
    return f"tune-{dataset}-{recipe}{kind}{people}-s{seed}"


def _begin(one: Search, asked: dict[str, Any], command: str, trials: int) -> None:
    """Writes down what is asked, or finds that a search of this name was asked for the same."""
    told = {"trials": trials, "command": command}
    if not one.there:
        paths.write_json(one.folder / "search.json", {"search": one.name, **asked, **told, "created": now()})
        return
    about = one.about()
    for key, value in asked.items():
        if about.get(key) != value:
            raise CrossrecError(
                f"There is a search {one.name!r} already, and its {key.replace('_', ' ')} is another: give this one "
                "another --name."
            )
    if trials > len(one.trials()) and _tested(one):
        raise CrossrecError(
            f"The winner of the search {one.name!r} was tested after {len(one.trials())} trials, and a second one "
            "would be chosen knowing that: begin a search of another --name."
        )
    if trials > about["trials"]:
        paths.write_json(one.folder / "search.json", {**about, **told})


def _go_on(
    one: Search, space: Space, fixed: dict[str, Any], trials: int, on_event: OnEvent, stop: Stop | None
) -> Outcome:
    about, done = one.about(), one.trials()
    asked = {"recipe_name": about["recipe"], "dataset": about["dataset"], "seed": about["seed"]}
    asked |= {"split_kind": about["split"]["kind"], "split_seed": about["split"]["seed"]}
    asked |= {"source_run": about["source_run"]}
    try:
        for number in range(len(done), trials):
            settings = proposal(space, about["settings"], done, about["seed"])
            on_event({"event": "trial", "number": number, "trials": trials, "settings": settings})
            work = _Work(f"{one.name}-t{number}", fixed | settings, asked, tested=False)
            done.append(_trial(work, number, settings, on_event, stop))
            one.write(done)
            on_event({"event": "tried", "trial": done[-1], "best": _best(done)})
        best = _best(done)
        if best is None:
            raise CrossrecError(f"All {len(done)} trials of {one.name!r} failed, the first with: {done[0].error}")
        work = _Work(f"{one.name}-best", fixed | best.settings, asked, tested=True)
        run = work.carried_out(work.there(), on_event, stop)
    except Stopped as error:
        raise Stopped(
            f"The search {one.name!r} was stopped after {len(one.trials())} of {trials} trials: the same command goes "
            "on with it."
        ) from error
    named = one.name, about["recipe"], about["dataset"], about["measure"]
    return Outcome(*named, done, best, run.name, len(run.per_user()), _test_of(run, about["measure"]))


def _test_of(run: Run, by: str) -> Interval:
    """What the test says of a run, by the figure that it was chosen by."""
    if by == RMSE:
        (row, *_) = stored_rows(run.metrics()["ratings"], run.name, run.name)
        return row.values[RMSE] or Interval(math.nan, math.nan, math.nan)
    return mean_intervals(run.per_user()[[NDCG]].to_numpy(float).T)[0]


@dataclass(frozen=True)
class _Work:
    """A training of a search."""

    name: str
    settings: dict[str, Any]
    asked: dict[str, Any]
    """Other arguments of `train`."""
    tested: bool

    def there(self) -> Run | None:
        """Its run, where a search that was stopped has begun or finished it.

        Raises:
            CrossrecError: a run of this name is another.
        """
        if not (paths.runs() / self.name).exists():
            return None
        run = open_run(self.name)
        config = run.config()
        wanted = asdict(from_dict(find_recipe(self.asked["recipe_name"]).config, self.settings))
        if config["settings"] != wanted or config["seed"] != self.asked["seed"] or run.untested is self.tested:
            raise CrossrecError(f"There is a run {self.name!r} that is none of this search: give it another --name.")
        run.pair()
        return run

    def carried_out(self, there: Run | None, on_event: OnEvent, stop: Stop | None) -> Run:
        """The finished run: trained now, or gone on with."""
        if there is None:
            beside: dict[str, Any] = {"on_event": on_event, "stop": stop, "tested": self.tested}
            return train(**self.asked, settings=self.settings, name=self.name, **beside)
        return there if there.finished else resume(there, on_event, stop)


def _trial(work: _Work, number: int, settings: dict[str, Any], on_event: OnEvent, stop: Stop | None) -> Trial:
    """Trains one; what it cannot do is told in its line."""
    there = work.there()
    try:
        run = work.carried_out(there, on_event, stop)
    except Stopped:
        raise
    except CrossrecError as error:
        return Trial(number, settings, work.name, None, FAILED, None, str(error))
    recipe, metrics = work.asked["recipe_name"], run.metrics()
    found, seconds = score(recipe, metrics["valid"]), metrics["fit"]["seconds"]
    if math.isnan(found):
        said = f"It has no validation {measure(recipe).upper()}."
        return Trial(number, settings, work.name, None, FAILED, seconds, said)
    return Trial(number, settings, work.name, found, DONE, seconds)


def _best(trials: Sequence[Trial]) -> Trial | None:
    """The one with the highest score, the earliest of equals."""
    known = [trial for trial in trials if trial.score is not None]
    return max(known, key=lambda trial: (trial.score, -trial.number), default=None)


def _tested(one: Search) -> bool:
    folder = paths.runs() / f"{one.name}-best"
    return folder.exists() and Run(folder).finished


# --- what is tried next ----------------------------------------------------------------------------------------------


def proposal(space: Space, usual: Mapping[str, Any], before: Sequence[Trial], seed: int) -> dict[str, Any]:
    """The settings of the next trial: the usual ones first, then what a tree-structured Parzen estimator proposes.

    The same for the same space, trials and seed, in whichever process it is asked.

    Args:
        space: what is searched.
        usual: settings of the first trial, and maybe others.
        before: all trials so far.
        seed: of the search.
    """
    if not before:
        return {name: usual[name] for name in space}
    import optuna
    from optuna.trial import TrialState, create_trial

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    told = {name: _distribution(one) for name, one in space.items()}
    sampler = optuna.samplers.TPESampler(seed=seed + len(before), n_startup_trials=AT_RANDOM)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for trial in before:
        state = TrialState.FAIL if trial.score is None else TrialState.COMPLETE
        study.add_trial(create_trial(state=state, value=trial.score, params=trial.settings, distributions=told))
    found = study.ask(told).params
    return {name: _short(found[name], one) for name, one in space.items()}


def _distribution(one: Range | tuple[Any, ...]) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if not isinstance(one, Range):
        return CategoricalDistribution(one)
    if _whole(one):
        return IntDistribution(int(one.low), int(one.high), log=one.log)
    return FloatDistribution(one.low, one.high, log=one.log)


def _whole(one: Range) -> bool:
    return isinstance(one.low, int) and isinstance(one.high, int)


def _short(value: Any, one: Range | tuple[Any, ...]) -> Any:
    if not isinstance(one, Range) or _whole(one):
        return value
    return min(max(float(f"{value:.{DIGITS}g}"), one.low), one.high)


def _plain(space: Space) -> dict[str, Any]:
    return {name: asdict(one) if isinstance(one, Range) else list(one) for name, one in space.items()}


def words(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in settings.items())


def _require_optuna() -> None:
    from importlib.util import find_spec

    if find_spec("optuna") is None:
        raise CrossrecError("Optuna is not installed: `pip install 'crossrec[tune]'` adds it.")
