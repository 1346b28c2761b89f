"""The same point in two images of an exact room, worked out from its planes."""

import numpy as np

from spatial_mllm_training.multispa.covisibility import SceneIndex
from spatial_mllm_training.multispa.item import Candidate
from spatial_mllm_training.multispa.tasks import correspondence
from spatial_mllm_training.multispa.tasks.correspondence import propose, thousandths

from ...geometry.room import HEIGHT, WIDTH, depth_of
from ..scenes import room_scene


def place_in_second(scene, candidate):
    """Float pixel in the second image of the first point, and its depth there and what is read there."""
    first, second = (scene.frames[i].world_from_camera for i in candidate.frames)
    point = candidate.points[0]
    ray = np.array([(point.u - 27.5) / 40, (point.v - 20.5) / 40, 1])
    world = first[:3, :3] @ (depth_of(first)[point.v, point.u] * ray) + first[:3, 3]
    x, y, z = second[:3, :3].T @ (world - second[:3, 3])
    u, v = 40 * x / z + 27.5, 40 * y / z + 20.5
    return np.array([u, v]), z, depth_of(second)[round(v), round(u)]


def test_answers_are_where_the_point_is_seen():
    scene = room_scene(100)
    found = list(propose(scene, SceneIndex(scene), np.random.default_rng(0), 30))
    kinds = [c.question_type for c in found]
    assert kinds.count("correspondence_coordinate") == kinds.count("correspondence_choice") == 30
    for candidate in found:
        pixel, z, read = place_in_second(scene, candidate)
        assert abs(z - read) <= max(0.02, 0.0301 * z)
        assert candidate.points[0].image == 0 and 6 <= candidate.bins["overlap"] < 35
        if candidate.output == "pixel":
            near = np.rint(pixel).astype(int)
            assert candidate.truth == [int(near[0] / WIDTH * 1000 + 1e-9), int(near[1] / HEIGHT * 1000 + 1e-9)]
            assert candidate.facts["answer_pixel"] == near.tolist() and len(candidate.points) == 1
        else:
            choices = {p.name: np.array([p.u, p.v]) for p in candidate.points[1:]}
            assert sorted(choices) == list("ABCD") and {p.image for p in candidate.points[1:]} == {1}
            assert np.abs(choices[candidate.truth] - pixel).max() <= 0.5001
            right = choices.pop(candidate.truth)
            assert min(np.linalg.norm(wrong - right) for wrong in choices.values()) > 0.08 * WIDTH
        assert Candidate.of(candidate.values()) == candidate
    letters = [c.truth for c in found if c.output == "choice"]
    assert set(letters) == set("ABCD")
    assert len({c.bins["place"] for c in found}) >= 7 and len({c.bins["overlap"] for c in found}) > 20
    assert found == list(propose(scene, SceneIndex(scene), np.random.default_rng(0), 30))


def test_without_wrong_points_there_is_no_choice(monkeypatch):
    monkeypatch.setattr(correspondence, "wrong_points", lambda *_, **__: None)
    scene = room_scene(60)
    found = list(propose(scene, SceneIndex(scene), np.random.default_rng(0), 5))
    assert {c.question_type for c in found} == {"correspondence_coordinate"} and len(found) == 5


def test_a_scene_without_pairs():
    scene = room_scene(3)
    index = SceneIndex(scene)
    assert len(index.pairs()[0]) == 0
    assert list(propose(scene, index, np.random.default_rng(0), 5)) == []


def test_thousandths_of_corners():
    assert thousandths(np.array([0, 0]), 640, 480) == [0, 0]
    assert thousandths(np.array([639, 479]), 640, 480) == [998, 997]  # 998.4 and 997.9
    assert thousandths(np.array([320, 120]), 640, 480) == [500, 250]
