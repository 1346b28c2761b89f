"""Wrong answers to choose from: wrong beyond what scoring forgives, and told apart with ease (Xu et al., 2025)."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

WRONG_BEYOND = 0.08  # of the width, from the right point; scoring forgives 5 %
APART = 0.06  # of the width, between wrong points: dots and their letters do not overlap
FORGIVEN = 0.2  # of the right number, by scoring
STEPS = 1.05, 1.5  # two neighbouring numbers are this much farther apart than they must be


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


def wrong_numbers(truth: float, rng: np.random.Generator, count: int = 3, tolerance: float = FORGIVEN) -> list[int]:
    """Whole numbers with the sign of the right one that scoring takes neither for it nor for each other.

    The right one has a random rank among them, so that its size says nothing; what does not fit between it and zero
    becomes larger than it.

    Args:
        tolerance: two numbers are told apart where they differ by more than this part of the larger one, 0 to 1.

    Returns:
        ``count`` numbers, none zero, in random order.
    """
    middle, numbers = abs(round(truth)), []
    low = high = middle
    for _ in range(rng.integers(count + 1)):
        low = math.ceil(low * (1 - tolerance) / rng.uniform(*STEPS)) - 1
        if low > 0:
            numbers.append(low)
    while len(numbers) < count:
        high = math.floor(high / (1 - tolerance) * rng.uniform(*STEPS)) + 1
        numbers.append(high)
    return [int(number) for number in math.copysign(1, truth) * rng.permutation(numbers)]
