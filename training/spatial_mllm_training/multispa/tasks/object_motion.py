"""How far and which way a point of a moving body went between two images (Xu et al., 2025, section 3.2).

Points are those that were followed; a displacement is one in the world, told in the first camera's axes. Pairs are
spread over bodies and over bins of distance; half of them run back in time.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..covisibility import SceneIndex
from ..item import OBJECT_MOTION, Candidate, Point
from ..rigid_groups import STILL
from ..scene import Scene, Tracks
from ..spread import spread
from ..tracks import moving_groups, shown_points

TYPES = OBJECT_MOTION
NEEDS = ("pose", "tracks")
EDGES = (STILL, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2)  # metres, between the bins of distance
STILL_SHARE = 0.05  # of the candidates show a body at rest
MAX_ROUNDING = 0.1  # of the displacement: error of whole pixels that stand for a point
WORDS = np.array([["left", "right"], ["up", "down"], ["backward", "forward"]])  # less and more of each axis


def propose(scene: Scene, index: SceneIndex, rng: np.random.Generator, count: int) -> Iterator[Candidate]:
    """Up to ``count`` candidates of each type; whole millimetres, 0 for a body at rest."""
    if scene.tracks is None:
        return
    tracks = scene.tracks()
    groups = moving_groups(tracks)
    bodies = np.unique(groups[groups >= 0])
    found = [_moves(index, tracks, np.flatnonzero(groups == body), rng) for body in bodies]
    if not found:
        return
    frames, pixels, ways = (np.concatenate(parts) for parts in zip(*found))
    group = np.repeat(bodies, [len(way) for *_, way in found])
    far = np.searchsorted(EDGES, np.linalg.norm(ways, axis=1), side="right")
    for kind in TYPES:
        for k in _chosen(group, far, count, rng).tolist():
            yield _candidate(kind, frames[k], pixels[k], ways[k], {"distance": int(far[k]), "group": int(group[k])})


def _moves(
    index: SceneIndex, tracks: Tracks, members: NDArray[np.int64], rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Frames and pixels of points of one body, as in ``Shown``, where pixels show them well; and their ways [N, 3] in
    the first camera's axes, metres."""
    shown = shown_points(tracks, members, rng)
    if not len(shown.point):
        return shown.frames, shown.pixels, np.empty((0, 3))
    used = np.unique(shown.frames)
    cameras = [index.scene.frames[i].camera for i in used.tolist()]
    poses = np.stack([index.pose(i) for i in used.tolist()])
    at = np.searchsorted(used, shown.frames)
    ends = tracks.points[shown.frames, shown.point[:, None]]
    ways = (poses[at[:, 0], :3, :3].transpose(0, 2, 1) @ (ends[:, 1] - ends[:, 0])[..., None])[..., 0]
    depths = ((ends - poses[at, :3, 3]) * poses[at, :3, 2]).sum(axis=-1)
    focal = np.array([camera.intrinsics[0, 0] for camera in cameras])[at]
    sizes = np.array([(camera.width, camera.height) for camera in cameras])[at]
    distance = np.linalg.norm(ways, axis=1)
    error = (shown.rounding * depths / focal).sum(axis=1)
    inside = ((shown.pixels >= 0) & (shown.pixels < sizes)).all(axis=(1, 2))
    good = inside & ((distance < STILL) | (error <= MAX_ROUNDING * distance))
    return shown.frames[good], shown.pixels[good], ways[good]


def _chosen(
    group: NDArray[np.int64], far: NDArray[np.int64], count: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Which of N moves to ask about, bins in turn; those of bin 0, at rest, are few beside the others."""
    moving, still = np.flatnonzero(far > 0), np.flatnonzero(far == 0)
    bins = np.column_stack([group, far])
    rest = min(len(still), round(STILL_SHARE * min(count, len(moving))))
    moving = moving[spread(bins[moving], count - rest, rng)]
    return np.concatenate([moving, still[spread(bins[still], rest, rng)]])


def _candidate(
    kind: str, frames: NDArray[np.int64], pixels: NDArray[np.int64], way: NDArray[np.float64], bins: dict[str, int]
) -> Candidate:
    _, asks, referring = kind.split("_")
    main = int(np.abs(way).argmax())
    moves = bins["distance"] > 0
    millimetres = np.rint(1000 * way * moves) + 0.0
    distance = float(round(1000 * float(np.linalg.norm(way)) * moves))
    return Candidate(
        kind,
        tuple(frames.tolist()),
        truth=distance if asks == "distance" else millimetres.tolist(),
        output="scalar" if asks == "distance" else "vector",
        referring=referring,
        points=tuple(Point(image, *pixel) for image, pixel in enumerate(pixels.tolist())),
        bins={**bins, "direction": str(WORDS[main, int(way[main] > 0)]) if moves else "none"},
        facts={"still": not moves},
    )
