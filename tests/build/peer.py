"""The other process of test_exchange: answers questions, publishes what it was asked to, until its input ends."""

import contextlib
import sys
from threading import Thread

import rclpy
from geometry_msgs.msg import TransformStamped
from rclpy.action import ActionServer
from rclpy.executors import ExternalShutdownException
from rclpy.qos import DurabilityPolicy, QoSProfile
from spatial_mllm_msgs.action import AskSpatial as AskSpatialAction
from spatial_mllm_msgs.msg import MotionReward
from spatial_mllm_msgs.srv import AskSpatial
from tf2_msgs.msg import TFMessage

rclpy.init()
node = rclpy.create_node("peer")
latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
rewards = node.create_publisher(MotionReward, "reward", latched)
transforms = node.create_publisher(TFMessage, "tf", latched)


def answer(request, response):
    response.error_code = AskSpatial.Response.MODEL_NOT_READY
    response.answer = request.question[::-1]
    response.value = float("nan")
    response.choice = -1
    reward = MotionReward(target="drawer", valid=True, distance=0.25, reward=-0.125, source="geometry")
    reward.displacement.z = -0.25
    rewards.publish(reward)
    transform = TransformStamped(child_frame_id="camera")
    transform.header.frame_id = "odom"
    transform.transform.translation.x = 1.5
    transforms.publish(TFMessage(transforms=[transform]))
    return response


def progress(goal):
    goal.publish_feedback(AskSpatialAction.Feedback(stage="generating", partial_answer="to the"))
    goal.succeed()
    return AskSpatialAction.Result(answer="to the left", confidence=0.5)


node.create_service(AskSpatial, "ask", answer)
ActionServer(node, AskSpatialAction, "ask_with_progress", progress)
Thread(target=lambda: (sys.stdin.read(), rclpy.shutdown()), daemon=True).start()
with contextlib.suppress(ExternalShutdownException):
    rclpy.spin(node)
