"""Rays to pixels: exact depth, object indices and the shaded colour image of one view."""

import cv2
import numpy as np
from numpy.typing import NDArray

from ..compiled import compiled
from ..frames import Camera
from ..geometry.cameras import ray_grid
from .light import Lamps, is_pane
from .shading import on_window, shade
from .triangles import Caster

SUBPIXELS = ((-0.33, -0.17), (0.17, -0.33), (0.17, 0.5))


def render(
    caster: Caster, light: NDArray, lamps: Lamps, camera: Camera, world_from_camera: NDArray, shades: NDArray
) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.int32]]:
    """One view of a room as it is placed.

    Args:
        light: linear RGB arriving at each vertex, [V, 3].
        shades: balls that darken what is near them, [K, 5]: object index, centre, radius.
    Returns:
        image uint8 [H, W, 3] RGB; exact depth float32 [H, W] metres; object index int32 [H, W].
    """
    t, eye, pixel = caster.triangles, world_from_camera[:3, 3], 1.0 / camera.intrinsics[0, 0]
    rays = ray_grid(camera).reshape(-1, 3)

    def look(directions: NDArray) -> tuple[NDArray, NDArray, NDArray, NDArray]:
        """First face, depth, sunlight and display colour 0..1 on rays."""
        face = caster.cast(eye, directions)
        depth = caster.distance(face, eye, directions)
        sun = _sunlight(caster, lamps, eye, directions, depth)
        return face, depth, sun, shade(face, depth, eye, directions, pixel, caster, light, sun, shades, lamps)

    face, depth, sun, image = look(_turned(rays, world_from_camera, 0.0, 0.0))
    edges = np.flatnonzero(_edges(face, depth, sun, t.face_sheet, camera.height, camera.width))
    if len(edges):
        fine = [look(_turned(rays[edges], world_from_camera, du * pixel, dv * pixel))[3] for du, dv in SUBPIXELS]
        image[edges] = np.mean(fine, axis=0)
    shape = (camera.height, camera.width)
    return (
        cv2.convertScaleAbs(image.reshape(*shape, 3), alpha=255).astype(np.uint8, copy=False),
        np.where(face >= 0, depth, 0).astype(np.float32).reshape(shape),
        np.where(face >= 0, t.face_object[face], -1).astype(np.int32).reshape(shape),
    )


def _sunlight(caster: Caster, lamps: Lamps, eye: NDArray, directions: NDArray, depth: NDArray) -> NDArray[np.float64]:
    """1 where the sun shines on the point of a ray, else 0; only points in line with the window need another ray."""
    sun = np.zeros(len(depth))
    if lamps.sun_power == 0:
        return sun
    in_line = _through_window(eye, directions, depth, lamps.window, lamps.window_u, lamps.window_v, lamps.sun)
    candidates = np.flatnonzero(in_line)
    if len(candidates):
        points = eye + directions[candidates] * depth[candidates, None] + 3e-3 * lamps.sun
        towards = np.broadcast_to(lamps.sun, points.shape)
        sun[candidates] = is_pane(caster.triangles, caster.cast(points, towards))
    return sun


@compiled(nogil=True)
def _through_window(eye, directions, depth, window, window_u, window_v, sun):
    """Whether the line from a point eye [3] + depth [N] * direction [N, 3] towards the sun passes the window."""
    ex, ey, ez = eye[0] - window[0], eye[1] - window[1], eye[2] - window[2]
    out = np.zeros(len(depth), np.bool_)
    for i in range(len(depth)):
        x, y, z = ex + depth[i] * directions[i, 0], ey + depth[i] * directions[i, 1], ez + depth[i] * directions[i, 2]
        run, u, v = on_window(x, y, z, sun[0], sun[1], sun[2], window_u, window_v)
        out[i] = run > 0 and 0 < u < 1 and 0 < v < 1
    return out


@compiled(nogil=True)
def _turned(rays, world_from_camera, du, dv):
    """World directions of camera rays [N, 3] shifted by (du, dv) at z = 1."""
    m, out = world_from_camera, np.empty((len(rays), 3))
    for i in range(len(rays)):
        x, y, z = rays[i, 0] + du, rays[i, 1] + dv, rays[i, 2]
        for k in range(3):
            out[i, k] = m[k, 0] * x + m[k, 1] * y + m[k, 2] * z
    return out


@compiled(nogil=True)
def _edges(face, depth, sun, face_sheet, height, width):
    """Pixels next to another surface, a step in depth or the border of a shadow."""
    out = np.zeros(height * width, np.bool_)
    for v in range(height):
        for u in range(width):
            i = v * width + u
            for j in (i + 1 if u + 1 < width else i, i + width if v + 1 < height else i):
                a, b = face[i], face[j]
                if sun[i] != sun[j]:
                    out[i] = out[j] = True
                elif a != b and a >= 0 and b >= 0:
                    step = abs(depth[i] - depth[j]) > 0.05 * min(depth[i], depth[j])
                    if step or face_sheet[a] != face_sheet[b]:
                        out[i] = out[j] = True
    return out
