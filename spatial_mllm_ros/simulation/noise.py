"""What a structured-light depth sensor and a small colour camera make of an exact view.

Depth follows the Kinect: axial and lateral noise of Nguyen, Izadi & Lovell 2012 (3DIMPVT, sec. 3, eqs. 1 and 3), steps
of whole disparities as in Khoshelham & Elberink 2012 (Sensors 12, sec. 3.2), range and grazing-angle limits.
"""

import math

import numpy as np
from numpy.typing import NDArray

from ..compiled import compiled
from ..frames import Camera
from ..geometry.cameras import ray_grid

MIN_DEPTH, MAX_DEPTH = 0.4, 6.0
MAX_INCIDENCE = np.radians(80)
DISPARITY_STEP = 2.85e-3  # 1/m: m / (f b) of Khoshelham & Elberink, 2.85e-5 1/cm
KINECT_FOCAL = 585.0  # px; lateral noise is given in pixels of that camera


@compiled()
def axial_sigma(depth):
    """Standard deviation of a reading at a depth in metres (Nguyen et al., eq. 3 below 60 degrees)."""
    return 0.0012 + 0.0019 * (depth - 0.4) ** 2


def sensor_depth(
    exact: NDArray[np.float32], camera: Camera, rng: np.random.Generator, level: float = 1.0
) -> NDArray[np.uint16]:
    """Depth as the sensor reports it, uint16 [H, W] millimetres, 0 = no reading.

    Args:
        exact: true depth, float32 [H, W] metres, 0 where there is nothing.
        level: multiple of the published noise; 0 leaves exact readings without holes, rounded to millimetres.
    """
    if level == 0:
        return np.rint(exact * 1000).astype(np.uint16)
    normal = rng.standard_normal((3, *exact.shape), np.float32)
    chance = rng.random(exact.shape, np.float32)
    return _sense(exact, ray_grid(camera), normal, chance, camera.intrinsics[0, 0] / KINECT_FOCAL, level)


@compiled(nogil=True, error_model="numpy")
def _sense(exact, rays, normal, chance, focal_ratio, level):
    height, width = exact.shape
    out = np.zeros((height, width), np.uint16)
    for v in range(height):
        for u in range(width):
            depth = exact[v, u]
            angle = incidence(exact, rays, u, v)
            if depth <= 0 or angle > MAX_INCIDENCE:
                continue
            lateral = (0.8 + 0.035 * angle / (math.pi / 2 - angle)) * focal_ratio * level
            row = min(height - 1, max(0, round(v + normal[0, v, u] * lateral)))
            column = min(width - 1, max(0, round(u + normal[1, v, u] * lateral)))
            # Only across an edge is a reading that of a neighbour: on one surface its slope would count as noise.
            if abs(exact[row, column] - depth) > 0.05 * depth:
                if chance[v, u] < 0.5:
                    continue
                depth = exact[row, column]
            # The published sigma was measured behind the quantisation; what remains of it is added before.
            step = DISPARITY_STEP * level
            sigma = math.sqrt(max(0.0, (level * axial_sigma(depth)) ** 2 - (step * depth * depth) ** 2 / 12))
            disparity = round(1 / (depth + sigma * normal[2, v, u]) / step)
            if disparity > 0:
                depth = 1 / (disparity * step)
                if MIN_DEPTH <= depth <= MAX_DEPTH:
                    out[v, u] = round(depth * 1000)
    return out


@compiled(nogil=True, error_model="numpy")
def incidence(exact, rays, u, v):
    """Angle at a pixel between viewing ray and surface normal, radians, from the flatter one-sided differences."""
    height, width = exact.shape
    z = exact[v, u]
    du = -1 if u == width - 1 or (u > 0 and abs(exact[v, u - 1] - z) < abs(exact[v, u + 1] - z)) else 1
    dv = -1 if v == height - 1 or (v > 0 and abs(exact[v - 1, u] - z) < abs(exact[v + 1, u] - z)) else 1
    zu, zv = exact[v, u + du], exact[v + dv, u]
    x, y = rays[v, u, 0] * z, rays[v, u, 1] * z
    ax, ay, az = rays[v, u + du, 0] * zu - x, rays[v, u + du, 1] * zu - y, zu - z
    bx, by, bz = rays[v + dv, u, 0] * zv - x, rays[v + dv, u, 1] * zv - y, zv - z
    nx, ny, nz = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
    square = (nx * nx + ny * ny + nz * nz) * (x * x + y * y + z * z)
    return math.acos(min(1.0, abs(nx * x + ny * y + nz * z) / math.sqrt(square))) if square > 0 else 0.0


def sensor_image(image: NDArray[np.uint8], rng: np.random.Generator, level: float = 1.0) -> NDArray[np.uint8]:
    """Colour as a camera reports it, uint8 [H, W, 3]: darker corners and sensor noise."""
    if level == 0:
        return image
    return _expose(image, rng.standard_normal(image.shape[:2], np.float32), level)


@compiled(nogil=True)
def _expose(image, grains, level):
    height, width = grains.shape
    out = np.empty_like(image)
    for v in range(height):
        for u in range(width):
            corner = 1 - 0.09 * ((2 * u / width - 1) ** 2 + (2 * v / height - 1) ** 2)
            for k in range(3):
                out[v, u, k] = min(255.0, max(0.0, image[v, u, k] * corner + 1.6 * level * grains[v, u] + 0.5))
    return out
