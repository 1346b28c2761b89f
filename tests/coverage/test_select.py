"""Batch selection against the numbers of the reference implementation, and against plain Python."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from spatial_mllm_ros.coverage import greedy_cover, select_frames
from spatial_mllm_ros.coverage.select import frame_voxels

frames_of_keys = st.lists(st.sets(st.integers(0, 30), max_size=12), max_size=12).map(
    lambda frames: [np.array(sorted(keys), np.int64) for keys in frames]
)


def greedy_twin(frames, k):
    """Count everything in every round; the first of the best wins."""
    frames, covered, order, gains = [set(f) for f in frames], set(), [], []
    while len(order) < k:
        new = [len(f - covered) for f in frames]
        if not any(new):
            break
        order.append(new.index(max(new)))
        gains.append(max(new))
        covered |= frames[order[-1]]
    return order, gains


def voxels_twin(points, confidence):
    """The rules of select_frames in plain NumPy: voxel edge, and one set of voxel indices a frame."""
    known = np.sort(confidence[~np.isnan(confidence)])
    valid = np.isfinite(points).all(-1) & (confidence > np.float32(0.1))
    valid &= confidence >= (known[len(known) // 2] if len(known) else np.inf)
    if not valid.any():
        return 1.0, [set() for _ in points]
    low, high = points[valid].min(0), points[valid].max(0)
    sides = [side for side in high - low if side > 0]
    edge = min(sides) / points.dtype.type(20) if sides else points.dtype.type(1)
    return float(edge), [
        set(map(tuple, np.floor((p[v] - low) / edge).astype(int).tolist())) for p, v in zip(points, valid, strict=True)
    ]


def cloud(t, h, w, seed=0, dtype=np.float32):
    """Points of t frames that drift through a box, with confidence."""
    random = np.random.default_rng(seed)
    points = random.uniform(0, [1, 2, 0.5], (t, h, w, 3)) + 0.3 * np.arange(t)[:, None, None, None]
    return points.astype(dtype), random.gamma(2, 1, (t, h, w)).astype(dtype)


def test_equals_the_reference(reference):
    points, confidence, k = reference["world_points"], reference["world_points_conf"], int(reference["k"])
    assert select_frames(points, confidence, k) == reference["greedy_order"].tolist()
    edge, frames = frame_voxels(points, confidence)
    assert edge == float(reference["voxel_size"])
    assert [f.size for f in frames] == reference["frame_voxel_counts"].tolist()
    assert len(set().union(*(f.tolist() for f in frames))) == int(reference["union_voxels"])
    order, gains = greedy_cover(frames, k)
    assert order == reference["greedy_order"].tolist() and sum(gains) == int(reference["covered_voxels"])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("t", [1, 2, 3, 9])
def test_equals_plain_numpy(t, dtype):
    points, confidence = cloud(t, 23, 31, seed=t, dtype=dtype)
    confidence = confidence.astype(np.float32).astype(dtype)  # compared as float32
    edge, frames = frame_voxels(points, confidence)
    twin_edge, twin = voxels_twin(points, confidence)
    assert edge == twin_edge and [f.size for f in frames] == [len(f) for f in twin]
    assert select_frames(points, confidence, 5) == greedy_twin(twin, 5)[0]


@settings(deadline=None)
@given(
    arrays(np.float32, (2, 2, 3, 3), elements=st.sampled_from([0, 0.5, 1, 2.25, -3, np.nan, np.inf, -np.inf])),
    arrays(np.float32, (2, 2, 3), elements=st.sampled_from([0, 0.1, 0.2, 0.3, 1, -1, np.nan])),
    st.integers(0, 3),
)
def test_degenerate_clouds_equal_plain_numpy(points, confidence, k):
    edge, frames = frame_voxels(points, confidence)
    twin_edge, twin = voxels_twin(points, confidence)
    assert edge == twin_edge and [f.size for f in frames] == [len(f) for f in twin]
    assert select_frames(points, confidence, k) == greedy_twin(twin, k)[0]


@settings(deadline=None)
@given(arrays(np.float32, (3, 1, 5), elements=st.floats(width=32)))
def test_threshold_is_the_median_for_any_confidence(confidence):
    """Every point is a voxel of its own, so the number of voxels is the number of points that were kept."""
    points = np.zeros((3, 1, 5, 3), np.float32)
    points[..., 0] = np.arange(15).reshape(3, 1, 5)
    known = confidence[~np.isnan(confidence)]
    kept = 0
    if known.size:
        upper = np.sort(known)[known.size // 2]
        kept = int(((known >= upper) & (known > np.float32(0.1))).sum())
    assert sum(f.size for f in frame_voxels(points, confidence)[1]) == kept


def test_ends_early_when_nothing_is_gained():
    points, confidence = cloud(1, 20, 30)
    same = np.repeat(points, 4, axis=0)
    assert select_frames(same, np.repeat(confidence, 4, axis=0), 3) == [0]
    points, confidence = cloud(3, 20, 30)
    assert sorted(select_frames(points, confidence, 16)) == [0, 1, 2]


def test_no_frames_no_k_no_valid_points():
    points, confidence = cloud(3, 4, 5)
    assert select_frames(points, confidence, 0) == []
    assert select_frames(points[:0], confidence[:0], 4) == []
    assert select_frames(points[:, :0], confidence[:, :0], 4) == []
    assert select_frames(points * np.nan, confidence, 4) == []
    assert select_frames(points, confidence * np.nan, 4) == []
    assert select_frames(points, np.full_like(confidence, 0.1), 4) == []


@pytest.mark.parametrize("flat", [0, 1, 2])
def test_a_plane_has_voxels_by_its_shorter_side(flat):
    """Frames see strips of a 2 m x 4 m plane; the side of no length is left out, so voxels are 10 cm."""
    u, v = np.meshgrid(np.linspace(0, 2, 81), np.linspace(0, 4, 161))
    plane = np.insert(np.stack([u, v], -1), flat, 7.0, axis=-1)
    points = np.stack([plane[:100], plane[60:160]]).astype(np.float32)
    points[1, -1, :, (flat + 2) % 3 if flat != 1 else 2] = 4.0
    edge, frames = frame_voxels(points, np.ones(points.shape[:3], np.float32))
    assert edge == pytest.approx(0.1, rel=1e-6)
    assert all(500 < f.size < 600 for f in frames)
    assert sorted(select_frames(points, np.ones(points.shape[:3], np.float32), 2)) == [0, 1]


def test_a_side_that_is_only_rounding_is_flat_too():
    points, confidence = cloud(2, 20, 30)
    points[..., 1] = 5 + 1e-6 * (points[..., 1] > 1)
    edge, _ = frame_voxels(points, confidence)
    assert 0.01 < edge < 0.1


@pytest.mark.parametrize("where", [0.0, 1e15, -3.5])
def test_a_scene_that_is_one_point_is_one_voxel(where):
    points = np.full((3, 2, 2, 3), where, np.float32)
    edge, frames = frame_voxels(points, np.ones((3, 2, 2), np.float32))
    assert edge == 1.0 and [f.size for f in frames] == [1, 1, 1]
    assert select_frames(points, np.ones((3, 2, 2), np.float32), 2) == [0]


def test_broken_points_are_ignored():
    """NaN, infinite and absurd coordinates change nothing, though their confidence is the highest."""
    points, confidence = cloud(4, 20, 30)
    confidence[:, ::5] = 0
    plain = frame_voxels(points, confidence)
    points[:, ::5] = np.array([[np.nan, 0, 0], [0, np.inf, 0], [0, 0, -np.inf], [1e30, 0, 0]], np.float32)[
        :, None, None
    ]
    confidence[:, ::5] = confidence.max()
    threshold = np.sort(confidence.ravel())[confidence.size // 2]
    kept = [c[np.isfinite(p).all(-1) & (c >= threshold)].size for p, c in zip(points, confidence, strict=True)]
    edge, frames = frame_voxels(points, confidence)
    assert 0.9 * plain[0] < edge < 1.1 * plain[0]
    assert all(0 < f.size <= n for f, n in zip(frames, kept, strict=True))


def test_views_mixed_types_and_read_only_arrays():
    points, confidence = cloud(3, 20, 30)
    order = select_frames(points, confidence, 3)
    turned = np.moveaxis(np.ascontiguousarray(np.moveaxis(points, -1, 1)), 1, -1)
    assert select_frames(turned, confidence, 3) == order
    assert select_frames(points, confidence.astype(np.float64), 3) == order
    points.flags.writeable = confidence.flags.writeable = False
    assert select_frames(points, confidence, 3) == order


@pytest.mark.parametrize(
    ("points", "confidence", "k", "text"),
    [
        (np.zeros((2, 3, 4, 3)), np.zeros((2, 3, 4)), -1, "k = -1: expected 0 or more"),
        (np.zeros((2, 3, 4, 3)), np.zeros((2, 3, 5)), 1, r"\(2, 3, 5\): expected \[T, H, W, 3\] and \[T, H, W\]"),
        (np.zeros((3, 4, 3)), np.zeros((3, 4)), 1, "expected"),
        (np.zeros((2, 3, 4, 2)), np.zeros((2, 3, 4)), 1, "expected"),
        (np.zeros((2, 3, 4, 3), int), np.zeros((2, 3, 4)), 1, "points int64 and confidence float64: expected float32"),
    ],
)
def test_bad_arguments_are_named(points, confidence, k, text):
    with pytest.raises(ValueError, match=text):
        select_frames(points, confidence, k)


@settings(deadline=None)
@given(frames_of_keys, st.integers(0, 14))
def test_greedy_equals_counting_everything(frames, k):
    assert greedy_cover(frames, k) == greedy_twin(frames, k)


def test_greedy_takes_the_lowest_index_on_ties():
    frames = [np.array(keys, np.int64) for keys in ([1, 2], [3, 4], [1, 3], [5, 6])]
    assert greedy_cover(frames, 3) == ([0, 1, 3], [2, 2, 2])


def test_greedy_on_a_real_scene(kitchen_voxels):
    frames = kitchen_voxels[::10]
    assert greedy_cover(frames, 16) == greedy_twin([f.tolist() for f in frames], 16)
