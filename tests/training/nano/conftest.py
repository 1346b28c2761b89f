import pytest

pytest.importorskip("torch", reason="the model needs torch")

from spatial_mllm_ros.mllm import load_model
from spatial_mllm_training.nano.start import make_start


@pytest.fixture(scope="session")
def start(tmp_path_factory):
    """What nano begins from."""
    return make_start(tmp_path_factory.mktemp("nano") / "start", seed=3)


@pytest.fixture(scope="session")
def loaded(start):
    return load_model(start)
