"""How close two ways to compute the same have to be: a tolerance from number format and size, not from one processor.

Sums are rounded in another order on every processor, with every number of threads, and for every shape of a batch. Each
rounding is worth at most half a unit in the last place of the largest number at hand; through a few layers they add up.
What is wrong rather than rounded (a stale cache, a shifted position) shows in the third or fourth digit.
"""

from typing import Any

import numpy as np

EPS = float(np.finfo(np.float32).eps)
STEPS = 64  # units in the last place that may add up


def rounding(scale: float = 1.0, steps: int = STEPS) -> float:
    """What float32 numbers of that size may differ by."""
    return steps * EPS * scale


def assert_close(found: Any, expected: Any, steps: int = STEPS, what: str = "") -> None:
    """Two arrays or tensors of one shape, everywhere within rounding of the largest number."""
    found, expected = (np.asarray(x.detach() if hasattr(x, "detach") else x, np.float64) for x in (found, expected))
    assert found.shape == expected.shape, f"{what}: {found.shape}, expected {expected.shape}"
    largest, apart = (float(np.abs(x).max(initial=0.0)) for x in (expected, found - expected))
    allowed = rounding(largest, steps)
    assert apart <= allowed, f"{what}: {apart:.3g} apart, {allowed:.3g} allowed of numbers up to {largest:.3g}"
