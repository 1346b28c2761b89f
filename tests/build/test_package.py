"""What is installed is complete, and what the documents name exists."""

import ast
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """A copy of what a wheel is made of, so that building it leaves nothing in the checkout."""
    folder = tmp_path_factory.mktemp("source")
    for name in ("setup.py", "setup.cfg", "requirements.txt", "README.md", "package.xml", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    for name in ("resource", "launch", "config", "rviz", "msg", "spatial_mllm_ros", "training"):
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "models/nano").mkdir(parents=True)
    for name in ("config.json", "model.safetensors", "calibration.json"):
        (folder / "models/nano" / name).write_text("stands for 25 MB")
    return folder


@pytest.fixture(scope="module")
def wheel(source, tmp_path_factory) -> dict[str, str]:
    """Name -> text of the files in the wheel."""
    out = tmp_path_factory.mktemp("wheel")
    pip = f"{sys.executable} -m pip wheel --quiet --no-deps --no-build-isolation".split()
    subprocess.run([*pip, "--wheel-dir", out, source], check=True)
    (built,) = out.glob("*.whl")
    with ZipFile(built) as content:
        return {name: content.read(name).decode() for name in content.namelist()}


@pytest.mark.parametrize(
    ("folder", "package", "patterns"),
    [
        (".", "spatial_mllm_ros", ("*.py", "*.j2", "py.typed", "definitions/*.msg")),
        ("training", "spatial_mllm_training", ("*.py", "*.j2", "py.typed", "*.yaml")),
    ],
)
def test_wheel_holds_the_modules_and_their_data(source, wheel, folder, package, patterns):
    for pattern in patterns:
        where = source / folder / package
        found = where.glob(pattern) if "/" in pattern else where.rglob(pattern)  # definitions is a link
        names = {path.relative_to(source / folder).as_posix() for path in found}
        assert names and names <= set(wheel), pattern


def test_wheel_holds_what_ros_looks_for(source, wheel):
    share = {name.split(".data/data/share/")[1] for name in wheel if ".data/data/share/" in name}
    assert {"ament_index/resource_index/packages/spatial_mllm_ros", "spatial_mllm_ros/package.xml"} <= share
    for folder in ("launch", "config", "rviz", "models/nano"):
        found = [path for path in (source / folder).rglob("*") if path.is_file()]
        files = {f"spatial_mllm_ros/{path.relative_to(source).as_posix()}" for path in found}
        assert files and files <= share


def test_wheel_holds_nothing_else(wheel):
    assert {name.split("/")[0].split("-")[0] for name in wheel} == {"spatial_mllm_ros", "spatial_mllm_training"}


def test_entry_points_exist(wheel):
    (text,) = (text for name, text in wheel.items() if name.endswith("/entry_points.txt"))
    points = re.findall(r"^([\w-]+) = ([\w.]+):(\w+)$", text, re.MULTILINE)
    assert {point[0] for point in points} == {"spatial-mllm", "spatial_mllm_node", "spatial-mllm-training"}
    for _, module, name in points:
        path = module.replace(".", "/")
        tree = ast.parse(wheel.get(f"{path}.py") or wheel[f"{path}/__init__.py"])
        defined = {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}
        defined |= {t.id for n in tree.body if isinstance(n, ast.Assign) for t in n.targets if isinstance(t, ast.Name)}
        defined |= {a.asname or a.name for n in tree.body if isinstance(n, ast.ImportFrom) for a in n.names}
        assert name in defined, f"{module} defines no {name}"


def test_one_version_everywhere():
    versions = [ElementTree.parse(ROOT / file).findtext("version") for file in ("package.xml", "msg/package.xml")]
    versions += re.findall(r'^version = "(.+)"', (ROOT / "msg/pyproject.toml").read_text(), re.MULTILINE)
    versions += re.findall(r'^    version="(.+)"', (ROOT / "setup.py").read_text(), re.MULTILINE)
    assert len(versions) == 4 and len(set(versions)) == 1


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", ".ci/run", ".pre-commit-config.yaml"])
def test_make_targets_named_in_documents_exist(document):
    targets = set(re.findall(r"^([a-z]+(?:-[a-z]+)*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:^ *|`)make ([a-z]+(?:-[a-z]+)*)", (ROOT / document).read_text(), re.MULTILINE))
    assert named and named <= targets


@pytest.mark.parametrize("room", ["", "mllm/"])
def test_the_map_of_the_house_is_complete(room):
    """A row for each part of the package, and of the model, and none for what is not there."""
    table = (ROOT / "CONTRIBUTING.md").read_text().partition(f"| part of `{room or 'spatial_mllm_ros/'}` |")[2]
    rows = re.findall(r"^\|[^|`]*\| `([\w.]+)/?` \|", table.partition("\n\n")[0], re.MULTILINE)
    parts = {path.name for path in (ROOT / "spatial_mllm_ros" / room).iterdir() if not path.name.startswith(("_", "."))}
    assert sorted(rows) == sorted(parts - {"definitions", "py.typed"})


NOBLE = {
    "numpy": "1.26.4",
    "packaging": "24.0",
    "pil": "10.2.0",
    "pip": "24.0",
    "pytest": "7.4.4",
    "rich": "13.7.1",
    "scipy": "1.11.4",
    "setuptools": "68.1.2",
    "venv": "3.12.3",
    "yaml": "6.0.1",
}
"""Rosdep keys, after python3-, that resolve to a package of Ubuntu 24.04, and the version that it has."""


def test_rosdep_keys_exist_and_give_versions_that_will_do():
    package = ElementTree.parse(ROOT / "package.xml").getroot()
    keys = [element.text or "" for element in package.iter() if element.tag.endswith("depend")]
    python = [key.removeprefix("python3-") for key in keys if key.startswith("python3-")]
    assert len(keys) == len(set(keys)) and set(python) <= set(NOBLE)
    needed = {r.name: r for r in map(Requirement, requirements())}
    for key in python:
        if requirement := needed.get({"pil": "pillow", "yaml": "pyyaml"}.get(key, key)):
            assert requirement.specifier.contains(NOBLE[key]), f"apt has {key} {NOBLE[key]}, needed is {requirement}"


def requirements() -> list[str]:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    return [line for line in lines if not line.startswith("#")]


def test_the_readme_makes_a_workspace_in_which_plain_colcon_finds_both_packages(tmp_path):
    """Its git clone and ln, and colcon's own way to look for packages."""
    lines = (ROOT / "README.md").read_text().split("## In a ROS 2 workspace")[1].split("```")[1].splitlines()
    (link,) = (line.split("#")[0].split() for line in lines if line.startswith("ln "))
    assert any(line.startswith("git clone REPOSITORY src/spatial_mllm_ros ") for line in lines)
    assert any(line.split("#")[0].strip() == "python -m colcon build" for line in lines)
    (tmp_path / "src").mkdir()
    shutil.copytree(ROOT / "msg", tmp_path / "src/spatial_mllm_ros/msg")
    shutil.copy(ROOT / "package.xml", tmp_path / "src/spatial_mllm_ros")
    for name in ("setup.py", "setup.cfg", "requirements.txt", "README.md"):
        shutil.copy(ROOT / name, tmp_path / "src/spatial_mllm_ros")
    subprocess.run(link, cwd=tmp_path, check=True)
    packages = pytest.importorskip("catkin_pkg.packages", reason="catkin_pkg finds packages as rosdep does")
    found = {package.name for package in packages.find_packages(str(tmp_path / "src")).values()}
    assert found == {"spatial_mllm_ros", "spatial_mllm_msgs"}
    if find_spec("colcon_core"):
        listing = [sys.executable, "-m", "colcon", "--log-base", os.devnull, "list", "--names-only"]
        listed = subprocess.run(listing, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
        assert sorted(listed.split()) == ["spatial_mllm_msgs", "spatial_mllm_ros"]


def test_setuptools_is_one_with_which_colcon_links():
    """Of 80 and later colcon does not find what it links with, and copies."""
    lines = (ROOT / "README.md").read_text() + (ROOT / "setup.py").read_text()
    named = re.findall(r"['\"](setuptools\S*?)['\"]", lines)
    assert len(named) == 2
    for pin in ("constraints.txt", "constraints-ros.txt"):
        named += re.findall(r"^setuptools==\S+", (ROOT / pin).read_text(), re.MULTILINE)
    assert len(named) == 4 and not any(Requirement(name).specifier.contains("80.0.0") for name in named)


def test_colcon_links_what_is_edited_and_sets_the_executables_where_ros_looks(source, tmp_path):
    pytest.importorskip("colcon_core", reason="colcon is not installed here")
    build = [sys.executable, "-m", "colcon", "--log-base", os.devnull, "build", "--symlink-install", "--paths", source]
    done = subprocess.run(build, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    built, installed = tmp_path / "build/spatial_mllm_ros", tmp_path / "install/spatial_mllm_ros"
    links = {
        built / "spatial_mllm_ros/config.py": "spatial_mllm_ros/config.py",
        built / "spatial_mllm_training/__init__.py": "training/spatial_mllm_training/__init__.py",
        installed / "share/spatial_mllm_ros/launch/bringup.launch.py": "launch/bringup.launch.py",
        installed / "share/spatial_mllm_ros/config/rgbd.yaml": "config/rgbd.yaml",
    }
    for link, file in links.items():
        assert link.resolve() == (source / file).resolve(), link
    executables = {path.name for path in (installed / "lib/spatial_mllm_ros").iterdir()}
    assert executables == {"spatial-mllm", "spatial_mllm_node", "spatial-mllm-training"}
