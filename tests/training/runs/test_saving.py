"""What a run leaves is whole, in the layout and number format of what it began with."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from spatial_mllm_ros.mllm import load_model
from spatial_mllm_ros.mllm.families.spatial_mllm.untrained import make_untrained
from spatial_mllm_training.runs import saving
from spatial_mllm_training.runs.parts import ModelRecipe, load_learner, trainable


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


def adapted(base, out, seed, **more):
    """An adapter with other weights than those it begins with, saved."""
    recipe = ModelRecipe(model=str(base), train=["connector"], lora_rank=2, **more)
    learner = trainable(load_learner(recipe)[0], recipe)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in learner.parameters():
            if parameter.requires_grad:
                parameter += 0.01 * torch.randn(parameter.shape, generator=generator)
    return learner, saving.save_trained(learner, base, out, adapter=recipe.adapter)


def test_an_adapter_on_top_of_another_is_written_as_a_whole_model(tmp_path):
    base = make_untrained(tmp_path / "base")
    _, first = adapted(base, tmp_path / "first", 1)
    learner, place = adapted(base, tmp_path / "second", 2, adapter=str(first))
    assert first.name == "adapter" and place == tmp_path / "second" / "model"
    assert [p.name for p in (tmp_path / "second").iterdir()] == ["model"]
    ids = torch.arange(12).reshape(1, 12)
    with torch.no_grad():
        expected = learner.eval()(input_ids=ids).logits
        found, without = (load_model(path)[0](input_ids=ids).logits for path in (place, base))
    assert torch.allclose(found, expected, atol=1e-4) and not torch.allclose(without, expected, atol=1e-3)
    connector = learner.get_base_model().model.connector.modules_to_save["default"].state_dict()
    again = load_model(place)[0].model.connector.state_dict()
    assert all(torch.equal(value, connector[name]) for name, value in again.items())
