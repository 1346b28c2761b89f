import json
from dataclasses import replace

import pytest

from spatial_mllm_ros.mllm.encoders.vggt import VGGTConfig

from .conftest import TINY


def test_nothing_said_is_vggt_1b():
    assert VGGTConfig.from_dict({}) == VGGTConfig()
    assert VGGTConfig.from_dict({"model_type": "x", "patch_embed": "dinov2_vitl14_reg"}) == VGGTConfig()


def test_sizes_of_a_checkpoint(parity):
    values = json.loads((parity / "official_tiny" / "config.json").read_text())["spatial_config"]
    assert VGGTConfig.from_dict(values) == VGGTConfig(
        img_size=56,
        embed_dim=64,
        depth=4,
        num_heads=4,
        patch_embed_depth=2,
        patch_embed_heads=4,
        camera_heads=4,
        dpt_features=32,
        dpt_out_channels=(16, 32, 48, 48),
        dpt_layers=(0, 1, 2, 3),
    )


@pytest.mark.parametrize("config", [VGGTConfig(), TINY])
def test_there_and_back(config):
    assert VGGTConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    "change, said",
    [
        ({"depth": 0}, "^depth = 0: expected an integer from 1 to 16384"),
        ({"num_heads": 4.0}, "^num_heads = 4.0: expected an integer"),
        ({"num_heads": True}, "^num_heads = True: expected an integer"),
        ({"embed_dim": "1024"}, "^embed_dim = '1024': expected an integer"),
        ({"embed_dim": 10**9}, "^embed_dim = 1000000000: expected an integer from 1 to 16384"),
        ({"num_heads": 3}, "^embed_dim gives 32: expected a multiple of 12"),
        ({"patch_embed_heads": 5}, "multiple of 5 .equal heads in patch_embed"),
        ({"camera_heads": 3}, "^embed_dim gives 64: expected a multiple of 3 .equal heads in camera_head"),
        ({"img_size": 57}, "^img_size gives 57: expected a multiple of 14"),
        ({"dpt_features": 12}, "^dpt_head.features gives 12: expected a multiple of 8"),
        ({"dpt_out_channels": (8, 8, 8)}, "^dpt_head.out_channels = .8, 8, 8.: expected four integers"),
        ({"dpt_out_channels": (8, 8, 8, 6)}, "^dpt_head.out_channels gives 6: expected a multiple of 4"),
        ({"dpt_out_channels": 8}, "^dpt_head.out_channels = 8: expected four integers"),
        ({"dpt_layers": (0, 1, 2, 4)}, "expected four ascending layers from 0 to 3"),
        ({"dpt_layers": (0, 2, 1, 3)}, "expected four ascending layers from 0 to 3"),
        ({"dpt_layers": (0, 1, 1, 3)}, "expected four ascending layers from 0 to 3"),
        ({"dpt_layers": (0, 1, 2, "3")}, "expected four ascending layers from 0 to 3"),
    ],
)
def test_sizes_that_cannot_be(change, said):
    with pytest.raises(ValueError, match=said):
        replace(TINY, **change)


def test_a_group_that_is_none():
    with pytest.raises(ValueError, match="camera_head = 16: expected its sizes by name, such as num_heads"):
        VGGTConfig.from_dict({"camera_head": 16})
