"""The untrained checkpoint and two clips, for every test of GRPO."""

import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")

HAS_TRL = all(map(find_spec, ("torch", "trl")))


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    return None if HAS_TRL or collection_path.name in ("grpo", "test_rewards.py") else True


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Sums in one order: figures that are compared must not depend on how many cores were free."""
    if HAS_TRL:
        import torch

        torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Path:
    """A complete untrained checkpoint; not to be written to."""
    from spatial_mllm_ros.mllm.families.spatial_mllm.untrained import make_untrained

    return make_untrained(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def clips() -> list[list[np.ndarray]]:
    """Two clips of noise, of two and of four frames, RGB uint8."""
    rng = np.random.default_rng(0)
    return [list(rng.integers(0, 256, shape, dtype=np.uint8)) for shape in ((2, 56, 84, 3), (4, 56, 56, 3))]
