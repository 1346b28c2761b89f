"""What a run leaves: a model folder, or an adapter, that ``load_model`` reads. Whole or not there."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from peft import PeftModel
from torch import Tensor

from spatial_mllm_ros.mllm.families.spatial_mllm.loading import add_adapter, load_model, released_name
from spatial_mllm_ros.mllm.families.spatial_mllm.model import SpatialMLLMForConditionalGeneration
from spatial_mllm_ros.mllm.weights.files import find_folder, read_config
from spatial_mllm_ros.mllm.weights.saving import copy_description, new_folder, save_shards


def save_trained(
    model: SpatialMLLMForConditionalGeneration | PeftModel,
    base: str | Path,
    out: Path,
    state: dict[str, Tensor] | None = None,
    adapter: str | Path = "",
) -> Path:
    """Writes what was trained: ``adapter/`` of a PEFT model, else ``model/`` in the layout of the released checkpoints.

    An older one is replaced. Weights are stored in the number format that the base's configuration names.

    Args:
        model: SpatialMLLMForConditionalGeneration, or PEFT's wrapper of it.
        base: folder or hub id of what it began with; configuration, tokenizer and processor come from there.
        state: all weights, where they are spread over processes; None: the model's own.
        adapter: that was merged into the base before; of a PEFT model a whole one is written then, with both merged.
    Returns:
        The new folder.
    """
    if adapter and isinstance(model, PeftModel):
        with TemporaryDirectory() as second:
            model.save_pretrained(second, state_dict=state)
            model, state = add_adapter(load_model(base, adapter=adapter)[0], second), None
    place = out / ("adapter" if isinstance(model, PeftModel) else "model")
    shutil.rmtree(place, ignore_errors=True)
    with new_folder(place) as part:
        if isinstance(model, PeftModel):
            model.save_pretrained(str(part), state_dict=state)
            (part / "README.md").unlink(missing_ok=True)
            return place
        folder = find_folder(base)
        copy_description(folder, part, without=("calibration.json",))  # of the weights that it began with
        config = read_config(folder)
        dtype = getattr(torch, str(config.get("dtype") or config.get("torch_dtype") or "float32"))
        save_shards(part, _released(state or model.state_dict(), model.config.tie_word_embeddings, dtype))
    return place


def _released(state: dict[str, Tensor], tied: bool, dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
    """Weights under their released names; a tied output layer is left out."""
    for name, tensor in state.items():
        if not (tied and name == "lm_head.weight"):
            yield released_name(name), tensor.detach().to("cpu", dtype)
