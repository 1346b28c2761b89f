"""The tolerance itself: rounding passes, whatever the order of summation; a wrong number does not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.closeness import EPS, assert_close, rounding


@given(st.integers(0, 2**32 - 1), st.floats(1e-3, 1e3))
def test_sums_in_another_order_are_close(seed, size):
    rng = np.random.default_rng(seed)
    a, b = (rng.standard_normal((n, 256)).astype(np.float32) for n in (4, 8))
    order = rng.permutation(256)
    whole = size * (a @ b.T)
    assert_close(size * (a[:, order] @ b.T[order]), whole)


def test_a_difference_in_the_fourth_digit_is_not():
    values = np.array([5.6, 0.01, -3.0], np.float32)
    with pytest.raises(AssertionError, match=r"depth: 0\.00056 apart, 4\.27e-05 allowed of numbers up to 5\.6"):
        assert_close(values + np.array([0, 5.6e-4, 0]), values, what="depth")
    assert rounding(5.6) == 64 * EPS * 5.6


def test_shapes_and_numbers_that_are_none():
    with pytest.raises(AssertionError, match="expected"):
        assert_close(np.zeros(3), np.zeros((3, 1)))
    with pytest.raises(AssertionError):
        assert_close(np.array([np.nan]), np.zeros(1))
