"""The commands of the feedback loop."""

from typing import Annotated, Any

import typer

from crossrec import paths
from crossrec.cli_data import Json, print_json
from crossrec.console import Reporter, console, table

SHOWN = {
    "reward": "Reward a slate",
    "late_reward": "in the last fifth",
    "regret": "Regret to the oracle",
    "entropy": "Entropy in nats",
    "themes": "Themes a slate",
}
"""Measures of the table, and how they are called."""


def rl_demo(
    dataset: Annotated[str, typer.Option(help="A demo dataset, whose people's true taste is known.")] = "demo",
    steps: Annotated[int, typer.Option(min=1, help="Slates that each policy plays with each person.")] = 500,
    seeds: Annotated[int, typer.Option(min=2, help="People; each is played with by every policy.")] = 20,
    run: Annotated[str | None, typer.Option(help="Run whose scores the policies start from.")] = None,
    json_: Json = False,
) -> None:
    """Let a policy learn from the clicks of simulated people, beside policies that do not."""
    from crossrec.feedback.demo import rl_demo as play

    with Reporter(quiet=json_) as report:
        found = play(paths.slug(dataset, "dataset"), steps, seeds, report, run)
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
