"""Optical flow of points, checked forward and backward."""

import cv2
import numpy as np
from numpy.typing import NDArray

WINDOW = (15, 15)
BORDER = WINDOW[0] // 2  # pixels at the edge of an image where a window is cut off
MARGIN = 48  # pixels around the points that flow looks at
TEXTURE = 10.0  # mean squared difference of grey levels two pixels apart, where it is least; noise has less
QUALITY = 0.001  # of the strongest corner in sight
EDGE = 0.1  # of the strongest direction: with less, a point slides along a line
_STOP = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 10, 0.01)


def corners(gray: NDArray[np.uint8], count: int, spacing: float, mask: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Up to ``count`` points that can be followed, float64 [N, 2] pixels, strongest first (Shi and Tomasi 1994).

    Args:
        spacing: least distance between them, pixels.
        mask: [H, W], not 0 where points are wanted.
    """
    wanted = np.zeros(gray.shape, np.uint8)
    inner = (slice(BORDER, -BORDER), slice(BORDER, -BORDER))
    wanted[inner] = mask[inner]
    u, v, width, height = cv2.boundingRect(wanted)
    if not width:
        return np.zeros((0, 2))
    left, top = max(u - WINDOW[0], 0), max(v - WINDOW[1], 0)
    part = (slice(top, v + height + WINDOW[1]), slice(left, u + width + WINDOW[0]))
    found = cv2.goodFeaturesToTrack(gray[part], count, QUALITY, spacing, mask=wanted[part])
    if found is None:
        return np.zeros((0, 2))
    found = found.reshape(-1, 2).astype(np.float64)
    column, row = np.rint(found).astype(int).T
    eigenvalues = cv2.cornerEigenValsAndVecs(gray[part].astype(np.float32), WINDOW[0], 3)[row, column, :2]
    weak, strong = eigenvalues.min(axis=1), eigenvalues.max(axis=1)
    return found[(weak > TEXTURE) & (weak > EDGE * strong)] + [left, top]


def follow(
    before: NDArray[np.uint8],
    after: NDArray[np.uint8],
    start: NDArray,
    guess: NDArray,
    tolerance: float,
    levels: int = 3,
    likeness: float = np.inf,
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Find points of one image in another: pyramidal Lucas-Kanade, there and back.

    The forward-backward error is that of Kalal et al. (2010). Only the image around the points is looked at.

    Args:
        start: [N, 2] pixels in ``before``, NaN = not asked for.
        guess: [N, 2] pixels in ``after`` where to begin, NaN = not asked for.
        tolerance: largest distance from ``start`` after going there and back, pixels.
        levels: times the images are halved; each doubles how far from the guess a point may be (about 8 pixels at 0).
    Returns:
        pixels float64 [N, 2] in ``after``, NaN where not found, and found bool [N].
    """
    moved = np.full((len(start), 2), np.nan)
    asked = np.asarray(np.isfinite(np.concatenate([start, guess], axis=1)).all(axis=1))
    if not asked.any():
        return moved, asked
    a, b = start[asked], guess[asked]
    limit = np.array(after.shape[::-1])
    size = np.minimum(np.ceil(np.maximum(np.ptp(a, axis=0), np.ptp(b, axis=0))).astype(int) + 2 * MARGIN, limit)
    (first, corner_a), (second, corner_b) = (_crop(image, points, size) for image, points in ((before, a), (after, b)))
    there, found, difference = _flow(first, second, a - corner_a, b - corner_b, levels)
    back, returned, _ = _flow(second, first, there, a - corner_a, levels)
    there += corner_b
    inside = ((there >= BORDER) & (there <= limit - 1 - BORDER)).all(axis=1)
    found &= returned & inside & (difference < likeness) & (np.linalg.norm(back + corner_a - a, axis=1) <= tolerance)
    moved[asked] = np.where(found[:, None], there, np.nan)
    asked[asked] = found
    return moved, asked


def _crop(image: NDArray[np.uint8], points: NDArray, size: NDArray) -> tuple[NDArray[np.uint8], NDArray]:
    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    corner = np.clip(np.rint(middle - size / 2).astype(int), 0, np.array(image.shape[::-1]) - size)
    (u, v), (width, height) = corner, size
    return image[v : v + height, u : u + width], corner


def _flow(
    before: NDArray, after: NDArray, start: NDArray, guess: NDArray, levels: int
) -> tuple[NDArray, NDArray, NDArray]:
    begin, moved = (np.ascontiguousarray(p, np.float32).reshape(-1, 1, 2) for p in (start, guess))
    flags = cv2.OPTFLOW_USE_INITIAL_FLOW
    moved, status, difference = cv2.calcOpticalFlowPyrLK(
        before, after, begin, moved.copy(), winSize=WINDOW, maxLevel=levels, criteria=_STOP, flags=flags
    )
    return moved.reshape(-1, 2).astype(np.float64), status.ravel() > 0, difference.ravel()
