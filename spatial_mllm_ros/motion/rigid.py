"""Rigid bodies among tracked points: which points belong together, and how each body moved."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import cdist, squareform

from ..geometry.poses import transform

STRETCHES = 8
TRIPLES = 48
ROUNDS = 5
CONVERGED = 1e-6


@dataclass(frozen=True, eq=False)
class RigidMotion:
    """A motion that maps points before to points after.

    Attributes:
        matrix: after_from_before, float64 [4, 4].
        inliers: bool [N], points that it maps to within their tolerance.
        displacement: [3] metres, of the centroid of the inliers.
        residual: root mean square error of the inliers, metres.
        centroid: [3] metres, of the inliers before; spread: their root mean square distance from it.
    """

    matrix: NDArray[np.float64]
    inliers: NDArray[np.bool_]
    displacement: NDArray[np.float64]
    residual: float
    centroid: NDArray[np.float64]
    spread: float

    def uncertainty(self, point: NDArray) -> float:
        """Standard error in metres of where a point [3] is mapped to; it grows away from the inliers."""
        lever = np.linalg.norm(point - self.centroid) / max(self.spread, 1e-6)
        return float(self.residual * np.sqrt((1 + lever**2) / max(self.inliers.sum(), 1)))


def rigid_groups(tracks: NDArray, tolerance: float) -> NDArray[np.intp]:
    """Tell rigid bodies apart: points of one body keep their mutual distances.

    Changes of pairwise distance accumulate over the frames and are clustered by average linkage (Multi-SpatialMLLM,
    rigid body segmentation). To keep noise from adding up, distances are averaged over up to eight stretches of frames,
    and the change of a pair is the largest of these minus the smallest. Memory is five [N, N] arrays, however long.

    Args:
        tracks: [T, N, 3] metres, NaN where a point is not visible.
        tolerance: mean change of distance in metres up to which two groups are one body.
    Returns:
        intp [N]: 0 for the largest body, 1 for the next; -1 for points that are never visible.
    """
    tracks = np.asarray(tracks, np.float64)
    frames, count, _ = tracks.shape
    labels = np.full(count, -1)
    present = np.flatnonzero(np.isfinite(tracks).all(axis=2).any(axis=0))
    if len(present) < 2:
        labels[present] = 0
        return labels
    shape = (len(present), len(present))
    shortest, longest = np.full(shape, np.inf, np.float32), np.full(shape, -np.inf, np.float32)
    for stretch in np.array_split(tracks[:, present], min(frames, STRETCHES)):
        total, seen = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        for points in stretch:
            here = np.isfinite(points).all(axis=1)
            pairs = here[:, None] & here
            np.add(total, cdist(points, points), out=total, where=pairs, casting="same_kind")
            seen += pairs
        mean = np.divide(total, seen, out=total, where=seen > 0)
        np.minimum(shortest, mean, out=shortest, where=seen > 0)
        np.maximum(longest, mean, out=longest, where=seen > 0)
    change = np.where(
        longest >= shortest, longest - shortest, np.float32(tolerance)
    )  # pairs never seen together: undecided
    np.fill_diagonal(change, 0)
    groups = fcluster(linkage(squareform(change, checks=False), "average"), tolerance, "distance") - 1
    rank = np.empty(groups.max() + 1, np.intp)
    rank[np.argsort(-np.bincount(groups), kind="stable")] = np.arange(len(rank))
    labels[present] = rank[groups]
    return labels


def rigid_motion(before: NDArray, after: NDArray, tolerance: ArrayLike) -> RigidMotion:
    """The rigid motion that most points agree on, robust to outliers.

    Hypotheses from triples of points (RANSAC with MSAC scores, Torr and Zisserman 2000), then weighted least squares
    (Kabsch 1976) with Tukey weights. Rotation is only used where it explains at least one more point than translation
    does, so that noise does not turn a small or flat group. Deterministic.

    Args:
        before, after: [N, 3] metres, NaN where a point is not visible.
        tolerance: metres beyond which a point is an outlier, one number or [N].
    Raises:
        ValueError: no point is visible before and after.
    """
    before, after = np.asarray(before, np.float64), np.asarray(after, np.float64)
    limits = np.broadcast_to(np.asarray(tolerance, np.float64), len(before))
    both = np.isfinite(before).all(axis=1) & np.isfinite(after).all(axis=1)
    if not both.any():
        raise ValueError("no point is visible both before and after")
    a, b, limit = before[both], after[both], limits[both]
    shift = np.eye(4)
    shift[:3, 3] = np.median(b - a, axis=0)
    matrix = _refine(a, b, limit, shift, turning=False)
    if len(a) >= 3:
        triples = np.random.default_rng(0).random((TRIPLES, len(a))).argpartition(2, axis=1)[:, :3]
        guesses = np.concatenate([matrix[None], _kabsch(a[triples], b[triples], np.ones((TRIPLES, 3)))])
        turned = _refine(a, b, limit, guesses[_scores(a, b, limit, guesses).argmax()], turning=True)
        still, turning = _scores(a, b, limit, np.stack([matrix, turned]))
        if turning >= still + 1:
            matrix = turned
    errors = np.linalg.norm(transform(matrix, a) - b, axis=1)
    if (errors < limit).any():
        typical = np.median((errors / limit)[errors < limit])
        limit = limit * np.clip(5 * typical, 0.25, 1)
        matrix = _refine(a, b, limit, matrix, turning=bool(np.any(matrix[:3, :3] != np.eye(3))))
        errors = np.linalg.norm(transform(matrix, a) - b, axis=1)
    inliers = np.zeros(len(before), bool)
    inliers[both] = errors < limit
    if not inliers.any():
        return RigidMotion(matrix, inliers, matrix[:3, 3].copy(), float("inf"), np.zeros(3), 0.0)
    centroid = before[inliers].mean(axis=0)
    spread = float(np.sqrt(np.square(before[inliers] - centroid).sum(axis=1).mean()))
    residual = float(np.sqrt(np.mean(np.square(errors[errors < limit]))))
    return RigidMotion(matrix, inliers, transform(matrix, centroid) - centroid, residual, centroid, spread)


def _refine(a: NDArray, b: NDArray, limit: NDArray, matrix: NDArray, turning: bool) -> NDArray[np.float64]:
    for _ in range(ROUNDS):
        errors = np.linalg.norm(transform(matrix, a) - b, axis=1)
        weights = np.square(np.maximum(1 - np.square(errors / limit), 0)) / np.square(limit)
        if np.count_nonzero(weights) < (3 if turning else 1):
            break
        before, matrix = matrix, _kabsch(a[None], b[None], weights[None], turning)[0]
        if np.abs(matrix - before).max() < CONVERGED:
            break
    return matrix


def _scores(a: NDArray, b: NDArray, limit: NDArray, matrices: NDArray) -> NDArray[np.float64]:
    """How many points each of [S, 4, 4] explains, a perfect point counting 1 and one at its limit 0."""
    mapped = a @ matrices[:, :3, :3].transpose(0, 2, 1) + matrices[:, None, :3, 3]
    return np.maximum(1 - np.square(np.linalg.norm(mapped - b, axis=2) / limit), 0).sum(axis=1)


def _kabsch(a: NDArray, b: NDArray, weights: NDArray, turning: bool = True) -> NDArray[np.float64]:
    """Weighted least squares motions of S sets of points [S, N, 3], float64 [S, 4, 4]."""
    weights = (weights / weights.sum(axis=1, keepdims=True))[..., None]
    mean_a, mean_b = (weights * a).sum(axis=1), (weights * b).sum(axis=1)
    out = np.tile(np.eye(4), (len(a), 1, 1))
    if turning:
        u, _, vt = np.linalg.svd((weights * (a - mean_a[:, None])).transpose(0, 2, 1) @ (b - mean_b[:, None]))
        vt[:, 2] *= np.sign(np.linalg.det(u) * np.linalg.det(vt))[:, None]
        out[:, :3, :3] = (u @ vt).transpose(0, 2, 1)
    out[:, :3, 3] = mean_b - (out[:, :3, :3] @ mean_a[..., None])[..., 0]
    return out
