import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from spatial_mllm_ros.geometry.poses import is_rigid, transform
from spatial_mllm_ros.motion.camera import camera_motion
from spatial_mllm_ros.motion.rigid import rigid_groups, rigid_motion


def pose(rotation_vector, translation):
    out = np.eye(4)
    out[:3, :3] = Rotation.from_rotvec(rotation_vector).as_matrix()
    out[:3, 3] = translation
    return out


def cloud(seed, count=40, spread=0.1):
    return np.random.default_rng(seed).normal(0, spread, (count, 3))


def adjusted_rand(a, b):
    """Hubert and Arabie 1985, from the contingency table."""
    table = np.array([[np.sum((a == i) & (b == j)) for j in np.unique(b)] for i in np.unique(a)])

    def pairs(n):
        return (n * (n - 1) / 2).sum()

    both, rows, columns, total = pairs(table), pairs(table.sum(1)), pairs(table.sum(0)), pairs(np.array(table.sum()))
    expected = rows * columns / total
    return (both - expected) / ((rows + columns) / 2 - expected)


vectors = st.tuples(*[st.floats(-1, 1)] * 3)


@given(vectors, vectors, st.integers(0, 100))
def test_a_rigid_motion_is_recovered(turn, shift, seed):
    before, truth = cloud(seed), pose(turn, shift)
    found = rigid_motion(before, transform(truth, before), 0.01)
    assert found.inliers.all()
    assert np.linalg.norm(transform(found.matrix, before) - transform(truth, before), axis=1).max() < 0.01
    np.testing.assert_allclose(found.displacement, transform(truth, before).mean(0) - before.mean(0), atol=1e-3)
    if np.linalg.norm(turn) > 0.2:  # a smaller turn may be explained by a shift, within the tolerance
        np.testing.assert_allclose(found.matrix, truth, atol=1e-6)


@pytest.mark.parametrize("outliers", [0.2, 0.4])
def test_outliers_do_not_count(outliers):
    before, truth = cloud(1, 60), pose([0, 0, 0.3], [0.2, 0.1, 0])
    after = transform(truth, before)
    wrong = np.arange(60) < 60 * outliers
    after[wrong] += np.random.default_rng(2).normal(0, 0.3, (wrong.sum(), 3))
    found = rigid_motion(before, after, 0.01)
    assert not found.inliers[wrong & (np.linalg.norm(after - transform(truth, before), axis=1) > 0.01)].any()
    np.testing.assert_allclose(found.matrix, truth, atol=1e-4)


def test_noise_averages_out():
    """60 points with 4 mm of noise: the mean is known to 4 / sqrt(60) = 0.5 mm."""
    before = cloud(3, 60)
    after = before + np.array([0.1, 0, 0]) + np.random.default_rng(4).normal(0, 0.004, before.shape)
    found = rigid_motion(before, after, 0.02)
    np.testing.assert_allclose(found.displacement, [0.1, 0, 0], atol=0.002)


def test_points_that_are_not_visible_are_left_out():
    before, after = cloud(5), cloud(5) + np.array([0, 0, 0.5])
    before[:5], after[5:10] = np.nan, np.nan
    found = rigid_motion(before, after, 0.01)
    assert found.inliers.tolist() == [False] * 10 + [True] * 30
    np.testing.assert_allclose(found.displacement, [0, 0, 0.5], atol=1e-9)


def test_one_point_and_none():
    one = rigid_motion(np.zeros((1, 3)), np.ones((1, 3)), 0.01)
    np.testing.assert_allclose(one.displacement, [1, 1, 1])
    with pytest.raises(ValueError, match="no point is visible"):
        rigid_motion(np.full((4, 3), np.nan), np.zeros((4, 3)), 0.01)


def test_the_answer_is_always_rigid():
    before = cloud(6, 12)
    found = rigid_motion(before, np.random.default_rng(7).normal(0, 1, before.shape), 0.05)
    assert is_rigid(found.matrix, 1e-6)


@pytest.mark.parametrize("bodies", [2, 3, 4, 5])
@pytest.mark.parametrize("seed", [0, 1])
def test_bodies_are_told_apart_by_constant_distances(bodies, seed):
    """15 points a body, each body on its own way for a second, 3 mm of noise, a tenth of all sightings missing."""
    rng = np.random.default_rng([bodies, seed])
    truth = np.repeat(np.arange(bodies), 15)
    start = rng.normal(0, 0.08, (len(truth), 3)) + np.repeat(rng.uniform(-0.6, 0.6, (bodies, 3)), 15, axis=0)
    ways = rng.normal(0, 1, (bodies, 3))
    ways *= np.linspace(0, 0.4, bodies)[:, None] / np.linalg.norm(ways, axis=1, keepdims=True)
    time = np.linspace(0, 1, 30)[:, None, None]
    tracks = start + time * ways[truth] + rng.normal(0, 0.003, (30, len(truth), 3))
    tracks[rng.random(tracks.shape[:2]) < 0.1] = np.nan
    assert adjusted_rand(truth, rigid_groups(tracks, 0.02)) >= 0.95


def test_turning_is_no_change_of_distance():
    body = cloud(8, 20)
    tracks = np.stack([transform(pose([0, 0, a], [a, 0, 0]), body) for a in np.linspace(0, 2, 25)])
    assert rigid_groups(tracks, 0.01).tolist() == [0] * 20


def test_groups_of_few_or_no_points():
    assert rigid_groups(np.full((3, 4, 3), np.nan), 0.01).tolist() == [-1] * 4
    assert rigid_groups(np.zeros((3, 1, 3)), 0.01).tolist() == [0]
    tracks = np.zeros((2, 3, 3))
    tracks[:, 1] = np.nan
    assert rigid_groups(tracks, 0.01).tolist() == [0, -1, 0]


def test_camera_motion_by_hand():
    """The camera looks along world x; it goes 3 forward and 4 to its right, and turns by 30 degrees."""
    start = np.eye(4)
    start[:3, :3] = [[0, 0, 1], [-1, 0, 0], [0, -1, 0]]
    start[:3, 3] = 10, 20, 30
    motion = camera_motion(start, start @ pose([0, np.radians(30), 0], [4, 0, 3]))
    assert motion.distance == pytest.approx(5)
    np.testing.assert_allclose(motion.displacement, [3, -4, 0], atol=1e-12)
    np.testing.assert_allclose(motion.displacement_camera, [4, 0, 3], atol=1e-12)
    assert motion.rotation == pytest.approx(np.radians(30))
