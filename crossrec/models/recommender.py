"""The one contract: every recommender scores all target items for a batch of histories."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray

from crossrec import paths
from crossrec.data.histories import Histories, Reviews
from crossrec.errors import CrossrecError

Floats = NDArray[np.float32]


class Recommender(ABC):
    """Scores, recommends, saves and loads. Arrays in, arrays out; a new person is an argument, not a retraining."""

    kind: ClassVar[str]
    """Name under which `save` files it and `load` finds it."""
    uses: frozenset[str] = frozenset({"source", "target"})
    """What of the histories its scores depend on: "source" and "target" items, "source reviews", "target reviews"."""
    ordered: bool = False
    """Whether the order of the source items matters to it."""
    rates: bool = False
    """Whether it predicts stars."""
    speaks: ClassVar[str] = "ranks"
    """What its scores are beside their order: "logits" that a softmax was trained on, "votes" that are counts or sums
    of them, none below 0, or no more than "ranks"."""
    encoder: str | None = None
    """Name of the text encoder whose vectors its histories must carry; None where it reads none."""
    most_reviews: int = 15
    """Newest reviews in a domain that it reads of a person."""
    n_items: int
    """I, the target items 1..I; 0 is padding."""
    _kinds: ClassVar[dict[str, type["Recommender"]]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "kind" in cls.__dict__:
            Recommender._kinds[cls.kind] = cls

    @abstractmethod
    def score(self, histories: Histories) -> Floats:
        """(B, I+1) how well each target item fits each of B people; column 0, padding, is -inf.

        Scores of one row are comparable with each other, not across rows or recommenders.
        """

    def rate(self, histories: Histories, items: NDArray[np.int64], reviews: Reviews | None = None) -> Floats:
        """(B,) the stars that each of B people would give items[b], not clipped to the scale.

        Args:
            histories: what is known of the people.
            items: (B,) target items.
            reviews: what others wrote about items[b], for recommenders that read it; None is what they were trained on.

        Raises:
            CrossrecError: the recommender predicts no stars.
        """
        raise CrossrecError(f"A recommender of kind {self.kind!r} ranks, and predicts no stars.")

    def recommend(self, histories: Histories, k: int = 10) -> tuple[NDArray[np.int64], Floats]:
        """The k best target items that a person does not have yet.

        Returns:
            items (B, k), best first, and their scores (B, k). Where fewer than k items are left, the rest is 0 / -inf.
        """
        return top_k(hide_seen(self.score(histories), histories), k)

    def save(self, folder: Path) -> None:
        """Writes `recommender.json` and the arrays as `weights.safetensors` into an existing folder."""
        from safetensors.numpy import save_file

        about, arrays = self.state()
        save_file({k: np.ascontiguousarray(v) for k, v in arrays.items()}, folder / "weights.safetensors")
        paths.write_json(folder / "recommender.json", {"kind": self.kind, "n_items": self.n_items, **about})

    @abstractmethod
    def state(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """What `from_state` needs: plain JSON values and named arrays."""

    @classmethod
    @abstractmethod
    def from_state(cls, about: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Self:
        """The recommender that `state` described."""

    @staticmethod
    def load(folder: Path) -> "Recommender":
        """Opens what `save` wrote, of whatever kind.

        Raises:
            CrossrecError: the folder is incomplete, or of a kind that this version does not know.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        about = paths.read_json(folder / "recommender.json")
        kind = Recommender._kinds.get(about.get("kind"))
        if kind is None:
            known = ", ".join(sorted(Recommender._kinds))
            raise CrossrecError(f"{folder} holds a recommender of kind {about.get('kind')!r}; known are {known}.")
        try:
            # Models are drawn before they are filled; whoever loads one keeps their own random numbers.
            with torch.random.fork_rng():
                return kind.from_state(about, load_file(folder / "weights.safetensors"))
        except (OSError, SafetensorError, KeyError, RuntimeError, TypeError) as error:
            raise CrossrecError(
                f"The weights in {folder} are missing, damaged or of an older version; train the run again."
            ) from error


def hide_seen(scores: Floats, histories: Histories) -> Floats:
    """Sets padding and each person's own target items to -inf, in place, and returns the scores."""
    if histories.target.shape[1]:
        np.put_along_axis(scores, histories.target, -np.inf, axis=1)
    scores[:, 0] = -np.inf
    return scores


def top_k(scores: Floats, k: int) -> tuple[NDArray[np.int64], Floats]:
    """Items and scores of the k largest columns of each row, largest first; 0 / -inf where there are fewer."""
    wanted = min(k, scores.shape[1])
    best, items = largest(torch.from_numpy(scores), wanted)
    values, at = best.numpy(), items.numpy()
    at[np.isneginf(values)] = 0
    if wanted < k:
        pad = ((0, 0), (0, k - wanted))
        at, values = np.pad(at, pad), np.pad(values, pad, constant_values=-np.inf)
    return at, values


BLOCK = 64
"""Columns whose largest value is looked at before they are."""


def largest(scores: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Values and columns of the k largest of each row, largest first.

    They lie in the k blocks with the largest maxima, and maxima are found several times as fast as an order.
    """
    rows, columns = scores.shape
    blocks = columns // BLOCK
    if blocks <= 2 * k:
        return scores.topk(k, dim=1)
    tail = torch.arange(blocks * BLOCK, columns)
    maxima = scores[:, : blocks * BLOCK].unflatten(1, (blocks, BLOCK)).amax(2)
    chosen = maxima.topk(k, dim=1, sorted=False).indices  # (B, k)
    at = (chosen[:, :, None] * BLOCK + torch.arange(BLOCK)).flatten(1)
    at = torch.cat([at, tail.expand(rows, -1)], dim=1)  # (B, k * BLOCK + the rest)
    best, found = scores.gather(1, at).topk(k, dim=1)
    return best, at.gather(1, found)
