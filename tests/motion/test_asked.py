"""Motion as a model judges it: when it is asked, about what, and what its answers are worth."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spatial_mllm_ros.config import MotionParams, build
from spatial_mllm_ros.errors import BadMessage, ErrorCode, SpatialError
from spatial_mllm_ros.frames import Camera, Frame, Pixels
from spatial_mllm_ros.mllm import Answer, AnswerType, Verdict
from spatial_mllm_ros.motion.asked import AskedTargets, middle
from spatial_mllm_ros.motion.targets import Target
from spatial_mllm_ros.scene.pipeline import SpatialPipeline

CAMERA = Camera("front", "optical", 200, 100, np.array([[100.0, 0, 99.5], [0, 100, 49.5], [0, 0, 1]]))
SECOND = 1_000_000_000


def frame(seconds, camera=CAMERA, image=True):
    pixels = np.zeros((camera.height, camera.width, 3), np.uint8) if image else None
    return Frame(round(seconds * SECOND) + 5, camera, image=pixels)


def broken(seconds):
    def decode():
        raise BadMessage("JPEG is broken")

    return Frame(round(seconds * SECOND) + 5, CAMERA, image=Pixels(CAMERA.height, CAMERA.width, 1, decode))


def said(metres, confidence=0.8, unit="m", verdict=Verdict.ANSWERED, frames=(0, 1)):
    return Answer(verdict, f"{metres} {unit}", metres, unit, confidence=confidence, frames=frames)


def targets(interval=1.0, source="both"):
    asked = AskedTargets(MotionParams(source=source, ask_interval=interval))
    asked.set("camera", "front", None, None, has_goal=False)
    return asked


def seconds(asked):
    return [round((f.stamp_ns - 5) / SECOND, 3) for f in asked.frames]


def test_the_first_image_is_the_reference_and_the_newest_frame_is_asked_about():
    t = targets()
    t.look(frame(0.0, image=False))
    t.look(frame(0.1))
    assert t.next() is None
    for now in (0.5, 1.0, 1.2, 1.3):
        t.look(frame(now))
    asked = t.next()
    assert seconds(asked) == [0.1, 1.3] and asked.question.answer_type == AnswerType.NUMBER
    assert t.next() is None, "one question an interval"
    t.look(frame(2.2))
    assert t.next() is None
    t.look(frame(2.3))
    assert seconds(t.next()) == [0.1, 2.3]


def test_rewards_sum_to_the_distance_and_the_path_grows_by_its_changes():
    t = targets(interval=0.0)
    t.look(frame(0))
    given = []
    for i, metres in enumerate((0.5, 0.2, 0.205, 0.9), 1):
        t.look(frame(i))
        given.append(t.add(t.next(), said(metres), 0.5))
    assert [r.reward for r in given] == pytest.approx([0.5, -0.3, 0.005, 0.695])
    assert [r.path_length for r in given] == pytest.approx([0.5, 0.8, 0.8, 1.5])  # 5 mm are within the dead band
    assert all(r.valid and r.source == "mllm" and r.target == "camera" for r in given)
    assert all(np.isnan(r.displacement).all() and r.reference_ns == 5 for r in given)


def test_many_steps_within_the_dead_band_are_a_path_and_trembling_is_none():
    t = targets(interval=0.0)
    t.look(frame(0))
    for i in range(1, 31):  # 9 mm each; the dead band is 10 mm
        t.look(frame(i))
        reward = t.add(t.next(), said(0.009 * i), 0.5)
    assert (reward.distance, reward.path_length) == pytest.approx((0.27, 0.27))
    for i in range(31, 61):
        t.look(frame(i))
        reward = t.add(t.next(), said(0.27 + 0.009 * (i % 2)), 0.5)
    assert reward.path_length == pytest.approx(0.27)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (said(0.4, confidence=0.59), "sure to 0.59"),
        (said(4.0, unit="deg"), "no length"),
        (said(float("nan")), "no length"),
        (said(0.4, verdict=Verdict.NOT_OBSERVED), "no length"),
        (said(0.4, verdict=Verdict.UNSURE), "no length"),
        (said(0.4, frames=(0,)), "did not see both images"),
        (said(0.4, frames=(1,)), "did not see both images"),
    ],
)
def test_what_is_no_reward_leaves_no_trace(answer, reason):
    t = targets(interval=0.0)
    t.look(frame(0))
    t.look(frame(1))
    t.add(t.next(), said(0.3), 0.6)
    t.look(frame(2))
    reward = t.add(t.next(), answer, 0.6)
    assert not reward.valid and reason in reward.reason
    assert (reward.reward, reward.confidence, reward.path_length) == (0, 0, 0.3) and np.isnan(reward.distance)
    t.look(frame(3))
    assert t.add(t.next(), said(0.4, confidence=0.6), 0.6).reward == pytest.approx(0.1)


def test_targets_take_turns_and_one_that_was_replaced_gets_no_answer():
    t = targets()
    t.look(frame(0))
    t.set("mug", "front", frame(0.5), (20, 10, 11, 21), has_goal=False)
    t.look(frame(2))
    first, second = t.next(), t.next()
    assert (first.target.label, second.target.label) == ("camera", "mug") and t.next() is None
    x, y = 1000 * 25 // 200, 1000 * 20 // 100
    assert f"the point at ({x}, {y})" in second.question.text
    assert seconds(second) == [0.5, 2.0]
    t.set("mug", "front", frame(2), (0, 0, 10, 10), has_goal=False)
    assert t.add(second, said(1.0), 0.5) is None
    assert t.add(first, said(1.0), 0.5).valid
    t.set("mug", "front", frame(2), (0, 0, 10, 10), has_goal=True)
    assert t.labels == ["camera"], "towards a goal nothing is asked"


def test_a_broken_image_is_no_reference():
    t = targets()
    for image in (broken(0), frame(1), frame(2)):
        assert t.wants(image)
        t.look(image)
    assert seconds(t.next()) == [1.0, 2.0]


@pytest.mark.parametrize(
    ("image", "region", "code", "text"),
    [
        (frame(1, image=False), (0, 0, 9, 9), ErrorCode.NO_FRAMES, "no image"),
        (broken(1), (0, 0, 9, 9), ErrorCode.NO_FRAMES, "JPEG is broken"),
        (frame(1), (200, 0, 9, 9), ErrorCode.BAD_REQUEST, "9x9 at (200, 0) is outside the image of 200x100 pixels"),
    ],
)
def test_a_request_that_fails_loses_nothing(image, region, code, text):
    t = targets(source="mllm")
    t.set("mug", "front", frame(0), (0, 0, 9, 9), has_goal=False)
    with pytest.raises(SpatialError) as error:
        t.set("mug", "front", image, region, has_goal=False)
    assert error.value.code == code and text in error.value.message
    t.look(frame(2))
    assert seconds(t.next()) == [0.0, 2.0]


def test_where_a_camera_jumps_it_begins_anew_and_its_regions_end():
    rear = Camera("rear", "rear_optical", 200, 100, CAMERA.intrinsics)
    t = targets()
    t.set("behind", "rear", frame(0, rear), (0, 0, 9, 9), has_goal=False)
    t.set("mug", "front", frame(0), (0, 0, 9, 9), has_goal=False)
    t.look(frame(0))
    t.look(frame(2))
    before = t.next()
    assert t.jumped("front") == ["mug"] and t.labels == ["camera", "behind"]
    assert t.add(before, said(1.0), 0.5) is None, "the answer compares images on both sides of the jump"
    assert t.next() is None
    t.look(frame(2.1))
    t.look(frame(3.2))
    asked = t.next()
    assert seconds(asked) == [2.1, 3.2] and t.add(asked, said(0.3), 0.5).reward == pytest.approx(0.3)


def test_what_is_removed_gets_no_answer():
    t = targets()
    t.look(frame(0))
    t.look(frame(2))
    asked = t.next()
    t.remove("camera")
    t.remove("camera")
    assert t.labels == [] and t.add(asked, said(1.0), 0.5) is None


@pytest.mark.parametrize("image", [frame(1, image=False), broken(1)])
def test_beside_geometry_a_frame_without_an_image_ends_what_the_model_is_asked(image):
    t = targets(source="both")
    t.look(frame(0))
    t.set("camera", "front", image, None, has_goal=False)
    assert t.labels == []


def test_geometry_alone_asks_nothing():
    t = targets(source="geometry")
    t.set("mug", "front", frame(0), (0, 0, 9, 9), has_goal=False)
    for now in range(5):
        assert not t.wants(frame(now))
        t.look(frame(now))
    assert t.next() is None and t.labels == []


def test_it_goes_on_after_it_was_pickled():
    t = targets()
    t.look(frame(0))
    t = pickle.loads(pickle.dumps(t))
    assert not t.wants(frame(0.9)) and t.wants(frame(1))
    t.look(frame(1))
    assert t.add(t.next(), said(0.25), 0.5).reward == 0.25


@given(st.tuples(*[st.integers(-300, 300)] * 2), st.tuples(*[st.integers(1, 400)] * 2))
def test_the_middle_of_a_region_is_that_of_its_pixels_in_the_image(corner, size):
    columns, rows = (
        [i for i in range(first, first + count) if 0 <= i < most]
        for first, count, most in zip(corner, size, (200, 100), strict=True)
    )
    if columns and rows:
        assert middle((*corner, *size), frame(0)) == pytest.approx((np.mean(columns), np.mean(rows)))
    else:
        with pytest.raises(SpatialError, match="is outside the image of 200x100 pixels") as error:
            middle((*corner, *size), frame(0))
        assert error.value.code == ErrorCode.BAD_REQUEST


class TestPipeline:
    def pipeline(self, source):
        return SpatialPipeline(build({"cameras": ["front"], "motion.source": source}))

    def test_the_model_alone_needs_neither_depth_nor_pose(self):
        pipeline = self.pipeline("mllm")
        assert all(pipeline.process(frame(now)).rewards == [] for now in (0, 0.5, 1.5))
        assert pipeline.set_target(Target("mug", roi=(0, 0, 40, 40), stamp_ns=5)) == 0
        assert pipeline._targets.labels == ["camera", "mug"]
        asked = [pipeline.next_motion(), pipeline.next_motion()]
        assert {a.target.label for a in asked} == {"camera", "mug"}
        assert pipeline.add_motion(asked[0], said(0.5), 0.5).valid
        with pytest.raises(SpatialError, match="a goal needs"):
            pipeline.set_target(Target("mug", roi=(0, 0, 40, 40), goal=(0, 0, 0)))

    def test_geometry_follows_a_camera_without_images_also_beside_the_model(self):
        pipeline = self.pipeline("both")
        for i in range(2):
            pipeline.process(Frame(SECOND * (i + 1), CAMERA, world_from_camera=np.eye(4)))
        assert pipeline.set_target(Target("camera")) == 0
        (reward,) = pipeline.process(Frame(SECOND * 3, CAMERA, world_from_camera=np.eye(4))).rewards
        assert reward.valid and reward.reference_ns == 2 * SECOND

    def test_answers_about_what_was_forgotten_are_dropped(self):
        pipeline = self.pipeline("both")
        for now in (0, 2):
            pipeline.process(frame(now))
        asked = pipeline.next_motion()
        pipeline.reset()
        assert pipeline.add_motion(asked, said(0.5), 0.5) is None and pipeline.next_motion() is None

    def test_a_region_before_a_jump_is_not_asked_about(self):
        def posed(now, x):
            pose = np.eye(4)
            pose[0, 3] = x
            pixels = np.zeros((CAMERA.height, CAMERA.width, 3), np.uint8)
            return Frame(round(now * SECOND) + 5, CAMERA, image=pixels, world_from_camera=pose)

        pipeline = self.pipeline("mllm")
        for i in range(4):
            pipeline.process(posed(0.1 * i, 3.0 * (i >= 2)))
        with pytest.raises(
            SpatialError, match=r"camera 'front' has jumped since 0\.100 s: choose a later frame"
        ) as error:
            pipeline.set_target(Target("mug", roi=(0, 0, 40, 40), stamp_ns=SECOND // 10 + 5))
        assert error.value.code == ErrorCode.NO_FRAMES
        pipeline.set_target(Target("mug", roi=(0, 0, 40, 40), stamp_ns=SECOND // 5 + 5))
        pipeline.set_target(Target("camera", stamp_ns=SECOND // 10 + 5))
        for now in (0.4, 1.5):
            pipeline.process(posed(now, 3.0))
        asked = {a.target.label: seconds(a) for a in (pipeline.next_motion(), pipeline.next_motion())}
        assert asked == {"mug": [0.2, 1.5], "camera": [0.4, 1.5]}

    def test_no_model_is_said_at_once(self):
        with pytest.raises(ValueError, match=r"motion\.source = both needs a model"):
            build({"motion.source": "both", "ask.model": "none"})
