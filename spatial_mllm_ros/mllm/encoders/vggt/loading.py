"""Released weights, from a VGGT checkpoint or out of a Spatial-MLLM one."""

from pathlib import Path
from typing import Any

import torch

from ...weights.files import (
    Entry,
    ModelError,
    Progress,
    fill,
    find_folder,
    parse_device,
    parse_dtype,
    read_config,
    read_entries,
    show,
)
from .config import VGGTConfig
from .model import VGGT

PREFIXES = ("", "spatial_encoder.vggt_model.", "model.spatial_encoder.vggt_model.")  # VGGT; Spatial-MLLM, old and new
TRACK_HEAD = "track_head."


def load_vggt(path: str | Path, device: str = "cpu", dtype: str = "float32", progress: Progress | None = None) -> VGGT:
    """A VGGT ready for inference: evaluation mode, no gradients.

    Args:
        path: folder or hub id of a VGGT (layout of facebook/VGGT-1B) or of a Spatial-MLLM; or a safetensors file of a
            VGGT, with its config.json beside it. Sizes that the configuration leaves out are those of VGGT-1B.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        dtype: of the aggregator: ``float32``, ``bfloat16`` or ``float16``. The heads are float32.
        progress: is told the part of the weights that has been read, 0..1.
    Raises:
        ModelError: no such model, not a VGGT, damaged, pickled, larger than memory; tensors missing, unexpected or of
            a wrong shape (only the track head is skipped); an unknown device or dtype.
    """
    where, number_format = parse_device(device), parse_dtype(dtype)
    place, values = _find(path)
    try:
        config = VGGTConfig.from_dict(values)
    except ValueError as error:
        raise ModelError(f"{show(path)}: config.json: {error}") from None
    entries = _vggt_entries(read_entries(place), path)
    with torch.device("meta"):
        model = VGGT(config).to(number_format)
    fill(model, entries, where, path, progress)
    return model.eval().requires_grad_(False)


def _find(path: str | Path) -> tuple[Path, dict[str, Any]]:
    """Where the weights are, a folder or one file, and the sizes that its configuration states."""
    place = Path(path).expanduser()
    if not place.is_file():
        place = find_folder(path)
        values = read_config(place)
    elif place.suffix != ".safetensors":
        raise ModelError(f"{show(path)}: expected a .safetensors file: other formats could run code when opened")
    else:
        values = read_config(place.parent) if (place.parent / "config.json").is_file() else {}
    values = values.get("spatial_config", values)
    if not isinstance(values, dict):
        raise ModelError(f"{show(path)}: config.json: spatial_config is {values!r}: expected an object")
    return place, values


def _vggt_entries(entries: dict[str, Entry], path: str | Path) -> dict[str, Entry]:
    """The tensors of the VGGT among those of a checkpoint, named as in ``VGGT``, without the track head."""
    for prefix in PREFIXES:
        if any(name.startswith(prefix + "aggregator.") for name in entries):
            inside = {name.removeprefix(prefix): e for name, e in entries.items() if name.startswith(prefix)}
            return {name: entry for name, entry in inside.items() if not name.startswith(TRACK_HEAD)}
    raise ModelError(
        f"{show(path)}: no VGGT: expected tensors named aggregator.*, or {PREFIXES[1]}aggregator.* in a Spatial-MLLM"
    )
