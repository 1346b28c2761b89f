"""Arguments of ROS on a command that is a node, as ``ros2 run`` and launch files give them."""

from collections.abc import Sequence

import typer
from typer.core import TyperCommand

BEGIN, END = "--ros-args", "--"


class NodeCommand(TyperCommand):
    """A command that also takes ``--ros-args ... [--]``; :func:`ros_args` has what stands there."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # pyright: ignore[reportIncompatibleMethodOverride]
        own, ctx.meta[BEGIN] = split(args)
        return super().parse_args(ctx, own)


def ros_args(ctx: typer.Context) -> list[str]:
    return ctx.meta[BEGIN]


def split(args: Sequence[str]) -> tuple[list[str], list[str]]:
    """The command's own arguments, and those of ROS."""
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
