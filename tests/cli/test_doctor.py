"""Which checkpoints fit a machine, and where their sizes come from."""

import json
from math import prod
from pathlib import Path

import pytest

from spatial_mllm_ros.doctor import fits, install_command, most_memory
from spatial_mllm_ros.mllm.weights.published import PUBLISHED

PARITY = Path(__file__).parents[3] / "shared" / "parity"
BY_NAME = {c.name: c for c in PUBLISHED}
BIG = BY_NAME["Spatial-MLLM-v1.1-Instruct-135K"]


def test_parameters_are_those_of_the_released_tensors():
    file = PARITY / "official_v1_1_state_dict_shapes.json"
    if not file.exists():
        pytest.skip("the shapes of the released model are not beside this checkout (shared/parity)")
    sizes = {name: prod(shape) for name, shape in json.loads(file.read_text()).items() if "track_head" not in name}
    del sizes["lm_head.weight"]  # the same tensor as the embeddings
    assert BIG.parameters == sum(sizes.values())
    vggt = sum(size for name, size in sizes.items() if name.startswith("spatial_encoder.vggt_model."))
    assert BY_NAME["VGGT-1B"].parameters == BY_NAME["VGGT-1B-Commercial"].parameters == vggt


def test_weights_of_five_billion_numbers_are_ten_gigabytes():
    assert BIG.weights("bfloat16") == pytest.approx(10.494, abs=1e-3)
    assert BIG.weights("float32") == 2 * BIG.weights("bfloat16") < BIG.needed("float32")


@pytest.mark.parametrize(
    ("ram", "vram", "where"),
    [
        (64, 24, "on the GPU in bfloat16"),
        (64, 8, "on the CPU in float32"),
        (20, 8, "on the CPU in bfloat16"),
        (20, 0, "on the CPU in bfloat16"),
        (8, 8, ""),
        (0, 0, ""),
    ],
)
def test_what_fits_where(ram, vram, where):
    check = fits("model", BIG, ram, vram)
    assert check.ok == bool(where) and where in check.found and not check.needed
    assert f"{BIG.needed('bfloat16'):.1f} GB" in check.remedy and "16 frames" in check.remedy


def test_what_may_not_be_sold_is_said():
    commercial = {c.name for c in PUBLISHED if "commercial use allowed" in fits("model", c, 1e3, 0).found}
    assert commercial == {"VGGT-1B-Commercial"}


def test_the_largest_gpu_counts():
    assert most_memory("NVIDIA T400, 2048\nNVIDIA H100, 80GB HBM3, 81559\n") == (
        "NVIDIA H100, 80GB HBM3",
        pytest.approx(85.52, abs=0.01),
    )
    assert most_memory("Orin (nvgpu), [N/A]\n") == ("Orin (nvgpu)", 0.0)
    assert most_memory("") is None and most_memory("No devices were found\n") is None


def test_versions_and_commands():
    assert "'transformers<5.25,>=5.20.2'" in install_command("transformers")
    assert "whl/cpu" in install_command("torch") and "whl/cpu" not in install_command("peft")
