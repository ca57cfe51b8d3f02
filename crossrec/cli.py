"""The command line. Exit codes: 0 done, 1 a failure told in one sentence on stderr, 2 wrong usage."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
import typer.core

from crossrec import __version__, paths
from crossrec.cli_data import (
    DEFAULT_MAX_ITEMS,
    DEFAULT_PAIR,
    Category,
    Dataset,
    Json,
    MaxItems,
    Subset,
    data,
    dataset_name,
    print_json,
)
from crossrec.cli_recommend import export, recommend
from crossrec.cli_text import encode
from crossrec.console import (
    Reporter,
    console,
    show_cold,
    show_comparison,
    show_evaluation,
    show_ratings,
    table,
)
from crossrec.errors import CrossrecError
from crossrec.threads import set_threads


class Commands(typer.core.TyperGroup):
    """Tells an interrupt as `main` tells every failure, instead of leaving without a word."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise CrossrecError("interrupted.") from error


app = typer.Typer(
    cls=Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
)
runs = typer.Typer(no_args_is_help=True, help="Look at finished and running trainings.")
app.add_typer(data, name="data")
app.add_typer(runs, name="runs")
app.command()(encode)

Set = Annotated[list[str] | None, typer.Option("--set", help="A setting of the recipe, key=value; repeatable.")]
Seed = Annotated[int, typer.Option(help="Of weights, order, dropout and negatives.")]
Epochs = Annotated[int | None, typer.Option(help="Most passes over the data; short for --set epochs=N.")]
BatchSize = Annotated[int | None, typer.Option(help="Windows a step; short for --set batch_size=N.")]
Rate = Annotated[float | None, typer.Option("--lr", help="Learning rate; short for --set lr=X.")]
SplitKind = Annotated[
    str, typer.Option("--split", help="next-item; cold-user, cold-user-20, -50, -80; each also with -all-source.")
]


def main() -> None:
    """Runs the command line; every failure of the user's kind becomes one sentence and exit code 1."""
    set_threads()
    try:
        app(args=dashed(sys.argv[1:]), prog_name="crossrec")
    except CrossrecError as error:
        print(f"crossrec: {error}", file=sys.stderr)
        sys.exit(1)


def dashed(words: list[str]) -> list[str]:
    """Options spelled with "_" are those with "-": --max_items 5 is --max-items 5."""
    out, options = [], True
    for word in words:
        options = options and word != "--"
        name, equals, value = word.partition("=")
        out.append(name.replace("_", "-") + equals + value if options and word.startswith("--") else word)
    return out


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """Cross-domain recommendation that people can see, try and trust."""
    if version:
        print(__version__)
        raise typer.Exit


# --- training --------------------------------------------------------------------------------------------------------


@app.command()
def train(
    recipe: Annotated[
        str,
        typer.Argument(
            help="popularity, linear-map, user-knn, content, biases, emcdr, ptupcdr, source-sasrec, target-sasrec, "
            "transfer-sasrec, racrec."
        ),
    ],
    dataset: Annotated[str, typer.Option(help="Name of a dataset.")],
    set_: Set = None,
    seed: Seed = 0,
    split: SplitKind = "next-item",
    source_run: Annotated[str | None, typer.Option(help="Run of the source model; else the newest that fits.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the run; else made of recipe, dataset and time.")] = None,
    leaky_item_vectors: Annotated[
        bool,
        typer.Option(
            "--leaky-item-vectors",
            help="racrec: let an item's vector be the review whose stars are to be told. A leak, to see what it does.",
        ),
    ] = False,
    json_: Json = False,
) -> None:
    """Train any recipe on a dataset, and test it."""
    settings = _settings(set_) | ({"leaky_item_vectors": True} if leaky_item_vectors else {})
    _train(recipe, dataset, settings, seed, split, source_run, name, json_)


def _shorthand(recipe: str) -> Any:
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
        split: SplitKind = "next-item",
        source_run: Annotated[str | None, typer.Option(help="Run of the source model (transfer only).")] = None,
        name: Annotated[str | None, typer.Option(help="Name of the run.")] = None,
        json_: Json = False,
    ) -> None:
        chosen = resolve_dataset(dataset, source, target, max_items, subset, json_)
        short = {"epochs": epochs, "batch_size": batch_size, "lr": lr}
        settings = {key: value for key, value in short.items() if value is not None} | _settings(set_)
        _train(recipe, chosen, settings, seed, split, source_run, name, json_)

    return command


app.command("train-source", help="Train SASRec on the source domain.")(_shorthand("source-sasrec"))
app.command("train-target-transfer", help="Train SASRec on the target domain with a bridge from the source.")(
    _shorthand("transfer-sasrec")
)
app.command("train-target-baseline", help="Train SASRec on the target domain alone, with the same size and budget.")(
    _shorthand("target-sasrec")
)


@app.command()
def demo(
    seed: Annotated[int, typer.Option(help="Of the worlds and the trainings.")] = 0,
    json_: Json = False,
) -> None:
    """Build the demo worlds and their runs where they are missing."""
    from crossrec.runs.demo import build

    with Reporter(quiet=json_) as report:
        built = build(seed, on_event=report)
    if json_:
        print_json([run.name for run in built])
    else:
        console.print(f"The demo is ready: {len(built)} runs in {paths.runs()}.")


@app.command()
def serve(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8501,
    headless: Annotated[bool, typer.Option(help="Do not open a browser.")] = True,
) -> None:
    """Serve the app."""
    root = Path(__file__).resolve().parent.parent
    if not (root / "app" / "streamlit_app.py").exists():
        raise CrossrecError(f"The app is not at {root / 'app'}: run this in a checkout of crossrec.")
    words = ["run", str(root / "app"), "--server.port", str(port), "--server.headless", str(headless).lower()]
    os.chdir(root)  # Streamlit reads its theme from .streamlit in the working folder
    os.execv(sys.executable, [sys.executable, "-m", "streamlit", *words])  # noqa: S606


# --- results ---------------------------------------------------------------------------------------------------------


@app.command("eval-compare")
def eval_compare(
    dataset: Dataset = None,
    source: Category = None,
    target: Category = None,
    max_items: MaxItems = None,
    split: SplitKind = "next-item",
    seed: Annotated[int, typer.Option(help="Of a cold-user split.")] = 0,
    json_: Json = False,
) -> None:
    """Compare the newest transfer run of a dataset with its baseline; trains the simple recommenders if missing."""
    from crossrec.runs.compare import compare_dataset

    with Reporter(quiet=json_) as report:
        result = compare_dataset(dataset_name(dataset, source, target, max_items), split, seed, on_event=report)
    print_json(result.to_dict()) if json_ else show_comparison(result)


@app.command("eval-cold")
def eval_cold(
    dataset: Annotated[str, typer.Option(help="Name of a dataset.")],
    split: SplitKind = "cold-user",
    seed: Annotated[int, typer.Option(help="Of the split and of what is trained.")] = 0,
    json_: Json = False,
) -> None:
    """Compare the recommenders for cold users on one split; trains the cheap ones that are missing."""
    from crossrec.runs.coldstart import compare_cold

    with Reporter(quiet=json_) as report:
        result = compare_cold(paths.slug(dataset, "dataset"), split, seed, on_event=report)
    print_json(result.to_dict()) if json_ else show_cold(result)


@app.command()
def compare(
    names: Annotated[list[str], typer.Argument(metavar="RUN RUN [RUN ...]", help="The first is the baseline.")],
    json_: Json = False,
) -> None:
    """Compare finished runs of one dataset and split, paired over users."""
    from crossrec.runs.compare import compare_runs
    from crossrec.runs.folder import open_run

    result = compare_runs([open_run(name) for name in names])
    print_json(result.to_dict()) if json_ else show_comparison(result)


@app.command()
def evaluate(
    run: Annotated[str, typer.Argument(help="A finished run.")],
    split: Annotated[str, typer.Option("--split", help="Part of the split: test or valid.")] = "test",
    json_: Json = False,
) -> None:
    """Evaluate a finished run again; nothing is written."""
    from crossrec.runs.compare import stored_rows
    from crossrec.runs.execute import evaluate_run, rate_run
    from crossrec.runs.folder import open_run

    chosen = open_run(run)
    _, result = evaluate_run(chosen, split)
    stars = rate_run(chosen, split)
    if json_:
        print_json({"run": run, "part": split, **result, "ratings": stars})
        return
    show_evaluation(run, result)
    show_ratings(stored_rows(stars, run, chosen.config()["title"]))


app.command()(recommend)
app.command()(export)


@runs.command("list")
def runs_list(
    dataset: Annotated[str | None, typer.Option(help="Only those on this dataset.")] = None, json_: Json = False
) -> None:
    """The runs on this machine, newest first."""
    from crossrec.runs.folder import damaged_runs, list_runs

    found = [run.config() | {"status": run.status()} for run in list_runs(dataset)]
    if json_:
        print_json(found)
        return
    rows = [(c["run"], c["recipe"], c["dataset"], str(c["seed"]), c["status"]["state"]) for c in found]
    table(("run", "recipe", "dataset", "seed", "state"), rows)
    for name in damaged_runs():
        console.print(f"{name} cannot be read and is left out: remove its folder in {paths.runs()}.")


@runs.command("show")
def runs_show(name: Annotated[str, typer.Argument(metavar="RUN")], json_: Json = False) -> None:
    """What a run was asked, how it went and what came out."""
    from crossrec.runs.folder import open_run

    run = open_run(name)
    config, status = run.config(), run.status()
    metrics = run.metrics() if run.finished else None
    if json_:
        print_json({"config": config, "status": status, "metrics": metrics})
        return
    rows = [(key, str(config[key])) for key in ("recipe", "dataset", "seed", "created", "git_commit", "command")]
    rows += [(key, str(value)) for key, value in config["settings"].items()]
    rows += [(key, str(value)) for key, value in status.items()]
    table(("", name), rows)
    if metrics:
        show_evaluation(name, metrics["test"])


# --- helpers ---------------------------------------------------------------------------------------------------------


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
    split: str,
    source_run: str | None,
    name: str | None,
    json_: bool,
) -> None:
    from crossrec.runs.execute import train as run_training

    with Reporter(quiet=json_) as report:
        run = run_training(recipe, dataset, settings, seed, split, source_run, name, on_event=report)
    metrics = run.metrics()
    if json_:
        print_json({"run": run.name, **metrics})
        return
    show_evaluation(run.name, metrics["test"])
    fit = metrics["fit"]
    console.print(
        f"{run.name}: {fit['epochs']} epochs, the best was {fit['best_epoch']}; "
        f"{fit['seconds']:.0f} s, {metrics['peak_memory_mb']:,} MiB at most."
    )


def _settings(words: list[str] | None) -> dict[str, Any]:
    from crossrec.config import pairs

    return dict(pairs(words or []))
