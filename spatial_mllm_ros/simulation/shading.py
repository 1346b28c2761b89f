"""The colour of a point: its texture times the light that arrives, and what it gives off and mirrors."""

import math

import numpy as np
from numpy.typing import NDArray

from ..compiled import compiled
from .light import SUN_COLOR, Lamps
from .textures import surface_color
from .triangles import Caster

EXPOSURE = 1.75


def shade(
    face: NDArray, depth: NDArray, eye: NDArray, directions: NDArray, pixel: float, caster: Caster,
    light: NDArray, sun: NDArray, shades: NDArray, lamps: Lamps,
) -> NDArray[np.float32]:  # fmt: skip
    """Display colour 0..1 of what rays hit, float32 [N, 3]; black where face is -1.

    Args:
        face, depth: [N], face index and distance in units of ``directions`` [N, 3], from ``eye`` [3].
        pixel: width of a pixel at distance 1.
        light: linear RGB at each vertex; sun: [N], 1 where the sun shines.
        shades: balls that darken what is near them, [K, 5].
    """
    t = caster.triangles
    return _shade(
        face, depth, eye, directions, pixel, caster.vertices, t.normals, t.uv, t.faces, t.extent,
        t.face_material, t.face_object, t.textures, t.rows, light, sun, shades, lamps.sun, SUN_COLOR * lamps.sun_power,
        lamps.window, lamps.window_u, lamps.window_v, lamps.lamp,
    )  # fmt: skip


@compiled(nogil=True, error_model="numpy")
def _shade(
    face, depth, eye, directions, pixel, vertices, normals, uv, faces, extent, face_material, face_object,
    textures, rows, light, sun, shades, sun_direction, sun_light, window, window_u, window_v, lamp,
):  # fmt: skip
    out = np.zeros((len(face), 3), np.float32)
    for i in range(len(face)):
        f = face[i]
        if f < 0:
            continue
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        dx, dy, dz = directions[i, 0], directions[i, 1], directions[i, 2]
        x, y, z = eye[0] + depth[i] * dx, eye[1] + depth[i] * dy, eye[2] + depth[i] * dz
        wa, wb, wc = _weights(x, y, z, vertices, a, b, c)
        nx = wa * normals[a, 0] + wb * normals[b, 0] + wc * normals[c, 0]
        ny = wa * normals[a, 1] + wb * normals[b, 1] + wc * normals[c, 1]
        nz = wa * normals[a, 2] + wb * normals[b, 2] + wc * normals[c, 2]
        facing = (nx * dx + ny * dy + nz * dz) / math.sqrt(dx * dx + dy * dy + dz * dz)

        slant = math.sqrt(max(0.08, abs(facing)))
        footprint = depth[i] * pixel / (slant * math.sqrt(slant))
        material = face_material[f]
        m = rows[material]
        u = wa * uv[a, 0] + wb * uv[b, 0] + wc * uv[c, 0]
        v = wa * uv[a, 1] + wb * uv[b, 1] + wc * uv[c, 1]
        color = surface_color(textures[material], u, v, footprint, m, extent[f, 0], extent[f, 1])

        open_sky = 1.0
        for s in range(len(shades)):
            if shades[s, 0] != face_object[f]:
                open_sky *= 1 - _shadow(x, y, z, nx, ny, nz, shades, s)
        sunny = sun[i] * abs(nx * sun_direction[0] + ny * sun_direction[1] + nz * sun_direction[2])
        mirrored = 0.0
        if m[13] > 0:
            mirrored = m[13] * _mirror(x, y, z, nx, ny, nz, dx, dy, dz, facing, window, window_u, window_v, lamp)
        for k in range(3):
            baked = open_sky * (wa * light[a, k] + wb * light[b, k] + wc * light[c, k])
            out[i, k] = _display(color[k] * (baked + sunny * sun_light[k] + m[12]) + mirrored)
    return out


@compiled(nogil=True, error_model="numpy")
def _display(linear):
    """Display value 0..1 of linear light: a film-like shoulder, then gamma 2 (as in materials.linear)."""
    return math.sqrt(1 - math.exp(-EXPOSURE * max(0.0, linear)))


@compiled(nogil=True, error_model="numpy")
def _weights(x, y, z, vertices, a, b, c):
    """Barycentric weights of a point in a triangle."""
    ax, ay, az = vertices[a, 0], vertices[a, 1], vertices[a, 2]
    ex, ey, ez = vertices[b, 0] - ax, vertices[b, 1] - ay, vertices[b, 2] - az
    fx, fy, fz = vertices[c, 0] - ax, vertices[c, 1] - ay, vertices[c, 2] - az
    px, py, pz = x - ax, y - ay, z - az
    ee, ef, ff = ex * ex + ey * ey + ez * ez, ex * fx + ey * fy + ez * fz, fx * fx + fy * fy + fz * fz
    pe, pf = px * ex + py * ey + pz * ez, px * fx + py * fy + pz * fz
    det = ee * ff - ef * ef
    wb, wc = (ff * pe - ef * pf) / det, (ee * pf - ef * pe) / det
    return 1 - wb - wc, wb, wc


@compiled(nogil=True, error_model="numpy")
def _shadow(x, y, z, nx, ny, nz, shades, s):
    """Part of the light at a point that a ball takes away: its cosine-weighted solid angle."""
    radius = shades[s, 4]
    dx, dy, dz = shades[s, 1] - x, shades[s, 2] - y, shades[s, 3] - z
    square = dx * dx + dy * dy + dz * dz
    if square > 25 * radius * radius:
        return 0.0
    cosine = (dx * nx + dy * ny + dz * nz) / math.sqrt(square)
    return min(0.7, max(0.0, 0.3 + cosine) * radius * radius / square)


@compiled(nogil=True, error_model="numpy")
def _mirror(x, y, z, nx, ny, nz, dx, dy, dz, facing, window, window_u, window_v, lamp):
    """Brightness of the window and the lamp in a slightly rough mirror, stronger at grazing angles."""
    size = math.sqrt(dx * dx + dy * dy + dz * dz)
    mx, my, mz = dx / size - 2 * facing * nx, dy / size - 2 * facing * ny, dz / size - 2 * facing * nz
    lx, ly, lz = lamp[0] - x, lamp[1] - y, lamp[2] - z
    aligned = max(0.0, (mx * lx + my * ly + mz * lz) / math.sqrt(lx * lx + ly * ly + lz * lz))
    bright = 3.0 * aligned**128
    run, u, v = on_window(x - window[0], y - window[1], z - window[2], mx, my, mz, window_u, window_v)
    if run > 0:
        inside = min(min(u, 1 - u), min(v, 1 - v)) / (0.06 + 0.08 * run) + 0.5
        bright += 1.2 * min(1.0, max(0.0, inside))
    return bright * (1 + 6 * (1 - min(1.0, abs(facing))) ** 3)


@compiled(nogil=True, error_model="numpy")
def on_window(x, y, z, dx, dy, dz, window_u, window_v):
    """Where a line meets the plane of the window: how far along it, and parts u, v of the window's edges.

    The line begins at (x, y, z) from the window's corner and runs along (dx, dy, dz).
    """
    nx = window_u[1] * window_v[2] - window_u[2] * window_v[1]
    ny = window_u[2] * window_v[0] - window_u[0] * window_v[2]
    nz = window_u[0] * window_v[1] - window_u[1] * window_v[0]
    run = -(x * nx + y * ny + z * nz) / (dx * nx + dy * ny + dz * nz)
    x, y, z = x + run * dx, y + run * dy, z + run * dz
    uu = window_u[0] ** 2 + window_u[1] ** 2 + window_u[2] ** 2
    vv = window_v[0] ** 2 + window_v[1] ** 2 + window_v[2] ** 2
    u = (x * window_u[0] + y * window_u[1] + z * window_u[2]) / uu
    v = (x * window_v[0] + y * window_v[1] + z * window_v[2]) / vv
    return run, u, v
