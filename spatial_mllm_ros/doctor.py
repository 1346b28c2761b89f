"""What this machine can run, and the exact command for what it lacks."""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module, metadata

REQUIRED = ("numpy", "scipy", "cv2", "numba", "PIL", "rosbags", "rosbags.image", "typer", "rich", "yaml")
DISTRIBUTIONS = {
    "cv2": "opencv-python-headless",
    "PIL": "pillow",
    "yaml": "pyyaml",
    "rosbags.image": "rosbags-image",
    "rclpy": "ros-rclpy",
}
ROS_WHEELS = (
    "'ros-rclpy[fastrtps]==7.1.6' ros-jazzy-sensor-msgs ros-jazzy-nav-msgs ros-jazzy-std-srvs"
    " ros-jazzy-diagnostic-msgs ros-jazzy-visualization-msgs"
)


@dataclass(frozen=True)
class Check:
    """One line of the diagnosis.

    Attributes:
        group: what it is for.
        name: what was looked at.
        found: a version or figure; empty where it is missing.
        needed: coverage and motion cannot run without it.
        remedy: a command, or a sentence, for what is missing.
    """

    group: str
    name: str
    found: str
    needed: bool = False
    remedy: str = ""

    @property
    def ok(self) -> bool:
        return bool(self.found)


def diagnose() -> list[Check]:
    """All checks, in the order of the parts that need them."""
    return [*machine(), *core(), *ros(), *extras(), *gpu()]


def can_run(checks: list[Check]) -> bool:
    """Whether coverage, motion and rewards run here."""
    return all(check.ok for check in checks if check.needed)


def machine() -> Iterator[Check]:
    group = "machine"
    version = platform.python_version() if sys.version_info >= (3, 10) else ""
    yield Check(group, "Python", version, True, "Python 3.10 or newer is needed: https://www.python.org/downloads")
    yield Check(group, "system", f"{platform.system()} {platform.release()}, {platform.machine()}")
    yield Check(group, "processor", f"{processor()}, {usable_cores()} cores")
    yield Check(group, "memory", memory())


def core() -> Iterator[Check]:
    for module in REQUIRED:
        yield package("coverage, motion and rewards", module, needed=True)


def ros() -> Iterator[Check]:
    group = "ROS 2 node"
    here = (3, 11) <= sys.version_info < (3, 13)
    wheels = install_command("rclpy") if here else "use Python 3.11 or 3.12, for which there are wheels"
    distro = os.environ.get("ROS_DISTRO", "")
    rclpy = imports("rclpy")
    found = f"{rclpy}, {distro or 'from wheels'}" if rclpy else ""
    yield Check(group, "rclpy", found, remedy=f"source /opt/ros/jazzy/setup.bash, or {wheels}")
    build = "make setup, or in a workspace: colcon build --paths src/spatial_mllm_ros src/spatial_mllm_ros/msg"
    yield Check(group, "spatial_mllm_msgs", imports("spatial_mllm_msgs.msg"), remedy=build)
    yield Check(
        group,
        "launch_ros",
        imports("launch_ros"),
        remedy="comes with a ROS 2 installation; spatial_mllm_node runs without it",
    )


def extras() -> Iterator[Check]:
    yield package("simulate", "embreex")
    yield package("report", "jinja2")


def gpu() -> Iterator[Check]:
    group = "GPU"
    yield Check(group, "NVIDIA GPU", nvidia(), remedy="coverage, motion and rewards do not use one")
    yield package(group, "torch")


def install_command(module: str) -> str:
    """The pip command for an importable module."""
    if module == "rclpy":
        return f"pip install {ROS_WHEELS}"
    return f"pip install {DISTRIBUTIONS.get(module, module.partition('.')[0])}"


def package(group: str, module: str, needed: bool = False) -> Check:
    found = problem = ""
    try:
        import_module(module)
        found = version_of(DISTRIBUTIONS.get(module, module)) or "present"
    except ModuleNotFoundError:
        pass
    except Exception as error:  # a broken binary package can raise anything while it is imported
        problem = f" (its import fails: {error})"
    return Check(group, module, found, needed, install_command(module) + problem)


def imports(module: str) -> str:
    """The version of a module that can be imported, in a process of its own: ROS packages change their process."""
    code = f"import {module}"
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    top = module.split(".")[0]
    return (version_of(DISTRIBUTIONS.get(top, top)) or "present") if done.returncode == 0 else ""


def version_of(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def processor() -> str:
    line = first_line("/proc/cpuinfo", lambda line: line.startswith("model name"))
    return line.partition(":")[2].strip() or platform.processor() or "unknown"


def usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory() -> str:
    fields = first_line("/proc/meminfo", lambda line: line.startswith("MemAvailable")).split()
    return f"{int(fields[1]) / 2**20:.1f} GiB available" if len(fields) > 1 else "unknown"


def nvidia() -> str:
    if not (tool := shutil.which("nvidia-smi")):
        return ""
    try:
        done = subprocess.run(
            [tool, "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return ", ".join(done.stdout.split("\n")).strip(", ") if done.returncode == 0 else ""


def first_line(path: str, wanted: Callable[[str], bool]) -> str:
    try:
        with open(path, encoding="utf-8") as lines:
            return next((line for line in lines if wanted(line)), "")
    except OSError:
        return ""
