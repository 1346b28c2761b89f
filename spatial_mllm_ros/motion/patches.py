"""What the surroundings of points look like, seen from anywhere."""

import cv2
import numpy as np
from numpy.typing import NDArray

from .flow import follow

SIDE = 31  # pixels of a patch, enough for a flow window that moves REACH
REACH = 8.0
LIKE = 20.0  # mean difference up to which two patches show the same, in grey levels after bringing both to...
CONTRAST = 40.0  # ... this standard deviation
FLATTEST = 0.1  # share of its first area below which a patch is seen too much from the side


class Patches:
    """Small flat pieces of surface with their texture.

    To find one in an image, the image is warped to how it would have looked at the start (Klein and Murray, ISMAR 2007,
    section 5.2), so turning and approaching do not pull the result aside.

    Attributes:
        points, right, down: float64 [N, 3] metres: the middle of each, and the steps of one pixel of its first image.
    """

    points: NDArray[np.float64]
    right: NDArray[np.float64]
    down: NDArray[np.float64]
    _textures: NDArray[np.uint8]

    def __init__(self):
        self.points = self.right = self.down = np.zeros((0, 3))
        self._textures = np.zeros((0, SIDE, SIDE), np.uint8)

    def add(self, gray: NDArray[np.uint8], pixels: NDArray, points: NDArray, right: NDArray, down: NDArray) -> None:
        """Remember more patches around pixels [N, 2] of an image; points and steps as in the attributes."""
        new = _warp(gray, pixels, np.broadcast_to(np.eye(2), (len(pixels), 2, 2)))
        self._textures = np.concatenate([self._textures, new])
        self.points = np.concatenate([self.points, points])
        self.right, self.down = np.concatenate([self.right, right]), np.concatenate([self.down, down])

    def keep(self, which: NDArray[np.bool_]) -> None:
        """Forget the others; which is bool [N]."""
        self.points, self.right, self.down = self.points[which], self.right[which], self.down[which]
        self._textures = self._textures[which]

    def find(
        self, gray: NDArray[np.uint8], middle: NDArray, steps: NDArray, guess: NDArray, tolerance: float
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Find each patch in an image.

        Args:
            middle: [N, 2] pixels where the middle should be, NaN = not asked for.
            steps: [N, 2, 2], columns: what one pixel right and one down in the first image have become.
            guess: [N, 2] pixels where to begin, NaN = not asked for.
            tolerance: forward-backward, pixels of the first image.
        Returns:
            pixels float64 [N, 2], NaN where not found, and found bool [N].
        """
        pixels = np.full(middle.shape, np.nan)
        area = steps[:, 0, 0] * steps[:, 1, 1] - steps[:, 0, 1] * steps[:, 1, 0]
        found = np.isfinite(np.concatenate([middle, guess], axis=1)).all(axis=1) & (area > FLATTEST)
        if not found.any():
            return pixels, found
        middle, steps = middle[found], steps[found]
        off = np.linalg.solve(steps, (guess[found] - middle)[..., None])[..., 0]
        off[(np.abs(off) > REACH).any(axis=1)] = np.nan
        start = np.stack([np.full(len(off), SIDE // 2), SIDE // 2 + SIDE * np.arange(len(off))], axis=1).astype(
            np.float64
        )
        first, now = self._textures[found].reshape(-1, SIDE), _warp(gray, middle, steps).reshape(-1, SIDE)
        moved, same = follow(first, now, start, start + off, tolerance, levels=0, likeness=LIKE)
        same &= (np.abs(moved - start) <= REACH).all(axis=1)
        pixels[found] = np.where(same[:, None], middle + (steps @ (moved - start)[..., None])[..., 0], np.nan)
        found[found] = same
        return pixels, found


def _warp(gray: NDArray[np.uint8], middle: NDArray, steps: NDArray) -> NDArray[np.uint8]:
    """Patches [N, SIDE, SIDE] of an image around middles [N, 2] in steps [N, 2, 2]."""
    if not len(middle):
        return np.zeros((0, SIDE, SIDE), np.uint8)
    reach = np.arange(SIDE) - SIDE // 2
    grid = np.stack(np.meshgrid(reach, reach)).reshape(2, -1)
    at = (middle[..., None] + steps @ grid).astype(np.float32).transpose(1, 0, 2).reshape(2, -1, SIDE)
    warped = cv2.remap(gray, at[0], at[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).reshape(-1, SIDE, SIDE)
    flat = warped.reshape(len(middle), -1).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    deviation = np.sqrt(np.einsum("ij,ij->i", flat, flat) / flat.shape[1])
    flat *= (CONTRAST / np.maximum(deviation, 1))[:, None]
    return np.clip(flat + 128, 0, 255).astype(np.uint8).reshape(warped.shape)
