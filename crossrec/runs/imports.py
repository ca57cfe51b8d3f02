"""Imports and downloads as tasks."""

from pathlib import Path


def carry_out(folder: Path) -> None:
    raise NotImplementedError
