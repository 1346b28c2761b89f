"""What `doctor --node` says of a running node and its surroundings."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from spatial_mllm_msgs.msg import MotionReward

from spatial_mllm_ros.errors import SpatialError
from spatial_mllm_ros.node.inspection import inspect

from .process import DOMAIN, changed
from .scene import Sensors

pytestmark = pytest.mark.live


@pytest.fixture(autouse=True, scope="module")
def domain():
    before = os.environ.get("ROS_DOMAIN_ID")
    os.environ["ROS_DOMAIN_ID"] = str(DOMAIN)
    yield
    os.environ.pop("ROS_DOMAIN_ID")
    if before is not None:
        os.environ["ROS_DOMAIN_ID"] = before


def while_it_plays(sensors, work, *arguments):
    """The result of some work during which frames come all the time."""
    with ThreadPoolExecutor(1) as pool:
        future, i = pool.submit(work, *arguments), 0
        while not future.done():
            sensors.send(i % 500)
            i += 1
            with changed:
                changed.wait(0.03)
        return future.result()


def by_name(checks):
    return {check.name: check for check in checks}


def test_no_node():
    with pytest.raises(SpatialError, match="found none; both sides need the same ROS_DOMAIN_ID"):
        inspect("/nobody/at_home")


def test_a_node_that_has_all_it_needs(robot, start):
    start({"status_rate": 10.0}).says("configured")
    sensors = Sensors(robot)
    rewards = robot.listen(MotionReward, "/spatial_mllm/motion_reward")
    sensors.processed(rewards, 0)
    checks = while_it_plays(sensors, inspect, "spatial_mllm", 2.0)
    wrong = [check for check in checks if not check.ok]
    assert not wrong
    found = by_name(checks)
    assert found["/spatial_mllm"].found == "active"
    image = found["camera image /camera/color/image_raw"].found
    assert image.startswith("by /robot (best effort, volatile), ") and float(image.split()[-2]) > 0
    assert found["camera in odom"].found == "'odom' from 'camera_optical' is known"
    assert found["stamps of camera"].found == "of this machine's clock"
    assert found["tf_static /tf_static"].found.startswith("by /robot (reliable, transient local)")


def test_what_is_wrong_is_named_with_its_remedy(robot, start):
    parameters = {"pose.world_frame": "map", "cameras": ["camera", "other"], "status_rate": 10.0}
    start(parameters, "--ros-args", "-r", "__ns:=/robot7").says("configured")
    sensors = Sensors(robot, prefix="/robot7")
    checks = while_it_plays(sensors, inspect, "/robot7/spatial_mllm", 2.0)
    found = by_name(checks)
    assert found["/robot7/spatial_mllm"].ok
    assert found["camera image /robot7/camera/color/image_raw"].ok
    missing = found["other image /robot7/other/color/image_raw"]
    assert not missing.ok and missing.needed
    assert "has no publisher" in missing.remedy and "/robot7/camera/color/image_raw" in missing.remedy
    pose = found["camera in map"]
    assert not pose.ok and "frame 'map' is unknown; known are" in pose.remedy and "pose.world_frame" in pose.remedy


def test_the_command(robot, start):
    start({"autostart": False}, "--ros-args", "-r", "__ns:=/robot8")
    command = [sys.executable, "-m", "spatial_mllm_ros.cli", "doctor", "--node", "robot8/spatial_mllm"]
    environment = os.environ | {"ROS_DOMAIN_ID": str(DOMAIN)}
    told = subprocess.run([*command, "--json"], env=environment, capture_output=True, text=True, timeout=60)
    assert told.returncode == 1
    values = json.loads(told.stdout)
    assert not values["can_run"]
    (state,) = [check for check in values["checks"] if check["group"] == "node"]
    assert "it is unconfigured: ros2 lifecycle set /robot8/spatial_mllm configure" in state["remedy"]
    read = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert read.returncode == 1 and "Something is missing." in read.stdout
