"""What the installed executables begin with: they end quietly from their first moment on, and say what is missing.

Until the signals are in hand nothing more is imported than that needs: the rest takes a second or two.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

NODE = "spatial_mllm_node"
INTERRUPTED = 130  # what shells say of a command that Ctrl-C has ended
USAGE = f"{NODE} [-h] [--ros-args [-p NAME:=VALUE] [--params-file FILE] [-r FROM:=TO] [--log-level LEVEL]]"
ABOUT = """\
The ROS 2 lifecycle node spatial_mllm: selects the frames that cover the scene, answers questions about it, measures
how far things moved, and publishes that as a reward.
"""
MORE = """\
{parameters} is the manual of all parameters; the other files beside it are for recordings, colour alone and several
cameras. docs/ros-api.md of the repository has every topic, service, action and parameter.

With parameters, a recording or RViz: ros2 launch spatial_mllm_ros bringup.launch.py --show-args
"""


def node() -> None:
    """``spatial_mllm_node``: SIGINT and SIGTERM end it with 0 at any time, what it lacks with 1 and a line."""
    quiet(0)
    from argparse import ArgumentParser, RawDescriptionHelpFormatter

    from .arguments import split

    parser = ArgumentParser(NODE, USAGE, ABOUT, formatter_class=RawDescriptionHelpFormatter)
    parser.epilog = MORE.format(parameters=manual())
    _, unknown = parser.parse_known_args(split(sys.argv[1:])[0])
    if unknown:
        parser.error(f"{' '.join(unknown)}: what is for ROS comes after --ros-args, and there is nothing else to say")
    try:
        from .node.main import main
    except ImportError as error:
        sys.exit(f"{NODE}: {missing(error)}")
    main()


def command() -> None:
    """``spatial-mllm``: SIGINT and SIGTERM while it is loaded end it without a traceback, of ``play`` with 0."""
    plays = "play" in sys.argv[1:3]  # after --debug at most
    before = quiet(0 if plays else INTERRUPTED)
    try:
        from .cli import app
    except ImportError as error:
        sys.exit(f"error: {missing(error)}")
    if not plays:  # others leave what they write whole or not at all
        for number, handler in before.items():
            signal.signal(number, handler)
    app()


def quiet(code: int) -> dict[int, Any]:
    """From now on SIGINT and SIGTERM end this process at once, with this exit code, until others handle them.

    Nothing has begun yet that would have to be brought to an end.

    Returns:
        signal -> what it did before.
    """
    numbers = (signal.SIGINT, signal.SIGTERM)
    return {number: signal.signal(number, lambda *_: os._exit(code)) for number in numbers}


def manual() -> Path:
    """Where ``rgbd.yaml`` lies: in a source tree, or below ``share`` where pip or colcon installed it."""
    from pathlib import Path

    package = Path(__file__).resolve().parent
    places = [package.parent, *(parent / "share" / package.name for parent in package.parents)]
    found = (place / "config" / "rgbd.yaml" for place in places)
    return next((file for file in found if file.is_file()), Path("config", "rgbd.yaml"))


def missing(error: ImportError) -> str:
    """What cannot be imported, and the command that mends it."""
    from .doctor import install_command

    package = (error.name or "").partition(".")[0]
    if isinstance(error, ModuleNotFoundError) and package:
        return f"{package} is not installed: {install_command(package)}"
    if package.endswith("_msgs"):  # of an older build: what is asked for is not in it
        return f"{error.msg}; {package} is of another version than this node: {install_command(package)}"
    raise error
