"""The executable ``spatial_mllm_node``."""

import signal
import sys
from threading import Event, Thread
from traceback import format_exc

import rclpy
from rclpy.executors import MultiThreadedExecutor
from rclpy.impl.logging_severity import LoggingSeverity
from rclpy.logging import get_logger_effective_level, set_logger_level
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import ok, try_shutdown

from ..config import describe
from ..middleware import make_room_for_images
from .malloc import few_arenas
from .services import AT_ONCE
from .spatial_node import SpatialNode

# At most, made where they are needed: requests, one each for status, rclpy's own services and the question that is
# answered, and the questions that wait.
THREADS = AT_ONCE + 3 + describe()["ask.waiting"]["high"]


def main(args: list[str] | None = None) -> None:
    """Run the node until SIGINT or SIGTERM; exits with 1 where autostart fails."""
    end = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: end.set())
    few_arenas()
    make_room_for_images()
    try:
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    except RuntimeError as error:  # such as a parameter file that is no YAML; rcl adds places in its own sources
        sys.exit(f"spatial_mllm_node: {in_a_line(error)}")
    quieten_rcl(sys.argv if args is None else args)
    try:
        node = SpatialNode()
    except ValueError as error:  # rclpy cannot declare what has no type
        sys.exit(f"spatial_mllm_node: a parameter is an empty list, and cameras needs a name at least: {error}")
    except RuntimeError as error:  # of the middleware, as where security is enabled and it was built without
        sys.exit(f"spatial_mllm_node: {in_a_line(error)}")
    executor = MultiThreadedExecutor(THREADS)
    executor.add_node(node)
    failed = node.autostart and not node.start()
    if not failed:
        spinning = Thread(target=spin, args=(executor, node, end), name="executor")
        spinning.start()
        end.wait()
        node.hang_up()
        executor.shutdown()
        spinning.join()
    node.end()
    node.destroy_node()
    try_shutdown()
    sys.exit(1 if failed else 0)


def in_a_line(error: RuntimeError) -> str:
    """What rcl says, without places in its own sources, and what to do."""
    why = " ".join(str(error).partition(", at /")[0].split())
    remedies = {
        "log directory": "set ROS_LOG_DIR to a folder that can be written",
        "security": "docs/security.md says what SROS 2 needs",
    }
    return "; ".join([why, *(remedy for word, remedy in remedies.items() if word in why.lower())])


def quieten_rcl(args: list[str]) -> None:
    """``--log-level debug`` is about this node: of what rcl says there are thousands of lines, and it can be named."""
    for name in ("rcl", "rmw_fastrtps_cpp", "rmw_cyclonedds_cpp", "rmw_zenoh_cpp"):
        if get_logger_effective_level(name) < LoggingSeverity.INFO and not any(a.startswith(f"{name}:=") for a in args):
            set_logger_level(name, LoggingSeverity.INFO)


def spin(executor: MultiThreadedExecutor, node: SpatialNode, end: Event) -> None:
    """Execute callbacks; one that raises (rclpy's lifecycle services do, on a wrong request) does not end the node."""
    while not end.is_set() and ok():
        try:
            executor.spin()
        except Exception:
            if not end.is_set():
                node.get_logger().error(f"a callback failed:\n{format_exc()}")
    end.set()


if __name__ == "__main__":
    main()
