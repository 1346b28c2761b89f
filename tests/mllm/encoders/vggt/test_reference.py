"""The numbers and names of the public reference implementation."""

import json

import numpy as np
import pytest
import torch

from spatial_mllm_ros.mllm.encoders.vggt import VGGT
from spatial_mllm_ros.mllm.encoders.vggt.loading import load_vggt

PREFIX = "spatial_encoder.vggt_model."
VIDEOS = ("video_4x56x84", "video_8x84x56")


@pytest.mark.parametrize("video", VIDEOS)
def test_every_array(parity, video):
    model = load_vggt(parity / "official_tiny")
    arrays = np.load(parity / "official_tiny" / f"{video}.npz")
    frames = torch.from_numpy(arrays["video_tchw"])[None]
    with torch.inference_mode():
        tokens, patch_start = model.aggregate(frames, layers=(0, -1))
        out = model(frames, chunk=3)
    found = {"spatial_tokens_0": tokens[0][0], "spatial_tokens_last": tokens[-1][0], **vars(out)}
    assert patch_start == arrays["patch_start_idx"]
    assert found.keys() == {name for name in arrays if name.startswith(("spatial_", "pose_", "depth", "world_"))}
    for name, tensor in found.items():
        np.testing.assert_allclose(tensor.numpy(), arrays[name], rtol=0, atol=1e-4, err_msg=name)


def test_official_names_and_shapes(parity):
    shapes = json.loads((parity / "official_v1_1_state_dict_shapes.json").read_text())
    released = {name.removeprefix(PREFIX): shape for name, shape in shapes.items() if name.startswith(PREFIX)}
    with torch.device("meta"):
        ours = {name: list(weight.shape) for name, weight in VGGT().state_dict().items()}
    assert ours == {name: shape for name, shape in released.items() if not name.startswith("track_head.")}
    assert len(ours) == 1403
