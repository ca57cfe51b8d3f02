"""The statistics of two runs, and the leak report of a split: how long they take, and in how much memory.

    python bench/compare.py --users 100000 --events 5000000

Statistics: intervals, sign-flip tests with Holm's correction, effect sizes and who was helped, for the paired
differences of two runs in two metrics; beside `scipy.stats.bootstrap` and `permutation_test` with as many resamples,
of a tenth of the people.
The report looks through every hidden event of a leave-one-out split of two domains; beside pandas, which here counts
one of its checks.
"""

import argparse
import json
import os
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
from harness import ROOT, child, peak, ratio, seconds, section, spread, table, turns

from crossrec.data.pair import DomainPair
from crossrec.data.split import Split, leak_report, split_unstored
from crossrec.evaluation.statistics import PERMUTATIONS, RESAMPLES, paired


def differences(users: int) -> np.ndarray:
    """(2, Q) NDCG@10 and HR@10 of one run minus those of another: mostly 0, as they are."""
    rng = np.random.default_rng(0)
    hits = rng.random((2, users)) < np.array([[0.10], [0.11]])
    gains = hits / np.log2(rng.integers(1, 11, (2, users)) + 1)
    return np.stack([gains[1] - gains[0], hits[1].astype(float) - hits[0]])


def by_scipy(values: np.ndarray) -> list[tuple[float, float]]:
    from scipy import stats

    found = []
    for row in values:
        rng, batch = np.random.default_rng(0), max(1, 4_000_000 // len(row))
        many = {"batch": batch, "random_state": rng}
        interval = stats.bootstrap((row,), np.mean, n_resamples=RESAMPLES, method="percentile", **many)
        test = stats.permutation_test(
            (row,), np.mean, permutation_type="samples", n_resamples=PERMUTATIONS, vectorized=True, **many
        )
        found.append((float(interval.confidence_interval.low), float(test.pvalue)))
    return found


def made(events: int) -> tuple[DomainPair, Split]:
    """Two domains of the same people with so many events together, and their leave-one-out split."""
    from generated import pair

    each = events // 2
    one = pair(each // 10, max(100, each // 50), each)
    return one, split_unstored(one)


def by_pandas(pair: DomainPair, split: Split) -> int:
    """Source events that are shown though they came at or after what is hidden, counted the plain way."""
    asked = pd.concat([pd.DataFrame(vars(part)) for part in (split.valid, split.test)])
    now = pair.target.times[pair.target.offsets[asked["user"].to_numpy()] + asked["target_end"].to_numpy()]
    asked["now"] = now
    owner = np.repeat(np.arange(pair.n_users), pair.source.counts)
    place = np.arange(len(owner)) - pair.source.offsets[owner]
    events = pd.DataFrame({"user": owner, "place": place, "time": pair.source.times})
    both = asked.merge(events, on="user")
    shown = both[both["place"] < both["source_end"]]
    return int((shown["time"] >= shown["now"]).sum())


def one(what: str, users: int, events: int) -> dict[str, float]:
    """In a process of its own, so that its memory is its own."""
    if what.startswith("statistics"):
        values = differences(users)
        run = (lambda: paired(values)) if what.endswith("crossrec") else (lambda: by_scipy(values))
        return {"seconds": seconds(run), "peak": peak()}
    pair, split = made(events)
    # A leak to be found: one person in ten is shown one source event too many.
    late = split.test.source_end.copy()
    late[::10] = np.minimum(late[::10] + 1, pair.source.counts[split.test.user[::10]])
    split = replace(split, test=replace(split.test, source_end=late))
    before, found = peak(), list[int]()
    if what.endswith("crossrec"):
        took = seconds(lambda: found.append(leak_report(pair, split)["checks"][0]["found"]))
    else:
        took = seconds(lambda: found.append(by_pandas(pair, split)))
    return {"seconds": took, "peak": peak(), "before": before, "found": found[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--events", type=int, default=5_000_000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="one round on little data")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.quick:
        asked.users, asked.events, asked.rounds = 5_000, 100_000, 1
    if asked.one:
        print(json.dumps(one(asked.one, asked.users, asked.events)))
        return
    few, rows = max(1, asked.users // 10), []

    def ask(what: str, who: str, users: int) -> dict[str, float]:
        command = [sys.executable, __file__, "--one", f"{what} {who}", "--users", str(users)]
        command += ["--events", str(asked.events)]
        return child(command, {"PYTHONPATH": f"{ROOT}:{ROOT / 'bench'}"}).told

    pairs = {"statistics": ("SciPy", f"{few:,} people"), "leak report": ("pandas", f"{asked.events:,} events")}
    for what, (peer, size) in pairs.items():
        found = turns({who: lambda what=what, who=who: ask(what, who, few) for who in ("crossrec", peer)}, asked.rounds)
        ours, theirs = found["crossrec"], found[peer]
        assert ours[0].get("found") == theirs[0].get("found"), f"they count differently: {ours[0]}, {theirs[0]}"
        slow, fast = ([told["seconds"] for told in each] for each in (theirs, ours))
        peaks = [f"{max(told['peak'] for told in each):,.0f}" for each in (ours, theirs)]
        told = f", of which the data {ours[0]['before']:,.0f}" if "before" in ours[0] else ""
        cells = [what, size, spread(fast), peaks[0] + told, peer, spread(slow), peaks[1], f"**{ratio(slow, fast)}**"]
        rows.append(cells)
    whole = ask("statistics", "crossrec", asked.users)
    rows.insert(1, ["", f"{asked.users:,} people", f"{whole['seconds']:.2f}", f"{whole['peak']:,.0f}", "", "", "", ""])
    header = ["", "of", "crossrec, s", "MiB", "beside", "s", "MiB", "ratio"]
    section("Statistics and the leak report", f"{os.cpu_count()} cores, {asked.rounds} rounds.", table(header, rows))


if __name__ == "__main__":
    main()
