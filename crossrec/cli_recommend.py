"""The commands that answer for a person: `crossrec recommend` and `crossrec export`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crossrec.cli_data import Category, Dataset, Json, MaxItems, dataset_name, print_json
from crossrec.console import console, show_answer, show_explanation
from crossrec.errors import CrossrecError

if TYPE_CHECKING:
    from crossrec.runs.folder import Run

EXPLAINED = 10
"""Most items of a list that are explained."""


def recommend(
    user: Annotated[str | None, typer.Option(help="A user id of the dataset.")] = None,
    review: Annotated[list[str] | None, typer.Option(help="What the person wrote; repeatable.")] = None,
    stars: Annotated[list[float] | None, typer.Option(help="Of each review in turn, 1 to 5.")] = None,
    item: Annotated[list[str] | None, typer.Option(help="Id of an item the person likes; repeatable.")] = None,
    dataset: Dataset = None,
    source: Category = None,
    target: Category = None,
    max_items: MaxItems = None,
    run: Annotated[str | None, typer.Option(help="A finished run; else the dataset's newest of the kind.")] = None,
    exported: Annotated[
        Path | None, typer.Option("--from", help="A folder that `crossrec export` wrote, in place of a run.")
    ] = None,
    use_transfer: Annotated[bool, typer.Option(help="The newest transfer run instead of the baseline.")] = False,
    k: Annotated[int, typer.Option("--k", "-k", min=1, max=100, help="How many items.")] = 10,
    explain: Annotated[bool, typer.Option(help="Tell what each item rests on.")] = False,
    fallback: Annotated[bool, typer.Option(help="Answer for an unknown user by popularity, marked as such.")] = False,
    json_: Json = False,
) -> None:
    """Recommend target items to a user, or to somebody by reviews and items; all that is given counts together."""
    from crossrec.recommend.explain import explain as explained
    from crossrec.recommend.person import Person, Review
    from crossrec.recommend.recommender import RunRecommender
    from crossrec.runs.folder import open_run

    reviews, given = review or [], stars or []
    if user is None and not reviews and not item:
        raise typer.BadParameter("give --user, --review or --item: nobody is known otherwise.")
    if given and len(given) != len(reviews):
        raise typer.BadParameter(f"--stars is given {len(given)} times and --review {len(reviews)} times.")
    if exported is not None and (run or dataset):
        raise typer.BadParameter("give either --from or a run or dataset.")
    if exported is not None:
        recommender = RunRecommender(exported)
    elif run is not None:
        recommender = RunRecommender(open_run(run))
    else:
        recommender = RunRecommender(_newest(dataset_name(dataset, source, target, max_items), use_transfer, reviews))
    found = [recommender.catalog.find(item_id) for item_id in item or []]
    person = Person(
        user_id=user,
        reviews=tuple(Review(text, given[i] if given else None) for i, text in enumerate(reviews)),
        source_items=tuple(one.item_id for one in found if one.which == "source"),
        target_items=tuple(one.item_id for one in found if one.which == "target"),
    )
    answer = recommender.ask(person, k, fallback)
    shown = answer.items[:EXPLAINED] if explain else []
    reasons = [explained(recommender, person, one.item_id, k, fallback) for one in shown]
    if json_:
        print_json(answer.to_dict() | ({"explanations": [one.to_dict() for one in reasons]} if explain else {}))
        return
    show_answer(answer)
    for one in reasons:
        show_explanation(one)


def export(
    run: Annotated[str, typer.Argument(help="A finished run.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder.")],
    json_: Json = False,
) -> None:
    """Write a run into a folder that answers reviews and items anywhere, without the data and its users."""
    from crossrec.recommend.export import export as write
    from crossrec.runs.folder import open_run

    written = write(open_run(run), folder)
    size = sum(path.stat().st_size for path in written.rglob("*") if path.is_file())
    if json_:
        print_json({"run": run, "folder": str(written), "bytes": size})
        return
    console.print(f"{run} is in {written} ({size / 1e6:,.1f} MB): crossrec recommend --from {written} --review TEXT")


def _newest(name: str, use_transfer: bool, reviews: list[str]) -> "Run":
    """The newest run of a dataset that answers what is asked: of reviews, the one that reads them."""
    from crossrec.runs.folder import latest

    if reviews and not use_transfer:
        chosen = latest(name, "racrec") or latest(name, "transfer-sasrec")
        if chosen is None:
            raise CrossrecError(
                f"There is no finished run on {name!r} that can use reviews: "
                f"run `crossrec train racrec --dataset {name}`."
            )
        return chosen
    recipe = "transfer-sasrec" if use_transfer else "target-sasrec"
    chosen = latest(name, recipe)
    if chosen is None:
        command = "train-target-transfer" if use_transfer else "train-target-baseline"
        raise CrossrecError(
            f"There is no finished {recipe} run on {name!r}: run `crossrec {command} --dataset {name}`."
        )
    return chosen
