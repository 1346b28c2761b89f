"""Text of strangers in YAML: metadata.yaml, and the quality of service that a topic was offered with."""

from typing import Any

import yaml
from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime

from .limits import QOS, YAML_DEPTH, TooMuch

LOADER = getattr(yaml, "CBaseLoader", yaml.BaseLoader)  # makes lists, dicts and texts, and nothing else

DEPTH = 10_000  # messages that a publisher keeps; more is not meant


def plain_yaml(text: str) -> Any:
    """What a text in YAML says, all values as texts; what an alias (``*name``) stands for is there once.

    Raises:
        TooMuch: it is nested deeply. YAMLError: it is no YAML.
    """
    depth = 0
    for event in yaml.parse(text, LOADER):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        YAML_DEPTH.check(depth)
    return LOADER(text).get_single_data()


def offered(text: str) -> tuple[Qos, ...]:
    """The quality of service as rosbag2 writes it, with names or numbers; nothing where it is something else."""
    try:
        QOS.check(len(text))
        return tuple(_profile(one) for one in plain_yaml(text) or ())
    except (TooMuch, yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError):
        return ()


def _profile(one: Any) -> Qos:
    return Qos(
        _word(QosHistory, one.get("history")),
        min(int(one["depth"]), DEPTH),
        _word(QosReliability, one.get("reliability")),
        _word(QosDurability, one.get("durability")),
        _time(one["deadline"]),
        _time(one["lifespan"]),
        _word(QosLiveliness, one.get("liveliness")),
        _time(one["liveliness_lease_duration"]),
        one["avoid_ros_namespace_conventions"].lower() in ("true", "yes", "on"),
    )


def _word(kind: Any, value: str) -> Any:
    """A member of an enumeration, by name or number."""
    try:
        return kind(int(value)) if value.isdigit() else kind[value.upper()]
    except (KeyError, ValueError):
        return kind.UNKNOWN


def _time(value: Any) -> QosTime:
    return QosTime(int(value["sec"]), int(value["nsec"]))
