"""All triangles of a room in flat arrays, and casting rays into them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..compiled import compiled
from .meshes import Mesh

try:
    from embreex.mesh_construction import TriangleMesh
    from embreex.rtcore_scene import EmbreeScene
except ImportError as error:
    raise ImportError("simulation needs embreex: pip install 'spatial-mllm-ros[simulate]'") from error


@dataclass(frozen=True)
class Triangles:
    """Every surface of a room; V vertices, F faces, M materials.

    Attributes:
        vertices, normals: float64 [V, 3] world frame, at rest.
        uv: float64 [V, 2], metres along the surface.
        vertex_object: int32 [V], index of the object.
        faces: int32 [F, 3]; faces of things that move come last, from ``first_moving`` on.
        face_object, face_material, face_sheet: int32 [F]; faces of one sheet make one smooth surface.
        extent: float64 [F, 2], width and height of the face's surface, metres.
        textures: int32 [M]; rows: float64 [M, 14], see textures.py.
    """

    vertices: NDArray[np.float64]
    normals: NDArray[np.float64]
    uv: NDArray[np.float64]
    vertex_object: NDArray[np.int32]
    faces: NDArray[np.int32]
    face_object: NDArray[np.int32]
    face_material: NDArray[np.int32]
    face_sheet: NDArray[np.int32]
    extent: NDArray[np.float64]
    textures: NDArray[np.int32]
    rows: NDArray[np.float64]
    first_moving: int


def flatten(parts: Sequence[tuple[int, Sequence[Mesh]]], moving: set[int]) -> Triangles:
    """Join (object index, its meshes in the world frame); indices in moving are those of things that move."""
    ordered = [(i, m) for i, meshes in sorted(parts, key=lambda p: p[0] in moving) for m in meshes]
    materials = list({id(m.material): m.material for _, m in ordered}.values())
    number = {id(m): i for i, m in enumerate(materials)}
    starts = np.cumsum([0] + [len(m.vertices) for _, m in ordered])
    counts = [len(m.faces) for _, m in ordered]
    return Triangles(
        vertices=np.concatenate([m.vertices for _, m in ordered]),
        normals=np.concatenate([m.normals for _, m in ordered]),
        uv=np.concatenate([m.uv for _, m in ordered]),
        vertex_object=np.repeat([i for i, _ in ordered], np.diff(starts)).astype(np.int32),
        faces=np.concatenate([m.faces + s for (_, m), s in zip(ordered, starts[:-1], strict=True)]).astype(np.int32),
        face_object=np.repeat([i for i, _ in ordered], counts).astype(np.int32),
        face_material=np.repeat([number[id(m.material)] for _, m in ordered], counts).astype(np.int32),
        face_sheet=np.repeat(np.arange(len(ordered)), counts).astype(np.int32),
        extent=np.repeat([m.extent for _, m in ordered], counts, axis=0),
        textures=np.array([m.texture for m in materials], np.int32),
        rows=np.array([m.row for m in materials]),
        first_moving=sum(c for (i, _), c in zip(ordered, counts, strict=True) if i not in moving),
    )


class Caster:
    """Finds the first triangle on rays, among things at rest and, once placed, those that move.

    Embree (Wald et al. 2014, through embreex) works in float32 and decides only which triangle is hit;
    distances are computed from the triangle's plane in float64.
    """

    def __init__(self, triangles: Triangles):
        self.triangles = triangles
        self.vertices = triangles.vertices.copy()
        self._static = _embree(self.vertices, triangles.faces[: triangles.first_moving])
        moving = triangles.faces[triangles.first_moving :]
        objects = triangles.face_object[triangles.first_moving :]
        self._moving = [
            (i, moving[objects == i], np.flatnonzero(triangles.vertex_object == i)) for i in np.unique(objects)
        ]
        self._offsets = [triangles.first_moving + int(np.flatnonzero(objects == i)[0]) for i, _, _ in self._moving]
        self._placed: list[tuple[EmbreeScene, int, NDArray, float]] = []

    def place(self, moves: dict[int, NDArray[np.float64]]) -> None:
        """Put moving objects where the transform [4, 4] of their index takes them from rest."""
        self._placed = []
        for (index, faces, vertices), offset in zip(self._moving, self._offsets, strict=True):
            move = moves[index]
            points = self.triangles.vertices[vertices] @ move[:3, :3].T + move[:3, 3]
            self.vertices[vertices] = points
            centre = (points.min(axis=0) + points.max(axis=0)) / 2
            radius = float(np.linalg.norm(points - centre, axis=1).max()) + 1e-3
            self._placed.append((_embree(points, faces - vertices[0]), offset, centre, radius))

    def cast(self, origins: NDArray, directions: NDArray, moving: bool = True) -> NDArray[np.int32]:
        """Index of the first face on each ray, -1 where there is none.

        Args:
            origins: [3] or [N, 3] metres, world frame.
            directions: [N, 3], any length.
        """
        directions = np.ascontiguousarray(directions, np.float32)
        origins = np.ascontiguousarray(np.broadcast_to(np.asarray(origins, np.float32), directions.shape))
        face = self._static.run(origins, directions)
        if not moving:
            return face
        for scene, offset, centre, radius in self._placed:
            near = np.flatnonzero(_meets_sphere(origins, directions, centre, radius))
            if not len(near):
                continue
            hit = scene.run(origins[near], directions[near])
            near, hit = near[hit >= 0], hit[hit >= 0] + offset
            rays = origins[near], directions[near]
            closer = self.distance(hit, *rays) < self.distance(face[near], *rays)
            face[near[closer]] = hit[closer]
        return face

    def distance(self, face: NDArray[np.int32], origins: NDArray, directions: NDArray) -> NDArray[np.float64]:
        """How many times its direction a ray runs to the plane of its face, [N]; infinite where face is -1."""
        origins = np.broadcast_to(np.asarray(origins, np.float64), directions.shape)
        return _plane_distance(face, origins, np.asarray(directions, np.float64), self.vertices, self.triangles.faces)


def _embree(vertices: NDArray, faces: NDArray[np.int32]) -> EmbreeScene:
    scene = EmbreeScene(robust=True)
    TriangleMesh(scene, np.ascontiguousarray(vertices, np.float32), np.ascontiguousarray(faces, np.int32))
    return scene


@compiled(nogil=True)
def _meets_sphere(origins, directions, centre, radius):
    out = np.zeros(len(directions), np.bool_)
    for i in range(len(directions)):
        x, y, z = centre[0] - origins[i, 0], centre[1] - origins[i, 1], centre[2] - origins[i, 2]
        dx, dy, dz = directions[i, 0], directions[i, 1], directions[i, 2]
        along = x * dx + y * dy + z * dz
        gap = x * x + y * y + z * z - radius * radius
        out[i] = gap < 0 or (along > 0 and along * along > gap * (dx * dx + dy * dy + dz * dz))
    return out


@compiled(nogil=True, error_model="numpy")
def _plane_distance(face, origins, directions, vertices, faces):
    out = np.empty(len(face))
    for i in range(len(face)):
        if face[i] < 0:
            out[i] = np.inf
            continue
        a, b, c = vertices[faces[face[i], 0]], vertices[faces[face[i], 1]], vertices[faces[face[i], 2]]
        nx = (b[1] - a[1]) * (c[2] - a[2]) - (b[2] - a[2]) * (c[1] - a[1])
        ny = (b[2] - a[2]) * (c[0] - a[0]) - (b[0] - a[0]) * (c[2] - a[2])
        nz = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
        o, d = origins[i], directions[i]
        out[i] = (nx * (a[0] - o[0]) + ny * (a[1] - o[1]) + nz * (a[2] - o[2])) / (nx * d[0] + ny * d[1] + nz * d[2])
    return out
