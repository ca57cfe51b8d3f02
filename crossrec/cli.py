"""The command line. Exit codes: 0 done, 1 a failure told in one sentence on stderr, 2 wrong usage."""

import io
import os
import sys
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core

from crossrec import __version__, paths, processes
from crossrec.cli_data import Category, Dataset, Json, MaxItems, data, dataset_name, print_json
from crossrec.cli_feedback import feedback, rl_demo
from crossrec.cli_recommend import export, recommend
from crossrec.cli_runs import runs
from crossrec.cli_text import encode
from crossrec.cli_train import SHORTHANDS, SplitKind, shorthand, train
from crossrec.cli_tune import tune
from crossrec.console import Reporter, console
from crossrec.errors import CrossrecError
from crossrec.stopping import Stop, Stopped
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
app.add_typer(data, name="data")
app.add_typer(runs, name="runs")
app.add_typer(feedback, name="feedback")
app.command()(encode)


LIGHT = ("data", "runs", "serve", "--version")
"""Commands that compute nothing with torch, which takes a second to load; a server sets its own threads."""


def main() -> None:
    """Runs the command line; every failure of the user's kind becomes one sentence and exit code 1."""
    if sys.argv[1:] and sys.argv[1] not in LIGHT and "--help" not in sys.argv:
        set_threads()
    try:
        # Of several processes one speaks; what another says is said where it fails alone.
        with nullcontext() if processes.is_main() else redirect_stdout(io.StringIO()):
            app(args=dashed(sys.argv[1:]), prog_name="crossrec")
    except CrossrecError as error:
        if processes.is_main() or not isinstance(error, Stopped):
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


app.command()(train)
for _verb, _recipe, _help in SHORTHANDS:
    app.command(_verb, help=_help)(shorthand(_recipe))
app.command()(tune)


@app.command()
def demo(
    seed: Annotated[int, typer.Option(help="Of the worlds and the trainings.")] = 0,
    json_: Json = False,
) -> None:
    """Build the demo worlds and their runs where they are missing."""
    from crossrec.runs import demo_task
    from crossrec.runs.demo import build

    if demo_task.under_way():
        raise CrossrecError("The demo is being built behind the app: `crossrec runs queue` tells how far it is.")
    try:
        with Stop() as stop, Reporter(quiet=json_) as report:
            built = build(seed, on_event=report, stop=stop)
    except Stopped as error:
        raise CrossrecError("The demo is not complete: `crossrec demo` goes on where it was stopped.") from error
    if json_:
        print_json([run.name for run in built])
    else:
        console.print(f"The demo is ready: {len(built)} runs in {paths.runs()}.")


@app.command()
def serve(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8501,
    address: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 opens it to the network.")] = "127.0.0.1",
    headless: Annotated[bool, typer.Option(help="Do not open a browser.")] = True,
    demo: Annotated[bool, typer.Option("--demo", help="Build the demo behind it, where it is missing.")] = False,
) -> None:
    """Serve the app."""
    if not (paths.ROOT / "app" / "streamlit_app.py").exists():
        raise CrossrecError(
            f"The app is not in {paths.ROOT}, where only a copy of the package is: install the checkout itself by "
            "`pip install -r requirements.txt`."
        )
    words = ["run", str(paths.ROOT / "app"), "--server.port", str(port), "--server.address", address]
    words += ["--server.headless", str(headless).lower()]
    if demo:
        from crossrec.runs import demo_task

        demo_task.enqueue()
    os.chdir(paths.ROOT)  # Streamlit reads its theme from .streamlit in the working folder
    os.execv(sys.executable, [sys.executable, "-m", "streamlit", *words])  # noqa: S606


# --- results ---------------------------------------------------------------------------------------------------------


Html = Annotated[
    Path | None, typer.Option("--html", metavar="FILE", help="Write a page that stands alone, with the charts.")
]


def _check_place(html: Path | None) -> None:
    """What cannot be written is told before anything is worked out."""
    if html is not None:
        from crossrec.report.html import check_place

        check_place(html)


def _tell(result: Any, show: Any, json_: bool, html: Path | None) -> None:
    """The result on stdout, and as a page where one is wanted."""
    if html is not None:
        from crossrec.report.html import write_html

        write_html(result, html)
    print_json(result.to_dict()) if json_ else show(result)
    if html is not None and not json_:
        console.print(f"\nWritten to {html}.")


@app.command("eval-compare")
def eval_compare(
    dataset: Dataset = None,
    source: Category = None,
    target: Category = None,
    max_items: MaxItems = None,
    split: SplitKind = "next-item",
    seed: Annotated[int, typer.Option(help="Of a cold-user split.")] = 0,
    json_: Json = False,
    html: Html = None,
) -> None:
    """Compare the newest transfer run of a dataset with its baseline; trains the simple recommenders if missing."""
    from crossrec.console_results import show_comparison
    from crossrec.runs.compare import compare_dataset

    _check_place(html)
    with Reporter(quiet=json_) as report:
        result = compare_dataset(dataset_name(dataset, source, target, max_items), split, seed, on_event=report)
    _tell(result, show_comparison, json_, html)


@app.command("eval-cold")
def eval_cold(
    dataset: Annotated[str, typer.Option(help="Name of a dataset.")],
    split: SplitKind = "cold-user",
    seed: Annotated[int, typer.Option(help="Of the split and of what is trained.")] = 0,
    json_: Json = False,
    html: Html = None,
) -> None:
    """Compare the recommenders for cold users on one split; trains the cheap ones that are missing."""
    from crossrec.console_results import show_cold
    from crossrec.runs.coldstart import compare_cold

    _check_place(html)
    with Reporter(quiet=json_) as report:
        result = compare_cold(paths.slug(dataset, "dataset"), split, seed, on_event=report)
    _tell(result, show_cold, json_, html)


@app.command()
def compare(
    names: Annotated[list[str], typer.Argument(metavar="RUN RUN [RUN ...]", help="The first is the baseline.")],
    json_: Json = False,
    html: Html = None,
) -> None:
    """Compare finished runs of one dataset and split, paired over users; asks the controls that were not asked."""
    from crossrec.console_results import show_comparison
    from crossrec.runs.compare import ask_missing, compare_runs, sides_of
    from crossrec.runs.folder import open_run

    _check_place(html)
    chosen = [open_run(name) for name in names]
    sides_of(chosen)  # what cannot be compared is told before anything is asked
    with Reporter(quiet=json_) as report:
        ask_missing(chosen, report)
    _tell(compare_runs(chosen), show_comparison, json_, html)


@app.command()
def evaluate(
    run: Annotated[str, typer.Argument(help="A finished run.")],
    split: Annotated[str, typer.Option("--split", help="Part of the split: test or valid.")] = "test",
    control: Annotated[
        str | None, typer.Option(help="Take something away: placebo, shuffled-order or no-source.")
    ] = None,
    json_: Json = False,
) -> None:
    """Evaluate a finished run again, as it is or under a control; nothing is written."""
    from crossrec.console_results import show_control, show_evaluation, show_ratings
    from crossrec.evaluation.statistics import rounded
    from crossrec.runs import controls
    from crossrec.runs.compare import stored_rows
    from crossrec.runs.execute import evaluate_run, load, rate_run
    from crossrec.runs.folder import open_run

    chosen = open_run(run)
    if control is not None:
        recommender, pair, parts = load(chosen)
        found = controls.under(recommender, pair, parts.part(split), control)
        if json_:
            metrics = {m: {k: rounded(v) for k, v in of.items()} for m, of in found["metrics"].items()}
            print_json({"run": run, "part": split, "control": control, "users": found["users"], "metrics": metrics})
        else:
            show_control(run, control, found)
        return
    _, result = evaluate_run(chosen, split)
    stars = rate_run(chosen, split)
    if json_:
        print_json({"run": run, "part": split, **result, "ratings": stars})
        return
    show_evaluation(run, result)
    show_ratings(stored_rows(stars, run, chosen.config()["title"]))


app.command()(recommend)
app.command()(export)
app.command("rl-demo")(rl_demo)
