"""Recordings and simulated bags that several test folders share."""

import os
import subprocess
from pathlib import Path
from zlib import crc32

import pytest
from hypothesis import settings

settings.register_profile("no deadline", deadline=None)  # other work on the machine makes no test fail
settings.load_profile("no deadline")
os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
os.environ.setdefault("ROS_DOMAIN_ID", str(os.getpid() % 101 + 1))

DATA = Path(__file__).parents[2] / "shared" / "data"
ONE_OF = 3  # tests marked long that a sample draws one from


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--live", choices=("only", "not"), help="only the tests that talk over DDS, or all but those")
    parser.addoption("--long", choices=("all", "sample"), default="all", help="a third of the long ones, by the commit")


def _commit() -> str:
    """Of this checkout; empty where it is none."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What talks over DDS in real time wants the machine for itself; the rest may be tested side by side."""
    if config.getoption("--long") == "sample":
        commit = _commit()
        left = {i for i in items if i.get_closest_marker("long") and crc32((i.nodeid + commit).encode()) % ONE_OF}
        config.hook.pytest_deselected(items=list(left))
        items[:] = [item for item in items if item not in left]
    if which := config.getoption("--live"):
        parts: dict[bool, list[pytest.Item]] = {True: [], False: []}
        for item in items:
            parts[(item.get_closest_marker("live") is not None) == (which == "only")].append(item)
        config.hook.pytest_deselected(items=parts[False])
        items[:] = parts[True]


def _recording(name: str) -> Path:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"the recording {name} is not beside this checkout (shared/data)")
    return path


@pytest.fixture(scope="session")
def redkitchen() -> Path:
    """300 RGB-D frames at 30 Hz of a static kitchen, hand-held, with poses."""
    return _recording("redkitchen_300")


@pytest.fixture(scope="session")
def tum_cabinet() -> Path:
    """56 RGB-D frames around a cabinet, 0.67 s apart, with poses."""
    return _recording("tum_cabinet_56")


@pytest.fixture(scope="session")
def simulated_bag(tmp_path_factory) -> Path:
    """A small simulated room: 30 frames of 160x120 at 10 Hz, one camera."""
    pytest.importorskip("embreex", reason="rooms are simulated with embreex")
    from spatial_mllm_ros.simulation import simulate

    path = tmp_path_factory.mktemp("room") / "room.mcap"
    simulate(path, seed=3, size=(160, 120), fps=10, duration=3)
    return path
