"""Depth of a sensor beside the colour camera, carried over to the pixels of that."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ..compiled import compiled
from ..frames import Camera
from .cameras import project, ray_grid, unproject
from .poses import Matrix

SAME_PIXEL = 0.25  # colour pixels; where rays of two cameras are no farther apart they are of one
SAME_PLACE = 1e-4  # metres, and radians
PROBES = 9  # pixels along each side at which cameras are compared
NODES = 129  # of the table that stands for a lens, along each side
REACH = 10.0  # tangent of the angle to the axis beyond which nothing of a lens is in the table
WIDEST = 1.5  # colour pixels around a reading that it may fill on each side
OVERLAP = 0.02  # pixels, so that rounding leaves no cracks between readings of one surface


class Registration:
    """How depth of one camera becomes depth at the pixels of another.

    Every reading is a small piece of surface: as large as its pixel, and as steep as its neighbours on it say. It is
    drawn where colour sees it, the nearest in front. Where nothing is drawn there is no reading.

    Args:
        color: the camera of the colour image.
        camera: the camera of depth.
        camera_from_depth: [4, 4], from its optical frame to that of colour.

    Attributes:
        color, camera, camera_from_depth: as given.
        target: the colour camera, at a resolution that is no finer than that of depth.
    """

    def __init__(self, color: Camera, camera: Camera, camera_from_depth: Matrix):
        self.color, self.camera, self.camera_from_depth = color, camera, camera_from_depth
        finer = [min(1.0, camera.intrinsics[i, i] / color.intrinsics[i, i]) for i in (0, 1)]
        size = (max(1, round(whole * share)) for whole, share in zip((color.width, color.height), finer, strict=True))
        self.target = color.resized(*size)
        rays = ray_grid(camera) @ camera_from_depth[:3, :3].T.astype(np.float32)
        self._rays = np.ascontiguousarray(rays.transpose(2, 0, 1))
        self._shift = camera_from_depth[:3, 3].astype(np.float32)
        self._pinhole, self._lens = np.ascontiguousarray(self.target.intrinsics), _table(self.target)

    def is_of(self, color: Camera, camera: Camera, camera_from_depth: Matrix) -> bool:
        """Whether it is the one between these cameras, there."""
        same = self.camera is camera and self.color is color
        return same and bool(np.abs(self.camera_from_depth - camera_from_depth).max() < 1e-9)

    def register(self, depth: NDArray[np.float32]) -> NDArray[np.float32]:
        """Depth [h, w] metres of ``camera`` as depth of ``target``, 0 where there is no reading."""
        with np.errstate(divide="ignore"):
            inverse = np.where((depth > 0) & (depth < np.inf), 1 / depth, 0).astype(np.float32)
        out = np.zeros((self.target.height, self.target.width), np.float32)
        _draw(inverse, self._rays, self._shift, self._pinhole, *self._lens, out)
        np.divide(1, out, out=out, where=out > 0)
        return out


def same_view(color: Camera, camera: Camera, camera_from_depth: Matrix) -> bool:
    """Whether depth of a camera is at the pixels of the colour camera, up to resolution and rounding."""
    return is_identity(camera_from_depth) and _same_rays(color, camera)


def is_identity(transform: Matrix) -> bool:
    """Whether a transform moves and turns nothing, up to rounding."""
    return bool(np.abs(transform - np.eye(4)).max() <= SAME_PLACE)


@lru_cache(maxsize=32)
def _same_rays(color: Camera, camera: Camera) -> bool:
    shape = abs(camera.width * color.height - camera.height * color.width)
    if color is camera or shape > max(color.width, color.height):
        return color is camera
    camera = camera.resized(color.width, color.height)
    u, v = (np.linspace(0, n - 1, PROBES).round().astype(int) for n in (color.width, color.height))
    pixels = np.stack(np.meshgrid(u, v), axis=-1).reshape(-1, 2)
    depth = np.ones(len(pixels))
    ours, theirs = (unproject(c, pixels, depth)[:, :2] * np.diag(color.intrinsics)[:2] for c in (color, camera))
    off = np.abs(ours - theirs)
    return bool((np.isnan(ours) == np.isnan(theirs)).all() and np.nanmax(off, initial=0) <= SAME_PIXEL)


@lru_cache(maxsize=32)
def _table(camera: Camera) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where a lens with distortion has its pixels: the first tangent and the step [2, 2], pixels [NODES, NODES, 2].

    Without distortion the table is empty.
    """
    if camera.distortion_model == "none":
        return np.zeros((2, 2)), np.zeros((0, 0, 2))
    rays = ray_grid(camera)[..., :2].reshape(-1, 2)
    rays = rays[np.isfinite(rays).all(axis=1)]
    if not len(rays):  # it shows nothing
        return np.ones((2, 2)), np.zeros((1, 1, 2))
    low, high = rays.min(axis=0).clip(-REACH, 0), rays.max(axis=0).clip(0, REACH)
    margin = 0.01 * (high - low)
    low, high = low - margin, high + margin
    x, y = (np.linspace(low[i], high[i], NODES) for i in (0, 1))
    grid = np.stack([*np.meshgrid(x, y), np.ones((NODES, NODES))], axis=-1)
    pixels, _ = project(camera, grid)
    return np.stack([low, (high - low) / (NODES - 1)]), pixels.reshape(NODES, NODES, 2)


@compiled(nogil=True, error_model="numpy")
def _draw(inverse, rays, shift, k, span, lens, out):
    """Draw readings of inverse depth [h, w], along rays [3, h, w] of the colour frame, into ``out`` [H, W], likewise.

    On a plane inverse depth, also that which colour sees, is linear in the pixels of either camera. Those at the border
    of the image have too few neighbours, and are left out.
    """
    height, width = inverse.shape
    fx, skew, cx, fy, cy = k[0, 0], k[0, 1], k[0, 2], k[1, 1], k[1, 2]
    row_of = np.zeros((9, width), np.float32)
    for y in range(1, height - 1):
        _pieces(inverse, rays, shift, y, row_of)
        for x in range(1, width - 1):
            seen = row_of[0, x]
            if not seen > 0:
                continue
            a, b = row_of[1, x], row_of[2, x]
            if lens.size == 0:
                u, v = fx * a + skew * b + cx, fy * b + cy
                ua, ub, va, vb = fx, skew, 0.0, fy
            else:
                s, t = (a - span[0, 0]) / span[1, 0], (b - span[0, 1]) / span[1, 1]
                if not ((s >= 0) & (s < lens.shape[1] - 1) & (t >= 0) & (t < lens.shape[0] - 1)):
                    continue
                column, row = int(s), int(t)
                s, t = s - column, t - row
                u, ua, ub = _between(lens, row, column, s, t, 0)
                v, va, vb = _between(lens, row, column, s, t, 1)
                ua, ub, va, vb = ua / span[1, 0], ub / span[1, 1], va / span[1, 0], vb / span[1, 1]
            ax, bx, ay, by = row_of[3, x], row_of[4, x], row_of[5, x], row_of[6, x]
            ux, uy, vx, vy = ua * ax + ub * bx, ua * ay + ub * by, va * ax + vb * bx, va * ay + vb * by
            right = min(0.5 * (abs(ux) + abs(uy)) + OVERLAP, WIDEST)
            down = min(0.5 * (abs(vx) + abs(vy)) + OVERLAP, WIDEST)
            area = ux * vy - uy * vx  # 0 where it is seen edge-on, negative from behind
            inside = (u > -right) & (u < out.shape[1] + right) & (v > -down) & (v < out.shape[0] + down)
            if not ((area > 1e-6) & inside):
                continue
            seen_u = (row_of[7, x] * vy - row_of[8, x] * vx) / area
            seen_v = (row_of[8, x] * ux - row_of[7, x] * uy) / area
            for row in range(max(0, int(np.ceil(v - down))), min(out.shape[0], int(np.floor(v + down)) + 1)):
                for column in range(max(0, int(np.ceil(u - right))), min(out.shape[1], int(np.floor(u + right)) + 1)):
                    out[row, column] = max(out[row, column], seen + seen_u * (column - u) + seen_v * (row - v))


@compiled(nogil=True, error_model="numpy")
def _pieces(inverse, rays, shift, y, out):
    """The surface at each reading of row ``y``.

    Fills ``out`` [9, w]: inverse depth for colour, 0 where there is none; tangents to its axis, right and down; change
    of these from one pixel to the next, and to the one below; change of inverse depth likewise.
    """
    half, one, none = np.float32(0.5), np.float32(1), np.float32(0)
    above, here, below = inverse[y - 1], inverse[y], inverse[y + 1]
    r0, r1, r2 = rays[0, y], rays[1, y], rays[2, y]
    for x in range(1, inverse.shape[1] - 1):
        w = here[x]
        wx, wy = _slope(here[x - 1], w, here[x + 1]), _slope(above[x], w, below[x])
        p2 = r2[x] + shift[2] * w
        near = one / p2
        a, b, seen = (r0[x] + shift[0] * w) * near, (r1[x] + shift[1] * w) * near, w * near
        z = half * (r2[x + 1] - r2[x - 1]) + shift[2] * wx
        out[3, x] = (half * (r0[x + 1] - r0[x - 1]) + shift[0] * wx - a * z) * near
        out[4, x] = (half * (r1[x + 1] - r1[x - 1]) + shift[1] * wx - b * z) * near
        out[7, x] = (wx - seen * z) * near
        z = half * (rays[2, y + 1, x] - rays[2, y - 1, x]) + shift[2] * wy
        out[5, x] = (half * (rays[0, y + 1, x] - rays[0, y - 1, x]) + shift[0] * wy - a * z) * near
        out[6, x] = (half * (rays[1, y + 1, x] - rays[1, y - 1, x]) + shift[1] * wy - b * z) * near
        out[8, x] = (wy - seen * z) * near
        out[0, x], out[1, x], out[2, x] = seen if p2 > none else none, a, b


@compiled(nogil=True, error_model="numpy")
def _slope(before, here, after):
    """The change of inverse depth to the neighbour that is nearer to it; 0 without two of them, and at a peak."""
    left, right = here - before, after - here
    less = left if abs(left) < abs(right) else right
    return less if (before > 0) & (after > 0) & (left * right > 0) else np.float32(0)


@compiled(nogil=True, error_model="numpy")
def _between(lens, row, column, s, t, axis):
    """A coordinate between four nodes, and its change from node to node across and down."""
    a, b = lens[row, column, axis], lens[row, column + 1, axis]
    c, d = lens[row + 1, column, axis], lens[row + 1, column + 1, axis]
    across, down = (b - a) * (1 - t) + (d - c) * t, (c - a) * (1 - s) + (d - b) * s
    return a + (b - a) * s + (c - a + (d - c - b + a) * s) * t, across, down
