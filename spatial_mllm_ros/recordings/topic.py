"""A topic of a recording and the quality of service that goes with it."""

from collections.abc import Callable
from typing import Any, NamedTuple

from rosbags.interfaces import (
    MessageDefinition,
    MessageDefinitionFormat,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)

from .types import TRANSFORMS

NO_DEFINITION = MessageDefinition(MessageDefinitionFormat.NONE, "")


class Topic(NamedTuple):
    """A topic of a recording.

    Attributes:
        name, type: the latter as ``package/msg/Name``.
        definition, qos: as recorded; qos is what was offered.
        ros1: whether its messages have the wire format of ROS 1.
        convert: makes a ROS message of its bytes, where they are no ROS message.
        unread: why its messages cannot be read; empty where they can.
    """

    name: str
    type: str
    definition: MessageDefinition = NO_DEFINITION
    qos: tuple[Qos, ...] = ()
    ros1: bool = False
    convert: Callable[[bytes], Any] | None = None
    unread: str = ""


def ros_type(name: str) -> str:
    """ROS 2 name of a type, as ``package/msg/Name``, whoever wrote it: ROS 1, ROS 2 or IDL."""
    name = name.replace("::", "/")
    name = name if "/msg/" in name else name.replace("/", "/msg/")
    return TRANSFORMS if name == "tf/msg/tfMessage" else name


def _qos(durability: QosDurability, depth: int) -> tuple[Qos, ...]:
    forever = QosTime(2147483647, 4294967295)
    keep_last, reliable, automatic = QosHistory.KEEP_LAST, QosReliability.RELIABLE, QosLiveliness.AUTOMATIC
    return (Qos(keep_last, depth, reliable, durability, forever, forever, automatic, forever, False),)


# A reliable publisher serves best-effort subscribers too; the reverse is refused by DDS.
VOLATILE = _qos(QosDurability.VOLATILE, 10)
LATCHED = _qos(QosDurability.TRANSIENT_LOCAL, 100)


def offered_qos(name: str) -> tuple[Qos, ...]:
    """QoS for a topic of which nothing was recorded: reliable, and latched for static transforms."""
    return LATCHED if name.rsplit("/", 1)[-1] in ("tf_static", "selected_frames") else VOLATILE
