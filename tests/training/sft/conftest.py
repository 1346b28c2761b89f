"""A small checkpoint and a small data set; without torch there is nothing to test here."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from .questions import write_questions

os.environ.setdefault("HF_HUB_OFFLINE", "1")
HAS_TORCH = all(find_spec(name) for name in ("torch", "trl", "accelerate"))


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    return None if HAS_TORCH else True


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Sums in one order: figures that are compared must not depend on how many cores were free."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Path:
    """A complete untrained checkpoint; not to be written to."""
    from spatial_mllm_ros.mllm.families.spatial_mllm.untrained import make_untrained

    return make_untrained(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def questions(tmp_path_factory) -> Path:
    """12 records to learn from and 6 held out, two images each; not to be written to."""
    folder = write_questions(tmp_path_factory.mktemp("questions") / "room")
    return write_questions(folder, 6, split="test")
