"""Ten items for everybody, and the evaluation of everybody over the whole catalogue, beside RecTools' `recommend`.

    python bench/rank.py [FILE] --rounds 3

Both answer from a SASRec of the same size that they trained for one epoch; what it learned does not matter here.
"""

import argparse
import os
import tempfile
from pathlib import Path

from generated import sequences
from harness import PEERS, ratio, section, spread, table, turns
from train import ours, peer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, nargs="?", help="sequences; without one they are invented")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--quick", action="store_true", help="one round on little data")
    asked = parser.parse_args()
    if not PEERS.exists():
        parser.error("the peers are missing: `make bench/.venv/.ready` installs them")
    with tempfile.TemporaryDirectory() as folder:
        path = asked.file or Path(folder) / "sequences.txt.gz"
        if asked.quick:
            asked.rounds, path = 1, sequences(Path(folder) / "few.txt.gz", 2_000, 1_000, 18_000)
        elif asked.file is None:
            sequences(path)
        path = path.resolve()
        mine, theirs = ours(path, "sampled", 256, asked.threads), peer(path, "BCE", 1, asked.threads)
        before = {name: steps.ask("epoch")["peak"] for name, steps in (("mine", mine), ("theirs", theirs))}
        peaks: dict[str, float] = {}

        def one(name: str) -> float:
            steps, what = (theirs, "recommend") if name == "RecTools, ten items" else (mine, QUESTIONS[name])
            told = steps.ask(what)
            peaks[name] = told["peak"]
            return float(told["seconds"])

        names = [*QUESTIONS, "RecTools, ten items"]
        for name in names:
            one(name)
        found = turns({name: lambda name=name: one(name) for name in names}, asked.rounds)
        mine.end()
        theirs.end()
    slow = found["RecTools, ten items"]
    rows = [
        [
            name,
            spread(found[name]),
            "" if found[name] is slow else f"**{ratio(slow, found[name])}**",
            f"{peaks[name]:,.0f}",
            f"{peaks[name] - before['theirs' if found[name] is slow else 'mine']:,.0f}",
        ]
        for name in names
    ]
    header = ["everybody, all items", "seconds", "RecTools takes", "peak MiB", "of these above the training's peak"]
    data = "invented sequences" if asked.file is None or asked.quick else asked.file.name
    section(
        "Ranking the whole catalogue", f"{data}, {asked.threads} threads, {asked.rounds} rounds.", table(header, rows)
    )


QUESTIONS = {
    "crossrec, ten items": "recommend",
    "crossrec, rank and metrics of the validation": "validate",
    "crossrec, the whole report of the test": "evaluate",
}

if __name__ == "__main__":
    main()
