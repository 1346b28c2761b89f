"""What this machine can run, and the exact command for what it lacks."""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec

from .errors import SpatialError
from .isolated import FOR_MODELS, GENERAL, environment, run_code
from .mllm.encoders.onnx import PROVIDERS, runtime
from .mllm.encoders.tensorrt.gpu import Gpu
from .mllm.encoders.tensorrt.library import library
from .mllm.weights.published import FRAMES, PUBLISHED, Checkpoint
from .mllm.weights.shipped import find_shipped
from .versions import MODEL, install, outside, version_of

INTERFACES = "spatial_mllm_msgs"
BUILD = (
    "make setup, or in a workspace: colcon build --paths src/spatial_mllm_ros src/spatial_mllm_ros/msg, then source"
    " install/setup.bash"
)
REQUIRED = ("numpy", "scipy", "cv2", "numba", "PIL", "rosbags", "rosbags.image", "typer", "rich", "yaml")
DISTRIBUTIONS = {
    "cv2": "opencv-python-headless",
    "PIL": "pillow",
    "pillow_heif": "pillow-heif",
    "yaml": "pyyaml",
    "rosbags.image": "rosbags-image",
    "rclpy": "ros-rclpy",
}
ROS_WHEELS = (
    "'ros-rclpy[fastrtps]==7.1.6' ros-jazzy-sensor-msgs ros-jazzy-nav-msgs ros-jazzy-std-srvs"
    " ros-jazzy-diagnostic-msgs ros-jazzy-visualization-msgs"
)
CPU_TORCH = "--index-url https://download.pytorch.org/whl/cpu"  # without it pip takes gigabytes of CUDA
GPU_TORCH = "--index-url https://download.pytorch.org/whl/cu130"


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
    return [*machine(), *core(), *ros(), *extras(), *model()]


def can_run(checks: list[Check]) -> bool:
    """Whether coverage, motion and rewards run here."""
    return all(check.ok for check in checks if check.needed)


def machine() -> Iterator[Check]:
    group = "machine"
    version = platform.python_version() if sys.version_info >= (3, 10) else ""
    yield Check(group, "Python", version, True, "Python 3.10 or newer is needed: https://www.python.org/downloads")
    yield Check(group, "system", f"{platform.system()} {platform.release()}, {platform.machine()}")
    yield Check(group, "processor", f"{processor()}, {usable_cores()} cores")
    yield Check(group, "memory", f"{free:.1f} GB available" if (free := memory()) else "unknown")


def core() -> Iterator[Check]:
    for module in REQUIRED:
        yield package("coverage, motion and rewards", module, needed=True)


def ros() -> Iterator[Check]:
    group = "ROS 2 node"
    distro = os.environ.get("ROS_DISTRO", "")
    rclpy = imports("rclpy")
    found = f"{rclpy}, {distro or 'from wheels'}" if rclpy else ""
    yield Check(group, "rclpy", found, remedy=install_command("rclpy"))
    yield Check(group, INTERFACES, imports(f"{INTERFACES}.msg"), remedy=install_command(INTERFACES))
    apt = f"ros-{distro or 'jazzy'}-rosbag2-interfaces"
    services = f"make setup, or apt install {apt}; play has no services without it"
    yield Check(group, "rosbag2_interfaces", imports("rosbag2_interfaces.srv"), remedy=services)
    optional = "comes with a ROS 2 installation; spatial_mllm_node runs without it"
    yield Check(group, "launch_ros", imports("launch_ros"), remedy=optional)


def extras() -> Iterator[Check]:
    yield package("simulate", "embreex")
    yield package("report", "jinja2")
    yield package("videos and photos of phones", "av")
    yield package("videos and photos of phones", "pillow_heif")


def model() -> Iterator[Check]:
    group = "questions and geometry from colour"
    yield package(group, "torch")
    for module in MODEL[1:]:  # importing them takes seconds
        yield check_version(group, module)
    card = gpu()
    found = f"{card[0]}, {card[1]:.1f} GB" if card else ""
    yield Check(group, "NVIDIA GPU", found, remedy="the model runs on the CPU, slowly")
    if card:
        yield Check(group, "torch on the GPU", cuda(), remedy=f"pip install --force-reinstall torch {GPU_TORCH}")
    yield Check(group, "exported encoders", providers(), remedy=f"optional: {install('onnxruntime')}")
    if card or find_spec("tensorrt"):  # a Jetson has no nvidia-smi
        found, missing = engines()
        yield Check(group, "engines of TensorRT", found, remedy=f"optional: {missing}")
    if (nano := find_shipped()) is not None:
        size = sum(path.stat().st_size for path in nano.glob("*.safetensors")) / 1e6
        yield Check(group, "nano", f"ships with the package, {size:.0f} MB; commercial use allowed")
    for checkpoint in PUBLISHED:
        yield fits(group, checkpoint, memory(), card[1] if card else 0.0)


def providers() -> str:
    """What ONNX Runtime can run exported encoders with here, in words; empty where it is not installed."""
    try:
        there = runtime().get_available_providers()
    except SpatialError:
        return ""
    version = version_of("onnxruntime") or version_of("onnxruntime-gpu")
    return f"ONNX Runtime {version}: {', '.join(name for name, full in PROVIDERS.items() if full in there)}"


def engines() -> tuple[str, str]:
    """What would run engines of TensorRT here, or what is missing for that."""
    try:
        trt, gpu = library(), Gpu()
    except SpatialError as error:
        return "", error.message
    return f"TensorRT {trt.__version__} on {gpu.name}, compute capability {gpu.sm}", ""


def fits(group: str, checkpoint: Checkpoint, ram: float, vram: float) -> Check:
    """Whether a published checkpoint and 16 frames fit; ``ram`` and ``vram`` in GB of 1e9 bytes."""
    use = "commercial use allowed" if checkpoint.commercial else "not for commercial use"
    half, full = checkpoint.needed("bfloat16"), checkpoint.needed("float32")
    ways = (
        (vram, half, "on the GPU in bfloat16"),
        (ram, full, "on the CPU in float32"),
        (ram, half, "on the CPU in bfloat16"),
    )
    found = next((f"fits {how}, {need:.1f} GB; {use}" for have, need, how in ways if have >= need), "")
    remedy = f"needs {half:.1f} GB of free memory in bfloat16, {full:.1f} GB in float32, for {FRAMES} frames"
    return Check(group, checkpoint.name, found, remedy=remedy)


def install_command(module: str) -> str:
    """The command for an importable module: of pip, or for what comes with ROS 2 or from this repository their own."""
    if module == INTERFACES:
        return BUILD
    if module.endswith(("_msgs", "_srvs", "_interfaces")):
        return f"{apt(module)}, or make setup where no ROS 2 is installed"
    if module == "rclpy":
        here = (3, 11) <= sys.version_info < (3, 13)
        wheels = f"pip install {ROS_WHEELS}" if here else "use Python 3.11 or 3.12, for which there are wheels"
        return f"source /opt/ros/{os.environ.get('ROS_DISTRO', 'jazzy')}/setup.bash, or {wheels}"
    if module == "trl" and sys.version_info < (3, 11):
        return "training needs Python 3.11 or newer"
    return install(DISTRIBUTIONS.get(module, module.partition(".")[0])) + f" {CPU_TORCH}" * (module == "torch")


def apt(package: str) -> str:
    """The command for a package of ROS 2."""
    return f"apt install ros-{os.environ.get('ROS_DISTRO', 'jazzy')}-{package.replace('_', '-')}"


def package(group: str, module: str, needed: bool = False) -> Check:
    try:
        import_module(module)
    except ModuleNotFoundError:
        return Check(group, module, "", needed, install_command(module))
    except Exception as error:  # a broken binary package can raise anything while it is imported
        return Check(group, module, "", needed, f"{install_command(module)} (its import fails: {error})")
    return check_version(group, module, needed, "present")


def check_version(group: str, module: str, needed: bool = False, unknown: str = "") -> Check:
    """What is installed, or ``unknown``; not found where that is of a version outside of what was tested."""
    name = DISTRIBUTIONS.get(module, module)
    if odd := outside([name]):
        return Check(group, module, "", needed, odd[0])
    return Check(group, module, version_of(name) or unknown, needed, install_command(module))


def imports(module: str) -> str:
    """The version of a module that can be imported, in a process of its own: ROS packages change their process."""
    if said(run_code(f"import {module}")) is None:
        return ""
    top = module.split(".")[0]
    return version_of(DISTRIBUTIONS.get(top, top)) or "present"


def processor() -> str:
    line = first_line("/proc/cpuinfo", lambda line: line.startswith("model name"))
    return line.partition(":")[2].strip() or platform.processor() or "unknown"


def usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory() -> float:
    """Memory that is free for new programs, GB of 1e9 bytes; 0 where that is not known."""
    fields = first_line("/proc/meminfo", lambda line: line.startswith("MemAvailable")).split()
    return int(fields[1]) * 1024 / 1e9 if len(fields) > 1 else 0.0


def gpu() -> tuple[str, float] | None:
    """Name and memory (GB of 1e9 bytes) of the NVIDIA GPU that has the most, or None."""
    if not (tool := shutil.which("nvidia-smi")):
        return None
    return most_memory(said([tool, "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]) or "")


def most_memory(listing: str) -> tuple[str, float] | None:
    """The GPU with the most memory in lines ``name, MiB``; memory that is not a number (as on Jetson) counts as 0."""
    cards = [line.rpartition(",") for line in listing.splitlines() if "," in line]
    sizes = [(name.strip(), int(size) * 2**20 / 1e9 if size.strip().isdigit() else 0.0) for name, _, size in cards]
    return max(sizes, key=lambda card: card[1], default=None)


def cuda() -> str:
    """The CUDA version that torch uses, in a process of its own; empty where torch cannot use the GPU."""
    code = "import torch; print(torch.version.cuda if torch.cuda.is_available() else '')"
    return (said(run_code(code)) or "").strip()


def said(command: list[str]) -> str | None:
    """What a program prints; None where it fails or takes a minute."""
    try:
        text = {"capture_output": True, "text": True, "errors": "replace"}
        done = subprocess.run(command, env=environment((*GENERAL, *FOR_MODELS)), timeout=60, check=True, **text)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def first_line(path: str, wanted: Callable[[str], bool]) -> str:
    try:
        with open(path, encoding="utf-8") as lines:
            return next((line for line in lines if wanted(line)), "")
    except OSError:
        return ""
