"""A recommender that reads reviews, small enough to be worked out by hand, as a finished run of the tiny world."""

import shutil
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pytest
from numpy.typing import NDArray

from crossrec import paths
from crossrec.data.histories import Histories, Reviews
from crossrec.models.recommender import Floats, Recommender
from crossrec.runs.catalog import Catalog
from crossrec.runs.folder import Run, open_run


class NearWords(Recommender):
    """Scores items by their cosine with the sum of what a person wrote, weighted by stars less 3 (1 without stars)."""

    kind: ClassVar[str] = "near-words"
    uses: ClassVar[frozenset[str]] = frozenset({"source reviews", "target reviews"})
    rates: ClassVar[bool] = True
    encoder = "static"
    most_reviews = 4

    def __init__(self, items: NDArray[np.float32]):
        self.items, self.n_items = items, len(items) - 1

    def score(self, histories: Histories) -> Floats:
        taste = np.zeros((len(histories), self.items.shape[1]), np.float32)
        for reviews in (histories.source_reviews, histories.target_reviews):
            if reviews is not None and reviews.mask.any():
                taste += (reviews.vectors * (self.weights(reviews) * reviews.mask)[..., None]).sum(axis=1)
        scores = taste @ self.items.T
        scores[:, 0] = -np.inf
        return scores

    @staticmethod
    def weights(reviews: Reviews) -> Floats:
        return np.where(np.isnan(reviews.stars), 1, reviews.stars - 3).astype(np.float32)

    def rate(self, histories: Histories, items: NDArray[np.int64], reviews: Reviews | None = None) -> Floats:
        scores = self.score(histories)
        return 3 + 40 * (scores[np.arange(len(items)), items] - scores[:, 1:].mean(axis=1))

    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        return {}, {"items": self.items}

    @classmethod
    def from_state(cls, about: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Self:
        return cls(arrays["items"])


@pytest.fixture
def words_run(tiny_copy: Path) -> Run:
    """The run "tiny-near-words" in a home of the test's own."""
    folder = paths.runs() / "tiny-near-words"
    shutil.copytree(paths.runs() / "tiny-popularity", folder)
    shutil.rmtree(folder / "recommender")
    (folder / "recommender").mkdir()
    config = paths.read_json(folder / "config.json")
    paths.write_json(folder / "config.json", config | {"run": "tiny-near-words", "title": "Near words"})
    vectors = Catalog(folder / "catalog").shelf("target").vectors
    assert vectors is not None
    NearWords(np.array(vectors, np.float32)).save(folder / "recommender")
    shutil.rmtree(folder / "catalog")
    return open_run("tiny-near-words")
