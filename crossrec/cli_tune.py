"""The `crossrec tune` command: a small search for settings, of which one run is tested."""

from typing import Annotated, Any

import typer

from crossrec.cli_data import Json, print_json
from crossrec.cli_train import Seed, Set, SplitKind, SplitSeed
from crossrec.console import Reporter, console, table
from crossrec.stopping import Stop


def tune(
    recipe: Annotated[str, typer.Argument(help="A recipe with settings worth a search, such as ensemble.")],
    dataset: Annotated[str, typer.Option(help="Name of a dataset.")],
    trials: Annotated[int, typer.Option(min=1, help="How many settings are tried, the defaults first.")],
    set_: Set = None,
    seed: Seed = 0,
    split: SplitKind = "next-item",
    split_seed: SplitSeed = None,
    source_run: Annotated[
        str | None, typer.Option(help="Run that is started from, such as the source model; else the newest that fits.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the search; the same name goes on with it.")] = None,
    json_: Json = False,
) -> None:
    """Search settings of a recipe by validation, and test the winner once. What --set fixes is not searched.

    Every trial is a run that leaves the test part alone. Ctrl-C stops it; the same command goes on.
    """
    from crossrec.config import pairs
    from crossrec.runs.search import search

    fixed: dict[str, Any] = dict(pairs(set_ or []))
    with Stop() as stop, Reporter(quiet=json_) as report:
        found = search(recipe, dataset, trials, fixed, seed, split, split_seed, source_run, name, report, stop)
    if json_:
        print_json(found.to_dict())
        return
    names = list(found.best.settings)
    rows = [
        (
            str(trial.number) + (" *" if trial is found.best else ""),
            "" if trial.score is None else f"{abs(trial.score):.4f}",
            *(str(trial.settings[name]) for name in names),
            "" if trial.seconds is None else f"{trial.seconds:.1f} s",
            trial.error or trial.run,
        )
        for trial in found.trials
    ]
    table(("trial", f"validation {found.measure}", *names, "trained", "run"), rows)
    console.print(f"\n{found.sentence}")
