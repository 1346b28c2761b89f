"""Motion as a model judges it: when it is asked, about what, and what its answers are worth."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spatial_mllm_ros.config import MotionParams, build
from spatial_mllm_ros.errors import ErrorCode, SpatialError
from spatial_mllm_ros.frames import Camera, Frame
from spatial_mllm_ros.mllm import Answer, AnswerType, Verdict
from spatial_mllm_ros.motion.asked import AskedTargets, middle
from spatial_mllm_ros.pipeline import SpatialPipeline

CAMERA = Camera("front", "optical", 200, 100, np.array([[100.0, 0, 99.5], [0, 100, 49.5], [0, 0, 1]]))
SECOND = 1_000_000_000


def frame(seconds, camera=CAMERA, image=True):
    pixels = np.zeros((camera.height, camera.width, 3), np.uint8) if image else None
    return Frame(round(seconds * SECOND) + 5, camera, image=pixels)


def said(metres, confidence=0.8, unit="m", verdict=Verdict.ANSWERED):
    return Answer(verdict, f"{metres} {unit}", metres, unit, confidence=confidence)


def targets(interval=1.0, source="both"):
    return AskedTargets(MotionParams(source=source, ask_interval=interval), "front")


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
    assert [r.path_length for r in given] == pytest.approx([0.5, 0.8, 0.8, 1.495])  # 5 mm are within the dead band
    assert all(r.valid and r.source == "mllm" and r.target == "camera" for r in given)
    assert all(np.isnan(r.displacement).all() and r.reference_ns == 5 for r in given)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (said(0.4, confidence=0.59), "sure to 0.59"),
        (said(4.0, unit="deg"), "no length"),
        (said(float("nan")), "no length"),
        (said(0.4, verdict=Verdict.NOT_OBSERVED), "no length"),
        (said(0.4, verdict=Verdict.UNSURE), "no length"),
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
    t.reset()
    assert t.add(first, said(1.0), 0.5) is None
    with pytest.raises(SpatialError, match="no image") as error:
        t.set("mug", "front", frame(3, image=False), (0, 0, 9, 9), has_goal=False)
    assert error.value.code == ErrorCode.NO_FRAMES


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
def test_the_middle_of_a_region_lies_in_the_image(corner, size):
    u, v = middle((*corner, *size), frame(0))
    assert 0 <= u <= 199 and 0 <= v <= 99


class TestPipeline:
    def pipeline(self, source):
        return SpatialPipeline(build({"cameras": ["front"], "motion.source": source}))

    def test_the_model_alone_needs_neither_depth_nor_pose(self):
        pipeline = self.pipeline("mllm")
        assert all(pipeline.process(frame(now)).rewards == [] for now in (0, 0.5, 1.5))
        assert pipeline.set_target("mug", roi=(0, 0, 40, 40), stamp_ns=5) == 0
        assert pipeline.targets == ["camera", "mug"]
        asked = [pipeline.next_motion(), pipeline.next_motion()]
        assert {a.target.label for a in asked} == {"camera", "mug"}
        assert pipeline.add_motion(asked[0], said(0.5), 0.5).valid
        with pytest.raises(SpatialError, match="a goal needs"):
            pipeline.set_target("mug", roi=(0, 0, 40, 40), goal=np.zeros(3))

    def test_answers_about_what_was_forgotten_are_dropped(self):
        pipeline = self.pipeline("both")
        for now in (0, 2):
            pipeline.process(frame(now))
        asked = pipeline.next_motion()
        pipeline.reset()
        assert pipeline.add_motion(asked, said(0.5), 0.5) is None and pipeline.next_motion() is None

    def test_no_model_is_said_at_once(self):
        with pytest.raises(ValueError, match=r"motion\.source = both needs a model"):
            build({"motion.source": "both", "ask.model": "none"})
