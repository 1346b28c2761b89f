"""A fresh Spatial-MLLM from a Qwen2.5-VL and a VGGT, where training starts (Wu et al. 2025, section 3)."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ....errors import ErrorCode
from ...encoders.vggt import VGGTConfig
from ...weights.files import DTYPES, Entry, ModelError, check_names, find_folder, read_config, read_entries, show
from ...weights.saving import copy_description, new_folder, save_shards, write_json
from .config import ARCHITECTURE, CONNECTOR, SpatialMLLMConfig
from .loading import blame, empty_model, module_entries, released_name

QWEN = "Qwen2_5_VLForConditionalGeneration"
SPATIAL = "spatial_encoder.vggt_model."


def join(qwen: str | Path, vggt: str | Path, out: str | Path, seed: int = 0) -> Path:
    """Joins two checkpoints into one Spatial-MLLM whose connector adds nothing yet.

    The connector's last layer is zero, so answers begin as those of the Qwen2.5-VL alone. Weights keep the number
    formats they had, one shard in memory at a time; tokenizer and processor files are copied. VGGT's track head is left
    out.

    Args:
        qwen: Qwen2.5-VL, folder or hub id, safetensors.
        vggt: VGGT in the layout of facebook/VGGT-1B, the same.
        out: folder to write, new or empty.
        seed: of the connector's first layer.
    Raises:
        ModelError: a checkpoint that is not what it should be, or does not fit; nothing is written then.
    """
    language, spatial = find_folder(qwen), find_folder(vggt)
    config = joined_config(language, spatial)
    with blame(f"{show(qwen)} and {show(vggt)}"):
        sizes = SpatialMLLMConfig.from_dict(dict(config))
        parameters = dict(empty_model(sizes).named_parameters())
    ours = {name: value for name, value in parameters.items() if name.startswith("model.connector.")}
    seen = {name: value for name, value in parameters.items() if name.startswith("model.spatial_encoder.")}
    said = {name: value for name, value in parameters.items() if name not in ours and name not in seen}

    from_qwen = module_entries(read_entries(language), sizes)
    from_vggt = module_entries({SPATIAL + name: entry for name, entry in read_entries(spatial).items()}, sizes)
    check_names(said, from_qwen, qwen)
    check_names(seen, from_vggt, vggt)
    dtype = DTYPES.get(str(config.get("torch_dtype") or config.get("dtype")), torch.float32)
    with new_folder(out) as part:
        copy_description(language, part, without=("config.json",))
        write_json(part / "config.json", config)
        connector = ((name, tensor.to(dtype)) for name, tensor in fresh_connector(ours, seed))
        save_shards(part, (pair for source in (stored(from_qwen), stored(from_vggt), connector) for pair in source))
    return Path(out)


def joined_config(language: Path, spatial: Path) -> dict[str, Any]:
    """``config.json`` of both together."""
    config = read_config(language)
    named = config.get("architectures") or ["another model"]
    kind = named[0] if isinstance(named, list) else named
    if kind != QWEN:
        raise ModelError(f"{show(language)}: holds {kind}: expected {QWEN}", ErrorCode.BAD_REQUEST)
    with blame(f"{show(spatial)}: config.json"):
        sizes = VGGTConfig.from_dict(read_config(spatial))
    return {
        **config,
        "architectures": [ARCHITECTURE],
        "model_type": SpatialMLLMConfig.model_type,
        "spatial_config": {"model_type": "vggt_spatial_encoder", **sizes.to_dict(), "enable_track": False},
        "connector_config": {"connector_type": CONNECTOR, "spatial_embeds_layer_idx": -1},
    }


def stored(entries: dict[str, Entry]) -> Iterator[tuple[str, Tensor]]:
    """Tensors of a checkpoint by their released names, one at a time."""
    for name, entry in entries.items():
        try:
            with safe_open(entry.file, "pt") as tensors:
                yield released_name(name), tensors.get_tensor(entry.name)
        except (SafetensorError, OSError):
            raise ModelError(f"{entry.file.name} is damaged or cut short: get it again") from None


def fresh_connector(parameters: Mapping[str, Tensor], seed: int) -> Iterator[tuple[str, Tensor]]:
    """Weights of a connector that adds nothing: all but the last layer keep signals at their size."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in parameters.items():
        value = torch.zeros(parameter.shape)
        if name.endswith("ln_q.weight"):
            value.fill_(1.0)
        elif name.endswith("mlp.0.weight"):
            value.normal_(std=parameter.shape[1] ** -0.5, generator=generator)
        yield released_name(name), value
