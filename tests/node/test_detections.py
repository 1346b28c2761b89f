"""Detections of any detector become reward targets by their labels."""

from math import cos, hypot, pi, sin

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spatial_mllm_msgs.msg import MotionReward
from std_msgs.msg import Header
from vision_msgs.msg import (
    BoundingBox2D,
    Detection2D,
    Detection2DArray,
    ObjectHypothesis,
    ObjectHypothesisWithPose,
    Point2D,
    Pose2D,
)

from spatial_mllm_ros.node.detections import best, upright

from .process import polled, until
from .scene import HEIGHT, STEP, WIDTH, Sensors, stamp


def detection(x, y, width, height, theta=0.0, **scores):
    results = [
        ObjectHypothesisWithPose(hypothesis=ObjectHypothesis(class_id=label, score=score))
        for label, score in scores.items()
    ]
    box = BoundingBox2D(center=Pose2D(position=Point2D(x=x, y=y), theta=theta), size_x=width, size_y=height)
    return Detection2D(results=results, bbox=box)


def test_the_most_certain_detection_of_each_wanted_label():
    found = best(
        [
            detection(50.0, 40.0, 20.0, 10.0, cup=0.6, bowl=0.9),
            detection(80.0, 40.0, 20.0, 10.0, cup=0.8),
            detection(10.0, 40.0, 20.0, 10.0, cup=0.7, dog=1.0),
            detection(10.0, 40.0, 20.0, 10.0, lamp=0.49),
        ],
        ["cup", "bowl", "lamp", "car"],
        0.5,
    )
    assert found == {"cup": (0.8, (70, 35, 20, 10)), "bowl": (0.9, (40, 35, 20, 10))}


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -1e9])
def test_boxes_that_cannot_be_are_passed_over(bad):
    assert not best([detection(bad, 40.0, 20.0, 10.0, cup=0.9)], ["cup"], 0.5)
    assert not best([detection(50.0, 40.0, bad, 10.0, cup=0.9)], ["cup"], 0.5)
    assert not best([detection(50.0, 40.0, 20.0, 10.0, theta=bad, cup=0.9)], ["cup"], 0.5)
    assert not best([detection(50.0, 40.0, 0.0, 0.0, cup=0.9)], ["cup"], 0.5)


@given(st.floats(-50, 700), st.floats(-50, 500), st.floats(-7, 7), st.floats(1, 300), st.floats(1, 300))
def test_the_upright_box_holds_the_turned_one(x, y, theta, width, height):
    left, top, w, h = upright(x, y, theta, width, height)
    assert left >= 0 and top >= 0 and w >= 1 and h >= 1
    halves = [(a * width / 2, b * height / 2) for a in (-1, 1) for b in (-1, 1)]
    for p, q in halves:
        u, v = x + p * cos(theta) - q * sin(theta), y + p * sin(theta) + q * cos(theta)
        assert u < 0 or left - 0.5 <= u <= max(left + w, 1) + 0.5
        assert v < 0 or top - 0.5 <= v <= max(top + h, 1) + 0.5
    assert w <= hypot(width, height) + 1 and h <= hypot(width, height) + 1


def test_a_quarter_turn_swaps_the_sides():
    assert upright(50.0, 40.0, pi / 2, 20.0, 10.0) == (45, 30, 10, 20)


@pytest.mark.live
def test_a_detected_thing_is_followed_and_followed_again_after_a_reset(robot, start):
    from std_srvs.srv import Trigger

    node = start(
        {
            "camera.detections_topic": "detections",
            "motion.follow": "poster, dog",
            "motion.follow_score": 0.6,
            "status_rate": 10.0,
        }
    )
    rewards = robot.listen(MotionReward, "/spatial_mllm/motion_reward")
    sensors = Sensors(robot)
    sensors.processed(rewards, 0)
    detector = robot.publisher(Detection2DArray, "/camera/detections")

    def followed():
        ns = sensors.send(0)
        header = Header(stamp=stamp(ns), frame_id="camera_optical")
        seen = detection(WIDTH / 2, HEIGHT / 2, WIDTH / 2, HEIGHT / 2, poster=0.9, cat=0.95)
        weak = detection(WIDTH / 2, HEIGHT / 2, WIDTH / 2, HEIGHT / 2, dog=0.5)
        detector.publish(Detection2DArray(header=header, detections=[seen, weak]))
        return [r for r in rewards if r.target == "poster" and r.valid]

    first = polled(followed, "rewards of the poster")[0]
    assert first.distance == pytest.approx(0, abs=0.01)
    node.says("following 'poster', detected with 0.90 in 'camera'")
    assert {r.target for r in rewards} == {"camera", "poster"}
    # The wall stands still while the camera moves along it.
    for i in range(1, 5):
        sensors.processed(rewards, i)
    last = until(lambda: [r for r in rewards if r.target == "poster"][-1], "a reward")
    assert last.valid and last.distance < STEP / 2

    assert robot.call(Trigger, "/spatial_mllm/reset_memory").success
    del rewards[:]
    polled(followed, "rewards of the poster after a reset")
