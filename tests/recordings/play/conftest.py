"""On loopback, in a domain of their own: somebody who listens, and players as processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CHILD = "from spatial_mllm_ros.recordings.play import *; import sys; print(play(sys.argv[1], eval(sys.argv[2])))"


@pytest.fixture
def ros(monkeypatch):
    import rclpy

    from .listener import Listener

    domain = str(1 + os.getpid() % 100)
    monkeypatch.setenv("ROS_DOMAIN_ID", domain)
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=int(domain))
    listener = Listener(rclpy.create_node("listener", context=context))
    yield listener
    listener.executor.shutdown()
    listener.node.destroy_node()
    context.try_shutdown()


@pytest.fixture
def player():
    """Starts a child that plays; ends it when the test does."""
    children = []

    def start(recording, options):
        children.append(
            subprocess.Popen(
                [sys.executable, "-c", CHILD, str(recording), options],
                cwd=Path(__file__).parents[3],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return children[-1]

    yield start
    for child in children:
        child.kill()
        child.communicate()
