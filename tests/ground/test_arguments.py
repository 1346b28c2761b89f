"""Arguments of ROS among those of a command."""

import pytest

from spatial_mllm_ros.arguments import split


@pytest.mark.parametrize(
    ("arguments", "own", "ros"),
    [
        ("play BAG --loop", "play BAG --loop", ""),
        ("BAG --ros-args -r __ns:=/a -p x:=1", "BAG", "-r __ns:=/a -p x:=1"),
        ("--ros-args -r a:=b -- BAG --ros-args --log-level warn", "BAG", "-r a:=b --log-level warn"),
        ("BAG -- --ros-args", "BAG --", ""),
    ],
)
def test_arguments_of_ros_are_told_from_those_of_the_command(arguments, own, ros):
    assert split(arguments.split()) == (own.split(), ros.split())
