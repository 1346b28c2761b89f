"""The node's log: whatever a message, a label or a model says, a line of the log is one, and text."""

from typing import Any

from rclpy.impl import rcutils_logger

from ..printable import printable

callers = getattr(rcutils_logger, "_internal_callers", None)
if isinstance(callers, list):  # what throttles a message is where it comes from, not this file
    callers.append(__file__)


class PlainLogger(rcutils_logger.RcutilsLogger):
    """A logger whose messages are printable; what follows their first line is indented: none looks like another."""

    def log(self, message: Any, *args: Any, **kwargs: Any) -> bool:
        return super().log(printable(str(message)).replace("\n", "\n  "), *args, **kwargs)
