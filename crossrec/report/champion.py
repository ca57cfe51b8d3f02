"""The champion in words: what it is, what the test says of it, and whether it is worth more than what is plain."""

from crossrec.evaluation.compare import HEADLINE
from crossrec.evaluation.statistics import Interval
from crossrec.runs.champion import WEIGHED, Champion

BADGES = {
    "yes": "Beats what is plain",
    "no": "No evidence of a gain",
    "harm": "Worse than what is plain",
    "plain": "Is plain itself",
    "unknown": "Nothing plain to compare",
}
"""The verdict in few words, by `Champion.answer`."""
METRIC = HEADLINE.upper()


def chosen_sentence(one: Champion) -> str:
    """Which it is, and among how many."""
    if one.among == 1:
        return f"{one.title} is the only recommender that was tested on these people."
    return f"{one.title} ranks best on the validation people, of {one.among} recommenders that were trained and tested."


def test_sentence(one: Champion) -> str:
    """What the test says of it."""
    return f"On the test it comes to {METRIC} {one.test.mean:.4f}, {_range(one.test)}, over {one.users:,} people."


def worth_sentence(one: Champion) -> str:
    """Whether it is worth more than the best plain recommender."""
    if one.is_plain:
        if not one.learned:
            return "It is plain itself: it counts, or solves one equation. Nothing that learns was tested beside it."
        return "It is plain itself: nothing that learns ranks the validation people better."
    if one.difference is None:
        return "No plain recommender was tested on these people, so nobody can say what learning is worth here."
    gap = f"{one.difference.mean:+.4f}, {_range(one.difference, '+')}"
    said = {
        "yes": f"It beats the best plain recommender, {one.plain_title}: {gap}.",
        "no": f"There is no evidence of a gain over the best plain recommender, {one.plain_title}: {gap}.",
        "harm": f"On the test it is worse than the best plain recommender, {one.plain_title}: {gap}.",
    }
    return said[one.answer]


def caution(one: Champion) -> str | None:
    """What flatters its place on validation; None where nothing does."""
    if one.recipe not in WEIGHED:
        return None
    return (
        "Its weights were fitted on the same validation people, so its place there is flattered; its test figures are "
        "not."
    )


def line(one: Champion, there: bool) -> str:
    """All that a page needs to say of it where the runs are compared anyway.

    Args:
        one: the champion.
        there: whether it is among the runs that are shown.
    """
    said = f"The champion of these people by validation is {one.title} ({one.run})"
    return f"{said}." if there else f"{said}; it is not among the runs that are compared here."


def _range(value: Interval, sign: str = "") -> str:
    return f"95 % interval {value.low:{sign}.4f} to {value.high:{sign}.4f}"
