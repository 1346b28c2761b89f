"""How far away one pixel is, and which of two is nearer (Xu et al., 2025, section 3.1: depth perception)."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ..covisibility import SceneIndex
from ..item import DEPTH, Candidate, Point
from ..scene import Scene
from ..spread import spread

TYPES = DEPTH
NEEDS = ("depth",)
DEPTH_BIN = 0.5  # metres
RATIO_BIN, MOST_RATIO = 0.25, 8  # of farther / nearer - 1, and the last bin
LEAST_APART, LEAST_RATIO = 0.1, 1.1  # metres, and farther / nearer
DOTS_APART = 0.05  # of the width
POINTS, MOST_POINTS = 8, 64  # looked at in one frame, for each question of a type that is wanted of it, and in all
PAIRS = 4  # looked at for each point
Seen = tuple[int, NDArray[np.int64], NDArray[np.float64]]  # a frame, sure pixels of it [N, 2], their depth [N] metres


def propose(scene: Scene, index: SceneIndex, rng: np.random.Generator, count: int) -> Iterator[Candidate]:
    """Up to ``count`` candidates of each type, about the same frames; depth along the optical axis, in whole mm."""
    frames = rng.permutation(list(index.readable)).tolist()[:count]
    each = min(POINTS * -(-count // max(len(frames), 1)), MOST_POINTS)
    seen = []
    for i in frames:
        pixels = index.samples(i, each, rng)
        seen.append((i, pixels, index.depth(i)[pixels[:, 1], pixels[:, 0]].astype(np.float64)))
    for kind in TYPES:
        referring = kind.rpartition("_")[2]
        if kind.startswith("depth_estimation"):
            yield from _estimations(seen, rng, count, kind, referring)
        else:
            yield from _comparisons(scene, seen, rng, count, kind, referring)


def _estimations(seen: list[Seen], rng: np.random.Generator, count: int, kind: str, referring: str):
    rows = [np.zeros((0, 4))]
    for i, pixels, depth in seen:
        rows.append(np.column_stack([np.full(len(pixels), i), pixels, depth]))
    found = np.concatenate(rows)
    bins = (found[:, 3] / DEPTH_BIN).astype(np.int64)
    for k in spread(bins, count, rng).tolist():
        i, u, v, z = found[k].tolist()
        points, truth = (Point(0, int(u), int(v)),), float(round(1000 * z))
        yield Candidate(kind, (int(i),), truth, "scalar", referring, points, bins={"depth": bins[k].item()})


def _comparisons(scene: Scene, seen: list[Seen], rng: np.random.Generator, count: int, kind: str, referring: str):
    rows = [np.zeros((0, 7), np.int64)]
    for i, pixels, depth in seen:
        a, b = rng.integers(0, max(len(pixels), 1), (2, PAIRS * len(pixels)))
        near, far = np.minimum(depth[a], depth[b]), np.maximum(depth[a], depth[b])
        apart = np.linalg.norm(pixels[a] - pixels[b], axis=1) >= DOTS_APART * scene.frames[i].camera.width
        clear = apart & (far - near >= LEAST_APART) & (far >= LEAST_RATIO * near)
        ratio = np.minimum((far / near - 1) / RATIO_BIN, MOST_RATIO).astype(np.int64)
        rows.append(np.column_stack([np.full(len(a), i), pixels[a], pixels[b], ratio, depth[a] > depth[b]])[clear])
    found = np.unique(np.concatenate(rows), axis=0)
    for k in spread(found[:, 5:], count, rng).tolist():
        i, u, v, x, y, ratio, second = found[k].tolist()
        points = (Point(0, u, v, name="A"), Point(0, x, y, name="B"))
        bins: dict[str, int | str] = {"ratio": ratio, "answer": "AB"[second]}
        yield Candidate(kind, (i,), "AB"[second], "choice", referring, points, bins=bins)
