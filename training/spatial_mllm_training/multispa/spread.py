"""Which of many things to take, so that every bin gets its share (Xu et al., 2025, section 3.2)."""

import numpy as np
from numpy.typing import NDArray


def spread(bins: NDArray, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Indices of up to ``count`` of N things, at random, bins in turn: what a small bin lacks goes to the others.

    Args:
        bins: [N], or [N, B] where each combination of B values is a bin.
    """
    _, bin_of = np.unique(bins, axis=0, return_inverse=True)
    order = rng.permutation(len(bins))
    order = order[np.argsort(bin_of.reshape(-1)[order], kind="stable")]
    sizes = np.bincount(bin_of.reshape(-1))
    turn = np.arange(len(bins)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return order[np.lexsort((rng.random(len(bins)), turn))][:count]
