"""A Qwen2.5-VL and a VGGT become a Spatial-MLLM that starts where the Qwen2.5-VL was."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from spatial_mllm_ros.errors import ErrorCode
from spatial_mllm_ros.mllm.families.spatial_mllm.join import join
from spatial_mllm_ros.mllm.families.spatial_mllm.loading import load_model
from spatial_mllm_ros.mllm.families.spatial_mllm.untrained import released_config
from spatial_mllm_ros.mllm.weights.files import INDEX, WEIGHTS, ModelError
from tests.closeness import assert_close

SPATIAL = "spatial_encoder.vggt_model."


@pytest.fixture
def parts(tiny, tmp_path):
    """The two checkpoints that an untrained model is made of, each in its own published layout."""
    tensors, config = load_file(tiny / WEIGHTS), json.loads((tiny / "config.json").read_text())
    qwen = shutil.copytree(tiny, tmp_path / "qwen")
    sizes = config.pop("spatial_config")
    del config["connector_config"]
    published = {**config, "architectures": ["Qwen2_5_VLForConditionalGeneration"], "model_type": "qwen2_5_vl"}
    (qwen / "config.json").write_text(json.dumps(published))
    save_file(
        {n: t for n, t in tensors.items() if not n.startswith(("spatial_encoder.", "connector."))}, qwen / WEIGHTS
    )
    vggt = tmp_path / "vggt"
    vggt.mkdir()
    (vggt / "config.json").write_text(json.dumps(sizes))
    inside = {name.removeprefix(SPATIAL): tensor for name, tensor in tensors.items() if name.startswith(SPATIAL)}
    save_file({**inside, "track_head.fc.weight": torch.zeros(2)}, vggt / WEIGHTS)
    return qwen, vggt


def scene(config):
    clip = [config.vision_start_token_id, *[config.video_token_id] * 12, config.vision_end_token_id]
    pixels = torch.randn(48, 1176, generator=torch.Generator().manual_seed(3))
    ids = torch.tensor([[40, *clip, 41, 42]])
    return {"input_ids": ids, "pixel_values_videos": pixels, "video_grid_thw": torch.tensor([[2, 4, 6]])}


def test_starts_as_the_language_model_was(parts, tmp_path):
    """Against transformers' own Qwen2.5-VL, on a clip that is wider than long: its positions are those of training."""
    qwen, vggt = parts
    model, processor = load_model(join(qwen, vggt, tmp_path / "out"))
    stock = Qwen2_5_VLForConditionalGeneration.from_pretrained(qwen, dtype=torch.float32).eval()
    given = scene(model.config)
    with torch.no_grad():
        types = 2 * (given["input_ids"] == model.config.video_token_id).long()
        assert_close(model(**given).logits, stock(**given, mm_token_type_ids=types).logits)
    assert processor is not None


def test_connector_learns_from_the_start(parts, tmp_path):
    model, _ = load_model(join(*parts, tmp_path / "out"))
    given = scene(model.config)
    model(**given, labels=given["input_ids"]).loss.backward()
    assert float(model.model.connector.mlp[2].weight.grad.abs().max()) > 0
    assert float(model.model.connector.mlp[0].weight.detach().std()) > 0


def test_keeps_every_tensor(parts, tmp_path):
    qwen, vggt = parts
    joined = load_file(join(qwen, vggt, tmp_path / "out") / WEIGHTS)
    assert not any("track_head" in name for name in joined)
    sources = load_file(qwen / WEIGHTS)
    sources |= {SPATIAL + name: t for name, t in load_file(vggt / WEIGHTS).items() if "track_head" not in name}
    assert all(torch.equal(joined.pop(name), tensor) for name, tensor in sources.items())
    assert {name.split(".")[0] for name in joined} == {"connector"}


def test_large_models_are_written_in_shards(parts, tmp_path, monkeypatch):
    monkeypatch.setattr("spatial_mllm_ros.mllm.weights.saving.SHARD_BYTES", 3_000_000)
    out = join(*parts, tmp_path / "out")
    names = set(json.loads((out / INDEX).read_text())["weight_map"].values())
    assert len(names) > 2 and names == {file.name for file in out.glob("*.safetensors")}
    assert all((out / name).stat().st_size < 5_000_000 for name in names)
    load_model(out)


def test_takes_what_current_transformers_saved(parts, tmp_path):
    qwen, vggt = parts
    saved = tmp_path / "saved"
    Qwen2_5_VLForConditionalGeneration.from_pretrained(qwen, dtype=torch.float32).save_pretrained(saved)
    model, _ = load_model(join(saved, vggt, tmp_path / "out"))
    stored = load_file(qwen / WEIGHTS)
    assert torch.equal(model.lm_head.weight, stored["model.embed_tokens.weight"])


def test_sizes_of_the_released_model():
    """What Qwen2.5-VL-3B publishes of itself, against what is written for untrained models of its size."""
    config = Qwen2_5_VLConfig.from_dict(released_config("3b"))
    assert (config.text_config.hidden_size, config.text_config.num_hidden_layers) == (2048, 36)
    assert config.text_config.rope_parameters["mrope_section"] == [16, 24, 24]
    assert config.vision_config.out_hidden_size == 2048


def refused(code, said, *args):
    with pytest.raises(ModelError, match=said) as caught:
        join(*args)
    assert caught.value.code == code
    assert not args[-1].exists() or args[-1].name == "qwen"


def test_the_wrong_way_round(parts, tmp_path):
    qwen, vggt = parts
    refused(ErrorCode.BAD_REQUEST, "expected Qwen2_5_VL", vggt, qwen, tmp_path / "out")


def test_already_joined(parts, tiny, tmp_path):
    refused(ErrorCode.BAD_REQUEST, "holds SpatialMLLM", tiny, parts[1], tmp_path / "out")


def test_vggt_that_lacks_a_tensor(parts, tmp_path):
    tensors = load_file(parts[1] / WEIGHTS)
    del tensors["camera_head.token_norm.weight"]
    save_file(tensors, parts[1] / WEIGHTS)
    refused(ErrorCode.FAILED, "1 of .* missing: .*camera_head.token_norm.weight", *parts, tmp_path / "out")


def test_vggt_of_another_size(parts, tmp_path):
    (parts[1] / "config.json").write_text("{}")
    refused(ErrorCode.FAILED, "vggt: .*(missing|wrong shape)", *parts, tmp_path / "out")


def test_out_is_not_overwritten(parts):
    refused(ErrorCode.BAD_REQUEST, "is there already", *parts, parts[0])
