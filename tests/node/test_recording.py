"""A recording played into the node over DDS: what comes out is what was recorded."""

import os
import subprocess
import sys
from math import dist

import pytest
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore
from spatial_mllm_msgs.msg import CoverageStatus, MotionReward

from .process import DOMAIN, polled, until

pytestmark = pytest.mark.live
SECONDS_PLAYED = 2
PATIENT = {"sync.queue_size": 100, "pose.max_wait": 5.0, "status_rate": 10.0}  # drops no frame for being late
PLAY = f"""
import sys
from spatial_mllm_ros.recordings.play import PlayOptions, play
camera = ["/camera/color/image_raw/compressed", "/camera/depth/image_raw/compressed", "/camera/color/camera_info"]
play(sys.argv[1], PlayOptions(duration={SECONDS_PLAYED}, wait=20, wait_for=["/tf", "/tf_static", *camera]))
"""


def recorded_positions(path):
    """Stamp, ns -> position of the camera, which sits at the origin of base_link."""
    out = {}
    with AnyReader([path], default_typestore=get_typestore(Stores.ROS2_JAZZY)) as reader:
        odometry = [c for c in reader.connections if c.topic == "/odom"]
        for connection, _, raw in reader.messages(odometry):
            msg = reader.deserialize(raw, connection.msgtype)
            p = msg.pose.pose.position
            out[msg.header.stamp.sec * 10**9 + msg.header.stamp.nanosec] = (p.x, p.y, p.z)
    return out


def ns(time):
    return time.sec * 10**9 + time.nanosec


def test_camera_distance_is_that_of_the_recorded_poses(robot, start, redkitchen):
    node = start(PATIENT | {"camera.image_transport": "compressed", "camera.depth_transport": "compressed"})
    node.says("configured")
    rewards = robot.listen(MotionReward, "/spatial_mllm/motion_reward")
    status = robot.listen(CoverageStatus, "/spatial_mllm/coverage")
    polled(lambda: status, "coverage")  # the node's publishers and this robot know each other
    environment = os.environ | {"ROS_DOMAIN_ID": str(DOMAIN)}
    command = [sys.executable, "-c", PLAY, str(redkitchen)]
    subprocess.run(command, env=environment, timeout=60, check=True, capture_output=True)
    positions = recorded_positions(redkitchen)
    frames = sorted(positions)[: 30 * SECONDS_PLAYED]
    until(lambda: rewards and ns(rewards[-1].header.stamp) == frames[-1], f"the last frame; {node.log}")
    # subscriptions that are late for the first frames are DDS's way; from then on none is missing
    processed = [ns(r.header.stamp) for r in rewards]
    assert processed == frames[frames.index(processed[0]) :], f"{status[-1].frames_dropped} dropped; {node.log}"
    assert len(processed) >= len(frames) - 10
    assert all(r.valid and r.confidence > 0 for r in rewards)
    for r in rewards:
        expected = dist(positions[ns(r.header.stamp)], positions[ns(r.reference_stamp)])
        assert r.distance == pytest.approx(expected, abs=1e-3)
    assert max(r.distance for r in rewards) > 0.05
    assert sum(r.reward for r in rewards) == pytest.approx(rewards[-1].distance, abs=1e-9)
    assert node.signal() == 0
    assert "Traceback" not in node.log
