"""What is written about the items of both domains, as a recipe reads it: whitened mean vectors.

C width of a whitened vector, I items.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from crossrec.config import require
from crossrec.data.pair import DOMAINS
from crossrec.training.job import Job
from crossrec.training.reviews import fit_whitening, item_means


@dataclass(frozen=True)
class WordsConfig:
    encoder: str | None = "minilm"
    """Text encoder: minilm, static, distilbert, a hub id or a local folder; none reads no words. Without titles and
    reviews in the data none is read either."""
    most_reviews: int = 15
    """K, newest reviews that are read of an item."""
    components: int = 128
    """C, dimensions kept by the whitening."""

    def __post_init__(self) -> None:
        require(self.most_reviews > 0, f"most_reviews ({self.most_reviews}) must be positive")
        require(self.components > 0, f"components ({self.components}) must be positive")


def item_words(job: Job) -> list[NDArray[np.float32]]:
    """(I_source+1, C) and (I+1, C) whitened mean vectors of what is written about items; C is 0 without words."""
    pair, config = job.pair, job.config
    if pair.vectors is None:
        return [np.zeros((pair.domain(which).n_items + 1, 0), np.float32) for which in DOMAINS]
    pair = replace(pair, most_reviews=config.most_reviews)
    means = item_means(pair, job.split)
    whitening = fit_whitening(means, config.components)
    return [whitening(rows) for rows in means]
