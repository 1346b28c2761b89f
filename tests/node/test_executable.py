"""The executable before it is a node: help, what is missing, and signals at every moment of its start."""

import os
import signal
import subprocess
import sys
from itertools import cycle

import pytest

from .conftest import MISSING

NODE = "from spatial_mllm_ros.executables import node; node()"
AT = """
import importlib.abc, importlib.util, os, sys
moment, number = sys.argv[1], int(sys.argv[2])
del sys.argv[1:3]

def now():
    if sys.path_hooks and not done:
        done.append(moment)
        print("signal", flush=True)
        os.kill(os.getpid(), number)

done = []

class Watch(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == moment:
            now()

module, _, attribute = moment.partition(":")
if attribute:
    owner = importlib.import_module(module)
    *outer, name = attribute.split(".")
    for part in outer:
        owner = getattr(owner, part)
    original = getattr(owner, name)

    def wrapped(*args, **kwargs):
        now()
        return original(*args, **kwargs)

    setattr(owner, name, wrapped)
else:
    sys.meta_path.insert(0, Watch())
"""
"""Sends a signal to its own process when a module is imported, or when ``module:attribute`` is called."""

MOMENTS = [
    "argparse",
    "rclpy",
    "numpy",
    "numba",
    "spatial_mllm_msgs",
    "spatial_mllm_ros.node.session",
    "rclpy:init",
    "spatial_mllm_ros.node.parameters:declare",
    "rclpy.executors:MultiThreadedExecutor.add_node",
    "spatial_mllm_ros.node.spatial_node:warm_up",
    "spatial_mllm_ros.node.session:Session.__init__",
    "spatial_mllm_ros.node.session:Session.activate",
    "spatial_mllm_ros.node.main:spin",
]


ENCLAVE = (
    *("identity_ca.cert.pem", "cert.pem", "key.pem"),
    *("permissions_ca.cert.pem", "governance.p7s", "permissions.p7s"),
)


def start(code: str, *arguments: str, folder=".") -> subprocess.CompletedProcess[str]:
    own = {"ROS_LOG_DIR": str(folder), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", "COLUMNS": "120"}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, env=os.environ | own, capture_output=True, text=True, timeout=100, check=False)


def without(*modules: str) -> str:
    return "".join(f"import sys; sys.modules[{name!r}] = None; " for name in modules) + NODE


def test_help_needs_no_ros():
    for flag in ("--help", "-h"):
        done = start(without("rclpy", "spatial_mllm_msgs", "numpy"), flag)
        assert done.returncode == 0 and not done.stderr
        for words in ("--ros-args", "--params-file", "config/rgbd.yaml", "docs/ros-api.md", "bringup.launch.py"):
            assert words in done.stdout
        (file,) = (word for word in done.stdout.split() if word.endswith("rgbd.yaml"))
        assert os.path.isfile(file)


def test_what_would_be_ignored_is_refused():
    """A parameter file without --ros-args before it left the node on defaults."""
    done = start(without("rclpy"), "--params-file", "robot.yaml")
    assert done.returncode == 2
    assert "--params-file robot.yaml: what is for ROS comes after --ros-args" in done.stderr


def test_arguments_for_ros_are_left_to_ros():
    done = start(without("rclpy"), "--ros-args", "-r", "__ns:=/robot1", "--", "--ros-args", "--log-level", "debug")
    assert done.returncode == 1 and "rclpy is not installed" in done.stderr


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (
            "spatial_mllm_msgs",
            "in a workspace: colcon build --paths src/spatial_mllm_ros src/spatial_mllm_ros/msg, then",
        ),
        ("rclpy", "source /opt/ros/jazzy/setup.bash, or "),
        ("numba", "pip install 'numba"),
        ("nav_msgs", "apt install ros-jazzy-nav-msgs"),
    ],
)
def test_what_is_not_installed_is_said_with_the_command(module, said, monkeypatch):
    if set(MISSING) - {module}:
        pytest.skip("something else is missing here")
    monkeypatch.setenv("ROS_DISTRO", "jazzy")
    done = start(without(module))
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"spatial_mllm_node: {module} is not installed: ") and said in line


@pytest.mark.skipif("spatial_mllm_msgs" in MISSING or "rclpy" in MISSING, reason="needs ROS 2")
def test_interfaces_of_an_older_build_are_said_with_the_command():
    older = "import sys, types; sys.modules['spatial_mllm_msgs.msg'] = types.ModuleType('spatial_mllm_msgs.msg'); "
    done = start(older + NODE)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "spatial_mllm_msgs is of another version than this node: " in line and "colcon build --paths" in line


@pytest.mark.skipif(bool(MISSING), reason="needs ROS 2")
def test_a_home_that_cannot_be_written_is_said_with_what_to_set():
    done = start(NODE, folder="/proc/nowhere")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "Failed to create log directory" in line and "set ROS_LOG_DIR to a folder that can be written" in line


@pytest.mark.skipif(bool(MISSING), reason="needs ROS 2")
@pytest.mark.parametrize("files", [(), ENCLAVE])
def test_security_that_cannot_be_had_is_said_and_not_gone_without(files, tmp_path, monkeypatch):
    """No enclave; or one whose files are none, which a middleware without security does not even read."""
    for name, value in (("KEYSTORE", str(tmp_path)), ("ENABLE", "true"), ("STRATEGY", "Enforce")):
        monkeypatch.setenv(f"ROS_SECURITY_{name}", value)
    for name in files:
        file = tmp_path / "enclaves/spatial_mllm" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("none")
    done = start(NODE, "--ros-args", "--enclave", "/spatial_mllm", folder=tmp_path)
    assert done.returncode == 1
    line = done.stderr.splitlines()[-1]  # rclpy warns before it of what it could not end
    assert "Traceback" not in done.stderr
    assert "security" in line.lower() and "docs/security.md" in line


@pytest.mark.live
@pytest.mark.skipif(bool(MISSING), reason="needs ROS 2")
@pytest.mark.parametrize(("moment", "number"), list(zip(MOMENTS, cycle([signal.SIGINT, signal.SIGTERM]))))
def test_a_signal_at_any_moment_ends_the_node_quietly(moment, number, tmp_path):
    off = ("--ros-args", "-p", "ask.model:=none")
    done = start(AT + NODE, moment, str(int(number)), *off, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "signal" in done.stdout.splitlines()
    assert "Traceback" not in done.stderr and "KeyboardInterrupt" not in done.stderr and "[ERROR]" not in done.stderr
