"""Thresholds of confidence: from where on to refuse, and from where on an answer about motion is a reward."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from .scales import FEWEST

Z = 1.959964  # of a 95 % interval
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

    Best is the largest difference between the shares that are refused rightly and wrongly (Youden's J). Where none
    refuses enough without too much, it is the best of those that do not refuse too much: what is refused wrongly is
    lost, what is answered wrongly has its confidence. In the widest gap of equally good ones it lies in the middle.

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
    spares = wrongly <= WRONGLY  # at least the threshold that refuses nothing
    keeps = spares & (refused >= REFUSED)
    worth = np.where(keeps if keeps.any() else spares, refused - wrongly, -np.inf)
    ties = np.flatnonzero(worth >= worth.max() - 1e-12)
    best = ties[np.argmax((above - below)[ties])]
    middle = (below[best] + above[best]) / 2
    value = middle if middle < above[best] else below[best]  # between neighbours there is none
    return Threshold(float(value), float(refused[best]), float(wrongly[best]))


def motion_threshold(confidence: ArrayLike, right: ArrayLike, precision: float) -> float | None:
    """The lowest confidence of an answer such that of those at least as sure a share of ``precision`` is right.

    That is, Wilson's 95 % interval of their share lies above it: the level is chosen on the same answers. None where no
    20 answers reach that.
    """
    sure, is_right = np.asarray(confidence, float), np.asarray(right, float)
    order = np.argsort(-sure, kind="stable")
    count = np.arange(1, len(sure) + 1)
    share = np.cumsum(is_right[order]) / count
    spread = Z * np.sqrt(share * (1 - share) / count + Z**2 / (4 * count**2))
    low = (share + Z**2 / (2 * count) - spread) / (1 + Z**2 / count)
    whole = np.append(np.diff(sure[order]) < 0, True)[: len(sure)]  # all of the same confidence are in
    found = np.flatnonzero((low >= precision) & (count >= FEWEST) & whole)
    return float(sure[order][found[-1]]) if len(found) else None
