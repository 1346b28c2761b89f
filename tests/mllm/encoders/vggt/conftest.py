"""A tiny VGGT with random weights that matter: nothing is scaled away, no two parameters are alike."""

import pytest
import torch

from spatial_mllm_ros.mllm.encoders.vggt import VGGT, VGGTConfig

TINY = VGGTConfig(
    img_size=56,
    embed_dim=32,
    depth=4,
    num_heads=4,
    patch_embed_depth=2,
    patch_embed_heads=4,
    camera_heads=4,
    dpt_features=16,
    dpt_out_channels=(8, 12, 16, 20),
    dpt_layers=(0, 1, 2, 3),
)


@pytest.fixture
def vggt():
    torch.manual_seed(0)
    model = VGGT(TINY).eval().requires_grad_(False)
    for name, weight in model.named_parameters():
        weight += 0.3 if name.endswith("gamma") else 0.05 * torch.randn(weight.shape)
    return model


@pytest.fixture
def clip():
    """Two clips of three frames, [2, 3, 3, 28, 42]."""
    return torch.rand(2, 3, 3, 28, 42, generator=torch.Generator().manual_seed(1))
