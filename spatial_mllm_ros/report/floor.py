"""The scene from above: columns of voxels, how often each was seen, and the paths of the cameras over it."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..coverage import voxel_indices
from ..frames import Frame


@dataclass(frozen=True)
class Columns:
    """Columns of voxels, one row each.

    Attributes:
        cells: int64 [N, 2], place on the map in voxels, right and up the page.
        heights: int64 [N], voxels in the column.
        seen_by: int64 [N], most frames that saw one of them.
        covered: float64 [N], share of them that the selected frames see.
    """

    cells: NDArray[np.int64]
    heights: NDArray[np.int64]
    seen_by: NDArray[np.int64]
    covered: NDArray[np.float64]


@dataclass(frozen=True)
class Frustum:
    """A selected view from above: camera centre and the far ends of its left and right image borders, metres [2]."""

    number: int
    apex: NDArray[np.float64]
    left: NDArray[np.float64]
    right: NDArray[np.float64]

    @property
    def end(self) -> NDArray[np.float64]:
        return (self.left + self.right) / 2


class FloorMap:
    """Counts, for every voxel, the frames that saw it; memory grows with the scene, not with the number of frames."""

    def __init__(self, voxel_size: float):
        self.voxel_size = voxel_size
        self.up = "z"
        self.paths: dict[str, NDArray[np.float64]] = {}
        self.frusta: list[Frustum] = []
        self.columns: Columns | None = None
        self._positions: dict[str, list[NDArray[np.float64]]] = defaultdict(list)
        self._up_sum = np.zeros(3)
        self._keys = np.zeros(0, np.int64)
        self._counts = np.zeros(0, np.int64)
        self._pending: list[NDArray[np.int64]] = []

    def add(self, frame: Frame, voxels: NDArray[np.int64]) -> None:
        assert frame.world_from_camera is not None
        self._positions[frame.camera.name].append(frame.world_from_camera[:3, 3])
        self._up_sum -= frame.world_from_camera[:3, 1]
        self._pending.append(voxels)
        if len(self._pending) == 64:
            self._merge()

    def _merge(self) -> None:
        keys = np.concatenate([self._keys, *self._pending])
        weights = np.concatenate([self._counts, np.ones(len(keys) - len(self._keys), np.int64)])
        self._keys, where = np.unique(keys, return_inverse=True)
        self._counts = np.bincount(where, weights, len(self._keys)).astype(np.int64)
        self._pending.clear()

    def finish(self, selected: Sequence[Frame], voxels: Sequence[NDArray[np.int64]]) -> None:
        """Fold voxels into columns; ``voxels`` are those of the selected frames."""
        self._merge()
        if not self._keys.size:
            return
        self.up, axes = map_axes(self._up_sum)
        self.paths = {name: np.array(path)[:, axes] for name, path in self._positions.items()}
        covered = np.isin(self._keys, np.unique(np.concatenate(voxels)), assume_unique=True)
        cells, where = np.unique(voxel_indices(self._keys)[:, axes], axis=0, return_inverse=True)
        where = where.ravel()
        heights = np.bincount(where, minlength=len(cells))
        seen_by = np.zeros(len(cells), np.int64)
        np.maximum.at(seen_by, where, self._counts)
        self.columns = Columns(cells, heights, seen_by, np.bincount(where, covered, len(cells)) / heights)
        extent = (np.ptp(cells, axis=0).max() + 1) * self.voxel_size
        self.frusta = [frustum(i + 1, frame, 0.16 * extent, axes) for i, frame in enumerate(selected)]


def map_axes(up: NDArray[np.float64]) -> tuple[str, list[int]]:
    """Name of the world axis that points up, and the two that span a map seen from there (right, then up the page).

    World frames of robots have z up (REP-103); those of other recordings need not, so the axis nearest to the mean up
    of the images (``up`` [3], any length) is taken.
    """
    axis = int(np.argmax(np.abs(up))) if np.abs(up).max() > 1e-9 else 2
    around = [(axis + 1) % 3, (axis + 2) % 3]
    return ("xyz"[axis], around) if up[axis] >= 0 else ("-" + "xyz"[axis], around[::-1])


def frustum(number: int, frame: Frame, length: float, axes: list[int]) -> Frustum:
    """The wedge of a view on the map, ``length`` metres long along the optical axis before it is projected."""
    assert frame.world_from_camera is not None
    camera, pose = frame.camera, frame.world_from_camera
    middle = (camera.height - 1) / 2
    rays = np.linalg.solve(camera.intrinsics, np.array([[-0.5, middle, 1], [camera.width - 0.5, middle, 1]]).T).T
    left, right = (pose[:3, :3] @ ray * length + pose[:3, 3] for ray in rays)
    return Frustum(number, pose[axes, 3], left[axes], right[axes])
