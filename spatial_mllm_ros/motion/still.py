"""What the still world says about how image, depth and poses fit together."""

import cv2
import numpy as np
from numpy.typing import NDArray

from ..config import MotionParams
from ..geometry.cameras import project
from ..geometry.poses import inverse, transform
from .depth import lift_surface
from .flow import corners
from .patches import Patches
from .posed import PosedFrame

POINTS, SPACING = 64, 24
MIN_POINTS = 12
PLAUSIBLE = 0.2  # of the image motion that the camera causes
INERTIA = 2.0  # points that would say the field is what it was in the last frame
PATIENCE = 3  # frames
ROUNDS = 5


class StillWorld:
    """How the image is displaced against where depth and poses put a still world.

    Where intrinsics, registration, time stamps or poses are a little wrong, still points seem to move with the camera.
    Corners all over the image are therefore compared with where a still world would put them; an affine field through
    the differences, fitted robustly, is taken off every tracked pixel. Only differences up to a fifth of the image
    motion that the camera caused (and one pixel) count: what really moves is not taken for an error, and under a still
    camera nothing is corrected beyond a pixel. It depends on frames so far alone, and is deterministic.
    """

    _tolerance: float
    _field: NDArray[np.float64]  # displacement in pixels = _basis @ field
    _patches: Patches
    _born: NDArray[np.float64]
    _corrected: NDArray[np.float64]
    _pixels: NDArray[np.float64]
    _enough: int
    _poor: int

    def __init__(self, params: MotionParams):
        self._tolerance = params.forward_backward
        self._field = np.zeros((3, 2))
        self._patches = Patches()
        self._born = self._corrected = self._pixels = np.zeros((0, 2))
        self._enough = self._poor = 0

    def update(self, frame: PosedFrame) -> None:
        """Fit the field of this frame; take new corners where too few of the old are left."""
        seen = self._fit(frame)
        self._poor = self._poor + 1 if 2 * seen.sum() <= self._enough else 0
        if self._poor > PATIENCE or not self._enough:
            self._take(frame, seen)

    def _take(self, frame: PosedFrame, kept: NDArray[np.bool_]) -> None:
        """Go on with the points kept, and new ones between them."""
        mask = np.full(frame.gray.shape, 255, np.uint8)
        for u, v in np.rint(self._pixels[kept]).astype(int).tolist():
            cv2.circle(mask, (u, v), SPACING, 0, -1)
        born = corners(frame.gray, max(POINTS - int(kept.sum()), 1), SPACING, mask)
        corrected = self.correct(frame, born)
        world, right, down = lift_surface(frame, corrected)
        self._patches.add(frame.gray, born, world, right, down)
        kept = np.concatenate([kept, np.isfinite(world[:, 0])])
        self._patches.keep(kept)
        self._born = np.concatenate([self._born, born])[kept]
        self._corrected = np.concatenate([self._corrected, corrected])[kept]
        self._enough, self._poor = int(kept.sum()), 0

    def correct(self, frame: PosedFrame, pixels: NDArray) -> NDArray[np.float64]:
        """Where pixels [N, 2] would be if image, depth and poses agreed."""
        return pixels - _basis(frame, pixels) @ self._field

    def appear(
        self, frame: PosedFrame, points: NDArray, right: NDArray, down: NDArray
    ) -> tuple[NDArray[np.float64], NDArray]:
        """Where a surface appears in the image.

        Args:
            points, right, down: [N, 3] metres in the world, points and two steps along the surface from each.
        Returns:
            pixels [N, 2] of the points, NaN outside the image, and [N, 2, 2], columns: the steps in the image.
        """
        camera_from_world, count = inverse(frame.world_from_camera), len(points)
        pixels, inside = project(
            frame.camera, transform(camera_from_world, np.concatenate([points, points + right, points + down]))
        )
        steps = np.stack([pixels[count : 2 * count] - pixels[:count], pixels[2 * count :] - pixels[:count]], axis=2)
        middle = pixels[:count] + _basis(frame, pixels[:count]) @ self._field
        return np.where(inside[:count, None], middle, np.nan), steps

    def _fit(self, frame: PosedFrame) -> NDArray[np.bool_]:
        """Update the field; returns which points were seen where a still world may appear."""
        p = self._patches
        middle, steps = self.appear(frame, p.points, p.right, p.down)
        self._pixels, found = p.find(frame.gray, middle, steps, middle, self._tolerance)
        still, _ = project(frame.camera, transform(inverse(frame.world_from_camera), p.points))
        displaced = self._pixels - still
        allowed = 1 + PLAUSIBLE * np.linalg.norm(still - self._corrected, axis=1)
        plausible = found & (np.linalg.norm(displaced - (self._born - self._corrected), axis=1) < allowed)
        if plausible.sum() < max(MIN_POINTS, found.sum() / 2):
            return plausible
        basis, used, field = _basis(frame, self._pixels), plausible, self._field
        for _ in range(ROUNDS):
            a, change = basis[used], (displaced - basis @ self._field)[used]
            field = self._field + np.linalg.solve(a.T @ a + INERTIA * np.eye(3), a.T @ change)
            error = np.linalg.norm(displaced - basis @ field, axis=1)
            used = plausible & (error <= max(1.0, 2.5 * np.median(error[used])))
        if used.sum() >= MIN_POINTS:
            self._field = field
        return plausible


def _basis(frame: PosedFrame, pixels: NDArray) -> NDArray[np.float64]:
    """[N, 3]: one, and the position in half image widths from the middle."""
    half = frame.camera.width / 2
    return np.concatenate([np.ones((len(pixels), 1)), (pixels - [half, frame.camera.height / 2]) / half], axis=1)
