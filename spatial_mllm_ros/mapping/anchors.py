"""Frames that a window sees again, and where they say that it lies."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..frames import Frame
from ..geometry.alignment import Fit, robust_similarity, scale_from_depth
from ..geometry.poses import Matrix, inverse, rotation_angle, transform
from ..geometry.window import WindowGeometry, pinhole_rays
from .placed import WORLD, WORLD_GAUGE, Placed

LINK_ERROR = 0.005  # of scale, each time it is handed on from window to window
NEAR = 0.6  # of depth, plus radians, up to which two cameras look at the same things


class Refused(ValueError):
    """A window that is not believed: ``kind`` is one of few, to be counted, the text says how far off it was."""

    def __init__(self, kind: str, text: str):
        super().__init__(text)
        self.kind = kind


@dataclass(frozen=True, eq=False)
class Anchor:
    """A frame that the next window sees again: its pose and its believed pixels, NaN elsewhere, in the section."""

    frame: Frame
    pose: Matrix
    points: NDArray[np.float64]
    depth: NDArray[np.float32]

    @classmethod
    def of(cls, frame: Frame, pose: Matrix, depth: NDArray[np.float32], intrinsics: NDArray[np.float64]) -> "Anchor":
        return cls(frame, pose, transform(pose, pinhole_rays(intrinsics, *depth.shape) * depth[..., None]), depth)


Anchors = dict[tuple[int, str], Anchor]


@dataclass(frozen=True, eq=False)
class Pairs:
    """What a window and the map both believe of frames that both know: N points, depths, and confidence."""

    source: NDArray[np.float64]
    target: NDArray[np.float64]
    near: NDArray[np.float32]
    far: NDArray[np.float32]
    weight: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.far)

    @classmethod
    def of(cls, anchors: Anchors, frames: Sequence[Frame], window: WindowGeometry) -> "Pairs | None":
        """None where the window has none of these frames. Raises Refused."""
        points, parts = window.points(), []
        for i, anchor in ((i, anchors[f.key]) for i, f in enumerate(frames) if f.key in anchors):
            if anchor.depth.shape != window.depth.shape[1:]:
                raise Refused("wrong size", "depth maps of another size than in the last window")
            both = np.isfinite(anchor.depth) & np.isfinite(window.depth[i])
            window_values = points[i], anchor.points, window.depth[i], anchor.depth, window.confidence[i]
            parts.append([values[both] for values in window_values])
        return cls(*map(np.concatenate, zip(*parts, strict=True))) if parts else None

    def fit(self) -> Fit:
        """section_from_window. ValueError where the points are too few, or do not tell a rotation."""
        scale, disagreement = scale_from_depth(self.near, self.far)
        trust = np.clip(self.weight / np.median(self.weight), 0.1, 10)
        fit = robust_similarity(self.source, self.target, self.far, trust, scale)
        return Fit(fit.transform, max(fit.residual, disagreement), LINK_ERROR)


def seen_before(newest: Anchor, placed: Iterable[Placed]) -> Anchor | None:
    """The oldest of some frames of the same section that looks from near at what the newest one looks at."""
    depth = newest.depth[np.isfinite(newest.depth)]
    for p in sorted(placed, key=lambda p: p.frame.key) if depth.size else ():
        pose = p.world_from_camera(WORLD_GAUGE) if p.section == WORLD else p.section_from_camera
        moved = float(np.linalg.norm(pose[:3, 3] - newest.pose[:3, 3]) / np.median(depth))
        stride = max(1, round(p.depth.shape[0] / newest.depth.shape[0]))
        sparse = p.depth[::stride, ::stride]
        if sparse.shape == newest.depth.shape and moved + rotation_angle(inverse(pose) @ newest.pose) < NEAR:
            return Anchor.of(p.frame, pose, sparse, p.intrinsics / [[stride], [stride], [1]])
    return None
