"""How many distinct voxels a stream of frames has seen, in bounded memory."""

import numpy as np
from numpy.typing import NDArray

from .keyset import EMPTY, KeySet, kernel


class DistinctCounter:
    """Counts distinct keys: exactly up to ``limit``, then from a sample that never holds more than ``limit`` keys.

    Adaptive sampling (Wegman; Flajolet, "On adaptive sampling", Computing 43, 1990): when the sample is full, only keys
    whose hash ends in one more zero bit stay, and each stands for twice as many. The estimate is unbiased, its standard
    error 1.20 / sqrt(limit): 0.06 % for 4,194,304 keys. Hashes are fixed, so equal streams give equal estimates.
    """

    def __init__(self, limit: int):
        self.limit = limit
        self.reset()

    def reset(self) -> None:
        self._level = 0
        self._sample = KeySet()

    def __len__(self) -> int:
        return len(self._sample) << self._level

    @property
    def nbytes(self) -> int:
        """Memory of the sample, at most about 21 bytes a key."""
        return self._sample.table.nbytes

    def add(self, keys: NDArray[np.int64]) -> None:
        """Add distinct keys [N]."""
        if self._level:
            keys = _at_level(keys, self._level)
        self._sample.add(keys)
        while len(self._sample) > self.limit:
            self._level += 1
            kept = _at_level(self._sample.table, self._level)
            self._sample = KeySet()
            self._sample.add(kept)


@kernel
def _at_level(keys, level):
    """The keys whose hash ends in `level` zero bits; free slots of a table are left out."""
    last_bits = (np.uint64(1) << np.uint64(level)) - np.uint64(1)
    kept = np.empty(keys.size, np.int64)
    count = 0
    for key in keys:
        mixed = np.uint64(key)  # the finaliser of splitmix64: every bit of the key moves every bit of the hash
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
        if key != EMPTY and mixed & last_bits == 0:
            kept[count] = key
            count += 1
    return kept[:count]
