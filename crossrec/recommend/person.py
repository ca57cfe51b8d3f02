"""Somebody who asks: a user of the dataset, or a stranger with a few reviews and picked items."""

import math
import unicodedata
from dataclasses import dataclass

from crossrec.errors import CrossrecError

MOST_REVIEWS = 50
MOST_CHARACTERS = 5_000
MOST_ITEMS = 200
MOST_K = 100
LONGEST_ID = 200


@dataclass(frozen=True)
class Review:
    """What a person wrote about something of the source domain."""

    text: str
    stars: float | None = None
    """1 to 5, or None where none were given."""


@dataclass(frozen=True)
class Person:
    """All that is told of the one who asks. Whatever is given counts together.

    Every bound is checked here, whether a person comes from a page, the command line or the network.

    Raises:
        CrossrecError: there is too much of something, a review is empty, or stars are off the scale.
    """

    user_id: str | None = None
    """Of the dataset; brings that user's history with it."""
    reviews: tuple[Review, ...] = ()
    source_items: tuple[str, ...] = ()
    """Ids of items of the source domain, oldest first; one that is given twice counts once."""
    target_items: tuple[str, ...] = ()
    """Likewise of the target domain; none of them is recommended."""

    def __post_init__(self) -> None:
        if self.user_id is not None:
            object.__setattr__(self, "user_id", _id(self.user_id, "user"))
        object.__setattr__(self, "reviews", _reviews(tuple(self.reviews)))
        for name in ("source_items", "target_items"):
            items = tuple(dict.fromkeys(_id(item, "picked item") for item in getattr(self, name)))
            object.__setattr__(self, name, items)
        picked = len(self.source_items) + len(self.target_items)
        if picked > MOST_ITEMS:
            raise CrossrecError(f"There are {picked} picked items, and at most {MOST_ITEMS} are taken: leave some out.")

    @property
    def told(self) -> bool:
        """Whether anything but a user id is given."""
        return bool(self.reviews or self.source_items or self.target_items)


def checked_k(k: int) -> int:
    """Returns the length of a list that is asked for.

    Raises:
        CrossrecError: it is not from 1 to `MOST_K`.
    """
    if not 1 <= k <= MOST_K:
        raise CrossrecError(f"k must be from 1 to {MOST_K}, and it is {k}.")
    return k


def checked_stars(stars: float | None, what: str) -> float | None:
    """Returns the stars of `what`.

    Raises:
        CrossrecError: they are not from 1 to 5.
    """
    if stars is not None and (math.isnan(stars) or not 1 <= stars <= 5):
        raise CrossrecError(f"The stars of {what} must be from 1 to 5, and they are {stars:g}.")
    return stars


def _reviews(reviews: tuple[Review, ...]) -> tuple[Review, ...]:
    if len(reviews) > MOST_REVIEWS:
        raise CrossrecError(f"There are {len(reviews)} reviews, and at most {MOST_REVIEWS} are taken: leave some out.")
    out = []
    for number, review in enumerate(reviews, 1):
        if len(review.text) > MOST_CHARACTERS:
            raise CrossrecError(
                f"Review {number} has {len(review.text):,} characters, and at most {MOST_CHARACTERS:,} are read: "
                "shorten it."
            )
        if not any(_visible(letter) for letter in review.text):
            raise CrossrecError(f"Review {number} is empty: write a few words, or leave it out.")
        out.append(Review(_unicode(review.text), checked_stars(review.stars, f"review {number}")))
    return tuple(out)


def _visible(letter: str) -> bool:
    return not letter.isspace() and unicodedata.category(letter) not in ("Cc", "Cf", "Cs")


def _id(value: str, what: str) -> str:
    if not value.strip() or len(value) > LONGEST_ID:
        raise CrossrecError(f"The id of a {what} has 1 to {LONGEST_ID} characters, and this one has {len(value):,}.")
    return _unicode(value)


def _unicode(text: str) -> str:
    """Half of a surrogate pair, which JSON can carry, is no text that anything else can read."""
    return text.encode("utf-8", "replace").decode()
