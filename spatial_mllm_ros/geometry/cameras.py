"""Between pixels and points in the camera's optical frame, for pinhole cameras with lens distortion."""

from threading import Lock

import cv2
import numpy as np
from cachetools import LRUCache, cached
from numpy.typing import NDArray

from ..frames import Camera

_undistort_points = getattr(cv2, "undistortPointsIter", cv2.undistortPoints)  # OpenCV 5 merged the two

KEPT = 256_000_000  # bytes of rays, of the cameras that were asked for last
BAND = 1 << 18  # pixels whose rays are computed at once, in doubles


@cached(LRUCache(KEPT, getsizeof=lambda rays: rays.nbytes), lock=Lock())
def ray_grid(camera: Camera) -> NDArray[np.float32]:
    """The viewing ray of every pixel, float32 [H, W, 3], scaled to z = 1; multiplied by depth it is the point.

    NaN where the lens model has no ray (fisheye pixels at or beyond 90 degrees). Computed once per camera
    object, as far as KEPT allows.
    """
    rays = np.empty((camera.height, camera.width, 3), np.float32)
    rows = max(1, BAND // camera.width)
    for top in range(0, camera.height, rows):
        band = rays[top : top + rows]
        v, u = np.mgrid[top : top + len(band), 0 : camera.width]
        band[:] = _rays(camera, np.stack([u.ravel(), v.ravel()], axis=1)).reshape(band.shape)
    rays.flags.writeable = False
    return rays


def unproject(camera: Camera, pixels: NDArray, depth: NDArray) -> NDArray[np.float64]:
    """Points of pixels [N, 2] at depth [N] metres, float64 [N, 3] in the camera frame; NaN in, NaN out."""
    return _rays(camera, pixels) * np.asarray(depth, np.float64)[:, None]


def back_project(camera: Camera, depth: NDArray[np.float32]) -> NDArray[np.float32]:
    """Points of a depth image [H, W] metres, float32 [H, W, 3] in the camera frame; NaN where there is no reading."""
    valid = np.isfinite(depth) & (depth > 0)
    return ray_grid(camera) * np.where(valid, depth, np.nan).astype(np.float32)[..., None]


def project(camera: Camera, points: NDArray) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Pixels of points in the camera frame.

    Args:
        points: [N, 3] metres.
    Returns:
        pixels float64 [N, 2] as (u, v), NaN behind the camera, and in_view bool [N]: in front of it, inside the image.
    """
    points = np.asarray(points, np.float64).reshape(-1, 3)
    pixels = np.full((len(points), 2), np.nan)
    front = np.isfinite(points).all(axis=1) & (points[:, 2] > 1e-9)
    if front.any():
        k, d, zero = camera.intrinsics, camera.distortion, np.zeros(3)
        if camera.distortion_model == "none":
            xy = points[front, :2] / points[front, 2:]
            pixels[front] = xy @ k[:2, :2].T + k[:2, 2]
        elif camera.distortion_model == "equidistant":
            pixels[front] = cv2.fisheye.projectPoints(points[front][None], zero, zero, k, d)[0][0]
        else:
            pixels[front] = cv2.projectPoints(points[front][None], zero, zero, k, d)[0][:, 0]
    limit = np.array([camera.width, camera.height]) - 0.5
    with np.errstate(invalid="ignore"):
        in_view = front & (pixels >= -0.5).all(axis=1) & (pixels < limit).all(axis=1)
    return pixels, in_view


def _rays(camera: Camera, pixels: NDArray) -> NDArray[np.float64]:
    pixels = np.asarray(pixels, np.float64).reshape(-1, 2)
    k, d = camera.intrinsics, camera.distortion
    if camera.distortion_model == "none":
        xy = np.linalg.solve(k[:2, :2], (pixels - k[:2, 2]).T).T
    elif camera.distortion_model == "equidistant":
        xy = _undistort_equidistant(k, d, pixels)
    else:
        criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 40, 1e-10)
        xy = (
            _undistort_points(pixels[:, None], k, d, R=None, P=None, criteria=criteria)[:, 0] if len(pixels) else pixels
        )
    return np.concatenate([xy, np.ones((len(xy), 1))], axis=1, dtype=np.float64)


def _undistort_equidistant(k: NDArray, d: NDArray, pixels: NDArray) -> NDArray[np.float64]:
    """Invert theta_d = theta (1 + k1 theta^2 + ... + k4 theta^8) (Kannala & Brandt 2006, eq. 6) by Newton's method."""
    xy = np.linalg.solve(k[:2, :2], (pixels - k[:2, 2]).T).T
    theta_d = np.linalg.norm(xy, axis=1)
    theta = theta_d.copy()
    powers = np.array([3, 5, 7, 9])
    for _ in range(20):
        residual = theta + (d * theta[:, None] ** powers).sum(axis=1) - theta_d
        slope = 1 + (d * powers * theta[:, None] ** (powers - 1)).sum(axis=1)
        theta = theta - residual / np.where(np.abs(slope) < 1e-9, np.nan, slope)
    theta = np.where((theta >= 0) & (theta < np.pi / 2 - 1e-6), theta, np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        scale = np.where(theta_d > 1e-12, np.tan(theta) / theta_d, 1.0)
    return xy * scale[:, None]
