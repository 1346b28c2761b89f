"""Wrong answers: farther from the right one than scoring forgives, and from each other."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spatial_mllm_training.multispa.distractors import wrong_points

WIDTH, HEIGHT = 640, 480
GRID = np.stack(np.meshgrid(np.arange(4, WIDTH, 8), np.arange(4, HEIGHT, 8)), axis=-1).reshape(-1, 2)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, WIDTH - 1), st.integers(0, HEIGHT - 1), st.integers(0, 2**32), st.integers(1, 5))
def test_points_are_wrong_and_told_apart(u, v, seed, count):
    points = wrong_points((u, v), GRID, WIDTH, np.random.default_rng(seed), count)
    assert points is not None and points.shape == (count, 2) and points.dtype == np.int64
    assert {tuple(point) for point in points.tolist()} <= {tuple(pixel) for pixel in GRID.tolist()}
    for i, (x, y) in enumerate(points):
        assert np.hypot(x - u, y - v) > 0.08 * WIDTH
        assert all(np.hypot(x - other[0], y - other[1]) > 0.06 * WIDTH for other in points[:i])


def test_one_point_is_hard_and_one_is_far():
    random = np.random.default_rng(0)
    near, far = [], []
    for _ in range(200):
        points = wrong_points((320, 240), GRID, WIDTH, random)
        assert points is not None
        away = np.sort(np.hypot(*(points - (320, 240)).T)) / WIDTH
        near.append(away[0])
        far.append(away[-1])
    # The farthest pixel is 0.62 widths away; rings of equal ratio end at 0.08 * (0.62 / 0.08) ** (1/3, 2/3, 1).
    assert max(near) <= 0.159 and min(far) >= 0.31
    assert np.ptp(near) > 0.05 and np.ptp(far) > 0.2, "not always the same ones"


def test_the_order_does_not_tell_the_distance():
    random = np.random.default_rng(1)
    nearest = [
        int(np.argmin(np.hypot(*(wrong_points((320, 240), GRID, WIDTH, random) - (320, 240)).T)))  # type: ignore[operator]
        for _ in range(300)
    ]
    assert np.bincount(nearest, minlength=3).min() > 60


@pytest.mark.parametrize(
    "candidates",
    [
        np.empty((0, 2), int),
        [[100, 100], [101, 100], [102, 100], [103, 100]],  # one place
        [[100, 100], [300, 100]],  # too few
        [[330, 240], [320, 250], [310, 230], [300, 240]],  # as good as right
    ],
)
def test_too_few_places_give_none(candidates):
    assert wrong_points((320, 240), candidates, WIDTH, np.random.default_rng(0)) is None


def test_an_empty_ring_is_filled_from_another():
    far = [[20, 20], [620, 20], [20, 460], [620, 460]]
    points = wrong_points((320, 240), far, WIDTH, np.random.default_rng(0))
    assert points is not None and len({tuple(point) for point in points.tolist()} & {tuple(p) for p in far}) == 3
