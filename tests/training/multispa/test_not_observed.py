"""What images do not show, against the planes of an exact room."""

from dataclasses import replace

import numpy as np
import pytest

from spatial_mllm_ros.frames import Frame
from spatial_mllm_training.multispa.covisibility import SceneIndex
from spatial_mllm_training.multispa.item import OBJECT_MOTION, OBJECT_SIZE, Candidate
from spatial_mllm_training.multispa.scene import Scene, Thing
from spatial_mllm_training.multispa.tasks.not_observed import absent, propose, unseen

from ...geometry.room import BOXES, HEIGHT, WIDTH, depth_of, frames_of, look, walk
from ..scenes import moving_scene, room_scene


def things(*labels):
    return tuple(Thing(f"{label}_1", label, np.ones(3), np.eye(4)) for label in labels)


def world_point(scene, i, u, v):
    pose = scene.frames[i].world_from_camera
    ray = np.array([(u - 27.5) / 40, (v - 20.5) / 40, 1])
    return pose[:3, :3] @ (depth_of(pose)[v, u] * ray) + pose[:3, 3]


def seen_exactly(scene, j, world):
    """Whether camera j sees a point of the room: inside its image, and no box on the way."""
    pose = scene.frames[j].world_from_camera
    x, y, z = pose[:3, :3].T @ (world - pose[:3, 3])
    if z <= 0 or not (-0.5 <= 40 * x / z + 27.5 < WIDTH - 0.5 and -0.5 <= 40 * y / z + 20.5 < HEIGHT - 0.5):
        return False
    steps = np.linspace(0, 0.98, 2000)[:, None]
    way = pose[:3, 3] + steps * (world - pose[:3, 3])
    return not any(((way > box[0]) & (way < box[1])).all(axis=1).any() for box in BOXES)


def test_hidden_points_are_hidden():
    scene = room_scene(100)
    found = list(propose(scene, SceneIndex(scene), np.random.default_rng(0), 80))
    assert len(found) == 80
    for candidate in found:
        point = candidate.points[0]
        world = world_point(scene, candidate.frames[0], point.u, point.v)
        assert not seen_exactly(scene, candidate.frames[1], world), candidate
        assert candidate.truth == "not observed" and candidate.question_type == "not_observed"
        assert candidate.facts["asks"] == candidate.bins["asks"]
        choices = candidate.points[1:]
        if candidate.bins["asks"] == "correspondence_choice":
            assert candidate.referring == "dot" and [p.name for p in choices] == list("ABCD")
            for choice in choices:
                there = world_point(scene, candidate.frames[1], choice.u, choice.v)
                assert np.linalg.norm(there - world) > 0.03
        else:
            assert candidate.referring == "coordinate" and not choices
        assert Candidate.of(candidate.values()) == candidate
    asks = [c.bins["asks"] for c in found]
    assert asks.count("correspondence_choice") == asks.count("correspondence_coordinate") == 40
    reasons = [c.bins["reason"] for c in found]
    assert set(reasons) == {"outside", "covered"} and min(map(reasons.count, set(reasons))) >= 3
    assert found == list(propose(scene, SceneIndex(scene), np.random.default_rng(0), 80))


def behind_a_box(depth_there=None):
    """One camera sees the wall on one side of the tall box, the other stands on the other side of it."""
    poses = [look(-1.2, -1.0, 1.2, -1.2, 0.0), look(1.5, -1.9, 1.2, np.pi - 0.5, 0.0)]
    frames = frames_of(poses, depth=True)
    if depth_there is not None:
        last = frames[1]
        frames[1] = Frame(last.stamp_ns, last.camera, image=last.image, depth=depth_there(last.depth),
                          world_from_camera=poses[1])  # fmt: skip
    return Scene("box", "test", frames, key="box")


def all_pixels():
    return np.stack(np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT)), axis=-1).reshape(-1, 2)


def hidden(scene):
    """Why the second frame does not show each pixel of the first."""
    index = SceneIndex(scene)
    return unseen(index, 1, index.world(0, all_pixels()))


def test_every_pixel_that_is_called_hidden_is():
    scene = behind_a_box()
    why = hidden(scene)
    exact = np.array([seen_exactly(scene, 1, world_point(scene, 0, u, v)) for u, v in all_pixels()])
    assert not exact[why != ""].any()
    assert (why == "covered").sum() > 5 and (why == "outside").sum() > 50
    assert (why[~exact] != "").mean() > 0.5


@pytest.mark.parametrize("hole", [0.0, np.nan])
def test_missing_depth_hides_nothing(hole):
    scene = behind_a_box(lambda depth: np.full_like(depth, hole))
    whole = hidden(behind_a_box())
    why = hidden(scene)
    assert (why == "covered").sum() == 0
    assert ((why == "outside") == (whole == "outside")).all()


def test_behind_the_camera_is_outside():
    scene = Scene("back", "test", frames_of([look(0, 0, 1.4, 0, 0), look(0, 0, 1.4, np.pi, 0)], depth=True), key="b")
    assert (hidden(scene) == "outside").all()


def test_what_moves_is_not_called_hidden():
    scene = room_scene(100)
    owner = np.zeros((HEIGHT, WIDTH), np.int32)
    owner[:, WIDTH // 2 :] = -1
    cat = replace(things("cat")[0], moving=True)
    scene = Scene("cat", "test", scene.frames, "cat", (cat,), instance_map=lambda i: owner)
    found = list(propose(scene, SceneIndex(scene), np.random.default_rng(0), 20))
    assert len(found) == 20 and all(c.points[0].u >= WIDTH // 2 for c in found)


def test_things_that_are_nowhere():
    scene = room_scene(60)
    scene = replace(
        scene,
        things=things("coffee table", "mug"),
        vocabulary=("mug", "Mugs", "table", "coffee-machine", "lamp", "sofa"),
    )
    assert absent(scene) == ["lamp", "sofa"]
    found = list(propose(scene, SceneIndex(scene), np.random.default_rng(0), 20))
    sizes = [c for c in found if c.bins["reason"] == "absent"]
    assert len(found) == 20 and len(sizes) == 12  # 3 of 5 forms
    assert {c.facts["asks"] for c in sizes} == set(OBJECT_SIZE) and {c.label for c in sizes} == {"lamp", "sofa"}
    for candidate in sizes:
        assert candidate.referring == "label" and not candidate.points
        assert len(set(candidate.frames)) == len(candidate.frames)


def test_neither_number_nor_order_of_images_tells_that_a_thing_is_nowhere():
    scene = replace(room_scene(60), things=things("mug"), vocabulary=("mug", "lamp"))
    found = propose(scene, SceneIndex(scene), np.random.default_rng(0), 60)
    shown = [c.frames for c in found if c.bins["reason"] == "absent"]
    assert {len(frames) for frames in shown} == {2, 3, 4}  # as of a thing that is there
    assert {frames[0] < frames[1] for frames in shown} == {True, False}


def test_a_scene_whose_things_are_unknown_lacks_none():
    scene = replace(room_scene(3), vocabulary=("lamp",))
    assert list(propose(scene, SceneIndex(scene), np.random.default_rng(0), 5)) == []


def test_motion_is_asked_about_where_points_are_followed():
    base = moving_scene(count=60)
    scene = replace(base, frames=frames_of(walk(60), depth=True))
    found = list(propose(scene, SceneIndex(scene), np.random.default_rng(0), 12))
    asks = {c.bins["asks"]: c.referring for c in found}
    assert {kind: kind.rpartition("_")[2] for kind in OBJECT_MOTION}.items() <= asks.items()
    tracks = scene.tracks()
    for c in found:
        if c.bins["asks"] not in OBJECT_MOTION:
            continue
        i, j = c.frames
        off = np.linalg.norm(tracks.pixels[i] - [c.points[0].u, c.points[0].v], axis=1)
        point = int(np.where(tracks.visible[i] & (tracks.bodies >= 0), off, np.inf).argmin())
        assert off[point] <= 0.71  # a point of a body that moves, and where that goes the second image does not look
        camera, pose = scene.frames[j].camera, scene.frames[j].world_from_camera
        x, y, z = pose[:3, :3].T @ (tracks.points[j, point] - pose[:3, 3])
        u, v = 40 * x / z + 27.5, 40 * y / z + 20.5
        inside = z > 0 and 0 <= u < camera.width and 0 <= v < camera.height
        covered = inside and depth_of(pose)[round(v), round(u)] < z
        assert not inside or covered
