"""The paper's sampling of a video, with a model that sees exact rooms."""

import json

import numpy as np
import pytest

from spatial_mllm_ros.config import CoverageParams
from spatial_mllm_ros.coverage import select_frames
from spatial_mllm_ros.errors import BadMessage, ErrorCode, SpatialError
from spatial_mllm_ros.frames import Camera, Frame, Pixels
from spatial_mllm_ros.geometry.alignment import Sim3
from spatial_mllm_ros.geometry.window import WindowGeometry
from spatial_mllm_ros.scene.selection import select_video

from ..geometry.room import CAMERAS, START_NS, STEP_NS, frames_of, random_gauge, walk, window_of

PARAMS = CoverageParams(frames=6)


class Model:
    """Knows the pose of every picture by its first pixels."""

    def __init__(self, frames, poses, seed=0):
        self.random = np.random.default_rng(seed)
        self.gauge = random_gauge(self.random)
        self.poses = {frame.image[:2].tobytes(): pose for frame, pose in zip(frames, poses, strict=True)}
        self.images, self.window = [], None

    def __call__(self, images):
        self.images = list(images)
        poses = [self.poses[image[:2].tobytes()] for image in images]
        self.window = window_of(poses, self.gauge, self.random, noise=0.02, outliers=0.05)
        return self.window


def video(count):
    poses = walk(count)
    frames = frames_of(poses, known=False)
    return frames, Model(frames, poses)


def brute_force(window, k):
    """Plain sets of voxels and greedy selection, by the rules of the paper."""
    points, confidence = window.points(), window.confidence
    keep = (confidence >= np.median(confidence)) & (confidence > 0.1)
    low, high = points[keep].min(axis=0), points[keep].max(axis=0)
    edge = (high - low).min() / np.float32(20)
    sets = [set(map(tuple, np.floor((p[c] - low) / edge).astype(int))) for p, c in zip(points, keep, strict=True)]
    covered, order, gains = set(), [], []
    while len(order) < k:
        gain, best = max((len(s - covered), -i) for i, s in enumerate(sets))
        if not gain:
            break
        order.append(-best)
        gains.append(gain)
        covered |= sets[-best]
    return order, gains, edge, len(set().union(*sets))


def test_as_the_paper_samples():
    frames, model = video(40)
    sample = select_video(iter(frames), PARAMS, model)
    order, gains, edge, seen = brute_force(model.window, 6)
    assert [c.stamp_ns for c in sample.frames] == [frames[i].stamp_ns for i in order]
    assert [c.gain for c in sample.frames] == gains
    assert sample.voxel_size == pytest.approx(edge) and sample.voxels_seen == seen
    assert sample.voxels_covered == sum(gains)
    assert order == select_frames(model.window.points(), model.window.confidence, 6)
    assert len(model.images) == 40 and model.images[0].shape == (42, 56, 3)


def test_written_as_json(tmp_path):
    frames, model = video(5)
    select_video(frames, PARAMS, model).write(tmp_path / "sample.json")
    values = json.loads((tmp_path / "sample.json").read_text())
    assert set(values) == {"frames", "voxel_size", "voxels_seen", "voxels_covered"}
    assert set(values["frames"][0]) == {"stamp_ns", "camera", "gain"}


@pytest.mark.parametrize("count", [1, 2, 127, 128, 129, 300, 1000])
def test_at_most_128_frames_evenly(count):
    still = np.zeros((4, 4, 3), np.uint8)
    shown = []

    def model(images):
        shown.append(len(images))
        return window_of(walk(len(images)), random_gauge(np.random.default_rng(0)))

    frames = (Frame(START_NS + i * STEP_NS, CAMERAS["front"], image=still) for i in range(count))
    sample = select_video(frames, CoverageParams(frames=3), model)
    assert shown == [min(count, 128)]
    assert all(START_NS <= c.stamp_ns < START_NS + count * STEP_NS for c in sample.frames)


def test_large_pictures_wait_small():
    image = np.random.default_rng(0).integers(0, 255, (1080, 1920, 3), np.uint8)
    camera = Camera("c", "c", 1920, 1080, np.diag([1000.0, 1000, 1]))
    shapes = []

    def model(images):
        shapes.extend(image.shape for image in images)
        return window_of(walk(len(images)), random_gauge(np.random.default_rng(0)))

    select_video([Frame(i, camera, image=image) for i in range(3)], PARAMS, model)
    assert shapes == [(360, 640, 3)] * 3


def test_pictures_that_cannot_be_used_are_skipped_and_counted():
    frames, model = video(10)

    def fail():
        raise BadMessage("cut off")

    frames[3] = Frame(frames[3].stamp_ns, CAMERAS["front"], image=Pixels(42, 56, 9, fail))
    frames[5] = Frame(frames[5].stamp_ns, CAMERAS["front"])
    sample = select_video(frames, PARAMS, model)
    assert sample.skipped == {"broken image (cut off)": 1, "no image": 1} and len(model.images) == 8
    with pytest.raises(SpatialError) as none:
        select_video(frames[3:4], PARAMS, model)
    assert none.value.code is ErrorCode.NO_FRAMES
    with pytest.raises(SpatialError) as empty:
        select_video([], PARAMS, model)
    assert empty.value.code is ErrorCode.NO_FRAMES


@pytest.mark.parametrize("fault", ["depth", "confidence", "poses", "intrinsics"])
def test_geometry_that_cannot_be_used(fault):
    frames, model = video(4)

    def broken(images):
        g = model(images)
        nan = {name: np.full_like(getattr(g, name), np.nan) for name in ("depth", "confidence", "window_from_camera")}
        return {
            "depth": WindowGeometry(nan["depth"], g.confidence, g.window_from_camera, g.intrinsics),
            "confidence": WindowGeometry(g.depth, nan["confidence"], g.window_from_camera, g.intrinsics),
            "poses": WindowGeometry(g.depth, g.confidence, nan["window_from_camera"], g.intrinsics),
            "intrinsics": WindowGeometry(g.depth, g.confidence, g.window_from_camera, 0 * g.intrinsics),
        }[fault]

    with pytest.raises(SpatialError) as caught:
        select_video(frames, PARAMS, broken)
    assert caught.value.code is ErrorCode.NO_GEOMETRY


def test_what_the_model_says_is_passed_on():
    frames, model = video(4)

    def fails(_images):
        raise SpatialError(ErrorCode.MODEL_NOT_READY, "still loading")

    with pytest.raises(SpatialError, match="still loading"):
        select_video(frames, PARAMS, fails)
    with pytest.raises(SpatialError, match="saw 3 of 4 frames"):
        select_video(frames, PARAMS, lambda images: model(images[:3]))


def test_pixels_without_depth_have_no_say_however_sure():
    frames, model = video(8)

    def sky(images):
        g = model(images)
        depth, confidence = g.depth.copy(), g.confidence.copy()
        depth[:, :30], confidence[:, :30] = 0, 100
        return WindowGeometry(depth, confidence, g.window_from_camera, g.intrinsics)

    sample = select_video(frames, PARAMS, sky)
    g = model.window
    below = WindowGeometry(g.depth[:, 30:], g.confidence[:, 30:], g.window_from_camera, moved_up(g.intrinsics, 30))
    alone = select_video(frames, PARAMS, lambda _: below)
    assert sample.frames == alone.frames and sample.voxels_covered == alone.voxels_covered > 100


def moved_up(intrinsics, rows):
    out = intrinsics.copy()
    out[:, 1, 2] -= rows
    return out


def test_still_and_flat_videos_need_one_frame():
    frames, _ = video(5)
    still = select_video(frames, PARAMS, lambda images: window_of([walk(1)[0]] * len(images), Sim3()))
    assert [c.stamp_ns for c in still.frames] == [START_NS] and still.voxels_covered == still.voxels_seen
    flat = window_of(walk(5), Sim3())
    flat = WindowGeometry(np.ones_like(flat.depth), flat.confidence, np.stack([np.eye(4)] * 5), flat.intrinsics)
    sample = select_video(frames, PARAMS, lambda _: flat)
    assert len(sample.frames) == 1
    # a picture of 42 x 56 pixels at a focal length of 40 shows 41/40 by 55/40 of a wall at distance 1
    assert sample.voxel_size == pytest.approx(41 / 40 / 20, rel=1e-5)
    assert 20 * 26 <= sample.voxels_covered <= 21 * 28
