"""Views of a plain room that can be worked out by hand: a box of walls, seen by cameras inside of it."""

import numpy as np

from spatial_mllm_training.geometry.views import Views

HALF = np.array([3.0, 3.0, 2.0])  # m from the middle to the walls
SIZE = (28, 42)  # height and width, pixels
FOCAL = 30.0


def box_views(count: int = 6, seed: int = 0) -> Views:
    """Cameras at random places that look at about the same wall; depth is exact, colour is the place on the wall."""
    rng = np.random.default_rng(seed)
    height, width = SIZE
    intrinsics = np.array([FOCAL, FOCAL, (width - 1) / 2, (height - 1) / 2])
    poses, depths, images = [], [], []
    for _ in range(count):
        pose = look(rng.uniform(-1, 1, 3) * [1.5, 1.5, 0.3], rng.uniform(-0.7, 0.7))
        depth, points = cast(pose, intrinsics)
        poses.append(pose)
        depths.append(depth)
        images.append(np.uint8(255 * (points / HALF + 1) / 2))
    overlap = np.full((count, count), 0.2, np.float32)
    np.fill_diagonal(overlap, 1)
    return Views(
        np.stack(images), np.stack(depths).astype(np.float16), np.stack(poses), np.tile(intrinsics, (count, 1)), overlap
    )


def look(place, yaw: float):
    """world_from_camera of a level camera, the world's z upwards."""
    pose = np.eye(4)
    forward = np.array([np.cos(yaw), np.sin(yaw), 0])
    down = np.array([0, 0, -1.0])
    pose[:3, :3] = np.stack([np.cross(down, forward), down, forward], axis=1)
    pose[:3, 3] = place
    return pose


def cast(pose, intrinsics):
    """Depth [H, W] and points [H, W, 3] of the walls, ray by ray."""
    fx, fy, cx, cy = intrinsics
    depth, points = np.zeros(SIZE), np.zeros((*SIZE, 3))
    for v in range(SIZE[0]):
        for u in range(SIZE[1]):
            ray = pose[:3, :3] @ [(u - cx) / fx, (v - cy) / fy, 1]
            with np.errstate(divide="ignore"):
                depth[v, u] = min(
                    t for t in np.concatenate([(HALF - pose[:3, 3]) / ray, (-HALF - pose[:3, 3]) / ray]) if t > 0
                )
            points[v, u] = pose[:3, 3] + depth[v, u] * ray
    return depth, points
