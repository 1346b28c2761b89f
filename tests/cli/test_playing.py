"""``play`` as people run it: in a terminal, where keys steer it."""

import os
import signal
import subprocess
import sys
import termios

import pytest

from tests.recordings.recordings import rgbd, write

SECONDS = 30.0  # until a test fails; nothing waits for it to pass
START = """
import fcntl, os, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # this is its terminal, as that of a shell
from spatial_mllm_ros.cli import app
app()
"""


def test_the_end_of_a_recording_and_wrong_numbers_are_said(call, tmp_path):
    recording = write(tmp_path, rgbd(30), "mcap")
    for option, value, words in (
        ("--start", "12", "start 12 s: r is only 0.97 s long"),
        ("--wait", "-1", "wait -1: expected seconds, 0 not to wait, inf to wait for ever"),
        ("--rate", "0", "rate 0: expected 0.001 to 1,000,000"),
        ("--remap", "/a=/b", "remap '/a=/b': expected OLD:=NEW"),
    ):
        assert words in call("play", recording, option, value, code=1).stderr


@pytest.fixture
def terminal():
    typing, end = os.openpty()
    yield typing, end
    os.close(typing)
    os.close(end)


@pytest.mark.live
@pytest.mark.parametrize("how", ["Ctrl-C", "SIGTERM", "error"])
def test_keys_steer_it_and_the_terminal_is_as_it_was(tmp_path, terminal, how):
    pytest.importorskip("rclpy", reason="needs ROS 2 (the wheels, or a sourced installation)")
    typing, end = terminal
    before = termios.tcgetattr(end)
    recording = write(tmp_path, rgbd(300), "mcap")
    topic = "/nope" if how == "error" else "/tf"
    child = subprocess.Popen(
        [sys.executable, "-c", START, "play", str(recording), "--start-paused", "--loop", "--topic", topic],
        stdin=end,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    lines = []
    try:
        if how == "error":
            assert child.wait(SECONDS) == 1
        else:
            for line in child.stderr:
                lines.append(line.strip())
                if line.startswith("begins paused"):
                    os.write(typing, b"\x1b[C\x1b[A ")  # a step, faster, on
                if line.startswith("playing on"):
                    os.write(typing, b"\x03") if how == "Ctrl-C" else child.send_signal(signal.SIGTERM)
            assert child.wait(SECONDS) == 0
            assert lines[0].startswith("SPACE pauses") and lines[-3:-1] == ["rate 1.1", "playing on"]
            assert lines[-1].startswith("played ") and "played 0" not in lines[-1]
    finally:
        child.kill()
        child.communicate()
    assert termios.tcgetattr(end) == before
