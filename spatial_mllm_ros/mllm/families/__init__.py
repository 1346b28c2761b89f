"""Models by family: what a checkpoint holds decides who loads it. Each is imported only where it is used."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..encoders.files import FileEncoders
    from .base import Model

SPATIAL_MLLM, VGGT = "spatial_mllm.loaded", "vggt"
FAMILIES = {"SpatialMLLMForConditionalGeneration": SPATIAL_MLLM}
"""Architecture that ``config.json`` names -> the module that loads it."""


def load(
    path: str | Path,
    adapter: str | Path,
    device: str,
    dtype: str,
    progress: Callable[[float], None],
    files: FileEncoders | None = None,
) -> Model:
    """The model of a checkpoint.

    Args:
        path: folder or hub id. adapter: that of a PEFT adapter to merge; empty: none.
        device: ``cpu``, ``cuda`` or ``cuda:N``. dtype: ``float32``, ``bfloat16`` or ``float16``.
        progress: is told the part that has been read, 0..1.
        files: exported encoders, which take the place of the checkpoint's; None: its own.
    Raises:
        SpatialError: it cannot be loaded; says why and what would be right.
    """
    return import_module(f".{family_of(path)}", __package__).load(path, adapter, device, dtype, progress, files)


def family_of(path: str | Path) -> str:
    """The module of the family; what no family knows is left to Spatial-MLLM's, which says what it expects."""
    from ..weights.files import find_folder, read_config, read_entries

    if Path(path).is_file():
        return VGGT
    folder = find_folder(path)
    if any(name.startswith("aggregator.") for name in read_entries(folder)):
        return VGGT
    named = read_config(folder).get("architectures")
    known = [name for name in (named if isinstance(named, list) else [named]) if isinstance(name, str)]
    return next((FAMILIES[name] for name in known if name in FAMILIES), SPATIAL_MLLM)
