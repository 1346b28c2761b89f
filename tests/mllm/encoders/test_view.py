"""Encoded cameras as poses and intrinsics."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.transform import Rotation

from spatial_mllm_ros.mllm.encoders.view import decode_poses

angles = arrays(np.float64, 3, elements=st.floats(-3.1, 3.1))
translations = arrays(np.float64, 3, elements=st.floats(-10, 10))
fov = st.floats(0.1, 3.0)
length = st.floats(0.1, 10) | st.floats(-10, -0.1)  # a quaternion and its negative are one rotation


def encoding(t=(0, 0, 0), q=(0, 0, 0, 1), fov=(1, 1)):
    return np.array([*t, *q, *fov], float)


@given(angles, translations, length)
def test_world_from_camera_is_the_inverse_of_what_is_encoded(angle, t, length):
    camera_from_world = np.eye(4)
    camera_from_world[:3, :3] = Rotation.from_rotvec(angle).as_matrix()
    camera_from_world[:3, 3] = t
    quaternion = length * Rotation.from_rotvec(angle).as_quat()  # x y z w
    found, _ = decode_poses(encoding(t, quaternion), (10, 20))
    np.testing.assert_allclose(found @ camera_from_world, np.eye(4), atol=1e-12)


@given(fov, fov, st.integers(14, 600), st.integers(14, 600))
def test_rays_at_the_borders_span_the_field_of_view(vertical, horizontal, height, width):
    _, k = decode_poses(encoding(fov=(vertical, horizontal)), (height, width))
    rays = np.linalg.inv(k) @ np.array([[0, width], [0, height], [1, 1]])
    across, down = np.arctan(rays[:2])
    np.testing.assert_allclose([across[1] - across[0], down[1] - down[0]], [horizontal, vertical], atol=1e-9)
    np.testing.assert_allclose([across.sum(), down.sum()], 0, atol=1e-9)
    assert np.array_equal(k[2], [0, 0, 1]) and k[0, 1] == k[1, 0] == 0


def test_leading_dimensions():
    single = [encoding((i, 2, 3), (0.1 * i, 0.2, -0.3, 1), (1, 0.5)) for i in range(6)]
    poses, intrinsics = decode_poses(np.stack(single).reshape(2, 3, 9), (28, 42))
    assert poses.shape == (2, 3, 4, 4) and intrinsics.shape == (2, 3, 3, 3)
    for i, one in enumerate(single):
        alone = decode_poses(one, (28, 42))
        np.testing.assert_allclose(poses.reshape(6, 4, 4)[i], alone[0], atol=1e-15)
        np.testing.assert_allclose(intrinsics.reshape(6, 3, 3)[i], alone[1], atol=1e-15)


def test_encodings_that_mean_nothing_stay_finite():
    pose, k = decode_poses(encoding((1, 2, 3), (0, 0, 0, 0), (0, 4)), (28, 42))
    assert np.array_equal(pose[:3, :3], np.eye(3))
    assert pose[:3, 3].tolist() == [-1, -2, -3]
    assert np.isfinite(k).all() and k[0, 0] > 0 and k[1, 1] > 0


def test_encodings_that_are_no_numbers_are_given_as_such():
    for odd in (np.nan, np.inf):
        pose, _ = decode_poses(encoding(q=(odd, 0, 0, 1)), (28, 42))
        assert np.isnan(pose[:3]).any()
