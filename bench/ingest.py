"""Reviews of the 2023 edition, a JSON object a line, to a prepared dataset; beside the usual way with pandas.

    python bench/ingest.py --reviews 500000 1000000 2000000 4000000 8000000 --peer 500000 2000000

The reviews are invented: popular and rare items, people with few and many, some hundred letters each. Both ways drop
ratings of 0, keep the earliest of repeated pairs, take the 5-core, and write events with their texts, users and items;
what is left must be the same.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from harness import ROOT, Ran, child, ratio, say, section, spread, table

K = 5
WAYS = ("loop", "chunks")
"""Of reading with pandas: line by line, as most tutorials do, and with its own reader in portions."""
WORDS = 4_000
"""Different portions of text that reviews are put together from."""


def write(path: Path, reviews: int, seed: int = 0) -> Path:
    """A file of reviews: a user for ten of them, an item for forty, the k-th of these drawn by 1 / (k + 10)."""
    rng = np.random.default_rng(seed)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    vocabulary = ["".join(rng.choice(letters, n)) for n in rng.integers(2, 11, 3_000)]
    portions = [" ".join(rng.choice(vocabulary, n)) for n in rng.integers(5, 60, WORDS)]
    popularity = np.cumsum(1 / (np.arange(max(1, reviews // 40)) + 10))
    with path.open("w") as file:
        for start in range(0, reviews, 100_000):
            n = min(100_000, reviews - start)
            users = (rng.pareto(1.5, n) * reviews / 30).astype(np.int64) % max(1, reviews // 10)
            items = np.searchsorted(popularity, rng.random(n) * popularity[-1])
            stars = rng.choice([0, 1, 2, 3, 4, 5], n, p=[0.001, 0.06, 0.05, 0.08, 0.18, 0.629])
            times = rng.integers(1_300_000_000_000, 1_690_000_000_000, n)
            first, second, title = rng.integers(0, WORDS, (3, n))
            file.writelines(
                f'{{"rating": {star}.0, "title": "{portions[t][:40]}", "text": "{portions[a]} {portions[b]}", '
                f'"images": [], "asin": "B{item:09}", "parent_asin": "B{item:09}", "user_id": "A{user:027}", '
                f'"timestamp": {time}, '
                f'"helpful_vote": 0, "verified_purchase": true}}\n'
                for star, t, a, b, item, user, time in zip(
                    *(x.tolist() for x in (stars, title, first, second, items, users, times)), strict=True
                )
            )
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reviews", type=int, nargs="+", default=[500_000, 1_000_000, 2_000_000, 4_000_000, 8_000_000])
    parser.add_argument("--peer", type=int, nargs="*", default=[500_000, 2_000_000], help="sizes for pandas as well")
    parser.add_argument("--rounds", type=int, default=2, help="in turns, of the sizes that pandas gets")
    parser.add_argument("--quick", action="store_true", help="one round of small files")
    asked = parser.parse_args()
    if asked.quick:
        asked.reviews, asked.peer, asked.rounds = [20_000, 50_000], [20_000], 1
    rows = []
    for reviews in asked.reviews:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            if shutil.disk_usage(folder).free < 4_000 * reviews:
                say(f"{reviews:,}: the disk has less than {4_000 * reviews / 1e9:.0f} GB free")
                continue
            path = write(folder / "reviews.jsonl", reviews)
            env = {"PYTHONPATH": str(ROOT), "CROSSREC_HOME": str(folder / "home")}
            ours: list[Ran] = []
            theirs: dict[str, list[Ran]] = {way: [] for way in (WAYS if reviews in asked.peer else ())}
            for number in range(asked.rounds if theirs else 1):
                command = ["-m", "crossrec", "data", "import", f"made-{number}", "--target", path, "--k-core", str(K)]
                ours.append(child([sys.executable, *command, "--json"], env))
                say(f"  {reviews:,}, crossrec: {ours[-1].seconds:.1f} s, {ours[-1].peak:,.0f} MiB")
                made = json.loads((folder / "home" / "datasets" / f"made-{number}" / "dataset.json").read_text())
                shutil.rmtree(folder / "home")
                for way, runs in theirs.items():
                    (folder / "peer").mkdir()
                    peer = ROOT / "bench" / "peers" / "pandas_ingest.py"
                    runs.append(child([sys.executable, peer, path, folder / "peer", str(K), way]))
                    say(f"  {reviews:,}, pandas, {way}: {runs[-1].seconds:.1f} s, {runs[-1].peak:,.0f} MiB")
                    shutil.rmtree(folder / "peer")
                    counts = {one: made["counts"][f"target_{one}"] for one in ("users", "items", "events")}
                    assert counts == runs[-1].told, f"not the same: {counts} and {runs[-1].told}"
            size = path.stat().st_size / 1e9
        took = [one.seconds for one in ours]
        beside = []
        for way in WAYS:
            runs = theirs.get(way, [])
            slow = [one.seconds for one in runs]
            beside += (
                [spread(slow, 1), f"{max(one.peak for one in runs):,.0f}", f"**{ratio(slow, took)}**"]
                if runs
                else [""] * 3
            )
        rows.append(
            [
                f"{reviews:,}",
                f"{size:.2f}",
                f"{made['counts']['target_events']:,}",
                spread(took, 1),
                f"{reviews / min(took):,.0f}",
                f"{max(one.peak for one in ours):,.0f}",
                *beside,
            ]
        )
    header = ["reviews", "GB", "events left", "crossrec, s", "reviews a second", "MiB"]
    header += [cell for way in WAYS for cell in (f"pandas, {way}, s", "MiB", "ratio")]
    section("From a file of reviews to a dataset", f"{os.cpu_count()} cores; whole processes.", table(header, rows))


if __name__ == "__main__":
    main()
