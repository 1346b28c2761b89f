"""Numbers of the reference implementation, and the voxels of real frames."""

from pathlib import Path

import numpy as np
import pytest

from spatial_mllm_ros.config import CoverageParams
from spatial_mllm_ros.coverage import depth_voxel_keys
from spatial_mllm_ros.geometry.cameras import ray_grid
from spatial_mllm_ros.recordings import read_frames

PARITY = Path(__file__).parents[3] / "shared" / "parity"


@pytest.fixture(params=["sampling_32", "sampling_128"])
def reference(request) -> dict[str, np.ndarray]:
    """Points, confidence and k, and what the reference sampler makes of them."""
    path = PARITY / f"{request.param}.npz"
    if not path.exists():
        pytest.skip(f"the reference numbers {path.name} are not beside this checkout (shared/parity)")
    with np.load(path) as arrays:
        return dict(arrays)


@pytest.fixture(scope="session")
def kitchen_voxels(redkitchen) -> list[np.ndarray]:
    """Voxels of each of the 300 frames of the recording, with the default parameters."""
    p = CoverageParams()
    voxels = []
    for frame in read_frames(redkitchen):
        rays = ray_grid(frame.depth_camera)
        pose = frame.world_from_camera
        voxels.append(depth_voxel_keys(frame.depth, rays, pose, p.voxel_size, p.min_depth, p.max_depth, p.stride))
        frame.release()
    return voxels
