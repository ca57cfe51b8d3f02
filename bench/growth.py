"""How time and memory of training, evaluation and serving grow with items, users and length, over two decades.

    python bench/growth.py
    python bench/growth.py --largest 1600000 3000000      # items and users of one training more

Each size is a process of its own, on invented events: `target-sasrec` with its defaults (width 64, 512 negatives, 128
windows a step) trains for some seconds, ranks some people over the whole catalogue, and answers one person. `--dense`
moves whole tables in each step, as AdamW does, for comparison with the rows that crossrec moves in long tables.
"""

import argparse
import json
import os
import statistics
import sys
import time
from dataclasses import asdict, dataclass

import numpy as np
from harness import ROOT, child, peak, say, section, table

WIDTH = 64


@dataclass(frozen=True)
class Size:
    users: int
    items: int
    length: int
    """Mean events of a person; as many are looked at."""
    rows: bool = True
    """Whether long tables are moved by rows."""


def measure(size: Size, seconds: float, threads: int) -> dict[str, float]:
    """In this process: what one size takes."""
    import torch
    from generated import domain

    from crossrec.config import from_dict
    from crossrec.data.histories import Histories
    from crossrec.data.pair import Domain, DomainPair
    from crossrec.data.split import split_unstored
    from crossrec.evaluation.protocol import quick
    from crossrec.models.recommender import Recommender
    from crossrec.training import lazy
    from crossrec.training.job import Job
    from crossrec.training.loop import Control
    from crossrec.training.sequence import SequenceConfig, sasrec

    torch.set_num_threads(threads)
    if not size.rows:
        lazy.LAZY_FROM = sys.maxsize
    target = domain("target", size.users, size.items, size.users * size.length)
    nothing = Domain("nothing", 0, np.zeros_like(target.offsets), target.items[:0], None, None)
    pair = DomainPair(ROOT, {"counts": {"users": size.users}, "domains": {}}, nothing, target)
    held = peak()
    began = time.perf_counter()
    split = split_unstored(pair)
    took = {"split": time.perf_counter() - began}
    rates: list[float] = []
    kept: list[Recommender] = []

    def told(event: dict) -> None:
        if event["event"] in ("step", "epoch"):
            rates.append(event["rate"])

    def validate(recommender: Recommender) -> dict[str, float]:
        kept.append(recommender)
        took["trained peak"] = peak()
        return {"ndcg@10": 0.0, "hr@10": 0.0}

    settings = {"max_len": size.length, "loss": "sampled", "epochs": 1, "patience": 1}
    config = from_dict(SequenceConfig, settings)
    sasrec(Job(pair, split, config, 0, validate, Control(told, sample=seconds)))
    few = np.random.default_rng(0).permutation(len(split.test))[:256]
    few_split = type(split)(**{**vars(split), "valid": split.test.take(few)})
    began = time.perf_counter()
    quick(kept[-1], pair, few_split)
    took["rank"] = (time.perf_counter() - began) / len(few)
    asked = []
    for user in few[:20]:
        began = time.perf_counter()
        kept[-1].recommend(Histories.of([[]], [target.sequence(int(user))[-size.length :].tolist()]), 10)
        asked.append(time.perf_counter() - began)
    took["answer"] = statistics.median(asked)
    windows = statistics.median(rates[1:] or rates)
    return {
        **took,
        "step": config.batch_size / windows,
        "epoch": int((split.target_train_end > 0).sum()) / windows,
        "events": len(target.items),
        "events peak": held,
        "peak": peak(),
    }


def grown(sizes: list[Size], seconds: float, threads: int) -> list[dict[str, float]]:
    found = []
    for size in sizes:
        command = [sys.executable, __file__, "--one", json.dumps(asdict(size)), "--seconds", str(seconds)]
        ran = child([*command, "--threads", str(threads)], {"PYTHONPATH": f"{ROOT}:{ROOT / 'bench'}"})
        found.append(ran.told)
        say(f"  {size}: {ran.told}")
    return found


def rows_of(sizes: list[Size], found: list[dict[str, float]]) -> list[list[str]]:
    return [
        [
            f"{size.users:,}",
            f"{size.items:,}",
            f"{size.length:,}",
            f"{one['events']:,.0f}",
            f"{1000 * one['step']:,.1f}",
            f"{one['epoch']:,.0f}",
            f"{1000 * one['rank']:,.2f}",
            f"{1000 * one['answer']:,.1f}",
            f"{one['events peak']:,.0f}",
            f"{one['trained peak']:,.0f}",
        ]
        for size, one in zip(sizes, found, strict=True)
    ]


LENGTHS = ((20_000, 10), (5_000, 100), (1_000, 1_000))
"""People and their events."""
HEADER = ["users", "items", "length", "events", "ms a step", "s an epoch", "ms to rank a person"]
HEADER += ["ms for ten items", "MiB with the events", "MiB at the end of training"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=15, help="of training of each size")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--largest", type=int, nargs=2, metavar=("ITEMS", "USERS"))
    parser.add_argument("--quick", action="store_true", help="small sizes, seconds of each")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(measure(Size(**json.loads(asked.one)), asked.seconds, asked.threads)))
        return
    small = 10 if asked.quick else 1
    seconds = 2 if asked.quick else asked.seconds

    def section_of(sizes: list[Size]) -> str:
        return table(HEADER, rows_of(sizes, grown(sizes, seconds, asked.threads)))

    items = [Size(20_000 // small, n // small, 10) for n in (10_000, 100_000, 1_000_000)]
    parts = ["By items:", section_of(items)]
    dense = [Size(s.users, s.items, s.length, rows=False) for s in items]
    parts += ["By items, every row moved in every step:", section_of(dense)]
    parts += ["By people:", section_of([Size(n // small, 50_000, 10) for n in (20_000, 200_000, 2_000_000)])]
    parts += ["By length:", section_of([Size(u // small, 50_000 // small, n) for u, n in LENGTHS])]
    if asked.largest:
        parts += ["The largest:", section_of([Size(asked.largest[1], asked.largest[0], 10)])]
    section("Growth", f"{asked.threads} threads; width {WIDTH}, 128 windows a step, 512 negatives.", *parts)


if __name__ == "__main__":
    main()
