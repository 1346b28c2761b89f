"""Which frames of a recording cover its scene best: in one pass as a robot would, or with all frames at hand."""

import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .config import CoverageParams
from .coverage import StreamingCoverageSampler, greedy_cover
from .errors import BadMessage, ErrorCode, SpatialError
from .frames import Frame
from .memory import FrameKey, frame_voxels

REPEATED = "a stamp that was there before"


@dataclass(frozen=True)
class Chosen:
    """One selected frame; ``gain`` is the number of voxels that it adds to those selected before it."""

    stamp_ns: int
    camera: str
    gain: int


@dataclass(frozen=True)
class Sample:
    """Selected frames, best first; the gains sum to ``voxels_covered``. ``voxel_size`` in metres."""

    frames: list[Chosen]
    voxel_size: float
    voxels_seen: int
    voxels_covered: int
    skipped: Counter[str] = field(default_factory=Counter)

    def write(self, path: Path) -> None:
        """Write ``frames, voxel_size, voxels_seen, voxels_covered`` as JSON; the file appears whole or not at all."""
        values = asdict(self)
        del values["skipped"]
        write_whole(path, json.dumps(values, indent=2) + "\n")


class VoxelHistory:
    """Voxels of every frame so far, thinned to every 2nd, 4th ... frame so that never more than ``limit`` are held."""

    def __init__(self, limit: int):
        self.limit = limit
        self.every = 1
        self.frames: list[FrameKey] = []
        self.voxels: list[NDArray[np.int64]] = []
        self._count = 0

    def add(self, frame: FrameKey, voxels: NDArray[np.int64]) -> None:
        if self._count % self.every == 0:
            if len(self.frames) == self.limit:
                self.every *= 2
                del self.frames[1::2], self.voxels[1::2]
            if self._count % self.every == 0:
                self.frames.append(frame)
                self.voxels.append(voxels)
        self._count += 1


def why_unusable(frame: Frame) -> str:
    """What a frame lacks for coverage, or an empty string."""
    if not frame.has_depth:
        return "no depth"
    return "" if frame.world_from_camera is not None else "no camera pose"


def select(frames: Iterable[Frame], params: CoverageParams, *, offline: bool = False, history: int = 4096) -> Sample:
    """The ``params.frames`` frames that cover the scene best.

    Streaming (default) holds only the selected frames; ``offline`` is the greedy bound over all of them (over every
    2nd, 4th ... once there are more than ``history``).

    Raises:
        SpatialError: NO_FRAMES without a frame; NO_GEOMETRY when none has depth and pose.
    """
    sampler = StreamingCoverageSampler(params.frames, params.voxel_size, params.max_voxels)
    held: dict[Any, NDArray[np.int64]] = {}
    past = VoxelHistory(history)
    skipped: Counter[str] = Counter()
    for frame in frames:
        voxels, reason = voxels_or_reason(frame, params)
        if voxels is None or frame.key in held:
            skipped[reason or REPEATED] += 1
            continue
        update = sampler.add_voxels(frame.key, voxels)
        if update.accepted:
            held[frame.key] = voxels
            held.pop(update.evicted, None)
        if offline:
            past.add(frame.key, voxels)
    if not sampler.voxels_seen:
        raise nothing_usable(skipped)
    keys, voxels = past.frames, past.voxels
    if not offline:
        selected: list[Any] = sampler.selected
        keys, voxels = selected, [held[key] for key in selected]
    order, gains = greedy_cover(voxels, params.frames)
    chosen = [Chosen(keys[i][0], keys[i][1], gain) for i, gain in zip(order, gains, strict=True)]
    return Sample(chosen, params.voxel_size, int(sampler.voxels_seen), sum(c.gain for c in chosen), skipped)


def voxels_or_reason(frame: Frame, params: CoverageParams) -> tuple[NDArray[np.int64] | None, str]:
    """The voxels of a frame, or None and why it has none. Decoded pixels are kept."""
    if reason := why_unusable(frame):
        return None, reason
    try:
        return frame_voxels(frame, params), ""
    except BadMessage as error:
        return None, f"broken depth ({error})"


def nothing_usable(skipped: Counter[str]) -> SpatialError:
    if not skipped:
        return SpatialError(ErrorCode.NO_FRAMES, "there is no frame in it")
    if skipped["no depth"] == skipped.total():
        return SpatialError(
            ErrorCode.NO_GEOMETRY,
            f"none of the {skipped.total()} frames has depth; coverage needs depth images with camera poses (a recorded"
            " RGB-D bag), or a model that estimates geometry from colour, which this version does not have",
        )
    if not +skipped:
        return SpatialError(
            ErrorCode.NO_GEOMETRY, "no depth reading lies between coverage.min_depth and coverage.max_depth"
        )
    reasons = ", ".join(f"{count} with {reason}" for reason, count in skipped.most_common(3))
    return SpatialError(ErrorCode.NO_GEOMETRY, f"no frame has both depth and a camera pose: {reasons}")


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file beside its place and rename it there. Raises OSError, and leaves nothing behind."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_bytes(content.encode() if isinstance(content, str) else content)
        os.replace(beside, path)
    except OSError as error:
        raise type(error)(error.errno, error.strerror, str(path)) from None
    finally:
        beside.unlink(missing_ok=True)


def write_images(frames: Iterable[Frame], chosen: Sequence[Chosen], folder: Path) -> None:
    """Write the chosen frames' images as ``<order>_<camera>_<stamp_ns>.jpg``. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    order = {(c.stamp_ns, c.camera): i for i, c in enumerate(chosen, 1)}
    for frame in frames:
        if frame.key in order and frame.image is not None:
            write_whole(folder / f"{order[frame.key]:03d}_{frame.camera.name}_{frame.stamp_ns}.jpg", jpeg(frame.image))
            frame.release()


def jpeg(rgb: NDArray[np.uint8], quality: int = 85) -> bytes:
    """An RGB image uint8 [H, W, 3] as JPEG."""
    return cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
