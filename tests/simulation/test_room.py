"""What is in a room: nothing meets, pushes go where they say, the camera walks smoothly, bad arguments are named."""

import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from spatial_mllm_ros.simulation import make_room
from spatial_mllm_ros.simulation.camera_path import eased
from spatial_mllm_ros.simulation.pushes import Push

SEEDS = range(100, 120)
SECOND = 1_000_000_000


@pytest.fixture(scope="module")
def rooms():
    return [make_room(seed, size=(64, 48), fps=5, duration=8) for seed in SEEDS]


def box_around(thing, stamp):
    """World-aligned bounding box from the eight corners of the thing's own box."""
    corners = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)]) * thing.size
    pose = thing.world_from_object(stamp)
    world = corners @ pose[:3, :3].T + pose[:3, 3]
    return world.min(axis=0), world.max(axis=0)


def test_no_two_things_meet_at_any_time(rooms):
    for room in rooms:
        for stamp in room.stamps[::4]:
            boxes = [box_around(thing, int(stamp)) for thing in room.objects]
            for i, (low, high) in enumerate(boxes):
                for j in range(i):
                    other_low, other_high = boxes[j]
                    overlap = np.minimum(high, other_high) - np.maximum(low, other_low)
                    assert overlap.min() <= 1e-9, (room.seed, room.objects[i].name, room.objects[j].name, overlap)


def test_everything_is_inside_the_room_and_stands_on_something(rooms):
    for room in rooms:
        width, depth, height = room.layout.size
        boxes = [box_around(thing, int(room.stamps[0])) for thing in room.objects]
        for thing, (low, high) in zip(room.objects, boxes, strict=True):
            assert (low >= [-width / 2, -depth / 2, 0]).all() and (high <= [width / 2, depth / 2, height]).all()
            on_wall = thing.label in ("window", "picture", "shelf")
            tops = [
                h[2]
                for lo, h in boxes
                if (lo[:2] < high[:2]).all() and (low[:2] < h[:2]).all() and h[2] <= low[2] + 1e-9
            ]
            assert on_wall or low[2] - max([0.0, *tops]) < 0.003, (room.seed, thing.name)


def test_rooms_differ_and_have_names(rooms):
    labels = {thing.label for room in rooms for thing in room.objects}
    assert {
        "table",
        "chair",
        "sofa",
        "bookshelf",
        "cupboard",
        "bed",
        "lamp",
        "plant",
        "rug",
        "door",
        "window",
    } <= labels
    assert {"mug", "box", "ball", "book", "bottle", "toy car"} <= labels
    for room in rooms:
        assert len({thing.name for thing in room.objects}) == len(room.objects) >= 15
    assert len({tuple(thing.name for thing in room.objects) for room in rooms}) == len(rooms)


def test_pushes_go_the_distance_they_say_and_all_else_rests(rooms):
    spinning = 0
    for room in rooms:
        first, last = int(room.stamps[0]), int(room.stamps[-1]) + SECOND
        assert 1 <= len(room.pushes) <= 3
        for thing in room.objects:
            before, after = thing.world_from_object(first), thing.world_from_object(last)
            moved = np.linalg.norm(after[:3, 3] - before[:3, 3])
            if thing.push is None:
                assert not thing.moving and (before == after).all()
                continue
            push = thing.push
            assert first < push.start_ns < push.end_ns < last
            assert 0.05 <= push.length <= 0.5
            chord = push.length if push.bend == 0 else 2 * push.length / push.bend * np.sin(push.bend / 2)
            assert moved == pytest.approx(abs(chord), abs=1e-12)
            assert (thing.world_from_object(push.start_ns) == before).all()
            assert (thing.world_from_object(push.end_ns) == after).all()
            assert before[2, 3] == after[2, 3]
            spinning += push.spin != 0
    assert spinning >= len(rooms) // 3


def test_some_push_is_watched(rooms):
    """The centre of at least one pushed thing is inside the image for more than half of its way."""
    for room in rooms:
        camera = room.cameras[0]
        best = 0.0
        for push in room.pushes:
            inside = []
            for stamp in np.linspace(push.start_ns, push.end_ns, 21).astype(np.int64):
                world_from_camera = room.camera_path.world_from_base(int(stamp)) @ room.base_from_camera[camera.name]
                x, y, z = np.linalg.solve(world_from_camera, push.pose(int(stamp))[:, 3])[:3]
                u, v = camera.intrinsics[:2, :2] @ [x / z, y / z] + camera.intrinsics[:2, 2]
                inside.append(z > 0 and 0 < u < camera.width and 0 < v < camera.height)
            best = max(best, float(np.mean(inside)))
        assert best > 0.5, room.seed


@given(st.floats(0, 6.28), st.floats(0.05, 0.5), st.floats(-1.5, 1.5), st.floats(-1.5, 1.5), st.floats(-1, 2))
def test_a_push_is_smooth_and_as_long_as_its_track(heading, length, bend, spin, when):
    push = Push(0, 10 * SECOND, 12 * SECOND, np.eye(4), heading, length, bend, spin)
    stamps = np.linspace(push.start_ns, push.end_ns, 401).astype(np.int64)
    places = np.array([push.pose(int(s))[:3, 3] for s in stamps])
    steps = np.linalg.norm(np.diff(places, axis=0), axis=1)
    assert steps.sum() == pytest.approx(length, rel=1e-4)
    assert steps.max() * 200 == pytest.approx(1.875 * length / 2, rel=0.01)  # peak speed of minimum jerk
    assert steps[0] * 200 < 0.01 * length and steps[-1] * 200 < 0.01 * length
    turned = Rotation.from_matrix(push.at(1.0)[:3, :3]).as_rotvec()
    assert turned == pytest.approx([0, 0, spin], abs=1e-9)
    outside = push.pose(round((11 + 10 * (1 if when > 0 else -1)) * SECOND))
    assert (outside == push.at(1.0 if when > 0 else 0.0)).all()


def test_camera_walks_smoothly_and_clear_of_furniture(rooms):
    rate = 200
    for room in rooms:
        stamps = room.stamps[0] + np.arange(0, int(8 * rate)) * (SECOND // rate)
        poses = np.array([room.camera_path.world_from_base(int(s)) for s in stamps])
        velocity = np.diff(poses[:, :3, 3], axis=0) * rate
        turn = Rotation.from_matrix(poses[:-1, :3, :3]).inv() * Rotation.from_matrix(poses[1:, :3, :3])
        turning = turn.as_rotvec() * rate
        assert np.linalg.norm(velocity, axis=1).max() <= 0.5
        assert np.degrees(np.linalg.norm(turning, axis=1)).max() <= 60
        assert np.linalg.norm(np.diff(velocity, axis=0), axis=1).max() * rate <= 2.5  # m/s^2: no jumps
        assert np.linalg.norm(np.diff(turning, axis=0), axis=1).max() * rate <= 6  # rad/s^2
        assert np.linalg.norm(velocity[[0, -1]], axis=1).max() < 0.01
        assert poses[:, 2, 3].min() >= 1.2 and poses[:, 2, 3].max() <= 1.7
        for thing in room.objects:
            low, high = box_around(thing, int(stamps[0]))
            away = np.maximum(np.maximum(low - poses[:, :3, 3], poses[:, :3, 3] - high), 0)
            assert np.linalg.norm(away, axis=1).min() > 0.2, (room.seed, thing.name)


@pytest.mark.parametrize("duration", [0.3, 2.0, 10.0, 60.0])
def test_easing_starts_and_stops_softly(duration):
    t = np.linspace(0, duration, round(2000 * max(1, duration / 3)) + 1)
    s = np.array([eased(x, duration) for x in t])
    speed = np.diff(s) / np.diff(t)
    assert s[0] == 0 and speed.min() >= -1e-9 and speed.max() <= 1 + 1e-9
    assert speed[0] < 0.01 and speed[-1] < 0.01
    assert np.abs(np.diff(speed)).max() < 0.01


def test_cameras_are_fixed_to_the_base():
    room = make_room(5, size=(64, 48), fps=5, duration=2, cameras=4)
    assert [c.name for c in room.cameras] == ["front", "left", "right", "rear"]
    assert room.cameras[1].frame_id == "left_color_optical_frame"
    for camera in room.cameras:
        mount = room.base_from_camera[camera.name]
        for index in (0, 4, 9):
            base = room.camera_path.world_from_base(int(room.stamps[index]))
            assert room.world_from_camera(index, camera.name) == pytest.approx(base @ mount)
    forward = {c.name: room.base_from_camera[c.name][:3, 2] for c in room.cameras}
    assert forward["front"] @ forward["rear"] < 0 and forward["left"][1] > 0.9 and forward["right"][1] < -0.9


def test_stamps_increase_at_the_rate():
    room = make_room(1, size=(64, 48), fps=30, duration=2)
    assert len(room) == 60 and (np.diff(room.stamps) > 0).all()
    assert room.stamps[0] == 1_700_000_000 * SECOND and room.stamps[30] - room.stamps[0] == SECOND


@pytest.mark.parametrize(
    ("argument", "text"),
    [
        ({"seed": "one"}, "seed = 'one': expected a whole number from 0"),
        ({"seed": -1}, "seed = -1"),
        ({"seed": True}, "seed = True"),
        ({"size": 640}, "size = 640: expected (width, height)"),
        ({"size": (640, 2)}, "size = 2: expected a whole number from 16 to 4096"),
        ({"size": (640.5, 480)}, "size = 640.5"),
        ({"fps": 0}, "fps = 0: expected a number from 0.1 to 240"),
        ({"fps": float("nan")}, "fps = nan"),
        ({"duration": -1}, "duration = -1"),
        ({"duration": 0.02}, "expected at least two frames"),
        ({"cameras": 5}, "cameras = 5: expected a whole number from 1 to 4"),
        ({"pushes": 6}, "pushes = 6: expected a whole number from 0 to 5"),
        ({"noise": -0.1}, "noise = -0.1"),
    ],
)
def test_bad_arguments_are_named(argument, text):
    with pytest.raises(ValueError) as caught:
        make_room(**argument)
    assert text in str(caught.value)


def test_unknown_camera_and_frame_are_named():
    room = make_room(1, size=(64, 48), fps=5, duration=1)
    with pytest.raises(KeyError, match="known are camera"):
        room.render(0, "left")
    with pytest.raises(IndexError, match="the room has 5"):
        room.render(5)


def test_no_pushes():
    room = make_room(1, size=(64, 48), fps=5, duration=1, pushes=0)
    assert room.pushes == [] and not any(thing.moving for thing in room.objects)


def test_many_pushes_follow_one_another():
    for seed in range(6):
        room = make_room(seed, size=(64, 48), fps=5, duration=10, pushes=5)
        pushes = room.pushes
        assert len(pushes) == 5 and len({p.object for p in pushes}) == 5
        assert all(a.end_ns <= b.start_ns for a, b in pairwise(pushes))
        assert pushes[0].start_ns > room.stamps[0] and pushes[-1].end_ns <= room.stamps[0] + 10 * SECOND


def test_missing_ray_caster_says_what_to_install():
    code = "import sys; sys.modules['embreex'] = None; import spatial_mllm_ros.simulation"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert run.returncode != 0 and "pip install 'spatial-mllm-ros[simulate]'" in run.stderr
