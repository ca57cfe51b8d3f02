"""The commands of the feedback loop: play it with simulated people, keep logs, judge policies from them."""

import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from crossrec import paths
from crossrec.cli_data import Json, print_json
from crossrec.console import Reporter, console, table
from crossrec.errors import CrossrecError

if TYPE_CHECKING:
    from crossrec.data.logged import StoredLog
    from crossrec.feedback.ope import Judgement

feedback = typer.Typer(no_args_is_help=True, help="Keep logs of what was shown and what came back; judge by them.")

SHOWN = {
    "reward": "Reward a slate",
    "late_reward": "in the last fifth",
    "regret": "Regret to the oracle",
    "entropy": "Entropy in nats",
    "themes": "Themes a slate",
}
"""Measures of the table, and how they are called."""
Dataset = Annotated[str, typer.Option(help="The dataset whose items were shown.")]
Replace = Annotated[bool, typer.Option(help="Replace a log of this name.")]
Temperature = Annotated[float | None, typer.Option(help="Of the policy: low is greedy, high tries everything.")]
Epsilon = Annotated[float | None, typer.Option(help="Share of pure chance in the policy.")]


def rl_demo(
    dataset: Annotated[str, typer.Option(help="A demo dataset, whose people's true taste is known.")] = "demo",
    steps: Annotated[int, typer.Option(min=1, help="Slates that each policy plays with each person.")] = 500,
    seeds: Annotated[int, typer.Option(min=2, help="People; each is played with by every policy.")] = 20,
    run: Annotated[str | None, typer.Option(help="Run whose scores the policies start from.")] = None,
    chart: Annotated[Path | None, typer.Option(help="Draw the rewards along the play into this .svg or .png.")] = None,
    json_: Json = False,
) -> None:
    """Let a policy learn from the clicks of simulated people, beside policies that do not."""
    from crossrec.feedback.demo import rl_demo as play
    from crossrec.report.loop import check_chart, write_curves

    if chart is not None:
        check_chart(chart)
    with Reporter(quiet=json_) as report:
        found = play(paths.slug(dataset, "dataset"), steps, seeds, report, run)
    if chart is not None:
        write_curves(found, chart)
    print_json(found.to_dict()) if json_ else _show(found)


def _show(found: Any) -> None:
    gain = found.gain
    told = "more" if gain.positive else "less" if gain.negative else "not shown to be more"
    console.print(
        f"Learning from {found.slates:,} slates brings {told}: {gain.mean:+.4f} a slate over the frozen start "
        f"({found.gain_share:+.0%}), 95 % interval {gain.low:+.4f} to {gain.high:+.4f} over {len(found.seeds)} people.",
        style="bold",
    )

    def cell(value: Any) -> str:
        return f"{value.mean:.3f} ({value.low:.3f} to {value.high:.3f})"

    rows = [
        (name.capitalize(), *(cell(own[key]) if key in own else "" for key in SHOWN))
        for name, own in found.measures.items()
    ]
    title = f"\n{found.dataset}, from the scores of {found.run}; 95 % intervals over people"
    table(("", *SHOWN.values()), rows, title=title)
    points = found.curves["learned"]
    at = [(i, points[i].mean, found.curves["frozen"][i].mean) for i in range(0, len(points), max(1, len(points) // 8))]
    header = ("Slates", *(f"{(i + 1) * found.block:,}" for i, _, _ in at))
    lines = [("Learned", *(f"{one:.3f}" for _, one, _ in at)), ("Frozen", *(f"{one:.3f}" for _, _, one in at))]
    table(header, lines, title="\nReward a slate, along the play")
    console.print(
        "The people are simulated: they click by their true taste and by position, tire of repetition and leave. How "
        "fast they tire is an assumption, on which it depends how well a policy does that always shows the same."
    )


# --- logs ------------------------------------------------------------------------------------------------------------


@feedback.command("import")
def feedback_import(
    file: Annotated[
        Path | None, typer.Argument(help="CSV, JSON lines or Parquet, gzip too; a row an item that was shown.")
    ] = None,
    dataset: Dataset = "demo",
    name: Annotated[str | None, typer.Option(help="Name of the log; else made of the file's.")] = None,
    played: Annotated[bool, typer.Option("--played", help="Take what was played on the feedback page.")] = False,
    session: Annotated[str | None, typer.Option(help="With --played: only this session.")] = None,
    column: Annotated[
        list[str] | None, typer.Option(help="Which column is what, such as propensity=chance; repeatable.")
    ] = None,
    reward: Annotated[list[str] | None, typer.Option(help="Reward of an action, such as click=1; repeatable.")] = None,
    replace: Replace = False,
    json_: Json = False,
) -> None:
    """Make a log ready for a dataset: ids become its items and people, and what cannot be used is told by row."""
    from crossrec.data.pair import DomainPair
    from crossrec.feedback.log import FeedbackLog
    from crossrec.feedback.ready import import_file, import_played
    from crossrec.feedback.rewards import DEFAULT_REWARDS

    if (file is None) != played:
        raise CrossrecError("Give either a file, or --played for what was played on the feedback page.")
    if session is not None and not played:
        raise CrossrecError("--session goes with --played: a file is imported whole.")
    columns = dict(_pairs(column, "column", "propensity=chance"))
    rewards = {action: _number(value, action) for action, value in _pairs(reward, "reward", "click=1")}
    if played and (columns or rewards):
        raise CrossrecError("--column and --reward go with a file: what was played says both itself.")
    pair = DomainPair.open(paths.slug(dataset, "dataset"))
    if file is None:
        log = import_played(name or f"{dataset}-played", FeedbackLog(), pair, session, replace)
    else:
        stem = name or paths.slug(file.name.split(".")[0], "log")
        log = import_file(stem, file, pair, columns, {**DEFAULT_REWARDS, **rewards}, replace)
    _tell(log, json_)


@feedback.command("simulate")
def feedback_simulate(
    name: Annotated[str, typer.Argument(metavar="LOG", help="Name of the new log.")],
    dataset: Annotated[str, typer.Option(help="A demo dataset, whose people's true taste is known.")] = "demo",
    run: Annotated[str | None, typer.Option(help="Run whose scores the policy shows by.")] = None,
    people: Annotated[int, typer.Option(min=1, help="How many, of those in both domains.")] = 200,
    slates: Annotated[int, typer.Option(min=1, help="Slates that each of them meets.")] = 20,
    clicks: Annotated[
        Literal["taste", "random"], typer.Option(help="By true taste, or at random: a log that says nothing.")
    ] = "taste",
    temperature: Temperature = None,
    epsilon: Epsilon = None,
    seed: Annotated[int, typer.Option(min=0, help="Of people, slates and clicks.")] = 0,
    replace: Replace = False,
    json_: Json = False,
) -> None:
    """Make a log of simulated people who meet the slates of a policy that does not learn."""
    import numpy as np

    from crossrec.data.pair import DomainPair
    from crossrec.feedback.demo import Starts, first_run
    from crossrec.feedback.simulated import simulated_log
    from crossrec.feedback.simulator import SimulatedUsers
    from crossrec.runs.folder import open_run

    pair = DomainPair.open(paths.slug(dataset, "dataset"))
    simulated = SimulatedUsers.of(pair)
    chosen = open_run(run) if run else first_run(dataset)
    build = Starts(chosen).builds(_policy(temperature, epsilon))["frozen"]
    users = np.random.default_rng(seed).permutation(np.flatnonzero(pair.overlap))[:people]
    about = f"softmax over {chosen.name}"
    _tell(simulated_log(name, pair, simulated, build, users, slates, seed, about, clicks, replace), json_)


@feedback.command("list")
def feedback_list(
    dataset: Annotated[str | None, typer.Option(help="Only logs of this dataset.")] = None, json_: Json = False
) -> None:
    """The logs that are ready, newest first."""
    from crossrec.data.logged import list_logs, read_meta

    found = {name: read_meta(name) for name in list_logs(dataset)}
    if json_:
        print_json(found)
        return
    rows = [
        (
            name,
            about["dataset"],
            f"{about['sessions']:,}",
            f"{about['slates']:,}",
            f"{about['events']:,}",
            about["origin"],
        )
        for name, about in found.items()
    ]
    table(("log", "dataset", "sessions", "slates", "events", "from"), rows)


@feedback.command("rm")
def feedback_rm(
    names: Annotated[list[str], typer.Argument(metavar="LOG ...")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove logs that were made ready; what was played stays in the feedback database."""
    from crossrec.data.logged import read_meta, remove_log

    for name in names:
        read_meta(name)
    if not yes and not sys.stdin.isatty():
        raise CrossrecError(f"Nobody is there to be asked whether {', '.join(names)} may be removed: say --yes.")
    if not yes:
        typer.confirm(f"Remove {', '.join(names)} for good?", abort=True)
    for name in names:
        remove_log(name)
    console.print(f"Removed {', '.join(names)}.")


@feedback.command("export")
def feedback_export(
    file: Annotated[Path, typer.Argument(help="The new file: .csv, .jsonl or .parquet.")],
    session: Annotated[str | None, typer.Option(help="Only this session.")] = None,
    run: Annotated[str | None, typer.Option(help="Only what was shown from this run's scores.")] = None,
    json_: Json = False,
) -> None:
    """Write what was played on the feedback page, a row an item that was shown, with propensities and item ids."""
    from crossrec.data.folder import list_datasets
    from crossrec.data.pair import DomainPair
    from crossrec.feedback.log import FeedbackLog

    log, names = FeedbackLog(), dict[str, Sequence[str]]()
    shown = set(log.frame(session, run)["dataset"])
    for name in {about["name"] for about in list_datasets()} & shown:
        names[name] = ["", *DomainPair.open(name).items("target").sort_values("item")["item_id"]]
    rows = log.export(file, session, run, names)
    if json_:
        print_json({"file": str(file), "rows": rows})
        return
    console.print(f"{rows:,} rows were written to {file}.")


def _tell(log: "StoredLog", json_: bool) -> None:
    """What a log has, and what was left out."""
    if json_:
        print_json({"log": log.name, **log.meta})
        return
    meta = log.meta
    console.print(
        f"The log {log.name!r} is ready: {meta['events']:,} events in {meta['slates']:,} slates of "
        f"{meta['sessions']:,} sessions.",
        style="bold",
    )
    for why, rows in meta["left_out"].items():
        console.print(f"  {rows:,} rows are left out: {why}")
    for line in meta.get("errors", []):
        console.print(f"  {line}")
    for note in meta.get("notes", []):
        console.print(note)


def _pairs(given: list[str] | None, what: str, example: str) -> list[tuple[str, str]]:
    found = []
    for one in given or []:
        key, there, value = one.partition("=")
        if not (key and there and value):
            raise CrossrecError(f"--{what} {one!r} is not of the form key=value: give one such as {example}.")
        found.append((key, value))
    return found


def _number(value: str, action: str) -> float:
    try:
        return float(value)
    except ValueError as error:
        raise CrossrecError(f"The reward of {action!r} is {value!r}; give a number.") from error


def _policy(temperature: float | None, epsilon: float | None, **other: Any) -> Any:
    from crossrec.feedback.policy import PolicyConfig

    given = {"temperature": temperature, "epsilon": epsilon, **other}
    return PolicyConfig(**{key: value for key, value in given.items() if value is not None})


# --- judging ---------------------------------------------------------------------------------------------------------


@feedback.command("ope")
def feedback_ope(
    log: Annotated[
        str, typer.Argument(metavar="LOG", help="Name of a log; or a file with a column target_probability.")
    ],
    policy: Annotated[str, typer.Option(help="Run to judge as a policy; of a file, what its policy is called.")],
    against: Annotated[str | None, typer.Option(help="Another run; else the policy that made the log.")] = None,
    temperature: Temperature = None,
    epsilon: Epsilon = None,
    clip: Annotated[float, typer.Option(help="Largest weight of clipped IPS.")] = 10.0,
    seed: Annotated[int, typer.Option(min=0, help="Of folds and resampling.")] = 0,
    assume_uniform: Annotated[
        bool, typer.Option(help="Take unknown propensities for uniform: an illustration, and no evidence.")
    ] = False,
    json_: Json = False,
) -> None:
    """Tell from a log what another policy would have earned, or why the log cannot tell."""
    from crossrec.data.logged import open_log
    from crossrec.feedback.events import read_events
    from crossrec.feedback.judging import ASSUMED, judge_run
    from crossrec.feedback.ope import judge
    from crossrec.runs.folder import open_run

    notes: Sequence[str]
    if Path(log).suffix and Path(log).is_file():
        if against is not None or temperature is not None or epsilon is not None:
            raise CrossrecError(
                "A file brings the probabilities of its own policy: leave --against, --temperature and --epsilon out, "
                "or import it first and judge a run by it."
            )
        events = read_events(Path(log))
        uniform = events.frame["item"].nunique() if assume_uniform else None
        doubts = [ASSUMED] if assume_uniform and events.assumed else []
        found = judge(events.logged(uniform), events.target(policy), clip=clip, seed=seed, doubts=doubts)
        notes = [events.assumed] if events.assumed else []
        plain = found.plain() | {"notes": notes}
    else:
        with Reporter(quiet=json_) as report:
            run = open_run(policy)
            other = open_run(against) if against else None
            config = _policy(temperature, epsilon)
            judged = judge_run(open_log(log), run, other, config, clip, seed, assume_uniform, report)
        found, notes, plain = judged.judgement, judged.notes, judged.plain()
    if json_:
        print_json(plain)
        return
    _show_judgement(found, notes)


def _show_judgement(found: "Judgement", notes: Sequence[str]) -> None:
    from crossrec.feedback.ope import EDGES

    console.print(found.verdict, style="bold")
    rows = []
    for estimator, difference in found.differences.items():
        own = [found.estimates[policy].get(estimator) for policy in (found.target, found.against)]
        rows.append((estimator, *(_cell(one) for one in own), _cell(difference, "+.4f")))
    table(("", found.target, found.against, "difference"), rows, title="\nReward a row; 95 % intervals over sessions")
    header = ("", "rows", "worth", "largest share", "mean weight")
    lines = [
        (name, f"{one.rows:,}", _told(one.ess, ",.0f"), _told(one.largest, ".1%"), _told(one.mean, ".2f"))
        for name, one in found.diagnostics.items()
    ]
    table(header, lines, title="\nHow much of the log speaks of a policy")
    counts = found.diagnostics[found.target].histogram
    names = [f"{low:g} to {high:g}" for low, high in pairwise(EDGES)]
    shown = [(name, f"{count:,}") for name, count in zip(names, counts, strict=True) if count]
    table((f"weight of {found.target}", "rows"), shown, title="\nWeights")
    for note in notes:
        console.print(note)


def _cell(value: Any, form: str = ".4f") -> str:
    if value is None or value.mean != value.mean:
        return "cannot be known"
    return f"{value.mean:{form}} ({value.low:{form}} to {value.high:{form}})"


def _told(value: float, form: str) -> str:
    return "cannot be known" if value != value else f"{value:{form}}"
