"""The `crossrec train` commands: any recipe on any dataset, now or in its turn, from the start or from where it was."""

from typing import Annotated, Any, Literal

import typer

from crossrec import paths, processes
from crossrec.cli_data import (
    DEFAULT_MAX_ITEMS,
    DEFAULT_PAIR,
    Category,
    Dataset,
    Json,
    MaxItems,
    Subset,
    dataset_name,
    print_json,
)
from crossrec.console import Reporter, console, show_validation
from crossrec.stopping import Stop

Set = Annotated[list[str] | None, typer.Option("--set", help="A setting of the recipe, key=value; repeatable.")]
Seed = Annotated[int, typer.Option(min=0, help="Of weights, order, dropout and negatives.")]
Epochs = Annotated[int | None, typer.Option(help="Most passes over the data; short for --set epochs=N.")]
BatchSize = Annotated[int | None, typer.Option(help="Windows a step; short for --set batch_size=N.")]
Rate = Annotated[float | None, typer.Option("--lr", help="Learning rate; short for --set lr=X.")]
SplitKind = Annotated[
    str, typer.Option("--split", help="next-item; cold-user, cold-user-20, -50, -80; each also with -all-source.")
]
SplitSeed = Annotated[
    int | None,
    typer.Option(min=0, help="Of a cold-user split, if another than the training's: the same people for all seeds."),
]
Seeds = Annotated[
    int | None, typer.Option(min=1, help="Queue so many trainings, of --seed and those after it, on the same people.")
]
Name = Annotated[str | None, typer.Option(help="Name of the run; else made of recipe, dataset and time.")]
Queue = Annotated[bool, typer.Option("--queue", help="Put it into the queue and leave: it is trained in its turn.")]
NoTest = Annotated[
    bool, typer.Option("--no-test", help="Leave the test part alone: the run has validation figures and no others.")
]
Track = Annotated[bool, typer.Option("--track", help="Write TensorBoard files too, into the run's folder.")]
SHORTHANDS = (
    ("train-source", "source-sasrec", "Train SASRec on the source domain."),
    ("train-target-transfer", "transfer-sasrec", "Train SASRec on the target domain with a bridge from the source."),
    (
        "train-target-baseline",
        "target-sasrec",
        "Train SASRec on the target domain alone, with the same size and budget.",
    ),
)
"""System A's command, the recipe that it means, and its help."""


def train(
    recipe: Annotated[
        str | None,
        typer.Argument(
            help="popularity, popular-lately, linear-map, user-knn, item-knn, content, biases, emcdr, ptupcdr, "
            "collective-factors, racrec, autoencoder, unified, ensemble, known-ensemble, source-sasrec, target-sasrec, "
            "transfer-sasrec, policy-finetune."
        ),
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="Name of a dataset.")] = None,
    set_: Set = None,
    seed: Seed = 0,
    seeds: Seeds = None,
    split: SplitKind = "next-item",
    split_seed: SplitSeed = None,
    source_run: Annotated[
        str | None, typer.Option(help="Run that is started from, such as the source model; else the newest that fits.")
    ] = None,
    name: Name = None,
    leaky_item_vectors: Annotated[
        bool,
        typer.Option(
            "--leaky-item-vectors",
            help="racrec: let an item's vector be the review whose stars are to be told. A leak, to see what it does.",
        ),
    ] = False,
    resume: Annotated[
        str | None, typer.Option(metavar="RUN", help="Go on with a run that was stopped or failed, and nothing else.")
    ] = None,
    queue: Queue = False,
    track: Track = False,
    no_test: NoTest = False,
    json_: Json = False,
) -> None:
    """Train any recipe on a dataset, and test it. Ctrl-C stops it at a point from which it can be resumed."""
    if resume is not None:
        if recipe is not None or dataset is not None or set_ or name is not None:
            raise typer.BadParameter("A run is resumed with what it was begun with: give --resume RUN alone.")
        _resume(resume, queue, json_)
        return
    if recipe is None or dataset is None:
        raise typer.BadParameter("Name a recipe and a --dataset, or a run to --resume.")
    settings = _settings(set_) | ({"leaky_item_vectors": True} if leaky_item_vectors else {})
    _train(
        recipe, dataset, settings, seed, seeds, split, split_seed, source_run, name, queue, track, json_, not no_test
    )


def shorthand(recipe: str) -> Any:
    """System A's command for a recipe: the same training, with its spellings of the data and of the settings."""

    def command(
        dataset: Dataset = None,
        source: Category = None,
        target: Category = None,
        max_items: MaxItems = None,
        subset: Subset = "raw",
        epochs: Epochs = None,
        batch_size: BatchSize = None,
        lr: Rate = None,
        set_: Set = None,
        seed: Seed = 0,
        seeds: Seeds = None,
        split: SplitKind = "next-item",
        split_seed: SplitSeed = None,
        source_run: Annotated[str | None, typer.Option(help="Run of the source model (transfer only).")] = None,
        name: Name = None,
        queue: Queue = False,
        track: Track = False,
        json_: Json = False,
    ) -> None:
        chosen = resolve_dataset(dataset, source, target, max_items, subset, json_)
        short = {"epochs": epochs, "batch_size": batch_size, "lr": lr}
        settings = {key: value for key, value in short.items() if value is not None} | _settings(set_)
        _train(recipe, chosen, settings, seed, seeds, split, split_seed, source_run, name, queue, track, json_)

    return command


def resolve_dataset(
    dataset: str | None,
    source: str | None,
    target: str | None,
    max_items: int | None,
    subset: Literal["raw", "5core", "0core"],
    quiet: bool,
) -> str:
    """The dataset that the options mean; a pair of categories is fetched from the hub if it is not there yet."""
    name = dataset_name(dataset, source, target, max_items)
    if dataset is None and not (paths.datasets() / name).is_dir():
        from crossrec.data.hub import download_pair
        from crossrec.data.prepare import PrepareOptions

        pair = (source or DEFAULT_PAIR[0], target or DEFAULT_PAIR[1])
        options = PrepareOptions(max_events=max_items or DEFAULT_MAX_ITEMS)
        with Reporter(quiet=quiet) as report:
            download_pair(name, *pair, subset, options, on_event=report)
    return name


def _train(
    recipe: str,
    dataset: str,
    settings: dict[str, Any],
    seed: int,
    seeds: int | None,
    split: str,
    split_seed: int | None,
    source_run: str | None,
    name: str | None,
    queue: bool,
    track: bool,
    json_: bool,
    tested: bool = True,
) -> None:
    from crossrec.runs.execute import enqueue
    from crossrec.runs.execute import train as run_training
    from crossrec.runs.plan import plan

    asked = (recipe, dataset, settings)
    if queue or seeds is not None:
        # All seeds are tested on the people of the first.
        of_split = seed if split_seed is None else split_seed
        wanted = range(seed, seed + (seeds or 1))
        of_all: dict[str, Any] = {"later": True, "split_seed": of_split, "tested": tested}
        planned = [plan(*asked, one, split, source_run, track, **of_all) for one in wanted]
        names = [f"{name}-s{one}" if name and seeds else name for one in wanted]
        _show_queued([enqueue(one, called).name for one, called in zip(planned, names, strict=True)], json_)
        return
    with Stop() as stop, Reporter(quiet=json_ or not processes.is_main()) as report:
        run = run_training(*asked, seed, split, source_run, name, report, stop, track, split_seed, tested)
    _show(run, json_)


def _resume(name: str, queue: bool, json_: bool) -> None:
    from crossrec.runs import queue as waiting
    from crossrec.runs.execute import resume
    from crossrec.runs.folder import open_run

    run = open_run(name)
    if queue:
        waiting.resume(run)
        _show_queued([name], json_)
        return
    with Stop() as stop, Reporter(quiet=json_ or not processes.is_main()) as report:
        resume(run, report, stop)
    _show(run, json_)


def _show_queued(names: list[str], json_: bool) -> None:
    if json_:
        states = [{"run": name, "state": "queued"} for name in names]
        print_json(states if len(names) > 1 else states[0])
        return
    waits = f"{names[0]} waits" if len(names) == 1 else f"{', '.join(names)} wait"
    console.print(f"{waits} for its turn. `crossrec runs queue` shows the queue, `crossrec runs show {names[0]}` it.")


def _show(run: Any, json_: bool) -> None:
    from crossrec.runs.finetune import sentence

    if not processes.is_main():
        return
    metrics = run.metrics()
    if json_:
        print_json({"run": run.name, **metrics})
        return
    if run.untested:
        show_validation(run.name, metrics["valid"])
    else:
        from crossrec.console_results import show_evaluation

        show_evaluation(run.name, metrics["test"])
    fit = metrics["fit"]
    if (said := sentence(metrics)) is not None:
        console.print(said)
    console.print(
        f"{run.name}: {fit['epochs']} epochs, the best was {fit['best_epoch']}; "
        f"{fit['seconds']:.0f} s, {metrics['peak_memory_mb']:,} MiB at most."
    )


def _settings(words: list[str] | None) -> dict[str, Any]:
    from crossrec.config import pairs

    return dict(pairs(words or []))
