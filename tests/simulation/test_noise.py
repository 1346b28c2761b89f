"""The sensor model against the numbers of its papers."""

import numpy as np
import pytest

from spatial_mllm_ros.frames import Camera
from spatial_mllm_ros.simulation.noise import incidence, sensor_depth, sensor_image

CAMERA = Camera("c", "c", 200, 150, np.array([[525.0, 0, 99.5], [0, 525.0, 74.5], [0, 0, 1]]))


def rays(camera):
    v, u = np.mgrid[0 : camera.height, 0 : camera.width]
    return np.stack([(u - 99.5) / 525, (v - 74.5) / 525, np.ones(u.shape)], axis=2).astype(np.float32)


def readings(exact, seed=1, level=1.0):
    return sensor_depth(exact.astype(np.float32), CAMERA, np.random.default_rng(seed), level) / 1000


@pytest.mark.parametrize("distance", [0.6, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0])
def test_axial_noise_has_the_published_sigma(distance):
    """Nguyen et al. 2012, eq. 3, seen on planes a little apart so that the quantisation's phase averages out."""
    errors = []
    for i, exact in enumerate(np.linspace(0.97, 1.03, 12) * distance):
        seen = readings(np.full((150, 200), exact), seed=i)
        assert (seen > 0).all()
        errors.append(seen - exact)
    sigma = 0.0012 + 0.0019 * (distance - 0.4) ** 2
    assert np.std(errors) == pytest.approx(sigma, rel=0.06)
    assert abs(np.mean(errors)) < 0.1 * sigma


@pytest.mark.parametrize("distance", [1.0, 2.5, 5.0])
def test_readings_are_whole_disparities(distance):
    """Khoshelham & Elberink 2012: neighbouring values are 2.85e-5 / cm apart in 1 / Z."""
    seen = np.unique(readings(np.full((150, 200), distance)))
    steps = np.diff(seen)
    assert np.median(steps) == pytest.approx(2.85e-3 * distance**2, rel=0.15, abs=0.001)
    counts = 1 / seen / 2.85e-3
    assert np.abs(counts - np.rint(counts)).max() < 0.0006 / distance**2 / 2.85e-3


def test_range_limits():
    assert (readings(np.full((150, 200), 0.35)) == 0).all()
    assert (readings(np.full((150, 200), 6.5)) == 0).all()
    assert (readings(np.zeros((150, 200))) == 0).all()


@pytest.mark.parametrize(("degrees", "lost"), [(0, False), (60, False), (77, False), (83, True), (88, True)])
def test_grazing_surfaces_are_lost(degrees, lost):
    """A plane through (0, 0, 2) turned about y: depth z = 2 / (1 - x tan(angle)) for rays (x, y, 1)."""
    slope = np.tan(np.radians(degrees))
    exact = 2 / (1 - rays(CAMERA)[..., 0] * slope)
    exact = np.where((exact > 0.5) & (exact < 5.5), exact, 0)
    middle = np.abs(rays(CAMERA)[..., 0]) < 0.01
    seen = readings(exact)[middle & (exact > 0)]
    assert (seen == 0).all() if lost else (seen > 0).all()
    angle = incidence(exact.astype(np.float32), rays(CAMERA), 99, 75)
    assert np.degrees(angle) == pytest.approx(degrees, abs=0.4)


def test_edges_are_ragged_and_have_holes_but_no_new_depths():
    exact = np.where(np.arange(200)[None] < 100, 1.0, 3.0) * np.ones((150, 1))
    seen = readings(exact)
    near_edge = seen[:, 97:103]
    assert 0.02 < (near_edge == 0).mean() < 0.3
    assert (seen[:, :90] > 0).all() and (seen[:, 110:] > 0).all()
    valid = near_edge[near_edge > 0]
    assert (np.minimum(np.abs(valid - 1), np.abs(valid - 3)) < 0.1).all()
    swapped = (seen[:, 97:100] > 2).mean() + ((seen[:, 100:103] > 0) & (seen[:, 100:103] < 2)).mean()
    assert swapped > 0.05


def test_level_scales_the_noise_and_zero_is_exact():
    exact = np.linspace(1.9, 2.1, 150 * 200).reshape(150, 200)
    half, full = (np.std(readings(exact, level=level) - exact) for level in (0.5, 1.0))
    assert half == pytest.approx(full / 2, rel=0.05)
    assert np.abs(readings(exact, level=0) - exact).max() <= 0.0005 + 1e-6


def test_noise_depends_on_the_generator_only():
    exact = np.full((150, 200), 2.0)
    assert (readings(exact, seed=3) == readings(exact, seed=3)).all()
    assert (readings(exact, seed=3) != readings(exact, seed=4)).mean() > 0.3


def test_colour_noise_and_vignetting():
    gray = np.full((150, 200, 3), 128, np.uint8)
    seen = sensor_image(gray, np.random.default_rng(0)).astype(float)
    middle, corner = seen[65:85, 90:110], seen[:10, :10]
    assert np.std(middle) == pytest.approx(1.6, rel=0.15)
    assert corner.mean() == pytest.approx(128 * (1 - 0.18), rel=0.03) and middle.mean() == pytest.approx(128, abs=1)
    white = sensor_image(np.full((150, 200, 3), 255, np.uint8), np.random.default_rng(0))
    assert white[70:80, 95:105].min() > 200  # no overflow
    assert (sensor_image(gray, np.random.default_rng(0), 0) == gray).all()
