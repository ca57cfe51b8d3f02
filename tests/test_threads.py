"""Cores: all but one, all for a while, or as many as were asked for."""

import os

import pytest
import torch

from crossrec.threads import every_core


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
