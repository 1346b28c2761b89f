"""``make setup``: what it needs is looked at first, what it installs is locked, what was interrupted goes on."""

import errno
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
NEEDED = ("Makefile", "setup.py", "requirements.txt", "constraints.txt", "constraints-ros.txt", "tools", "msg")


@pytest.fixture
def check(monkeypatch, tmp_path):
    """tools/check_setup.py as a module, in an empty folder, where nothing is missing."""
    spec = importlib.util.spec_from_file_location("check_setup", ROOT / "tools/check_setup.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ROS_DISTRO", raising=False)
    monkeypatch.setattr(module.shutil, "which", lambda name: f"/usr/bin/{name}")
    return module


def test_nothing_is_missing(check):
    assert check.problem(".venv", 0) == ""


@pytest.mark.parametrize(("version", "word"), [((3, 9), "old"), ((3, 14), "new: nothing here was tested with it")])
def test_a_python_that_is_too_old_or_too_new(check, monkeypatch, version, word):
    monkeypatch.setattr(check.sys, "version_info", version)
    monkeypatch.setattr(check, "OURS", "{}.{}".format(*version))
    said = check.problem(".venv", 0)
    assert f"is too {word}: expected 3.10 to 3.13: make PYTHON=python3.12" in said


def test_a_python_without_venv(check, monkeypatch):
    monkeypatch.setitem(sys.modules, "ensurepip", None)
    assert check.problem(".venv", 0).endswith(f"apt install python{check.OURS}-venv")


def test_a_folder_that_cannot_be_written(check, monkeypatch):
    def refuse(**_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(check.tempfile, "TemporaryFile", refuse)
    assert check.problem(".venv", 0) == (
        "this folder cannot be written (Read-only file system): clone the repository where you may write"
    )


def test_too_little_disk(check):
    assert re.match(r"[\d.]+ GB are free in this folder: expected at least 1e\+09 GB", check.problem(".venv", 1e9))


def test_no_compiler_where_there_are_interfaces_to_build(check, monkeypatch):
    monkeypatch.setattr(check.shutil, "which", lambda name: None)
    monkeypatch.setattr(check.sys, "version_info", (3, 12))
    assert check.problem(".venv", 0).endswith("apt install g++")
    monkeypatch.setattr(check.sys, "version_info", (3, 13))
    assert check.problem(".venv", 0) == ""


def test_a_sourced_ros_of_another_python(check, monkeypatch):
    monkeypatch.setenv("ROS_DISTRO", "jazzy")
    monkeypatch.setitem(sys.modules, "rclpy", None)
    said = check.problem(".venv", 0)
    assert said.startswith("ROS 2 jazzy is sourced, but ") and said.endswith(": make PYTHON=/usr/bin/python3")


def test_an_environment_of_another_python(check, tmp_path):
    (tmp_path / ".venv/bin").mkdir(parents=True)
    python = tmp_path / ".venv/bin/python"
    python.write_text("#!/bin/sh\necho 3.9\n")
    python.chmod(0o755)
    assert check.problem(".venv", 0) == "", "it was never finished: making it goes on"
    (tmp_path / ".venv/.created").touch()
    said = check.problem(".venv", 0)
    assert ".venv is of Python 3.9, this is Python" in said and "make clean" in said
    python.unlink()
    assert ".venv does not run any more" in check.problem(".venv", 0)


def requirements() -> Iterator[Requirement]:
    """What the package and its extras need, on whatever Python."""
    known = metadata.metadata("spatial_mllm_ros").get_all("Requires-Dist") or []
    yield from map(Requirement, known)


def pins(name: str) -> list[Requirement]:
    lines = (ROOT / name).read_text().splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def on(python: str, extra: str = "") -> dict[str, str]:
    """What markers are evaluated in."""
    here = {"python_version": python, "python_full_version": f"{python}.5", "sys_platform": "linux", "extra": extra}
    return {**default_environment(), **here}


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("lock", ["constraints.txt", "constraints-ros.txt"])
def test_a_lock_has_one_version_of_everything_for_every_python(lock, python):
    fixed: dict[str, str] = {}
    for pin in pins(lock):
        if pin.marker is None or pin.marker.evaluate(on(python)):
            (exact,) = pin.specifier
            assert exact.operator == "==" and canonicalize_name(pin.name) not in fixed, pin
            fixed[canonicalize_name(pin.name)] = exact.version
    beside = {"torch": "2.13.0"} if lock == "constraints-ros.txt" else {}  # a robot brings its own
    extras = {*(metadata.metadata("spatial_mllm_ros").get_all("Provides-Extra") or [])} - {"ros-kilted"}
    if lock == "constraints-ros.txt":
        extras -= {"export"}  # needs NumPy 2
    for needed in requirements():
        if any(needed.marker is None or needed.marker.evaluate(on(python, extra)) for extra in ("", *extras)):
            version = {**fixed, **beside}.get(canonicalize_name(needed.name))
            assert version and needed.specifier.contains(version, prereleases=True), f"{needed}: {version} in {lock}"
    assert fixed["numpy"].startswith("1.") == (lock == "constraints-ros.txt")


def test_what_is_installed_is_what_the_lock_says():
    """Only where `make test` says that its environment was made from a lock, and of what came from there."""
    if not (lock := os.environ.get("LOCKED")):
        pytest.skip("LOCKED is not set: this environment was not made by make setup")
    wrong = []
    for pin in pins(lock):
        try:
            version = metadata.version(pin.name)
        except metadata.PackageNotFoundError:
            continue
        if (pin.marker is None or pin.marker.evaluate()) and not pin.specifier.contains(version, prereleases=True):
            wrong.append(f"{pin}: {version} is installed")
    assert not wrong


def test_every_range_of_what_is_reached_into_has_an_end():
    """CONTRIBUTING.md's table says into what; pip would take any later version."""
    for needed in requirements():
        if needed.name in ("transformers", "trl", "peft", "rosbags"):
            assert any(part.operator in ("<", "==") for part in needed.specifier), needed


def copied(folder: Path) -> Path:
    """What `make setup` reads, in a new folder, whose name has a space."""
    (folder / "a checkout").mkdir()
    for name in NEEDED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / "a checkout" / name)
    return folder / "a checkout"


@pytest.fixture
def checkout(tmp_path):
    return copied(tmp_path)


@pytest.fixture(scope="module")
def created(tmp_path_factory):
    """A checkout with an environment that holds pip and nothing else."""
    folder = copied(tmp_path_factory.mktemp("created"))
    make(folder, ".venv/.created")
    return folder


@pytest.fixture
def begun(created, tmp_path):
    """The same, for one test to go on with."""
    return Path(shutil.copytree(created, tmp_path / created.name, symlinks=True))


def make(folder: Path, *arguments: str, code: int = 0, **environment: str) -> str:
    """What make says."""
    own = {k: v for k, v in os.environ.items() if k not in ("ROS_DISTRO", "MAKEFLAGS", "MAKELEVEL", "VIRTUAL_ENV")}
    command = ["make", "--no-print-directory", f"PYTHON={sys.executable}", *arguments]
    done = subprocess.run(
        command, cwd=folder, env=own | environment, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_a_half_made_environment_is_finished(checkout):
    (checkout / ".venv/bin").mkdir(parents=True)
    (checkout / ".venv/pyvenv.cfg").write_text("home = /nowhere\n")
    make(checkout, ".venv/.created")
    assert subprocess.run([checkout / ".venv/bin/python", "-m", "pip", "--version"], check=True, capture_output=True)


def test_without_a_network_setup_says_so_and_goes_on_from_there(checkout):
    nowhere = "http://127.0.0.1:9/simple"  # the discard port: nobody listens
    offline = {"PIP_INDEX_URL": nowhere, "PIP_RETRIES": "0", "PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": ""}
    said = make(checkout, "setup", code=2, **offline)
    assert "make setup goes on from here" in said and "pip" in said
    assert (checkout / ".venv/.created").exists() and not (checkout / ".venv/.torch").exists()
    again = make(checkout, "setup", code=2, **offline)
    assert "setup 1/4" not in again and "setup 2/4" in again


@pytest.mark.parametrize(
    ("there", "wanted", "said"),
    [
        ("2.1.0", "torch==2.13.0", "torch 2.1.0 is there, torch==2.13.0 takes its place"),
        ("2.13.0+cu130", "torch==2.13.0", ""),
        ("2.1.0", "", ""),
    ],
)
def test_torch_of_another_version_that_is_there(begun, there, wanted, said):
    (site,) = (begun / ".venv/lib").glob("python*/site-packages")
    (site / f"torch-{there}.dist-info").mkdir()
    (site / f"torch-{there}.dist-info/METADATA").write_text(f"Metadata-Version: 2.1\nName: torch\nVersion: {there}\n")
    out = make(begun, ".venv/.torch", "PIP=true", f"TORCH={wanted}")
    assert (said in out) if said else ("is there" not in out)


def test_torch_that_cannot_be_had_is_left_out(begun):
    only_tools = "PIP=f() { [ $$3 = --constraint ]; }; f"  # the packages of the lock, and nothing else
    out = make(begun, ".venv/.torch", only_tools, "TORCH=torch==2.13.0")
    assert "no torch==2.13.0 at https://download.pytorch.org/whl/cpu: the model is left out" in out
