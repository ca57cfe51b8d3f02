"""The attention that can be looked at is the one that is used."""

import pytest
import torch

from crossrec.models.ligr import LiGRBlock
from crossrec.models.sasrec import Block, SASRec, SASRecConfig


@pytest.mark.parametrize("kind", [Block, LiGRBlock])
@pytest.mark.parametrize("norm", ["pre", "post"])
def test_the_weights_are_those_of_the_fused_kernel(kind: type[Block], norm: str) -> None:
    torch.manual_seed(0)
    block = kind(SASRecConfig(dim=12, heads=3, norm=norm)).eval()
    x = torch.randn(2, 5, 12)
    weights = block.weights(x)
    assert weights.shape == (2, 3, 5, 5)
    assert torch.allclose(weights.sum(-1), torch.ones(2, 3, 5))
    assert (weights.triu(1) == 0).all() and (weights.tril() > 0).sum() == 2 * 3 * 15
    seen = block.norm1(x) if block.pre else x
    v = block.qkv(seen).view(2, 5, 3, 3, 4).permute(2, 0, 3, 1, 4)[2]
    by_hand = block.out((weights @ v).transpose(1, 2).reshape(2, 5, 12))
    assert torch.allclose(by_hand, block.attend(seen), atol=1e-5)


def test_each_block_looks_at_what_the_one_before_made() -> None:
    torch.manual_seed(0)
    model = SASRec(SASRecConfig(dim=8, blocks=2), 9).eval()
    items = torch.tensor([[3, 1, 4]])
    found = model.attention(items)
    assert found.shape == (2, 1, 1, 4, 4)
    second = model.blocks[1].weights(model.blocks[0](model._embedded(items)))
    assert torch.equal(found[1], second)
