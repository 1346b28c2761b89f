"""What every source does with the frames it found: keep those that can be asked about, and say what is missing."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from pathlib import Path

from spatial_mllm_ros.assembler import NO_DEPTH, NO_POSE
from spatial_mllm_ros.frames import Frame
from spatial_mllm_ros.geometry.poses import is_rigid
from spatial_mllm_ros.scene.cover import REPEATED

from ..item import bad
from ..scene import NOT_RIGID

ROUNDING = 1e-3  # poses come as text with few digits


def usable(frames: Sequence[Frame], dropped: Counter[str]) -> tuple[list[Frame], dict[str, str]]:
    """Frames with depth and a rigid pose, in order of time, where there are such; others are counted in ``dropped``.

    Without any depth, or with less than two poses, all frames stay, and the second value says what they lack and why.

    Raises:
        SpatialError: there is no frame.
    """
    if not frames:
        reasons = ", ".join(f"{count} with {reason}" for reason, count in dropped.items())
        raise bad("it holds no frame that can be used" + (f": {reasons}" if reasons else ""))
    lacks: dict[str, str] = {}
    once = {frame.key: frame for frame in frames}
    if len(once) < len(frames):
        dropped[REPEATED] += len(frames) - len(once)
    kept = _sift([once[key] for key in sorted(once)], _without_depth, "depth", 1, lacks, dropped)
    kept = _sift(kept, _without_pose, "pose", 2, lacks, dropped)
    if "pose" in lacks:
        for frame in kept:
            frame.world_from_camera = None
    return kept, lacks


def content_key(source: str, *content: bytes) -> str:
    """Hash of what a scene holds, the same wherever it lies."""
    whole = sha256(source.encode())
    for part in content:
        whole.update(len(part).to_bytes(8, "big") + part)
    return whole.hexdigest()


def listing(files: Iterable[Path]) -> bytes:
    """Names and sizes of files, for :func:`content_key`."""
    return "\n".join(f"{file.name} {file.stat().st_size}" for file in files).encode()


def _sift(
    frames: Sequence[Frame],
    why_not: Callable[[Frame], str],
    part: str,
    least: int,
    lacks: dict[str, str],
    dropped: Counter[str],
) -> list[Frame]:
    reasons = [why_not(frame) for frame in frames]
    good = [frame for frame, reason in zip(frames, reasons) if not reason]
    counts = Counter(filter(None, reasons))
    if len(good) >= least:
        dropped.update(counts)
        return good
    said = "".join(f", {count} with {reason}" for reason, count in counts.items())
    lacks[part] = f"{len(good)} of {len(frames)} frames can be used, at least {least} expected{said}"
    return list(frames)


def _without_depth(frame: Frame) -> str:
    return "" if frame.has_depth else NO_DEPTH


def _without_pose(frame: Frame) -> str:
    if frame.world_from_camera is None:
        return NO_POSE
    return "" if is_rigid(frame.world_from_camera, ROUNDING) else NOT_RIGID
