"""Points and depth images as sets of voxels.

A voxel is named by one int64 key: 21 bits for each axis, so that 10 cm voxels reach 104 km from the origin.
"""

import numpy as np
from numpy.typing import NDArray

from .keyset import EMPTY, SMALLEST, find, kernel, with_room

AXIS_BITS = 21
HALF_RANGE = 1 << (AXIS_BITS - 1)
CHUNK = 512


def voxel_keys(points: NDArray, voxel_size: float) -> NDArray[np.int64]:
    """The voxels that hold a point.

    Args:
        points: [..., 3], float32 or float64, metres.
        voxel_size: edge of a voxel, metres.

    Returns:
        Sorted distinct keys, int64 [V]. A voxel holds floor(coordinate / voxel_size). Points that are not finite, or
        more than 2^20 voxels from the origin along an axis, are ignored.

    Raises:
        ValueError: wrong shape, or a voxel size that is not a positive length.
    """
    points = np.asarray(points)
    if points.ndim < 1 or points.shape[-1] != 3:
        raise ValueError(f"points of shape {points.shape}: expected [..., 3]")
    if points.dtype not in (np.float32, np.float64):
        points = points.astype(np.float64)
    voxel_size = check_voxel_size(voxel_size)
    return keys_of(point_table(read_only(points.reshape(-1)), None, 0.0, np.zeros(3), voxel_size, HALF_RANGE))


def depth_voxel_keys(
    depth: NDArray[np.float32],
    rays: NDArray[np.float32],
    world_from_camera: NDArray[np.float64],
    voxel_size: float,
    min_depth: float,
    max_depth: float,
    stride: int = 2,
) -> NDArray[np.int64]:
    """The voxels that a depth image sees, in one pass over every ``stride``-th pixel of every ``stride``-th row.

    Args:
        depth: [H, W], float32, metres along the optical axis.
        rays: [H, W, 3], float32, direction of each pixel in the camera frame with z = 1.
        world_from_camera: [4, 4], float64.
        voxel_size: edge of a voxel, metres.
        min_depth, max_depth: readings outside this closed range are ignored, and so are NaN; metres.
        stride: pixels from one sample to the next, at least 1.

    Returns:
        Sorted distinct keys, int64 [V], as :func:`voxel_keys` gives them for the same points in the world.

    Raises:
        ValueError: shapes that do not fit, a pose that is not finite, a stride below 1 or no positive voxel size.
    """
    if depth.ndim != 2 or rays.shape != (*depth.shape, 3):
        raise ValueError(f"depth of shape {depth.shape} with rays of shape {rays.shape}: expected [H, W] and [H, W, 3]")
    pose = read_only(np.ascontiguousarray(world_from_camera, np.float64))
    if pose.shape != (4, 4) or not np.isfinite(pose).all():
        raise ValueError("world_from_camera must be a finite 4x4 matrix")
    if stride < 1:
        raise ValueError(f"stride = {stride}: expected at least 1")
    voxel_size = check_voxel_size(voxel_size)
    limits = float(min_depth), float(max_depth)
    return keys_of(_depth_table(read_only(depth), read_only(rays), pose, voxel_size, *limits, int(stride)))


def voxel_indices(keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """Index of each voxel along x, y and z, int64 [V, 3]; it spans index * voxel_size to (index + 1) * voxel_size."""
    shifts = np.array([2 * AXIS_BITS, AXIS_BITS, 0])
    return (keys[:, None] >> shifts & (1 << AXIS_BITS) - 1) - HALF_RANGE


def check_voxel_size(voxel_size: float) -> float:
    """The voxel size as a float; ValueError unless it is a positive length."""
    if not (np.isfinite(voxel_size) and voxel_size > 0):
        raise ValueError(f"voxel_size = {voxel_size}: expected a positive length in metres")
    return float(voxel_size)


def read_only(array: NDArray) -> NDArray:
    """A view that cannot be written: kernels are compiled once for all callers, whatever they hold."""
    view = array.view()
    view.flags.writeable = False
    return view


def keys_of(table: NDArray[np.int64]) -> NDArray[np.int64]:
    """The keys of a hash table, sorted."""
    keys = table[table != EMPTY]
    keys.sort()
    return keys


@kernel
def point_table(coordinates, confidence, threshold, origin, voxel_size, offset):
    """Hash table of the voxels of points x, y, z, x, y, z ... [3 N]; with a confidence [N], of those at the threshold.

    Index of a voxel along an axis: floor((coordinate - origin) / voxel_size) + offset, in the type of the coordinates.
    """
    table = np.full(SMALLEST, EMPTY, np.int64)
    count = 0
    cells = np.empty(3 * CHUNK, np.int32)
    origins = np.empty(3 * CHUNK, origin.dtype)
    for i in range(origins.size):
        origins[i] = origin[i % 3]
    for start in range(0, coordinates.size, cells.size):
        chunk = coordinates[start : start + cells.size]
        for i in range(chunk.size):
            cells[i] = _cell((chunk[i] - origins[i]) / voxel_size, offset)
        table = with_room(table, count, CHUNK)
        sure = None if confidence is None else confidence[start // 3 : start // 3 + CHUNK]
        count += _insert(table, cells[: chunk.size], sure, threshold, offset)
    return table


@kernel
def _depth_table(depth, rays, pose, voxel_size, min_depth, max_depth, stride):
    """Hash table of the voxels that a depth image sees."""
    table = np.full(SMALLEST, EMPTY, np.int64)
    count = 0
    cells = np.empty(3 * ((depth.shape[1] + stride - 1) // stride), np.int32)
    for v in range(0, depth.shape[0], stride):
        for i in range(cells.size // 3):
            u = i * stride
            d = np.float64(depth[v, u])
            d = d if (d >= min_depth) & (d <= max_depth) else np.nan
            a, b, c = d * rays[v, u, 0], d * rays[v, u, 1], d * rays[v, u, 2]
            for axis in range(3):
                x = pose[axis, 0] * a + pose[axis, 1] * b + pose[axis, 2] * c + pose[axis, 3]
                cells[3 * i + axis] = _cell(x / voxel_size, HALF_RANGE)
        table = with_room(table, count, cells.size // 3)
        count += _insert(table, cells, None, 0.0, HALF_RANGE)
    return table


@kernel
def _cell(position, offset):
    """floor(position) as int32; -offset - 1 where it is not a number or, with the offset added, not within 21 bits."""
    low, high = np.float32(-offset), np.float32((1 << AXIS_BITS) - offset)
    index = np.floor(position)
    return np.int32(index if (index >= low) & (index < high) else low - np.float32(1))


@kernel
def _insert(table, cells, confidence, threshold, offset):
    """Insert the keys of cells x, y, z, x, y, z ... [3 N], and say how many were new. Neighbours are mostly equal."""
    new, last = 0, EMPTY
    for i in range(cells.size // 3):
        x, y, z = cells[3 * i] + offset, cells[3 * i + 1] + offset, cells[3 * i + 2] + offset
        key = (x << (2 * AXIS_BITS)) | (y << AXIS_BITS) | z  # negative where one of them is
        if (key == last) | (key < 0):
            continue
        if confidence is not None and not np.float32(confidence[i]) >= threshold:
            continue  # asked last: the same voxel again is the common case, and easy to predict
        last = key
        slot = find(table, key)
        new += table[slot] == EMPTY
        table[slot] = key
    return new
