"""Frames of a flat wall seen from places along it: coverage can be counted by hand."""

import numpy as np

from spatial_mllm_ros.frames import Camera, Frame

K = np.array([[40.0, 0, 31.5], [0, 40, 23.5], [0, 0, 1]])
WALL = 2.0  # metres in front of every camera
STEP = 1_000_000_000 // 10


def camera(name="front"):
    return Camera(name, f"{name}_optical", 64, 48, K)


CAMERAS = {name: camera(name) for name in ("front", "rear")}


def frame(i, x=0.0, name="front", *, has_depth=True, has_pose=True, image=None):
    """Frame i, taken x metres along the wall; it sees 3.2 m of it."""
    world_from_camera = np.eye(4)
    world_from_camera[0, 3] = x
    return Frame(
        1_000_000_000_000 + i * STEP,
        CAMERAS[name],
        image=np.zeros((48, 64, 3), np.uint8) if image is None else image,
        depth=np.full((48, 64), WALL, np.float32) if has_depth else None,
        world_from_camera=world_from_camera if has_pose else None,
        world_frame="odom",
    )
