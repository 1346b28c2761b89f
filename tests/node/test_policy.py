"""The policy of SROS 2 allows what the node does, and nothing else: compared with the graph of a running one."""

from contextlib import suppress
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rclpy.action import get_action_server_names_and_types_by_node

from .process import polled

POLICY = Path(__file__).parents[2] / "config/security/spatial_mllm.policy.xml"
NAME = "spatial_mllm"
# Made when they are needed: for simulated time, for nav2's lifecycle manager, for the other transport.
AT_TIMES = {"subscribe": {"/clock", "/bond", "/camera/color/image_raw/compressed"}, "publish": {"/bond"}}
AT_TIMES["subscribe"] |= {"/camera/depth/image_raw/compressedDepth"}
ACTION = "/_action/"


def allowed(enclave, kind, rule):
    """Names that a rule of an enclave's only profile allows."""
    (profile,) = ElementTree.parse(POLICY).findall(f".//enclave[@path='/{enclave}']//profile")
    names = {e.text for group in profile.findall(kind) if group.get(rule) == "ALLOW" for e in group}
    assert all(set(group.attrib.values()) == {"ALLOW"} for group in profile)
    return {name.replace("~", f"/{NAME}") if name.startswith("~") else f"/{name}" for name in names}


@pytest.mark.live
def test_the_node_may_do_what_it_does_and_no_more(start, robot):
    start({"cameras": ["camera"]})
    graph = robot.node
    polled(lambda: (NAME, "/") in graph.get_node_names_and_namespaces(), "the node")
    found = {
        ("topics", "publish"): graph.get_publisher_names_and_types_by_node,
        ("topics", "subscribe"): graph.get_subscriber_names_and_types_by_node,
        ("services", "reply"): graph.get_service_names_and_types_by_node,
        ("actions", "execute"): partial(get_action_server_names_and_types_by_node, graph),
    }

    def differing():  # what is announced arrives name by name
        return {rule: missing for (kind, rule), names in found.items() if (missing := difference(kind, rule, names))}

    def difference(kind, rule, names):
        there = {name for name, _ in names(NAME, "/") if ACTION not in name}
        return (allowed(NAME, kind, rule) ^ there) - AT_TIMES.get(rule, set())

    with suppress(AssertionError):
        polled(lambda: not differing(), "the graph as the policy says")
    assert differing() == {}


@pytest.mark.parametrize("enclave", ["planner", "viewer"])
def test_others_hear_and_call_what_the_node_offers(enclave):
    inputs = allowed(NAME, "topics", "subscribe")
    assert allowed(enclave, "topics", "subscribe") <= allowed(NAME, "topics", "publish") | inputs
    assert allowed(enclave, "services", "request") <= allowed(NAME, "services", "reply")
    assert allowed(enclave, "actions", "call") <= allowed(NAME, "actions", "execute")
    assert allowed(enclave, "topics", "publish") == {"/rosout", "/parameter_events"}


def test_who_plans_cannot_reset_and_who_views_cannot_call():
    forbidden = {f"/{NAME}/{name}" for name in ("reset_memory", "set_parameters", "change_state")}
    assert not allowed("planner", "services", "request") & forbidden
    assert not allowed("viewer", "services", "request") and not allowed("viewer", "actions", "call")
