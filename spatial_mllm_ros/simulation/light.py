"""Light of a room, gathered once per vertex: a ceiling lamp, the sky through the window, and several bounces."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .materials import Texture
from .triangles import Caster, Triangles

LAMP_COLOR = np.array([1.0, 0.82, 0.62])
SKY_COLOR = np.array([0.86, 0.95, 1.1])
SUN_COLOR = np.array([1.0, 0.90, 0.74])
BOUNCES = 4
NEAREST = 0.5  # m; sources count as no nearer, as they are not points


@dataclass(frozen=True)
class Lamps:
    """What gives light.

    Attributes:
        lamp: centre of the ceiling lamp, float64 [3]; lamp_power: its radiant intensity.
        window, window_u, window_v: corner and edges of the window pane, float64 [3] each; window_power: its radiance.
        sun: direction towards the sun, float64 [3], unit; its light falls in only through the window.
        sun_power: irradiance of a surface that faces it.
    """

    lamp: NDArray[np.float64]
    lamp_power: float
    window: NDArray[np.float64]
    window_u: NDArray[np.float64]
    window_v: NDArray[np.float64]
    window_power: float
    sun: NDArray[np.float64]
    sun_power: float


def bake(caster: Caster, lamps: Lamps, albedo: NDArray[np.float64], samples: int) -> NDArray[np.float64]:
    """Light that arrives at every vertex, linear RGB [V, 3], mean 0.4; of the sun only what the lit places send on.

    Args:
        albedo: mean colour of every material, [M, 3].
        samples: directions of the hemisphere; window and sun get a quarter as many points each.
    """
    t = caster.triangles
    origin, normal, few = _lifted(t), t.normals, max(4, samples // 4)
    direct = np.zeros_like(t.vertices)
    for x, y in ((-0.2, 0.0), (0.2, 0.0), (0.0, 0.2), (0.0, -0.2)):
        source = lamps.lamp + np.array([x, y, 0.0])
        direct += _reaches(caster, origin, normal, source)[:, None] * (lamps.lamp_power / 4 * LAMP_COLOR)

    pane = np.cross(lamps.window_u, lamps.window_v)
    area = float(np.linalg.norm(pane))
    for a, b in _spread(few):
        source = lamps.window + a * lamps.window_u + b * lamps.window_v
        power = lamps.window_power * area / few
        direct += _reaches(caster, origin, normal, source, pane / area)[:, None] * (power * SKY_COLOR)

        # A beam of sun through this part of the window makes the place it falls on a lamp (Keller 1997).
        if lamps.sun_power == 0:
            continue
        inside = (source - 0.02 * lamps.sun)[None]
        face = caster.cast(inside, -lamps.sun[None], moving=False)
        spot = inside[0] - lamps.sun * caster.distance(face, inside, -lamps.sun[None])[0]
        facing = t.normals[t.faces[face[0], 0]]
        power = lamps.sun_power * abs(float(pane @ lamps.sun)) / few / np.pi
        amount = _reaches(caster, origin, normal, spot + 0.01 * facing, facing)
        direct += amount[:, None] * (power * SUN_COLOR * albedo[t.face_material[face[0]]])

    light = direct + _smooth(t, _bounces(caster, origin, normal, direct, albedo, samples), passes=6)
    return light * (0.4 / light.mean())


def is_pane(triangles: Triangles, face: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Whether a face hit by a ray is the window's pane."""
    return (triangles.textures[triangles.face_material[face]] == Texture.VIEW) & (face >= 0)


def _reaches(
    caster: Caster, origin: NDArray, normal: NDArray, source: NDArray, facing: NDArray | None = None
) -> NDArray[np.float64]:
    """What of a small source [3] arrives at each vertex: cosines over squared distance, 0 where something is between.

    A source with a direction ``facing`` [3] shines by its cosine, one without it everywhere alike.
    """
    towards = source - origin
    square = (towards**2).sum(axis=1)
    distance = np.sqrt(np.maximum(square, 1e-9))
    amount = np.maximum((normal * towards).sum(axis=1), 0) / distance / np.maximum(square, NEAREST**2)
    if facing is not None:
        amount *= np.abs(towards @ facing) / distance
    lit = np.flatnonzero(amount > 0)
    face = caster.cast(origin[lit], towards[lit], moving=False)
    blocked = caster.distance(face, origin[lit], towards[lit]) < 0.97
    amount[lit[blocked]] = 0
    return amount


def _bounces(
    caster: Caster, origin: NDArray, normal: NDArray, direct: NDArray, albedo: NDArray, samples: int
) -> NDArray:
    """Light after one and more diffuse reflections, by the same cosine-weighted directions at every vertex."""
    t = caster.triangles
    side = np.cross(normal, np.where(np.abs(normal[:, 2:]) > 0.9, [[1.0, 0, 0]], [[0, 0, 1.0]]))
    side /= np.maximum(np.linalg.norm(side, axis=1, keepdims=True), 1e-9)
    other = np.cross(normal, side)
    seen = []
    for a, b in _spread(samples):
        radius, angle = np.sqrt(a), 2 * np.pi * b
        direction = radius * np.cos(angle) * side + radius * np.sin(angle) * other + np.sqrt(1 - a) * normal
        seen.append(caster.cast(origin, direction, moving=False))
    arriving, total = direct, np.zeros_like(direct)
    for _ in range(BOUNCES):
        leaving = _face_mean(t, arriving) * albedo[t.face_material]
        leaving = np.concatenate([leaving, np.zeros((1, 3))])
        arriving = np.zeros_like(direct)
        for face in seen:
            arriving += leaving[face] / len(seen)
        total = total + arriving
    return total


def _smooth(t: Triangles, light: NDArray[np.float64], passes: int) -> NDArray[np.float64]:
    """Average over neighbouring vertices of a surface, some times: hides that all vertices share their directions."""
    count = np.bincount(t.faces.ravel(), minlength=len(light))[:, None]
    for _ in range(passes):
        mean = _face_mean(t, light)
        sums = [np.bincount(t.faces.ravel(), np.repeat(mean[:, k], 3), len(light)) for k in range(3)]
        light = np.stack(sums, axis=1) / count
    return light


def _lifted(t: Triangles) -> NDArray[np.float64]:
    """Vertices moved a little off their surface and away from its border, where other surfaces touch it."""
    inwards = _smooth(t, t.vertices, passes=1) - t.vertices
    return t.vertices + 0.3 * inwards + 2e-3 * t.normals


def _face_mean(t: Triangles, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the corners of each face, [F, 3], of values at vertices [V, 3]."""
    return (values[t.faces[:, 0]] + values[t.faces[:, 1]] + values[t.faces[:, 2]]) / 3


def _spread(count: int) -> NDArray[np.float64]:
    """Evenly spread points of the unit square, [count, 2] (Roberts' R2 sequence)."""
    g = 1.32471795724474602596
    return (0.5 + np.arange(1, count + 1)[:, None] / np.array([g, g * g])) % 1
