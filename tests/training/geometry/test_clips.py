"""Clips: what is drawn, and that mirrored and resized clips show a world that could be."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch", reason="the model needs torch")

from spatial_mllm_training.geometry import clips
from spatial_mllm_training.geometry.clips import LEAST_OVERLAP, ClipBatches, Phase, choose, recolour, resized
from spatial_mllm_training.geometry.losses import first_points

from .boxes import HALF, SIZE, box_views


def on_walls(batch, origin):
    """How far each point of a clip is from the nearest wall of the box, metres, where depth is known."""
    points = first_points(batch)[0].double()
    world = points @ torch.from_numpy(origin[:3, :3]).T + torch.from_numpy(origin[:3, 3])
    away = (torch.from_numpy(HALF) - world.abs()).abs().min(dim=-1).values
    return away[batch.depth[0] > 0]


def poses_and_mirrored():
    mirror = np.diag([-1.0, 1, 1, 1])
    return [world for pose in box_views().world_from_camera for world in (pose, mirror @ pose @ mirror)]


def test_batches_depend_on_their_number_alone():
    scenes = [box_views(seed=i) for i in range(3)]
    one, other = (ClipBatches(scenes, [Phase(5, SIZE)], seed=4, clip_frames=8) for _ in range(2))
    for i in (3, 0, 3):
        a, b = one[i], other[i]
        assert all(torch.equal(getattr(a, name), getattr(b, name)) for name in vars(a) if name != "alone")
    assert not torch.equal(one[1].images, one[2].images) or one[1].images.shape != one[2].images.shape
    assert len(one) == 5


def test_a_batch_has_as_many_frames_as_asked_for():
    batches = ClipBatches([box_views(8)], [Phase(30, SIZE)], seed=0, clip_frames=8)
    shapes = {tuple(batches[i].depth.shape[:2]) for i in range(30)}
    assert shapes == {(8, 1), (4, 2), (2, 4)}


def test_points_of_all_frames_lie_on_the_walls(monkeypatch):
    """In the first camera's frame, so also after mirroring: the box is its own mirror image."""
    monkeypatch.setattr(clips, "LENGTHS", {2: 1.0})
    batches = ClipBatches([box_views()], [Phase(6, SIZE)], seed=1, clip_frames=2)
    for i in range(6):
        fits = [float(on_walls(batches[i], pose).max()) for pose in poses_and_mirrored()]
        assert min(fits) < 0.01  # float16 depth: 2 mm at 4 m


def test_a_resized_clip_shows_the_same_walls(monkeypatch):
    monkeypatch.setattr(clips, "LENGTHS", {2: 1.0})
    small = resized(ClipBatches([box_views()], [Phase(1, SIZE)], seed=1, clip_frames=2)[0], (14, 28))
    assert small.images.shape[-2:] == small.depth.shape[-2:] == (14, 28)
    whole = [float(on_walls(small, pose).median()) for pose in poses_and_mirrored()]
    assert min(whole) < 0.03  # depth is that of the nearest pixel, at most half of one away


def test_phases_follow_each_other():
    phases = [Phase(2, (14, 14), alone=True), Phase(1, (28, 14)), Phase(1, SIZE)]
    batches = ClipBatches([box_views()], phases, seed=0, clip_frames=4)
    assert [tuple(batches[i].depth.shape[-2:]) for i in range(6)] == [(14, 14), (14, 14), (28, 14), SIZE, SIZE, SIZE]
    assert [batches[i].alone for i in range(5)] == [True, True, False, False, False]
    assert len(batches) == 4


@given(seed=st.integers(0, 1000), frames=st.integers(1, 6), most=st.sampled_from([0.35, 1.0]))
def test_views_of_a_clip_share_some_of_what_they_see(seed, frames, most):
    rng = np.random.default_rng(seed)
    overlap = (rng.uniform(0, 1, (7, 7)) ** 2).astype(np.float32)
    overlap = np.maximum(overlap, overlap.T)
    chosen = choose(rng, overlap, frames, most)
    assert len(chosen) == len(set(chosen)) == frames
    fits = (overlap >= LEAST_OVERLAP) & (overlap <= most)
    np.fill_diagonal(fits, False)
    if frames == 2 and fits[chosen].any(axis=1).all():  # either of the two was drawn first
        assert fits[chosen[0], chosen[1]]


def test_a_scene_of_one_view_is_shown_twice():
    assert choose(np.random.default_rng(0), np.ones((1, 1), np.float32), 2, 1.0) == [0, 0]


def test_recolouring_keeps_order_and_is_the_same_for_all_frames():
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)[None]
    other = recolour(np.random.default_rng(3), np.concatenate([ramp, ramp]))
    assert np.array_equal(other[0], other[1])
    assert (np.diff(other[0, 0].astype(int), axis=0) >= 0).all()
    assert other.dtype == np.uint8
    assert not np.array_equal(other[0], ramp[0])
