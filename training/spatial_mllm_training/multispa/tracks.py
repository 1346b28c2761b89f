"""Followed points: which belong to a body that moves, and which pairs of frames show one of them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .rigid_groups import rigid_groups
from .scene import Tracks

MAX_PAIRS = 3000  # of frames, looked at for one body
MAX_POINTS = 256  # of one body


@dataclass(frozen=True, eq=False)
class Shown:
    """Points that pairs of frames show, N of them.

    Attributes:
        frames: int64 [N, 2], first and second; half of the pairs run back in time.
        point: int64 [N], which track.
        pixels: int64 [N, 2, 2], (u, v) of the whole pixel at the point, in the first and in the second frame.
        rounding: float64 [N, 2], how far that pixel is from the point, pixels.
    """

    frames: NDArray[np.int64]
    point: NDArray[np.int64]
    pixels: NDArray[np.int64]
    rounding: NDArray[np.float64]


def moving_groups(tracks: Tracks) -> NDArray[np.int64]:
    """Moving body of each point, int64 [P], -1 for points that stay: as known, else found by :func:`rigid_groups`."""
    if tracks.bodies is None:
        return rigid_groups(tracks.points, tracks.visible)
    return tracks.bodies


def shown_points(tracks: Tracks, members: NDArray[np.int64], rng: np.random.Generator) -> Shown:
    """For pairs of frames that show one of the points ``members``: the one that lies nearest to whole pixels in both.

    All pairs, or MAX_PAIRS at random; each pair once, in either order.
    """
    if len(members) > MAX_POINTS:
        members = rng.choice(members, MAX_POINTS, replace=False)
    pixels, visible = tracks.pixels[:, members], tracks.visible[:, members]
    whole = np.rint(np.where(visible[..., None], pixels, 0))
    rounding = np.where(visible, np.linalg.norm(pixels - whole, axis=-1), np.inf)
    pairs = _pairs(np.flatnonzero(visible.any(axis=1)), rng)
    both = rounding[pairs[:, 0]] + rounding[pairs[:, 1]]
    best = both.argmin(axis=1)
    pairs, best = (part[np.isfinite(both.min(axis=1))] for part in (pairs, best))
    at = pairs, best[:, None]
    return Shown(pairs, members[best], whole[at].astype(np.int64), rounding[at])


def _pairs(frames: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Pairs of different frames, int64 [N, 2], each once and in a random order of its two."""
    count = len(frames)
    number = count * (count - 1) // 2
    if number <= MAX_PAIRS:
        pairs = np.column_stack(np.triu_indices(count, 1))
    else:
        pairs = np.unique(np.sort(rng.integers(count, size=(MAX_PAIRS, 2)), axis=1), axis=0)
        pairs = pairs[pairs[:, 0] < pairs[:, 1]]
    turned = rng.random(len(pairs)) < 0.5
    return frames[np.where(turned[:, None], pairs[:, ::-1], pairs)]
