"""How far the point behind a pixel moved between two moments."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ..config import MotionParams
from ..errors import bad, no_geometry
from ..frames import Frame
from ..geometry.poses import inverse, transform
from .depth import depth_noise, lift
from .flow import corners
from .points import PointTracker
from .posed import PosedFrame, posed, unusable
from .rigid import rigid_motion

WINDOWS = (21, 41, 61)  # pixels around the point whose corners stand for it, the smallest with enough of them
ENOUGH, MOST = 4, 16
SURFACE = 0.03  # metres of depth, besides noise, by which they may differ from it


@dataclass(frozen=True, eq=False)
class PointMotion:
    """How a point moved.

    Attributes:
        distance: metres between where it was and is.
        displacement: [3] metres, world frame.
        displacement_camera: [3] metres, camera frame at ``from_ns``.
        confidence: 0..1, share of the points followed that are still visible and agree, less for larger errors.
        from_ns, to_ns: stamps of the frames compared.
    """

    distance: float
    displacement: NDArray[np.float64]
    displacement_camera: NDArray[np.float64]
    confidence: float
    from_ns: int
    to_ns: int


def measure_point(
    frames: Sequence[Frame], pixel: tuple[float, float], params: MotionParams | None = None
) -> PointMotion:
    """Follow the point behind a pixel of the first frame to the last frame.

    The corners around the pixel on the same surface are followed, and their common rigid motion counts, at the pixel.
    Frames in between without image, depth or pose are skipped. Decoded pixels of the frames are released on the way.

    Args:
        frames: at least 2 of one camera, in order of time; repeated stamps are skipped.
        pixel: (u, v) in the first image.
        params: tracking.
    Raises:
        SpatialError: BAD_REQUEST for a pixel outside the image, fewer than 2 frames or frames out of order; NO_GEOMETRY
            where there is no depth, pose or texture, or the point was lost.
    """
    params = params or MotionParams()
    first = _check(frames, pixel)
    point, helpers = _surface(posed(first), pixel)
    tracker = PointTracker(params)
    reference = tracker.start(posed(first), helpers).world
    motion, fit, seen_at, tracks = np.eye(4), None, first, None
    everything = np.ones(len(reference), bool)
    for frame in frames[1:]:
        if not unusable(frame) and frame.stamp_ns > seen_at.stamp_ns:
            tracks = tracker.step(posed(frame), motion, everything)
            if tracks.visible.any():
                seen_at = frame
                fit = rigid_motion(reference, tracks.world, params.rigidity + 2 * np.nan_to_num(tracks.sigma))
                motion = fit.matrix
        frame.release()
    first.release()
    if tracks is None:
        raise no_geometry(f"no frame after {_seconds(first)} has image, depth and pose")
    if fit is None or not tracks.visible.any():
        raise no_geometry(f"the point was lost after {_seconds(seen_at)}: hidden, out of view or without depth")
    displacement = transform(motion, point) - point
    return PointMotion(
        float(np.linalg.norm(displacement)),
        displacement,
        inverse(posed(first).world_from_camera)[:3, :3] @ displacement,
        float(fit.inliers.mean() / (1 + (fit.residual / params.rigidity) ** 2)),
        first.stamp_ns,
        seen_at.stamp_ns,
    )


def _check(frames: Sequence[Frame], pixel: tuple[float, float]) -> Frame:
    """The first frame; raises where the request cannot be answered."""
    if len(frames) < 2 or frames[-1].stamp_ns == frames[0].stamp_ns:
        raise bad("motion needs at least 2 frames: choose a later end or an earlier start")
    first = frames[0]
    if any(f.camera.name != first.camera.name for f in frames):
        raise bad("frames of more than one camera: expected one")
    if any(later.stamp_ns < sooner.stamp_ns for sooner, later in pairwise(frames)):
        raise bad("the stamps go back: expected frames in order of time")
    if reason := unusable(first):
        raise no_geometry(f"the first frame, at {_seconds(first)}, has {reason}")
    width, height = first.camera.width, first.camera.height
    if not (-0.5 <= pixel[0] < width - 0.5 and -0.5 <= pixel[1] < height - 0.5):
        raise bad(f"pixel ({pixel[0]:g}, {pixel[1]:g}) is outside the image of {width}x{height} pixels")
    for frame in frames[1:]:
        if (frame.camera.width, frame.camera.height) != (width, height):
            changed = f"from {width}x{height} to {frame.camera.width}x{frame.camera.height} pixels at {_seconds(frame)}"
            raise bad(f"the image changes {changed}: expected one size")
    return first


def _surface(frame: PosedFrame, pixel: tuple[float, float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """World point [3] of a pixel, and the corners [N, 2] near it on the same surface."""
    point = lift(frame, np.array([pixel], np.float64))[0]
    where = f"pixel ({pixel[0]:g}, {pixel[1]:g}) at {_seconds(frame)}"
    if not np.isfinite(point).all():
        raise no_geometry(f"no depth at {where}: choose one on a surface, away from edges and holes")
    camera_from_world = inverse(frame.world_from_camera)
    depth = transform(camera_from_world, point)[2]
    u, v = np.rint(pixel).astype(int)
    near = np.zeros((0, 2))
    for half in (window // 2 for window in WINDOWS):
        mask = np.zeros(frame.gray.shape, np.uint8)
        mask[max(v - half, 0) : v + half + 1, max(u - half, 0) : u + half + 1] = 255
        found = corners(frame.gray, MOST, 3, mask)
        there = transform(camera_from_world, lift(frame, found))[:, 2]
        near = found[np.abs(there - depth) < SURFACE + 3 * depth_noise(depth)]
        if len(near) >= ENOUGH:
            return point, near
    if not len(near):
        raise no_geometry(f"nothing to follow around {where}: choose one on a textured surface")
    return point, near


def _seconds(frame: Frame | PosedFrame) -> str:
    return f"{frame.stamp_ns / 1e9:.3f} s"
