"""Maps from windows of exact rooms in random gauges, with noise, against true depth and poses; and time per window."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.spatial.transform import Rotation

from benchmarks.common import Row, show, timed
from spatial_mllm_ros.config import CoverageParams, build
from spatial_mllm_ros.coverage import StreamingCoverageSampler, depth_voxel_keys
from spatial_mllm_ros.frames import Frame
from spatial_mllm_ros.geometry.alignment import Sim3, scale_from_poses
from spatial_mllm_ros.geometry.cameras import ray_grid
from spatial_mllm_ros.geometry.window import WindowGeometry
from spatial_mllm_ros.scene.pipeline import SpatialPipeline
from spatial_mllm_ros.simulation import SimFrame, make_room

SIZE = (518, 392)
ROOMS = (0, 1, 2)
DEPTH_NOISE, WRONG, POSE_NOISE = 0.02, 0.05, 0.003  # of depth; of the pixels; metres and radians
STRIDE = CoverageParams().stride
VALUES = {"cameras": ["camera"], "camera.depth_topic": "", "vggt.model": "exact"}


class Model:
    """Sees a room as it is, but for noise, each window in a gauge of its own."""

    def __init__(self, views: dict[int, SimFrame], seed: int):
        self.views, self.random = views, np.random.default_rng(seed)
        self.seen: dict[int, np.ndarray] = {}  # stamp -> depth in metres, NaN where it is not believed

    def __call__(self, window: list[Frame]) -> WindowGeometry:
        random, views = self.random, [self.views[frame.stamp_ns] for frame in window]
        gauge = Sim3(
            float(np.exp(random.normal())), Rotation.from_quat(random.normal(size=4)).as_matrix(), random.normal(size=3)
        )
        depth = np.stack([view.exact_depth for view in views])
        depth = depth * np.exp(DEPTH_NOISE * random.normal(size=depth.shape))
        wrong = random.random(depth.shape) < WRONG
        depth[wrong] = random.uniform(0.3, 9, int(wrong.sum()))
        confidence = np.where(wrong & (random.random(depth.shape) < 0.5), 1, random.uniform(2, 10, depth.shape))
        poses = []
        for view in views:
            pose = known(view).copy()
            pose[:3, :3] @= Rotation.from_rotvec(POSE_NOISE * random.normal(size=3)).as_matrix()
            pose[:3, 3] += POSE_NOISE * random.normal(size=3)
            poses.append(gauge.inverse().pose(pose))
        k = np.stack([view.frame.camera.intrinsics for view in views])
        geometry = WindowGeometry((depth / gauge.scale).astype(np.float32), confidence, np.stack(poses), k)
        used = geometry.sparse(STRIDE)
        for frame, each, believed in zip(window, used.depth, used.confident(), strict=True):
            self.seen.setdefault(frame.stamp_ns, np.where(believed, each * np.float32(gauge.scale), np.nan))
        return geometry


def run() -> Iterator[Row]:
    for seed in ROOMS:
        room = make_room(seed, SIZE, fps=5, duration=24, pushes=0, noise=0)
        views = {view.frame.stamp_ns: view for view in room.frames()}
        for has_poses in (True, False):
            yield from mapped(seed, views, has_poses)


def mapped(seed: int, views: dict[int, SimFrame], has_poses: bool) -> Iterator[Row]:
    """Errors of the map, what its selection covers of what true geometry would, and time."""
    config = build(VALUES)
    pipeline, model, seconds = SpatialPipeline(config), Model(views, seed), []
    found: dict[int, tuple[np.ndarray, float]] = {}
    for view in views.values():
        frame = view.frame
        pose = known(view) if has_poses else None
        pipeline.process(Frame(frame.stamp_ns, frame.camera, image=frame.image, world_from_camera=pose))
        while window := pipeline.next_window():
            geometry = model(window)
            seconds.append(timed(pipeline.add_window, window, geometry)[0])
    memory = pipeline.memory
    for (stamp, _), placed in memory._placed.items():
        gauge = memory._gauges[placed.section]
        depth = placed.depth * gauge.world_from_section.scale
        ratio = np.nanmedian(depth / views[stamp].exact_depth[::STRIDE, ::STRIDE])
        found[stamp] = placed.world_from_camera(gauge), float(ratio)
    true, poses = np.stack([known(views[s]) for s in found]), np.stack([pose for pose, _ in found.values()])
    world = Sim3()
    if not has_poses:
        fit = scale_from_poses(true, poses, 1.0)
        assert fit is not None
        world = fit.transform
    off = max(abs(ratio * world.scale - 1) for _, ratio in found.values())
    turned = world.rotation @ poses[:, :3, :3]
    turn = np.degrees(Rotation.from_matrix(turned.transpose(0, 2, 1) @ true[:, :3, :3]).magnitude().max())
    covered, best = coverage([s.frame.stamp_ns for s in memory.selected], model, world.inverse(), has_poses)
    name = f"room {seed}, {'known poses' if has_poses else 'no poses'}"
    taken = pipeline.windows["accepted"] + pipeline.windows["accepted after drift"]
    accepted = f"{taken} of {pipeline.windows.total()} windows accepted"
    yield Row(f"{name}: largest error of scale, of direction", f"{off:.2%}, {turn:.2f} degrees", accepted)
    yield Row(f"{name}: voxels that the selection covers", f"{covered:,}", f"{best:,}", f"{covered / best:.3f}")
    yield Row(
        f"{name}: time to add a window", f"{np.median(seconds) * 1e3:.0f} ms", f"{max(seconds) * 1e3:.0f} ms most"
    )


def coverage(stamps: list[int], model: Model, to_map: Sim3, metric: bool) -> tuple[int, int]:
    """Voxels of these frames, and of the sampler's where every window's gauge is known: believed depth, true poses.

    Both in the voxels of the map; where that has no metres, there are no limits of depth.
    """
    params = CoverageParams()
    sampler, keys = StreamingCoverageSampler(params.frames, params.voxel_size), {}
    for stamp, depth in model.seen.items():
        view = model.views[stamp]
        rays = ray_grid(view.frame.camera)[::STRIDE, ::STRIDE]
        limits = (params.min_depth, params.max_depth) if metric else (0.0, np.inf)
        depth, pose = depth * np.float32(to_map.scale), to_map.pose(known(view))
        keys[stamp] = depth_voxel_keys(depth, rays, pose, params.voxel_size, *limits, stride=1)
        sampler.add_voxels(stamp, keys[stamp])
    return len(np.unique(np.concatenate([keys[s] for s in stamps]))), sampler.voxels_covered


def known(view: SimFrame) -> np.ndarray:
    pose = view.frame.world_from_camera
    assert pose is not None
    return pose


if __name__ == "__main__":
    show(run())
