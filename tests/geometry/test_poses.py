import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from spatial_mllm_ros.geometry.poses import (
    interpolate,
    inverse,
    is_rigid,
    pose_matrix,
    quaternion_xyzw,
    rotation_angle,
    transform,
)

finite = st.floats(-10, 10)


@st.composite
def poses(draw):
    q = np.array(draw(st.tuples(*[st.floats(-1, 1)] * 4)))
    if np.linalg.norm(q) < 0.1:
        q = np.array([0, 0, 0, 1.0])
    return pose_matrix(draw(st.tuples(finite, finite, finite)), q / np.linalg.norm(q))


def about_z(degrees, translation=(0, 0, 0)):
    half = np.radians(degrees) / 2
    return pose_matrix(translation, [0, 0, np.sin(half), np.cos(half)])


def test_quarter_turn_by_hand():
    np.testing.assert_allclose(transform(about_z(90, (1, 2, 3)), np.array([1.0, 0, 0])), [1, 3, 3], atol=1e-12)


@given(st.tuples(*[st.floats(-1, 1)] * 4), st.floats(0.991, 1.009))
def test_rotations_are_those_of_scipy(q, length):
    q = np.array(q)
    if np.linalg.norm(q) < 0.1:
        q = np.array([0, 0, 0, 1.0])
    q *= length / np.linalg.norm(q)
    found = pose_matrix((1, 2, 3), q)
    np.testing.assert_allclose(found[:3, :3], Rotation.from_quat(q).as_matrix(), atol=1e-14)
    assert is_rigid(found) and not is_rigid(found * [-1, 1, 1, 1]) and not is_rigid(found * [1, 1, 1.001, 1])


@given(poses(), poses())
def test_group_laws(a, b):
    np.testing.assert_allclose(inverse(a) @ a, np.eye(4), atol=1e-9)
    np.testing.assert_allclose(inverse(a @ b), inverse(b) @ inverse(a), atol=1e-9)
    assert is_rigid(a) and is_rigid(a @ b, 1e-6)
    np.testing.assert_allclose(pose_matrix(a[:3, 3], quaternion_xyzw(a)), a, atol=1e-9)


@given(poses(), poses(), st.floats(0, 1))
def test_interpolation_is_a_constant_turn(a, b, alpha):
    mid = interpolate(a, b, alpha)
    assert is_rigid(mid, 1e-6)
    whole = rotation_angle(inverse(a) @ b)
    assert rotation_angle(inverse(a) @ mid) == pytest.approx(alpha * whole, abs=1e-6)
    np.testing.assert_allclose(mid[:3, 3], (1 - alpha) * a[:3, 3] + alpha * b[:3, 3], atol=1e-9)


def test_interpolation_by_hand():
    np.testing.assert_allclose(
        interpolate(about_z(0), about_z(80, (4, 0, 0)), 0.25), about_z(20, (1, 0, 0)), atol=1e-12
    )


@pytest.mark.parametrize(
    "t, q, message",
    [
        ([np.nan, 0, 0], [0, 0, 0, 1], "NaN"),
        ([0, -1e300, 0], [0, 0, 0, 1], r"1e\+300 m away"),
        ([0, 0, 0], [0, 0, 0, 0], "length 0"),
        ([0, 0, 0], [0, 0, 1, 1], "length 1.41"),
    ],
)
def test_what_is_no_pose_is_refused(t, q, message):
    with pytest.raises(ValueError, match=message):
        pose_matrix(t, q)


def test_is_rigid_tells_the_others():
    scaled, mirrored, projective = np.eye(4), np.diag([-1.0, 1, 1, 1]), np.eye(4)
    scaled[:3, :3] *= 1.01
    projective[3, 0] = 0.1
    assert not any(map(is_rigid, (scaled, mirrored, projective, np.eye(3), np.full((4, 4), np.nan))))
    far = np.eye(4)
    far[0, 3] = 1e8
    assert is_rigid(far) and not is_rigid(far @ far)
