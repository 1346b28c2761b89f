"""Images and videos of a record, as pictures and as bytes that tell them from others."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spatial_mllm_ros.evenly import evenly
from spatial_mllm_ros.recordings import BagError
from spatial_mllm_ros.recordings.videos import RATE, Video, open_video

from ..benchmarks.answers import decoded
from .records import Record, RecordFault

Image = NDArray[np.uint8]  # RGB [H, W, 3]


def read_image(source: Path | bytes) -> Image:
    """RGB uint8 [H, W, 3]. Raises RecordFault."""
    if (image := decoded(source)) is None:
        raise RecordFault(f"{_name(source)} is missing, or no image that can be decoded")
    return image


def read_video(path: Path, most: int) -> tuple[list[Image], float]:
    """Frames of a video, evenly spread over it, and the seconds between two of them.

    Raises:
        RecordFault: no video that can be decoded.
    """
    try:
        video = open_video(path)
        frames, count, last = _spread(video, video.count, most)
        if count != video.count:  # the container does not know it, or some are broken
            frames, count, last = _spread(video, count, most)
    except BagError as error:
        raise RecordFault(f"{path.name} is missing, or no video that can be decoded: {error}") from None
    seconds = 1e-9 * last * count / (count - 1) if count > 1 else 1 / RATE
    return frames, seconds / len(frames)


def _spread(video: Video, count: int, most: int) -> tuple[list[Image], int, int]:
    """Of ``count`` images at most ``most``, evenly spread; how many there are, and the time of the last, ns."""
    frames, number, last = [], 0, 0
    wanted = set(evenly(count, most)) if count else set()
    for number, (time, image) in enumerate(video.images(), 1):
        last = time
        if number - 1 in wanted:
            frames.append(image())
    return frames, number, last


def content(record: Record, most: int) -> list[bytes]:
    """The stored bytes of what ``clip`` decodes. Raises RecordFault."""
    chosen: Sequence[Path | bytes] = [record["images"][i] for i in evenly(len(record["images"]), most)]
    try:
        parts = [item if isinstance(item, bytes) else item.read_bytes() for item in chosen or record["videos"][:1]]
    except OSError as error:
        raise RecordFault(f"{record['id']}: {_name(Path(error.filename))} is missing") from None
    return parts if chosen else [*parts, str(most).encode()]


def clip(record: Record, most: int) -> list[Image]:
    """All images of a record, or its first video, as at most ``most`` frames. Raises RecordFault."""
    if images := record["images"]:
        return [read_image(images[i]) for i in evenly(len(images), most)]
    if not record["videos"]:
        raise RecordFault(f"{record['id']}: it has neither images nor a video")
    return read_video(record["videos"][0], most)[0]


def _name(source: Path | bytes) -> str:
    return "an image inside the data" if isinstance(source, bytes) else source.name
