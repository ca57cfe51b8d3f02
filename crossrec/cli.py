"""The command line. Exit codes: 0 done, 1 a failure told in one sentence on stderr, 2 wrong usage."""

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
import typer.core

from crossrec import __version__, paths
from crossrec.console import Reporter, bars, console, show_answer, show_comparison, show_evaluation, table
from crossrec.errors import CrossrecError


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
data = typer.Typer(no_args_is_help=True, help="Make, fetch and describe datasets.")
runs = typer.Typer(no_args_is_help=True, help="Look at finished and running trainings.")
app.add_typer(data, name="data")
app.add_typer(runs, name="runs")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
Dataset = Annotated[str | None, typer.Option(help="Name of a dataset; or give --source and --target.")]
Category = Annotated[str | None, typer.Option(help="An Amazon category, such as Electronics.")]
MaxItems = Annotated[
    int | None, typer.Option("--max-items", help="Most events a domain, taken by whole users, never by rows.")
]
Set = Annotated[list[str] | None, typer.Option("--set", help="A setting of the recipe, key=value; repeatable.")]
Seed = Annotated[int, typer.Option(help="Of weights, order, dropout and negatives.")]
Epochs = Annotated[int | None, typer.Option(help="Most passes over the data; short for --set epochs=N.")]
BatchSize = Annotated[int | None, typer.Option(help="Windows a step; short for --set batch_size=N.")]
Rate = Annotated[float | None, typer.Option("--lr", help="Learning rate; short for --set lr=X.")]
SplitKind = Annotated[str, typer.Option("--split", help="next-item or cold-user.")]
Subset = Annotated[
    Literal["raw", "5core", "0core"], typer.Option(help="raw (with texts), 5core or 0core (ratings only).")
]

DEFAULT_PAIR = ("Electronics", "Video_Games")
DEFAULT_MAX_ITEMS = 300_000


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


def set_threads() -> None:
    """Threads of torch, once a process: CROSSREC_THREADS, or every core."""
    import torch

    wanted = os.environ.get("CROSSREC_THREADS", "")
    torch.set_num_threads(int(wanted) if wanted.isdigit() and int(wanted) > 0 else os.cpu_count() or 1)


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """Cross-domain recommendation that people can see, try and trust."""
    if version:
        print(__version__)
        raise typer.Exit


# --- data ------------------------------------------------------------------------------------------------------------


@data.command("import")
def data_import(
    name: Annotated[str, typer.Argument(help="Name of the new dataset.")],
    target: Annotated[Path, typer.Option(help="File of target events: CSV, JSONL, Parquet or sequences, gzip too.")],
    source: Annotated[Path | None, typer.Option(help="File of source events; without it there is one domain.")] = None,
    source_items: Annotated[Path | None, typer.Option(help="File of source item titles.")] = None,
    target_items: Annotated[Path | None, typer.Option(help="File of target item titles.")] = None,
    source_label: Annotated[str | None, typer.Option(help="What people call the source domain.")] = None,
    target_label: Annotated[str | None, typer.Option(help="What people call the target domain.")] = None,
    edition: Annotated[
        str | None, typer.Option("--format", help="2014, 2018, 2023, csv or sequences, where detection is in doubt.")
    ] = None,
    user_column: Annotated[str | None, typer.Option(help="Column of user ids (1, 2, ... without a header).")] = None,
    item_column: Annotated[str | None, typer.Option(help="Column of item ids.")] = None,
    rating_column: Annotated[str | None, typer.Option(help="Column of ratings.")] = None,
    time_column: Annotated[str | None, typer.Option(help="Column of times, seconds or milliseconds.")] = None,
    text_column: Annotated[str | None, typer.Option(help="Column of review texts.")] = None,
    k_core: Annotated[
        int, typer.Option(help="Keep users and items with at least so many events, to a fixed point.")
    ] = 1,
    overlap_only: Annotated[bool, typer.Option(help="Keep only users with events in both domains.")] = False,
    min_rating: Annotated[float | None, typer.Option(help="Drop events rated lower.")] = None,
    max_users: Annotated[int | None, typer.Option(help="Keep so many users, those in both domains first.")] = None,
    max_items: MaxItems = None,
    seed: Annotated[int, typer.Option(help="Of the choice of users under a cap.")] = 0,
    replace: Annotated[bool, typer.Option(help="Replace a dataset of this name once the new one is complete.")] = False,
    json_: Json = False,
) -> None:
    """Make a dataset from files on disk."""
    from crossrec.data.prepare import PrepareOptions, ReadOptions, describe, import_pair

    labels = None
    if source_label or target_label:
        labels = (source_label or "Source", target_label or "Target")
    with Reporter(quiet=json_) as report:
        import_pair(
            name,
            source,
            target,
            source_items=source_items,
            target_items=target_items,
            read=ReadOptions(
                format=edition,
                user_column=user_column,
                item_column=item_column,
                rating_column=rating_column,
                time_column=time_column,
                text_column=text_column,
            ),
            options=PrepareOptions(
                k_core=k_core,
                overlap_only=overlap_only,
                min_rating=min_rating,
                max_users=max_users,
                max_events=max_items,
                seed=seed,
            ),
            labels=labels,
            replace=replace,
            on_event=report,
        )
    _describe(describe(name), json_)


@data.command("download")
def data_download(
    name: Annotated[str, typer.Argument(help="Name of the new dataset.")],
    source: Annotated[str, typer.Option(help="Source category, such as Electronics.")],
    target: Annotated[str, typer.Option(help="Target category, such as Video_Games.")],
    subset: Subset = "raw",
    k_core: Annotated[
        int, typer.Option(help="Keep users and items with at least so many events, to a fixed point.")
    ] = 1,
    max_users: Annotated[int | None, typer.Option(help="Keep so many users, those in both domains first.")] = None,
    max_items: MaxItems = None,
    seed: Annotated[int, typer.Option(help="Of the choice of users under a cap.")] = 0,
    replace: Annotated[bool, typer.Option(help="Replace a dataset of this name once the new one is complete.")] = False,
    json_: Json = False,
) -> None:
    """Fetch two categories of the Amazon Reviews 2023 from the hub and make a dataset of them."""
    from crossrec.data.hub import download_pair
    from crossrec.data.prepare import PrepareOptions, describe

    options = PrepareOptions(k_core=k_core, max_users=max_users, max_events=max_items, seed=seed)
    with Reporter(quiet=json_) as report:
        download_pair(name, source, target, subset, options, on_event=report, replace=replace)
    _describe(describe(name), json_)


@data.command("describe")
def data_describe(name: str, json_: Json = False) -> None:
    """Sizes, overlap, activity and the leak reports of a dataset."""
    from crossrec.data.prepare import describe

    _describe(describe(paths.slug(name, "dataset")), json_)


@data.command("list")
def data_list(json_: Json = False) -> None:
    """The datasets on this machine."""
    from crossrec.data.prepare import list_datasets

    found = list_datasets()
    if json_:
        _print_json(found)
        return
    rows = [
        (
            m["name"],
            m["domains"]["source"]["name"],
            m["domains"]["target"]["name"],
            *map(_thousands, _sizes(m["counts"])),
        )
        for m in found
    ]
    table(("dataset", "source", "target", "users", "in both", "source events", "target events"), rows)


# --- training --------------------------------------------------------------------------------------------------------


@app.command()
def train(
    recipe: Annotated[
        str, typer.Argument(help="popularity, linear-map, source-sasrec, target-sasrec, transfer-sasrec.")
    ],
    dataset: Annotated[str, typer.Option(help="Name of a dataset.")],
    set_: Set = None,
    seed: Seed = 0,
    split: SplitKind = "next-item",
    source_run: Annotated[str | None, typer.Option(help="Run of the source model; else the newest that fits.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the run; else made of recipe, dataset and time.")] = None,
    json_: Json = False,
) -> None:
    """Train any recipe on a dataset, and test it."""
    _train(recipe, dataset, _settings(set_), seed, split, source_run, name, json_)


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
        _print_json([run.name for run in built])
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
        result = compare_dataset(_dataset_name(dataset, source, target, max_items), split, seed, on_event=report)
    _print_json(result.to_dict()) if json_ else show_comparison(result)


@app.command()
def compare(
    names: Annotated[list[str], typer.Argument(metavar="RUN RUN [RUN ...]", help="The first is the baseline.")],
    json_: Json = False,
) -> None:
    """Compare finished runs of one dataset and split, paired over users."""
    from crossrec.runs.compare import compare_runs
    from crossrec.runs.folder import open_run

    result = compare_runs([open_run(name) for name in names])
    _print_json(result.to_dict()) if json_ else show_comparison(result)


@app.command()
def evaluate(
    run: Annotated[str, typer.Argument(help="A finished run.")],
    split: Annotated[str, typer.Option("--split", help="Part of the split: test or valid.")] = "test",
    json_: Json = False,
) -> None:
    """Evaluate a finished run again; nothing is written."""
    from crossrec.runs.execute import evaluate_run
    from crossrec.runs.folder import open_run

    _, result = evaluate_run(open_run(run), split)
    _print_json({"run": run, "part": split, **result}) if json_ else show_evaluation(run, result)


@app.command()
def recommend(
    user: Annotated[str, typer.Option(help="A user id of the dataset.")],
    dataset: Dataset = None,
    source: Category = None,
    target: Category = None,
    max_items: MaxItems = None,
    run: Annotated[str | None, typer.Option(help="A finished run; else the dataset's newest of the kind.")] = None,
    use_transfer: Annotated[bool, typer.Option(help="The newest transfer run instead of the baseline.")] = False,
    k: Annotated[int, typer.Option("--k", "-k", min=1, help="How many items.")] = 10,
    fallback: Annotated[bool, typer.Option(help="Answer for an unknown user by popularity, marked as such.")] = False,
    json_: Json = False,
) -> None:
    """Recommend target items to a user."""
    from crossrec.recommend.recommender import RunRecommender
    from crossrec.runs.folder import latest, open_run

    if run is None:
        name = _dataset_name(dataset, source, target, max_items)
        recipe = "transfer-sasrec" if use_transfer else "target-sasrec"
        chosen = latest(name, recipe)
        if chosen is None:
            command = "train-target-transfer" if use_transfer else "train-target-baseline"
            raise CrossrecError(
                f"There is no finished {recipe} run on {name!r}: run `crossrec {command} --dataset {name}`."
            )
    else:
        chosen = open_run(run)
    answer = RunRecommender(chosen).for_user(user, k, fallback)
    _print_json(answer.to_dict()) if json_ else show_answer(answer)


@runs.command("list")
def runs_list(
    dataset: Annotated[str | None, typer.Option(help="Only those on this dataset.")] = None, json_: Json = False
) -> None:
    """The runs on this machine, newest first."""
    from crossrec.runs.folder import damaged_runs, list_runs

    found = [run.config() | {"status": run.status()} for run in list_runs(dataset)]
    if json_:
        _print_json(found)
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
        _print_json({"config": config, "status": status, "metrics": metrics})
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
    name = _dataset_name(dataset, source, target, max_items)
    if dataset is None and not (paths.datasets() / name).is_dir():
        from crossrec.data.hub import download_pair
        from crossrec.data.prepare import PrepareOptions

        pair = (source or DEFAULT_PAIR[0], target or DEFAULT_PAIR[1])
        options = PrepareOptions(max_events=max_items or DEFAULT_MAX_ITEMS)
        with Reporter(quiet=quiet) as report:
            download_pair(name, *pair, subset, options, on_event=report)
    return name


def _dataset_name(dataset: str | None, source: str | None, target: str | None, max_items: int | None) -> str:
    if dataset is not None:
        if source or target or max_items:
            raise CrossrecError("Give either --dataset, or --source, --target and --max-items, not both.")
        return paths.slug(dataset, "dataset")
    pair = (source or DEFAULT_PAIR[0], target or DEFAULT_PAIR[1])
    return paths.slug("-".join((*pair, str(max_items or DEFAULT_MAX_ITEMS))), "dataset")


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
        _print_json({"run": run.name, **metrics})
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


def _describe(about: dict[str, Any], json_: bool) -> None:
    from crossrec.data.split import read_leak_report

    reports = [read_leak_report(paths.datasets() / about["name"], f"{kind}-0") for kind in ("next-item", "cold-user")]
    about = about | {"leak_reports": [report for report in reports if report]}
    if json_:
        # The headline counts stand at the top level too, where a script looks first.
        _print_json(about["counts"] | about)
        return
    rows = []
    for which in ("source", "target"):
        domain, derived = about["domains"][which], about["derived"][which]
        if not domain["events"]:
            continue
        has = [word for word in ("time", "rating", "text") if domain[f"has_{word}"]]
        per_user = f"{derived['events_per_user']:.1f}"
        sizes = [_thousands(domain[key]) for key in ("users", "items", "events")]
        rows.append((which, domain["name"], *sizes, per_user, ", ".join(has) or "order only"))
    table(("", "domain", "users", "items", "events", "events a user", "known"), rows)
    counts = about["counts"]
    if counts["source_events"]:
        console.print(f"{counts['overlap_users']:,} of {counts['users']:,} users are in both domains.")
    bars([(step["step"], step.get("domain", ""), step["events"], step["dropped"]) for step in about["steps"]])
    for report in about["leak_reports"]:
        console.print(f"Split {report['split']}: {report['leaks']} leaks in {len(report['checks'])} checks.")


def _sizes(counts: dict[str, int]) -> tuple[int, ...]:
    return tuple(counts[key] for key in ("users", "overlap_users", "source_events", "target_events"))


def _thousands(number: int) -> str:
    return f"{number:,}"


def _print_json(value: Any) -> None:
    json.dump(value, sys.stdout, indent=1, ensure_ascii=False, default=asdict)
    print()
