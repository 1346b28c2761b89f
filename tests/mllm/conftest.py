"""The reference's numbers, and a small checkpoint that every test of the model can load."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")

HAS_TORCH = find_spec("torch") is not None
HAS_ONNX = all(find_spec(name) for name in ("onnx", "onnxscript", "onnxruntime"))
WITHOUT_TORCH = {  # test_loading says what is missing
    *("mllm", "answering", "families", "process", "text", "test_loading.py"),
    *("test_calibration.py", "test_parsing.py", "test_quantity.py", "test_refusal.py", "test_remote.py"),
}
PARITY = Path(__file__).parents[3] / "shared" / "parity"


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    if collection_path.name == "test_export.py":
        return None if HAS_TORCH and HAS_ONNX else True
    return None if HAS_TORCH or collection_path.name in WITHOUT_TORCH else True


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Sums in one order: figures that are compared must not depend on how many cores were free."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)


@pytest.fixture(scope="session")
def parity() -> Path:
    """Folder of arrays from the reference implementation, see its README."""
    if not PARITY.is_dir():
        pytest.skip("the reference's arrays are not beside this checkout (shared/parity)")
    return PARITY


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Path:
    """A complete untrained checkpoint; not to be written to."""
    from spatial_mllm_ros.mllm.families.spatial_mllm.untrained import make_untrained

    return make_untrained(tmp_path_factory.mktemp("models") / "tiny")
