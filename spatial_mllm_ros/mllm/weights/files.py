"""Model folders: what is in them, checked before any weight is read. Only safetensors; nothing that can run code.

Layout of the files: huggingface.co/docs/safetensors and the ``*.index.json`` of sharded models.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import get_session, snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError
from safetensors import SafetensorError, safe_open
from torch import nn

from ...errors import ErrorCode, SpatialError
from .shipped import NANO, find_shipped

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
HUB_SECONDS = 10.0  # that the hub may be silent for
HUB_FILES = ["*.json", "*.safetensors", "*.txt", "*.jinja"]
PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
HUB_ID = re.compile(r"([\w.-]+/[\w.-]+)(?:@([\w.-][\w./-]{0,99}))?")  # and a revision: a commit, tag or branch
SNAPSHOT = re.compile(r"models--([\w.-]+?)--([\w.-]+)/snapshots/(\w+)$")
SHOWN = 5  # names in a message
LONGEST = 300  # characters of what a library says
Progress = Callable[[float], None]
MEMORY_MARGIN = 1.05  # what loading takes beyond the weights


class ModelError(SpatialError):
    """A model that cannot be used: which one, what is wrong with it and what would be right."""

    def __init__(self, message: str, code: ErrorCode = ErrorCode.FAILED):
        super().__init__(code, message)


@dataclass(frozen=True)
class Entry:
    """A tensor of a checkpoint, not read yet: its file, its name there and its shape."""

    file: Path
    name: str
    shape: tuple[int, ...]


def find_folder(model: str | Path, what: str = "model") -> Path:
    """The local folder of a model: nano's, itself, or the snapshot of a hub id (downloaded unless it is in the cache).

    Args:
        model: a folder, or ``owner/name``, as it is on the hub now, or ``owner/name@revision``.
        what: what messages call it.

    Raises:
        ModelError: BAD_REQUEST where there is neither.
    """
    try:
        if str(model) == NANO and (shipped := find_shipped()):
            return shipped
        folder = Path(model).expanduser()
        if str(model) and folder.is_dir():
            return folder
        hub_id = None if folder.exists() else HUB_ID.fullmatch(str(model))
    except (OSError, RuntimeError):  # no name that a folder can have
        hub_id = None
    if not hub_id:
        expected = "expected a folder or a hub id owner/name or owner/name@revision"
        raise ModelError(f"{what} '{show(model)}': {expected}", ErrorCode.BAD_REQUEST)
    hooks = get_session().event_hooks["request"]
    if _in_time not in hooks:
        hooks.append(_in_time)
    try:
        return Path(snapshot_download(hub_id[1], revision=hub_id[2], allow_patterns=HUB_FILES))
    except RevisionNotFoundError:
        why = f"the hub has no revision '{hub_id[2]}' of it: expected a commit, a tag or a branch"
    except RepositoryNotFoundError:
        why = "the hub has none of that name that you may read (private and gated ones need a login)"
    except LocalEntryNotFoundError:
        why = "it is not in the cache, and the hub cannot be reached"
    except Exception as error:  # of several libraries for the network, and of the disk
        why = f"the hub does not give it: {one_line(error)}"
    raise ModelError(f"{what} '{model}': no such folder, and {why}", ErrorCode.BAD_REQUEST)


def _in_time(request: Any) -> None:
    """Requests to the hub have no timeout of their own: a network that accepts and never answers would hold us."""
    if not any(request.extensions.get("timeout", {}).values()):
        request.extensions["timeout"] = dict.fromkeys(("connect", "read", "write", "pool"), HUB_SECONDS)


def one_line(error: Exception) -> str:
    """What a library says, on one short line."""
    said = " ".join(str(error).split()) or type(error).__name__
    return said if len(said) <= LONGEST else said[:LONGEST] + "..."


def read_config(folder: Path, name: str = "config.json") -> dict[str, Any]:
    """A JSON object of a model folder, ``config.json`` by default.

    Raises:
        ModelError: the file is missing, damaged or not an object.
    """
    try:
        config = json.loads((folder / name).read_text("utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{show(folder)}: no {name}") from None
    except (OSError, ValueError, RecursionError):
        raise ModelError(f"{show(folder)}: {name} is no readable JSON") from None
    if not isinstance(config, dict):
        raise ModelError(f"{show(folder)}: {name} holds {type(config).__name__}: expected an object")
    return config


def tensor_files(folder: Path) -> list[Path]:
    """The safetensors files of a checkpoint: one, or the shards that its index names; a file is itself.

    Raises:
        ModelError: none, pickled ones only, or a shard is missing.
    """
    if folder.is_file():
        return [folder]
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if not (folder / INDEX).is_file():
        pickled = sorted(p.name for pattern in PICKLED for p in folder.glob(pattern))
        if pickled:
            raise ModelError(
                f"{show(folder)}: {pickled[0]} is pickled and could run code when opened; only safetensors are read:"
                " save the model as safetensors"
            )
        raise ModelError(f"{show(folder)}: no weights: expected {WEIGHTS} or {INDEX}")
    shards = read_config(folder, INDEX).get("weight_map")
    if not isinstance(shards, dict) or not shards or not all(isinstance(s, str) for s in shards.values()):
        raise ModelError(f"{show(folder)}: {INDEX} has no weight_map from tensor to file")
    names = sorted(set(shards.values()))
    if odd := [name for name in names if not re.fullmatch(r"[\w.-]{1,100}\.safetensors", name)]:
        raise ModelError(
            f"{show(folder)}: {INDEX} names {odd[0][:100]!r}: expected a file of the folder, *.safetensors"
        )
    if absent := [name for name in names if not (folder / name).is_file()]:
        raise ModelError(f"{show(folder)}: {len(absent)} of {len(names)} shards are missing: {listing(absent)}")
    return [folder / name for name in names]


def read_entries(folder: Path) -> dict[str, Entry]:
    """Every tensor of a checkpoint by name, from the headers alone.

    Raises:
        ModelError: as ``tensor_files``; a file that is damaged or cut short, a tensor that is in two files.
    """
    entries: dict[str, Entry] = {}
    for file in tensor_files(folder):
        try:
            with safe_open(file, "pt") as tensors:
                for name in tensors.keys():  # noqa: SIM118 (not a dict)
                    if name in entries:
                        raise ModelError(f"{show(folder)}: {name} is in {entries[name].file.name} and in {file.name}")
                    entries[name] = Entry(file, name, tuple(tensors.get_slice(name).get_shape()))
        except (SafetensorError, OSError):
            raise ModelError(f"{show(folder)}: {file.name} is damaged or cut short: get it again") from None
    return entries


def fill(
    module: nn.Module,
    entries: Mapping[str, Entry],
    device: torch.device,
    model: str | Path,
    progress: Progress | None = None,
) -> None:
    """Gives a module that was built on the meta device its weights: exactly these names and shapes, or none.

    Every tensor is read once and becomes its parameter in that one's number format, so memory holds the weights once.

    Args:
        module: its parameters are on the meta device, in their final dtype.
        entries: name in ``module`` -> tensor of the checkpoint.
        model: what messages call the model.
        progress: is told the part of the tensors that has been read, 0..1.
    Raises:
        ModelError: names missing or unexpected, wrong shapes, not enough memory, a file that cannot be read, numbers
            that are none or that the dtype cannot hold.
    """
    wanted = dict(module.named_parameters())  # a tied one has one name
    check_names(wanted, entries, model)
    check_memory(sum(prod(value.shape) * value.element_size() for value in wanted.values()), device, model)
    by_file: dict[Path, list[str]] = {}
    for name, entry in entries.items():
        by_file.setdefault(entry.file, []).append(name)
    weights: dict[str, torch.Tensor] = {}
    for file, names in by_file.items():
        try:
            with safe_open(file, "pt", device=str(device)) as tensors:
                for name in names:
                    stored = tensors.get_tensor(entries[name].name)  # on the CPU mapped: copied, for files may change
                    weights[name] = stored.to(wanted[name].dtype, copy=device.type == "cpu")
                    check_numbers(stored, weights[name], f"{show(model)}: {entries[name].name}")
                    if progress:
                        progress(len(weights) / len(entries))
        except (SafetensorError, OSError):
            raise ModelError(f"{show(model)}: {file.name} is damaged or cut short: get it again") from None
    module.load_state_dict(weights, strict=False, assign=True)


def check_names(wanted: Mapping[str, nn.Parameter], entries: Mapping[str, Entry], model: str | Path) -> None:
    """Raises ModelError unless ``entries`` has the names and shapes of ``wanted``, and no others."""
    if missing := [name for name in wanted if name not in entries]:
        raise ModelError(f"{show(model)}: {len(missing)} of {len(wanted)} tensors are missing: {listing(missing)}")
    if unexpected := [entry.name for name, entry in entries.items() if name not in wanted]:
        raise ModelError(f"{show(model)}: {len(unexpected)} unexpected tensors: {listing(unexpected)}")
    wrong = [
        f"{entry.name} is {list(entry.shape)}, the configuration says {list(wanted[name].shape)}"
        for name, entry in entries.items()
        if entry.shape != tuple(wanted[name].shape)
    ]
    if wrong:
        raise ModelError(f"{show(model)}: {len(wrong)} tensors of a wrong shape: {listing(wrong)}")


def check_numbers(stored: torch.Tensor, converted: torch.Tensor, name: str) -> None:
    """Raises ModelError unless a tensor held floating-point numbers, finite ones, and still does."""
    if stored.dtype not in DTYPES.values():
        raise ModelError(f"{name} is stored as {str(stored.dtype)[6:]}: expected {', '.join(DTYPES)}")
    if converted.sum().isfinite() or converted.isfinite().all():  # the sum is quick; it may overflow by itself
        return
    if stored.isfinite().all():
        raise ModelError(f"{name} is too large for {str(converted.dtype)[6:]}: load with bfloat16 or float32")
    raise ModelError(f"{name} holds infinite or undefined numbers: training failed, or the file is damaged")


def check_memory(needed: float, device: torch.device, model: str | Path) -> None:
    """Raises ModelError unless weights of ``needed`` bytes fit into what is free on the device."""
    free = free_memory(device)
    if needed * MEMORY_MARGIN > free:
        where = "of memory" if device.type == "cpu" else f"on {device}"
        raise ModelError(
            f"{show(model)}: needs {needed * MEMORY_MARGIN / 1e9:.1f} GB {where}, {free / 1e9:.1f} GB are free:"
            " choose a smaller model, a shorter dtype or another device"
        )


def free_memory(device: torch.device) -> float:
    """Bytes that can still be taken on a device; of the CPU's memory, what the kernel and the control group allow."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    free = float("inf")
    try:
        for line in Path("/proc/meminfo").read_text("ascii").splitlines():
            if line.startswith("MemAvailable:"):
                free = float(line.split()[1]) * 1024
        group = Path("/sys/fs/cgroup")
        limit, used = ((group / name).read_text("ascii").strip() for name in ("memory.max", "memory.current"))
        cached = re.search(r"^inactive_file (\d+)$", (group / "memory.stat").read_text("ascii"), re.MULTILINE)
        if limit != "max":
            free = min(free, float(limit) - float(used) + (float(cached[1]) if cached else 0.0))
    except (OSError, ValueError):
        pass  # another kernel: what was found so far
    return free


def parse_device(device: str) -> torch.device:
    """``cpu``, ``cuda`` or ``cuda:N``, present on this machine; else ModelError with BAD_REQUEST."""
    match = re.fullmatch(r"cpu|cuda(?::(\d{1,3}))?", str(device))
    if not match:
        raise ModelError(f"device '{device}' is unknown: expected cpu, cuda or cuda:N", ErrorCode.BAD_REQUEST)
    if device == "cpu":
        return torch.device("cpu")
    count, index = torch.cuda.device_count(), int(match[1] or 0)
    if index >= count:
        raise ModelError(f"device '{device}' is not there: this machine has {count} GPU(s)", ErrorCode.BAD_REQUEST)
    return torch.device("cuda", index)


def parse_dtype(dtype: str) -> torch.dtype:
    """One of ``DTYPES`` by name; else ModelError with BAD_REQUEST."""
    if dtype not in DTYPES:
        raise ModelError(f"dtype '{dtype}' is unknown: expected {', '.join(DTYPES)}", ErrorCode.BAD_REQUEST)
    return DTYPES[dtype]


def show(model: str | Path) -> str:
    """A model as messages name it: a hub id whole, also where its snapshot is meant; a folder by its last component."""
    if snapshot := SNAPSHOT.search(str(model)):
        return f"{snapshot[1]}/{snapshot[2]}"
    is_id = HUB_ID.fullmatch(str(model)) and not str(model).startswith(".")
    return str(model) if is_id else Path(model).name or str(model)


def taken(folders: Iterable[Path]) -> str:
    """Which revisions of the hub folders are, in words; empty where none is from there."""
    snapshots = [SNAPSHOT.search(str(folder)) for folder in folders]
    return " and ".join(f"{found[1]}/{found[2]} at revision {found[3]}" for found in snapshots if found)


def listing(names: Iterable[str]) -> str:
    """The first few of some names."""
    names = list(names)
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
