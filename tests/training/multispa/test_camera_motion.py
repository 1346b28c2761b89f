"""Camera motion against poses worked out by hand, and questions of an exact room against its poses."""

import math

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from spatial_mllm_training.multispa.covisibility import SceneIndex
from spatial_mllm_training.multispa.item import CAMERA_MOTION, Candidate
from spatial_mllm_training.multispa.scene import Scene
from spatial_mllm_training.multispa.tasks.camera_motion import propose, relative

from ...geometry.room import frames_of
from ..scenes import room_scene


def pose(place=(0, 0, 0), turn=("y", 0)):
    out = np.eye(4)
    out[:3, :3] = Rotation.from_euler(*turn, degrees=True).as_matrix()
    out[:3, 3] = place
    return out


class Pair:
    """An index of two frames that always share 20 %, asked in either order."""

    def __init__(self, first, second):
        self.numbers, self.poses = np.array([3, 8]), {3: first, 8: second}

    def pose(self, i):
        return self.poses[i]

    def pairs(self):
        return np.array([[3, 8]]), np.array([20])


def asked(second, first=None, frames=(3, 8), up=None):
    """What is asked of two poses with the frames shown in this order: type -> candidate."""
    out = {}
    index = Pair(pose() if first is None else first, second)
    scene = Scene("two", "test", (), key="two", world_up=up)
    for seed in range(30):
        for candidate in propose(scene, index, np.random.default_rng(seed), 1):
            if candidate.frames == frames:
                out[candidate.question_type] = candidate
    return out


DIRECTIONS = [
    ((0.3, 0, 0), "camera_left_right", "right", "left"),
    ((0, 0.3, 0), "camera_up_down", "down", "up"),
    ((0, 0, 0.3), "camera_forward_back", "forward", "backward"),
]


@pytest.mark.parametrize("move, kind, word, opposite", DIRECTIONS)
@pytest.mark.parametrize("turned", [("y", 0), ("y", 90), ("x", -30), ("z", 45)])
def test_directions_are_those_of_the_first_camera(move, kind, word, opposite, turned):
    first = pose((1, 2, 3), turned)
    for sign, answer in ((1, word), (-1, opposite)):
        second = first.copy()
        second[:3, 3] += sign * (first[:3, :3] @ move)
        found = asked(second, first)
        assert set(found) == {kind, "camera_distance", "camera_vector"}
        assert found[kind].truth == answer and set(found[kind].options) == {word, opposite}
        assert found["camera_distance"].truth == 300
        assert found["camera_vector"].truth == [sign * 1000 * x for x in move]
        assert found["camera_vector"].bins["direction"] == answer
        assert asked(second, first, (8, 3))[kind].truth == (opposite if answer == word else word)


TURNS = [("y", 30, "yaw", "right"), ("y", -30, "yaw", "left"), ("x", 20, "pitch", "up"), ("x", -20, "pitch", "down")]


@pytest.mark.parametrize("axis, degrees, name, word", TURNS)
def test_turns(axis, degrees, name, word):
    """x is right, y down, z forward: a positive turn about y takes z to x, one about x takes z up, to -y."""
    found = asked(pose(turn=(axis, degrees)))
    assert set(found) == {f"camera_{name}_direction", f"camera_{name}_degrees"}
    assert found[f"camera_{name}_direction"].truth == word
    amount = found[f"camera_{name}_degrees"]
    assert (amount.truth, amount.facts["direction"], amount.output) == (abs(degrees), word, "scalar")


def test_a_whole_motion_by_hand():
    """First camera looks along world x (yaw 90 of z). The second stands 0.2 m along world z, which is to the left."""
    place, yaw, pitch = relative(pose((1, 0, 0), ("y", 90))[None], pose((1.5, -0.1, 0.2), ("y", 130))[None])
    assert place[0] == pytest.approx([-0.2, -0.1, 0.5])
    assert (yaw[0], pitch[0]) == pytest.approx((40, 0))
    _, yaw, pitch = relative(pose()[None], pose(turn=("yx", (25, 15)))[None])  # about y, then about the fixed x
    forward = [math.sin(math.radians(25)), -math.sin(math.radians(15)) * math.cos(math.radians(25))]
    assert pitch[0] == pytest.approx(math.degrees(math.asin(-forward[1])))
    ahead = math.cos(math.radians(15)) * math.cos(math.radians(25))
    assert yaw[0] == pytest.approx(math.degrees(math.atan2(forward[0], ahead)))
    _, yaw, pitch = relative(pose()[None], pose(turn=("z", 70))[None])
    assert (yaw[0], pitch[0]) == pytest.approx((0, 0))  # rolling turns no line of sight


def test_what_is_not_clear_is_not_asked():
    assert set(asked(pose((0.049, 0, 0)))) == set()
    assert set(asked(pose((0.051, 0, 0)))) == {"camera_left_right", "camera_distance", "camera_vector"}
    barely = asked(pose((0.19, 0, 0.98)))  # 19 % of the way is to the right
    assert "camera_left_right" not in barely and barely["camera_forward_back"].truth == "forward"
    assert "camera_left_right" in asked(pose((0.21, 0, 0.97)))
    assert set(asked(pose(turn=("y", 4.9)))) == set()
    assert "camera_yaw_direction" in asked(pose(turn=("y", 5.1)))
    steep = asked(pose(turn=("xy", (75, 10))))
    assert "camera_pitch_direction" in steep and "camera_yaw_direction" not in steep


def tilted(yaw, down, place=(0, 0, 0)):
    """A camera turned by a heading about the vertical (y, down), then tilted down, degrees."""
    return pose(place, ("YX", (yaw, -down)))


UP = np.array([0.0, -1.0, 0.0])


def test_turns_are_asked_where_the_room_and_the_camera_agree():
    for up in (UP, None):  # level cameras: both say the same
        assert asked(tilted(30, 0), tilted(0, 0), up=up)["camera_yaw_degrees"].truth == 30
        assert asked(tilted(0, 10), tilted(0, 30), up=up)["camera_pitch_direction"].truth == "up"
    # looking down by 30 degrees and turning by 60: it looks along (0.75, 0.2165, 0.625) of the first
    _, yaw, pitch = relative(tilted(0, 30)[None], tilted(60, 30)[None])
    assert (yaw[0], pitch[0]) == pytest.approx((50.19, -12.50), abs=0.01)
    for up in (UP, None):
        found = asked(tilted(60, 30), tilted(0, 30), up=up)
        assert not any("pitch" in kind for kind in found)
    # looking down by 50 degrees, a turn by 40 in the room is another one in the camera's axes
    assert not any("yaw" in kind for kind in asked(tilted(40, 50), tilted(0, 50), up=UP))
    assert asked(tilted(25, 10), tilted(0, 10), up=UP)["camera_yaw_direction"].truth == "right"
    assert asked(tilted(-25, 10), tilted(0, 10), up=UP)["camera_yaw_direction"].truth == "left"


def test_up_and_down_are_asked_where_the_room_and_the_camera_agree():
    down = tilted(0, 45)
    level = asked(tilted(0, 45, (0, 0, 0.5)), down, up=UP)  # ahead in the room: forward and up in the tilted axes
    assert "camera_up_down" not in level and level["camera_forward_back"].truth == "forward"
    assert asked(tilted(0, 45, (0, -0.3, 0)), down, up=UP)["camera_up_down"].truth == "up"
    assert "camera_up_down" in asked(tilted(0, 45, (0, 0, 0.5)), down)  # nobody knows the vertical


def test_questions_of_a_room():
    scene = room_scene(100)
    index = SceneIndex(scene)
    found = list(propose(scene, index, np.random.default_rng(0), 20))
    for kind in CAMERA_MOTION:
        of_kind = [c for c in found if c.question_type == kind]
        if "pitch" in kind:  # the walk keeps its tilt
            assert not of_kind
            continue
        assert 0 < len(of_kind) <= 20 and len({c.frames for c in of_kind}) == len(of_kind)
    for candidate in found:
        first, second = (scene.frames[i].world_from_camera for i in candidate.frames)
        move = 1000 * first[:3, :3].T @ (second[:3, 3] - first[:3, 3])
        look = first[:3, :3].T @ second[:3, 2]
        kind, truth = candidate.question_type, candidate.truth
        yaw, pitch = math.degrees(math.atan2(look[0], look[2])), math.degrees(math.asin(-look[1]))
        expected = {
            "camera_left_right": "right" if move[0] > 0 else "left",
            "camera_up_down": "down" if move[1] > 0 else "up",
            "camera_forward_back": "forward" if move[2] > 0 else "backward",
            "camera_yaw_direction": "right" if yaw > 0 else "left",
            "camera_pitch_direction": "up" if pitch > 0 else "down",
            "camera_yaw_degrees": abs(yaw),
            "camera_pitch_degrees": abs(pitch),
            "camera_distance": np.linalg.norm(move),
            "camera_vector": move,
        }[kind]
        assert truth == expected if isinstance(truth, str) else np.abs(np.array(truth) - expected).max() <= 0.5
        i, j = candidate.frames
        assert candidate.bins["overlap"] == int(100 * index.overlap[i, j])
        assert Candidate.of(candidate.values()) == candidate
    assert found == list(propose(scene, SceneIndex(scene), np.random.default_rng(0), 20))
    assert {c.frames[0] < c.frames[1] for c in found} == {True, False}


def test_a_scene_without_pairs_asks_nothing():
    scene = Scene("still", "test", frames_of([np.eye(4)] * 3, depth=True), key="still")
    assert list(propose(scene, SceneIndex(scene), np.random.default_rng(0), 5)) == []
