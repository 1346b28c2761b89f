"""Wrong answers to choose from: wrong beyond what scoring forgives, and told apart with ease (Xu et al., 2025)."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

WRONG_BEYOND = 0.08  # of the width, from the right point; scoring forgives 5 %
APART = 0.06  # of the width, between wrong points: dots and their letters do not overlap


def wrong_points(
    truth: ArrayLike, candidates: ArrayLike, width: int, rng: np.random.Generator, count: int = 3
) -> NDArray[np.int64] | None:
    """Pixels that are not the right one, from close to it (hard) to far away, in random order.

    The distances from the smallest allowed to the farthest candidate are cut into ``count`` rings of equal ratio; each
    ring gives one point at random, or where it has none left, any ring does.

    Args:
        truth: the right pixel [2], (u, v). candidates: pixels [N, 2] that may be shown.
        width: of the image, in pixels.

    Returns:
        int64 [count, 2] out of ``candidates``: more than WRONG_BEYOND of the width from ``truth`` and APART from each
        other; None where that many were not found.
    """
    pixels = np.asarray(candidates, np.int64).reshape(-1, 2)
    away = np.linalg.norm(pixels - np.asarray(truth, float), axis=1) / width
    pixels, away = pixels[away > WRONG_BEYOND], away[away > WRONG_BEYOND]
    if len(pixels) < count:
        return None
    rings = np.digitize(away, np.geomspace(WRONG_BEYOND, away.max(), count + 1)[1:-1], right=True)
    free, chosen = np.ones(len(pixels), bool), []
    for ring in range(count):
        there = np.flatnonzero(free & (rings == ring))
        there = there if there.size else np.flatnonzero(free)
        if not there.size:
            return None
        chosen.append(pixels[rng.choice(there)])
        free &= np.linalg.norm(pixels - chosen[-1], axis=1) > APART * width
    return rng.permutation(np.array(chosen))
