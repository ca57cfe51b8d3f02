"""A worker that does next to nothing, for tests of the queue: `python light_worker.py KIND NAME`.

What it does is in the task's settings: {"seconds": wait that long, "exit": leave with this code, "before": without
having claimed anything}. It writes one line with its times into `ledger` beside the tasks.
"""

import json
import os
import sys
import time

from crossrec.errors import CrossrecError
from crossrec.runs.queue import folder_of
from crossrec.runs.task import TaskWriter
from crossrec.stopping import Stop, Stopped


def main(what: str, name: str) -> int:
    folder = folder_of(what) / name
    settings = json.loads((folder / "config.json").read_text()).get("settings", {})
    if settings.get("before"):
        sys.stderr.write("no such module\n")
        return 3
    try:
        with Stop() as stop, TaskWriter(folder, expect=("queued",)) as writer:
            began = time.time()
            if settings.get("deaf"):
                with stop.polled():
                    time.sleep(settings["seconds"])
                    stop.wished = False
            try:
                time.sleep(settings.get("seconds", 0))
            except Stopped:
                writer.end("stopped")
                return 0
            if "exit" in settings:
                sys.stderr.write("out of luck\n")
                os._exit(settings["exit"])
            with (folder.parent.parent / "ledger").open("a") as ledger:
                ledger.write(f"{name} {began} {time.time()}\n")
            writer.end("finished")
    except CrossrecError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
