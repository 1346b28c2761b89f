import numpy as np
import pytest
import torch

from spatial_mllm_ros.mllm.encoders.grid import aggregator_inputs
from spatial_mllm_ros.mllm.encoders.vggt.dinov2 import DINOv2
from tests.closeness import assert_close

from .conftest import TINY


def cubic(t: float) -> float:
    """Keys' kernel with a = -1/2."""
    t = abs(t)
    if t < 1:
        return 1.5 * t**3 - 2.5 * t**2 + 1
    return -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2 if t < 2 else 0.0


def resizing(old: int, new: int) -> np.ndarray:
    """Matrix [new, old] of an antialiased cubic resize over the whole extent."""
    scale = old / new
    wide = max(scale, 1.0)
    weights = np.array([[cubic((j + 0.5 - (i + 0.5) * scale) / wide) for j in range(old)] for i in range(new)])
    return weights / weights.sum(axis=1, keepdims=True)


def weights(rows: int, columns: int) -> list[torch.Tensor]:
    """As the encoder is given them."""
    given = aggregator_inputs(rows, columns, side=4)
    return [torch.from_numpy(given[name]) for name in ("row_weights", "column_weights")]


@pytest.fixture
def vit():
    torch.manual_seed(0)
    return DINOv2(TINY).requires_grad_(False)


@pytest.mark.parametrize("rows, columns", [(2, 3), (7, 5), (4, 9), (1, 1)])
def test_position_embedding_is_resized(vit, rows, columns):
    grid = vit.pos_embed[0, 1:].view(4, 4, -1).double().numpy()
    expected = np.einsum("ri,cj,ijd->rcd", resizing(4, rows), resizing(4, columns), grid)
    found = vit.position_embedding(*weights(rows, columns))[0].numpy()
    np.testing.assert_array_equal(found[0], vit.pos_embed[0, 0].numpy())
    np.testing.assert_allclose(found[1:], expected.reshape(rows * columns, -1), atol=1e-6)


def test_position_embedding_of_the_trained_size_is_untouched(vit):
    assert torch.equal(vit.position_embedding(*weights(4, 4)), vit.pos_embed)


def test_position_embedding_in_bfloat16(vit):
    expected = vit.position_embedding(*weights(3, 5))
    found = vit.to(torch.bfloat16).position_embedding(*weights(3, 5))
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, atol=1e-3, rtol=0.02)


def test_frames_do_not_see_each_other(vit):
    images, positions = torch.randn(3, 3, 28, 42), vit.position_embedding(*weights(2, 3))
    together = vit(images, positions)
    assert together.shape == (3, 6, 32)
    for i in range(3):
        assert_close(vit(images[i : i + 1], positions)[0], together[i])
