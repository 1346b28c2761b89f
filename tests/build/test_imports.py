"""Imports point one way: what runs on top may use what lies below, never the reverse."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "spatial_mllm_ros"

# From bottom to top; a part may import from its own row and from those above it in this list, without circles.
ROWS = [
    {"errors", "config", "frames", "versions"},
    {"geometry", "coverage"},
    {
        "messages",
        "assembler",
        "mapping",
        "memory",
        "motion",
        "mllm",
        "pipeline",
        "bags",
        "simulation",
        "sampling",
        "asking",
    },
    {"node", "cli", "report", "doctor"},
]
ROW = {part: i for i, row in enumerate(ROWS) for part in row}
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or path.stem != "__init__")
ROS = ("rclpy", "builtin_interfaces", "rcl_interfaces", "std_srvs")  # and every package *_msgs


def part_of(path: Path) -> str:
    """The folder or file directly in the package that a module belongs to."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imported(path: Path, root: Path | None = None) -> set[str]:
    """Absolute names of the modules that a file of a package imports, anywhere in it."""
    root = root or PACKAGE
    package = ["spatial_mllm_ros" if root == PACKAGE else root.name, *path.relative_to(root).parent.parts]
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join(base + ([node.module] if node.module else []))
            names.update(f"{module}.{alias.name}" for alias in node.names)
    return names


def parts_used(path: Path) -> set[str]:
    """Other parts of the package that a file imports from."""
    used = {name.split(".")[1] for name in imported(path) if name.startswith("spatial_mllm_ros.")}
    return used & set(ROW) - {part_of(path)}


def module_id(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def test_every_part_has_its_row():
    assert {part_of(path) for path in MODULES} <= set(ROW), "give the new part its row in ROWS"


@pytest.mark.parametrize("path", MODULES, ids=module_id)
def test_direction(path):
    upwards = {used for used in parts_used(path) if ROW[used] > ROW[part_of(path)]}
    assert not upwards


def test_no_circles():
    uses: dict[str, set[str]] = {}
    for path in MODULES:
        uses.setdefault(part_of(path), set()).update(parts_used(path))
    assert set(TopologicalSorter(uses).static_order()) >= {part_of(path) for path in MODULES}


@pytest.mark.parametrize("path", MODULES, ids=module_id)
def test_ros_stays_in_its_place(path):
    roots = {name.split(".")[0] for name in imported(path)}
    ros = {root for root in roots if root in ROS or root.endswith("_msgs")}
    assert not ros or part_of(path) == "node" or path == PACKAGE / "bags" / "play.py"


@pytest.mark.parametrize("path", MODULES, ids=module_id)
def test_torch_stays_in_its_place(path):
    used = {name for name in imported(path) if name.split(".")[0] in ("torch", "transformers", "safetensors", "peft")}
    assert not used or part_of(path) == "mllm"


TRAINING = PACKAGE.parent / "training" / "spatial_mllm_training"


@pytest.mark.parametrize("path", MODULES, ids=module_id)
def test_training_is_not_needed(path):
    assert not [name for name in imported(path) if name.startswith(TRAINING.name)]


LEARNS = {"runs", "sft", "grpo", "geometry", "nano"}
"""Parts of the training package that train; the others need no torch."""


@pytest.mark.parametrize("path", sorted(TRAINING.rglob("*.py")), ids=lambda path: path.relative_to(TRAINING).as_posix())
def test_training_needs_no_ros_and_questions_and_scores_no_torch(path):
    roots = {name.split(".")[0] for name in imported(path, TRAINING)}
    assert "rclpy" not in roots and not [root for root in roots if root.endswith("_msgs")]
    assert path.relative_to(TRAINING).parts[0] in LEARNS or not roots & {"torch", "transformers", "trl", "peft"}


def test_the_reader_of_imports_sees_every_form(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "PACKAGE", tmp_path)
    (tmp_path / "bags").mkdir()
    file = tmp_path / "bags" / "example.py"
    lines = ["import numpy as np", "from ..frames import Frame", "from .. import memory"]
    file.write_text("\n".join([*lines, "def f():", "    from rclpy.node import Node"]))
    assert imported(file) == {
        "numpy",
        "spatial_mllm_ros.frames.Frame",
        "spatial_mllm_ros.memory",
        "rclpy.node.Node",
    }
    assert parts_used(file) == {"frames", "memory"}
