"""Sizes of things: of boxes whose sides and views are worked out by hand, and of a room against its own objects."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from spatial_mllm_ros.frames import Camera, Frame
from spatial_mllm_training.multispa.covisibility import SceneIndex
from spatial_mllm_training.multispa.item import OBJECT_SIZE, Candidate
from spatial_mllm_training.multispa.scene import Scene, Thing
from spatial_mllm_training.multispa.tasks import object_size

CAMERA = Camera("camera", "camera", 200, 150, np.array([[150.0, 0, 99.5], [0, 150.0, 74.5], [0, 0, 1]]))
FORWARD = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 1.0], [0, 0, 0, 1]])  # looks along the world's x
BOX = np.array([0.6, 0.4, 0.9])  # metres; its front is seen 2 m before the cameras
CENTRE = np.array([2.3, 0.0, 1.0])
UP = np.array([0.0, 0.0, 1.0])


def thing(label="crate", size=BOX, centre=CENTRE, turn=(0, 0, 0), moving=False, name=""):
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = Rotation.from_euler("xyz", turn, degrees=True).as_matrix(), centre
    return Thing(name or label, label, np.asarray(size, float), pose, moving)


def box_scene(things, aside=(0.0, 0.1, -0.1), up=UP, instances=True, corner=False):
    """Cameras side by side before the first thing; they see its front, and with ``corner`` two sides and its top.

    Views are cast here: rays against the box in its own frame, a wall 4 m behind the first camera's place.
    """
    frames, maps = [], []
    for n, y in enumerate(aside):
        pose = FORWARD.copy()
        pose[:3, 3] = 0, y, 1
        if corner:
            side = Rotation.from_euler("yz", (25, 35 + 3 * n), degrees=True).as_matrix()
            pose[:3, :3] = side @ FORWARD[:3, :3]
            pose[:3, 3] = CENTRE - 2.2 * pose[:3, 2]
        depth, owner = cast(pose, things)
        image = np.zeros((150, 200, 3), np.uint8)
        frames.append(Frame(n * 10**9, CAMERA, image=image, depth=depth, world_from_camera=pose, world_frame="world"))
        maps.append(owner)
    lacks = {"tracks": "boxes"}
    scene = Scene("boxes", "test", frames, "boxes", things=things, lacks=lacks, world_up=up)
    return replace(scene, instance_map=maps.__getitem__) if instances else scene


def cast(pose, things):
    """Depth float32 and index of the first box that each pixel's ray enters; a far wall is at 6 m."""
    v, u = np.mgrid[0:150, 0:200]
    rays = np.stack([(u - 99.5) / 150, (v - 74.5) / 150, np.ones(u.shape)], axis=-1)
    depth, owner = np.full(u.shape, 6.0), np.full(u.shape, -1, np.int32)
    for k, box in enumerate(things):
        local = np.linalg.inv(box.world_from_thing) @ pose
        direction, origin = rays @ local[:3, :3].T, local[:3, 3]
        with np.errstate(divide="ignore", invalid="ignore"):
            ends = np.sort((np.array([[-0.5], [0.5]]) * box.size - origin)[:, None, None] / direction, axis=0)
        enter, leave = ends[0].max(axis=-1), ends[1].min(axis=-1)
        hit = (enter < leave) & (enter > 0) & (enter < depth)
        depth[hit], owner[hit] = enter[hit], k
    return depth.astype(np.float32), owner


def proposed(scene, count=20, seed=0):
    return list(object_size.propose(scene, SceneIndex(scene), np.random.default_rng(seed), count))


def kinds(found):
    return {c.question_type.removeprefix("object_") for c in found}


def test_declares_what_it_makes_and_needs():
    assert object_size.TYPES == OBJECT_SIZE and object_size.NEEDS == ("depth", "pose", "things")


@pytest.mark.parametrize("instances", [True, False])
def test_a_corner_view_shows_all_three_sides(instances):
    found = proposed(box_scene([thing()], corner=True, instances=instances))
    truths = {c.question_type: c.truth for c in found}
    assert truths == {"object_height": 900.0, "object_length": 600.0, "object_width": 400.0}
    for c in found:
        assert (c.label, c.referring, c.output, c.points) == ("crate", "label", "scalar", ())
        assert 2 <= len(c.frames) <= 3 and len(set(c.frames)) == len(c.frames) and set(c.frames) <= {0, 1, 2}
        assert Candidate.of(c.values()) == c
    bins = {c.question_type: c.bins for c in found}
    assert bins["object_width"] == {"size": 4, "label": "crate"}  # 0.4 up to 0.8 m
    assert bins["object_height"] == {"size": 5, "label": "crate"}


def test_a_front_view_does_not_show_how_deep_it_is():
    """The front is 0.4 m wide, the shorter side; the longer one points away from the cameras."""
    assert kinds(proposed(box_scene([thing()]))) == {"height", "width"}
    assert kinds(proposed(box_scene([thing(turn=(0, 0, 90))]))) == {"height", "length"}


def test_extents_are_those_of_the_world_when_a_box_lies_on_its_side():
    """Its own z axis lies along y of the world: 0.9 m are its length, seen from the front, and 0.4 m its height."""
    found = proposed(box_scene([thing(turn=(90, 0, 0))]))
    assert {(c.question_type, c.truth) for c in found} == {("object_height", 400.0), ("object_length", 900.0)}


def test_several_images_show_together_what_one_does_not():
    """A board of 3 m: the left camera sees to its left end, the right one to its right end."""
    board = thing("board", (0.3, 3.0, 0.5))
    apart = box_scene([board], aside=(0.9, -0.9))
    assert kinds(proposed(apart)) == {"height", "length"}
    assert kinds(proposed(box_scene([board], aside=(0.9, 0.8)))) == {"height"}


@pytest.mark.parametrize(
    "things",
    [
        [thing(), thing(centre=(2.3, 2.0, 1), name="other")],
        [thing(moving=True)],
        [thing(turn=(8, 0, 0))],
        [thing(size=(0.05, 0.08, 0.06))],
        [thing(centre=(-3, 0, 1))],
        [],
    ],
    ids=["label not unique", "moving", "leaning", "too few pixels", "not in view", "no things"],
)
def test_what_is_not_asked_about(things):
    assert proposed(box_scene(things)) == []


def test_no_question_without_up_or_with_one_image():
    assert proposed(box_scene([thing()], up=None)) == []
    assert proposed(box_scene([thing()], aside=(0.0,))) == []
    assert len(proposed(box_scene([thing()], aside=(0.0, 0.1)))) == 2


def test_flat_things_are_not_asked_how_high_they_are():
    found = proposed(box_scene([thing("mat", (0.6, 0.4, 0.01))], corner=True))
    assert kinds(found) == {"length", "width"}


def test_a_hidden_end_is_not_shown():
    """A screen before the left half of the crate: its width is not seen any more, its height is."""
    screen = thing("screen", (0.02, 0.4, 1.6), (1.0, 0.2, 1.0))
    found = [c for c in proposed(box_scene([thing(), screen], aside=(0, 0.02))) if c.label == "crate"]
    assert kinds(found) == {"height"}


def test_a_small_box_inside_a_larger_one_owns_its_points():
    shelf, book = thing("shelf", (0.8, 1.2, 1.2)), thing("book", (0.3, 0.2, 0.3), (1.9, 0, 1))
    points = np.array([[1.9, 0.05, 1.0], [1.9, 0.3, 1.0], [0.5, 0, 1.0], [np.nan] * 3])
    scene = box_scene([book, shelf], instances=False)
    assert object_size.boxed(scene, points).tolist() == [0, 1, -1, -1]


def test_labels_get_even_shares_and_the_same_seed_the_same_questions():
    things = [thing("chest", (0.4, 0.5, 0.6), (2.0, -0.6, 1)), thing("box", (0.4, 0.5, 0.6), (2.0, 0.6, 1))]
    scene = box_scene(things, aside=np.linspace(-0.1, 0.1, 8))
    found = proposed(scene, 12)
    shares = Counter((c.question_type, c.label) for c in found)
    assert shares["object_height", "chest"] == shares["object_height", "box"] == 6
    assert len({(c.question_type, c.label, frozenset(c.frames)) for c in found}) == len(found)
    assert {len(c.frames) for c in found} == {2, 3, 4}
    assert found == proposed(scene, 12) != proposed(scene, 12, seed=1)


def test_sizes_of_a_room_are_those_of_its_objects():
    pytest.importorskip("embreex", reason="rooms are simulated with embreex")
    from spatial_mllm_training.multispa.sources.simulated import SimulatedRef

    scene = SimulatedRef(3, (96, 72)).open()
    found = proposed(scene, 30)
    assert kinds(found) == {"height", "width", "length"} and len({c.label for c in found}) >= 5
    for c in found:
        real = [t for t in scene.instance_map.__self__.room.objects if t.label == c.label]
        assert len(real) == 1 and not real[0].moving
        x, y, z = 1000 * real[0].size
        expected = {"height": z, "length": max(x, y), "width": min(x, y)}[c.question_type.removeprefix("object_")]
        assert c.truth == pytest.approx(expected, abs=0.5)
        number = [t.label for t in scene.things].index(c.label)
        assert all((scene.instance_map(i) == number).any() for i in c.frames)
