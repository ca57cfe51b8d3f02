"""Runs every measurement, one after the other, and writes `results.md`: `make bench`, or

    python bench/all.py --data FOLDER --home HOME [--quick] [--only train rank ...]

FOLDER may hold `beauty_sequences.txt.gz` (a user and their items a line) and reviews of the 2023 edition as *.jsonl;
what is not there is invented. HOME is a folder of artifacts with the demo; without one the pages are not measured. A
measurement that fails is told as such and stops nothing. `--only` leaves the other sections as they are.
"""

import argparse
import datetime
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from harness import PEERS, ROOT, say

RESULTS = ROOT / "bench" / "results.md"
SEQUENCES = "beauty_sequences.txt.gz"
VERSIONS = ("torch", "numpy", "pandas", "duckdb", "streamlit", "accelerate")


def commands(data: Path | None, home: Path | None) -> dict[str, list[str]]:
    """{name: words after the interpreter} in the order in which they run."""
    sequences = [] if data is None or not (data / SEQUENCES).exists() else [str(data / SEQUENCES)]
    reviews = [] if data is None or not any(data.rglob("*.jsonl*")) else [str(data)]
    found = {
        "train": ["train.py", *sequences],
        "rank": ["rank.py", *sequences],
        "ingest": ["ingest.py"],
        "encode": ["encode.py", *reviews],
        "topk": ["topk.py"],
        "compare": ["compare.py"],
        "growth": ["growth.py", "--largest", "1600000", "3000000"],
    }
    return found if home is None else found | {"pages": ["pages.py", str(home)]}


def machine() -> str:
    """What the figures are of."""
    cpu = (
        re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text()) if Path("/proc/cpuinfo").exists() else None
    )
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout
    used = ", ".join(f"{name} {version(name)}" for name in VERSIONS)
    return (
        f"{os.cpu_count()} cores ({cpu[1] if cpu else platform.machine()}), {pages:.0f} GiB, {platform.system()}, "
        f"Python {platform.python_version()}; {used}; commit {commit.strip() or 'unknown'}; "
        f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}."
    )


def placed(word: str) -> str:
    """A word of a command without where this machine keeps things."""
    path = Path(word)
    return word if not path.is_absolute() else "FILE" if path.is_file() else "FOLDER"


def old_sections() -> dict[str, str]:
    """{name: text} of the results that are there."""
    text = RESULTS.read_text() if RESULTS.exists() else ""
    return {m[1]: m[0].strip() for m in re.finditer(r"<!-- (\w+) -->.*?(?=<!-- \w+ -->|\Z)", text, re.DOTALL)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--home", type=Path)
    parser.add_argument("--quick", action="store_true", help="small sizes, one round: to see that all run")
    parser.add_argument("--only", nargs="+", metavar="NAME")
    asked = parser.parse_args()
    known = commands(asked.data and asked.data.resolve(), asked.home and asked.home.resolve())
    unknown = set(asked.only or ()) - set(known)
    if unknown:
        parser.error(f"there is no measurement {sorted(unknown)[0]!r}; known here are {', '.join(known)}")
    kept = {} if asked.quick else old_sections()
    failed = []
    with tempfile.TemporaryDirectory() as home:
        env = os.environ | {"PYTHONPATH": str(ROOT), "CROSSREC_HOME": home}
        for name, words in known.items():
            if asked.only and name not in asked.only:
                continue
            say(f"{name}:")
            began = time.monotonic()
            command = [sys.executable, str(ROOT / "bench" / words[0]), *words[1:], *["--quick"] * asked.quick]
            ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=env)
            shown = [placed(word) for word in words]
            took = f"{(time.monotonic() - began) / 60:.0f} minutes"
            if ran.returncode:
                failed.append(name)
                text = f"## {name}\n\nNot measured: `{words[0]}` failed."
            else:
                text = f"{ran.stdout.strip()}\n\n`python bench/{' '.join(shown)}`, {took}."
            kept[name] = f"<!-- {name} -->\n\n{text}\n\n{machine()}"
    order = [name for name in known if name in kept] + [name for name in kept if name not in known]
    whole = "\n\n".join(["# What was measured", *(kept[name] for name in order)]) + "\n"
    if asked.quick:
        print(whole)
    else:
        RESULTS.write_text(whole)
    if not PEERS.exists():
        say("The peers are missing: `make bench` installs them.")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
