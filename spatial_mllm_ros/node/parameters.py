"""The node's ROS parameters: every entry of config.py, declared with its meaning, unit and range."""

from collections.abc import Iterable, Mapping
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node

from ..config import QOS, Config, build, describe, is_ours, node_parameters

FIXED = "cameras"
"""The one parameter that is read only: the names of others depend on it."""


def given(node: Node) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the command line and parameter files set, of a node that declared just that.

    Returns:
        values by name, which are not declared any more, and those of QoS overrides by what follows the prefix, which
        are, for rclpy to find.
    """
    declared = {name: node.get_parameter(name).value for name in node.get_parameters_by_prefix("")}
    values = {name: value for name, value in declared.items() if is_ours(name)}
    for name in values:
        node.undeclare_parameter(name)
    return values, {name.removeprefix(QOS): value for name, value in declared.items() if name.startswith(QOS)}


def declare(node: Node, values: dict[str, Any]) -> Config:
    """Declare all parameters, with these values where there are any.

    Raises:
        ValueError: an unknown name (with the nearest right one), a wrong type, or a value out of range; then nothing is
            declared.
    """
    config = build(values)
    for name, p in node_parameters(config.cameras).items():
        value = p["type"](values.get(name, p["default"]))
        node.declare_parameter(name, value, descriptor(name, p), ignore_override=True)
    return config


def values(node: Node, cameras: Iterable[str]) -> dict[str, Any]:
    """The present values, by dotted name."""
    return {name: node.get_parameter(name).value for name in node_parameters(list(cameras))}


def live(values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of some values that may change while the node is active."""
    known = describe()
    return {name: value for name, value in values.items() if name in known and known[name]["live"]}


def descriptor(name: str, p: dict[str, Any]) -> ParameterDescriptor:
    """What ``ros2 param describe`` shows, and rclpy enforces."""
    unit = f" [{p['unit']}]" if p["unit"] else ""
    out = ParameterDescriptor(description=p["doc"] + unit, read_only=name == FIXED)
    if p["choices"]:
        out.additional_constraints = "one of " + ", ".join(p["choices"])
    if p["low"] is not None:
        if p["type"] is float:
            out.floating_point_range = [FloatingPointRange(from_value=float(p["low"]), to_value=float(p["high"]))]
        else:
            out.integer_range = [IntegerRange(from_value=p["low"], to_value=p["high"])]
    return out
