"""The `crossrec encode` command: the vectors of a dataset's reviews and titles, ahead of a training that wants them."""

from typing import Annotated, Any

import typer

from crossrec.cli_data import Json, print_json
from crossrec.console import Reporter, console


def encode(
    dataset: Annotated[str, typer.Argument(help="Name of a dataset.")],
    encoder: Annotated[
        str, typer.Option(help="minilm, static, distilbert, a local folder of a model, or a hub id org/model.")
    ] = "minilm",
    json_: Json = False,
) -> None:
    """Encode the reviews and titles of a dataset; only texts that were never encoded take time."""
    from crossrec.data.pair import DomainPair
    from crossrec.text.dataset import with_vectors
    from crossrec.threads import every_core

    about: dict[str, Any] = {}

    with Reporter(quiet=json_) as report, every_core():

        def heard(event: dict[str, Any]) -> None:
            if event["event"] == "encoded":
                about.update(event)
            report(event)

        pair = with_vectors(DomainPair.open(dataset), encoder, on_event=heard)
    assert pair.vectors is not None
    about |= {"dataset": dataset, "encoder": encoder, "key": pair.vectors.key, "width": pair.vectors.width}
    about["texts_per_second"] = about["new"] / about["seconds"] if about["new"] else None
    del about["event"]
    if json_:
        print_json(about)
        return
    console.print(f"{dataset}: {about['texts']:,} texts, {about['distinct']:,} of them different.")
    if about["new"]:
        console.print(
            f"{about['new']:,} were new and took {about['seconds']:.1f} s, {about['texts_per_second']:,.0f} a second."
        )
    else:
        console.print("None was new.")
    console.print(f"Vectors of {about['width']} numbers are in {about['folder']}.")
