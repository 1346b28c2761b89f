"""What columns a data set has, as its ``meta/info.json`` says it, and how they lie in a file."""

from collections.abc import Mapping
from typing import Any

from ..recordings.errors import BagError
from . import video

VERSION = "v3.0"
FILES = 1000  # of a chunk
AUTOMATIC = {
    "timestamp": "float32",
    "frame_index": "int64",
    "episode_index": "int64",
    "index": "int64",
    "task_index": "int64",
}
REWARD, STDDEV, VALID, DONE = "next.reward", "next.reward_stddev", "next.reward_valid", "next.done"
Features = dict[str, dict[str, Any]]


def numbers(dtype: str, names: tuple[str, ...] | None = None) -> dict[str, Any]:
    return {"dtype": dtype, "shape": [len(names) if names else 1], "names": list(names) if names else None}


def images(size: tuple[int, int], fps: int, coding: str) -> dict[str, Any]:
    """A video of images of this (width, height)."""
    shape = [size[1], size[0], 1 if coding == "depth" else 3]
    says = video.info(coding, fps, size)
    return {"dtype": "video", "shape": shape, "names": ["height", "width", "channels"], "info": says}


def rewarded(sure: bool) -> Features:
    """Columns of rewards; ``sure``: with standard deviations."""
    found = {REWARD: numbers("float32"), VALID: numbers("bool")}
    return found | ({STDDEV: numbers("float32")} if sure else {})


def automatic() -> Features:
    return {name: numbers(dtype) for name, dtype in AUTOMATIC.items()}


def videos(features: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return [name for name, feature in features.items() if feature["dtype"] == "video"]


def info(features: Features, fps: int, robot: str, episodes: int, frames: int, tasks: int) -> dict[str, Any]:
    """``meta/info.json``."""
    return {
        "codebase_version": VERSION,
        "robot_type": robot or None,
        "total_episodes": episodes,
        "total_frames": frames,
        "total_tasks": tasks,
        "chunks_size": FILES,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "fps": fps,
        "splits": {"train": f"0:{episodes}"} if episodes else {},
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
        if videos(features)
        else None,
        "features": features,
    }


def require_same(there: Features, fps_there: int, new: Features, fps: int, where: str) -> None:
    """Raises BagError where episodes with these features do not go into a data set, with the first difference."""
    if fps_there != fps:
        raise BagError(
            f"{where} has {fps_there} frames a second, these would have {fps}: set fps, or choose another folder"
        )
    for name in [*there, *new]:
        a, b = there.get(name), new.get(name)
        if a is None or b is None:
            which = "is not there" if a is None else "is there, and would not be in these episodes"
            raise BagError(f"{where} has other features: {name} {which}")
        for part in ("dtype", "shape", "names"):
            if a.get(part) != b.get(part):
                raise BagError(
                    f"{where} has other features: {part} of {name} is {a.get(part)} there, {b.get(part)} here"
                )
        if a.get("info") != b.get("info"):
            raise BagError(f"{where} has other features: videos of {name} are encoded in another way")
