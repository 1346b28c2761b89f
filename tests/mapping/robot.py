"""A robot in an exact room, with a model that sees it in windows of their own gauges."""

from dataclasses import replace

import numpy as np
from scipy.spatial.transform import Rotation

from spatial_mllm_ros.config import build
from spatial_mllm_ros.geometry.alignment import Sim3
from spatial_mllm_ros.scene.pipeline import SpatialPipeline

from ..geometry.room import depth_of, frames_of, random_gauge, window_of

NOISE = {"noise": 0.02, "outliers": 0.05, "pose_noise": 0.005}  # 2 % of depth, 5 % of pixels, 5 mm and 0.3 degrees


FRAMES = 12


VOXEL = 0.2  # a few pixels of these small pictures


def config(**values):
    names = {k.replace("__", "."): v for k, v in values.items()}
    rgb = {
        "vggt.model": "model",
        "front.depth_topic": "",
        "coverage.stride": 1,
        "coverage.frames": FRAMES,
        "coverage.voxel_size": VOXEL,
    }
    return build({"cameras": ["front", "rear"], **rgb, **names})


class Robot:
    """A pipeline and a model that sees the room exactly, but for noise, each window in another gauge.

    Args:
        drift: how much a window's last frame is seen too large against its first, and turned to one side, radians.
    """

    def __init__(self, seed=0, noise=None, drift=(0.0, 0.0), **values):
        self.pipeline = SpatialPipeline(config(**values))
        self.random = np.random.default_rng(seed)
        self.noise, self.drift = noise or {}, drift
        self.true, self.results, self.asked = {}, [], []
        self.gauges, self.seen = [], {}  # of each window; believed depth in metres of each frame

    def drive(self, poses, spoil=None, **kinds):
        """Feed frames of these poses; ``spoil(geometry)`` may change what the model says."""
        frames = frames_of(poses, **kinds)
        self.true |= {frame.key: pose for frame, pose in zip(frames, poses, strict=True)}
        for frame in frames:
            self.pipeline.process(frame)
            while window := self.pipeline.next_window():
                self.asked.append(window)
                geometry = self.see(window)
                self.results.append(self.pipeline.add_window(window, spoil(geometry) if spoil else geometry))
        return self.results

    def see(self, window):
        poses, gauge = [self.true[frame.key] for frame in window], random_gauge(self.random)
        geometry = bent(window_of(poses, gauge, self.random, **self.noise), *self.drift)
        believed = np.where(geometry.confident(), geometry.depth, np.nan) * np.float32(gauge.scale)
        for frame, depth in zip(window, believed, strict=True):
            self.seen.setdefault(frame.key, depth)
        self.gauges.append(gauge)
        return geometry

    @property
    def memory(self):
        return self.pipeline.memory

    def held(self):
        """Of each frame that the map holds: its true pose, that of the map, and median depth / true depth."""
        out = []
        for key, placed in self.memory._placed.items():
            gauge, pose = self.memory._gauges[placed.section], self.true[key]
            depth = placed.depth * gauge.world_from_section.scale
            out.append((pose, placed.world_from_camera(gauge), float(np.nanmedian(depth / depth_of(pose)))))
        return out


def bent(g, growth, turn):
    """A window whose frames are seen larger and more turned, about its first camera, the later they are."""
    part = np.linspace(0, 1, len(g))
    scales = (1 + growth) ** part
    poses, first = g.window_from_camera.copy(), g.window_from_camera[0]
    for pose, scale, angle in zip(poses, scales, turn * part, strict=True):
        change = Sim3(scale, first[:3, :3] @ Rotation.from_rotvec([0, angle, 0]).as_matrix() @ first[:3, :3].T)
        pose[:] = (Sim3(translation=first[:3, 3]) @ change @ Sim3(translation=-first[:3, 3])).pose(pose)
    return replace(g, depth=g.depth * scales[:, None, None].astype(np.float32), window_from_camera=poses)


def broken(kind):
    """What a failing model may say."""

    def spoil(g):
        if kind == "nan poses":
            return replace(g, window_from_camera=np.full_like(g.window_from_camera, np.nan))
        if kind == "no rotation":
            return replace(g, window_from_camera=2 * g.window_from_camera)
        if kind == "nan intrinsics":
            return replace(g, intrinsics=np.full_like(g.intrinsics, np.nan))
        if kind == "zero focal":
            return replace(g, intrinsics=np.zeros_like(g.intrinsics))
        if kind == "nan depth":
            return replace(g, depth=np.full_like(g.depth, np.nan))
        if kind == "negative depth":
            return replace(g, depth=-g.depth)
        if kind == "no confidence":
            return replace(g, confidence=g.confidence * 0)
        if kind == "nan confidence":
            return replace(g, confidence=g.confidence * np.nan)
        if kind == "few frames":
            return replace(
                g,
                depth=g.depth[:5],
                confidence=g.confidence[:5],
                window_from_camera=g.window_from_camera[:5],
                intrinsics=g.intrinsics[:5],
            )
        if kind == "other scene":
            return replace(g, depth=np.random.default_rng(1).uniform(0.5, 5, g.depth.shape))
        if kind == "other path":
            poses = g.window_from_camera.copy()
            poses[:, :3, :3] = Rotation.from_quat(np.random.default_rng(1).normal(size=(len(poses), 4))).as_matrix()
            return replace(g, window_from_camera=poses)
        if kind == "other size":
            return g.sparse(2)
        if kind == "smaller room":
            return replace(g, depth=0.5 * g.depth)
        assert kind == "failed"
        return None

    return spoil


def books_are_right(robot):
    memory = robot.memory
    held = {id(f): f for f in (*memory.recent(), *memory._held.values())}
    placed = sum(p.nbytes for p in memory._placed.values())
    assert memory._nbytes == sum(f.nbytes for f in held.values()) + placed
    assert set(memory._placed) <= set(memory._held) == set(memory._sampler.held)
    assert {p.section for p in memory._placed.values()} <= set(memory._gauges)
    assert all(p.depth.base is None for p in memory._placed.values())  # no frame keeps its whole window alive
