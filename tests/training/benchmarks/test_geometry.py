"""The geometry baseline against closed forms and plain loops in an exact room."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from spatial_mllm_training.multispa.scene import Scene, Thing

from ...geometry.room import HEIGHT, WIDTH, K, depth_of, frames_of, look, walk
from ..scenes import UP, moving_scene, room_scene
from .asked import answered


def pair_scene(first, second):
    """Two frames of the room by their poses."""
    frames = frames_of([first, second], depth=True)
    return Scene("pair", "test", frames, key="pair", world_up=UP)


def test_depth_is_that_of_the_room():
    scene = room_scene(3)
    exact = depth_of(walk(3)[2])
    for kind in ("depth_estimation_dot", "depth_estimation_coordinate"):
        assert answered(scene, kind, [2], [(0, 11, 30)]) == f"{1000 * exact[30, 11]:.0f} mm"
    near, far = np.unravel_index([exact.argmin(), exact.argmax()], exact.shape)[::-1]
    pixels = [(0, *map(int, place)) for place in zip(near, far)]
    by_depth = sorted(pixels, key=lambda pixel: exact[pixel[2], pixel[1]])
    assert answered(scene, "depth_comparison_dot", [2], by_depth) == "A"
    assert answered(scene, "depth_comparison_coordinate", [2], by_depth[::-1]) == "B"


@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, -1, -1), (1, -1, -1), (-1, 1, 1)])
def test_the_camera_moves_and_turns_in_the_first_one_s_axes(signs):
    """The second camera is put 300, 100, 500 mm to the side, down and forward, and turned by 20 and 10 degrees."""
    a, b, c = signs
    second_in_first = np.eye(4)
    second_in_first[:3, :3] = Rotation.from_euler("YX", [20 * a, 10 * b], degrees=True).as_matrix()
    second_in_first[:3, 3] = 0.3 * a, 0.1 * b, 0.5 * c
    first = look(-0.2, 0.3, 1.3, 0.7)
    scene = pair_scene(first, first @ second_in_first)
    side, up_or_down, ahead = (
        "right" if a > 0 else "left",
        "down" if b > 0 else "up",
        "forward" if c > 0 else "backward",
    )
    wanted = {
        "camera_left_right": side,
        "camera_up_down": up_or_down,
        "camera_forward_back": ahead,
        "camera_yaw_direction": side,
        "camera_pitch_direction": "up" if b > 0 else "down",
        "camera_yaw_degrees": "20 degrees",
        "camera_pitch_degrees": "10 degrees",
        "camera_distance": "592 mm",
        "camera_vector": f"[{300 * a}, {100 * b}, {500 * c}]",
    }
    for kind, answer in wanted.items():
        assert answered(scene, kind, [0, 1]) == answer, kind


def seen_from(first, second, u, v):
    """(u, v) in the second of a pixel of the first, None where the second does not show it: one ray, step by step."""
    depth = depth_of(first)[v, u]
    world = first @ np.array([(u - K[0, 2]) / K[0, 0] * depth, (v - K[1, 2]) / K[1, 1] * depth, depth, 1])
    x, y, z, _ = np.linalg.inv(second) @ world
    if z <= 0:
        return None
    place = K[0, 0] * x / z + K[0, 2], K[1, 1] * y / z + K[1, 2]
    column, row = round(place[0]), round(place[1])
    if not (0 <= column < WIDTH and 0 <= row < HEIGHT):
        return None
    there = depth_of(second)[row, column]
    return place if abs(there - z) <= max(0.02, 0.03 * there) else None


def test_points_are_found_again_or_refused():
    poses = walk(100)
    first, second = poses[3], poses[21]
    scene = pair_scene(first, second)
    found = Counter()
    for v in range(1, HEIGHT, 5):
        for u in range(1, WIDTH, 5):
            place = seen_from(first, second, u, v)
            found[place is not None] += 1
            answer = answered(scene, "correspondence_coordinate", [0, 1], [(0, u, v)])
            unanswerable = answered(scene, "not_observed", [0, 1], [(0, u, v)], asks="correspondence_coordinate")
            assert unanswerable == answer
            if place is None:
                assert answer == "not observed"
            else:
                assert json.loads(answer) == [1000 * round(place[0]) // WIDTH, 1000 * round(place[1]) // HEIGHT]
    assert min(found.values()) > 10, "both kinds occur"


def test_the_choice_nearest_to_the_point_is_named():
    poses = walk(100)
    first, second = poses[3], poses[8]
    scene = pair_scene(first, second)
    u, v = next((u, v) for v in range(10, 30) for u in range(10, 50) if seen_from(first, second, u, v))
    right = [round(part) for part in seen_from(first, second, u, v)]
    for position, letter in enumerate("ABCD"):
        choices = [(1, (right[0] + 9 * n) % WIDTH, right[1]) for n in (1, 2, 3)]
        choices.insert(position, (1, *right))
        assert answered(scene, "correspondence_choice", [0, 1], [(0, u, v), *choices]) == letter


def test_followed_points_give_motion():
    scene = moving_scene(bodies=20, count=12, points=1, still=0)
    tracks = scene.tracks()
    ends = np.flatnonzero((tracks.bodies >= 0) & tracks.visible[0] & tracks.visible[3])
    checked = 0
    for point in ends.tolist():
        u, v = np.rint(tracks.pixels[0, point]).astype(int).tolist()
        near = np.linalg.norm(tracks.pixels[0] - [u, v], axis=1)
        if np.sort(near)[1] < 1.5:
            continue  # two points share the pixel
        checked += 1
        way = tracks.points[3, point] - tracks.points[0, point]
        right, down, forward = 1000 * np.linalg.inv(scene.frames[0].world_from_camera)[:3, :3] @ way
        asked = ([0, 3], [(0, u, v)])
        vector = json.loads(answered(scene, "object_vector_coordinate", *asked))
        assert np.allclose(vector, [right, down, forward], atol=0.5001)
        assert answered(scene, "object_distance_dot", *asked) == f"{1000 * np.linalg.norm(way):.0f} mm"
    assert checked > 5


def test_less_than_ten_millimetres_is_rest():
    scene = moving_scene(bodies=1, count=4)
    tracks = scene.tracks()
    for way, answer in ((0.0095, "0 mm"), (0.0105, "10 mm")):
        points = np.repeat(tracks.points[:1], 4, axis=0)
        points[3] += [0, way, 0]
        moved = replace(tracks, points=points, visible=tracks.visible | True, pixels=tracks.pixels[[0, 0, 0, 0]])
        u, v = np.rint(tracks.pixels[0, 0]).astype(int).tolist()
        still = replace(scene, tracks=lambda moved=moved: moved)
        assert answered(still, "object_distance_dot", [0, 3], [(0, u, v)]) == answer


def test_a_followed_point_that_is_hidden_later_is_refused():
    scene = moving_scene(bodies=1, count=6)
    tracks = scene.tracks()
    point = int(np.flatnonzero(tracks.visible[0] & tracks.visible[5])[-1])
    u, v = np.rint(tracks.pixels[0, point]).astype(int).tolist()
    asked = ("object_distance_dot", [0, 5], [(0, u, v)])
    assert answered(scene, *asked) != "not observed"
    visible = tracks.visible.copy()
    visible[5] = False
    hidden = replace(scene, tracks=lambda: replace(tracks, visible=visible))
    assert answered(hidden, *asked) == "not observed"


def furnished(instances=None):
    """The room with boxes known: one of those in it, lying on its side, and one that is nowhere."""
    poses = [look(0.0, 0.6, 1.5, yaw, 0.4) for yaw in (-np.pi / 2, np.pi / 2)]
    size = np.array([1.9, 1.0, 0.45])  # of the box that stands at the wall, 1 x 0.45 x 1.9 m
    lying = np.eye(4)
    lying[:3, :3] = np.array([[0.0, 1, 0], [0, 0, 1], [1, 0, 0]])
    lying[:3, 3] = np.array([0.1, -2.225, 0.95]) + 0.037
    above = np.eye(4)
    above[:3, 3] = 0, 0, 9
    things = [Thing("shelf_0", "shelf", size + 0.01, lying), Thing("lamp_0", "lamp", np.ones(3), above)]
    frames = frames_of(poses, depth=True)
    return Scene("furnished", "test", frames, key="f", things=things, instance_map=instances, world_up=UP)


def test_sides_of_a_thing_by_its_label():
    scene = furnished()
    sides = {"object_height": 1910, "object_length": 1010, "object_width": 460}
    for kind, side in sides.items():
        assert answered(scene, kind, [0], label="shelf") == f"{side} mm"
        assert answered(scene, kind, [1], label="shelf") == "not observed", "behind the camera"
        assert answered(scene, kind, [1, 0], label="shelf") == f"{side} mm"
        assert answered(scene, "not_observed", [0, 1], label="lamp", asks=kind) == "not observed"
        assert answered(scene, "not_observed", [0, 1], label="zebra", asks=kind) == "not observed"


def test_what_is_seen_is_told_by_instances_where_they_are_known():
    maps = np.full((2, HEIGHT, WIDTH), -1, np.int32)
    maps[1, 5, 7] = 0
    scene = furnished(maps.__getitem__)
    assert answered(scene, "object_height", [0], label="shelf") == "not observed"
    assert answered(scene, "object_height", [1], label="shelf") == "1910 mm"
