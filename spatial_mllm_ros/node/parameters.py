"""The node's ROS parameters: every entry of config.py, declared with its meaning, unit and range."""

from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node

from ..config import Config, build, is_ours, node_parameters


def given(node: Node) -> dict[str, Any]:
    """What the command line and parameter files set, of a node that declared just that; here it is taken back."""
    values = {name: node.get_parameter(name).value for name in node.get_parameters_by_prefix("") if is_ours(name)}
    for name in values:
        node.undeclare_parameter(name)
    return values


def declare(node: Node, values: dict[str, Any]) -> Config:
    """Declare all parameters, with these values where there are any.

    Raises:
        ValueError: an unknown name (with the nearest right one), a wrong type, or a value out of range; then nothing is
            declared.
    """
    config = build(values)
    for name, p in node_parameters(config.cameras).items():
        value = p["type"](values.get(name, p["default"]))
        node.declare_parameter(name, value, descriptor(p), ignore_override=True)
    return config


def read(node: Node, cameras: list[str]) -> Config:
    """The Config of the present values, after a live parameter has changed."""
    return build({name: node.get_parameter(name).value for name in node_parameters(cameras)})


def descriptor(p: dict[str, Any]) -> ParameterDescriptor:
    """What ``ros2 param describe`` shows, and rclpy enforces."""
    unit = f" [{p['unit']}]" if p["unit"] else ""
    out = ParameterDescriptor(description=p["doc"] + unit, read_only=not p["live"])
    if p["choices"]:
        out.additional_constraints = "one of " + ", ".join(p["choices"])
    if p["low"] is not None:
        if p["type"] is float:
            out.floating_point_range = [FloatingPointRange(from_value=float(p["low"]), to_value=float(p["high"]))]
        else:
            out.integer_range = [IntegerRange(from_value=p["low"], to_value=p["high"])]
    return out
