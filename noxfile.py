"""Throw-away environments: the oldest and the newest that setup.py allows, other Pythons, another ROS 2.

``make test-versions`` runs all of them and prints a table; ``nox -s oldest`` runs one. Each environment is made by the
Makefile, as users make theirs, in build/versions; a session says which lock, which Python, and which tests can tell.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import nox

nox.options.default_venv_backend = "none"
nox.options.stop_on_first_error = False
EXTRAS = tuple(
    f"--extra={name}"
    for name in ("simulate", "report", "media", "lerobot", "export", "training", "cluster", "ros", "dev")
)
HOME = Path("build/versions")
# Or another environment's ROS 2 looks for its libraries in that of nox.
os.environ.pop("_ROS_WHEELS_BOOTSTRAP_COMPLETE", None)
parts = os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)
os.environ["LD_LIBRARY_PATH"] = os.pathsep.join(part for part in parts if not part.startswith(sys.prefix))
NODE = ("tests/node", "tests/recordings", "tests/annotate", "tests/build")
TELLING = (
    *(f"tests/mllm/families/test_{name}.py" for name in ("parity", "positions", "processor")),
    *(f"tests/mllm/answering/test_{name}.py" for name in ("clip", "decode", "engine")),
    *("tests/training/sft/test_train.py", "tests/training/grpo/test_trainer.py"),
)


@nox.session
def transformers(session: nox.Session) -> None:
    """The oldest transformers that is allowed, beside all else as it is locked: parity and steps of training."""
    found = re.search(r"transformers>=([\d.]+)", Path("setup.py").read_text())
    assert found, "setup.py names no oldest transformers"
    folder = HOME / f"transformers-{found[1]}"
    install = ("uv", "pip", "install", "--quiet", "--system-certs", "--no-deps", "--target", str(folder))
    session.run(*install, f"transformers=={found[1]}", external=True)
    pytest(session, "python", "not", *TELLING, "tests/build/test_internals.py", PYTHONPATH=str(folder.resolve()))


@nox.session
def oldest(session: nox.Session) -> None:
    """The oldest of everything that setup.py allows, on Python 3.11; torch is the locked one."""
    lock = compiled(session, "oldest", "--resolution", "lowest-direct")
    test(session, "oldest", (*TELLING, *NODE, "tests/cli"), f"LOCK={lock}")


@nox.session
def newest(session: nox.Session) -> None:
    """The newest of everything that setup.py allows today, on Python 3.11; torch is the locked one."""
    test(session, "newest", (*TELLING, *NODE, "tests/cli"), f"LOCK={compiled(session, 'newest')}")


@nox.session
@nox.parametrize("python", ["3.10", "3.12", "3.13"], ids=["3.10", "3.12", "3.13"])
def other(session: nox.Session, python: str) -> None:
    """Another Python, with what is locked for it; torch where the index has a build for CPUs."""
    test(session, f"python-{python}", ("tests",), python=python)


@nox.session
@nox.parametrize("python", ["3.10", "3.11", "3.12", "3.13"], ids=["3.10", "3.11", "3.12", "3.13"])
def without_torch(session: nox.Session, python: str) -> None:
    """Everything but the model and training."""
    test(session, f"python-{python}-without-torch", ("tests",), "TORCH=", python=python)


@nox.session
def kilted(session: nox.Session) -> None:
    """ROS 2 Kilted in place of Jazzy: node, services, lifecycle, parameters and play."""
    test(session, "kilted", NODE, "ROS_WHEELS=ros-kilted", "TORCH=")


@nox.session
def beside_ros(session: nox.Session) -> None:
    """What is installed beside a ROS 2 installation, whose NumPy is 1.26: Python 3.12, as Jazzy and Kilted have it."""
    tests = (*NODE, *(f"tests/{room}" for room in ("cli", "ground", "scene", "mapping")))
    test(session, "beside-ros", tests, "LOCK=constraints-ros.txt", "TORCH=", python="3.12")


def compiled(session: nox.Session, name: str, *options: str) -> str:
    """A lock of its own for Python 3.11, with today's versions."""
    HOME.mkdir(parents=True, exist_ok=True)
    pin, file = HOME / "torch.txt", HOME / f"{name}.lock.txt"
    pin.write_text(re.findall(r"^torch==\S+", Path("constraints.txt").read_text(), re.MULTILINE)[0])
    what = ("uv", "pip", "compile", "--quiet", "--system-certs", "--python-version", "3.11", "setup.py", *EXTRAS)
    more = ("--constraint", str(pin), "--upgrade", "--no-annotate", "--output-file", str(file))
    session.run(*what, *more, *options, silent=True, external=True)
    return str(file)


def test(session: nox.Session, name: str, tests: tuple[str, ...], *make: str, python: str = "3.11") -> None:
    """Makes the environment and runs the tests there; what is installed, and what came out, is kept for the table."""
    folder = HOME / name
    if subprocess.run(["sh", "-c", f"python{python} --version"], capture_output=True, check=False).returncode:
        session.skip(f"there is no python{python} here")
    options = (f"VENV={folder}", f"PYTHON=python{python}", *make)
    session.run("make", "setup", *options, external=True, env={"MAKEFLAGS": "", "MAKELEVEL": ""})
    interpreter = str(folder / "bin" / "python")
    installed = session.run("uv", "pip", "freeze", "--python", interpreter, silent=True, external=True)
    (HOME / f"{name}.txt").write_text(f"python=={python}\n{installed}")
    for live in ("not", "only"):
        pytest(session, interpreter, live, f"--junitxml={HOME / name}.{live}.xml", *tests)


def pytest(session: nox.Session, python: str, live: str, *options: str, **environment: str) -> None:
    """The quick tests of ``make test``, in another environment."""
    side_by_side = () if live == "only" else ("-n", os.environ.get("TESTERS", "2"), "--dist", "loadfile")
    command = (python, "-m", "pytest", "-q", "-m", "not slow", f"--live={live}", *side_by_side, *options)
    environment = {"OMP_NUM_THREADS": "1", **environment}
    session.run(*command, *session.posargs, external=True, env=environment, success_codes=[0, 5])
