"""Imports point one way: what runs on top may use what lies below, never the reverse, and rows have no circles."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "spatial_mllm_ros"
TRAINING = ROOT / "training" / "spatial_mllm_training"
ROS = ("rclpy", "builtin_interfaces", "rcl_interfaces", "rosbag2_interfaces", "std_srvs")  # and every package *_msgs
TORCH = {"torch", "transformers", "safetensors", "peft", "trl"}


@dataclass(frozen=True)
class House:
    """A package, or a folder in one, and its rows of rooms: a room may use those of the rows before its own."""

    name: str
    folder: Path
    rows: tuple[set[str], ...]

    @cached_property
    def row(self) -> dict[str, int]:
        return {room: i for i, row in enumerate(self.rows) for room in row}

    @cached_property
    def modules(self) -> list[Path]:
        return sorted(p for p in self.folder.rglob("*.py") if p.parent != self.folder or p.stem != "__init__")

    def room(self, path: Path) -> str:
        """The folder or file directly in the house that a module belongs to."""
        return path.relative_to(self.folder).with_suffix("").parts[0]

    def used(self, path: Path) -> set[str]:
        """Other rooms of the house that a file imports from."""
        here = f"{self.name}."
        rooms = {name.removeprefix(here).split(".")[0] for name in imported(path) if name.startswith(here)}
        return rooms & set(self.row) - {self.room(path)}


HOUSES = (
    House(
        "spatial_mllm_ros",
        PACKAGE,
        (
            {
                "arguments",
                "compiled",
                "errors",
                "evenly",
                "files",
                "frames",
                "isolated",
                "middleware",
                "printable",
                "topic_names",
                "versions",
            },
            {"image_size"},
            {"compressed", "config", "rvl"},
            {"coverage", "geometry"},
            {"camera_info", "messages"},
            {"optics"},
            {"assembler"},
            {"recordings"},
            {"mapping", "mllm"},
            {"motion"},
            {"scene"},
            {"annotate", "simulation"},
            {"doctor", "lerobot", "report"},
            {"node"},
            {"bringup", "cli"},
            {"executables"},
        ),
    ),
    House(
        "spatial_mllm_ros.mllm",
        PACKAGE / "mllm",
        (
            {"device", "images", "question"},
            {"weights"},
            {"calibration", "text"},
            {"encoders"},
            {"families"},
            {"answering"},
            {"loading"},
            {"process"},
        ),
    ),
    House(
        "spatial_mllm_training",
        TRAINING,
        (
            {"multispa", "runs"},
            {"benchmarks", "geometry"},
            {"calibrate", "sft"},
            {"grpo"},
            {"nano"},
            {"cli"},
        ),
    ),
)
MODULES = [(house, path) for house in HOUSES for path in house.modules]
ROBOT = HOUSES[0].modules


def module_of(path: Path, root: Path = ROOT) -> list[str]:
    """The parts of a module's dotted name; a package ends with ``__init__``."""
    base = root / "training" if (root / "training") in path.parents else root
    return list(path.relative_to(base).with_suffix("").parts)


def imported(path: Path, root: Path = ROOT) -> set[str]:
    """Absolute names of what a file imports, anywhere in it."""
    package = module_of(path, root)[:-1]
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join(base + ([node.module] if node.module else []))
            names.update(f"{module}.{alias.name}" for alias in node.names)
    return names


def roots(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imported(path)}


def shown(value: object) -> str | None:
    return value.relative_to(ROOT).as_posix() if isinstance(value, Path) else None


def unplaced() -> Iterator[str]:
    for house in HOUSES:
        rooms = {house.room(path) for path in house.modules}
        yield from (f"{house.name}.{room}" for room in rooms ^ set(house.row))


def test_every_room_has_its_row_and_every_row_its_rooms():
    assert not sorted(unplaced()), "give a new room its row in HOUSES, and take out one that is gone"


@pytest.mark.parametrize(("house", "path"), MODULES, ids=shown)
def test_a_room_uses_only_rooms_below_it(house, path):
    assert not {used for used in house.used(path) if house.row[used] >= house.row[house.room(path)]}


@pytest.mark.parametrize("path", ROBOT, ids=shown)
def test_ros_stays_in_its_place(path):
    ros = {root for root in roots(path) if root in ROS or root.endswith("_msgs")}
    assert not ros or path.parent in (PACKAGE / "node", PACKAGE / "recordings" / "play")


@pytest.mark.parametrize("path", ROBOT, ids=shown)
def test_torch_stays_in_its_place(path):
    assert not roots(path) & TORCH or PACKAGE / "mllm" in path.parents


@pytest.mark.parametrize("path", ROBOT, ids=shown)
def test_training_is_not_needed(path):
    assert TRAINING.name not in roots(path)


LEARNS = {"runs", "sft", "grpo", "geometry", "nano"}
"""Rooms of the training package that train; the others need no torch."""


@pytest.mark.parametrize("path", HOUSES[2].modules, ids=shown)
def test_training_needs_no_ros_and_questions_and_scores_no_torch(path):
    used = roots(path)
    assert "rclpy" not in used and not [root for root in used if root.endswith("_msgs")]
    assert HOUSES[2].room(path) in LEARNS or not used & TORCH


def test_the_reader_of_imports_sees_every_form(tmp_path):
    file = tmp_path / "spatial_mllm_ros" / "recordings" / "example.py"
    file.parent.mkdir(parents=True)
    lines = ["import numpy as np", "from ..frames import Frame", "from .. import scene"]
    file.write_text("\n".join([*lines, "def f():", "    from rclpy.node import Node"]))
    found = {"numpy", "spatial_mllm_ros.frames.Frame", "spatial_mllm_ros.scene", "rclpy.node.Node"}
    assert imported(file, tmp_path) == found


def test_an_arrow_that_runs_up_is_seen(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    house = House("below", tmp_path / "below", ({"frames"}, {"scene"}))
    house.folder.mkdir()
    (house.folder / "frames.py").write_text("from .scene import memory\nfrom . import scene")
    (path,) = house.modules
    monkeypatch.setattr(imported, "__defaults__", (tmp_path,))
    assert house.used(path) == {"scene"}
