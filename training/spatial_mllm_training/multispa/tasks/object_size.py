"""How high, long and wide a thing is that several images show (Xu et al., 2025, section 3.1: object size perception).

The thing is named by its label, which no other thing of the scene has. Height is its extent along the world's up;
length is the longer and width the shorter horizontal side of its box. An extent is asked for where what the images show
of the thing reaches from one end of it to the other, or nearly.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from spatial_mllm_ros.evenly import evenly
from spatial_mllm_ros.geometry.poses import inverse, transform

from ..covisibility import SceneIndex
from ..item import OBJECT_SIZE, Candidate
from ..scene import Scene
from ..spread import spread

TYPES = OBJECT_SIZE
NEEDS = ("depth", "pose", "things")
IMAGES = range(2, 5)  # shown together
TRIES = 48  # sets of images per thing
SHOWN = 0.9  # of the extent that the images show
PIXELS = 0.002  # of an image belong to the thing
SMALLEST = 0.02  # m; nobody asks how high a rug is
UPRIGHT = np.cos(np.radians(5))
EDGES = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2)  # metres, between the bins of size
MAX_FRAMES, COLUMNS = 40, 320  # looked at: frames of a scene, and about so many pixels of a row
BOX_MARGIN = 0.01  # m; a point so near to a box is in it, where no map of instances says more


def propose(scene: Scene, index: SceneIndex, rng: np.random.Generator, count: int) -> Iterator[Candidate]:
    """Up to ``count`` candidates of each type; whole millimetres."""
    axes = asked_things(scene)
    if not axes or not len(index.numbers):
        return
    numbers = index.numbers
    numbers = numbers[evenly(len(numbers), MAX_FRAMES)]
    low, high = (np.stack(ends) for ends in zip(*[_reach(scene, index, i, list(axes)) for i in numbers], strict=True))
    sets: list[tuple[int, NDArray[np.int64], NDArray[np.bool_]]] = []
    for column, thing in enumerate(axes):
        showing = np.flatnonzero(np.isfinite(low[:, column, 0]))
        for some in _sets(len(showing), rng):
            rows = showing[some]
            span = high[rows, column].max(axis=0) - low[rows, column].min(axis=0)
            sets.append((thing, numbers[rows], span >= SHOWN * scene.things[thing].size))
    for kind, axis in zip(TYPES, ("height", "width", "length"), strict=True):
        size = {k: float(scene.things[k].size[axes[k][axis]]) for k in axes}
        there = [row for row in sets if row[2][axes[row[0]][axis]] and size[row[0]] >= SMALLEST]
        if not there:
            continue
        bins = np.array([(np.searchsorted(EDGES, size[k], side="right"), k) for k, _, _ in there])
        for row in spread(bins, count, rng).tolist():
            thing, frames, _ = there[row]
            label = scene.things[thing].label
            yield Candidate(
                kind,
                tuple(frames.tolist()),
                float(round(1000 * size[thing])),
                "scalar",
                referring="label",
                label=label,
                bins={"size": int(bins[row, 0]), "label": label},
            )


def asked_things(scene: Scene) -> dict[int, dict[str, int]]:
    """Things that can be asked about -> which axis of their box is their height, width and length."""
    labels = [thing.label for thing in scene.things]
    asked = {}
    for k, thing in enumerate(scene.things):
        if thing.moving or labels.count(thing.label) > 1 or scene.world_up is None:
            continue
        along = np.abs(thing.world_from_thing[:3, :3].T @ scene.world_up)
        up = int(along.argmax())
        if along[up] >= UPRIGHT:
            width, length = sorted({0, 1, 2} - {up}, key=lambda axis: thing.size[axis])
            asked[k] = {"height": up, "width": width, "length": length}
    return asked


def _sets(available: int, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """Different sets of two to four of the images that show a thing, in any order."""
    if available < IMAGES[0]:
        return []
    drawn = (
        rng.permutation(available)[: rng.integers(IMAGES[0], min(IMAGES[-1], available) + 1)] for _ in range(TRIES)
    )
    return list({frozenset(some.tolist()): some for some in drawn}.values())


def _reach(scene: Scene, index: SceneIndex, number: int, asked: list[int]) -> tuple[NDArray, NDArray]:
    """What a frame shows of things, see :func:`reach`."""
    camera = scene.frames[number].camera
    step = max(1, camera.width // COLUMNS)
    v, u = (grid.ravel() for grid in np.mgrid[0 : camera.height : step, 0 : camera.width : step])
    if scene.instance_map is not None:
        owner = scene.instance_map(number)[v, u]
        shown = np.isin(owner, asked)
        owner, points = owner[shown], index.world(number, np.stack([u[shown], v[shown]], axis=1))
    else:
        points = index.world(number, np.stack([u, v], axis=1))
        owner = boxed(scene, points)
    known = np.isfinite(points[:, 2])
    return reach(scene, asked, points[known], owner[known], len(u))


def reach(
    scene: Scene, asked: Sequence[int], points: NDArray[np.float64], owner: NDArray, pixels: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How far points [N, 3] of things ``owner`` [N] reach of those that are asked about, along the axes of their boxes.

    Args:
        pixels: that were looked at.
    Returns:
        The least and the largest of each axis, float64 [K, 3] metres; infinite for too little.
    """
    low, high = np.full((len(asked), 3), np.inf), np.full((len(asked), 3), -np.inf)
    for row, k in enumerate(asked):
        mine, thing = points[owner == k], scene.things[k]
        if len(mine) >= PIXELS * pixels:
            local = transform(inverse(thing.world_from_thing), mine).clip(-thing.size / 2, thing.size / 2)
            low[row], high[row] = local.min(axis=0), local.max(axis=0)
    return low, high


def boxed(scene: Scene, points: NDArray[np.float64]) -> NDArray[np.int64]:
    """Thing whose box a point [N, 3] is in, the smallest where there are several, -1 where there is none: [N]."""
    owner, known = np.full(len(points), -1), np.flatnonzero(np.isfinite(points).all(axis=1))
    tree = KDTree(points[known])
    for k in sorted(range(len(scene.things)), key=lambda k: -float(scene.things[k].size.prod())):
        thing, half = scene.things[k], scene.things[k].size / 2 + BOX_MARGIN
        near = known[tree.query_ball_point(thing.world_from_thing[:3, 3], float(np.linalg.norm(half)))]
        local = transform(inverse(thing.world_from_thing), points[near])
        owner[near[(np.abs(local) <= half).all(axis=1)]] = k
    return owner
