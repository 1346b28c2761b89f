"""Whether depth and poses agree: what one view measured, looked at from another, is what that one measured.

Plain arithmetic of two views. The same pair is also looked at with what people get wrong put right: what makes views
agree that did not is the likely cause.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from math import ceil, inf

import numpy as np
from numpy.typing import NDArray

from ..frames import Camera
from .cameras import project, ray_grid
from .poses import Matrix, inverse, rigid

ACROSS = 160  # pixels of a view's width that are kept
SPACING = 6  # of these, between two that are compared
FEWEST = 30  # pixels with depth in the first view
SEEN_AGAIN = 0.2  # of them, at least, have depth in the other
NOWHERE = 1.0  # of depth: what a pair counts for that does not see the same place, and the most for any other
OUTLIER = 6.0  # noises, from which on a difference says nothing of what is a little wrong
LATE_NS, PART = 100_000_000, 0.1  # steps of time, and of depth and focal length, whose effect is looked at

OPTICAL = rigid(np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]]), np.zeros(3))
"""What looks forward along x, with z up, from an optical frame (x right, y down, z forward) at the same place."""


def noise(depth: NDArray) -> NDArray:
    """How far readings of depth [N] metres may be off, metres: sensors see less well with the square of distance."""
    return 0.005 + 0.0025 * depth * depth


@dataclass(frozen=True, eq=False)
class View:
    """Depth from one place, thinned out.

    Attributes:
        stamp_ns: when.
        camera: of the thinned depth.
        depth: float32 [h, w] metres, 0 or NaN where there is no reading.
        world_from_camera: pose of the optical frame.
    """

    stamp_ns: int
    camera: Camera
    depth: NDArray[np.float32]
    world_from_camera: Matrix

    @classmethod
    def of(cls, stamp_ns: int, camera: Camera, depth: NDArray[np.float32], world_from_camera: Matrix) -> "View":
        """The view of a depth image and its camera."""
        every, thin = _thinned(camera)
        return cls(stamp_ns, thin, depth[::every, ::every].copy(), world_from_camera)


@lru_cache(maxsize=32)
def _thinned(camera: Camera) -> tuple[int, Camera]:
    every = ceil(camera.width / ACROSS)
    intrinsics = camera.intrinsics.copy()
    intrinsics[:2] /= every
    size = ceil(camera.width / every), ceil(camera.height / every)
    return every, replace(camera, width=size[0], height=size[1], intrinsics=intrinsics)


Poses = tuple[Matrix, Matrix]


@dataclass(frozen=True, eq=False)
class Change:
    """Something that may be wrong, put right.

    Attributes:
        scale: of depth; focal: of the focal lengths, of a lens without distortion then.
        pose: what is made of each pose.
    """

    scale: float = 1.0
    focal: float = 1.0
    pose: Callable[[Matrix], Matrix] | None = None


_BACKWARD, _TURNED = np.diag([1.0, -1, -1, 1]), np.diag([-1.0, -1, 1, 1])
CHANGES: dict[str, Change] = {
    "link": Change(pose=lambda pose: pose @ OPTICAL),
    "backward": Change(pose=lambda pose: pose @ _BACKWARD),
    "upside down": Change(pose=lambda pose: pose @ _TURNED),
    "inverted": Change(pose=inverse),
    **{f"scale {s:g}": Change(scale=s) for s in (0.001, 0.1, 0.2, 0.3, 0.5, 2.0, 3.3, 5.0, 10.0, 1000.0)},
    **{f"focal {f:g}": Change(focal=f) for f in (0.5, 0.6, 0.7, 0.8, 1.25, 1.4, 1.6, 2.0)},
}
"""What is wrong by far, by name."""

SLIPS = ("late", "scale", "focal")
"""What may be a little wrong: poses late by LATE_NS, depth and the focal length too small by PART."""


@dataclass(frozen=True, eq=False)
class Slips:
    """Least squares of SLIPS, in units of noise.

    Attributes:
        normal, right: float64 [3, 3] and [3], the normal equations.
        squares, count: sum of the squared differences, and their number.
    """

    normal: NDArray[np.float64]
    right: NDArray[np.float64]
    squares: float
    count: int


@dataclass(frozen=True, eq=False)
class Pair:
    """What two views say.

    Attributes:
        metres, noises: the median difference of depth, and the same in units of :func:`noise`; infinite where the views
            do not see the same place.
        share: the same of depth.
        shares: float64 [len(CHANGES)], that with each change.
        slips: what is a little wrong; None where the poses just before and after are not known, since an error of time
            would be taken for one of scale.
    """

    metres: float
    noises: float
    share: float
    shares: NDArray[np.float64]
    slips: Slips | None = None


def compare(first: View, second: View, later: Poses | None = None, earlier: Poses | None = None) -> Pair | None:
    """What two views of one camera say; None where there is too little to tell by.

    Args:
        later, earlier: the poses of both LATE_NS after and before their stamps, where both are known.
    """
    depth = first.depth[_SOME]
    there = np.isfinite(depth) & (depth > 0)
    if there.sum() < FEWEST or first.depth.shape != second.depth.shape:
        return None
    pixels, measured = np.argwhere(there), depth[there].astype(np.float64)
    poses = first.world_from_camera, second.world_from_camera

    def differences(poses: Poses, change: Change = _NONE, every: int = 1) -> tuple[NDArray, NDArray]:
        """By how much each pixel differs, NaN where it is not seen again, and the depth it should have, [N] metres."""
        i, j = pixels[::every].T
        points = _rays(_refocused(first.camera, change.focal))[:, i, j] * (measured[::every] * change.scale)
        if change.pose is not None:
            poses = change.pose(poses[0]), change.pose(poses[1])
        second_from_first = inverse(poses[1]) @ poses[0]
        seen = second_from_first[:3, :3] @ points + second_from_first[:3, 3:]
        found = _looked_up(second.depth, _refocused(second.camera, change.focal), seen)
        return found * change.scale - seen[2], seen[2]

    off, expected = differences(poses)
    metres = _median(np.abs(off), inf)
    noises = _median(np.abs(off) / noise(expected), inf)
    shares = [_share(*differences(poses, change, 3)) for change in CHANGES.values()]
    pair = Pair(metres, noises, _share(off, expected), np.array(shares))
    if later is None or earlier is None:
        return pair
    around = [(differences(later)[0], differences(earlier)[0])]
    for more, less in (
        (Change(scale=1 + PART), Change(scale=1 - PART)),
        (Change(focal=1 + PART), Change(focal=1 - PART)),
    ):
        around.append((differences(poses, more)[0], differences(poses, less)[0]))
    rows = np.stack([off, *((more - less) / 2 for more, less in around)]) / noise(expected)
    rows = rows[:, (np.abs(rows) < OUTLIER).all(axis=0)]  # not where one is NaN
    slips = Slips(rows[1:] @ rows[1:].T, -rows[1:] @ rows[0], float(rows[0] @ rows[0]), rows.shape[1])
    return replace(pair, slips=slips)


_NONE, _SOME = Change(), (slice(SPACING // 2, None, SPACING),) * 2


def _share(off: NDArray, expected: NDArray) -> float:
    return min(_median(np.abs(off) / np.abs(expected), NOWHERE), NOWHERE)


def _median(values: NDArray, none: float) -> float:
    """Of those that are not NaN (the upper one of two), where enough are not."""
    known = values[~np.isnan(values)]
    if len(known) < SEEN_AGAIN * len(values):
        return none
    return float(np.partition(known, len(known) // 2)[len(known) // 2])


def _looked_up(depth: NDArray, camera: Camera, points: NDArray) -> NDArray[np.float64]:
    """What a view measured where points [3, N] of its camera appear; NaN where they do not, or nothing was measured."""
    if camera.distortion.any():
        (u, v), front = project(camera, points.T)[0].T, points[2] > 1e-9
    else:
        x, y, z = points
        front, k = z > 1e-9, camera.intrinsics
        z = np.where(front, z, 1.0)
        u, v = k[0, 0] * x / z + k[0, 2], k[1, 1] * y / z + k[1, 2]
    height, width = depth.shape
    inside = front & (u > -0.5) & (v > -0.5) & (u < width - 0.5) & (v < height - 0.5)
    found = np.full(len(inside), np.nan)
    found[inside] = depth[np.rint(v[inside]).astype(np.intp), np.rint(u[inside]).astype(np.intp)]
    found[~(found > 0)] = np.nan
    return found


@lru_cache(maxsize=256)
def _refocused(camera: Camera, focal: float) -> Camera:
    """Of a lens with another focal length, and without distortion."""
    if focal == 1:
        return camera
    intrinsics = camera.intrinsics.copy()
    intrinsics[[0, 1], [0, 1]] *= focal
    return replace(camera, intrinsics=intrinsics, distortion_model="none", distortion=np.zeros(0))


@lru_cache(maxsize=256)
def _rays(camera: Camera) -> NDArray[np.float64]:
    """Of the pixels that are compared: [3, h, w]."""
    return np.ascontiguousarray(np.moveaxis(ray_grid(camera)[_SOME], 2, 0), np.float64)
