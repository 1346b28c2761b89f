"""Who covers what: the voxels of the selected frames, how many of them see each, and who sees it alone."""

import numpy as np
from numpy.typing import NDArray

from .keyset import EMPTY, SMALLEST, find, kernel


class Ledger:
    """The union of the voxels of up to ``slots`` frames, kept up to date while frames enter and leave.

    A hash table of voxels; beside each, how many frames see it and the sum of their slots, which is the slot of the one
    frame that sees it where it is seen once. Voxels that are seen no more stay with a count of 0 until the table fills.

    Attributes:
        alone: voxels that only the frame in each slot sees, int64 [slots].
    """

    def __init__(self, slots: int):
        self.alone = np.zeros(slots, np.int64)
        self._allocate(SMALLEST)
        self._covered = 0

    def __len__(self) -> int:
        return self._covered

    @property
    def keys(self) -> NDArray[np.int64]:
        """The covered voxels, sorted."""
        return np.sort(self._table[self._seen_by > 0])

    @property
    def nbytes(self) -> int:
        return self._table.nbytes + self._seen_by.nbytes + self._slot_sum.nbytes

    def enter(self, keys: NDArray[np.int64], slot: int) -> None:
        """A frame with these distinct keys [N] takes a free slot."""
        if 4 * (self._used + keys.size) > 3 * self._table.size:
            self._make_room(keys.size)
        used, new = _enter(self._table, self._seen_by, self._slot_sum, self.alone, keys, slot)
        self._used += used
        self._covered += new

    def leave(self, keys: NDArray[np.int64], slot: int) -> None:
        """The frame with these keys gives its slot up."""
        self._covered -= _leave(self._table, self._seen_by, self._slot_sum, self.alone, keys, slot)

    def exchange(self, keys: NDArray[np.int64]) -> tuple[int, NDArray[np.int64]]:
        """Voxels that a frame would add, and those lost for it with the frame in each slot, int64 [slots]."""
        return _exchange(self._table, self._seen_by, self._slot_sum, self.alone, keys)

    def uncovered(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of the keys that no frame covers."""
        return _uncovered(self._table, self._seen_by, keys)

    def _allocate(self, size: int) -> None:
        self._table = np.full(size, EMPTY, np.int64)
        self._seen_by = np.zeros(size, np.int32)
        self._slot_sum = np.zeros(size, np.int32)
        self._used = 0

    def _make_room(self, more: int) -> None:
        table, seen_by, slot_sum = self._table, self._seen_by, self._slot_sum
        size = SMALLEST
        while size < 2 * (self._covered + more):
            size *= 2
        self._allocate(size)
        _move(table, seen_by, slot_sum, self._table, self._seen_by, self._slot_sum)
        self._used = self._covered


@kernel
def _enter(table, seen_by, slot_sum, alone, keys, slot):
    used, new = 0, 0
    for key in keys:
        at = find(table, key)
        used += table[at] == EMPTY
        table[at] = key
        if seen_by[at] == 0:
            new += 1
            alone[slot] += 1
        elif seen_by[at] == 1:
            alone[slot_sum[at]] -= 1
        seen_by[at] += 1
        slot_sum[at] += slot
    return used, new


@kernel
def _leave(table, seen_by, slot_sum, alone, keys, slot):
    lost = 0
    for key in keys:
        at = find(table, key)
        seen_by[at] -= 1
        slot_sum[at] -= slot
        if seen_by[at] == 0:
            lost += 1
            alone[slot] -= 1
        elif seen_by[at] == 1:
            alone[slot_sum[at]] += 1
    return lost


@kernel
def _exchange(table, seen_by, slot_sum, alone, keys):
    gain, losses = 0, alone.copy()
    for key in keys:
        at = find(table, key)
        if seen_by[at] == 0:
            gain += 1
        elif seen_by[at] == 1:
            losses[slot_sum[at]] -= 1
    return gain, losses


@kernel
def _uncovered(table, seen_by, keys):
    found = np.empty(keys.size, np.int64)
    count = 0
    for key in keys:
        if seen_by[find(table, key)] == 0:
            found[count] = key
            count += 1
    return found[:count].copy()


@kernel
def _move(table, seen_by, slot_sum, new_table, new_seen_by, new_slot_sum):
    for i in range(table.size):
        if seen_by[i]:
            at = find(new_table, table[i])
            new_table[at], new_seen_by[at], new_slot_sum[at] = table[i], seen_by[i], slot_sum[i]
