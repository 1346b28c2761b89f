import pytest
import torch
from torch import nn

from spatial_mllm_ros.mllm.encoders.vggt.layers import Attention, Block, Float32
from spatial_mllm_ros.mllm.encoders.vggt.rope import grid_positions, rotate, rotation
from tests.closeness import assert_close


@pytest.mark.parametrize("placed", [False, True])
@pytest.mark.parametrize("qk_norm", [False, True])
def test_attention_query_by_query(placed, qk_norm):
    torch.manual_seed(0)
    attention = Attention(16, heads=2, qk_norm=qk_norm).requires_grad_(False)
    for weight in attention.parameters():
        weight += 0.2 * torch.randn(weight.shape)
    x = torch.randn(2, 7, 16)
    turn = rotation(grid_positions(torch.arange(1.0, 3.0), torch.arange(1.0, 4.0), special=1), 8) if placed else None

    expected = torch.empty(2, 7, 16)
    for n in range(2):
        q, k, v = (attention.qkv(x[n])[:, i * 16 : (i + 1) * 16] for i in range(3))
        for head in (slice(0, 8), slice(8, 16)):
            qh, kh = attention.q_norm(q[:, head]), attention.k_norm(k[:, head])
            if turn is not None:
                qh, kh = rotate(qh, turn), rotate(kh, turn)
            for i in range(7):
                weight = torch.exp(qh[i] @ kh.T / 8**0.5)
                expected[n, i, head] = weight @ v[:, head] / weight.sum()
    assert_close(attention(x, turn), attention.proj(expected))


def test_a_block_without_places_does_not_know_the_order():
    torch.manual_seed(0)
    block, x, order = Block(16, 2, scale=1.0), torch.randn(1, 6, 16), torch.randperm(6)
    torch.testing.assert_close(block(x[:, order]), block(x)[:, order])


def test_a_block_scaled_to_nothing_changes_nothing():
    x = torch.randn(1, 6, 16)
    assert torch.equal(Block(16, 2, scale=0.0)(x), x)


class Half(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(2, 2), Float32()
        self.head.inner = nn.Linear(2, 2)


def test_float32_parts_keep_every_bit():
    model = Half()
    before = model.head.inner.weight.clone()
    model.to(torch.bfloat16)
    assert model.body.weight.dtype == torch.bfloat16
    assert model.head.inner.weight.dtype == torch.float32 and torch.equal(model.head.inner.weight, before)
    model.to("meta")
    assert model.head.inner.weight.is_meta
