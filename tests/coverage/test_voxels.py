"""Keys of points and depth images against plain Python sets."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from spatial_mllm_ros.coverage import depth_voxel_keys, voxel_indices, voxel_keys
from spatial_mllm_ros.coverage.voxels import CHUNK

LIMIT = 1 << 20


def indices_of(points, voxel_size):
    """Voxel indices of points, one by one."""
    found = set()
    for point in np.asarray(points, np.float64).reshape(-1, 3).tolist():
        if all(map(math.isfinite, point)):
            index = tuple(math.floor(c / voxel_size) for c in point)
            if all(-LIMIT <= i < LIMIT for i in index):
                found.add(index)
    return found


def as_set(keys):
    return set(map(tuple, voxel_indices(keys).tolist()))


any_float = st.floats(width=32) | st.floats(-3, 3, width=32)


@settings(deadline=None)
@given(arrays(np.float32, st.tuples(st.integers(0, 30), st.just(3)), elements=any_float), st.floats(0.01, 10))
def test_keys_equal_a_set_of_floored_points(points, voxel_size):
    keys = voxel_keys(points, voxel_size)
    assert keys.dtype == np.int64 and (np.diff(keys) > 0).all()
    assert as_set(keys) == indices_of(points, voxel_size)
    assert np.array_equal(voxel_keys(points.astype(np.float64), voxel_size), keys)


@pytest.mark.parametrize("count", [CHUNK - 1, CHUNK, CHUNK + 1, 40_000])
def test_many_points(count):
    points = np.random.default_rng(count).normal(0, 5, (count, 3))
    assert as_set(voxel_keys(points, 0.2)) == indices_of(points, 0.2)


def test_shape_layout_and_type_of_points_do_not_matter():
    points = np.random.default_rng(0).uniform(-1, 1, (4, 5, 6))
    strided = points[..., ::2]
    keys = voxel_keys(strided.copy(), 0.5)
    assert np.array_equal(voxel_keys(strided, 0.5), keys)
    assert np.array_equal(voxel_keys(strided.reshape(-1, 3), 0.5), keys)
    assert as_set(voxel_keys(np.array([[1, -1, 2]]), 0.5)) == {(2, -2, 4)}
    assert as_set(voxel_keys(np.array([0.6, 0.0, -0.1]), 0.5)) == {(1, 0, -1)}


def test_edges_of_the_range():
    """21 bits for an axis: 2^20 voxels each way; what lies beyond is ignored, not wrapped into another voxel."""
    points = [[LIMIT - 0.5, 0, 0], [LIMIT, 0, 0], [-LIMIT, -LIMIT, -LIMIT], [0, -LIMIT - 0.5, 0], [0, 0, 1e300]]
    assert as_set(voxel_keys(np.array(points), 1.0)) == {(LIMIT - 1, 0, 0), (-LIMIT, -LIMIT, -LIMIT)}


@pytest.mark.parametrize("points", [np.zeros((0, 3)), np.full((5, 3), np.nan), [[np.inf, 0, 0], [0, -np.inf, 0]]])
def test_no_usable_points_are_no_voxels(points):
    assert voxel_keys(np.array(points), 0.1).shape == (0,)


@pytest.mark.parametrize("voxel_size", [0, -0.1, math.nan, math.inf])
def test_impossible_voxel_size_is_refused(voxel_size):
    with pytest.raises(ValueError, match=f"voxel_size = {voxel_size}: expected a positive length"):
        voxel_keys(np.zeros((1, 3)), voxel_size)
    with pytest.raises(ValueError, match="voxel_size"):
        depth_voxel_keys(*scene(2, 3), voxel_size, 0.1, 9.0)


@pytest.mark.parametrize("shape", [(3, 2), (0,), ()])
def test_points_without_three_coordinates_are_refused(shape):
    with pytest.raises(ValueError, match="expected"):
        voxel_keys(np.zeros(shape), 0.1)


def scene(height, width, seed=0):
    """A depth image with holes of every kind, the rays of a pinhole camera, and a pose."""
    random = np.random.default_rng(seed)
    depth = random.uniform(0.1, 7, (height, width)).astype(np.float32)
    depth.flat[1 :: height + 1] = np.resize([0, math.nan, math.inf, -1], depth.flat[1 :: height + 1].size)
    v, u = np.mgrid[0:height, 0:width]
    rays = np.stack([(u - width / 2) / width, (v - height / 2) / width, np.ones_like(u)], -1).astype(np.float32)
    q, _ = np.linalg.qr(random.normal(size=(3, 3)))
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = q, random.uniform(-50, 50, 3)
    return depth, rays, pose


@pytest.mark.parametrize("stride", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("size", [(48, 64), (37, 53)])
def test_depth_image_equals_its_points(size, stride):
    depth, rays, pose = scene(*size, seed=stride)
    points = []
    for v in range(0, size[0], stride):
        for u in range(0, size[1], stride):
            d = float(depth[v, u])
            if 0.2 <= d <= 6.0:
                a, b, c = (d * float(r) for r in rays[v, u])
                points.append([r[0] * a + r[1] * b + r[2] * c + r[3] for r in pose[:3].tolist()])
    keys = depth_voxel_keys(depth, rays, pose, 0.1, 0.2, 6.0, stride)
    assert len(points) and as_set(keys) == indices_of(points, 0.1)


def test_limits_of_depth_belong_to_the_range():
    depth = np.array([[0.5, 1.0, 2.0, 2.5]], np.float32)
    rays = np.tile(np.array([0, 0, 1], np.float32), (1, 4, 1))
    assert as_set(depth_voxel_keys(depth, rays, np.eye(4), 0.5, 1.0, 2.0, 1)) == {(0, 0, 2), (0, 0, 4)}
    assert depth_voxel_keys(depth, rays, np.eye(4), 0.5, 3.0, 9.0, 1).size == 0


def test_pixels_without_a_ray_are_ignored():
    """Beyond its field of view a fisheye camera has no ray: NaN."""
    depth = np.ones((1, 2), np.float32)
    rays = np.array([[[0, 0, 1], [np.nan, np.nan, np.nan]]], np.float32)
    assert as_set(depth_voxel_keys(depth, rays, np.eye(4), 1.0, 0.1, 9.0, 1)) == {(0, 0, 1)}


def test_read_only_and_strided_images():
    depth, rays, pose = scene(40, 50)
    keys = depth_voxel_keys(depth, rays, pose, 0.1, 0.2, 6.0, 1)
    wide = np.repeat(depth, 2, axis=1)
    depth.flags.writeable = rays.flags.writeable = False
    assert np.array_equal(depth_voxel_keys(depth, rays, pose, 0.1, 0.2, 6.0, 1), keys)
    assert np.array_equal(depth_voxel_keys(wide[:, ::2], rays, pose, 0.1, 0.2, 6.0, 1), keys)


def test_depth_images_that_cannot_be_used_are_refused():
    depth, rays, pose = scene(4, 6)
    with pytest.raises(ValueError, match=r"depth of shape \(4, 6\) with rays of shape \(4, 5, 3\)"):
        depth_voxel_keys(depth, rays[:, :5], pose, 0.1, 0.2, 6.0)
    with pytest.raises(ValueError, match="stride = 0"):
        depth_voxel_keys(depth, rays, pose, 0.1, 0.2, 6.0, 0)
    for bad in (pose * np.nan, np.eye(3)):
        with pytest.raises(ValueError, match="finite 4x4"):
            depth_voxel_keys(depth, rays, bad, 0.1, 0.2, 6.0)
