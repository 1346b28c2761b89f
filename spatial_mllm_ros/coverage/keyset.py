"""Sets of voxel keys as open-addressing hash tables: the compiled core that everything else here is built on."""

import numpy as np
from numpy.typing import NDArray

from ..compiled import compiled

EMPTY = -1
SMALLEST = 4096


kernel = compiled(nogil=True, error_model="numpy")  # serial and without the GIL: callers bring their own threads


@kernel
def find(table, key):
    """The slot of a key >= 0 in a table of 2^n slots that is not full, or the free slot where it belongs."""
    mask = table.size - 1
    mixed = np.uint64(key ^ (key >> 32)) * np.uint64(0x9E3779B97F4A7C15)
    slot = np.int64(mixed >> np.uint64(32)) & mask
    while table[slot] != key and table[slot] != EMPTY:
        slot = (slot + 1) & mask
    return slot


@kernel
def with_room(table, count, more):
    """The same set in a table that stays at most three quarters full when `more` keys join the `count` keys in it."""
    size = table.size
    while 3 * size < 4 * (count + more):
        size *= 2
    if size == table.size:
        return table
    larger = np.full(size, EMPTY, np.int64)
    for key in table:
        if key != EMPTY:
            larger[find(larger, key)] = key
    return larger


@kernel
def insert_all(table, keys):
    """Insert keys, with room made before; how many were new."""
    new = 0
    for key in keys:
        slot = find(table, key)
        new += table[slot] == EMPTY
        table[slot] = key
    return new


@kernel
def count_missing(table, keys):
    """How many of these distinct keys are not in the table."""
    missing = 0
    for key in keys:
        missing += table[find(table, key)] == EMPTY
    return missing


class KeySet:
    """A growing set of int64 keys >= 0, 11 to 21 bytes a key beyond the first few thousand."""

    def __init__(self):
        self.table = np.full(SMALLEST, EMPTY, np.int64)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, keys: NDArray[np.int64]) -> int:
        """Add distinct keys [N]; how many of them were new."""
        if 4 * (self._count + keys.size) > 3 * self.table.size:
            self.table = with_room(self.table, self._count, self.missing(keys))
        new = insert_all(self.table, keys)
        self._count += new
        return new

    def missing(self, keys: NDArray[np.int64]) -> int:
        """How many of these distinct keys [N] are not in the set."""
        return count_missing(self.table, keys)
