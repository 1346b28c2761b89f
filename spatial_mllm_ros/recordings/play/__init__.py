"""Recordings played over DDS: as they are, at their own pace or another, steered while they run."""

import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from threading import current_thread, main_thread
from typing import Any

from ..errors import BagWarning
from ..recording import Recording
from .controls import Controls
from .options import PlayOptions, PlayReport

__all__ = ["Controls", "PlayOptions", "PlayReport", "interruptible", "play"]


def play(
    path: str | Path,
    options: PlayOptions | None = None,
    progress: Callable[[float], None] = lambda seconds: None,
    controls: Controls | None = None,
) -> PlayReport:
    """Publish a recording. SIGINT (Ctrl-C) and SIGTERM end it cleanly where it runs in the main thread.

    Needs ROS 2; without the package rosbag2_interfaces it has no services, and says so in a BagWarning.

    Args:
        progress: called with the recorded seconds played so far.
        controls: by which other threads pause, step and stop it; for this playback alone.

    Raises:
        BagError: not a recording, a topic it does not have, options out of range, or nobody subscribed in time.
    """
    from .player import Player, player_node

    options, controls, report = options or PlayOptions(), controls or Controls(), PlayReport()
    options.check()
    with suppress(KeyboardInterrupt), interruptible(), Recording(path) as recording:
        options.check_with(recording)
        with player_node(options) as node:
            player = Player(node, recording, options, controls, report)
            with _services(node, controls):
                player.play(progress)
    return report


@contextmanager
def interruptible() -> Iterator[None]:
    """SIGINT and SIGTERM raise KeyboardInterrupt, also where a shell has made its background jobs deaf to SIGINT."""
    if current_thread() is not main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, signal.default_int_handler) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before):
            signal.signal(number, handler)


def _services(node: Any, controls: Controls) -> AbstractContextManager[None]:
    try:
        from .services import served
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("rosbag2_interfaces"):
            raise
        remedy = "make setup builds it, apt has ros-$ROS_DISTRO-rosbag2-interfaces"
        text = f"the player has no services: the package rosbag2_interfaces is not installed ({remedy})"
        warnings.warn(text, BagWarning, stacklevel=3)
        return nullcontext()
    return served(node, controls)
