import gc
import weakref

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from spatial_mllm_ros.mllm.encoders.vggt import VGGT, VGGTOutput
from spatial_mllm_ros.mllm.encoders.vggt.aggregator import SPECIAL
from spatial_mllm_ros.mllm.encoders.vggt.dense_head import places_of
from tests.closeness import assert_close


def test_heads_in_chunks(vggt, clip):
    whole = vars(vggt(clip, chunk=100))
    for chunk in (1, 4):  # 4: a chunk that spans two clips
        for name, tensor in vars(vggt(clip, chunk=chunk)).items():
            assert_close(tensor, whole[name], what=name)


def test_only_the_heads_asked_for(vggt, clip):
    whole = vggt(clip)
    depth = vggt(clip, heads=("depth",))
    assert torch.equal(depth.depth, whole.depth) and torch.equal(depth.depth_conf, whole.depth_conf)
    assert depth.pose_enc is None and depth.world_points is None and depth.world_points_conf is None
    assert torch.equal(vggt(clip, heads=("camera",)).pose_enc, whole.pose_enc)
    assert vggt(clip, heads=()) == VGGTOutput()


def test_clips_alone_and_one_frame(vggt, clip):
    together = vggt(clip)
    for i in range(2):
        for name, tensor in vars(vggt(clip[i : i + 1])).items():
            assert_close(tensor[0], vars(together)[name][i], what=name)
    assert vggt(clip[:1, :1]).pose_enc.shape == (1, 1, 9)


def test_an_unknown_head(vggt, clip):
    with pytest.raises(ValueError, match="head 'track' is unknown: expected some of camera, depth, points"):
        vggt(clip, heads=("depth", "track"))


def test_heads_stay_float32_where_the_aggregator_is_bfloat16(vggt, clip):
    exact = vggt(clip)
    vggt.to(torch.bfloat16)
    tokens, _ = vggt.aggregate(clip, [3])
    out = vggt(clip)
    assert tokens[3].dtype == torch.bfloat16
    assert {tensor.dtype for tensor in vars(out).values()} == {torch.float32}
    assert torch.equal(out.pose_enc, vggt.camera_head(tokens[3][:, :, 0]))
    assert (out.depth / exact.depth - 1).abs().median() < 0.02


def test_heads_stay_float32_under_autocast(vggt, clip):
    with torch.autocast("cpu", torch.bfloat16):
        tokens, _ = vggt.aggregate(clip)
        out = vggt(clip, heads=("camera", "depth"))
    levels = [tokens[i].flatten(0, 1)[:, SPECIAL:] for i in range(4)]
    assert_close(out.pose_enc, vggt.camera_head(tokens[3][:, :, 0]))
    assert_close(out.depth.flatten(0, 1), vggt.depth_head(levels, *places_of((2, 3), 14, levels[0].device))[0])


def test_tokens_of_other_layers_are_let_go(vggt, clip):
    seen = []
    for block in (*vggt.aggregator.frame_blocks, *vggt.aggregator.global_blocks):
        block.register_forward_hook(lambda *args: seen.append(weakref.ref(args[-1])))
    kept, _ = vggt.aggregate(clip, [0, -1])
    gc.collect()
    assert len(seen) == 8 and not any(ref() is not None for ref in seen)
    assert kept.keys() == {0, -1}


def test_128_frames_of_the_released_size():
    """Shapes of VGGT-1B, without memory for them."""
    with FakeTensorMode():
        out = VGGT()(torch.empty(1, 128, 3, 378, 518), heads=("camera", "depth"), chunk=32)
    assert out.pose_enc.shape == (1, 128, 9)
    assert out.depth.shape == (1, 128, 378, 518, 1) and out.depth_conf.shape == (1, 128, 378, 518)
