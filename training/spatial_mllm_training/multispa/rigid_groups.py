"""Which followed points move together: clusters of points whose distances to each other stay the same.

Xu et al., "Multi-SpatialMLLM", 2025, section 3.2: what stays within a centimetre is still; for all else changes of
pairwise distance are accumulated over the frames, points are joined by average linkage, and groups have more than five.
Two things make that hold on measured tracks. A change that noise alone can feign is waited out instead of added, so
that the sum does not grow with the number of frames; what the distance strays from its mean tells smaller changes
apart. And a pair that was seen together only while neither moved speaks neither for nor against a group.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from spatial_mllm_ros.compiled import compiled
from spatial_mllm_ros.evenly import evenly

SMALLEST = 6  # points of a group
STILL = 0.01  # m; what moves less is still
SIGMAS = 8.0  # of a coordinate; a change of distance has two of them, so noise alone all but never reaches this
MAX_FRAMES = 96  # of longer recordings, evenly spread ones are looked at
MAX_POINTS = 1200  # are clustered; those beyond join the group they fit. Bounds the matrix to 12 MB.


def rigid_groups(points: NDArray, visible: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Number of the moving rigid group of each point, int64 [P], from 0 and larger groups first; -1 still or in none.

    Args:
        points: in the world, [T, P, 3] metres; NaN where not known.
        visible: bool [T, P]; positions elsewhere are not used.
    """
    points = np.where(visible[..., None], np.asarray(points, np.float64), np.nan)
    frames, count = points.shape[:2]
    groups = np.full(count, -1, np.int64)
    if frames < 2:
        return groups
    slack = SIGMAS * noise_of(points)
    points = points[evenly(frames, MAX_FRAMES)]
    paths = np.ascontiguousarray(points.transpose(1, 0, 2))
    usable = np.flatnonzero(_reach(paths) >= max(STILL, slack))
    if len(usable) < SMALLEST:
        return groups
    chosen = usable[evenly(len(usable), MAX_POINTS)]
    seeds = _clusters(paths[chosen], slack)
    if not (seeds >= 0).any():
        return groups
    for block in np.array_split(usable, -(-len(usable) // MAX_POINTS)):
        groups[block] = _nearest(paths[block], paths[chosen], seeds, slack)
    return _by_size(groups)


def noise_of(points: NDArray[np.float64]) -> float:
    """Standard deviation of one coordinate of points [T, P, 3], metres, from second differences over time.

    Noise has the variance 6 sigma^2 there, even motion none; the median forgets the few points that speed up.
    """
    bend = np.abs(points[2:] - 2 * points[1:-1] + points[:-2])
    bend = bend[np.isfinite(bend)]
    return float(np.median(bend) / (0.6745 * np.sqrt(6))) if bend.size else 0.0


@compiled(nogil=True)
def distance_changes(first, second, slack, least):
    """How much the distance of each pair of paths changed, over the frames that know both.

    Args:
        first, second: [N, T, 3] and [M, T, 3], metres; NaN where not known.
        slack: a change is added, whole, once it is larger than this since the last one that was.
        least: two points that, while both are known, stay within this of where they were tell nothing.
    Returns:
        float64 [N, M] metres, sum of the changes and the distance's standard deviation; NaN for what tells nothing.
    """
    out = np.full((len(first), len(second)), np.nan)
    for i in range(len(first)):
        for j in range(len(second)):
            start, known, far = -1, 0, 0.0
            total, last, sum1, sum2, origin = 0.0, 0.0, 0.0, 0.0, 0.0
            for t in range(first.shape[1]):
                now = _squared(first[i, t], second[j, t])
                if np.isnan(now):
                    continue
                now = np.sqrt(now)
                if known == 0:
                    start, last, origin = t, now, now
                elif abs(now - last) > slack:
                    total += abs(now - last)
                    last = now
                known += 1
                sum1 += now - origin
                sum2 += (now - origin) ** 2
                far = max(far, _squared(first[i, t], first[i, start]), _squared(second[j, t], second[j, start]))
            if far > least * least:
                out[i, j] = total + np.sqrt(max(0.0, sum2 / known - (sum1 / known) ** 2))
    return out


@compiled(nogil=True)
def _squared(a, b):
    return (a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2 + (a[2] - b[2]) ** 2


def _clusters(paths: NDArray[np.float64], slack: float) -> NDArray[np.int64]:
    """Average linkage of paths [N, T, 3]: cluster of each, int64 [N], -1 in a small one."""
    changes, cut = _changes(paths, paths, slack)
    np.fill_diagonal(changes, 0)
    cluster = fcluster(linkage(squareform(changes, checks=False), "average"), cut, "distance")
    large = np.bincount(cluster) >= SMALLEST
    return np.where(large, np.cumsum(large) - 1, -1)[cluster]


def _nearest(paths: NDArray, others: NDArray, groups: NDArray, slack: float) -> NDArray[np.int64]:
    """The group of others that each path fits best on average, int64 [N], or -1 where it fits none.

    Puts right what linkage cannot take back: a point joined early to one of another body that seemed to move along.
    """
    changes, cut = _changes(paths, others, slack)
    member = np.eye(groups.max() + 1)[groups] * (groups >= 0)[:, None]
    fit = changes @ member / member.sum(axis=0)
    return np.where(fit.min(axis=1) < cut, fit.argmin(axis=1), -1)


def _changes(first: NDArray, second: NDArray, slack: float) -> tuple[NDArray[np.float64], float]:
    """Changes of distance, and the one at which to cut; a pair that tells nothing is a hair above it."""
    cut = max(STILL / 2, slack)
    changes = distance_changes(first, second, slack, max(STILL, slack))
    return np.where(np.isnan(changes), cut * (1 + 1e-9), changes), cut


def _reach(paths: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far each of the paths [N, T, 3] goes from where it is first known, metres; 0 where it never is."""
    known = np.isfinite(paths).all(axis=2)
    start = paths[np.arange(len(paths)), known.argmax(axis=1)]
    return np.where(known, np.linalg.norm(paths - start[:, None], axis=2), 0).max(axis=1)


def _by_size(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """The same groups numbered by size, without small ones."""
    number = np.bincount(groups + 1)[1:]
    order = np.argsort(-number, kind="stable")
    new = np.full(len(number) + 1, -1)
    new[order] = np.where(number[order] >= SMALLEST, np.arange(len(order)), -1)
    return new[groups]
