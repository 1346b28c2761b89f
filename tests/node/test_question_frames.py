"""Which frames a question is shown, and when a scene is encoded again; the model here only takes notes."""

from concurrent.futures import Future
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from spatial_mllm_ros.config import AskParams, build
from spatial_mllm_ros.errors import ErrorCode, SpatialError
from spatial_mllm_ros.frames import Camera, Frame
from spatial_mllm_ros.mllm.calibration import Calibration
from spatial_mllm_ros.node.question_frames import QuestionFrames
from spatial_mllm_ros.scene.pipeline import SpatialPipeline

CAMERA = Camera("camera", "optical", 40, 30, np.array([[40.0, 0, 19.5], [0, 40, 14.5], [0, 0, 1]]))
SECOND = 1_000_000_000


class Model:
    """Takes notes of what is to be encoded."""

    def __init__(self, **params):
        self.params = AskParams(**({"max_frames": 8, "refresh": 0.3} | params))
        self.calibration = Calibration()
        self.state = SimpleNamespace(stage="ready", waiting=0, restarts=0)
        self.warmed = []

    def warm(self, frames, epoch):
        self.warmed.append((frames, epoch, Future()))
        return self.warmed[-1][2]

    @property
    def max_frames(self):
        return self.calibration.frames(self.params.max_frames)

    @property
    def stamps(self):
        return [frame.stamp_ns // SECOND for frame in self.warmed[-1][0]]


class Bench:
    def __init__(self, **params):
        self.pipeline = SpatialPipeline(build({"coverage.frames": 8}))
        self.model = Model(**params)
        self.frames = QuestionFrames(self.pipeline, self.model)

    def see(self, second, x, depth=2.0):
        """A frame of a wall, x metres to the right; each sees 2 m of it."""
        pose = np.eye(4)
        pose[0, 3] = x
        image = np.zeros((30, 40, 3), np.uint8)
        pixels = None if depth is None else np.full((30, 40), depth, np.float32)
        self.pipeline.process(
            Frame(second * SECOND, CAMERA, image=image, depth=pixels, world_from_camera=pose, world_frame="odom")
        )

    def shown(self, *filters):
        frames, epoch = self.frames.choose(*(filters or (0, 0, (), 0)))
        assert epoch == self.pipeline.epoch
        return [frame.stamp_ns // SECOND for frame in frames]


def test_a_question_is_shown_the_warm_scene_until_enough_is_new():
    b = Bench()
    for i in range(4):
        b.see(i + 1, 2.0 * i)
    b.frames.warm()
    assert b.model.stamps == [1, 2, 3, 4]
    b.see(5, 8.0)  # a fifth of all that is covered now: less than 0.3
    b.frames.warm()
    assert len(b.model.warmed) == 1
    assert b.shown() == [1, 2, 3, 4]
    assert b.shown(0, 0, (), 5) == [1, 2, 3, 4, 5]  # another number of frames is another scene
    assert b.shown(5 * SECOND, 0, (), 0) == [5]
    assert b.shown(0, 0, ("camera",), 0) == [1, 2, 3, 4, 5]
    b.see(6, 10.0)  # a third
    assert b.shown() == [1, 2, 3, 4, 5, 6]
    b.frames.warm()  # the question has had it encoded
    assert len(b.model.warmed) == 1


def test_it_is_encoded_again_after_a_reset_a_restart_and_a_failure():
    b = Bench()
    b.see(1, 0.0)
    b.frames.warm()
    b.pipeline.reset()
    b.see(1, 0.0)  # the same stamp is another frame
    b.frames.warm()
    assert [epoch for _, epoch, _ in b.model.warmed] == [b.pipeline.epoch - 1, b.pipeline.epoch]
    b.model.state.restarts = 1
    b.frames.warm()
    assert len(b.model.warmed) == 3
    b.model.warmed[-1][2].set_exception(SpatialError(ErrorCode.CANCELED, "a question came first"))
    b.frames.warm()
    assert len(b.model.warmed) == 4
    b.model.warmed[-1][2].set_result(None)
    b.frames.warm()
    assert len(b.model.warmed) == 4


def test_a_scene_that_cannot_be_encoded_is_not_tried_again_until_another_is_to_be_shown():
    b = Bench()
    b.see(1, 0.0)
    b.frames.warm()
    b.model.warmed[-1][2].set_exception(SpatialError(ErrorCode.FAILED, "the model's process ended"))
    b.model.state.restarts = 1
    b.frames.warm()
    assert len(b.model.warmed) == 1
    b.see(2, 2.0)
    b.frames.warm()
    assert b.model.stamps == [1, 2]


@pytest.mark.parametrize("busy", [{"stage": "loading", "waiting": 0}, {"stage": "ready", "waiting": 1}])
def test_nothing_is_warmed_while_there_is_something_else_to_do(busy):
    b = Bench()
    b.see(1, 0.0)
    b.model.state = SimpleNamespace(restarts=0, **busy)
    b.frames.warm()
    assert not b.model.warmed


def test_refresh_of_one_encodes_only_when_asked_and_shows_all_that_is_new():
    b = Bench(refresh=1.0)
    b.see(1, 0.0)
    b.frames.warm()
    assert not b.model.warmed
    assert b.shown() == [1]
    b.see(2, 0.3)
    assert b.shown() == [1, 2]


def test_without_geometry_every_question_gets_the_frames_of_its_moment():
    b = Bench()
    b.see(1, 0.0, None)
    b.frames.warm()
    assert not b.model.warmed
    assert b.shown() == [1]
    b.see(2, 0.0, None)
    assert b.shown() == [1, 2]


def test_a_live_number_of_frames_takes_effect_at_once():
    b = Bench()
    for i in range(4):
        b.see(i + 1, 2.0 * i)
    b.frames.warm()
    b.model.params = replace(b.model.params, max_frames=2)
    assert len(b.shown()) == 2
    b.frames.warm()
    assert len(b.model.warmed) == 1  # asked for already


def test_no_more_frames_than_the_model_was_trained_with():
    b = Bench()
    for i in range(6):
        b.see(i + 1, 2.0 * i)
    b.model.calibration = Calibration(max_frames=3)
    b.frames.warm()
    warm = b.model.stamps
    assert len(warm) == 3
    assert b.shown() == b.shown(0, 0, (), 5) == warm, "the scene that is encoded already"
    assert len(b.shown(SECOND, 0, ("camera",), 5)) == 3
    assert len(b.shown(0, 0, (), 2)) == 2
    assert b.frames.remark(3, 5) == "shown 3 frames, not 5: the model was trained with no more"
    assert b.frames.remark(3, 0) == "shown 3 frames, not 8: the model was trained with no more", (
        "as ask.max_frames says"
    )
    assert not b.frames.remark(2, 5) and not b.frames.remark(2, 2)
    b.model.params = replace(b.model.params, max_frames=0)
    assert not b.frames.remark(3, 0), "nobody asked for more"


def test_no_frames_is_said():
    with pytest.raises(SpatialError) as error:
        Bench().shown()
    assert error.value.code == ErrorCode.NO_FRAMES
