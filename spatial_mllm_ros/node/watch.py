"""Says why nothing arrives: which topic, what is published there instead, and which parameter to change."""

import re
from time import monotonic

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSCompatibility, ReliabilityPolicy, qos_check_compatible

from ..assembler import FrameAssembler
from ..topic_names import TRANSPORTS, split
from .inputs import Stream

SAY_AGAIN = 30.0  # s
DEBUG_IMAGE = "/debug_image/"  # in the names of images that nodes like this one draw
LOSSES = (
    "shared memory or buffers for what is sent are smaller than an image and its depth, where it is published;"
    " docs/middleware.md says what to set there, compressed images are smaller, sync.reliability reliable asks again"
)
MOST_SAID, MOST_CHARACTERS = 500, 500


class Watch:
    """Looks at the streams from time to time and logs each problem once, and again while it lasts.

    Args:
        node: whose graph is asked and whose logger speaks.
        streams: what is subscribed.
        assembler: whose problems are logged too.
    """

    def __init__(self, node: Node, streams: list[Stream], assembler: FrameAssembler):
        self._node, self._streams, self._assembler = node, streams, assembler
        self._said: dict[tuple[str, str], float] = {}
        self._lost: dict[str, int] = {}

    def look(self, stale_after: float) -> None:
        """Log what is wrong now.

        Args:
            stale_after: seconds of silence that are worth a word.
        """
        if self._node.get_clock().now().nanoseconds == 0:
            self._say("clock", "use_sim_time is true, but nothing arrives on /clock: frame ages are not known")
        for stream in self._streams:
            silence = monotonic() - stream.arrived
            if silence > stale_after and self._is_needed(stream):
                why = why_silent(self._node, stream)
                self._say(stream.topic, f"nothing on {stream.topic} for {stale_after:g} s: {why}")
            elif silence <= stale_after:
                self._said = {key: when for key, when in self._said.items() if key[0] != stream.topic}
            self._tell_lost(stream)
        for reason in list(self._assembler.problems):
            text = self._assembler.problems.pop(reason)
            self._say(reason, text if reason in text else f"{reason}: {text}")

    def _is_needed(self, stream: Stream) -> bool:
        if stream.kind == "tf":
            return self._assembler.config.pose.source == "tf"
        if stream.is_info:
            return not stream.received
        if stream.kind == "tf_static":  # optional, unless somebody offers it in a way that cannot be received
            offered = self._node.get_publishers_info_by_topic(stream.topic)
            return not stream.received and any(incompatible(publisher, stream) for publisher in offered)
        return True

    def _tell_lost(self, stream: Stream) -> None:
        lost, self._lost[stream.topic] = stream.lost - self._lost.get(stream.topic, 0), stream.lost
        if lost > 0:
            text = f"the middleware lost {lost} messages on {stream.topic}, {stream.lost} so far: {LOSSES}"
            self._say(f"{stream.topic} lost", text)

    def _say(self, about: str, text: str) -> None:
        """Log a problem, unless the same was said lately with no more than other numbers."""
        key = about, re.sub(r"\d+(\.\d+)?", "#", text)
        if monotonic() - self._said.get(key, -SAY_AGAIN) > SAY_AGAIN:
            self._said[key] = monotonic()
            self._node.get_logger().warning(text[:MOST_CHARACTERS])
        if len(self._said) > MOST_SAID:
            self._said.clear()


def why_silent(node: Node, stream: Stream) -> str:
    """One line about a topic that nothing arrives on, with what to change where that can be seen."""
    wanted = type_name(stream.type)
    publishers = node.get_publishers_info_by_topic(stream.topic)
    if not publishers:
        return f"it has no publisher ({wanted}, {qos_name(stream.qos)}){_other_topic(node, stream, wanted)}"
    others = sorted({p.topic_type for p in publishers if p.topic_type != wanted})
    if others:
        return f"it carries {', '.join(others)}, expected {wanted}{_other_type(stream, others)}"
    for publisher in publishers:
        if reason := incompatible(publisher, stream):
            name = f"{publisher.node_namespace.rstrip('/')}/{publisher.node_name}"
            return (
                f"publisher {name} offers {qos_name(publisher.qos_profile)}, this node needs {qos_name(stream.qos)}: "
                f"{reason}"
            )
    return f"{len(publishers)} publisher(s) of the right type and QoS ({qos_name(stream.qos)}), but they are silent"


def incompatible(publisher, stream: Stream) -> str:
    """Why a publisher of the right type cannot be received, of its QoS; empty where it can."""
    compatible, reason = qos_check_compatible(publisher.qos_profile, stream.qos)
    return reason.strip().rstrip(";") if compatible == QoSCompatibility.ERROR else ""


def _other_topic(node: Node, stream: Stream, wanted: str) -> str:
    """What is published under another transport of this topic, or else where messages of this type can be found."""
    topics = dict(node.get_topic_names_and_types())
    plain, used = split(stream.topic)
    if stream.kind in ("image", "depth"):
        for transport, suffix in TRANSPORTS.items():
            if transport != used and plain + suffix in topics and node.count_publishers(plain + suffix):
                return f"; {plain + suffix} has: set {_transport_parameter(stream)} to {transport}"
    if not stream.parameter:
        return ""
    others = (t for t, types in topics.items() if wanted in types and DEBUG_IMAGE not in t)
    same = sorted(t for t in others if node.count_publishers(t))
    found = ", ".join(same[:8]) + (" ..." if len(same) > 8 else "")
    return f"; {wanted} is published on {found}: set {stream.parameter}" if same else ""


def _other_type(stream: Stream, others: list[str]) -> str:
    if stream.kind not in ("image", "depth"):
        return ""
    plain, transport = split(stream.topic)
    if "sensor_msgs/msg/CompressedImage" in others:
        if transport == "raw":
            return f": set {_transport_parameter(stream)} to compressed and publish it on {plain}/compressed"
        return f": set {stream.parameter} to {plain} and {_transport_parameter(stream)} to {transport}"
    if "sensor_msgs/msg/Image" in others:
        return f": set {_transport_parameter(stream)} to raw and {stream.parameter} to {stream.topic}"
    return f": set {stream.parameter} to another topic"


def _transport_parameter(stream: Stream) -> str:
    return f"{stream.camera}.{stream.kind}_transport"


def type_name(type_: type) -> str:
    """``sensor_msgs/msg/Image`` of a message class."""
    package, kind, *_ = type_.__module__.split(".")
    return f"{package}/{kind}/{type_.__name__}"


def qos_name(qos) -> str:
    reliability = "best effort" if qos.reliability == ReliabilityPolicy.BEST_EFFORT else "reliable"
    durability = "transient local" if qos.durability == DurabilityPolicy.TRANSIENT_LOCAL else "volatile"
    return f"{reliability}, {durability}"
