"""Publishers for the topics of a recording, each with the QoS that was offered when it was recorded."""

import warnings
from collections.abc import Callable, Collection
from importlib import import_module
from time import monotonic
from typing import Any

from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rosbags.interfaces import Qos, QosDurability, QosReliability

from ..errors import BagWarning
from ..recording import Recording
from ..restamp import restamper
from ..topic import Topic, offered_qos
from .names import given_name

FLUSH = 1.0  # s at the end for subscribers that still miss messages
SAME_CLOCK = 10_000_000_000  # ns; headers farther than this from the time of their recording run on another clock


class Outputs:
    """What is published.

    Args:
        node: that publishes.
        recording: whose topics.
        topics: those to publish; none publishes all whose types are installed.

    Attributes:
        topics: those that are published, as recorded.
        latched: those of them that late subscribers get, too.
    """

    def __init__(self, node: Node, recording: Recording, topics: Collection[str] = ()):
        self._node, self._recording = node, recording
        self._publishers: dict[str, Publisher] = {}
        self._restampers: dict[str, Any] = {}
        self.latched: set[str] = set()
        for name in topics or recording.topics:
            self._advertise(recording.topics[name])
        self.topics = frozenset(self._publishers)

    def publish(self, topic: Topic, data: bytes, change: Callable[[int], int] | None = None) -> None:
        """Publish a message in CDR; ``change`` makes new header stamps of its old ones, nanoseconds."""
        restamp = self._restampers[topic.name]
        self._publishers[topic.name].publish(restamp(data, change) if restamp and change else data)

    def unheard(self) -> set[str]:
        """Topics, as recorded, that nobody subscribes to."""
        return {name for name, p in self._publishers.items() if not p.get_subscription_count()}

    def flush(self) -> None:
        """Give reliable subscribers the time to fetch what they still miss."""
        deadline = monotonic() + FLUSH
        for publisher in self._publishers.values():
            if publisher.get_subscription_count():
                publisher.wait_for_all_acked(Duration(seconds=max(deadline - monotonic(), 0.0)))

    def header_time(self, begin: int) -> int:
        """What the clock of the headers shows at ``begin``: the time of recording, unless it is another clock."""
        stamps: list[int] = []
        for topic, recorded, data in self._recording.messages(self.topics - self.latched, begin):
            if restamp := self._restampers[topic.name]:
                restamp(data, lambda stamp: stamps.append(stamp) or stamp)
            if stamps:
                return begin if abs(stamps[0] - recorded) < SAME_CLOCK else stamps[0]
        return begin

    def _advertise(self, topic: Topic) -> None:
        package, _, name = topic.type.split("/")
        try:
            kind = getattr(import_module(f"{package}.msg"), name)
        except (ImportError, AttributeError):
            text = f"{topic.name} is not played: the package {package} with {name} is not installed"
            warnings.warn(text, BagWarning, stacklevel=5)
            return
        qos, published = qos_profile(topic), given_name(topic.name, self._node.get_namespace())
        self._publishers[topic.name] = self._node.create_publisher(kind, published, qos)
        if qos.durability == DurabilityPolicy.TRANSIENT_LOCAL:
            self.latched.add(topic.name)
        self._restampers[topic.name] = restamper(topic.type, self._recording.types(topic))


def qos_profile(topic: Topic) -> QoSProfile:
    """What was offered when the topic was recorded, else a default by its name; latched ones keep every message."""
    offered: Qos = (topic.qos or offered_qos(topic.name))[0]
    latched = offered.durability == QosDurability.TRANSIENT_LOCAL
    best_effort = offered.reliability == QosReliability.BEST_EFFORT
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=max(offered.depth, 100 if latched else 10),
        reliability=ReliabilityPolicy.BEST_EFFORT if best_effort else ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )
