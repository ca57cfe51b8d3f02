"""The child process that works on one task: `python -m crossrec.runs.worker run NAME`.

Its stdout and stderr are the task's log.
"""

import sys
import traceback

from crossrec.errors import CrossrecError
from crossrec.runs.queue import folder_of
from crossrec.stopping import Stop, Stopped
from crossrec.threads import set_threads, step_back


def main(what: str, name: str) -> int:
    """Works on a task until it is finished, stopped or failed; its files say which. Returns the exit code."""
    step_back()
    with Stop() as stop:
        try:
            set_threads()
            if what == "import":
                from crossrec.runs.imports import carry_out

                carry_out(folder_of(what) / name, stop)
            elif what == "demo":
                from crossrec.runs import demo_task

                demo_task.carry_out(folder_of(what) / name, stop)
            elif what == "map":
                from crossrec.runs import item_map

                item_map.carry_out(folder_of(what) / name, stop)
            else:
                from crossrec.runs.execute import resume
                from crossrec.runs.folder import open_run

                resume(open_run(name), stop=stop, expect=("queued",))
            return 0
        except Stopped as error:
            sys.stdout.write(f"{error}\n")
            return 0
        except CrossrecError as error:
            sys.stderr.write(f"{error}\n")
            return 1
        except Exception:  # noqa: BLE001  (the task says failed already; the log gets the rest)
            traceback.print_exc()
            return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
