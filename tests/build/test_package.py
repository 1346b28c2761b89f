"""What is installed is complete, and what the documents name exists."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """A copy of what a wheel is made of, so that building it leaves nothing in the checkout."""
    folder = tmp_path_factory.mktemp("source")
    for name in ("setup.py", "setup.cfg", "requirements.txt", "README.md", "package.xml", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    for name in ("resource", "launch", "config", "rviz", "msg", "spatial_mllm_ros"):
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "models/nano").mkdir(parents=True)
    for name in ("config.json", "model.safetensors", "calibration.json"):
        (folder / "models/nano" / name).write_text("stands for 25 MB")
    return folder


@pytest.fixture(scope="module")
def wheel(source, tmp_path_factory) -> list[str]:
    """Names of the files in the wheel."""
    out = tmp_path_factory.mktemp("wheel")
    pip = f"{sys.executable} -m pip wheel --quiet --no-deps --no-build-isolation".split()
    subprocess.run([*pip, "--wheel-dir", out, source], check=True)
    (built,) = out.glob("*.whl")
    return ZipFile(built).namelist()


def test_wheel_holds_the_modules_and_their_data(source, wheel):
    package = source / "spatial_mllm_ros"
    data = {path for pattern in ("*.py", "*.j2", "py.typed") for path in package.rglob(pattern)}
    data |= set((package / "definitions").glob("*.msg"))
    assert len(data) > 20
    assert {path.relative_to(source).as_posix() for path in data} <= set(wheel)


def test_wheel_holds_what_ros_looks_for(source, wheel):
    share = {name.split(".data/data/share/")[1] for name in wheel if ".data/data/share/" in name}
    assert {"ament_index/resource_index/packages/spatial_mllm_ros", "spatial_mllm_ros/package.xml"} <= share
    for folder in ("launch", "config", "rviz", "models/nano"):
        files = {f"spatial_mllm_ros/{folder}/{path.name}" for path in (source / folder).iterdir()}
        assert files and files <= share


def test_wheel_holds_nothing_else(wheel):
    assert {name.split("/")[0].split("-")[0] for name in wheel} == {"spatial_mllm_ros"}


def setup_text() -> str:
    return (ROOT / "setup.py").read_text()


def test_entry_points_exist():
    points = re.findall(r'f"[\w-]+ = \{NAME\}\.([\w.]+):(\w+)"', setup_text())
    assert len(points) == 2
    for module, name in points:
        path = ROOT / "spatial_mllm_ros" / module.replace(".", "/")
        tree = ast.parse((path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text())
        defined = {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}
        defined |= {t.id for n in tree.body if isinstance(n, ast.Assign) for t in n.targets if isinstance(t, ast.Name)}
        defined |= {a.asname or a.name for n in tree.body if isinstance(n, ast.ImportFrom) for a in n.names}
        assert name in defined, f"{module} defines no {name}"


def test_one_version_everywhere():
    versions = {ElementTree.parse(ROOT / file).findtext("version") for file in ("package.xml", "msg/package.xml")}
    versions.update(re.findall(r'^version = "(.+)"', (ROOT / "msg/pyproject.toml").read_text(), re.MULTILINE))
    versions.update(re.findall(r'version="(.+)"', setup_text()))
    assert len(versions) == 1


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", ".ci/run", ".pre-commit-config.yaml"])
def test_make_targets_named_in_documents_exist(document):
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"setup", "demo", "test", "bench", "lint", "colcon", "clean"} <= targets
    text = (ROOT / document).read_text()
    named = set(re.findall(r"(?:^|`)make ([a-z]+)", text, re.MULTILINE))
    assert named <= targets


def test_the_map_of_the_house_is_complete():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    parts = {p.name for p in (ROOT / "spatial_mllm_ros").iterdir() if not p.name.startswith(("_", "."))}
    missing = {name for name in parts if name not in text}
    assert not missing
