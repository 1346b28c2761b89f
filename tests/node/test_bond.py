"""The bond with nav2's lifecycle manager, seen from the manager's side."""

import signal
from itertools import pairwise
from pathlib import Path

import pytest
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState

from .process import finished, polled, until

pytestmark = pytest.mark.live
Status = pytest.importorskip("bond.msg", reason="the package bond is missing").Status


def test_heartbeats_from_activation_to_deactivation(robot, start):
    node = start({"autostart": False, "bond_heartbeat_period": 0.2})
    heard = robot.listen(Status, "/bond")
    assert robot.transition("configure")
    assert not heard
    assert robot.transition("activate")
    until(lambda: len(heard) >= 4, "heartbeats")
    assert {(m.id, m.active, round(m.heartbeat_period, 3)) for m in heard} == {("spatial_mllm", True, 0.2)}
    assert len({m.instance_id for m in heard}) == 1 and heard[0].instance_id
    stamps = [m.header.stamp.sec + m.header.stamp.nanosec / 1e9 for m in heard]
    assert all(b > a for a, b in pairwise(stamps))

    assert robot.transition("deactivate")
    until(lambda: not heard[-1].active, "the end of the bond")
    count = len(heard)
    assert robot.transition("activate")
    until(lambda: len(heard) > count and heard[-1].active, "heartbeats again")
    assert node.signal() == 0
    assert not heard[-1].active  # a node that is told to end is not taken for dead


def test_a_frozen_node_is_heard_no_more(robot, start):
    node = start({"autostart": False, "bond_heartbeat_period": 0.1}, "--ros-args", "-r", "__ns:=/other")
    heard = robot.listen(Status, "/other/bond")
    for transition in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
        request = ChangeState.Request(transition=Transition(id=transition))
        client = robot.client(ChangeState, "/other/spatial_mllm/change_state")
        assert finished(client.call_async(request), "a transition").success
    until(lambda: len(heard) >= 2, "heartbeats")
    node.process.send_signal(signal.SIGSTOP)
    polled(lambda: Path(f"/proc/{node.process.pid}/stat").read_text().split(") ")[1][0] == "T", "a stopped process")
    seen = len(heard)
    with pytest.raises(AssertionError):  # ten periods, and one that may have been on its way
        until(lambda: len(heard) > seen + 1, "heartbeats", seconds=1.0)
    node.process.send_signal(signal.SIGCONT)
    until(lambda: len(heard) > seen + 1, "heartbeats again")


def test_a_node_that_starts_itself_has_no_manager(robot, start):
    start({}, "--ros-args", "-r", "__ns:=/alone").says("configured")
    assert not robot.node.count_publishers("/alone/bond")
