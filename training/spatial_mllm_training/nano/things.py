"""What the views of a room show of its things, so that their sizes can be asked for; kept beside the views."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spatial_mllm_ros.files import whole
from spatial_mllm_ros.geometry.poses import transform

from ..geometry.views import Views, name_of, of_each, open_views
from ..multispa.scene import Scene, SceneRef
from ..multispa.tasks.not_observed import absent
from ..multispa.tasks.object_size import SHOWN, SMALLEST, asked_things, boxed, reach

AXES = ("height", "width", "length")
FILE = "things.npz"
STEP = 2  # every second pixel of every second row is looked at


@dataclass(frozen=True, eq=False)
class Things:
    """K things of a room with labels of their own, in N views.

    Attributes:
        labels: [K]; absent: of things that the room does not have.
        size: height, width and length, float64 [K, 3] metres.
        low, high: how far each view shows them along these axes, float32 [N, K, 3] metres; infinite for too little.
    """

    labels: tuple[str, ...]
    absent: tuple[str, ...]
    size: NDArray[np.float64]
    low: NDArray[np.float32]
    high: NDArray[np.float32]

    def shown(self, chosen: Sequence[int]) -> Iterator[tuple[str, str, float]]:
        """Label, axis and size in metres of what all of the chosen views show, from one end to the other together."""
        low, high = self.low[chosen], self.high[chosen]
        span = high.max(axis=0) - low.min(axis=0)
        known = np.isfinite(low).all(axis=0) & (span >= SHOWN * self.size) & (self.size >= SMALLEST)
        for k, axis in np.argwhere(known).tolist():
            yield self.labels[k], AXES[axis], float(self.size[k, axis])


def things_of(scene: Scene, views: Views) -> Things:
    """What views show of the things of their scene, by the boxes of these."""
    asked = asked_things(scene)
    order = np.array([[axes[axis] for axis in AXES] for axes in asked.values()], np.int64).reshape(-1, 3)
    size = np.array([scene.things[k].size[axes] for k, axes in zip(asked, order)]).reshape(-1, 3)
    low = np.full((len(views.images), *order.shape), np.inf, np.float32)
    high = -low
    height, width = views.images.shape[1:3]
    v, u = (grid.ravel() for grid in np.mgrid[0:height:STEP, 0:width:STEP])
    for i, world_from_camera in enumerate(views.world_from_camera):
        fx, fy, cx, cy = views.intrinsics[i]
        z = views.depth[i][v, u].astype(np.float64)
        local = np.stack([(u - cx) / fx * z, (v - cy) / fy * z, z], axis=1)[z > 0]
        points = transform(world_from_camera, local)
        ends = reach(scene, list(asked), points, boxed(scene, points), len(u))
        low[i], high[i] = (np.take_along_axis(end, order, axis=1) for end in ends)
    labels = tuple(scene.things[k].label for k in asked)
    return Things(labels, tuple(absent(scene)) if labels else (), size, low, high)


def make_things(refs: Sequence[SceneRef], size: tuple[int, int], folder: Path, workers: int = 1) -> Iterator[None]:
    """Writes what the views show that ``make_views`` left there; one step a scene, those that are there are kept."""
    return of_each(partial(_make, size=size, folder=folder), refs, workers)


def open_things(refs: Sequence[SceneRef], size: tuple[int, int], folder: Path) -> list[Things]:
    """Of the scenes with views, in the order of ``open_views``."""
    places = [folder / name_of(ref, size) / FILE for ref in refs]
    return [_open(place) for place in places if place.is_file()]


def _make(ref: SceneRef, size: tuple[int, int], folder: Path) -> None:
    place = folder / name_of(ref, size)
    found = open_views([ref], size, folder)
    if not found or (place / FILE).is_file():
        return
    things = things_of(ref.open(), found[0])
    with whole(place / FILE) as beside:
        np.savez(beside, **vars(things))


def _open(place: Path) -> Things:
    parts = np.load(place)
    labels, missing = (tuple(parts[name].tolist()) for name in ("labels", "absent"))
    return Things(labels, missing, *(parts[name] for name in ("size", "low", "high")))
