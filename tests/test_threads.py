"""Cores: all but one, all for a while, or as many as were asked for."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from crossrec.threads import NICENESS, every_core


@pytest.mark.parametrize(("asked", "inside"), [(None, 4), ("3", 3), ("0", 4), ("many", 4)])
def test_every_core_is_taken_for_a_while(monkeypatch: pytest.MonkeyPatch, asked: str | None, inside: int) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.delenv("CROSSREC_THREADS", raising=False)
    if asked is not None:
        monkeypatch.setenv("CROSSREC_THREADS", asked)
    before = torch.get_num_threads()
    with pytest.raises(ZeroDivisionError), every_core():
        assert torch.get_num_threads() == inside
        raise ZeroDivisionError
    assert torch.get_num_threads() == before


GROUP = Path("/proc/self/autogroup")
STEPPED = f"""
import os
from pathlib import Path
from crossrec.threads import step_back
step_back()
group = Path("{GROUP}")
print(os.nice(0), group.read_text().split()[-1] if group.exists() else "")
"""


def test_a_worker_steps_back_with_its_whole_session() -> None:
    done = subprocess.run([sys.executable, "-c", STEPPED], capture_output=True, text=True, start_new_session=True)
    assert done.stdout.split() == [str(NICENESS)] * (1 + GROUP.exists()), done.stderr
