"""Which frames see the most of a scene: voxels, the streaming sampler and offline greedy selection."""

from .select import greedy_cover, select_frames
from .streaming import StreamingCoverageSampler, Update
from .voxels import depth_voxel_keys, voxel_indices, voxel_keys

__all__ = [
    "StreamingCoverageSampler",
    "Update",
    "depth_voxel_keys",
    "greedy_cover",
    "select_frames",
    "voxel_indices",
    "voxel_keys",
]
