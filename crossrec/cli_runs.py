"""The `crossrec runs` commands: what is in training, what waits, and what came of it."""

import sys
from typing import Annotated, Any

import typer

from crossrec import paths
from crossrec.cli_data import Json, print_json
from crossrec.console import console, percent_done, show_validation, table
from crossrec.errors import CrossrecError
from crossrec.runs.folder import is_untested

runs = typer.Typer(no_args_is_help=True, help="Look at trainings, queue, cancel, resume and remove them.")
Run = Annotated[str, typer.Argument(metavar="RUN", help="Name of a run.")]


@runs.command("list")
def runs_list(
    dataset: Annotated[str | None, typer.Option(help="Only those on this dataset.")] = None, json_: Json = False
) -> None:
    """The runs on this machine, newest first."""
    from crossrec.runs import queue
    from crossrec.runs.folder import damaged_runs, list_runs

    queue.look_after()
    found = [run.config() | {"status": run.shown()} for run in list_runs(dataset)]
    if json_:
        print_json(found)
        return
    rows = [(c["run"], c["recipe"], c["dataset"], str(c["seed"]), *_state(c)) for c in found]
    table(("run", "recipe", "dataset", "seed", "state", ""), rows)
    for name in damaged_runs():
        console.print(f"{name} cannot be read and is left out: remove its folder in {paths.runs()}.")


def _state(config: dict[str, Any]) -> tuple[str, str]:
    state, words = percent_done(config["status"])
    return state, "not tested" if state == "finished" and is_untested(config) else words


@runs.command("show")
def runs_show(name: Run, json_: Json = False) -> None:
    """What a run was asked, how it went and what came out."""
    from crossrec.runs import queue
    from crossrec.runs.finetune import sentence
    from crossrec.runs.folder import open_run

    queue.look_after()
    run = open_run(name)
    config, status = run.config(), run.shown()
    metrics = run.metrics() if run.finished else None
    if json_:
        print_json({"config": config, "status": status, "metrics": metrics})
        return
    asked = ("recipe", "dataset", "seed", "created", "git_commit", "command")
    rows = [(key, str(config.get(key, ""))) for key in asked]
    rows += [(key, str(value)) for key, value in config["settings"].items()]
    rows += [(key, str(value)) for key, value in status.items()]
    table(("", name), rows)
    if metrics and run.untested:
        show_validation(name, metrics["valid"])
    elif metrics:
        from crossrec.console_results import show_evaluation

        show_evaluation(name, metrics["test"])
        if (said := sentence(metrics)) is not None:
            console.print(said)
    elif status["state"] == "failed" and (log := run.log()):
        console.print(f"\nThe end of its log:\n{log}")


@runs.command("queue")
def runs_queue(
    name: Annotated[str | None, typer.Argument(metavar="[RUN]", help="A run that waits, to be moved.")] = None,
    to: Annotated[
        str | None, typer.Option(help="Where to move it: first, last, up or down; first without this option.")
    ] = None,
    json_: Json = False,
) -> None:
    """What is worked on and what waits, in order; with a run, changes its place."""
    from crossrec.runs import queue
    from crossrec.runs.folder import open_run

    if to is not None and to not in queue.PLACES:
        raise CrossrecError(f"{to!r} is no place in the queue: say {', '.join(queue.PLACES)}.")
    if to is not None and name is None:
        raise CrossrecError("Name the run that is to be moved.")
    queue.look_after()
    if name is not None:
        queue.move(open_run(name), to or "first")
    rows = [
        {"kind": what, "name": task.name, **task.shown()}
        for what in queue.LANES
        for task in {task.name: task for of in queue.under_way(what) for task in of}.values()
    ]
    if json_:
        print_json(rows)
    elif rows:
        table(("", "name", "state", ""), [(row["kind"], row["name"], *percent_done(row)) for row in rows])
    else:
        console.print("Nothing is in training and nothing waits.")


@runs.command("cancel")
def runs_cancel(names: Annotated[list[str], typer.Argument(metavar="RUN ...")], json_: Json = False) -> None:
    """Take runs out of the queue, or ask them to stop at a point from which they can be resumed."""
    from crossrec.runs import queue
    from crossrec.runs.folder import open_run

    states = {run.name: queue.cancel(run) for run in [open_run(name) for name in names]}
    if json_:
        print_json(states)
        return
    for name, state in states.items():
        console.print(f"{name} is {state}. `crossrec runs resume {name}` goes on with it.")


@runs.command("resume")
def runs_resume(names: Annotated[list[str], typer.Argument(metavar="RUN ...")], json_: Json = False) -> None:
    """Put stopped or failed runs into the queue, where they go on; `crossrec train --resume` does it here and now."""
    from crossrec.runs import queue
    from crossrec.runs.folder import open_run

    for run in [open_run(name) for name in names]:
        queue.resume(run)
    if json_:
        print_json({name: "queued" for name in names})
        return
    console.print(f"{', '.join(names)} waits for its turn." if len(names) == 1 else f"{len(names)} runs wait.")


@runs.command("rm")
def runs_rm(
    names: Annotated[list[str], typer.Argument(metavar="RUN ...")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    json_: Json = False,
) -> None:
    """Remove runs and all that came of them."""
    from crossrec.runs import queue
    from crossrec.runs.folder import open_run

    chosen = [open_run(name) for name in names]
    if not yes and (json_ or not sys.stdin.isatty()):
        raise CrossrecError(f"Nobody is there to be asked whether {', '.join(names)} may be removed: say --yes.")
    if not yes:
        typer.confirm(f"Remove {', '.join(names)} for good?", abort=True)
    for run in chosen:
        queue.remove(run)
    if json_:
        print_json({name: "removed" for name in names})
        return
    console.print(f"Removed {', '.join(names)}.")
