"""Simulated rooms as scenes: everything is exact, things have boxes, and some of them are pushed."""

import re
from dataclasses import dataclass
from functools import lru_cache, partial
from hashlib import sha256
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from spatial_mllm_ros.frames import Frame, Pixels
from spatial_mllm_ros.geometry.cameras import project, unproject
from spatial_mllm_ros.geometry.poses import inverse, transform

from ..item import bad
from ..scene import Scene, Thing, Tracks

KIND = "simulated"
SIZE = (640, 480)
LEAST_SIDE, MOST_SIDE = 64, 4096  # pixels
SECONDS, RATE = 20.0, 2.0  # of the walk; views a second
BODIES = range(2, 6)  # that are pushed; the seed picks how many
MAX_ROOMS = 1_000_000
POINTS_MOVING, POINTS_STILL = 48, 8  # followed on each thing
NEAREST = 1.0  # pixels as large as they are at a point's distance: how near to it the surface seen must be
LABELS = (
    "armchair", "ball", "bed", "book", "bookshelf", "bottle", "bowl", "box", "can", "chair", "coffee table", "cupboard",
    "desk", "door", "lamp", "laptop", "mug", "nightstand", "picture", "plant", "rug", "shelf", "sofa", "table",
    "television", "toy car", "vase", "wardrobe", "window",
)  # fmt: skip


def simulated_refs(spec: str) -> list["SimulatedRef"]:
    """The rooms of ``simulated:SEED`` or ``simulated:FIRST-LAST``, at another size with ``@WIDTHxHEIGHT``.

    Raises:
        SpatialError: the text is neither, or names too many.
    """
    match = re.fullmatch(rf"{KIND}:(\d{{1,18}})(?:-(\d{{1,18}}))?(?:@(\d{{1,5}})x(\d{{1,5}}))?", spec)
    if match is None:
        raise bad(
            f"'{spec}': expected simulated:SEED or simulated:FIRST-LAST, like simulated:0-9 or simulated:0-9@320x240"
        )
    size = (int(match[3]), int(match[4])) if match[3] else SIZE
    if not all(LEAST_SIDE <= side <= MOST_SIDE for side in size):
        raise bad(f"'{spec}': images of {size[0]}x{size[1]} pixels; expected sides from {LEAST_SIDE} to {MOST_SIDE}")
    first, last = int(match[1]), int(match[2] or match[1])
    if last < first:
        raise bad(f"'{spec}': the last seed is below the first")
    if last - first >= MAX_ROOMS:
        raise bad(f"'{spec}': {last - first + 1} rooms; at most {MAX_ROOMS} at once")
    return [SimulatedRef(seed, size) for seed in range(first, last + 1)]


@dataclass(frozen=True)
class SimulatedRef:
    """A room by its seed.

    Attributes:
        size: (width, height) of its images, pixels.
    """

    seed: int
    size: tuple[int, int] = SIZE

    @property
    def source(self) -> str:
        return KIND

    @property
    def name(self) -> str:
        return f"room-{self.seed}" + ("" if self.size == SIZE else "-{}x{}".format(*self.size))

    def open(self) -> Scene:
        """The room, furnished and with its walk planned; views are rendered when they are asked for.

        Raises:
            SpatialError: the ray caster is not installed.
        """
        try:
            from spatial_mllm_ros.simulation import make_room
        except ImportError as error:
            raise bad(str(error)) from None
        pushes = BODIES[self.seed % len(BODIES)]
        views = Views(make_room(self.seed, self.size, RATE, SECONDS, pushes=pushes, noise=0))
        lacks = {} if views.room.pushes else {"tracks": "nothing in this room could be pushed"}
        parameters = f"{KIND} 1 {self.seed} {self.size} {SECONDS} {RATE} {pushes}"
        return Scene(
            name=self.name,
            source=KIND,
            frames=[views.frame(i) for i in range(len(views.room))],
            key=sha256(parameters.encode()).hexdigest(),
            things=[Thing(o.name, o.label, o.size, o.world_from_rest, o.moving) for o in views.room.objects],
            tracks=lru_cache(partial(follow, views)),
            instance_map=views.instances,
            lacks=lacks,
            vocabulary=LABELS,
            world_up=np.array([0.0, 0.0, 1.0]),
        )


class Views:
    """What a room's camera sees, each view rendered once and kept as PNG: some 0.5 MB at 640x480.

    Attributes:
        room: spatial_mllm_ros.simulation.Room.
    """

    def __init__(self, room):
        self.room = room
        self._kept: dict[int, tuple[NDArray[np.uint8], ...]] = {}

    def frame(self, index: int) -> Frame:
        """A frame whose pixels are rendered when they are asked for; depth is exact, rounded to millimetres."""
        width, height = self.room.cameras[0].width, self.room.cameras[0].height
        return Frame(
            int(self.room.stamps[index]),
            self.room.cameras[0],
            image=Pixels(height, width, 0, partial(self._image, index)),
            depth=Pixels(height, width, 0, partial(self._depth, index)),
            world_from_camera=self.room.world_from_camera(index),
            world_frame="room",
        )

    def instances(self, index: int) -> NDArray[np.int32]:
        """Number of the thing at each pixel, int32 [H, W], -1 for walls, floor and ceiling."""
        return self._decoded(index, 2).astype(np.int32) - 1

    def _image(self, index: int) -> NDArray[np.uint8]:
        return self._decoded(index, 0)[..., ::-1].copy()

    def _depth(self, index: int) -> NDArray[np.float32]:
        return self._decoded(index, 1) * np.float32(0.001)

    def _decoded(self, index: int, part: int) -> NDArray[Any]:
        if index not in self._kept:
            view = self.room.render(index)
            image, depth = view.frame.image, view.frame.depth
            assert image is not None and depth is not None
            parts = (
                image[..., ::-1],
                np.rint(depth * 1000).astype(np.uint16),
                (view.object_ids + 1).astype(np.uint16),
            )
            self._kept[index] = tuple(_png(p) for p in parts)
        return np.asarray(cv2.imdecode(self._kept[index][part], cv2.IMREAD_UNCHANGED))


def follow(views: Views) -> Tracks:
    """Points on the surfaces of all things, through all views of a room.

    A point is visible where the pixel it falls on shows its thing, and the surface there is as near to it as one
    pixel is wide: a dot at that pixel marks the point.
    """
    room = views.room
    rng = np.random.default_rng([room.seed, 1])
    parts = [
        _on_surface(rng, placed.model.meshes, POINTS_MOVING if thing.moving else POINTS_STILL)
        for placed, thing in zip(room.layout.placed, room.objects, strict=True)
    ]
    owner = np.repeat(np.arange(len(parts)), [len(p) for p in parts])
    shape = len(room), len(owner)
    points, pixels, visible = np.empty((*shape, 3)), np.empty((*shape, 2)), np.empty(shape, bool)
    for i, stamp in enumerate(room.stamps):
        poses = [thing.world_from_object(int(stamp)) for thing in room.objects]
        points[i] = np.concatenate([transform(pose, part) for pose, part in zip(poses, parts, strict=True)])
        pixels[i], visible[i] = _seen(views, i, points[i], owner)
    moving = np.flatnonzero([thing.moving for thing in room.objects])
    body = np.full(len(parts), -1)
    body[moving] = np.arange(len(moving))
    return Tracks(points, visible, pixels, body[owner].astype(np.int64))


def _seen(views: Views, index: int, points: NDArray, owner: NDArray) -> tuple[NDArray, NDArray[np.bool_]]:
    """Pixels of points [P, 3] of things ``owner`` [P], and which of them are visible; see :func:`follow`."""
    frame = views.frame(index)
    camera, pose = frame.camera, frame.world_from_camera
    assert pose is not None and frame.depth is not None
    local = transform(inverse(pose), points)
    pixels, visible = project(camera, local)
    inside = np.flatnonzero(visible)
    whole = np.rint(pixels[inside]).astype(int)
    depth = frame.depth[whole[:, 1], whole[:, 0]]
    away = np.linalg.norm(unproject(camera, whole, depth) - local[inside], axis=1)
    same = views.instances(index)[whole[:, 1], whole[:, 0]] == owner[inside]
    visible[inside] = same & (depth > 0) & (away <= NEAREST * local[inside, 2] / camera.intrinsics[0, 0] + 1e-3)
    return pixels, visible


def _on_surface(rng: np.random.Generator, meshes, count: int) -> NDArray[np.float64]:
    """Points [count, 3] spread evenly over the surfaces of a model, in its own frame."""
    corners = np.concatenate([mesh.vertices[mesh.faces] for mesh in meshes])
    edges = corners[:, 1:] - corners[:, :1]
    area = np.linalg.norm(np.cross(edges[:, 0], edges[:, 1]), axis=1)
    face = rng.choice(len(corners), count, p=area / area.sum())
    along = rng.random((count, 2))
    along = np.where(along.sum(axis=1, keepdims=True) > 1, 1 - along, along)
    return corners[face, 0] + (along[:, :, None] * edges[face]).sum(axis=1)


def _png(image: NDArray) -> NDArray[np.uint8]:
    coded = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1]
    return np.asarray(coded, np.uint8)
