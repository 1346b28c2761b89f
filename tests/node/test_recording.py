"""A recording played into the node over DDS: what comes out is what was recorded."""

import os
import signal
import subprocess
import sys
from math import dist

import pytest
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore
from spatial_mllm_msgs.msg import CoverageStatus, MotionReward

from ..recordings.recordings import rgbd, write_ros2
from .process import DOMAIN, SECONDS, polled, until

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


LOOP = """
import sys
from spatial_mllm_ros.recordings.play import PlayOptions, play
camera = ["/camera/color/image_raw", "/camera/depth/image_rect_raw", "/camera/color/camera_info"]
play(sys.argv[1], PlayOptions(loop=True, restamp=True, wait=20, wait_for=["/tf", "/tf_static", *camera]))
"""
FRAMES, A_FRAME = 60, 0.02  # m


def test_a_loop_with_new_stamps_has_no_reward_across_its_seams(robot, start, tmp_path):
    """The camera moves by 2 cm a frame, and by 1.18 m back where the recording begins again."""
    recording = list(rgbd(FRAMES))
    for i, message in enumerate(message for topic, _, message in recording if topic == "/tf"):
        message.transforms[0].transform.translation.x = A_FRAME * i
    bag = write_ros2(tmp_path / "bag", recording)
    node = start(PATIENT | {"camera.depth_topic": "depth/image_rect_raw", "motion.max_speed": 5.0})
    node.says("configured")
    rewards = robot.listen(MotionReward, "/spatial_mllm/motion_reward")
    status = robot.listen(CoverageStatus, "/spatial_mllm/coverage")
    polled(lambda: status, "coverage")
    environment = os.environ | {"ROS_DOMAIN_ID": str(DOMAIN)}
    player = subprocess.Popen([sys.executable, "-c", LOOP, str(bag)], env=environment)
    try:
        until(lambda: sum(not r.valid for r in rewards) >= 2, "two seams", 2 * SECONDS)
    finally:
        player.send_signal(signal.SIGINT)
        player.wait(SECONDS)
    node.says("camera 'camera' jumped by 1.18", "no motion: rewards of camera start anew", "raise motion.max_speed")
    heard = list(rewards)
    first, last = [i for i, r in enumerate(heard) if not r.valid][:2]
    part = heard[first + 1 : last]
    assert all(r.reward == 0 for r in (heard[first], heard[last]))
    assert all(r.reference_stamp == heard[first].header.stamp for r in part)
    assert [r.reward for r in part] == pytest.approx([A_FRAME] * (FRAMES - 1), abs=1e-9)
    assert part[-1].distance == pytest.approx((FRAMES - 1) * A_FRAME, abs=1e-9)
    assert max(r.reward for r in heard) < 2 * A_FRAME and min(r.reward for r in heard) >= 0
    assert node.signal() == 0
    assert "Traceback" not in node.log
