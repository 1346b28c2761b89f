"""Start the node, and with it a recording or RViz: ``ros2 launch spatial_mllm_ros bringup.launch.py --show-args``."""

from launch.actions import DeclareLaunchArgument, ExecuteProcess
from launch.conditions import IfCondition
from launch.substitutions import (
    IfElseSubstitution,
    LaunchConfiguration,
    NotEqualsSubstitution,
    PathJoinSubstitution,
)
from launch_ros.actions import Node
from launch_ros.substitutions import ExecutableInPackage, FindPackageShare

from launch import LaunchDescription  # pyright: ignore[reportAttributeAccessIssue]

PACKAGE = "spatial_mllm_ros"
SHOWN = ["spatial_mllm/coverage_markers", "camera/color/image_raw"]  # topics of the RViz display, in the namespace
ARGUMENTS = {
    "params_file": (
        PathJoinSubstitution([FindPackageShare(PACKAGE), "config", "rgbd.yaml"]),
        "parameter file; rgbd.yaml, recording.yaml, rgb_only.yaml and multi_camera.yaml come with the package",
    ),
    "namespace": ("", "namespace of the node and of relative topics"),
    "use_sim_time": ("false", "take time from /clock; with a bag it is then published from there"),
    "autostart": ("true", "configure and activate at once; false waits for a lifecycle manager"),
    "log_level": ("info", "debug, info, warn, error or fatal"),
    "bag": ("", "recording to play, if compressed with recording.yaml; without use_sim_time its stamps become now"),
    "rviz": ("false", "show coverage and selected frames in RViz"),
}


def generate_launch_description() -> LaunchDescription:
    argument = {name: LaunchConfiguration(name) for name in ARGUMENTS}
    node = Node(
        package=PACKAGE,
        executable="spatial_mllm_node",
        name="spatial_mllm",
        namespace=argument["namespace"],
        parameters=[
            argument["params_file"],
            {"use_sim_time": argument["use_sim_time"], "autostart": argument["autostart"]},
        ],
        arguments=["--ros-args", "--log-level", argument["log_level"]],
        output="screen",
    )
    stamps = IfElseSubstitution(argument["use_sim_time"], if_value="--clock", else_value="--restamp")
    player = ExecuteProcess(
        cmd=[
            ExecutableInPackage(executable="spatial-mllm", package=PACKAGE),
            "play",
            argument["bag"],
            stamps,
            "--wait",
            "20",
        ],
        condition=IfCondition(NotEqualsSubstitution(argument["bag"], "")),
        output="screen",
    )
    rviz = Node(
        package="rviz2",
        executable="rviz2",
        namespace=argument["namespace"],
        arguments=["-d", PathJoinSubstitution([FindPackageShare(PACKAGE), "rviz", "spatial_mllm.rviz"])],
        parameters=[{"use_sim_time": argument["use_sim_time"]}],
        remappings=[(f"/{topic}", topic) for topic in SHOWN],
        condition=IfCondition(argument["rviz"]),
    )
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=text)
        for name, (default, text) in ARGUMENTS.items()
    ]
    return LaunchDescription([*declared, node, player, rviz])
