"""Start the node, and with it a recording or RViz: ``ros2 launch spatial_mllm_ros bringup.launch.py --show-args``.

Everything is checked before anything starts, and ends together. What is decided is decided in spatial_mllm_ros.bringup.
"""

import atexit
from pathlib import Path
from tempfile import NamedTemporaryFile

from ament_index_python.packages import PackageNotFoundError, get_package_prefix, get_package_share_directory
from launch.actions import DeclareLaunchArgument, ExecuteProcess, LogInfo, OpaqueFunction, Shutdown
from launch_ros.actions import Node
from launch_ros.substitutions import ExecutableInPackage

from launch import LaunchDescription  # pyright: ignore[reportAttributeAccessIssue]
from spatial_mllm_ros import bringup

PACKAGE = "spatial_mllm_ros"


def generate_launch_description() -> LaunchDescription:
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=text)
        for name, (default, text) in bringup.ARGUMENTS.items()
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=start)])


def start(context) -> list:
    """What is to be started; an error ends the launch with its text, before there is anything to end."""
    given = {name: context.launch_configurations[name] for name in bringup.ARGUMENTS}
    share = Path(get_package_share_directory(PACKAGE))
    command = ExecutableInPackage(executable="spatial-mllm", package=PACKAGE).perform(context)
    try:
        plan = bringup.plan(given, share, lambda bag: bringup.look_into(bag, command), installed)
    except KeyboardInterrupt:
        return [Shutdown(reason="interrupted")]
    actions: list = [LogInfo(msg=f"warning: {plan.warning}")] if plan.warning else []
    actions.append(
        Node(
            package=PACKAGE,
            executable="spatial_mllm_node",
            name=bringup.NODE,
            namespace=plan.namespace,
            parameters=[written(plan.parameters)],
            ros_arguments=["--log-level", plan.log_level],
            output="screen",
            on_exit=Shutdown(reason="the node has ended"),
        )
    )
    if plan.player:

        def ended(event, context):
            if event.returncode or plan.exit_with_player:
                return Shutdown(reason="the player has ended")
            return LogInfo(msg="the recording has ended; the node stays, Ctrl-C ends it")

        actions.append(ExecuteProcess(cmd=[command, *plan.player], output="screen", on_exit=ended))
    if plan.rviz:
        display = share / "rviz" / "spatial_mllm.rviz"
        actions.append(
            Node(
                package="rviz2",
                executable="rviz2",
                namespace=plan.namespace,
                arguments=["-d", str(display), "-f", plan.world_frame],
                parameters=[{"use_sim_time": plan.use_sim_time}],
                remappings=plan.remap,
                on_exit=Shutdown(reason="RViz was closed"),
            )
        )
    return actions


def installed(package: str) -> bool:
    try:
        get_package_prefix(package)
    except PackageNotFoundError:
        return False
    return True


def written(text: str) -> str:
    """The path of a file with this text, until the launch ends."""
    with NamedTemporaryFile("w", prefix="launch_params_", suffix=".yaml", delete=False, encoding="utf-8") as file:
        file.write(text)
    atexit.register(Path(file.name).unlink, missing_ok=True)
    return file.name
