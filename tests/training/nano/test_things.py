"""What views show of things: boxes before cameras, whose sides are known."""

from dataclasses import replace

import numpy as np
import pytest

from spatial_mllm_training.geometry.views import Views
from spatial_mllm_training.multispa.item import NOT_OBSERVED, OBJECT_SIZE
from spatial_mllm_training.nano.questions import Clip, ask
from spatial_mllm_training.nano.things import make_things, open_things, things_of

from ..multispa.test_object_size import BOX, CENTRE, box_scene, thing


def views_of(scene):
    camera = scene.frames[0].camera.intrinsics
    intrinsics = np.array([camera[0, 0], camera[1, 1], camera[0, 2], camera[1, 2]])
    return Views(
        np.stack([frame.image for frame in scene.frames]),
        np.stack([frame.depth for frame in scene.frames]).astype(np.float16),
        np.stack([frame.world_from_camera for frame in scene.frames]),
        np.tile(intrinsics, (len(scene.frames), 1)),
        np.ones((len(scene.frames),) * 2, np.float32),
    )


def found(scene):
    return things_of(scene, views_of(scene))


def test_a_front_shows_height_and_one_side():
    things = found(box_scene([thing()]))
    assert things.labels == ("crate",)
    assert things.size[0] == pytest.approx([BOX[2], BOX[1], BOX[0]])
    shown = dict((axis, size) for _, axis, size in things.shown([0, 1]))
    assert shown == pytest.approx({"height": BOX[2], "width": BOX[1]})  # how deep it is no view shows


def test_a_corner_shows_all_sides():
    things = found(box_scene([thing()], corner=True))
    assert [(axis, size) for _, axis, size in things.shown([0, 2])] == [
        ("height", pytest.approx(BOX[2])),
        ("width", pytest.approx(BOX[1])),
        ("length", pytest.approx(BOX[0])),
    ]


def test_what_one_of_the_views_does_not_show_is_not_asked_for():
    scene = box_scene([thing()])
    views = views_of(scene)
    views.depth[1] = 6.0  # only the wall
    things = things_of(scene, views)
    assert list(things.shown([0, 1])) == [] and len(list(things.shown([0, 2]))) == 2


def test_moving_things_and_equal_labels_are_not_asked_for():
    twins = [thing(), thing(name="other", centre=CENTRE + np.array([0, 1, 0]))]
    assert found(box_scene(twins)).labels == ()
    assert found(box_scene([thing(moving=True)])).labels == ()


def test_questions_are_about_what_is_shown_and_what_is_not_there():
    scene = replace(box_scene([thing()], corner=True), vocabulary=("crate", "sofa", "bed"))
    views = views_of(scene)
    clip = Clip.of(views, [0, 2], things_of(scene, views))
    asked = ask(clip, np.random.default_rng(0), 40, hidden=True)
    sizes = {r["question_type"]: r["gt_value"] for r in asked if r["question_type"] in OBJECT_SIZE}
    assert sizes == {"object_height": 900, "object_width": 400, "object_length": 600}
    refused = [r for r in asked if r["question_type"] == NOT_OBSERVED and r["meta"]["bins"]["asks"] in OBJECT_SIZE]
    texts = " ".join(r["conversations"][0]["value"] for r in refused)
    assert len(refused) == 2 and "sofa" in texts and "bed" in texts and "crate" not in texts


@pytest.mark.parametrize("seed", range(8))
def test_half_of_the_questions_are_about_things(seed):
    scene = box_scene([thing()], corner=True)  # three sizes can be asked for
    views = views_of(scene)
    clip = Clip.of(views, [0, 2], things_of(scene, views))
    for count, expected in ((2, 1), (5, 2), (8, 3)):
        asked = ask(clip, np.random.default_rng(seed), count, hidden=True)
        assert len(asked) == count
        assert sum(record["question_type"] in OBJECT_SIZE for record in asked) == expected


def test_kept_beside_the_views(tmp_path, monkeypatch):
    from spatial_mllm_training.nano import things as module

    scene = box_scene([thing()], corner=True)
    views = views_of(scene)
    opened = []

    class Ref:
        source, name = "test", "boxes"

        def __repr__(self):
            return "boxes"

        def open(self):
            opened.append(1)
            return scene

    place = tmp_path / module.name_of(Ref(), (150, 200))
    place.mkdir()
    monkeypatch.setattr(module, "open_views", lambda refs, size, folder: [views])
    for _ in range(2):
        assert list(make_things([Ref()], (150, 200), tmp_path)) == [None]
    (read,) = open_things([Ref()], (150, 200), tmp_path)
    assert opened == [1]
    assert list(read.shown([0, 2])) == list(things_of(scene, views).shown([0, 2]))
    assert [path.name for path in place.iterdir()] == [module.FILE]
