"""The generated interfaces work between two processes: topics, a service and an action, over DDS on loopback."""

import math
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

rclpy = pytest.importorskip("rclpy", reason="no ROS 2 in this environment (wheels exist for Python 3.11 and 3.12)")

pytestmark = pytest.mark.live

SECONDS = 30


def wait_for(node, condition, what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"no {what} within {SECONDS} s"
        rclpy.spin_once(node, timeout_sec=0.1)


@pytest.fixture
def node(monkeypatch):
    """A node of this process, with the peer process running beside it."""
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    monkeypatch.setenv("ROS_DOMAIN_ID", str(os.getpid() % 101 + 1))
    peer = subprocess.Popen([sys.executable, Path(__file__).with_name("peer.py")], stdin=subprocess.PIPE)
    rclpy.init()
    node = rclpy.create_node("exchange")
    yield node
    node.destroy_node()
    rclpy.shutdown()
    assert peer.stdin is not None
    peer.stdin.close()
    assert peer.wait(SECONDS) == 0


def test_service_and_topics(node):
    from rclpy.qos import DurabilityPolicy, QoSProfile
    from spatial_mllm_msgs.msg import MotionReward
    from spatial_mllm_msgs.srv import AskSpatial
    from tf2_msgs.msg import TFMessage

    rewards, transforms = [], []
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    node.create_subscription(MotionReward, "reward", rewards.append, latched)
    node.create_subscription(TFMessage, "tf", transforms.append, latched)
    client = node.create_client(AskSpatial, "ask")
    wait_for(node, client.service_is_ready, "service")

    asked = client.call_async(AskSpatial.Request(question="Is the mug left of the laptop?"))
    wait_for(node, asked.done, "answer")
    answer = asked.result()
    assert answer.answer == "?potpal eht fo tfel gum eht sI"
    assert answer.error_code == AskSpatial.Response.MODEL_NOT_READY == 2
    assert math.isnan(answer.value)
    assert answer.choice == -1

    wait_for(node, lambda: rewards and transforms, "reward and transform")
    assert (rewards[0].target, rewards[0].distance, rewards[0].reward) == ("drawer", 0.25, -0.125)
    assert rewards[0].displacement.z == -0.25
    assert transforms[0].transforms[0].transform.translation.x == 1.5
    assert transforms[0].transforms[0].header.frame_id == "odom"


def test_action(node):
    from rclpy.action import ActionClient
    from spatial_mllm_msgs.action import AskSpatial

    client = ActionClient(node, AskSpatial, "ask_with_progress")
    wait_for(node, client.server_is_ready, "action")
    stages = []
    sent = client.send_goal_async(
        AskSpatial.Goal(question="Where?"), feedback_callback=lambda message: stages.append(message.feedback.stage)
    )
    wait_for(node, sent.done, "goal")
    result = sent.result().get_result_async()
    wait_for(node, lambda: result.done() and stages, "result and feedback")
    assert stages == ["generating"]
    assert result.result().result.answer == "to the left"
    client.destroy()
