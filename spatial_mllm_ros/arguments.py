"""Arguments of ROS among those of a command."""

from collections.abc import Sequence

BEGIN, END = "--ros-args", "--"


def split(args: Sequence[str]) -> tuple[list[str], list[str]]:
    """The command's own arguments, and those of ROS: what is between ``--ros-args`` and ``--`` or the end."""
    own: list[str] = []
    ros: list[str] = []
    into = own
    for arg in args:
        if arg == BEGIN:
            into = ros
        elif arg == END and into is ros:
            into = own
        else:
            into.append(arg)
    return own, ros
