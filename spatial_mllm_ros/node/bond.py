"""A bond with nav2's lifecycle manager: heartbeats while the node is active, so that the manager sees it hang or die.

The manager of nav2 (``bond_timeout``) waits for a ``bond/msg/Status`` with the node's name as ``id`` after activation,
and brings its nodes down when those stay away. This is the managed node's side, as nav2_util's LifecycleNode has it.
"""

from uuid import uuid4

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.lifecycle import LifecycleNode

try:
    from bond.msg import Status
except ImportError:  # of a ROS 2 without the package bond
    Status = None

TOPIC = "bond"
TIMEOUT = 4.0  # s without a heartbeat after which the other side takes this one for dead, as in nav2


class Bond:
    """Says that the node is alive, from :meth:`form` to :meth:`part`, every ``period`` seconds of real time."""

    def __init__(self, node: LifecycleNode, period: float):
        self._node, self._period, self._timer = node, period, None
        self._instance = str(uuid4())
        if Status is None:
            node.get_logger().warning("no bond with a lifecycle manager: the package bond is missing")
        self._publisher = node.create_publisher(Status, TOPIC, 5) if Status is not None else None

    def form(self) -> None:
        if self._publisher is not None:
            self._timer = self._node.create_timer(
                self._period,
                lambda: self._say(True),
                callback_group=MutuallyExclusiveCallbackGroup(),
                clock=Clock(clock_type=ClockType.STEADY_TIME),
            )
            self._say(True)

    def part(self) -> None:
        """The node was deactivated, which is no death."""
        if self._timer is not None:
            self._node.destroy_timer(self._timer)
            self._timer = None
            self._say(False)

    def close(self) -> None:
        self.part()
        if self._publisher is not None:
            self._node.destroy_publisher(self._publisher)

    def _say(self, active: bool) -> None:
        if self._publisher is not None and Status is not None:
            message = Status(id=self._node.get_name(), instance_id=self._instance, active=active)
            message.header.stamp = self._node.get_clock().now().to_msg()
            message.heartbeat_timeout, message.heartbeat_period = TIMEOUT, self._period
            self._publisher.publish(message)
