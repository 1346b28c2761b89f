"""Thresholds of confidence: from where on to refuse, and from where on an answer about motion is a reward."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from .scales import FEWEST

REFUSED, WRONGLY = 0.8, 0.1  # of unanswerable questions at least, of answerable ones at most
BOTH = "a threshold of refusing needs answerable and unanswerable questions in the data"


@dataclass(frozen=True)
class Threshold:
    """From which probability on to refuse, and the shares of unanswerable and answerable questions refused by that."""

    value: float
    refused: float
    wrongly: float


def find_threshold(answerable: ArrayLike, unanswerable: ArrayLike) -> Threshold:
    """From which probability on to refuse: of those that refuse enough and not too much the one that parts them best.

    Best is the largest difference between the shares that are refused rightly and wrongly (Youden's J); where no
    threshold keeps both bounds, that decides alone. In the widest gap of equally good ones it lies in the middle.

    Args:
        answerable, unanswerable: probabilities of the refusal, [N] and [M].
    Raises:
        ValueError: there are none of either.
    """
    good, bad = np.sort(np.asarray(answerable, float)), np.sort(np.asarray(unanswerable, float))
    if not len(good) or not len(bad):
        raise ValueError(BOTH)
    below = np.unique(np.concatenate([[0.0], good, bad]))
    above = np.append(below[1:], 1.0)
    refused = 1 - np.searchsorted(bad, below, side="right") / len(bad)
    wrongly = 1 - np.searchsorted(good, below, side="right") / len(good)
    keeps = (refused >= REFUSED) & (wrongly <= WRONGLY)
    worth = np.where(keeps | ~keeps.any(), refused - wrongly, -np.inf)
    ties = np.flatnonzero(worth >= worth.max() - 1e-12)
    best = ties[np.argmax((above - below)[ties])]
    return Threshold(float((below[best] + above[best]) / 2), float(refused[best]), float(wrongly[best]))


def motion_threshold(confidence: ArrayLike, right: ArrayLike, precision: float) -> float | None:
    """The lowest confidence of an answer such that of those at least as sure a share of ``precision`` is right.

    None where no 20 answers reach that.
    """
    sure, is_right = np.asarray(confidence, float), np.asarray(right, float)
    levels = [level for level in np.unique(sure) if (sure >= level).sum() >= FEWEST]
    return next((float(level) for level in levels if is_right[sure >= level].mean() >= precision), None)
