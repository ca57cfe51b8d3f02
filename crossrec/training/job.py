"""What a recipe is given, what it is, and how it is seeded."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from crossrec import processes
from crossrec.data.pair import DomainPair
from crossrec.data.split import Split
from crossrec.models.recommender import Recommender
from crossrec.models.sasrec import SASRec, SASRecRecommender
from crossrec.training.loop import Control, Fitted

MONITOR = "ndcg@10"
SMALL_CATALOGUE = 5_000
"""Most items for which the softmax over all of them is the default loss."""
Validate = Callable[[Recommender], dict[str, float]]


@dataclass(frozen=True)
class Job:
    """All that a recipe may use."""

    pair: DomainPair
    split: Split
    config: Any
    seed: int
    validate: Validate
    """Scores a recommender on the validation questions: {"ndcg@10", "hr@10"}."""
    control: Control = field(default_factory=Control)
    start: Recommender | None = None
    """Of the finished run that it starts from, for recipes that need one."""

    @property
    def source_model(self) -> SASRec | None:
        """The trained model that it starts from, where that is a plain SASRec."""
        return self.start.model if isinstance(self.start, SASRecRecommender) else None


@dataclass(frozen=True)
class Recipe:
    name: str
    title: str
    """For people."""
    config: type
    train: Callable[[Job], tuple[Recommender, Fitted | None]]
    domain: str = "target"
    """Whose items it recommends."""
    starts_from: tuple[str, ...] = ()
    """Recipes of which it needs a finished run to start from, the preferred one first; none for most."""
    needs_text: bool = False
    """Whether its histories carry review vectors, of the encoder that its config names."""
    takes_text: bool = False
    """Whether it reads words where the data has some and its config names an encoder, and does without them else."""


def process_seed(seed: int) -> int:
    """The seed itself in the main process, another one in every other."""
    return seed + 1_000_003 * processes.index()


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """A block whose torch random numbers start from a seed, and that leaves those outside it as they were.

    Of several processes each draws its own.
    """
    with torch.random.fork_rng():
        torch.manual_seed(process_seed(seed))
        yield
