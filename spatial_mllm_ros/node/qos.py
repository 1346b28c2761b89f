"""QoS that users may override, ``qos_overrides.TOPIC.subscription.reliability`` and the like; none is swallowed.

Names and values are those of rclcpp and rclpy (design.ros2.org, "QoS Overrides"); rclpy reads them when an entity is
made. What it would take without a word (a topic that the node does not have) or with a traceback is refused before.
"""

from collections.abc import Collection, Mapping
from typing import Any

from rclpy.qos import QoSPolicyKind
from rclpy.qos_overriding_options import QoSOverridingOptions

from ..config import QOS, check, find

OVERRIDABLE = QoSOverridingOptions((QoSPolicyKind.DEPTH, QoSPolicyKind.RELIABILITY, QoSPolicyKind.DURABILITY))
TEXT = {"type": str, "low": None, "high": None}
POLICIES = {  # as config.describe() has parameters
    "depth": {"type": int, "default": 10, "unit": "messages", "low": 1, "high": 1000, "choices": ()},
    "reliability": {**TEXT, "default": "best_effort", "choices": ("best_effort", "reliable")},
    "durability": {**TEXT, "default": "volatile", "choices": ("volatile", "transient_local")},
}
RCLPYS = "/parameter_events"  # a topic that rclpy makes


def refuse_unknown(overrides: Mapping[str, Any], subscribed: Collection[str], published: Collection[str]) -> None:
    """Look at every override that was given.

    Args:
        overrides: values by what follows ``qos_overrides.``.
        subscribed, published: full names of the node's topics.
    Raises:
        ValueError: an override of no topic, no policy, or with no value that can be used; says which are.
    """
    topics = {f"{name}.subscription": "" for name in subscribed} | {f"{name}.publisher": "" for name in published}
    for name, value in overrides.items():
        entity, _, policy = name.rpartition(".")
        if not entity.startswith(RCLPYS):
            find(entity, topics, "topic", QOS)
            check(QOS + name, value, find(policy, POLICIES, "policy", f"{QOS}{entity}."))
