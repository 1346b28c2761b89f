"""The hash tables below everything else, against sets and counters."""

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from spatial_mllm_ros.coverage.keyset import KeySet
from spatial_mllm_ros.coverage.ledger import Ledger

# Voxels are neighbours: keys that differ in a few low bits of one axis.
key = st.builds(lambda x, y, z: x << 42 | y << 21 | z, *[st.integers(0, 7) | st.integers(0, 2**21 - 1)] * 3)
key_array = st.sets(key, max_size=40).map(lambda keys: np.array(sorted(keys), np.int64))


@settings(deadline=None)
@given(st.lists(key_array, max_size=8))
def test_keyset_equals_a_set(batches):
    keys, twin = KeySet(), set()
    for batch in batches:
        new = set(batch.tolist()) - twin
        assert keys.missing(batch) == len(new)
        assert keys.add(batch) == len(new)
        twin |= new
        assert len(keys) == len(twin)


def test_keyset_grows_with_keys_and_not_with_repeats():
    """Whole planes of voxels along each axis: keys that a weak hash would pile up."""
    keys = KeySet()
    i, j = (n.ravel().astype(np.int64) for n in np.mgrid[0:100, 0:100])
    for plane in (i << 42 | j << 21, i << 42 | j, i << 21 | j):
        for _ in range(3):
            keys.add(np.sort(plane))
    assert len(keys) == 3 * 100 * 100 - 3 * 100 + 1
    assert 4 * len(keys) <= 3 * keys.table.size <= 4 * 3 * len(keys)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), key_array), max_size=30))
def test_ledger_equals_a_recount(frames):
    """Frames enter and leave five slots in any order; every count equals one from scratch."""
    ledger, slots = Ledger(5), {}
    for slot, keys in frames:
        if slot in slots:
            ledger.leave(slots.pop(slot), slot)
        else:
            slots[slot] = keys
            ledger.enter(keys, slot)
        seen = Counter(k for held in slots.values() for k in held.tolist())
        assert len(ledger) == len(seen)
        assert ledger.keys.tolist() == sorted(seen)
        assert ledger.alone.tolist() == [sum(seen[k] == 1 for k in slots.get(s, keys[:0]).tolist()) for s in range(5)]
        gain, losses = ledger.exchange(keys)
        assert gain == sum(k not in seen for k in keys.tolist())
        new = set(keys.tolist())
        for s in range(5):
            lost = {k for k in slots.get(s, keys[:0]).tolist() if seen[k] == 1} - new
            assert losses[s] == len(lost)
        assert ledger.uncovered(keys).tolist() == [k for k in keys.tolist() if k not in seen]


def test_ledger_stays_small_when_its_frames_move_on():
    ledger = Ledger(2)
    for i in range(3000):
        keys = np.arange(1000 * i, 1000 * i + 1000)
        if i >= 2:
            ledger.leave(keys - 2000, i % 2)
        ledger.enter(keys, i % 2)
    assert len(ledger) == 2000
    assert ledger.nbytes < 200_000
