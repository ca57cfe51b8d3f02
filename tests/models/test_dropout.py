"""The byte-wise dropout: share, scale, and nothing at all outside training."""

import pytest
import torch

from crossrec.models.dropout import Dropout


@pytest.mark.parametrize(("p", "of_256"), [(0.3, 77), (0.5, 128), (0.1, 26), (0.9, 230)])
def test_share_and_scale(p: float, of_256: int) -> None:
    torch.manual_seed(0)
    x = torch.full((1001, 333), 2.0)
    out = Dropout(p).train()(x)
    kept = out != 0
    share, n = of_256 / 256, x.numel()
    tolerance = 5 * (share * (1 - share) / n) ** 0.5
    assert 1 - kept.float().mean().item() == pytest.approx(share, abs=tolerance)
    torch.testing.assert_close(out[kept], torch.full_like(out[kept], 2 / (1 - share)))
    # Neighbours fall independently, along both axes and at the distance of a random word.
    for shift, dim in ((1, 0), (1, 1), (8, 1)):
        both = (~kept & ~kept.roll(shift, dim)).float().mean().item()
        assert both == pytest.approx(share**2, abs=6 * (share**2 / n) ** 0.5)


def test_outside_training_it_is_the_identity() -> None:
    x = torch.randn(5, 3)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0).train()(x) is x


def test_gradients_pass_where_values_do() -> None:
    x = torch.ones(64, requires_grad=True)
    out = Dropout(0.5).train()(x)
    out.sum().backward()
    torch.testing.assert_close(x.grad, out.detach())


def test_the_default_generator_decides() -> None:
    def draw(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return Dropout(0.4).train()(torch.ones(100))

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))


def test_any_shape() -> None:
    drop = Dropout(0.3).train()
    for shape in ((), (1,), (0, 4), (2, 3, 5)):
        assert drop(torch.ones(shape)).shape == shape


def test_a_share_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"1\.0"):
        Dropout(1.0)
