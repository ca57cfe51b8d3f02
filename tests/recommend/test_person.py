"""What may be told of a person, and what is refused with a sentence."""

import pytest

from crossrec.errors import CrossrecError
from crossrec.recommend.person import Person, Review, checked_k


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "🎬🎬🎬",
        "これは素晴らしい映画です",
        "فيلم رائع",
        "<script>alert(1)</script>",
        "a" * 5_000,
        "\x00 nul",
        "100 %_",
    ],
)
def test_any_words_are_a_review(text: str) -> None:
    assert Person(reviews=(Review(text, 4.5),)).reviews[0].text == text


@pytest.mark.parametrize("text", ["", " ", "\n\t", "\u200b\u200d", "\u3000", "\x00\x07"])
def test_an_empty_review_is_named(text: str) -> None:
    with pytest.raises(CrossrecError, match=r"^Review 2 is empty: write a few words, or leave it out\.$"):
        Person(reviews=(Review("good"), Review(text)))


def test_a_review_that_is_too_long() -> None:
    with pytest.raises(
        CrossrecError, match=r"^Review 1 has 10,000 characters, and at most 5,000 are read: shorten it\.$"
    ):
        Person(reviews=(Review("a" * 10_000),))


def test_too_many_reviews_and_items() -> None:
    with pytest.raises(CrossrecError, match="There are 200 reviews, and at most 50"):
        Person(reviews=(Review("good"),) * 200)
    assert len(Person(reviews=(Review("good"),) * 50).reviews) == 50
    ids = tuple(f"i{n}" for n in range(101))
    with pytest.raises(CrossrecError, match="There are 202 picked items, and at most 200"):
        Person(source_items=ids, target_items=ids)
    assert len(Person(source_items=ids[:100], target_items=ids[:100]).source_items) == 100


@pytest.mark.parametrize("stars", [0, 0.99, 5.01, -1, float("nan"), float("inf"), 1e300])
def test_stars_off_the_scale(stars: float) -> None:
    with pytest.raises(CrossrecError, match="The stars of review 1 must be from 1 to 5, and they are"):
        Person(reviews=(Review("good", stars),))


@pytest.mark.parametrize("k", [0, 101, -5])
def test_lists_have_1_to_100_items(k: int) -> None:
    with pytest.raises(CrossrecError, match=f"k must be from 1 to 100, and it is {k}."):
        checked_k(k)
    assert (checked_k(1), checked_k(100)) == (1, 100)


@pytest.mark.parametrize("bad", ["", "  ", "x" * 201])
def test_ids_have_a_length(bad: str) -> None:
    with pytest.raises(CrossrecError, match="The id of a user has 1 to 200 characters"):
        Person(bad)
    with pytest.raises(CrossrecError, match="The id of a picked item has 1 to 200 characters"):
        Person(target_items=(bad,))


def test_half_of_a_surrogate_pair_becomes_a_question_mark() -> None:
    person = Person("u\ud800", (Review("good \udc00 film"),), ("s\ud800",))
    assert (person.user_id, person.reviews[0].text, person.source_items) == ("u?", "good ? film", ("s?",))


def test_an_item_that_is_picked_twice_counts_once() -> None:
    person = Person(source_items=["b", "a", "b"])  # type: ignore[arg-type]  lists are taken too
    assert person.source_items == ("b", "a")
    assert hash(person) == hash(Person(source_items=("b", "a")))


def test_whether_anything_is_told() -> None:
    assert not Person().told
    assert not Person("u1").told
    assert Person(reviews=(Review("good"),)).told
    assert Person(target_items=("a",)).told
