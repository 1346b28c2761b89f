"""What every test of the node needs; without ROS 2 all but those of files and of the executable are skipped."""

import os
from importlib.util import find_spec

import pytest

NEEDED = ("rclpy", "spatial_mllm_msgs", "tf2_msgs")
WITHOUT_ROS = ("test_executable.py", "test_files.py")
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"  # before the first context: nothing leaves this machine


def is_missing(package: str) -> bool:
    try:
        return find_spec(package) is None
    except ValueError:
        return True


MISSING = [package for package in NEEDED if is_missing(package)]


class NoRos(pytest.Module):
    """A module that cannot even be imported here."""

    def collect(self):
        pytest.skip(f"{', '.join(MISSING)} cannot be imported: no ROS 2 in this environment", allow_module_level=True)


def pytest_pycollect_makemodule(module_path, parent):
    if MISSING and module_path.name not in WITHOUT_ROS:
        return NoRos.from_parent(parent, path=module_path)
    return None


@pytest.fixture(scope="module")
def robot():
    from .process import Robot

    robot = Robot()
    yield robot
    robot.close()


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Starts node processes; whatever still runs at the end of the module is ended."""
    from .process import NodeProcess

    started: list[NodeProcess] = []

    def start(parameters=None, *arguments: str, engine: str = "") -> NodeProcess:
        process = NodeProcess(tmp_path_factory.mktemp("node"), parameters or {}, *arguments, engine=engine)
        started.append(process)
        return process

    yield start
    for process in started:
        process.end()
