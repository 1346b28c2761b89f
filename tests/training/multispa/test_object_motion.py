"""How far points of bodies went: recomputed from where they are, in words and numbers worked out by hand."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from spatial_mllm_ros.frames import Camera, Frame
from spatial_mllm_ros.geometry.cameras import project
from spatial_mllm_ros.geometry.poses import inverse, transform
from spatial_mllm_training.multispa import tracks as tracks_module
from spatial_mllm_training.multispa.covisibility import SceneIndex
from spatial_mllm_training.multispa.item import OBJECT_MOTION, Candidate
from spatial_mllm_training.multispa.scene import Tracks
from spatial_mllm_training.multispa.tasks import object_motion
from spatial_mllm_training.multispa.tracks import shown_points

from ..scenes import body_tracks, moving_scene, room_scene


def proposed(scene, count=50, seed=0):
    return list(object_motion.propose(scene, SceneIndex(scene), np.random.default_rng(seed), count))


def hand_made(places, pixel=(20.0, 15.0), bodies=(0,) * 8):
    """Eight points that go together through ``places`` [T, 3] in the first camera's axes, at hand-picked pixels."""
    scene = room_scene(len(places))
    pose = scene.frames[0].world_from_camera
    local = np.repeat(np.asarray(places, float)[:, None], len(bodies), axis=1)
    points = local @ pose[:3, :3].T + pose[:3, 3]
    pixels = np.broadcast_to(np.asarray(pixel), (*points.shape[:2], 2)).copy()
    known = Tracks(points, np.ones(points.shape[:2], bool), pixels, np.array(bodies))
    frames = [Frame(f.stamp_ns, f.camera, world_from_camera=pose) for f in scene.frames]  # the camera stays
    return replace(scene, frames=frames, tracks=lambda: known, lacks={})


def large_scene(bodies=3, seed=3):
    """Bodies before a camera that walks with 560 x 420 pixels; nothing hides them."""
    camera = Camera("large", "large", 560, 420, np.array([[400.0, 0, 279.5], [0, 400.0, 209.5], [0, 0, 1]]))
    scene = room_scene(16)
    frames = [Frame(f.stamp_ns, camera, world_from_camera=f.world_from_camera) for f in scene.frames]
    points, owner = body_tracks(bodies, 16, points=20, seed=seed, far=0.8)
    points = transform(frames[0].world_from_camera, points)
    seen = [project(camera, transform(inverse(f.world_from_camera), p)) for f, p in zip(frames, points, strict=True)]
    pixels, visible = (np.array(part) for part in zip(*seen, strict=True))
    known = Tracks(points, visible, pixels, owner)
    return replace(scene, frames=frames, tracks=lambda: known, lacks={})


def test_declares_what_it_makes_and_needs():
    assert object_motion.TYPES == OBJECT_MOTION and object_motion.NEEDS == ("pose", "tracks")
    assert not moving_scene().missing(object_motion.NEEDS)


def test_a_move_by_hand():
    """120 mm right, 160 mm down and 480 mm back is 520 mm; run back in time it is the opposite."""
    found = proposed(hand_made([[0, 0, 2], [0.12, 0.16, 1.52]]))
    assert len(found) == 4 and {c.question_type for c in found} == set(OBJECT_MOTION)
    for candidate in found:
        sign = 1 if candidate.frames == (0, 1) else -1
        assert candidate.frames in ((0, 1), (1, 0))
        kind, referring = candidate.question_type.split("_")[1:]
        assert candidate.referring == referring
        if kind == "distance":
            assert (candidate.truth, candidate.output) == (520.0, "scalar")
        else:
            assert (candidate.truth, candidate.output) == ([sign * 120.0, sign * 160.0, sign * -480.0], "vector")
        assert [(p.image, p.u, p.v, p.name) for p in candidate.points] == [(0, 20, 15, ""), (1, 20, 15, "")]
        expected = {"distance": 5, "group": 0, "direction": "backward" if sign > 0 else "forward"}
        assert candidate.bins == expected and candidate.facts == {"still": False}
        assert Candidate.of(candidate.values()) == candidate


def test_bins_of_distance():
    """Steps of 30, 70, 150 and 300 mm, each over more than the one before: every pair has a bin of its own."""
    x = np.cumsum([0, 0.03, 0.07, 0.15, 0.3])
    found = proposed(hand_made(np.column_stack([x, 0 * x, 0 * x + 2])))
    edges = [10, 50, 100, 200, 400, 800, 1600, 3200]
    for c in found:
        moved = 1000 * abs(x[c.frames[1]] - x[c.frames[0]])
        assert c.bins["distance"] == sum(moved >= edge for edge in edges)
        assert c.bins["direction"] == ("right" if x[c.frames[1]] > x[c.frames[0]] else "left")
    assert {c.bins["distance"] for c in found} == {1, 2, 3, 4, 5}
    assert {c.frames[0] < c.frames[1] for c in found} == {True, False}


def test_a_body_at_rest_is_zero_and_rare():
    rest, away = [[0, 0, 2]] * 12, [[0.2 + 0.1 * i, 0, 2] for i in range(12)]
    found = proposed(hand_made(rest + away), count=40)
    still = [c for c in found if c.facts["still"]]
    assert Counter(c.question_type for c in found) == dict.fromkeys(OBJECT_MOTION, 40)
    assert Counter(c.question_type for c in still) == dict.fromkeys(OBJECT_MOTION, 2)
    for c in still:
        assert c.truth in (0.0, [0.0, 0.0, 0.0]) and max(c.frames) < 12
        assert c.bins["distance"] == 0 and c.bins["direction"] == "none"


def test_just_below_and_above_a_centimetre():
    assert proposed(hand_made([[0, 0, 2], [0.00999, 0, 2]])) == []
    found = proposed(hand_made([[0, 0, 2], [0.01001, 0, 2]]))
    assert {c.truth for c in found if c.output == "scalar"} == {10.0}


def test_whole_pixels_must_stand_for_the_point():
    """0.3 pixels off in u and 0.4 in v in both images is 50 mm at 2 m with a focal length of 40: a tenth of 0.5 m."""
    near, off = [[0, 0, 2], [0.49, 0, 2]], (20.3, 15.4)
    assert proposed(hand_made(near, off)) == []
    assert len(proposed(hand_made([[0, 0, 2], [0.51, 0, 2]], off))) == 4
    assert len(proposed(hand_made(near))) == 4


def test_points_at_the_border_stay_in_the_image():
    """56 columns: 55.4 is shown by the last one, 55.6 by none."""
    places = [[0, 0, 2], [1.0, 0, 2]]
    assert {c.points[0].u for c in proposed(hand_made(places, (55.4, 10)))} == {55}
    assert proposed(hand_made(places, (55.6, 10))) == []
    assert proposed(hand_made(places, (-0.6, 10))) == []


def test_every_truth_is_where_its_point_went():
    """Of bodies that turn while they go: the track at the pixels is found again, and its way measured anew."""
    scene = large_scene(4)
    tracks, found = scene.tracks(), proposed(scene, 30)
    assert len(found) > 60
    for c in found:
        i, j = c.frames
        first, second = (np.array([p.u, p.v]) for p in c.points)
        off = np.linalg.norm(tracks.pixels[i] - first, axis=1) + np.linalg.norm(tracks.pixels[j] - second, axis=1)
        ways = []
        for p in np.flatnonzero((off < 1.5) & (tracks.bodies == c.bins["group"])):
            rows = scene.frames[i].world_from_camera[:3, :3]
            ways.append([1000 * (tracks.points[j, p] - tracks.points[i, p]) @ rows[:, axis] for axis in range(3)])
        if c.output == "vector":
            assert min(np.abs(np.array(ways) - c.truth).max(axis=1)) <= 0.5 + 1e-6
        else:
            assert min(np.abs(np.linalg.norm(ways, axis=1) - c.truth)) <= 0.5 + 1e-6


def test_bodies_get_even_shares_and_the_same_seed_the_same_questions():
    scene = large_scene()
    found = proposed(scene, 24)
    shares = Counter(c.bins["group"] for c in found if c.question_type == "object_vector_dot")
    assert set(shares) == {0, 1, 2} and sum(shares.values()) == 24 and min(shares.values()) >= 4
    assert found == proposed(scene, 24) != proposed(scene, 24, seed=1)


def test_unknown_bodies_are_found():
    scene = large_scene()
    known = scene.tracks()
    blind = replace(scene, tracks=lambda: replace(known, bodies=None))
    assert {c.bins["group"] for c in proposed(blind)} == {0, 1, 2}


def test_nothing_moves_or_nothing_is_seen():
    assert proposed(room_scene(4)) == []
    assert proposed(hand_made([[0, 0, 2], [1, 0, 2]], bodies=(-1,) * 8)) == []
    scene = hand_made([[0, 0, 2], [1, 0, 2]])
    known = scene.tracks()
    hidden = Tracks(known.points, np.zeros_like(known.visible), known.pixels, known.bodies)
    assert proposed(replace(scene, tracks=lambda: hidden)) == []
    once = np.array([[True] * 8, [False] * 8])
    assert proposed(replace(scene, tracks=lambda: replace(known, visible=once))) == []


def test_the_point_nearest_to_whole_pixels_is_taken():
    pixels = np.array([[[10.4, 5.0], [20.1, 6.0], [30.0, 7.0]], [[11.0, 5.0], [21.0, 6.2], [31.0, 7.5]]])
    tracks = Tracks(np.zeros((2, 3, 3)), np.ones((2, 3), bool), pixels)
    shown = shown_points(tracks, np.array([0, 1, 2]), np.random.default_rng(0))
    assert shown.point.tolist() == [1]
    order = shown.frames[0].tolist()
    assert sorted(order) == [0, 1]
    assert shown.pixels[0][np.argsort(order)].tolist() == [[20, 6], [21, 6]]
    assert shown.rounding[0][np.argsort(order)] == pytest.approx([0.1, 0.2])


def test_pairs_and_points_of_long_recordings_are_drawn(monkeypatch):
    scene = moving_scene(1, count=40, points=30)
    tracks = scene.tracks()
    seen = replace(tracks, visible=np.isfinite(tracks.pixels).all(axis=2))
    members = np.flatnonzero(tracks.bodies == 0)
    monkeypatch.setattr(tracks_module, "MAX_PAIRS", 50)
    monkeypatch.setattr(tracks_module, "MAX_POINTS", 5)
    shown = shown_points(seen, members, np.random.default_rng(0))
    assert 30 <= len(shown.point) <= 50 and len(set(shown.point.tolist())) <= 5
    assert len({frozenset(pair) for pair in shown.frames.tolist()}) == len(shown.frames)
    assert (shown.frames[:, 0] != shown.frames[:, 1]).all()
