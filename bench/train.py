"""SASRec: seconds an epoch and time to a quality, beside RecTools, epoch by epoch in turns.

    python bench/train.py [FILE] --epochs 2 --until 6

FILE holds sequences, a user and their items a line; without one, sequences as many as Beauty's are invented. Both train
on the same machine, data, width (64), blocks (2), heads (1), length (50), batch (256), dropout (0.2) and threads. The
peer is in the environment that `requirements.txt` describes. `--until N` trains the peer for N epochs with its
quicker loss, and tells after how many seconds ours is as good on the validation people.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

from generated import sequences
from harness import PEERS, ROOT, Steps, ratio, say, section, spread, table, turns

OURS = ROOT / "bench" / "sasrec_steps.py"
PEER = ROOT / "bench" / "peers" / "rectools_sasrec.py"
DEFAULT = "crossrec, softmax over shared negatives"
LOSSES = {  # name: ours and the peer's, with negatives
    "BCE": (("bce", 1), ("BCE", 1)),
    "gBCE": (("gbce", 256), ("gBCE", 256)),
    "softmax": (("sampled", 256), ("sampled_softmax", 256)),
}


def ours(path: Path, loss: str, negatives: int, threads: int, *settings: str) -> Steps:
    command = [sys.executable, OURS, path, loss, str(negatives), str(threads), *settings]
    return Steps(command, {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(threads)})


def peer(path: Path, loss: str, negatives: int, threads: int) -> Steps:
    return Steps([PEERS, PEER, path, loss, str(negatives), str(threads)], {"OMP_NUM_THREADS": str(threads)})


def epochs(path: Path, losses: list[str], rounds: int, threads: int) -> str:
    """Seconds an epoch of each loss, ours and the peer's in turns."""
    rows, default = [], list[float]()
    for name in losses:
        mine, theirs = LOSSES[name]
        say(f"{name}:")
        pair = {"crossrec": ours(path, *mine, threads), "RecTools": peer(path, *theirs, threads)}
        runs = {**pair, DEFAULT: ours(path, "sampled", 256, threads)}
        peaks: dict[str, float] = {}

        def one(who: str, runs: dict[str, Steps] = runs, peaks: dict[str, float] = peaks) -> float:
            told = runs[who].ask("epoch")
            peaks[who] = told["peak"]
            return float(told["seconds"])

        for who in runs:
            if who != "RecTools":  # a first epoch of ours is so short that what happens once would count
                one(who)
        found = turns({who: lambda who=who: one(who) for who in runs}, rounds)
        for steps in runs.values():
            steps.end()
        default += found[DEFAULT]
        rows.append(
            [
                f"{name}, {mine[1]} negative{'s' * (mine[1] > 1)}",
                spread(found["crossrec"]),
                spread(found["RecTools"], 1),
                f"**{ratio(found['RecTools'], found['crossrec'])}**",
                f"**{ratio(found['RecTools'], found[DEFAULT])}**",
                f"{peaks['crossrec']:,.0f}",
                f"{peaks['RecTools']:,.0f}",
            ]
        )
    header = ["loss of both", "crossrec, s an epoch", "RecTools 0.19", "ratio", "ratio to crossrec's default loss"]
    told = f"crossrec's default loss, the softmax over 256 negatives that a batch shares: {spread(default)} s an epoch."
    return table([*header, "crossrec, MiB", "RecTools, MiB"], rows) + f"\n\n{told}"


def quality(path: Path, most: int, threads: int) -> str:
    """How long each takes to what the peer comes to."""
    say("time to a quality:")
    theirs = peer(path, "BCE", 1, threads)
    took, reached = [0.0], [0.0]
    for epoch in range(1, most + 1):
        took.append(took[-1] + theirs.ask("epoch")["seconds"])
        reached.append(theirs.ask("validate")["ndcg"])
        say(f"  RecTools, epoch {epoch}: {took[-1]:.0f} s, NDCG@10 {reached[-1]:.4f}")
    theirs.end()
    best = max(range(len(reached)), key=reached.__getitem__)
    mine, spent, found, epoch = ours(path, "sampled", 256, threads), 0.0, 0.0, 0
    while found < reached[best] and spent < took[best]:
        spent, epoch = spent + mine.ask("epoch")["seconds"], epoch + 1
        found = mine.ask("validate")["ndcg"]
        say(f"  crossrec, epoch {epoch}: {spent:.1f} s, NDCG@10 {found:.4f}")
    mine.end()
    return (
        f"Validation NDCG@10 of RecTools (BCE, 1 negative), best of {most} epochs: {reached[best]:.4f} after "
        f"{took[best]:,.0f} s. crossrec is at {found:.4f} after {spent:,.1f} s, epoch {epoch}: "
        f"**{took[best] / spent:,.0f} times sooner**. (Training alone is counted.)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, nargs="?")
    parser.add_argument("--epochs", type=int, default=2, help="rounds of one epoch each")
    parser.add_argument(
        "--losses", nargs="+", choices=LOSSES, default=["BCE"], help="gBCE and softmax take the peer minutes an epoch"
    )
    parser.add_argument("--until", type=int, default=6, help="epochs of the peer for the time to a quality; 0 for none")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--quick", action="store_true", help="one round on little data")
    asked = parser.parse_args()
    if not PEERS.exists():
        parser.error("the peers are missing: `make bench/.venv/.ready` installs them")
    with tempfile.TemporaryDirectory() as folder:
        path = asked.file or Path(folder) / "sequences.txt.gz"
        if asked.quick:
            asked.epochs, asked.until, asked.losses = 1, min(asked.until, 1), ["BCE"]
            path = sequences(Path(folder) / "few.txt.gz", 2_000, 1_000, 18_000)
        elif asked.file is None:
            sequences(path)
        parts = [epochs(path.resolve(), asked.losses, asked.epochs, asked.threads)]
        if asked.until:
            parts.append(quality(path.resolve(), asked.until, asked.threads))
    data = "invented sequences" if asked.file is None or asked.quick else asked.file.name
    about = f"{data}, {asked.threads} threads, {asked.epochs} rounds in turns; median (least to most)."
    section("Training SASRec", about, *parts)


if __name__ == "__main__":
    main()
