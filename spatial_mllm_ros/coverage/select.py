"""Offline selection of the frames that cover a scene best: space-aware sampling of Spatial-MLLM (Wu et al., 2025)."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from heapq import heapify, heappop, heapreplace

import numpy as np
from numpy.typing import NDArray

from .keyset import KeySet, kernel
from .voxels import keys_of, point_table, read_only

VOXELS_ON_SHORTEST_SIDE = 20
FLAT = 1e-5  # a side that much shorter than the longest is rounding, not extent; keeps every index below 2^21
LEAST_CONFIDENCE = np.nextafter(np.float32(0.1), np.float32(1))  # the smallest above 0.1
LARGEST = 1e18  # a coordinate beyond it is no measurement, and sums would overflow float32
FLOATS = (np.float32, np.float64)


def select_frames(points: NDArray, confidence: NDArray, k: int) -> list[int]:
    """Up to k frames that together see the most voxels, best first (Spatial-MLLM, space-aware frame sampling).

    Points count where their confidence is at least the median of all and above 0.1. The edge of a voxel is the shortest
    side of the bounding box of those points / 20, the grid starts at the corner of that box. Greedy by newly covered
    voxels, lowest index on ties.

    Defined beyond the reference implementation, which fails on such input: fewer than k frames come back when no other
    adds a voxel; sides of no length are left out of the edge, and a scene that is one point is one voxel; points that
    are not finite are ignored, and so is a confidence that is NaN.

    Args:
        points: [T, H, W, 3], float32 or float64, any unit. Not copied.
        confidence: [T, H, W], float32 or float64; compared as float32.
        k: most frames to select.

    Returns:
        Frame indices in order of selection; [] for k = 0 or where no point is valid.

    Raises:
        ValueError: shapes or types other than these, or a negative k.
    """
    if k < 0:
        raise ValueError(f"k = {k}: expected 0 or more frames")
    _, frames = frame_voxels(points, confidence)
    return greedy_cover(frames, k)[0]


def greedy_cover(frames: Sequence[NDArray[np.int64]], k: int) -> tuple[list[int], list[int]]:
    """Greedy maximum coverage: at least 1 - 1/e of what any k frames cover (Nemhauser, Wolsey and Fisher, 1978).

    Gains only shrink while the cover grows, so a frame is counted again only when its last gain leads (Minoux, 1978).

    Args:
        frames: distinct keys of each frame, int64 [V].
        k: most frames to select.

    Returns:
        Indices in order of selection, and the voxels that each one newly covers. Lowest index on ties; it ends early
        when no frame adds a voxel.
    """
    covered = KeySet()
    order: list[int] = []
    gains: list[int] = []
    queue = [(-keys.size, index) for index, keys in enumerate(frames) if keys.size]
    heapify(queue)
    while queue and len(order) < k:
        last_gain, index = -queue[0][0], queue[0][1]
        gain = covered.missing(frames[index])
        if gain == last_gain:
            heappop(queue)
            covered.add(frames[index])
            order.append(index)
            gains.append(gain)
        elif gain:
            heapreplace(queue, (-gain, index))
        else:
            heappop(queue)
    return order, gains


def frame_voxels(points: NDArray, confidence: NDArray) -> tuple[float, list[NDArray[np.int64]]]:
    """Edge of a voxel and the sorted voxel keys of each frame, by the rules of :func:`select_frames`."""
    points, confidence = read_only(np.asarray(points)), read_only(np.asarray(confidence))
    if points.ndim != 4 or points.shape != (*confidence.shape, 3):
        raise ValueError(
            f"points {points.shape} and confidence {confidence.shape}: expected [T, H, W, 3] and [T, H, W]"
        )
    if points.dtype not in FLOATS or confidence.dtype not in FLOATS:
        raise ValueError(f"points {points.dtype} and confidence {confidence.dtype}: expected float32 or float64")
    threads = os.cpu_count() or 1
    slabs = [slice(part[0], part[-1] + 1) for part in np.array_split(np.arange(len(points)), threads) if part.size]
    with ThreadPoolExecutor(threads) as pool:
        threshold = max(_upper_median([confidence[slab] for slab in slabs], pool), LEAST_CONFIDENCE)
        boxes = list(pool.map(lambda slab: _bounding_box(points[slab], confidence[slab], threshold), slabs))
        low = np.min([box[0] for box in boxes], axis=0, initial=np.inf)
        high = np.max([box[1] for box in boxes], axis=0, initial=-np.inf)
        if not (low <= high).all():
            return 1.0, [np.zeros(0, np.int64)] * len(points)
        edge = _voxel_edge(high - low)

        def voxels(t: int) -> NDArray[np.int64]:
            return keys_of(point_table(points[t].reshape(-1), confidence[t].reshape(-1), threshold, low, edge, 0))

        return float(edge), list(pool.map(voxels, range(len(points))))


def _voxel_edge(sides: NDArray) -> np.floating:
    """The shortest side that has a length / 20, or 1 where none has; same dtype as the sides."""
    edges = sides / sides.dtype.type(VOXELS_ON_SHORTEST_SIDE)
    edges = edges[(edges > 0) & (sides >= FLAT * sides.max())]
    return edges.min() if edges.size else sides.dtype.type(1)


def _upper_median(parts: Sequence[NDArray], pool: ThreadPoolExecutor) -> np.float32:
    """The element at n // 2 of all n values in order, as float32; NaN is left out; -inf where n = 0.

    A histogram of the upper 16 bits finds the bin it is in, a second one of the lower 16 bits finds the value. As a
    threshold it keeps the same points as the mean of the two middle values.
    """
    upper = sum(pool.map(lambda part: _histogram(part, -1), parts), np.zeros(1 << 16, np.int64))
    rank = upper.sum() // 2
    if not upper.any():
        return np.float32(-np.inf)
    prefix, before = _at_rank(upper, rank)
    lower = sum(pool.map(lambda part: _histogram(part, prefix), parts), np.zeros(1 << 16, np.int64))
    suffix, _ = _at_rank(lower, rank - before)
    ordered = prefix << 16 | suffix
    bits = ordered ^ 0x80000000 if ordered & 0x80000000 else ~ordered & 0xFFFFFFFF
    return np.uint32(bits).view(np.float32)


def _at_rank(histogram: NDArray[np.int64], rank: int) -> tuple[int, int]:
    """The bin that holds the element of that rank, and how many elements lie in the bins before it."""
    upto = np.cumsum(histogram)
    at = int(np.searchsorted(upto, rank, side="right"))
    return at, int(upto[at] - histogram[at])


@kernel
def _histogram(values, prefix):
    """Counts of the upper 16 bits of values [T, H, W], or of the lower 16 bits where the upper ones equal the prefix.

    Bits of float32, turned so that they order as the values do: sign flipped, all flipped below zero.
    """
    counts = np.zeros(1 << 16, np.int64)
    for frame in values:
        for row in frame:
            for value in row:
                number = np.float32(value)
                if np.isnan(number):
                    continue
                bits = np.int64(number.view(np.int32))
                ordered = (bits ^ 0x80000000 if bits >= 0 else ~bits) & 0xFFFFFFFF
                if prefix < 0:
                    counts[ordered >> 16] += 1
                elif ordered >> 16 == prefix:
                    counts[ordered & 0xFFFF] += 1
    return counts


@kernel
def _bounding_box(points, confidence, threshold):
    """Lowest and highest x, y, z of points [T, H, W, 3] that reach the threshold; (inf, -inf) where none does."""
    low = np.full(3, np.inf, points.dtype)
    high = np.full(3, -np.inf, points.dtype)
    x0, y0, z0 = low
    x1, y1, z1 = high
    for t in range(points.shape[0]):
        for v in range(points.shape[1]):
            for u in range(points.shape[2]):
                x, y, z = points[t, v, u, 0], points[t, v, u, 1], points[t, v, u, 2]
                # Few points leave the box so far, so this comes first: confidence would be a coin toss.
                if (x >= x0) & (x <= x1) & (y >= y0) & (y <= y1) & (z >= z0) & (z <= z1):
                    continue
                sane = abs(x) < LARGEST and abs(y) < LARGEST and abs(z) < LARGEST
                if sane and np.float32(confidence[t, v, u]) >= threshold:
                    x0, y0, z0 = min(x0, x), min(y0, y), min(z0, z)
                    x1, y1, z1 = max(x1, x), max(y1, y), max(z1, z)
    low[0], low[1], low[2] = x0, y0, z0
    high[0], high[1], high[2] = x1, y1, z1
    return low, high
