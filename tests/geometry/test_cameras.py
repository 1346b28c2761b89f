import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spatial_mllm_ros.frames import Camera
from spatial_mllm_ros.geometry.cameras import back_project, project, ray_grid, unproject

K = np.array([[500.0, 0, 319.5], [0, 510.0, 239.5], [0, 0, 1]])
LENSES = {
    "none": [],
    "plumb_bob": [-0.28, 0.07, 0.0002, -0.0003, 0.0],
    "rational_polynomial": [0.5, -0.1, 0.0005, -0.0002, 0.02, 0.8, -0.1, 0.05],
    "equidistant": [-0.01, 0.02, -0.01, 0.002],
}


def camera(model="none", width=640, height=480, k=K):
    return Camera("front", "front_optical", width, height, k, model, np.array(LENSES[model], float))


@pytest.mark.parametrize("model", LENSES)
@given(u=st.floats(0, 639), v=st.floats(0, 479), z=st.floats(0.1, 50))
def test_project_undoes_unproject(model, u, v, z):
    point = unproject(camera(model), np.array([[u, v]]), np.array([z]))
    assert point[0, 2] == z
    pixels, in_view = project(camera(model), point)
    assert in_view[0]
    assert np.abs(pixels[0] - [u, v]).max() < 1e-3


def test_pinhole_by_hand():
    pixels, in_view = project(camera(), np.array([[0.2, -0.1, 2.0], [0, 0, -1], [10, 0, 1], [np.nan, 0, 1]]))
    np.testing.assert_allclose(pixels[0], [319.5 + 500 * 0.1, 239.5 - 510 * 0.05])
    assert in_view.tolist() == [True, False, False, False]
    assert np.isnan(pixels[1]).all() and np.isnan(pixels[3]).all()


def test_equidistant_by_hand():
    """With zero coefficients the image radius is f times the angle to the axis (Kannala & Brandt 2006)."""
    k = np.array([[300.0, 0, 320], [0, 300, 240], [0, 0, 1]])
    lens = Camera("fish", "fish", 640, 480, k, "equidistant", np.zeros(4))
    for degrees in (5, 30, 60, 75):
        angle = np.radians(degrees)
        pixels, _ = project(lens, np.array([[np.sin(angle), 0, np.cos(angle)]]))
        assert pixels[0, 0] == pytest.approx(320 + 300 * angle, abs=1e-6)
        ray = unproject(lens, pixels, np.ones(1))[0]
        assert np.arctan2(ray[0], 1) == pytest.approx(angle, abs=1e-6)


def test_fisheye_pixels_without_a_ray_are_nan():
    k = np.array([[100.0, 0, 320], [0, 100, 240], [0, 0, 1]])
    lens = Camera("fish", "fish", 640, 480, k, "equidistant", np.zeros(4))
    rays = ray_grid(lens)
    assert np.isnan(rays[240, 0]).any()  # 3.2 rad from the axis
    assert np.isfinite(rays[240, 320]).all()


def test_brown_distortion_matches_its_polynomial():
    x, y = 0.3, -0.2
    k1, k2, p1, p2, k3 = LENSES["plumb_bob"]
    r2 = x * x + y * y
    radial = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3
    expected = [
        x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
        y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
    ]
    pixels, _ = project(camera("plumb_bob"), np.array([[x, y, 1.0]]))
    np.testing.assert_allclose(pixels[0], [500 * expected[0] + 319.5, 510 * expected[1] + 239.5], atol=1e-9)


def test_back_project_marks_missing_readings():
    depth = np.array([[1.0, 0.0], [np.nan, 2.0]], np.float32)
    k = np.array([[2.0, 0, 0.5], [0, 2, 0.5], [0, 0, 1]])
    points = back_project(camera(width=2, height=2, k=k), depth)
    np.testing.assert_allclose(points[0, 0], [-0.25, -0.25, 1])
    np.testing.assert_allclose(points[1, 1], [0.5, 0.5, 2])
    assert np.isnan(points[0, 1]).all() and np.isnan(points[1, 0]).all()


def test_resized_camera_sees_the_same_ray():
    """Half size: the centre of the new pixel (i, j) is the corner between four old ones, at 2 i + 0.5."""
    half = camera().resized(320, 240)
    np.testing.assert_allclose(ray_grid(half)[10, 20], unproject(camera(), [[40.5, 20.5]], [1.0])[0], atol=1e-6)
    assert camera().resized(640, 480).intrinsics is K


def test_ray_grid_is_computed_once():
    lens = camera("plumb_bob")
    assert ray_grid(lens) is ray_grid(lens)
    assert not ray_grid(lens).flags.writeable


def test_rays_agree_with_opencv():
    lens = camera("rational_polynomial")
    grid = ray_grid(lens)
    u, v = 37, 401
    undistorted = cv2.undistortPoints(np.array([[[u, v]]], float), K, lens.distortion)[0, 0]
    np.testing.assert_allclose(grid[v, u, :2], undistorted, atol=1e-4)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"width": 0}, "at least 1 pixel"),
        ({"intrinsics": np.zeros((3, 3))}, "fx and fy positive"),
        ({"intrinsics": K * np.nan}, "finite"),
        ({"distortion_model": "fov"}, "known are none, plumb_bob"),
        ({"distortion_model": "plumb_bob", "distortion": np.zeros(3)}, "3 coefficients"),
        ({"distortion_model": "plumb_bob", "distortion": np.full(5, np.inf)}, "coefficients"),
    ],
)
def test_impossible_cameras_are_refused(change, message):
    good = {"name": "c", "frame_id": "c", "width": 640, "height": 480, "intrinsics": K}
    with pytest.raises(ValueError, match=message):
        Camera(**{**good, **change})
