"""The rigid body that a region target follows."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from ..config import MotionParams
from ..errors import bad, no_geometry
from ..geometry.poses import transform
from .depth import lift, on_surface
from .flow import corners
from .points import PointTracker, Tracks
from .posed import PosedFrame
from .rigid import rigid_groups, rigid_motion

STILL = 0.01  # metres; less is no motion (Multi-SpatialMLLM, static below 0.01 m)
NEIGHBOURS = 6
CERTAIN = 5  # standard errors that a motion must have to be one
GROWTH = 1.25  # of its motion, after which the points of the body are told from still ones again
REFILL_NS = 500_000_000
SPACING = 4.0  # pixels between points
CANDIDATES = 8  # for each point
ENOUGH = 2  # times the least number of points: then those near depth edges are left out
Region = tuple[float, float, float, float]  # x, y, width, height, pixels


@dataclass(frozen=True, eq=False)
class BodyMotion:
    """Where the body is: metres in the world frame.

    Attributes:
        start: [3], centroid of the body's points at the reference.
        displacement: [3], how far the rigid motion of its points has carried that centroid.
        uncertainty: standard error of the displacement.
        confidence: 0..1, share of its points that are visible and agree, less for larger errors.
    """

    start: NDArray[np.float64]
    displacement: NDArray[np.float64]
    uncertainty: float
    confidence: float


class RegionBody:
    """Points in a region, and the body among them that is followed.

    That is the largest body while nothing moves, and the first that moves as soon as one does (:data:`STILL`); another
    takes over only when it has moved twice as far. Points of a body that turns or leaves its first view are replaced by
    new ones on it.

    Raises:
        SpatialError: BAD_REQUEST for a region outside the image, NO_GEOMETRY where it lacks texture or depth.
    """

    start: NDArray[np.float64]
    _params: MotionParams
    _selective: bool
    _tracker: PointTracker
    _members: NDArray[np.bool_]
    _matrix: NDArray[np.float64]
    _elsewhere: NDArray[np.float64]
    _farthest: float
    _refined: float  # how far it had moved when its points were told from still ones
    _seen_ns: NDArray[np.int64]
    _refilled_ns: int

    def __init__(self, frame: PosedFrame, roi: Region, params: MotionParams):
        self._params = params
        pixels, self._selective = _region_points(frame, roi, params)
        self._tracker = PointTracker(params)
        self._tracker.start(frame, pixels)
        self._settle(np.ones(len(pixels), bool), STILL)
        self._matrix = self._elsewhere = np.eye(4)
        self._farthest = STILL / 2
        self._seen_ns = np.full(len(pixels), frame.stamp_ns)
        self._refilled_ns = frame.stamp_ns

    @property
    def points(self) -> int:
        """Points being tracked in the region, of all bodies."""
        return len(self._tracker.reference)

    @property
    def pixels(self) -> NDArray[np.float64]:
        """Where the body's visible points are in the newest image, [N, 2]."""
        return self._tracker.pixels[self._members & np.isfinite(self._tracker.pixels).all(axis=1)]

    @property
    def now(self) -> NDArray[np.float64]:
        """Where its centroid was when it was measured last, [3] metres in the world frame."""
        return transform(self._matrix, self.start)

    def step(self, frame: PosedFrame) -> BodyMotion | None:
        """Follow into the next frame; None where too few points of the body are visible and agree."""
        tracks = self._tracker.step(frame, self._matrix, self._members)
        limit = self._params.rigidity + 2 * np.nan_to_num(tracks.sigma)
        if self._selective:
            self._switch(tracks, limit)
        body = np.where(self._members[:, None], self._tracker.reference, np.nan)
        if np.count_nonzero(self._members & tracks.visible) < self._params.min_points:
            return None
        fit = rigid_motion(body, tracks.world, limit)
        agreeing = int(fit.inliers.sum())
        uncertainty = fit.uncertainty(self.start)
        if agreeing < self._params.min_points or uncertainty > self._params.rigidity:
            return None
        self._matrix = fit.matrix
        displacement = transform(fit.matrix, self.start) - self.start
        distance = float(np.linalg.norm(displacement))
        self._farthest = max(self._farthest, distance)
        if distance > GROWTH * self._refined:
            self._settle(self._belonging(tracks, limit, fit.matrix), distance)
        if self._farthest > 2 * STILL:
            self._tracker.lose(self._members & ~fit.inliers)
        self._refill(frame, tracks)
        confidence = agreeing / self._members.sum() / (1 + (fit.residual / self._params.rigidity) ** 2)
        return BodyMotion(self.start, displacement, uncertainty, float(np.clip(confidence, 0, 1)))

    def look_elsewhere(self) -> None:
        """Look for the body where it was at the reference next time, and the time after where it was last.

        For when the scene has jumped and may be as it was at the reference.
        """
        self._matrix, self._elsewhere = self._elsewhere, self._matrix

    def restart(self) -> None:
        """Motion counts from here: the latest frame, in which the body was measured, is the reference."""
        self._tracker.restart(self._matrix, self._members)
        self._matrix = self._elsewhere = np.eye(4)
        self._farthest = STILL / 2
        self._settle(self._members, STILL)

    def _switch(self, tracks: Tracks, limit: NDArray) -> None:
        """Turn to another body when one has moved, and twice as far as the followed one ever has."""
        seen = np.flatnonzero(tracks.visible)
        if len(seen) < self._params.min_points:
            return
        shift = tracks.world[seen] - self._tracker.reference[seen]
        _, near = KDTree(self._tracker.reference[seen]).query(
            self._tracker.reference[seen], k=min(NEIGHBOURS, len(seen))
        )
        around = np.median(shift[near], axis=1)  # one wrong track among still neighbours is no motion
        moving = seen[np.linalg.norm(around, axis=1) > 2 * self._farthest]
        if len(moving) < self._params.min_points:
            return
        pair = np.stack([self._tracker.reference[moving], tracks.world[moving]])
        group = moving[rigid_groups(pair, float(np.median(limit[moving]))) == 0]
        if len(group) < self._params.min_points:
            return
        fit = rigid_motion(self._tracker.reference[group], tracks.world[group], limit[group])
        distance = np.linalg.norm(fit.displacement)
        sure = fit.inliers.sum() >= self._params.min_points and distance > CERTAIN * fit.uncertainty(fit.centroid)
        if sure and distance > 2 * self._farthest:
            members = self._belonging(tracks, limit, fit.matrix) & tracks.visible
            if members.sum() >= self._params.min_points:
                self._settle(members, float(distance))

    def _settle(self, members: NDArray[np.bool_], distance: float) -> None:
        """Take these points for the body, found out when it had moved that far; too few leave it as it was."""
        self._refined = distance
        if members.sum() >= self._params.min_points:
            self._members = members
            self.start = self._tracker.reference[members].mean(axis=0)

    def _belonging(self, tracks: Tracks, limit: NDArray, matrix: NDArray) -> NDArray[np.bool_]:
        """Points that moved with the body rather than stood still; hidden points stay what they were."""
        error = np.linalg.norm(transform(matrix, self._tracker.reference) - tracks.world, axis=1)
        still = np.linalg.norm(tracks.world - self._tracker.reference, axis=1)
        with np.errstate(invalid="ignore"):
            return np.where(tracks.visible, (error < limit) & (error < still), self._members)

    def _refill(self, frame: PosedFrame, tracks: Tracks) -> None:
        """Where many points are lost, drop those hidden for long and take new ones among the visible ones."""
        self._seen_ns = np.where(tracks.visible, frame.stamp_ns, self._seen_ns)
        visible = tracks.visible & self._members
        if 2 * np.count_nonzero(visible) > self._params.points or frame.stamp_ns - self._refilled_ns < REFILL_NS:
            return
        self._refilled_ns = frame.stamp_ns
        kept = frame.stamp_ns - self._seen_ns <= self._params.max_lost * 1e9
        kept &= self._members | (np.cumsum(~self._members) <= self._params.points)
        mask = np.zeros(frame.gray.shape, np.uint8)
        cv2.fillConvexPoly(mask, cv2.convexHull(np.rint(tracks.pixels[visible]).astype(np.int32)), 255)
        for u, v in np.rint(tracks.pixels[tracks.visible]).astype(int).tolist():
            cv2.circle(mask, (u, v), int(SPACING), 0, -1)
        found = corners(frame.gray, max(self._params.points - np.count_nonzero(kept & self._members), 1), SPACING, mask)
        usable = self._tracker.add(frame, found, self._matrix).visible
        self._tracker.keep(np.concatenate([kept, usable]))
        self._members = np.concatenate([self._members[kept], np.ones(usable.sum(), bool)])
        self._seen_ns = np.concatenate([self._seen_ns[kept], np.full(usable.sum(), frame.stamp_ns)])


def clipped(roi: Region, width: int, height: int) -> tuple[int, int, int, int]:
    """The part of a region (x, y, width, height) in an image: left, top, and right and bottom excluded; pixels.

    Raises:
        SpatialError: BAD_REQUEST where there is none.
    """
    x, y, w, h = (int(n) for n in roi)
    left, top, right, bottom = max(x, 0), max(y, 0), min(x + w, width), min(y + h, height)
    if left >= right or top >= bottom:
        raise bad(f"region {w}x{h} at ({x}, {y}) is outside the image of {width}x{height} pixels")
    return left, top, right, bottom


def _region_points(frame: PosedFrame, roi: Region, params: MotionParams) -> tuple[NDArray[np.float64], bool]:
    """Corners with depth inside the region, clipped to the image."""
    gray = frame.gray
    x, y, w, h = (int(n) for n in roi)
    left, top, end, bottom = clipped(roi, gray.shape[1], gray.shape[0])
    mask = np.zeros(gray.shape, np.uint8)
    mask[top:bottom, left:end] = 255
    found = corners(gray, CANDIDATES * params.points, SPACING, mask)
    usable = found[np.isfinite(lift(frame, found)[:, 0])]
    inner = usable[on_surface(frame, usable)]
    selective = len(inner) >= ENOUGH * params.min_points
    usable = _spread(inner if selective else usable, params.points)
    if len(usable) < params.min_points:
        lacks = "texture to track" if len(found) < params.min_points else "depth on a surface"
        right = f"choose one with at least {params.min_points} such points: larger, or on a textured object with depth"
        raise no_geometry(f"only {len(usable)} points of region {w}x{h} at ({x}, {y}) have {lacks}; {right}")
    return usable, selective


def _spread(pixels: NDArray, count: int) -> NDArray[np.float64]:
    """Up to ``count`` of the points, spread evenly: each next one is the farthest from those before."""
    chosen = [0]
    distance = np.full(len(pixels), np.inf)
    while len(chosen) < min(count, len(pixels)):
        distance = np.minimum(distance, np.linalg.norm(pixels - pixels[chosen[-1]], axis=1))
        chosen.append(int(distance.argmax()))
    return pixels[chosen[: len(pixels)]]
