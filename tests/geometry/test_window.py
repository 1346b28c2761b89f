import numpy as np
import pytest

from spatial_mllm_ros.frames import Camera
from spatial_mllm_ros.geometry.alignment import Sim3
from spatial_mllm_ros.geometry.cameras import ray_grid
from spatial_mllm_ros.geometry.window import WindowGeometry, pinhole_rays

from .room import BOXES, WALLS, random_gauge, walk, window_of


def window(frames=3, h=6, w=8, **changed):
    arrays = {
        "depth": np.ones((frames, h, w)),
        "confidence": np.ones((frames, h, w)),
        "window_from_camera": np.tile(np.eye(4), (frames, 1, 1)),
        "intrinsics": np.tile(np.diag([5.0, 5, 1]), (frames, 1, 1)),
    }
    return WindowGeometry(**(arrays | changed))


def test_shapes_are_checked_and_types_brought_in_line():
    g = window()
    assert len(g) == 3 and g.depth.dtype == np.float32 and g.window_from_camera.dtype == np.float64
    for name, shape in (
        ("depth", (6, 8)),
        ("depth", (0, 6, 8)),
        ("confidence", (3, 6, 9)),
        ("window_from_camera", (3, 3, 4)),
        ("intrinsics", (2, 3, 3)),
    ):
        with pytest.raises(ValueError, match=f"{name} of shape"):
            window(**{name: np.zeros(shape)})


def test_points_lie_on_the_surfaces_of_the_room():
    poses, gauge = walk(100)[:5], random_gauge(np.random.default_rng(1))
    for stride in (1, 3):
        points = gauge.apply(window_of(poses, gauge).sparse(stride).points().reshape(-1, 3).astype(np.float64))
        to_walls = np.abs(points[:, None] - WALLS).min(axis=(1, 2))
        to_boxes = [
            np.linalg.norm(np.maximum(np.maximum(b[0] - points, points - b[1]), 0), axis=1)
            + np.minimum(points - b[0], b[1] - points).min(axis=1).clip(0)
            for b in BOXES
        ]
        assert np.minimum(to_walls, np.min(to_boxes, axis=0)).max() < 1e-4


def rays(g, frame):
    return pinhole_rays(g.intrinsics[frame], *g.depth.shape[1:])


def test_sparse_pixels_keep_their_rays():
    g = window_of(walk(2), Sim3())
    np.testing.assert_allclose(rays(g.sparse(4), 1), rays(g, 1)[::4, ::4], atol=1e-6)
    camera = Camera("c", "c", 56, 42, g.intrinsics[0])
    np.testing.assert_allclose(rays(g, 0), ray_grid(camera), atol=1e-6)


def test_what_is_believed():
    """At least the median, above 0.1, and a depth: worked out by hand for six pixels."""
    depth = np.array([[[1.0, 2.0, 0.0], [np.nan, 3.0, np.inf]]])
    confidence = np.array([[[5.0, 2.0, 9.0], [9.0, 3.0, 9.0]]])
    poses, k = np.eye(4)[None], np.eye(3)[None]
    believed = WindowGeometry(depth, confidence, poses, k).confident()
    assert believed.tolist() == [[[True, False, False], [False, True, False]]]
    assert not WindowGeometry(depth, confidence / 100, poses, k).confident().any()
    assert not WindowGeometry(-np.abs(depth), confidence, poses, k).confident().any()
    points = WindowGeometry(depth, confidence, poses, k).points()
    assert np.isfinite(points[0, :, :, 2]).tolist() == [[True, True, False], [False, True, False]]
