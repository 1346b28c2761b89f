import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from spatial_mllm_ros.errors import ErrorCode, SpatialError
from spatial_mllm_ros.mllm.encoders.vggt.loading import load_vggt

from .conftest import TINY

SPATIAL = "spatial_encoder.vggt_model."


@pytest.fixture
def weights(vggt):
    """The tiny model's tensors, and one of a track head."""
    return {**vggt.state_dict(), "track_head.tracker.corr_mlp.fc1.weight": torch.zeros(2)}


@pytest.fixture
def folder(tmp_path, weights) -> Path:
    return write(tmp_path / "vggt-tiny", weights, TINY.to_dict())


def write(folder: Path, tensors: dict, config: dict, shards: int = 1) -> Path:
    """A checkpoint folder of one or more files."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    if shards == 1:
        save_file(tensors, folder / "model.safetensors")
        return folder
    names = [f"model-{i:05d}-of-{shards:05d}.safetensors" for i in range(1, shards + 1)]
    for i, file in enumerate(names):
        save_file({name: tensors[name] for name in list(tensors)[i::shards]}, folder / file)
    index = {"weight_map": {name: names[i % shards] for i, name in enumerate(tensors)}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def check_same(model, vggt) -> None:
    expected = vggt.state_dict()
    assert model.state_dict().keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in model.state_dict().items())


def check_refused(said: str, *args, code: ErrorCode = ErrorCode.FAILED) -> None:
    with pytest.raises(SpatialError, match=said) as caught:
        load_vggt(*args)
    assert caught.value.code == code
    assert str(Path(args[0]).parent) not in caught.value.message or Path(args[0]).parent == Path(".")


def test_a_vggt(folder, vggt, clip):
    model = load_vggt(folder)
    check_same(model, vggt)
    assert model.config == TINY and not model.training
    assert not any(weight.requires_grad for weight in model.parameters())
    assert torch.equal(model(clip).depth, vggt(clip).depth)


def test_shards(tmp_path, weights, vggt):
    check_same(load_vggt(write(tmp_path / "sharded", weights, TINY.to_dict(), shards=3)), vggt)


@pytest.mark.parametrize("prefix", [SPATIAL, "model." + SPATIAL])
def test_out_of_a_spatial_mllm(tmp_path, weights, vggt, prefix):
    inside = {prefix + name: tensor for name, tensor in weights.items()}
    others = {"connector.norm.weight": torch.ones(4), "lm_head.weight": torch.ones(2, 2)}
    config = {"model_type": "spatial-mllm", "depth": 7, "spatial_config": TINY.to_dict()}
    check_same(load_vggt(write(tmp_path / "spatial", inside | others, config, shards=2)), vggt)


def test_a_file_alone(folder, vggt):
    check_same(load_vggt(folder / "model.safetensors"), vggt)
    (folder / "config.json").unlink()
    check_refused("^model.safetensors: .* tensors are missing: aggregator", folder / "model.safetensors")


def test_sizes_left_out_are_those_of_vggt_1b(folder):
    (folder / "config.json").write_text('{"img_size": 518, "patch_size": 14, "embed_dim": 1024}')
    missing = (24 - 2) * 14 + 2 * (24 - 4) * 18  # blocks of DINOv2 and of the aggregator, which has norms of q and k
    check_refused(f"{missing} of 1403 tensors are missing: aggregator.patch_embed.blocks.2.norm1.weight", folder)


def test_bfloat16_but_for_the_heads(folder, vggt):
    model = load_vggt(folder, dtype="bfloat16")
    assert {weight.dtype for weight in model.aggregator.parameters()} == {torch.bfloat16}
    for name in ("camera_head", "depth_head", "point_head"):
        expected = vggt.get_submodule(name).state_dict()
        found = model.get_submodule(name).state_dict()
        assert all(torch.equal(tensor, expected[key]) for key, tensor in found.items())


def test_missing(tmp_path, weights):
    del weights["camera_head.embed_pose.bias"], weights["point_head.norm.bias"]
    said = "^less: 2 of .* tensors are missing: camera_head.embed_pose.bias, point_head.norm.bias$"
    check_refused(said, write(tmp_path / "less", weights, TINY.to_dict()))


def test_unexpected(tmp_path, weights):
    weights["point_head.extra"] = torch.ones(1)
    check_refused("^more: 1 unexpected tensors: point_head.extra$", write(tmp_path / "more", weights, TINY.to_dict()))


def test_unexpected_inside_a_spatial_mllm(tmp_path, weights):
    inside = {SPATIAL + name: tensor for name, tensor in {**weights, "neck.weight": torch.ones(1)}.items()}
    folder = write(tmp_path / "spatial", inside, {"spatial_config": TINY.to_dict()})
    check_refused("1 unexpected tensors: spatial_encoder.vggt_model.neck.weight$", folder)


def test_wrong_shape(tmp_path, weights):
    weights["aggregator.camera_token"] = torch.ones(1, 2, 1, 16)
    said = r"aggregator.camera_token is \[1, 2, 1, 16\], the configuration says \[1, 2, 1, 32\]"
    check_refused(said, write(tmp_path / "odd", weights, TINY.to_dict()))


def test_cut_short(folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    check_refused("^vggt-tiny: model.safetensors is damaged or cut short", folder)


def test_a_missing_shard(tmp_path, weights):
    folder = write(tmp_path / "sharded", weights, TINY.to_dict(), shards=3)
    (folder / "model-00002-of-00003.safetensors").unlink()
    check_refused("1 of 3 shards are missing: model-00002-of-00003.safetensors", folder)


def test_pickled(folder, weights):
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "model.pt")
    check_refused("model.pt is pickled", folder)
    check_refused("^model.pt: expected a .safetensors file", folder / "model.pt")


def test_another_architecture(tmp_path):
    folder = write(tmp_path / "qwen", {"model.embed_tokens.weight": torch.ones(2, 2)}, {"model_type": "qwen2_5_vl"})
    check_refused("^qwen: no VGGT: expected tensors named aggregator", folder)


@pytest.mark.parametrize(
    "config, said",
    [
        ({"depth": -1}, "config.json: depth = -1: expected an integer from 1"),
        ({"spatial_config": 3}, "config.json: spatial_config is 3: expected an object"),
        ({"spatial_config": {"embed_dim": 30}}, "config.json: embed_dim gives 30: expected a multiple of 64"),
    ],
)
def test_a_bad_configuration(folder, config, said):
    (folder / "config.json").write_text(json.dumps(config))
    check_refused(f"^vggt-tiny: {said}", folder)


def test_no_configuration(folder):
    (folder / "config.json").unlink()
    check_refused("^vggt-tiny: no config.json", folder)


def test_unknown_device_dtype_and_folder(folder):
    check_refused("device 'tpu' is unknown", folder, "tpu", code=ErrorCode.BAD_REQUEST)
    check_refused("dtype 'int8' is unknown", folder, "cpu", "int8", code=ErrorCode.BAD_REQUEST)
    shutil.rmtree(folder)
    check_refused("model 'vggt-tiny': expected a folder or a hub id", folder, code=ErrorCode.BAD_REQUEST)
