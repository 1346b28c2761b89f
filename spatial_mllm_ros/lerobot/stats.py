"""Statistics of features as LeRobot has them: of an episode, and of many from those of each."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
SAMPLES = 100  # images of an episode that are looked at, spread evenly
SIDE = 150  # pixels of such an image, about, on its shorter side; every n-th is taken
Stats = dict[str, NDArray]


def of_rows(rows: NDArray) -> Stats:
    """Of numbers or truth values, [N] or [N, D]: each [1] or [D], and ``count`` [1]."""
    values = np.asarray(rows, np.float64).reshape(len(rows), -1)
    found = {name: np.quantile(values, q, axis=0) for name, q in QUANTILES.items()}
    return {
        "min": values.min(0),
        "max": values.max(0),
        "mean": values.mean(0),
        "std": values.std(0),
        "count": np.array([len(values)]),
        **found,
    }


class ImageStats:
    """Statistics of some images of an episode, by how often each value is there.

    Args:
        length: images of the episode. channels: of each.
        values: that a sample may have, whole numbers from 0 on; such a number stands for ``first`` + number * ``unit``.
    """

    def __init__(self, length: int, channels: int, values: int, unit: float, first: float):
        self._wanted = set(np.round(np.linspace(0, length - 1, min(length, SAMPLES))).astype(int).tolist())
        self._counts, self._seen = np.zeros((channels, values), np.int64), 0
        self._values = first + unit * np.arange(values)

    def wants(self, number: int) -> bool:
        return number in self._wanted

    def add(self, image: NDArray) -> None:
        """An image of whole numbers, [H, W] or [H, W, C]."""
        step = max(1, min(image.shape[:2]) // SIDE)
        channels = image[::step, ::step].reshape(-1, len(self._counts)).T
        self._seen += 1
        for counts, channel in zip(self._counts, channels):
            counts += np.bincount(channel, minlength=counts.size)

    def finish(self) -> Stats:
        """Each [C, 1, 1]; ``count`` [1] is the number of images."""
        values, found = self._values, []
        for counts in self._counts:
            there, total = np.flatnonzero(counts), counts.sum()
            mean = counts @ values / total
            ranks = np.cumsum(counts)
            quantiles = {n: values[np.searchsorted(ranks, q * total)] for n, q in QUANTILES.items()}
            std = np.sqrt(counts @ (values - mean) ** 2 / total)
            ends = {"min": values[there[0]], "max": values[there[-1]]}
            found.append(ends | {"mean": mean, "std": std} | quantiles)
        stats = {name: np.array([channel[name] for channel in found]).reshape(-1, 1, 1) for name in found[0]}
        return stats | {"count": np.array([self._seen])}


def merged(parts: Sequence[Stats]) -> Stats:
    """Of all episodes; quantiles are the means of theirs, weighed by how much each has, as LeRobot merges them."""
    counts = np.array([part["count"][0] for part in parts], np.float64)
    total = counts.sum()

    def mean(name: str) -> NDArray:
        return np.tensordot(counts, np.stack([part[name] for part in parts]), 1) / total

    average = mean("mean")
    apart = np.stack([part["std"] ** 2 + (part["mean"] - average) ** 2 for part in parts])
    return {
        "min": np.min([part["min"] for part in parts], axis=0),
        "max": np.max([part["max"] for part in parts], axis=0),
        "mean": average,
        "std": np.sqrt(np.tensordot(counts, apart, 1) / total),
        "count": np.array([int(total)]),
        **{name: mean(name) for name in QUANTILES},
    }
