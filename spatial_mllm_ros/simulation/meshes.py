"""Triangle meshes of a few primitives, all made of one: a sheet of points.

Every vertex carries a normal and texture coordinates (u, v) in metres, so that textures keep their scale on every
shape. Flat faces are divided into cells because light is stored per vertex.
"""

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

from .materials import Material


class Mesh(NamedTuple):
    """One surface of one material.

    Attributes:
        vertices, normals: float64 [V, 3], metres; normals point out of the solid.
        uv: float64 [V, 2], metres along the surface.
        faces: int32 [F, 3], vertex indices.
        extent: (width, height) of the surface in metres, the range of uv.
        material: its look.
    """

    vertices: NDArray[np.float64]
    normals: NDArray[np.float64]
    uv: NDArray[np.float64]
    faces: NDArray[np.int32]
    extent: tuple[float, float]
    material: Material

    def moved(self, offset: ArrayLike = (0, 0, 0), yaw: float = 0.0, roll: float = 0.0) -> "Mesh":
        """Turned about x (roll) and z (yaw), radians, in this order, then shifted by offset [3] metres."""
        if not (roll or yaw):
            return self._replace(vertices=self.vertices + np.asarray(offset, float))
        return self.transformed(Rotation.from_euler("xyz", [roll, 0, yaw]).as_matrix(), np.asarray(offset, float))

    def transformed(self, rotation: NDArray, translation: NDArray) -> "Mesh":
        """Moved by a rotation [3, 3] and then a translation [3] metres."""
        return self._replace(vertices=self.vertices @ rotation.T + translation, normals=self.normals @ rotation.T)


def sheet(points: NDArray, material: Material, normals: NDArray | None = None, uv: NDArray | None = None) -> Mesh:
    """A surface through a grid of points [m, n, 3]; rows run along v, columns along u.

    Normals default to (d/du x d/dv), uv to the arc length along the longest row and column.
    """
    if uv is None:
        lengths = [np.linalg.norm(np.diff(points, axis=axis), axis=2) for axis in (1, 0)]
        u = np.concatenate([[0], np.cumsum(lengths[0][lengths[0].sum(1).argmax()])])
        v = np.concatenate([[0], np.cumsum(lengths[1][:, lengths[1].sum(0).argmax()])])
        uv = np.stack(np.meshgrid(u, v), axis=2)
    if normals is None:
        normals = np.cross(np.gradient(points, axis=1), np.gradient(points, axis=0))
        normals /= np.maximum(np.linalg.norm(normals, axis=2, keepdims=True), 1e-12)
    flat, normals = uv.reshape(-1, 2), np.asarray(normals).reshape(-1, 3)
    low, high = flat.min(axis=0), flat.max(axis=0)
    extent = float(high[0] - low[0]), float(high[1] - low[1])
    return Mesh(points.reshape(-1, 3), normals, flat, _grid_faces(*points.shape[:2]), extent, material)


@lru_cache
def _grid_faces(m: int, n: int) -> NDArray[np.int32]:
    """Two triangles for each cell of a grid of m x n points."""
    index = np.arange(m * n, dtype=np.int32).reshape(m, n)
    a, b, c, d = index[:-1, :-1].ravel(), index[:-1, 1:].ravel(), index[1:, 1:].ravel(), index[1:, :-1].ravel()
    return np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])


def panel(origin: ArrayLike, along_u: ArrayLike, along_v: ArrayLike, material: Material, cell: float = 0.1) -> Mesh:
    """A flat rectangle from a corner and its two edges [3], metres; it faces along_u x along_v."""
    origin, edges = np.asarray(origin, float), np.array([along_u, along_v], float)
    width, height = np.sqrt((edges**2).sum(axis=1))
    n, m = _cells(width, cell) + 1, _cells(height, cell) + 1
    parts = _unit_grid(m, n)
    normals = np.tile(np.cross(*edges) / (width * height), (m * n, 1))
    return Mesh(origin + parts @ edges, normals, parts * [width, height], _grid_faces(m, n), (width, height), material)


@lru_cache
def _unit_grid(m: int, n: int) -> NDArray[np.float64]:
    """Points (u, v) of the unit square, m rows of n, [m * n, 2]."""
    return np.stack(np.meshgrid(np.linspace(0, 1, n), np.linspace(0, 1, m)), axis=2).reshape(-1, 2)


def box(size: ArrayLike, centre: ArrayLike, material: Material, cell: float = 0.1, grain: int = 0) -> list[Mesh]:
    """Six panels of a box of size [3] metres; u runs along axis ``grain`` on the faces that contain it."""
    half, centre = np.asarray(size, float) / 2, np.asarray(centre, float)
    faces = []
    for axis, sign, u_axis, v_axis in _sides():
        u, v, corner = np.zeros(3), np.zeros(3), -half.copy()
        u[u_axis], v[v_axis], corner[axis] = 2 * half[u_axis], 2 * half[v_axis], sign * half[axis]
        if v_axis == grain or (u_axis != grain and u_axis == 2):
            corner, u, v = corner + u, v, -u
        faces.append(panel(corner + centre, u, v, material, cell))
    return faces


def rounded_box(size: ArrayLike, centre: ArrayLike, radius: float, material: Material) -> list[Mesh]:
    """A box with edges rounded to a radius in metres: cushions, mattresses, mice."""
    half, centre = np.asarray(size, float) / 2, np.asarray(centre, float)
    radius = min(radius, float(half.min()) * 0.999)
    faces = []
    for axis, sign, u_axis, v_axis in _sides():
        u, v = _rounded_lines(half[u_axis], radius), _rounded_lines(half[v_axis], radius)
        points = np.zeros((len(v), len(u), 3))
        points[..., u_axis], points[..., v_axis], points[..., axis] = u[None, :], v[:, None], sign * half[axis]
        inner = np.clip(points, -(half - radius), half - radius)
        normals = points - inner
        normals /= np.linalg.norm(normals, axis=2, keepdims=True)
        uv = np.stack(np.meshgrid(u + half[u_axis], v + half[v_axis]), axis=2)
        faces.append(sheet(inner + radius * normals + centre, material, normals, uv))
    return faces


def _sides() -> Iterator[tuple[int, int, int, int]]:
    """Of a box: the axis that a side looks along, its sign, and the axes that u and v run along."""
    for axis in range(3):
        first, second = (axis + 1) % 3, (axis + 2) % 3
        yield axis, -1, second, first
        yield axis, 1, first, second


def lathe(
    profile: Sequence[tuple[float, float]], material: Material, smooth: bool = False, segments: int = 28
) -> list[Mesh]:
    """A surface of revolution about z from (radius, z) points, metres, listed so that the outside is on their right.

    Upwards along an outer wall, then inwards over the top. Sharp edges between segments unless smooth.
    """
    points = np.asarray(profile, float)
    pieces = [points] if smooth else [points[i : i + 2] for i in range(len(points) - 1)]
    angle = np.linspace(0, 2 * np.pi, segments + 1)

    def turned(outwards: NDArray, up: NDArray) -> NDArray:
        return np.stack(np.broadcast_arrays(outwards * np.cos(angle), outwards * np.sin(angle), up), axis=2)

    out = []
    for piece in pieces:
        if not smooth:
            count = _cells(float(np.linalg.norm(piece[1] - piece[0])))
            piece = piece[0] + np.linspace(0, 1, count + 1)[:, None] * (piece[1] - piece[0])
        slope = np.gradient(piece, axis=0)
        slope /= np.maximum(np.linalg.norm(slope, axis=1, keepdims=True), 1e-12)
        arc = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(piece, axis=0), axis=1))])
        uv = np.stack(np.meshgrid(angle * piece[:, 0].max(), arc), axis=2)
        out.append(sheet(turned(piece[:, :1], piece[:, 1:]), material, turned(slope[:, 1:], -slope[:, :1]), uv))
    return out


def tube(path: NDArray, radius: float, material: Material) -> Mesh:
    """A round tube along a path [n, 3], metres, open at its ends: handles, wires, branches."""
    path = np.asarray(path, float)
    along = np.gradient(path, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    helper = np.eye(3)[np.abs(along).max(axis=0).argmin()]
    side = np.cross(along, helper)
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    other = np.cross(along, side)
    angle = np.linspace(0, 2 * np.pi, 11)[None, :, None]
    normals = np.cos(angle) * side[:, None] - np.sin(angle) * other[:, None]
    return sheet(path[:, None] + radius * normals, material, normals)


def ball(radius: float, centre: ArrayLike, material: Material) -> list[Mesh]:
    """A sphere of a radius in metres."""
    angle = np.linspace(-np.pi / 2, np.pi / 2, 15)
    profile = [(radius * max(float(np.cos(a)), 0.0), radius * float(np.sin(a))) for a in angle]
    return [m.moved(centre) for m in lathe(profile, material, smooth=True)]


def _cells(length: float, cell: float = 0.1) -> int:
    return max(1, math.ceil(length / cell - 1e-9))


def _rounded_lines(half: float, radius: float) -> NDArray[np.float64]:
    """Grid lines over [-half, half]: three in each rounded border, cells between."""
    border = radius * (1 - np.array([1.0, 0.75, 0.45, 0.2]))
    middle = np.linspace(-half + radius, half - radius, _cells(2 * (half - radius)) + 1)
    return np.concatenate([-half + border, middle, (half - border)[::-1]])
