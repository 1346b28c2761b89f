"""Several clients at once, clients that vanish, and several cameras: images are never delayed by requests."""

import os
import subprocess
import sys
from time import time_ns

import pytest
from rclpy.action import ActionClient
from spatial_mllm_msgs.action import AskSpatial as AskAction
from spatial_mllm_msgs.msg import MotionReward, SelectedFrames
from spatial_mllm_msgs.srv import AskSpatial, MeasureMotion
from std_srvs.srv import Trigger

from .process import DOMAIN, Robot, changed, finished, polled, until
from .scene import LATCHED, STEP, Sensors, stamp

pytestmark = pytest.mark.live
BUSY, CANCELED = 5, 7
VANISHING = """
import os, rclpy
from rclpy.action import ActionClient
from spatial_mllm_msgs.action import AskSpatial as AskAction
from spatial_mllm_msgs.srv import MeasureMotion
rclpy.init()
node = rclpy.create_node("vanishing")
client = node.create_client(MeasureMotion, "/spatial_mllm/measure_motion")
action = ActionClient(node, AskAction, "/spatial_mllm/ask_with_progress")
assert client.wait_for_service(10) and action.wait_for_server(10)
for i in range(20):
    client.call_async(MeasureMotion.Request(target="point", camera="left", u=40.0 + i, v=36.0))
    action.send_goal_async(AskAction.Goal(question="Where am I?"))
os._exit(0)
"""


@pytest.fixture(scope="module")
def node(start):
    node = start({"cameras": ["left", "right"], "status_rate": 10.0, "sync.stale_after": 60.0})
    node.says("configured for 2 camera(s): left, right")
    return node


@pytest.fixture(scope="module")
def cameras(node, robot):
    """Two cameras with a few frames in memory; only the first one's motion is rewarded."""
    rewards = robot.listen(MotionReward, "/spatial_mllm/motion_reward")
    left = Sensors(robot, "left")
    left.processed(rewards, 0)
    for i in range(1, 8):
        left.processed(rewards, i)
    return left, Sensors(robot, "right")


def test_cameras_have_memories_of_their_own(robot, cameras):
    _, right = cameras
    selected = robot.listen(SelectedFrames, "/spatial_mllm/selected_frames", LATCHED)

    def seen():
        right.send(500)
        return selected and {f.camera for f in selected[-1].frames} == {"left", "right"}

    polled(seen, "frames of both cameras")
    answer = robot.call(MeasureMotion, "/spatial_mllm/measure_motion", target="camera")
    assert answer.error_msg == "camera is empty, but there are several: left, right"
    answer = robot.call(MeasureMotion, "/spatial_mllm/measure_motion", target="camera", camera="left")
    assert answer.distance == pytest.approx(7 * STEP, abs=1e-9)


def test_many_requests_at_once_are_answered_or_refused_as_busy(robot, cameras):
    robots = [Robot(f"client_{i}") for i in range(3)]
    request = MeasureMotion.Request(target="point", camera="left", u=40.0, v=36.0)
    clients = [r.client(MeasureMotion, "/spatial_mllm/measure_motion") for r in robots]
    futures = [client.call_async(request) for client in clients for _ in range(10)]
    codes = {finished(f, "measure_motion").error_code for f in futures}
    assert 0 in codes
    assert codes <= {0, BUSY}
    for r in robots:
        r.close()


def test_images_are_processed_while_requests_are(robot, cameras):
    left, _ = cameras
    rewards = robot.heard["/spatial_mllm/motion_reward"]
    client = robot.client(MeasureMotion, "/spatial_mllm/measure_motion")
    request = MeasureMotion.Request(target="point", camera="left", u=40.0, v=36.0)
    answers = [client.call_async(request) for _ in range(12)]
    sent = stamp(left.send(8))
    until(lambda: [r for r in rewards if r.header.stamp == sent], "a frame among requests")
    assert all(finished(a, "measure_motion").error_code in (0, BUSY) for a in answers)


def test_clients_that_vanish_leave_the_node_as_it_was(robot, node, cameras):
    environment = os.environ | {"ROS_DOMAIN_ID": str(DOMAIN), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
    assert subprocess.run([sys.executable, "-c", VANISHING], env=environment, timeout=30).returncode == 0
    left, _ = cameras
    assert left.processed(robot.heard["/spatial_mllm/motion_reward"], 9).valid
    answered = {"target": "camera", "camera": "left"}
    polled(lambda: robot.call(MeasureMotion, "/spatial_mllm/measure_motion", **answered).error_code == 0, "an answer")
    assert "Traceback" not in node.log


def test_many_goals_at_once_and_their_cancellation(robot, cameras):
    client = ActionClient(robot.node, AskAction, "/spatial_mllm/ask_with_progress")
    assert client.wait_for_server(10)
    goals = [finished(client.send_goal_async(AskAction.Goal(question="Where?")), "goal") for _ in range(8)]
    for goal in goals:
        assert goal.accepted
        goal.cancel_goal_async()  # may come too late: then the result is that no model is there
    codes = {finished(g.get_result_async(), "result").result.error_code for g in goals}
    assert codes <= {AskSpatial.Response.MODEL_NOT_READY, BUSY, CANCELED}
    client.destroy()


def test_reset_by_many_clients_while_frames_arrive(robot, cameras):
    left, _ = cameras
    client = robot.client(Trigger, "/spatial_mllm/reset_memory")
    futures = []
    for i in range(20):
        left.send(10 + i)
        futures.append(client.call_async(Trigger.Request()))
        with changed:
            changed.wait(0.01)
    messages = {finished(f, "reset_memory").success for f in futures}
    assert True in messages
    assert left.processed(robot.heard["/spatial_mllm/motion_reward"], 40).valid


def test_it_ends_cleanly_among_requests(robot, node, cameras):
    client = robot.client(MeasureMotion, "/spatial_mllm/measure_motion")
    request = MeasureMotion.Request(target="point", camera="left", u=40.0, v=36.0)
    for _ in range(10):
        client.call_async(request)
    cameras[0].send(50, time_ns())
    assert node.signal() == 0
    assert "Traceback" not in node.log
