"""Which encoders a checkpoint has: what changes the number, and what does not."""

import json
import shutil
import subprocess
import sys

import pytest

from spatial_mllm_ros.errors import SpatialError
from spatial_mllm_ros.mllm.weights.digest import encoders_digest
from spatial_mllm_ros.mllm.weights.shipped import find_shipped

torch = pytest.importorskip("torch")


def changed(tiny, folder, name):
    """The checkpoint with one number of a tensor changed."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(tiny, folder)
    weights = load_file(folder / "model.safetensors")
    weights[name].view(-1)[-1] += 1
    save_file(weights, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize(
    "name, same",
    [
        ("model.layers.0.self_attn.q_proj.weight", True),
        ("visual.blocks.3.mlp.down_proj.bias", False),
        ("spatial_encoder.vggt_model.depth_head.scratch.output_conv2.2.bias", False),
        ("connector.mlp.2.weight", False),
    ],
)
def test_the_language_model_alone_may_change(tiny, tmp_path, name, same):
    assert (encoders_digest(changed(tiny, tmp_path / "changed", name)) == encoders_digest(tiny)) == same


def test_a_size_that_no_tensor_shows_changes_it(tiny, tmp_path):
    folder = tmp_path / "changed"
    shutil.copytree(tiny, folder)
    config = json.loads((folder / "config.json").read_text())
    config["connector_config"]["spatial_embeds_layer_idx"] = 0
    (folder / "config.json").write_text(json.dumps(config))
    assert encoders_digest(folder) != encoders_digest(tiny)


def test_shards_are_one_checkpoint(tiny, tmp_path):
    from safetensors.torch import load_file, save_file

    folder, weights = tmp_path / "shards", load_file(tiny / "model.safetensors")
    shutil.copytree(tiny, folder)
    (folder / "model.safetensors").unlink()
    names = sorted(weights)
    for i, part in enumerate((names[::2], names[1::2])):
        save_file({name: weights[name] for name in part}, folder / f"model-0000{i}.safetensors")
    assert encoders_digest(folder) == encoders_digest(tiny)


@pytest.mark.parametrize("keep", [0, 5, 100, -1])
def test_a_file_that_is_cut_short_is_named(tiny, tmp_path, keep):
    file = tmp_path / "model.safetensors"
    file.write_bytes((tiny / "model.safetensors").read_bytes()[:keep])
    with pytest.raises(SpatialError, match=r"model\.safetensors is damaged or cut short"):
        encoders_digest(tmp_path)
    file.unlink()
    with pytest.raises(SpatialError, match="no weights"):
        encoders_digest(tmp_path)


def test_needs_no_torch():
    code = (
        "import sys; from spatial_mllm_ros.mllm.weights import digest, shipped;"
        " print(digest.encoders_digest(shipped.find_shipped())); sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.strip() == encoders_digest(find_shipped())
