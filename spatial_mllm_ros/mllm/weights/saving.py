"""Writing model folders: beside their place first, one shard in memory at a time."""

import json
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from ...errors import ErrorCode
from ...files import left_behind, whole_folder
from .files import INDEX, WEIGHTS, ModelError, show

SHARD_BYTES = 2_000_000_000
DESCRIPTION = ("*.json", "*.txt", "*.jinja")  # configuration, tokenizer, processor, chat template


@contextmanager
def new_folder(out: str | Path) -> Iterator[Path]:
    """A folder to write into, which becomes ``out`` when all is written, and is removed when something fails.

    Raises:
        ModelError: BAD_REQUEST where ``out`` is there and not empty.
    """
    out = Path(out).expanduser().resolve()
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise ModelError(f"{show(out)} is there already: expected a new or an empty folder", ErrorCode.BAD_REQUEST)
    for left in left_behind(out):  # gigabytes
        shutil.rmtree(left, ignore_errors=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    with whole_folder(out) as part:
        yield part


def copy_description(folder: Path, part: Path, without: Collection[str] = ()) -> None:
    """Copies what is beside a model's weights, but neither their index nor the files that are named."""
    for file in {file for pattern in DESCRIPTION for file in folder.glob(pattern)}:
        if file.name not in without and not file.name.endswith(".index.json"):
            shutil.copyfile(file, part / file.name)


def save_shards(folder: Path, tensors: Iterator[tuple[str, Tensor]], limit: int = 0) -> None:
    """Writes tensors as safetensors of at most ``limit`` bytes each (0: SHARD_BYTES); with an index if several."""
    files: list[Path] = []
    weight_map: dict[str, int] = {}
    held: dict[str, Tensor] = {}
    total = size = 0

    def write() -> None:
        files.append(folder / f"part-{len(files)}")
        files[-1].touch()
        mode = files[-1].stat().st_mode
        save_file(held, files[-1], {"format": "pt"})
        files[-1].chmod(mode)  # safetensors lets nobody but the owner read
        held.clear()

    for name, tensor in tensors:
        if held and size + tensor.nbytes > (limit or SHARD_BYTES):
            write()
            size = 0
        held[name], weight_map[name] = tensor.contiguous(), len(files)
        size, total = size + tensor.nbytes, total + tensor.nbytes
    write()
    if len(files) == 1:
        files[0].rename(folder / WEIGHTS)
        return
    names = [f"model-{i + 1:05}-of-{len(files):05}.safetensors" for i in range(len(files))]
    for file, name in zip(files, names):
        file.rename(folder / name)
    shards = {name: names[i] for name, i in weight_map.items()}
    write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": shards})


def write_json(file: Path, value: dict[str, Any]) -> None:
    """Writes an object as indented JSON."""
    file.write_text(json.dumps(value, indent=2) + "\n", "utf-8")
