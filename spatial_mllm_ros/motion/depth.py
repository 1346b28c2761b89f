"""Depth and surface at image points: robust against noise, holes and edges."""

import numpy as np
from numpy.typing import NDArray

from ..geometry.cameras import unproject
from ..geometry.poses import transform
from .posed import PosedFrame

RADIUS = 3  # of the square of readings around a point, pixels of the depth image
MIN_FILLED = 0.6  # of that square
WINDOW_RADIUS = 7  # of all that flow sees around a point
FLAWLESS = 0.95  # share of it that must be on one surface


def depth_noise(depth: NDArray) -> NDArray:
    """Standard deviation of one reading of a structured-light sensor at a depth, both metres.

    1 mm of quantisation plus 1.4 mm/m^2 (Khoshelham and Elberink, Sensors 2012, section 4.2).
    """
    return 0.001 + 0.0014 * np.square(depth)


def lift(frame: PosedFrame, pixels: NDArray) -> NDArray[np.float64]:
    """World points [N, 3] metres of colour pixels [N, 2], NaN where depth has no sure reading; needs depth and pose."""
    return transform(frame.world_from_camera, unproject(frame.camera, pixels, 1 / planes_at(frame, pixels)[:, 0]))


def lift_surface(
    frame: PosedFrame, pixels: NDArray
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """World points like :func:`lift`, and the steps [N, 3] along the surface that are one pixel right and one down."""
    planes = planes_at(frame, pixels)
    points = transform(frame.world_from_camera, unproject(frame.camera, pixels, 1 / planes[:, 0]))
    steps = []
    for axis, offset in enumerate(np.eye(2)):
        depth = 1 / np.maximum(planes[:, 0] + planes[:, 1 + axis], 1e-3)
        steps.append(transform(frame.world_from_camera, unproject(frame.camera, pixels + offset, depth)) - points)
    return points, steps[0], steps[1]


def on_surface(frame: PosedFrame, pixels: NDArray) -> NDArray[np.bool_]:
    """Whether all that flow sees around colour pixels [N, 2] lies on one surface, bool [N]."""
    return np.isfinite(planes_at(frame, pixels, WINDOW_RADIUS, FLAWLESS)[:, 0])


def planes_at(
    frame: PosedFrame, pixels: NDArray, radius: int = RADIUS, filled: float = MIN_FILLED
) -> NDArray[np.float64]:
    """The planes through the readings around colour pixels.

    Inverse depth is linear in the image on any plane, so it is fitted; readings far from the fit are dropped once.

    Args:
        pixels: [N, 2] (u, v) of the colour image.
        radius: of the square that is looked at, pixels of the depth image.
        filled: share of it that must have readings on the plane.
    Returns:
        float64 [N, 3]: inverse depth 1/m, and its change per colour pixel right and down; NaN where readings are
        missing or do not lie on one surface (depth edges), or for NaN positions.
    """
    image, camera = frame.depth, frame.depth_camera
    scale = np.array([camera.width / frame.camera.width, camera.height / frame.camera.height])
    height, width = image.shape
    pixels = (np.asarray(pixels, np.float64).reshape(-1, 2) + 0.5) * scale - 0.5
    centre = np.rint(np.where(np.isfinite(pixels), pixels, -radius - 1).clip(-1e6, 1e6)).astype(int)
    steps = np.arange(-radius, radius + 1)
    u = centre[:, :1] + np.tile(steps, len(steps))
    v = centre[:, 1:] + np.repeat(steps, len(steps))
    inside = (u >= 0) & (u < width) & (v >= 0) & (v < height)
    z = np.where(inside, image[v.clip(0, height - 1), u.clip(0, width - 1)], 0).astype(np.float64)
    used = np.isfinite(z) & (z > 0)
    out = np.full((len(pixels), 3), np.nan)
    fit = used.mean(axis=1) >= filled
    if not fit.any():
        return out
    z, used = np.where(used, z, 1.0)[fit], used[fit]
    basis = np.stack([np.ones_like(z), u[fit] - pixels[fit, :1], v[fit] - pixels[fit, 1:]], axis=2)
    for _ in range(2):
        weighted = basis * used[..., None]
        normal = weighted.transpose(0, 2, 1) @ basis + 1e-9 * np.eye(3)
        plane = np.linalg.solve(normal, weighted.transpose(0, 2, 1) @ (1 / z)[..., None])
        off = np.abs(z - 1 / np.maximum((basis @ plane)[..., 0], 1e-3))
        noise = depth_noise(1 / np.maximum(plane[:, 0, 0], 1e-3))
        spread = np.sqrt((np.square(off) * used).sum(axis=1) / used.sum(axis=1).clip(1))
        used = used & (off < 3 * noise[:, None])
    good = (used.mean(axis=1) >= filled) & (spread < 2 * noise) & (plane[:, 0, 0] > 1e-3)
    out[fit] = np.where(good[:, None], plane[..., 0], np.nan) * [1, *scale]
    return out
