"""Images and videos of a record, as pictures and as bytes that tell them from others."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from spatial_mllm_ros.evenly import evenly

from ..benchmarks.answers import decoded
from .records import Record, RecordFault

Image = NDArray[np.uint8]  # RGB [H, W, 3]
VIDEO_RATE = 30.0  # frames per second of a video that does not say


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
    video = cv2.VideoCapture(str(path))
    try:
        count = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
        rate = video.get(cv2.CAP_PROP_FPS) or VIDEO_RATE
        wanted, frames = set(evenly(count, most)) if count > 0 else set(), []
        for i in range(count):
            if not video.grab():
                break
            if i in wanted:
                more, image = video.retrieve()
                if more:
                    frames.append(np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8))
    finally:
        video.release()
    if not frames:
        raise RecordFault(f"{path.name} is missing, or no video that can be decoded")
    return frames, count / rate / len(frames)


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
