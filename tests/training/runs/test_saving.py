"""What a run leaves is whole, in the layout and number format of what it began with."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from spatial_mllm_ros.mllm import load_model
from spatial_mllm_ros.mllm.checkpoints.untrained import make_untrained
from spatial_mllm_training.runs import saving


@pytest.fixture
def base(tmp_path):
    """The tiny checkpoint as one of bfloat16, with a calibration beside it."""
    folder = make_untrained(tmp_path / "base")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"torch_dtype": "bfloat16"}))
    (folder / "calibration.json").write_text("{}")
    return folder


def test_layout_and_number_format_are_those_of_the_base(base, tmp_path):
    model, _ = load_model(base)
    with torch.no_grad():
        model.lm_head.weight += 1.0
    place = saving.save_trained(model, base, tmp_path / "run")
    stored, before = load_file(place / "model.safetensors"), load_file(base / "model.safetensors")
    assert stored.keys() == before.keys() and {tensor.dtype for tensor in stored.values()} == {torch.bfloat16}
    assert "calibration.json" not in {file.name for file in place.iterdir()}  # it spoke of other weights
    again, processor = load_model(place)
    assert torch.equal(again.lm_head.weight, model.lm_head.weight.bfloat16().float()) and processor is not None


def test_an_older_one_is_replaced_and_nothing_half_is_left(base, tmp_path, monkeypatch):
    model, _ = load_model(base)
    place = saving.save_trained(model, base, tmp_path / "run")
    (place / "old.txt").touch()
    assert saving.save_trained(model, base, tmp_path / "run") == place and not (place / "old.txt").exists()

    def full(*_):
        raise OSError(28, "No space left on device")

    shutil.rmtree(place)
    monkeypatch.setattr(saving, "save_shards", full)
    with pytest.raises(OSError, match="No space"):
        saving.save_trained(model, base, tmp_path / "run")
    assert not any((tmp_path / "run").iterdir())
