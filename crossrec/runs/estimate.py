"""What a training will cost on this machine, before it is started: from a short part of it that is really trained.

A measurement is the training itself in a child process, ended after some seconds of its first epoch and followed by
one validation; its figures are kept and found again for the same recipe, settings and data.
"""

import hashlib
import json
import os
import resource
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from crossrec import paths
from crossrec.errors import CrossrecError
from crossrec.runs.execute import Plan
from crossrec.runs.folder import list_runs

SAMPLE = 3.0
"""Seconds of training that are measured."""
LONGEST = 180.0
"""Seconds after which a measurement counts as lost."""


@dataclass(frozen=True)
class Estimate:
    """What a training will take."""

    seconds: float
    """Likely, with early stopping where runs of the recipe have shown when it comes."""
    most_seconds: float
    """If every epoch is trained."""
    memory_mb: int
    """Peak memory of the process."""
    epoch_seconds: float | None
    """An epoch and its validation; None for recipes without epochs."""
    basis: str
    """What it rests on, one sentence."""
