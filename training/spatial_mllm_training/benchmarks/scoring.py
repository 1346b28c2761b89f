"""Scores of single answers, and means of them with 95 % confidence intervals."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binomtest

NORM_SHARE = Fraction(1, 5)  # a scalar or a vector is right within this share of the truth's norm
WIDTH_SHARE = Fraction(1, 20)  # a pixel is right within this share of the image's width
LEVELS = range(50, 100, 5)  # per cent: the theta of mean relative accuracy
CONFIDENCE = 0.95
RESAMPLES = 2000


@dataclass(frozen=True)
class Estimate:
    """A mean of ``n`` answers and its interval; without an interval where none is known (NaN)."""

    value: float
    low: float = float("nan")
    high: float = float("nan")
    n: int = 0


def relative_error(value: ArrayLike, truth: ArrayLike) -> float:
    """|value - truth| / |truth| (Euclidean); infinite where only the truth is zero."""
    distance = float(np.linalg.norm(np.subtract(value, truth)))
    norm = float(np.linalg.norm(truth))
    return distance / norm if norm else (np.inf if distance else 0.0)


def within_norm(value: ArrayLike, truth: ArrayLike) -> bool:
    """A scalar or vector is right within 20 % of the truth's norm, limit included (Xu et al., 2025, section 5.1).

    Exact for decimal numbers: squares are compared as fractions. A truth of zero is met only by zero.
    """
    got, wanted = _exact(value), _exact(truth)
    away = sum((a - b) ** 2 for a, b in zip(got, wanted, strict=True))
    return away <= NORM_SHARE**2 * sum(b**2 for b in wanted)


def pixel_error(value: ArrayLike, truth: ArrayLike, size: Sequence[int]) -> float:
    """Distance of two pixels, in widths of the image.

    Args:
        value, truth: (x, y) in thousandths of width and height. size: (width, height) in pixels.
    """
    width, height = size
    across, down = np.subtract(value, truth) / 1000
    return float(np.hypot(across, down * height / width))


def within_width(value: ArrayLike, truth: ArrayLike, size: Sequence[int]) -> bool:
    """A pixel is right within 5 % of the image's width, limit included (Xu et al., 2025, section 5.1)."""
    (x, y), (tx, ty) = _exact(value), _exact(truth)
    away = (x - tx) ** 2 + ((y - ty) * Fraction(size[1], size[0])) ** 2
    return away <= (1000 * WIDTH_SHARE) ** 2


def mean_relative_accuracy(value: float, truth: float) -> float:
    """MRA: share of theta in 0.50, 0.55 ... 0.95 with |value - truth| / |truth| < 1 - theta (Yang et al., 2024, eq. 1).

    Exact for decimal numbers, so that 3 of 4 objects count as an error of 0.25 and not of a little less.
    """
    (got,), (wanted,) = _exact(value), _exact(truth)
    return sum(100 * abs(got - wanted) < (100 - level) * abs(wanted) for level in LEVELS) / len(LEVELS)


def _exact(numbers: ArrayLike) -> list[Fraction]:
    return [Fraction(repr(float(number))) for number in np.ravel(numbers)]


Scores = Sequence[float] | NDArray[np.float64]


def estimate(scores: Scores | Sequence["Scores"] | Sequence[Sequence["Scores"]], seed: int = 0) -> Estimate:
    """Mean of scores with its interval: Wilson's for a rate, else a bootstrap of percentiles (2000 resamples, seeded).

    Args:
        scores: one per answer; or a list for each task, or a list of such lists: then it is the mean of their means,
            and each list is resampled by itself. Empty lists do not count. Where all answers are right, or all wrong,
            resampling shows no spread: the interval is then Wilson's of all answers.
    """
    leaves = list(_leaves(scores))
    n = sum(map(len, leaves))
    if not n:
        return Estimate(float("nan"))
    mean = float(_mean(scores, np.mean))
    together = np.concatenate(leaves)
    rate = np.isin(together, (0.0, 1.0)).all()
    if rate and (len(leaves) == 1 or (together == together[0]).all()):
        found = binomtest(int(together.sum()), n).proportion_ci(CONFIDENCE, method="wilson")
        return Estimate(mean, float(found.low), float(found.high), n)
    random = np.random.default_rng(seed)
    means = _mean(scores, lambda leaf: _resampled_means(leaf, random))
    low, high = np.quantile(means, ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2))
    return Estimate(mean, float(low), float(high), n)


def _is_leaf(scores: Any) -> bool:
    return len(scores) == 0 or np.isscalar(scores[0])


def _leaves(scores: Any) -> Iterator[NDArray[np.float64]]:
    """The lists of scores that are not empty."""
    if not _is_leaf(scores):
        for part in scores:
            yield from _leaves(part)
    elif len(scores):
        yield np.asarray(scores, float)


def _mean(scores: Any, leaf_mean: Callable[[NDArray[np.float64]], Any]) -> Any:
    """Mean of means, down to the lists of scores."""
    if _is_leaf(scores):
        return leaf_mean(np.asarray(scores, float))
    return np.mean([_mean(part, leaf_mean) for part in scores if any(True for _ in _leaves(part))], axis=0)


def _resampled_means(values: NDArray[np.float64], random: np.random.Generator) -> NDArray[np.float64]:
    """Means of RESAMPLES resamples with replacement, [RESAMPLES]: how often each different value is drawn."""
    different, counts = np.unique(values, return_counts=True)
    shares = counts / counts.sum()
    step = max(1, 2_000_000 // len(different))
    drawn = [
        random.multinomial(len(values), shares, size=min(step, RESAMPLES - done)) @ different
        for done in range(0, RESAMPLES, step)
    ]
    return np.concatenate(drawn) / len(values)
