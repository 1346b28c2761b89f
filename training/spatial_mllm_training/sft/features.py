"""What frozen encoders see, kept on disk: a run's later passes, and other runs, read it instead of running them.

One safetensors file for each clip, written beside its place and renamed: whole or not there, memory-mapped when read,
safe with several processes, and a run that was killed goes on where it was.
"""

import fcntl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from spatial_mllm_ros.cli.terminal import warn
from spatial_mllm_ros.errors import SpatialError
from spatial_mllm_ros.files import whole
from spatial_mllm_ros.mllm.families.base import Processor
from spatial_mllm_ros.mllm.families.spatial_mllm.model import SpatialMLLMForConditionalGeneration
from spatial_mllm_ros.mllm.families.spatial_mllm.seen import Seen
from spatial_mllm_ros.mllm.weights.files import DTYPES

from .records import RecordFault

KEPT = {"both": ("visual", "spatial"), "spatial": ("spatial",)}
"""What may be kept: of both encoders, or of the spatial one alone, while the 2D encoder learns."""


@dataclass(frozen=True)
class Stored:
    """What was seen in one clip, in the number format that it was seen in, and its grid (t, h, w)."""

    grid: tuple[int, int, int]
    seen: Seen


class FeatureStore:
    """Clips that were seen by certain encoders, in a folder of theirs.

    Args:
        root: of all stores; what a killed process left half written there is removed.
        fingerprint: of what sees them, see ``fingerprint``.
        keep: ``both`` or ``spatial``.
        dtype: the longest number that is kept: ``float32`` is exact, ``bfloat16`` and ``float16`` take half the room.
        megabytes: most that the root holds (1e6 bytes each), of all stores and processes; what comes later is not kept.
    """

    def __init__(
        self, root: str | Path, fingerprint: str, keep: str = "both", dtype: str = "float32", megabytes: int = 10_000
    ):
        self.root = Path(root).expanduser()
        self.folder = self.root / f"{fingerprint}-{keep}-{dtype}"
        self.parts, self._dtype, self.limit = KEPT[keep], DTYPES[dtype], megabytes * 1_000_000
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._locked() as size:  # nobody else writes now
            for half in self.root.glob("*/*/.*.safetensors"):
                half.unlink()
            size(sum(file.stat().st_size for file in self.root.glob("*/*/*.safetensors")))

    @staticmethod
    def key(content: Iterable[bytes]) -> str:
        """The name of a clip: the same for the same stored images or video, in the same order."""
        digest = blake2b(digest_size=16)
        for part in content:
            digest.update(len(part).to_bytes(8, "little") + part)
        return digest.hexdigest()

    def __contains__(self, key: str) -> bool:
        return self._file(key).is_file()

    def get(self, key: str) -> Stored | None:
        """What was seen in a clip; None where it is not kept, or its file is damaged: that one is removed."""
        try:
            with safe_open(self._file(key), "pt") as file:
                seen_as, (t, h, w) = file.metadata() or {}, file.get_tensor("grid").tolist()
                parts = {name: file.get_tensor(name) for name in self.parts}
        except SafetensorError:
            with self._locked():
                self._file(key).unlink(missing_ok=True)
            return None
        except OSError:
            return None
        return Stored((t, h, w), Seen(**{n: part.to(DTYPES[seen_as.get(n, "float32")]) for n, part in parts.items()}))

    def put(self, key: str, grid: Iterable[int], seen: Seen) -> bool:
        """Keeps what was seen in one clip; False where there is no room for it. Raises OSError."""
        tensors: dict[str, Tensor] = {"grid": torch.tensor(list(grid))}
        seen_as: dict[str, str] = {}
        for name in self.parts:
            part = getattr(seen, name)
            kept_as = part.dtype if part.dtype.itemsize <= self._dtype.itemsize else self._dtype
            tensors[name] = part.detach().to("cpu", kept_as).contiguous()
            seen_as[name] = str(part.dtype).removeprefix("torch.")
        bytes_needed = sum(tensor.nbytes for tensor in tensors.values()) + 4096  # and a header
        file = self._file(key)
        with self._locked() as size:
            others = size(None) - (file.stat().st_size if file.is_file() else 0)  # it may be there already
            if others + bytes_needed > self.limit:
                return False
            size(others + bytes_needed)
            file.parent.mkdir(exist_ok=True)
            with whole(file) as beside:
                save_file(tensors, beside, seen_as)
            size(others + file.stat().st_size)
        return True

    def _file(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.safetensors"

    @contextmanager
    def _locked(self) -> Iterator[Any]:
        """For one process at a time: the number of bytes held; called with None it is read, else written."""
        with (self.root / "size").open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)

            def size(value: int | None) -> int:
                if value is not None:
                    file.truncate(0)
                    file.write(str(value))
                    file.flush()
                file.seek(0)
                return int(file.read() or 0)

            yield size


def fingerprint(
    model: SpatialMLLMForConditionalGeneration, processor: Processor, dtype: str, keep: str = "both"
) -> str:
    """Tells encoders from others: weights, the layer that is fused, the sizes of frames, the computation's dtype."""
    digest = blake2b(f"{model.config.spatial_layer} {processor.clip_pixels} {dtype}".encode(), digest_size=12)
    for encoder in ("spatial_encoder", "visual") if keep == "both" else ("spatial_encoder",):
        for name, tensor in model.parts[encoder].state_dict().items():
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    digest.update(str(model.config.vision.to_dict() if keep == "both" else "").encode())
    return digest.hexdigest()


@torch.no_grad()
def fill(
    store: FeatureStore,
    model: SpatialMLLMForConditionalGeneration,
    clips: Iterable[tuple[str, Any]],
    dtype: str = "float32",
) -> int:
    """Sees clips that are not kept yet, until there is no more room.

    Args:
        clips: keys, and functions that give pixels and grid of a clip, as ``pack_clip`` does.
    Returns:
        How many were added.
    """
    added = 0
    for key, packed in clips:
        if key in store:
            continue
        try:
            pixels, grid = packed()
        except (RecordFault, SpatialError):  # said where it is trained on
            continue
        with torch.autocast(model.device.type, torch.bfloat16, enabled=dtype == "bfloat16"):
            seen = model.see(pixels.to(model.device), grid.to(model.device))
        if not store.put(key, grid[0].tolist(), seen):
            warn(f"features: {store.root.name} is full: other clips are seen every time; other encoders' folders count")
            break
        added += 1
    return added
