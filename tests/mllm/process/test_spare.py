"""The process that waits beside the model's: it takes its place, and ends with it."""

import os
import signal
from pathlib import Path

import pytest

from spatial_mllm_ros.mllm.process import lifetime
from spatial_mllm_ros.mllm.process.child import MODULE

from .bench import SECONDS, poll

RIGHT = "[10, 20] -1.0"


def workers():
    """Ids of the processes of models that this one has started."""
    children = " ".join(task.read_text() for task in Path("/proc/self/task").glob("*/children")).split()
    return {int(pid) for pid in children if MODULE in Path(f"/proc/{pid}/cmdline").read_text()}


@pytest.fixture
def spare(bench, monkeypatch):
    """A model with a spare process, and the id of that."""
    monkeypatch.setattr(lifetime, "SETTLED", 0.0)

    def make(**params):
        b = bench(**params)
        b.stage("ready")
        poll(lambda: b.model.state.spare, "spare process")
        (pid,) = poll(lambda: workers() - {b.model.state.pid}, "spare process")
        return b, pid

    return make


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_it_takes_the_place_of_one_that_is_killed_or_stopped(spare, number):
    b, other = spare(heartbeat_timeout=1.0)
    pid = b.model.state.pid
    os.kill(pid, number)
    state = poll(lambda: (s := b.model.state).stage == "ready" and s.pid != pid and s, "another process")
    assert (state.pid, state.restarts) == (other, 1)
    assert b.ask().result(SECONDS).text == RIGHT
    assert len([call for call in b.calls if call.startswith("load")]) == 2, "a spare loads nothing"
    assert not Path(f"/proc/{pid}").exists()
    poll(lambda: workers() > {other}, "another spare")


def test_one_that_is_killed_itself_is_missed_by_nobody(spare):
    b, other = spare()
    pid = b.model.state.pid
    os.kill(other, signal.SIGKILL)
    poll(lambda: not b.model.state.spare, "end of the spare process")
    os.kill(pid, signal.SIGKILL)
    poll(lambda: (s := b.model.state).stage == "ready" and s.pid not in (pid, other), "another process")
    assert b.ask().result(SECONDS).text == RIGHT


def test_it_ends_with_the_model(spare):
    b, other = spare()
    b.model.close()
    assert not Path(f"/proc/{other}").exists() and not workers()


def test_it_can_be_done_without(bench, monkeypatch):
    monkeypatch.setattr(lifetime, "SETTLED", 0.0)
    b = bench(spare=False)
    assert b.ask().result(SECONDS).text == RIGHT
    assert workers() == {b.model.state.pid} and b.model.state.spare == 0
