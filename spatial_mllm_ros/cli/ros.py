"""Arguments of ROS on a command that is a node, as ``ros2 run`` and launch files give them."""

import typer
from typer.core import TyperCommand

from ..arguments import BEGIN, split


class NodeCommand(TyperCommand):
    """A command that also takes ``--ros-args ... [--]``; :func:`ros_args` has what stands there."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # pyright: ignore[reportIncompatibleMethodOverride]
        own, ctx.meta[BEGIN] = split(args)
        return super().parse_args(ctx, own)


def ros_args(ctx: typer.Context) -> list[str]:
    return ctx.meta[BEGIN]
