"""Video files and folders of images as frames without depth and pose."""

import re
import warnings
from collections.abc import Iterator
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np

from ..errors import BadMessage
from ..frames import Camera, Frame
from ..messages import color_pixels
from .errors import BagError, BagWarning
from .folder import natural_order

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
SECONDS = re.compile(r"\d{9,10}\.\d{1,9}")  # as in TUM RGB-D
NANOSECONDS = re.compile(r"\d{18,19}")  # as in EuRoC
FOCAL_GUESS = 1.2


def assumed_camera(width: int, height: int) -> Camera:
    """A pinhole camera for pixels that came without calibration: fx = fy = 1.2 times the longer side (45 degrees wide),
    principal point in the middle. Good enough to show frames, not to measure with."""
    focal = FOCAL_GUESS * max(width, height)
    k = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
    return Camera("camera", "camera", width, height, k)


def read_images(path: str | Path, fps: float = 30.0) -> Iterator[Frame]:
    """Frames of a folder of images, in natural order of their names, without depth and pose.

    Their stamps are their names where all of these are seconds or nanoseconds since 1970, else number / ``fps``. What
    cannot be read is left out and counted in a BagWarning at the end. Intrinsics: :func:`assumed_camera`.

    Raises:
        BagError: it is no folder, or there is no image in it.
    """
    files = image_files(Path(path))
    if not files:
        raise BagError(f"{path} holds no images: expected a folder with {', '.join(IMAGE_SUFFIXES)}")
    return _folder(Path(path), files, fps)


def read_video(path: str | Path, fps: float = 30.0) -> Iterator[Frame]:
    """Frames of a video file, without depth and pose; their stamps are its own, from 0, or count / ``fps``.

    What cannot be decoded is left out and counted in a BagWarning at the end. Intrinsics: :func:`assumed_camera`.

    Raises:
        BagError: it is no video that can be decoded.
    """
    if not is_video(Path(path)):
        raise BagError(f"{path} is no video that can be decoded")
    return _video(Path(path), cv2.VideoCapture(str(path)), fps)


def image_files(folder: Path) -> list[Path]:
    """The images of a folder in natural order; none of what is no folder."""
    there = folder.iterdir() if folder.is_dir() else ()
    return sorted((f for f in there if f.suffix.lower() in IMAGE_SUFFIXES), key=natural_order)


def is_video(path: Path) -> bool:
    """Whether OpenCV can decode it; to that a single image would be a video too."""
    return path.is_file() and path.suffix.lower() not in IMAGE_SUFFIXES and cv2.VideoCapture(str(path)).isOpened()


def _folder(folder: Path, files: list[Path], fps: float) -> Iterator[Frame]:
    camera = lru_cache(assumed_camera)
    skipped = []
    for stamp, file in _stamped(files, fps):
        try:
            image = color_pixels(SimpleNamespace(data=file.read_bytes(), format=file.suffix)).decode()
        except (BadMessage, OSError):
            skipped.append(file.name)
            continue
        yield Frame(stamp, camera(image.shape[1], image.shape[0]), image=image)
    if skipped:
        text = f"{len(skipped)} of {len(files)} images left out, cannot be read: the first is {skipped[0]}"
        warnings.warn(text, BagWarning, stacklevel=2)


def _stamped(files: list[Path], fps: float) -> list[tuple[int, Path]]:
    if all(SECONDS.fullmatch(f.stem) for f in files):
        return sorted((int(Decimal(f.stem) * 10**9), f) for f in files)
    if all(NANOSECONDS.fullmatch(f.stem) for f in files):
        return sorted((int(f.stem), f) for f in files)
    return [(round(i / fps * 1e9), f) for i, f in enumerate(files)]


def _video(path: Path, video: cv2.VideoCapture, fps: float) -> Iterator[Frame]:
    rate = video.get(cv2.CAP_PROP_FPS) or fps
    expected = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
    camera = lru_cache(assumed_camera)
    count, last = 0, -1
    try:
        while True:
            more, image = video.read()
            if not more:
                break
            stamp = round(video.get(cv2.CAP_PROP_POS_MSEC) * 1e6)
            last = stamp if stamp > last else last + round(1e9 / rate)
            count += 1
            rgb = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
            yield Frame(last, camera(image.shape[1], image.shape[0]), image=rgb)
    finally:
        video.release()
    if count < expected:
        text = f"{expected - count} of {expected} images left out, cannot be decoded: {path.name} is damaged"
        warnings.warn(text, BagWarning, stacklevel=2)
