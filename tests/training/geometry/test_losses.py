"""Losses of geometry: zero for the truth, closed forms for simple errors, gradients where they belong."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch

pytest.importorskip("torch", reason="the model needs torch")

from spatial_mllm_ros.mllm.encoders.vggt import VGGT, VGGTConfig
from spatial_mllm_ros.mllm.encoders.vggt.dense_head import signed_expm1, signed_log1p
from spatial_mllm_ros.mllm.encoders.view import decode_poses
from spatial_mllm_training.geometry import clips
from spatial_mllm_training.geometry.losses import (
    CONFIDENCE,
    GeometryLoss,
    dense_loss,
    encode_poses,
    first_points,
    project_into,
    seen_by_first,
)

from .boxes import SIZE, box_views

TINY = VGGTConfig(
    img_size=42, embed_dim=16, depth=4, num_heads=2, patch_embed_depth=1, patch_embed_heads=2, camera_heads=2,
    dpt_features=8, dpt_out_channels=(8, 8, 8, 8), dpt_layers=(0, 1, 2, 3),
)  # fmt: skip

PATCHES = ("patch_depth", "patch_points", "shared_points")


@pytest.fixture
def batch(monkeypatch):
    monkeypatch.setattr(clips, "LENGTHS", {2: 1.0})
    return clips.ClipBatches([box_views()], [clips.Phase(1, SIZE)], seed=1, clip_frames=4)[0]


def test_encoded_poses_are_read_back(batch):
    found = decode_poses(encode_poses(batch).double().numpy(), tuple(batch.depth.shape[2:]))
    pose, intrinsics = map(torch.from_numpy, found)
    assert torch.allclose(pose, batch.first_from_camera.double(), atol=1e-5)
    assert torch.allclose(intrinsics[..., 0, 0], batch.intrinsics[..., 0].double(), atol=1e-3)
    assert torch.allclose(intrinsics[..., 1, 1], batch.intrinsics[..., 1].double(), atol=1e-3)


def test_points_project_to_where_they_were_seen(batch):
    points = first_points(batch)
    pixel, seen = project_into(points[:, :1].flatten(2, 3), batch)
    height, width = batch.depth.shape[2:]
    v, u = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    assert torch.equal(pixel[:, 0], torch.stack([u, v], -1).flatten(0, 1).expand(len(pixel), -1, -1))
    assert seen[:, 0].all()
    # by hand: one point of the first clip in its second camera
    pose = batch.first_from_camera[0, 1].double()
    fx, fy, cx, cy = batch.intrinsics[0, 1].double()
    for index in (0, 200, 700):
        local = torch.linalg.solve(pose, torch.cat([points[0, 0].flatten(0, 1)[index].double(), torch.ones(1)]))
        place = torch.stack([local[0] / local[2] * fx + cx, local[1] / local[2] * fy + cy])
        inside = bool(
            local[2] > 0.1 and (place.round() >= 0).all() and place[0].round() < width and place[1].round() < height
        )
        if not inside:
            assert not seen[0, 1, index]
        elif seen[0, 1, index]:
            assert torch.equal(pixel[0, 1, index].double(), place.round())


def test_what_the_first_camera_sees_of_other_frames_by_hand(batch):
    points = first_points(batch)
    _, seen = seen_by_first(points, batch)
    assert seen[:, 0].all()
    height, width = batch.depth.shape[2:]
    counts = [0, 0]
    for clip, v, u in product(range(len(seen)), range(0, height, 9), range(0, width, 9)):
        fx, fy, cx, cy = batch.intrinsics[clip, 0].double().tolist()
        x, y, z = points[clip, 1, v, u].double().tolist()
        column, row = round(x / z * fx + cx), round(y / z * fy + cy)
        inside = z > 0.1 and 0 <= column < width and 0 <= row < height
        there = float(batch.depth[clip, 0, row, column]) if inside else np.inf
        assert bool(seen[clip, 1, v, u]) == (abs(there - z) <= max(0.05, 0.05 * z))
        counts[bool(seen[clip, 1, v, u])] += 1
    assert min(counts) > 0


def test_a_dense_loss_of_the_truth_is_what_confidence_earns():
    truth, known = torch.rand(2, 5, 6, 1) + 1, torch.ones(2, 5, 6, dtype=torch.bool)
    assert float(dense_loss(truth, truth, torch.ones(2, 5, 6), known)) == 0
    sure = torch.full((2, 5, 6), 3.0)
    assert float(dense_loss(truth, truth, sure, known)) == pytest.approx(-CONFIDENCE * np.log(3), rel=1e-6)


def test_a_dense_loss_of_a_constant_error():
    truth, known = torch.full((1, 4, 4, 1), 3.0), torch.ones(1, 4, 4, dtype=torch.bool)
    loss = dense_loss(truth + 0.4, truth, torch.full((1, 4, 4), 2.0), known)
    assert float(loss) == pytest.approx(2 * 0.4 / 4 - CONFIDENCE * np.log(2), rel=1e-5)  # no gradient across pixels


def test_unknown_pixels_do_not_count():
    truth, known = torch.full((1, 4, 4, 1), 3.0), torch.ones(1, 4, 4, dtype=torch.bool)
    known[0, 0] = False
    said = truth.clone()
    said[0, 0] = 100.0
    assert float(dense_loss(said, truth, torch.ones(1, 4, 4), known)) == 0
    assert float(dense_loss(said, truth, torch.ones(1, 4, 4), torch.zeros_like(known))) == 0


def test_signed_logarithm_is_the_inverse_of_the_points_activation():
    x = torch.tensor([-5.0, -0.1, 0.0, 0.3, 9.0])
    assert torch.allclose(signed_expm1(signed_log1p(x)), x, atol=1e-6)


def test_every_weight_learns_but_what_the_forward_pass_leaves_out(batch):
    torch.manual_seed(0)
    teacher = GeometryLoss(VGGT(TINY), dense_frames=2)
    losses = teacher(batch)
    names = {"camera", "patch_camera", *PATCHES, "match", "guide", "depth", "points", "loss"}
    assert losses.keys() == names
    assert float(losses["loss"].detach()) == pytest.approx(
        sum(float(v.detach()) for k, v in losses.items() if k != "loss"), rel=1e-5
    )
    losses["loss"].backward()
    idle = {name for name, parameter in teacher.named_parameters() if parameter.grad is None}
    assert idle == {"vggt.aggregator.patch_embed.mask_token", "alone_depth.weight", "alone_depth.bias"}


def test_frames_alone_teach_the_patch_encoder_alone(batch):
    teacher = GeometryLoss(VGGT(TINY))
    losses = teacher(replace(batch, alone=True))
    assert losses.keys() == {"alone_depth", "match", "loss"}
    losses["loss"].backward()
    learnt = {name.rsplit(".blocks")[0] for name, parameter in teacher.named_parameters() if parameter.grad is not None}
    assert all(name.startswith(("vggt.aggregator.patch_embed", "match", "alone_depth")) for name in learnt)


def test_a_few_steps_on_one_batch_lower_every_loss(batch):
    torch.manual_seed(0)
    teacher = GeometryLoss(VGGT(TINY), dense_frames=4)
    optimizer = torch.optim.AdamW(teacher.parameters(), lr=3e-3)
    first = {name: float(value.detach()) for name, value in teacher(batch).items()}
    for _ in range(40):
        loss = teacher(batch)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    last = {name: float(value.detach()) for name, value in teacher(batch).items()}
    assert all(
        last[name] < 0.8 * first[name] for name in ("camera", "patch_camera", "patch_depth", "patch_points", "loss")
    )
    assert last["depth"] < first["depth"]
    assert last["points"] < first["points"]


def test_clips_without_depth_teach_cameras_alone(batch):
    batch.depth.zero_()
    losses = GeometryLoss(VGGT(TINY), dense_frames=2)(batch)
    values = {name: float(value.detach()) for name, value in losses.items()}
    assert [values[name] for name in ("patch_depth", "patch_points", "shared_points", "match", "depth", "points")] == [
        0
    ] * 6
    assert values["camera"] > 0
    assert values["patch_camera"] > 0
    losses["loss"].backward()
