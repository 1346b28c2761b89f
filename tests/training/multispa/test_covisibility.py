"""Visible points and overlap of exact rooms, against plain sets, a wall worked out by hand, and broken frames."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from spatial_mllm_ros.errors import BadMessage
from spatial_mllm_ros.frames import Camera, Frame, Pixels
from spatial_mllm_training.multispa import covisibility
from spatial_mllm_training.multispa.covisibility import SceneIndex
from spatial_mllm_training.multispa.overlap import overlap_of
from spatial_mllm_training.multispa.scene import Scene, Thing

from ...geometry.room import CAMERAS, HEIGHT, WIDTH, K, depth_of, frames_of, look, walk
from ..scenes import room_scene

IMAGE = np.zeros((HEIGHT, WIDTH, 3), np.uint8)


def scene_of(frames):
    return Scene("some", "test", frames, key="some")


def packed(sets):
    padded = np.pad(sets, ((0, 0), (0, -sets.shape[1] % 64)))
    return np.packbits(padded, axis=1, bitorder="little").view(np.uint64)


def set_overlap(sets):
    """The plain version: Python sets, pair by pair."""
    out = np.zeros((len(sets), len(sets)), np.float32)
    for a, first in enumerate(sets):
        for b, second in enumerate(sets):
            either = len(first | second)
            out[a, b] = len(first & second) / either if either else 0
    return out


def seen_by_definition(frames):
    """Sets of points that frames see, one pixel and one point at a time; no more than 160 columns."""
    points = {}
    for frame in frames:
        pose = frame.world_from_camera
        for v in range(HEIGHT):
            for u in range(WIDTH):
                z = float(frame.depth[v, u])
                ray = np.array([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], 1.0])
                world = pose[:3, :3] @ (z * ray) + pose[:3, 3]
                points.setdefault(tuple(math.floor(x / 0.05) for x in world), world)
    sets = []
    for frame in frames:
        pose, seen = frame.world_from_camera, set()
        for name, world in points.items():
            x, y, z = pose[:3, :3].T @ (world - pose[:3, 3])
            if z > 0:
                u, v = round(K[0, 0] * x / z + K[0, 2]), round(K[1, 1] * y / z + K[1, 2])
                if 0 <= u < WIDTH and 0 <= v < HEIGHT:
                    there = float(frame.depth[v, u])
                    if abs(z - there) <= max(0.02, 0.03 * there):
                        seen.add(name)
        sets.append(seen)
    return points, sets


def test_overlap_is_that_of_the_definition():
    scene = room_scene(6)
    scene = scene_of([*scene.frames[::2], *frames_of(walk(60)[30:50:10], depth=True, first=9)])
    index = SceneIndex(scene)
    points, sets = seen_by_definition(scene.frames)
    assert len(index.points) == len(points)
    bits = np.unpackbits(index.seen.view(np.uint8), axis=1, bitorder="little")
    assert abs(bits.sum(axis=1).astype(int) - [len(seen) for seen in sets]).max() <= 2  # rounding of float32 rays
    assert np.abs(index.overlap - set_overlap(sets)).max() < 2e-3
    assert index.overlap.min() < 0.2 < 0.6 < np.sort(index.overlap, axis=None)[-len(sets) - 1]


@settings(max_examples=50)
@given(arrays(bool, st.tuples(st.integers(1, 12), st.integers(0, 200))))
def test_bits_give_the_same_matrix_as_sets(member):
    sets = [set(np.flatnonzero(row).tolist()) for row in member]
    assert (overlap_of(packed(member)) == set_overlap(sets)).all()


@settings(max_examples=10)
@given(st.floats(0.0, 1.5), st.floats(1.0, 4.0))
def test_a_wall_seen_from_two_places_beside_each_other(step, away):
    """Across a wall 400 columns at f = 300 see w = away * 4/3 metres; moved by s, the overlap is (w - s) / (w + s)."""
    camera = Camera("wide", "wide", 400, 30, np.array([[300.0, 0, 199.5], [0, 300, 14.5], [0, 0, 1]]))
    poses = [np.eye(4), np.eye(4)]
    poses[1][0, 3] = step
    frames = [
        Frame(i, camera, image=np.zeros((30, 400, 3), np.uint8), depth=np.full((30, 400), away, np.float32),
              world_from_camera=pose)
        for i, pose in enumerate(poses)
    ]  # fmt: skip
    wide = away * 400 / 300
    expected = max(wide - step, 0) / (wide + step)
    assert SceneIndex(scene_of(frames)).overlap[0, 1] == pytest.approx(expected, abs=0.1 / wide)


def test_pairs_are_those_from_6_to_35_percent():
    index = SceneIndex(room_scene(100))
    pairs, percent = index.pairs()
    expected = [
        (i, j, int(100 * index.overlap[i, j]))
        for i in range(100)
        for j in range(i + 1, 100)
        if 0.06 <= index.overlap[i, j] < 0.35
    ]
    assert [(*pair, p) for pair, p in zip(pairs.tolist(), percent.tolist())] == expected
    assert set(percent.tolist()) == set(range(6, 35))


def broken():
    raise BadMessage("png: ends early")


def test_frames_that_cannot_be_used_are_left_out_and_counted():
    poses = walk(9)
    depth = depth_of(poses[0]).astype(np.float32)
    bent = poses[0].copy()
    bent[0, 0] += 0.5
    missing = Pixels(HEIGHT, WIDTH, 0, broken)

    def frame(i, **other):
        known = {"image": IMAGE, "depth": depth_of(poses[i]).astype(np.float32), "world_from_camera": poses[i]}
        return Frame(i, CAMERAS["front"], **known | other)

    frames = [
        frame(0),
        frame(1, image=None),
        frame(2, depth=None),
        frame(3, world_from_camera=None),
        frame(4, world_from_camera=bent),
        frame(5, image=missing),
        frame(6, depth=missing),
        frame(7, depth=depth[::2, ::2].copy()),
        frame(8),
    ]
    index = SceneIndex(scene_of(frames))
    assert list(index.readable) == [0, 3, 4, 8]
    assert index.numbers.tolist() == [0, 8]
    assert index.overlap.shape == (2, 2)
    assert index.left_out == {
        "no image": 1,
        "no depth": 1,
        "no pose": 1,
        "a pose that is not rigid": 1,
        "broken pixels": 2,
        "image, depth and camera of different sizes": 1,
    }


@pytest.mark.parametrize("frames", [[], frames_of(walk(3)), frames_of(walk(3), depth=True, known=False)])
def test_scenes_without_any_usable_frame(frames):
    index = SceneIndex(scene_of(frames))
    assert index.overlap.shape == (0, 0)
    assert index.pairs()[0].shape == (0, 2)


def test_long_scenes_are_thinned_and_little_depth_is_kept(monkeypatch):
    monkeypatch.setattr(covisibility, "MOST_FRAMES", 5)
    monkeypatch.setattr(covisibility, "CACHE_BYTES", 3 * 4 * HEIGHT * WIDTH)
    scene = room_scene(21)
    index = SceneIndex(scene)
    assert index.numbers.tolist() == [0, 5, 10, 15, 20]
    for i in [*index.numbers.tolist(), 0]:
        assert (index.depth(i) == depth_of(scene.frames[i].world_from_camera).astype(np.float32)).all()
        assert len(index._depths) <= 3


def test_points_are_seen_where_they_are_and_not_behind_things():
    pose = look(0, 0, 1.4, 0.0, 0.0)
    index = SceneIndex(scene_of(frames_of([pose], depth=True)))
    depth = depth_of(pose)
    v, u = 20, 30
    ray = np.array([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], 1.0])
    scales = depth[v, u] * np.array([1.0, 1.029, 1.04, 0.971, 0.96, -1.0])
    points = (scales[:, None] * ray) @ pose[:3, :3].T + pose[:3, 3]
    pixels, visible = index.visible_in(0, points)
    assert visible.tolist() == [True, True, False, True, False, False]
    assert np.abs(pixels[:5] - [u, v]).max() < 1e-9
    assert np.isnan(pixels[5]).all()


def test_no_reading_is_not_seen():
    pose = look(0, 0, 1.4, 0.0, 0.0)
    depth = depth_of(pose).astype(np.float32)
    index = SceneIndex(scene_of(frames_of([pose], depth=True)))
    point = index.world(0, np.array([[30, 20]]))
    assert index.visible_in(0, point)[1].all()
    for hole in (0, np.nan, 65.5):
        depth[20, 30] = hole
        other = SceneIndex(scene_of([Frame(0, CAMERAS["front"], image=IMAGE, depth=depth, world_from_camera=pose)]))
        assert not other.visible_in(0, point)[1].any()
        assert not other.sure(0, np.array([[30, 20], [31, 21], [32, 22]])).any()


@pytest.mark.parametrize("seed", range(3))
def test_samples_lie_on_one_surface(seed):
    """On the exact planes of the room, second differences of inverse depth are zero but at edges."""
    index = SceneIndex(room_scene(12))
    pixels = index.samples(4, 100, np.random.default_rng(seed))
    assert 50 < len(pixels) <= 100
    inverse = 1 / depth_of(index.pose(4))
    for u, v in pixels:
        square = inverse[v - 2 : v + 3, u - 2 : u + 3]
        assert square.shape == (5, 5)
        assert np.abs(square + square[::-1, ::-1] - 2 * square[2, 2]).max() <= 0.03 * square[2, 2]
    assert (index.samples(4, 100, np.random.default_rng(seed)) == pixels).all()


def test_points_that_two_frames_share():
    scene = room_scene(100)
    index = SceneIndex(scene)
    found = 0
    for i, j in index.pairs()[0][::200].tolist():
        here, there = index.co_visible(i, j, 10, np.random.default_rng(i))
        found += len(here)
        for (u, v), (a, b) in zip(here, there):
            first, second = (scene.frames[k].world_from_camera for k in (i, j))
            ray = np.array([(u - 27.5) / 40, (v - 20.5) / 40, 1])
            world = first[:3, :3] @ (depth_of(first)[v, u] * ray) + first[:3, 3]
            x, y, z = second[:3, :3].T @ (world - second[:3, 3])
            assert abs(40 * x / z + 27.5 - a) <= 0.5001 and abs(40 * y / z + 20.5 - b) <= 0.5001
            assert abs(z - depth_of(second)[b, a]) <= max(0.02, 0.0301 * z)
    assert found > 20


def test_what_moves_is_not_shared():
    scene = room_scene(100)
    thing = Thing("cat_1", "cat", np.ones(3), np.eye(4), moving=True)
    owner = np.full((HEIGHT, WIDTH), -1, np.int32)
    owner[:, : WIDTH // 2] = 0
    index = SceneIndex(Scene("cat", "test", scene.frames, "cat", (thing,), instance_map=lambda i: owner))
    plain = SceneIndex(scene)
    (i, j), rng = plain.pairs()[0][5].tolist(), np.random.default_rng
    assert (plain.co_visible(i, j, 50, rng(0))[0][:, 0] < WIDTH // 2).any() or (
        plain.co_visible(i, j, 50, rng(0))[1][:, 0] < WIDTH // 2
    ).any()
    for pixels in index.co_visible(i, j, 50, rng(0)):
        assert (pixels[:, 0] >= WIDTH // 2).all()


def test_a_map_far_from_its_origin():
    """Poses in metres of a country's grid: the same overlap, of voxels that lie a little differently."""
    near = room_scene(6)
    frames = []
    for frame in near.frames:
        pose = frame.world_from_camera.copy()
        pose[:3, 3] += [4.5e6, 5.3e6, 200]
        frames.append(Frame(frame.stamp_ns, frame.camera, image=IMAGE, depth=frame.depth, world_from_camera=pose))
    assert np.abs(SceneIndex(scene_of(frames)).overlap - SceneIndex(near).overlap).max() < 0.01


@pytest.mark.parametrize(
    "model, coefficients", [("plumb_bob", [-0.3, 0.1, 1e-3, -1e-3, 0]), ("equidistant", [0.02, -0.01, 0, 0])]
)
def test_lenses(model, coefficients):
    """A frame sees what it sees where it sees it, and nothing of what lies beyond its field of view."""
    camera = Camera("lens", "lens", WIDTH, HEIGHT, K, model, np.array(coefficients, float))
    pose = look(0.3, 0.2, 1.4, 0.7, 0.1)
    depth = depth_of(pose).astype(np.float32)
    index = SceneIndex(scene_of([Frame(0, camera, image=IMAGE, depth=depth, world_from_camera=pose)]))
    pixels = np.stack(np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT)), axis=-1).reshape(-1, 2)
    places, visible = index.visible_in(0, index.world(0, pixels))
    assert visible.all() and np.abs(places - pixels).max() < 0.01
    aside = pose[:3, 3] + np.array([[x, y, 1.0] for x in (-4, 4) for y in (-4, 4)]) @ pose[:3, :3].T
    places, visible = index.visible_in(0, aside)
    assert np.isnan(places).all() and not visible.any()
