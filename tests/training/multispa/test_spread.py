"""Shares of bins, against filling them one unit at a time."""

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from spatial_mllm_training.multispa.spread import spread


def filled(sizes, count):
    """What each bin gives when the emptiest share that can still grow does, one by one."""
    shares = Counter()
    for _ in range(min(count, sum(sizes.values()))):
        shares[min((b for b in sizes if shares[b] < sizes[b]), key=lambda b: shares[b])] += 1
    return shares


@given(st.lists(st.integers(0, 5), max_size=60), st.integers(0, 70), st.integers(0, 99))
def test_bins_get_equal_shares_and_small_ones_leave_theirs_to_others(bins, count, seed):
    chosen = spread(np.array(bins, np.int64), count, np.random.default_rng(seed))
    assert len(set(chosen.tolist())) == len(chosen) == min(count, len(bins))
    shares = Counter(bins[k] for k in chosen)
    assert sorted(shares.values()) == sorted(filled(Counter(bins), count).values())


def test_combined_bins_and_seeds():
    bins = np.array([[0, 0]] * 50 + [[0, 1]] * 2 + [[1, 0]] * 3)
    chosen = spread(bins, 6, np.random.default_rng(0))
    assert Counter(map(tuple, bins[chosen].tolist())) == {(0, 0): 2, (0, 1): 2, (1, 0): 2}
    assert (chosen == spread(bins, 6, np.random.default_rng(0))).all()
    assert len({tuple(spread(bins, 6, np.random.default_rng(seed))) for seed in range(10)}) > 5
