"""Confidences as probabilities of being right: the scale that makes them so, and how far from it they are."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize

from spatial_mllm_ros.mllm.calibration import CERTAIN, Scale

BINS = 15
FEWEST = 20  # answers that a figure is made from
STEEPEST, FARTHEST = 100.0, 50.0  # slope and shift of a scale
Floats = NDArray[np.float64]


def fit_scale(confidence: ArrayLike, right: ArrayLike) -> Scale:
    """The scale that makes what was right likeliest, by Platt's method: targets are (n + 1) / (n + 2) and 1 / (m + 2).

    Platt, "Probabilistic Outputs for Support Vector Machines", 1999, section 2.2; the slope is at least 0, so that the
    order of answers stays. Too few answers leave confidences as they are.
    """
    x = logits(confidence)
    is_right = np.asarray(right, bool)
    if len(x) < FEWEST:
        return Scale()
    n = int(is_right.sum())
    target = np.where(is_right, (n + 1) / (n + 2), 1 / (len(x) - n + 2))

    def loss(parameters: Floats) -> tuple[float, Floats]:
        z = parameters[0] * x + parameters[1]
        off = 1 / (1 + np.exp(-np.clip(z, -500, 500))) - target
        return float(np.mean(np.logaddexp(0, z) - target * z)), np.array([np.mean(off * x), np.mean(off)])

    bounds = [(0.0, STEEPEST), (-FARTHEST, FARTHEST)]
    found: Any = minimize(loss, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B", bounds=bounds)
    return Scale(float(found.x[0]), float(found.x[1]))


def logits(confidence: ArrayLike) -> Floats:
    c = np.clip(np.asarray(confidence, float), CERTAIN, 1 - CERTAIN)
    return np.log(c / (1 - c))


def scaled(scale: Scale, confidence: ArrayLike) -> Floats:
    """``scale`` of each confidence [N]."""
    return np.array([scale(float(c)) for c in np.asarray(confidence)])


def bins_of(confidence: ArrayLike, count: int = BINS) -> list[NDArray[np.int64]]:
    """Indices of the answers in each bin, from least to most confident; bins hold equally many, and are not empty."""
    order = np.argsort(np.asarray(confidence, float), kind="stable")
    return [part for part in np.array_split(order, count) if len(part)]


def calibration_error(confidence: ArrayLike, right: ArrayLike, count: int = BINS) -> float:
    """Expected calibration error over bins of equal mass (Guo et al., 2017, equation 3); NaN without any answer.

    The mean over answers of | share that is right - mean confidence | of their bin.
    """
    sure, is_right = np.asarray(confidence, float), np.asarray(right, float)
    off = [abs(is_right[part].mean() - sure[part].mean()) * len(part) for part in bins_of(sure, count)]
    return float(sum(off) / len(sure)) if len(sure) else float("nan")
