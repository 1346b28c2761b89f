"""Ctrl-C while the command is still loading: no traceback, and of `play`, which ends that way anyhow, exit code 0."""

import os
import signal
import subprocess
import sys
from importlib.util import find_spec

import pytest

COMMAND = """
import importlib.abc, os, sys
moment, number = sys.argv[1], int(sys.argv[2])
del sys.argv[1:3]

class Watch(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == moment:
            os.kill(os.getpid(), number)

sys.meta_path.insert(0, Watch())
from spatial_mllm_ros.executables import command
command()
"""


def interrupted(moment: str, number: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    start = [sys.executable, "-c", COMMAND, moment, str(int(number)), *arguments]
    return subprocess.run(start, env=os.environ, capture_output=True, text=True, timeout=100, check=False)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    "moment", ["typer", "rich", "spatial_mllm_ros.cli.show", "spatial_mllm_ros.recordings", "rclpy"]
)
def test_play_ends_with_0_while_it_is_loaded(moment, number, simulated_bag):
    if moment == "rclpy" and not find_spec("rclpy"):
        pytest.skip("playing needs ROS 2")
    for before in ((), ("--debug",)):
        done = interrupted(moment, number, *before, "play", str(simulated_bag), "--wait", "60")
        assert (done.returncode, done.stdout) == (0, "")
        assert done.stderr in ("", "played 0 messages\n")  # which it says once the player is there


@pytest.mark.parametrize("moment", ["typer", "rich", "spatial_mllm_ros.cli.show"])
def test_other_commands_end_as_interrupted_ones_do(moment, tmp_path):
    done = interrupted(moment, signal.SIGINT, "info", str(tmp_path))
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_what_is_not_installed_is_one_line():
    hidden = "import sys; sys.modules['typer'] = None; from spatial_mllm_ros.executables import command; command()"
    done = subprocess.run([sys.executable, "-c", hidden, "info"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: typer is not installed: pip install ") and len(done.stderr.splitlines()) == 1
