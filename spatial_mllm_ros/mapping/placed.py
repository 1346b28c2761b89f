"""A frame with the geometry that its window gave it, and where its part of the map lies in the world."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..config import CoverageParams
from ..coverage import depth_voxel_keys
from ..frames import Frame
from ..geometry.alignment import Sim3
from ..geometry.poses import Matrix
from ..geometry.window import pinhole_rays

WORLD = 0  # the section whose coordinates are those of the world, in metres


@dataclass(frozen=True, eq=False)
class Gauge:
    """Where a section of the map lies in the world.

    Attributes:
        world_from_section: by it, the section's coordinates become those that voxels are counted in.
        metric: those are metres in the world frame. False where no poses are known: then the section has a place of its
            own, apart from everything else, and a voxel is the shortest side of its first window's box / 20.
    """

    world_from_section: Sim3 = field(default_factory=Sim3)
    metric: bool = True


WORLD_GAUGE = Gauge()


@dataclass(frozen=True, eq=False)
class Placed:
    """One frame in the map.

    Attributes:
        frame: the frame; its own pose, where it has one, counts more than the map's.
        section: the part of the map that lengths and poses are measured in.
        depth: float32 [h, w] in the section's unit, NaN where nothing is believed.
        intrinsics: float64 [3, 3], pixels of that depth map.
        section_from_camera: float64 [4, 4].
    """

    frame: Frame
    section: int
    depth: NDArray[np.float32]
    intrinsics: NDArray[np.float64]
    section_from_camera: Matrix

    @property
    def nbytes(self) -> int:
        return self.depth.nbytes

    def world_from_camera(self, gauge: Gauge) -> Matrix:
        """The known pose, else the map's, [4, 4]."""
        known = self.frame.world_from_camera
        return known if gauge.metric and known is not None else gauge.world_from_section.pose(self.section_from_camera)

    def voxels(self, gauge: Gauge, params: CoverageParams) -> NDArray[np.int64]:
        """Voxels that the frame sees, sorted distinct int64 [V]; limits of depth hold only where it is metric."""
        limits = (params.min_depth, params.max_depth) if gauge.metric else (0.0, np.inf)
        depth = self.depth * np.float32(gauge.world_from_section.scale)
        rays = pinhole_rays(self.intrinsics, *depth.shape)
        return depth_voxel_keys(depth, rays, self.world_from_camera(gauge), params.voxel_size, *limits, stride=1)
