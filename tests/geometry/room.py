"""A room of walls and boxes whose depth is exact, and windows of it as a model would give them, in any gauge."""

from functools import lru_cache

import numpy as np
from scipy.spatial.transform import Rotation

from spatial_mllm_ros.frames import Camera, Frame
from spatial_mllm_ros.geometry.alignment import Sim3
from spatial_mllm_ros.geometry.window import WindowGeometry

HEIGHT, WIDTH = 42, 56
K = np.array([[40.0, 0, 27.5], [0, 40.0, 20.5], [0, 0, 1]])
CAMERAS = {name: Camera(name, name, WIDTH, HEIGHT, K) for name in ("front", "rear")}
OFF_GRID = 0.037  # no surface lies where voxels meet
WALLS = np.array([[-3.0, -2.5, 0.0], [3.0, 2.5, 2.8]]) + OFF_GRID  # metres, z up
BOXES = OFF_GRID + np.array(
    [
        [[-2.9, -2.4, 0.0], [-1.7, -1.2, 0.8]],
        [[1.4, 1.2, 0.0], [2.6, 2.3, 1.1]],
        [[-0.4, -2.45, 0.0], [0.6, -2.0, 1.9]],
        [[2.2, -1.5, 0.0], [2.95, -0.4, 0.5]],
    ]
)
STEP_NS = 100_000_000
START_NS = 1_000_000_000_000


def look(x, y, z, yaw, pitch=0.25):
    """world_from_camera of a camera at a place that looks along yaw, and down by pitch, radians."""
    forward = np.array([np.cos(yaw) * np.cos(pitch), np.sin(yaw) * np.cos(pitch), -np.sin(pitch)])
    right = np.array([np.sin(yaw), -np.cos(yaw), 0.0])
    out = np.eye(4)
    out[:3, :3] = np.stack([right, np.cross(forward, right), forward], axis=1)
    out[:3, 3] = x, y, z
    return out


def walk(count):
    """Poses of a walk on an ellipse, once around in 100 frames, that looks outwards and around."""
    a = 2 * np.pi * np.arange(count) / 100
    return [look(1.0 * np.cos(t), 0.7 * np.sin(t), 1.4 + 0.1 * np.sin(3 * t), t + 0.5 * np.sin(2 * t)) for t in a]


def depth_of(pose):
    """Exact depth, float64 [HEIGHT, WIDTH] metres: where each ray leaves the room or enters a box."""
    return _depth(pose.tobytes())


@lru_cache(maxsize=1000)
def _depth(pose):
    pose = np.frombuffer(pose).reshape(4, 4)
    v, u = np.mgrid[0:HEIGHT, 0:WIDTH]
    rays = np.stack([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], np.ones(u.shape)], axis=-1) @ pose[:3, :3].T
    with np.errstate(divide="ignore"):
        across = (WALLS[:, None, None] - pose[:3, 3]) / rays
        depth = across.max(axis=0).min(axis=-1)
        for box in BOXES:
            hits = np.sort((box[:, None, None] - pose[:3, 3]) / rays, axis=0)
            enter, leave = hits[0].max(axis=-1), hits[1].min(axis=-1)
            depth = np.where((enter < leave) & (enter > 0), np.minimum(depth, enter), depth)
    return depth


def frames_of(poses, *, name="front", known=True, depth=False, seed=0, first=0):
    """Frames with pictures that differ from each other."""
    random = np.random.default_rng(seed)
    return [
        Frame(
            START_NS + (first + i) * STEP_NS,
            CAMERAS[name],
            image=random.integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8),
            depth=depth_of(pose).astype(np.float32) if depth else None,
            world_from_camera=pose if known else None,
            world_frame="odom",
        )
        for i, pose in enumerate(poses)
    ]


def random_gauge(random):
    """world_from_window: any rotation, units from 1/5 to 5 m."""
    rotation = Rotation.from_quat(random.normal(size=4)).as_matrix()
    return Sim3(float(np.exp(random.uniform(-1.6, 1.6))), rotation, random.uniform(-10, 10, 3))


def window_of(poses, gauge, random=None, *, noise=0.0, outliers=0.0, pose_noise=0.0):
    """The window that sees exact geometry in a gauge.

    Args:
        noise: of depth, relative. pose_noise: metres and radians. outliers: part of the pixels that have any depth;
            of these, half have low confidence.
    """
    depth = np.stack([depth_of(pose) for pose in poses])
    confidence = np.full(depth.shape, 5.0)
    cameras = [pose.copy() for pose in poses]
    if random is not None:
        confidence = random.uniform(2, 10, depth.shape)
        depth *= np.exp(noise * random.normal(size=depth.shape))
        wrong = random.random(depth.shape) < outliers
        depth = np.where(wrong, random.uniform(0.3, 9, depth.shape), depth)
        confidence = np.where(wrong & (random.random(depth.shape) < 0.5), 1.0, confidence)
        for camera in cameras:
            camera[:3, :3] @= Rotation.from_rotvec(pose_noise * random.normal(size=3)).as_matrix()
            camera[:3, 3] += pose_noise * random.normal(size=3)
    window_from_world = gauge.inverse()
    return WindowGeometry(
        (depth / gauge.scale).astype(np.float32),
        confidence.astype(np.float32),
        np.stack([window_from_world.pose(camera) for camera in cameras]),
        np.stack([K] * len(poses)),
    )


def misplaced(world_from_map, found, true):
    """Largest errors of camera places (m) and directions (rad) after a transform."""
    moved = [world_from_map.pose(pose) for pose in found]
    places = max(float(np.linalg.norm(a[:3, 3] - b[:3, 3])) for a, b in zip(moved, true, strict=True))
    turns = max(
        float(Rotation.from_matrix(a[:3, :3].T @ b[:3, :3]).magnitude()) for a, b in zip(moved, true, strict=True)
    )
    return places, turns
