"""RACRec against hand-worked values: the losses, co-attention, the cold path, and what mode=classic adds up."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from crossrec.data.histories import Histories, Reviews
from crossrec.models.racrec import SCALE, RACRec, RACRecConfig, Side, as_side, context_of, habits
from crossrec.models.taste_losses import (
    CLASSIC_WEIGHTS,
    domain_nll,
    reversal_strength,
    reverse_gradient,
    separation,
    signed_cosine,
)
from crossrec.training.racrec import sum_up

SHARED = torch.tensor([[3.0, 4.0], [1.0, 0.0]])
SPECIFIC = torch.tensor([[0.0, 2.0], [0.0, 5.0]])


def side(vectors: list[list[list[float]]], mask: list[list[int]], stars: list[list[float]] | None = None) -> Side:
    held = torch.tensor(mask, dtype=torch.bool)
    return Side(torch.tensor(vectors, dtype=torch.float32), held, torch.tensor(stars or np.zeros(held.shape)).float())


def model(mode: str = "corrected", selection: str = "mean", stars: bool = False, width: int = 2) -> RACRec:
    torch.manual_seed(0)
    config = RACRecConfig(mode=mode, selection=selection, stars=stars, taste_dim=2, dropout=0.0)
    made = RACRec(config, width, n_items=3, mean=4.0, habit=0.5, item_bias=np.array([0, 0.5, -0.5, 0], np.float32))
    return made.eval()


def test_the_difference_losses() -> None:
    assert signed_cosine(SHARED, SPECIFIC).item() == pytest.approx(0.4)
    assert separation(SHARED, SPECIFIC).item() == pytest.approx(0.8)
    # Opposite is the best that the signed cosine can ask for, and as bad as equal for the separation.
    assert signed_cosine(SHARED, -SHARED).item() == pytest.approx(-1)
    assert separation(SHARED, -SHARED).item() == pytest.approx(separation(SHARED, SHARED).item())
    apart = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 0.0]])
    assert separation(*apart).item() == 0


def test_the_domain_loss_of_a_classifier_that_knows_nothing() -> None:
    assert domain_nll(torch.zeros(3, 2), torch.zeros(5, 2)).item() == pytest.approx(1.386294, abs=1e-6)
    right = torch.tensor([[9.0, -9.0]]), torch.tensor([[-9.0, 9.0]])
    assert domain_nll(*right).item() < 1e-6 < domain_nll(*right[::-1]).item()
    assert domain_nll(torch.zeros(0, 2), torch.zeros(5, 2)).item() == pytest.approx(math.log(2))


def test_the_classic_total() -> None:
    values = {"pred": 0.25, "diff": 0.4, "class": 1.3862944, "rec": 0.5, "irec": 0.3}
    parts = {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}
    assert sum_up(parts, CLASSIC_WEIGHTS).item() == pytest.approx(249.98137056, abs=1e-8)


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0])
def test_the_gradient_comes_back_reversed(strength: float) -> None:
    x = torch.tensor([1.0, -2.0], requires_grad=True)
    y = reverse_gradient(x, strength)
    assert torch.equal(y, x)
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == pytest.approx([-strength, -strength])


def test_the_strength_of_the_reversal_rises_with_progress() -> None:
    assert reversal_strength(0.0) == 0
    assert reversal_strength(0.5) == pytest.approx(2 / (1 + math.exp(-5)) - 1)
    assert reversal_strength(1.0) == pytest.approx(0.9999092, abs=1e-7)


def identity(made: RACRec) -> RACRec:
    with torch.no_grad():
        made.affinity_in.weight.copy_(torch.eye(2))
        made.affinity_in.bias.zero_()
        made.affinity.copy_(torch.eye(2))
    return made


USER = [[[1.0, 0.0], [0.0, 1.0]]]
ITEM = [[[1.0, 0.0], [7.0, 7.0]]]  # what stands behind a mask must not matter
NOTHING = side([[[5.0, 5.0]]], [[0]])


def test_coattention_by_hand() -> None:
    made = identity(model(selection="coattention"))
    (by_source, by_target), by_item = made.coattention(side(USER, [[1, 1]]), NOTHING, side(ITEM, [[1, 0]]))
    best = math.tanh(1) ** 2
    assert best == pytest.approx(0.580026, abs=1e-6)
    assert by_source[0].tolist() == pytest.approx([0.641074, 0.358926], abs=1e-6)
    assert by_target[0].tolist() == [0]
    assert by_item[0].tolist() == [1, 0]


def test_an_empty_user_side_leaves_the_item_whole() -> None:
    made = identity(model(selection="coattention"))
    nobody = side(USER, [[0, 0]])
    (by_source, _), by_item = made.coattention(nobody, NOTHING, side(ITEM, [[1, 0]]))
    assert by_source[0].tolist() == [0, 0]
    assert by_item[0].tolist() == [1, 0]  # its vector does not shrink
    _, by_item = made.coattention(nobody, NOTHING, side(ITEM, [[1, 1]]))
    assert by_item[0].tolist() == pytest.approx([0.5, 0.5])
    (by_source, _), by_item = made.coattention(side(USER, [[1, 1]]), NOTHING, side(ITEM, [[0, 0]]))
    assert by_source[0].tolist() == pytest.approx([0.5, 0.5])
    assert by_item[0].tolist() == [0, 0]


@pytest.mark.parametrize("selection", ["mean", "coattention"])
def test_what_is_masked_does_not_matter(selection: str) -> None:
    made = model(selection=selection)
    number, zero = torch.tensor([1]), torch.zeros(1)
    plain = made(side(USER, [[1, 1]]), NOTHING, side([ITEM[0][:1]], [[1]]), number, zero, zero)[0]
    padded = side([[[9.0, 9.0], *USER[0]]], [[0, 1, 1]])
    torch.testing.assert_close(made(padded, NOTHING, side(ITEM, [[1, 0]]), number, zero, zero)[0], plain)


def test_stars_of_the_corrected_form_by_hand() -> None:
    made = model()
    query, product = torch.tensor([[1.0, 2.0, 3.0, 4.0]]), torch.tensor([[1.0, 1.0, 0.0, -1.0]])
    expected = 4.0 + 0.5 + 0.1 + (1 + 2 - 4) / math.sqrt(4)
    assert made.stars(query, product, torch.tensor([1]), torch.tensor([0.1])).item() == pytest.approx(expected)


def test_a_stranger_brings_the_habit_and_a_known_person_the_bias() -> None:
    made = model()
    people = made.person(torch.tensor([0.4, 0.4, 0.0]), torch.tensor([0.0, -0.7, 0.0]))
    assert people.tolist() == pytest.approx([0.5 * 0.4, -0.7, 0])


def test_habits_count_events_and_reviews_of_the_unknown_once() -> None:
    items, stars = np.array([[0, 1, 2], [0, 0, 0]]), np.array([[5, 5, np.nan], [1, 1, 1]], np.float32)
    mask = np.array([[1, 1], [0, 0]], bool)
    reviews = Reviews(np.ones((2, 2, 1), np.float32), mask, np.full((2, 2), 2, np.float32), np.array([[1, 0], [0, 0]]))
    people = Histories(items, items[:, :0], source_stars=stars, source_reviews=reviews)
    expected = np.array([4.0, 3.5, 1.0], np.float32)
    # 5 of 3.5 for item 1; 2 of 4 for what nobody named; the review of item 1 is the event told again.
    assert habits(people, expected).tolist() == pytest.approx([(1.5 - 2) / (2 + 3), 0])


def test_stars_of_the_classic_form_are_the_bare_product() -> None:
    made = model("classic")
    query, product = torch.tensor([[1.0, 2.0, 3.0, 4.0]]), torch.tensor([[1.0, 1.0, 0.0, -1.0]])
    assert made.stars(query, product, torch.tensor([1]), torch.ones(1)).item() == pytest.approx(-1)


def gradient_of_cold_shared(mode: str) -> Tensor | None:
    made = model(mode)
    stars = made(
        side(USER, [[1, 1]]), NOTHING, side([ITEM[0][:1]], [[1]]), torch.tensor([1]), torch.zeros(1), torch.zeros(1)
    )[0]
    stars.sum().backward()
    return made.shared.weight.grad


def test_the_cold_path_is_trained_only_in_the_corrected_form() -> None:
    corrected, classic = gradient_of_cold_shared("corrected"), gradient_of_cold_shared("classic")
    assert corrected is not None
    assert corrected.abs().sum() > 0
    assert classic is None or classic.abs().sum() == 0


def test_which_taste_meets_the_item() -> None:
    made = model()
    with torch.no_grad():
        made.no_target.copy_(torch.tensor([7.0, 8.0]))
        made.no_source.copy_(torch.tensor([5.0, 6.0]))
    reviews, other = side(USER, [[1, 1]]), side([[[2.0, 3.0], [0.0, 0.0]]], [[1, 0]])
    nobody = side(USER, [[0, 0]])
    mean, own = made.scale * torch.tensor([[0.5, 0.5]]), made.scale * torch.tensor([[2.0, 3.0]])
    cold = made.tastes(reviews, nobody).query
    torch.testing.assert_close(cold, torch.cat([made.shared(mean), torch.tensor([[7.0, 8.0]])], dim=1))
    warm = made.tastes(nobody, other).query
    torch.testing.assert_close(warm, torch.cat([made.shared(own), made.specific_target(own)], dim=1))
    both = made.tastes(reviews, other).query
    shared = (made.shared(mean) + made.shared(own)) / 2
    torch.testing.assert_close(both, torch.cat([shared, made.specific_target(own)], dim=1))
    assert made.tastes(nobody, nobody).query.tolist() == [[5, 6, 7, 8]]


def test_classic_takes_the_target_taste_where_there_is_one() -> None:
    made = model("classic")
    reviews, other = side(USER, [[1, 1]]), side([[[2.0, 3.0]]], [[1]])
    own = torch.tensor([[2.0, 3.0]])
    torch.testing.assert_close(
        made.tastes(reviews, other).query, torch.cat([made.shared(own), made.specific_target(own)], dim=1)
    )
    cold = made.tastes(reviews, NOTHING).query
    empty = made.specific_target(torch.zeros(1, 2))
    torch.testing.assert_close(cold, torch.cat([made.shared(torch.tensor([[0.5, 0.5]])), empty], dim=1))


def test_stars_turn_praise_into_blame() -> None:
    made = model(stars=True)
    praise, blame = (side([[[1.0, 0.0]]], [[1]], [[stars]]) for stars in (0.2, -0.4))
    unit = made.scale
    assert made.select(praise).tolist() == [pytest.approx([unit, 0.0, 0.2 * unit, 0.0])]
    assert made.select(blame).tolist() == [pytest.approx([unit, 0.0, -0.4 * unit, 0.0])]


def test_stars_that_were_not_given_say_nothing() -> None:
    vectors = np.ones((1, 3, 2), np.float32)
    reviews = Reviews(vectors, np.ones((1, 3), bool), np.array([[5, np.nan, 2]], np.float32))
    assert as_side(reviews, np.array([4.0, 9.0])).stars.tolist() == [pytest.approx([1 / SCALE, 0.0, -2 / SCALE])]
    assert as_side(reviews).stars.tolist() == [[0, 0, 0]]
    about = Reviews(vectors, reviews.mask, reviews.stars, np.array([[1, 1, 0]]))
    assert as_side(about, np.array([4.0, 4.5])).stars.tolist() == [pytest.approx([0.5 / SCALE, 0.0, -2 / SCALE])]


def test_all_stars_are_the_stars_one_by_one() -> None:
    made = model(stars=True)
    items, zero = torch.randn(4, 2), torch.zeros(1)
    source, target = side(USER, [[1, 1]], [[0.2, 0.1]]), NOTHING
    every = made.all_stars(made.tastes(source, target).query, made.product(items * made.scale))
    for number in range(4):
        one = made(source, target, side([[items[number].tolist()]], [[1]]), torch.tensor([number]), zero, zero)[0]
        torch.testing.assert_close(every[:, number], one)


def test_a_known_item_puts_a_review_in_its_context() -> None:
    vectors = np.array([[[1, 0], [0, 1], [1, 0]]], np.float32)
    context = np.array([[0, 0], [0, 1], [0, 0]], np.float32)  # nothing is said of item 2, and 0 is no item
    mask, stars = np.ones((1, 3), bool), np.full((1, 3), np.nan, np.float32)
    reviews = Reviews(vectors, mask, stars, np.array([[1, 2, 0]]))
    assert as_side(reviews, None, context).vectors[0].tolist() == [[0.5, 0.5], [0, 1], [1, 0]]
    assert as_side(Reviews(vectors, mask, stars), None, context).vectors[0].tolist() == vectors[0].tolist()


def test_context_is_what_is_said_at_length_one() -> None:
    means = np.array([[0, 0], [1.5, 2], [0, 0.2]], np.float32)
    np.testing.assert_allclose(context_of(means), [[0, 0], [0.6, 0.8], [0, 1]], atol=1e-6)


def test_classic_has_one_selection() -> None:
    with pytest.raises(ValueError, match="selection=mean"):
        RACRecConfig(mode="classic", selection="coattention")
    with pytest.raises(ValueError, match="'sideways'"):
        RACRecConfig(mode="sideways")
