import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from spatial_mllm_ros.geometry.alignment import Sim3, robust_similarity, scale_from_depth, scale_from_poses, similarity

from .room import misplaced, random_gauge, walk

seeds = st.integers(0, 2**32 - 1)


def same(a, b, tolerance=1e-9):
    assert a.scale == pytest.approx(b.scale, rel=tolerance)
    np.testing.assert_allclose(a.rotation, b.rotation, atol=tolerance)
    np.testing.assert_allclose(a.translation, b.translation, atol=tolerance * (1 + np.abs(b.translation).max()) * 10)


@given(seeds)
def test_transforms_compose_and_invert(seed):
    random = np.random.default_rng(seed)
    a, b, points = random_gauge(random), random_gauge(random), random.normal(size=(4, 3))
    np.testing.assert_allclose((a @ b).apply(points), a.apply(b.apply(points)), atol=1e-9)
    np.testing.assert_allclose(a.inverse().apply(a.apply(points)), points, atol=1e-9)
    pose = walk(7)[6]
    moved = a.pose(pose)
    np.testing.assert_allclose(moved[:3, 3], a.apply(pose[:3, 3]), atol=1e-9)
    np.testing.assert_allclose(moved[:3, :3], a.rotation @ pose[:3, :3], atol=1e-9)


@given(seeds)
def test_another_scale_around_a_point(seed):
    random = np.random.default_rng(seed)
    a, here, there = random_gauge(random), *random.normal(size=(2, 3))
    other = a.rescaled(3 * a.scale, here)
    np.testing.assert_allclose(other.apply(here), a.apply(here), atol=1e-9)
    np.testing.assert_allclose(other.apply(there) - other.apply(here), 3 * (a.apply(there) - a.apply(here)), atol=1e-9)


@given(seeds, st.integers(3, 40))
def test_a_known_transform_comes_back(seed, count):
    random = np.random.default_rng(seed)
    true, points = random_gauge(random), random.normal(size=(count, 3))
    same(similarity(points, true.apply(points), random.uniform(0.1, 3, count)), true, 1e-6)


def test_a_flat_mirror_image_is_turned_over():
    """The triangle of Umeyama 1991, section III: in the plane only a reflection fits, in space half a turn about y."""
    source = np.array([[0.0, 0, 0], [1, 0, 0], [0, 2, 0]])
    target = np.array([[0.0, 0, 0], [-1, 0, 0], [0, 2, 0]])
    same(similarity(source, target), Sim3(1.0, np.diag([-1.0, 1, -1])))


@given(seeds)
def test_mirrored_points_give_a_rotation_and_it_is_the_best(seed):
    """Brute force: no rotation near the one found, nor far from it, has a smaller sum of squares."""
    random = np.random.default_rng(seed)
    source = random.normal(size=(12, 3))
    target = source * [1, 1, -1]
    found = similarity(source, target)
    assert np.linalg.det(found.rotation) == pytest.approx(1)

    def squares(rotation):
        turned = (source - source.mean(0)) @ rotation.T
        centred = target - target.mean(0)
        scale = (turned * centred).sum() / (turned**2).sum()
        return ((centred - max(scale, 0) * turned) ** 2).sum()

    best = squares(found.rotation)
    others = [found.rotation @ Rotation.from_rotvec(v).as_matrix() for v in random.normal(size=(30, 3)) * 0.05]
    others += list(Rotation.from_quat(random.normal(size=(100, 4))).as_matrix())
    assert all(squares(other) >= best - 1e-9 for other in others)


@given(seeds)
def test_weights_choose_between_pairs(seed):
    """Pairs of weight 0 do not matter; a weight of 2 is the pair twice."""
    random = np.random.default_rng(seed)
    source, target = random.normal(size=(2, 9, 3))
    weights = random.integers(0, 3, 9).astype(float)
    assume((weights > 0).sum() >= 4)
    twice = np.repeat(np.arange(9), weights.astype(int))
    a, b = similarity(source, target, weights), similarity(source[twice], target[twice])
    np.testing.assert_allclose(a.apply(source), b.apply(source), atol=1e-6)


@given(seeds)
def test_a_scale_that_is_known_is_kept(seed):
    random = np.random.default_rng(seed)
    true, points = random_gauge(random), random.normal(size=(30, 3))
    target = true.apply(points)
    same(similarity(points, target, None, true.scale), true, 1e-6)
    assert similarity(points, target, None, 2 * true.scale).scale == 2 * true.scale
    fit = robust_similarity(points, target, np.ones(30), None, true.scale)
    same(fit.transform, true, 1e-6)


@pytest.mark.parametrize(
    "points, text",
    [
        (np.zeros((5, 3)), "one place"),
        (np.full((5, 3), 1e6), "one place"),
        (np.outer(np.arange(6.0), [1, 2, 3]), "line"),
        (np.eye(3)[:2], "2 pairs"),
        (np.zeros((0, 3)), "0 pairs"),
        (np.full((4, 3), np.nan), "not finite"),
    ],
)
def test_points_without_a_rotation_are_refused(points, text):
    fine = np.random.default_rng(0).normal(size=points.shape)
    for source, target in ((points, fine), (fine, points)):
        with pytest.raises(ValueError, match=text):
            similarity(source, target)
        with pytest.raises(ValueError, match=text):
            robust_similarity(source, target, np.ones(len(points)))


def test_shapes_that_do_not_belong_together():
    with pytest.raises(ValueError, match=r"expected \[N, 3\]"):
        similarity(np.zeros((4, 3)), np.zeros((5, 3)))
    with pytest.raises(ValueError, match=r"expected \[N, 3\]"):
        similarity(np.zeros((4, 3)), np.zeros((4, 3)), np.ones(3))


@given(seeds, st.floats(0, 0.35))
def test_wrong_pairs_do_not_matter(seed, part):
    random = np.random.default_rng(seed)
    true = random_gauge(random)
    source = random.normal(size=(400, 3))
    target = true.apply(source)
    wrong = random.random(400) < part
    target[wrong] += true.scale * random.uniform(-6, 6, (wrong.sum(), 3))
    fit = robust_similarity(source, target, np.full(400, true.scale))
    assert fit.transform.scale == pytest.approx(true.scale, rel=1e-6)
    assert np.linalg.norm(fit.transform.rotation - true.rotation) < 1e-6
    assert fit.residual < 1e-6


def test_noise_is_averaged_and_reported():
    random = np.random.default_rng(2)
    true, source = random_gauge(random), random.normal(size=(3000, 3))
    target = true.apply(source) + 0.02 * true.scale * random.normal(size=(3000, 3))
    fit = robust_similarity(source, target, np.full(3000, true.scale))
    assert fit.transform.scale == pytest.approx(true.scale, rel=0.003)
    assert fit.residual == pytest.approx(0.02 * 1.538, rel=0.05)  # median length of a normal vector in space


@given(seeds)
def test_scale_of_depth(seed):
    random = np.random.default_rng(seed)
    near = random.uniform(0.5, 5, 1000)
    far = 2.5 * near
    far[:300] = random.uniform(0.1, 50, 300)
    scale, disagreement = scale_from_depth(near, far)
    assert scale == pytest.approx(2.5) and disagreement < 1e-9
    with pytest.raises(ValueError, match="twice"):
        scale_from_depth(near[:0], far[:0])


@given(seeds, st.integers(5, 24))
def test_poses_tell_where_a_window_lies(seed, count):
    random = np.random.default_rng(seed)
    poses, gauge = walk(100)[:count], random_gauge(random)
    window = np.stack([gauge.inverse().pose(pose) for pose in poses])
    fit = scale_from_poses(np.stack(poses), window, 2.5 / gauge.scale)
    assert fit is not None
    same(fit.transform, gauge, 1e-6)
    assert fit.residual < 1e-6 and misplaced(fit.transform, window, poses)[1] < 1e-6


@given(seeds)
def test_some_wrong_poses_do_not_matter(seed):
    random = np.random.default_rng(seed)
    poses, gauge = walk(100)[:16], random_gauge(random)
    window = np.stack([gauge.inverse().pose(pose) for pose in poses])
    known = np.stack(poses)
    for i in random.choice(16, 3, replace=False):
        known[i, :3, 3] += random.uniform(-2, 2, 3)
        known[i, :3, :3] = Rotation.from_quat(random.normal(size=4)).as_matrix()
    fit = scale_from_poses(known, window, 2.5 / gauge.scale)
    assert fit is not None and fit.transform.scale == pytest.approx(gauge.scale, rel=1e-4)
    assert np.linalg.norm(fit.transform.rotation - gauge.rotation) < 1e-3


def test_short_baselines_tell_nothing():
    poses = np.stack(walk(16))
    turning = poses.copy()
    turning[:, :3, 3] = [1.0, 2.0, 3.0]
    shaking = turning.copy()
    shaking[:, :3, 3] += 0.02 * np.random.default_rng(0).normal(size=(16, 3))
    assert scale_from_poses(turning, turning, 2.5) is None
    assert scale_from_poses(shaking, shaking, 2.5) is None
    assert scale_from_poses(turning, poses, 2.5) is None  # the pose source stands still
    assert scale_from_poses(poses[:1], poses[:1], 2.5) is None


def test_the_error_says_how_well_scale_is_known():
    """Over many noisy windows the spread of the scale is what each one says of itself."""
    random, poses = np.random.default_rng(3), np.stack(walk(100)[:16])
    found, said = [], []
    for _ in range(60):
        window = poses.copy()
        window[:, :3, 3] += 0.02 * random.normal(size=(16, 3))
        fit = scale_from_poses(poses, window, 2.5)
        found.append(np.log(fit.transform.scale))
        said.append(fit.error)
    assert abs(np.mean(found)) < 0.01
    assert 0.4 < np.std(found) / np.mean(said) < 2.0
