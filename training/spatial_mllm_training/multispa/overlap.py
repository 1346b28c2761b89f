"""Overlap of many sets at once, as bits."""

import numpy as np
from numpy.typing import NDArray

from spatial_mllm_ros.coverage.keyset import kernel


def overlap_of(seen: NDArray[np.uint64]) -> NDArray[np.float32]:
    """Size of the intersection by size of the union of each two sets, float32 [N, N]; 0 where both are empty.

    Args:
        seen: sets as bits, uint64 [N, W].
    """
    shared = _shared(seen).astype(np.float64)
    size = np.diagonal(shared)
    return (shared / np.maximum(size[:, None] + size - shared, 1)).astype(np.float32)


@kernel
def _shared(bits):
    """How many bits each two rows share, int64 [N, N]."""
    pairs, fours, eights, ones = 0x5555555555555555, 0x3333333333333333, 0x0F0F0F0F0F0F0F0F, 0x0101010101010101
    out = np.zeros((len(bits), len(bits)), np.int64)
    for a in range(len(bits)):
        for b in range(a + 1):
            count = np.uint64(0)
            for word in range(bits.shape[1]):
                x = bits[a, word] & bits[b, word]
                x -= (x >> np.uint64(1)) & np.uint64(pairs)
                x = (x & np.uint64(fours)) + ((x >> np.uint64(2)) & np.uint64(fours))
                x = (x + (x >> np.uint64(4))) & np.uint64(eights)
                count += (x * np.uint64(ones)) >> np.uint64(56)
            out[a, b] = out[b, a] = count
    return out
