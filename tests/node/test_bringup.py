"""What the launch file starts, started without launch: a recording in a namespace reaches the node that is there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from spatial_mllm_msgs.msg import CoverageStatus, SelectedFrames

from spatial_mllm_ros import bringup
from spatial_mllm_ros.recordings import recording_info

from .process import DOMAIN, SECONDS, until

pytestmark = pytest.mark.live

ROOT = Path(__file__).parents[2]
COMMAND = "#!{}\nfrom spatial_mllm_ros.executables import command\ncommand()\n"


def test_every_frame_of_a_recording_is_counted_in_a_namespace(start, robot, simulated_bag, tmp_path):
    """The default parameter file, which says raw, and a recording whose images are compressed."""
    command = tmp_path / "spatial-mllm"
    command.write_text(COMMAND.format(sys.executable))
    command.chmod(0o755)
    given = {name: default for name, (default, _) in bringup.ARGUMENTS.items()}
    given |= {"bag": str(simulated_bag), "namespace": "robot1", "model": "none"}
    plan = bringup.plan(given, ROOT, lambda bag: bringup.look_into(bag, str(command)), lambda package: True)
    file = tmp_path / "plan.yaml"
    file.write_text(plan.parameters)
    environment = os.environ | {"ROS_DOMAIN_ID": str(DOMAIN), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
    coverage = robot.listen(CoverageStatus, "/robot1/spatial_mllm/coverage")
    selected = robot.listen(SelectedFrames, "/robot1/spatial_mllm/selected_frames")
    player = subprocess.Popen([command, *plan.player], env=environment, stderr=subprocess.PIPE, text=True)
    try:  # it waits for the node
        node = start({}, "--params-file", str(file), "-r", f"__ns:={plan.namespace}")
        image = recording_info(simulated_bag).cameras["camera"].image
        (frames,) = (topic.count for topic in recording_info(simulated_bag).topics if topic.name == image)
        until(lambda: coverage and coverage[-1].frames_seen + coverage[-1].frames_dropped >= frames, "every frame")
        assert coverage[-1].frames_seen > 0.8 * frames and coverage[-1].geometry_source == "depth"
        until(lambda: selected and selected[-1].frames, "selected frames")
        _, said = player.communicate(timeout=SECONDS)
        assert player.returncode == 0 and "played" in said
    finally:
        player.kill()
        player.communicate()
    assert node.signal() == 0
