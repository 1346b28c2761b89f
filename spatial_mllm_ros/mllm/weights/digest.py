"""Which encoders a checkpoint has, as one number. Without torch, which those that run exported files need not have."""

import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

from ...errors import ErrorCode, SpatialError

LANGUAGE = ("model.layers.", "model.embed_tokens.", "model.norm.", "model.language_model.", "lm_head.")
SIZES = ("vision_config", "spatial_config", "connector_config")
CHUNK = 1 << 24  # bytes read at once


def encoders_digest(folder: Path) -> str:
    """SHA-256 of the encoders' sizes and tensors, by name; the language model may learn without changing it.

    Args:
        folder: of a model, or a safetensors file.
    Raises:
        SpatialError: no weights, or a file that is damaged or cut short.
    """
    files = [folder] if folder.is_file() else sorted(folder.glob("*.safetensors"))
    if not files:
        raise SpatialError(ErrorCode.FAILED, f"{folder.name}: no weights: expected *.safetensors")
    whole = sha256(json.dumps(_sizes(files[0].parent), sort_keys=True).encode())
    tensors = {name: (file, start, about) for file in files for name, start, about in _tensors(file)}
    for name in sorted(tensors):
        if name.startswith(LANGUAGE):
            continue
        file, start, about = tensors[name]
        whole.update(f"{name} {about['dtype']} {about['shape']}".encode())
        with file.open("rb") as stream:
            stream.seek(start + about["data_offsets"][0])
            left = about["data_offsets"][1] - about["data_offsets"][0]
            while left:
                if not (part := stream.read(min(left, CHUNK))):
                    raise _damaged(file)
                whole.update(part)
                left -= len(part)
    return whole.hexdigest()


def _sizes(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError):  # a plain VGGT of the usual sizes needs none
        return {}
    parts = {name: config[name] for name in SIZES if name in config}
    return parts or config


def _tensors(file: Path) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Each tensor's name, where numbers begin, and what the header says of it (huggingface.co/docs/safetensors)."""
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if length > file.stat().st_size:
                raise ValueError
            header = json.loads(stream.read(length))
            header.pop("__metadata__", None)
            for name, about in header.items():
                if about["data_offsets"][1] + 8 + length > file.stat().st_size:
                    raise ValueError
                yield name, 8 + length, about
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError):
        raise _damaged(file) from None


def _damaged(file: Path) -> SpatialError:
    return SpatialError(ErrorCode.FAILED, f"{file.name} is damaged or cut short: get it again")
