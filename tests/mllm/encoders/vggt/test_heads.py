import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spatial_mllm_ros.mllm.encoders.grid import heads_inputs
from spatial_mllm_ros.mllm.encoders.vggt.dense_head import Fusion, position_embedding, signed_expm1


@given(st.lists(st.floats(-20, 20), min_size=1))
def test_points_are_the_inverse_of_a_signed_logarithm(logs):
    x = torch.tensor(logs, dtype=torch.float64)
    y = signed_expm1(x)
    torch.testing.assert_close(y.sign() * torch.log1p(y.abs()), x)


@given(rows=st.integers(1, 9), columns=st.integers(1, 9), quarter=st.integers(1, 8))
def test_position_embedding_cell_by_cell(rows, columns, quarter):
    places = heads_inputs(rows, columns)
    found = position_embedding(
        4 * quarter, *(torch.from_numpy(places[name]) for name in ("cells_down", "cells_across"))
    ).numpy()
    aspect = columns / rows
    diagonal = np.hypot(aspect, 1)
    frequency = 0.01 ** (np.arange(quarter) / quarter)
    for r in range(rows):
        for c in range(columns):
            x = ((2 * c + 1) / columns - 1) * aspect / diagonal if columns > 1 else 0.0
            y = ((2 * r + 1) / rows - 1) / diagonal if rows > 1 else 0.0
            waves = [wave(frequency * at) for at in (x, y) for wave in (np.sin, np.cos)]
            np.testing.assert_allclose(found[:, r, c], np.concatenate(waves), atol=1e-6)


def test_the_coarsest_fusion_has_no_level_to_add():
    assert not hasattr(Fusion(8, coarsest=True), "resConfUnit1")
    assert Fusion(8, coarsest=True)(torch.rand(1, 8, 3, 4), None, (5, 9)).shape == (1, 8, 5, 9)


def test_what_every_pixel_gets(vggt, clip):
    out = vggt(clip)
    assert out.depth.shape == (2, 3, 28, 42, 1) and (out.depth > 0).all()
    assert out.world_points.shape == (2, 3, 28, 42, 3) and out.world_points.std() > 1e-3
    for confidence in (out.depth_conf, out.world_points_conf):
        assert confidence.shape == (2, 3, 28, 42) and (confidence >= 1).all()


def test_field_of_view_is_never_negative(vggt, clip):
    vggt.camera_head.pose_branch.fc2.bias.copy_(torch.full((9,), -100.0))
    pose = vggt(clip, heads=["camera"]).pose_enc
    assert (pose[..., 7:] == 0).all() and (pose[..., :7] < 0).all()


def test_poses_do_not_depend_on_the_order_of_tokens(vggt):
    tokens = torch.randn(1, 5, 64)
    order = [3, 0, 4, 1, 2]
    torch.testing.assert_close(vggt.camera_head(tokens[:, order]), vggt.camera_head(tokens)[:, order])


def test_the_pose_is_the_sum_of_four_changes(vggt):
    changes = []
    vggt.camera_head.pose_branch.register_forward_hook(lambda *args: changes.append(args[-1]))
    pose = vggt.camera_head(torch.randn(1, 2, 64))
    assert len(changes) == 4
    torch.testing.assert_close(pose[..., :7], sum(changes)[..., :7])


@pytest.mark.parametrize("size", [(14, 14), (14, 56), (98, 28)])
def test_any_multiple_of_the_patch(vggt, size):
    out = vggt(torch.rand(1, 1, 3, *size))
    assert out.depth.shape == (1, 1, *size, 1) and out.depth.isfinite().all()
