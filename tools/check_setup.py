"""What `make setup` needs, looked at before anything is made: ``python check_setup.py VENV GIGABYTES``.

Runs on whatever Python there is, so in the syntax of an old one. Exit code 1 and one line where something is missing:
what it is, and what mends it.
"""

import os
import shutil
import subprocess
import sys
import tempfile

OLDEST, TOO_NEW = (3, 10), (3, 14)
OURS = "{}.{}".format(*sys.version_info)
WHEELS = ((3, 11), (3, 12))  # Pythons for which PyPI has ROS 2


def problem(venv, gigabytes):
    """The first thing that is wrong, or an empty string."""
    return next(filter(None, (check() for check in checks(venv, gigabytes))), "")


def checks(venv, gigabytes):
    return (interpreter, modules, writable, lambda: space(gigabytes), compiler, ros, lambda: environment(venv))


def interpreter():
    if OLDEST <= sys.version_info < TOO_NEW:
        return ""
    which = "old" if sys.version_info < OLDEST else "new: nothing here was tested with it"
    return f"Python {OURS} ({sys.executable}) is too {which}: expected 3.10 to 3.13: make PYTHON=python3.12"


def modules():
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError as error:
        return f"{sys.executable} has no module {error.name}: apt install python{OURS}-venv"


def writable():
    try:
        tempfile.TemporaryFile(dir=".").close()
    except OSError as error:
        return f"this folder cannot be written ({error.strerror}): clone the repository where you may write"


def space(gigabytes):
    for folder, needed in ((".", gigabytes), (tempfile.gettempdir(), 1.0)):
        free = shutil.disk_usage(folder).free / 1e9
        if free < needed:
            name = "this folder" if folder == "." else folder
            return f"{free:.1f} GB are free in {name}: expected at least {needed:g} GB"


def compiler():
    if not ("ROS_DISTRO" in os.environ or sys.version_info[:2] in WHEELS):
        return ""  # no ROS 2, no interfaces to build
    if not any(shutil.which(name) for name in (os.environ.get("CXX") or "c++", "g++", "clang++")):
        return "no C++ compiler, which the ROS 2 interfaces are built with: apt install g++"


def ros():
    distro = os.environ.get("ROS_DISTRO")
    if not distro:
        return ""
    try:
        import rclpy  # noqa: F401
    except Exception as error:
        why = f"{sys.executable} (Python {OURS}) cannot import its rclpy ({type(error).__name__})"
        return f"ROS 2 {distro} is sourced, but {why}: make PYTHON=/usr/bin/python3"


def environment(venv):
    """An environment that is there: of this Python's version, and working, unless making it was interrupted."""
    python = os.path.join(venv, "bin", "python")
    if not os.path.isfile(os.path.join(venv, ".created")):
        return ""
    ask = [python, "-c", "import sys; print('{}.{}'.format(*sys.version_info))"]
    try:
        found = subprocess.run(ask, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout.decode().strip()
    except OSError:
        found = ""
    if found != OURS:
        what = "is of Python " + found if found else "does not run any more"
        other = f"VENV=.venv{OURS.replace('.', '')}"
        return f"{venv} {what}, this is Python {OURS}: make clean, or keep it and take another: make {other}"


if __name__ == "__main__":
    sys.exit(problem(sys.argv[1], float(sys.argv[2])) or 0)
