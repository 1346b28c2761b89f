"""Folders of images as frames without depth and pose."""

import re
import warnings
from collections.abc import Iterator, Sequence
from decimal import Decimal
from functools import lru_cache
from pathlib import Path

import numpy as np

from ..errors import BadMessage
from ..frames import Camera, Frame
from .errors import BagError, BagWarning
from .folder import natural_order
from .pictures import HEIF_SUFFIXES, is_deep_gray, likely_bits, read_pixels, to_8_bits

MANY_BITS = (".png", ".tif", ".tiff", ".pgm")  # what one channel of 16 bits may be in
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".bmp", ".webp", ".avif", ".ppm", *MANY_BITS, *HEIF_SUFFIXES)
SECONDS = re.compile(r"\d{9,10}\.\d{1,9}")  # as in TUM RGB-D
NANOSECONDS = re.compile(r"\d{18,19}")  # as in EuRoC
DEPTH = re.compile(r"(?<![a-z])depths?(?![a-z])|(?<![a-z])depth(?:map|image|img)s?(?![a-z])", re.IGNORECASE)
LOOKED_AT = 8  # images of 16 bits, of all of which the range is told
FOCAL_GUESS = 1.2


def assumed_camera(width: int, height: int) -> Camera:
    """A pinhole camera for pixels that came without calibration: fx = fy = 1.2 times the longer side (45 degrees wide),
    principal point in the middle. Good enough to show frames, not to measure with."""
    focal = FOCAL_GUESS * max(width, height)
    k = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
    return Camera("camera", "camera", width, height, k)


def read_images(path: str | Path, fps: float = 30.0) -> Iterator[Frame]:
    """Frames of a folder of images, in natural order of their names, without depth and pose.

    They are upright as their EXIF orientation says. Their stamps are their names where all of these are seconds or
    nanoseconds since 1970, else number / ``fps``. Depth is no image: see :func:`pictures`. What cannot be read is left
    out. A BagWarning at the end counts both, and says by how many bits images of 16 were brought to 8. Intrinsics:
    :func:`assumed_camera`.

    Raises:
        BagError: it is no folder, or there is no image in it.
    """
    files, depths = pictures(Path(path))
    if depths and not files:
        raise BagError(f"{path} holds {len(depths)} images of depth, and none of colour: name the folder of its colour")
    if not files:
        raise BagError(f"{path} holds no images: expected a folder with {', '.join(IMAGE_SUFFIXES)}")
    return _folder(files, depths, fps)


def image_files(folder: Path) -> list[Path]:
    """The images of a folder in natural order, also those of depth; none of what is no folder."""
    there = folder.iterdir() if folder.is_dir() else ()
    names = (f for f in there if f.suffix.lower() in IMAGE_SUFFIXES and not f.name.startswith("."))
    return sorted(names, key=natural_order)


def pictures(folder: Path) -> tuple[list[Path], list[Path]]:
    """The images of a folder that are to be looked at, and those of depth, both in natural order.

    Depth is what has one channel of 16 bits where a picture lies beside it, or where the folder is named after depth;
    and what is itself named so beside something that is not.
    """
    files = image_files(folder)
    deep = {f for f in files if f.suffix.lower() in MANY_BITS and is_deep_gray(f)}
    named = {f for f in files if DEPTH.search(f.stem)}
    depths = named if len(named) < len(files) else named & deep
    if DEPTH.search(folder.name) or any(f not in deep and f not in depths for f in files):
        depths = depths | deep
    return [f for f in files if f not in depths], [f for f in files if f in depths]


def _folder(files: Sequence[Path], depths: Sequence[Path], fps: float) -> Iterator[Frame]:
    camera = lru_cache(assumed_camera)
    skipped: list[str] = []
    bits, deep = 0, 0
    for stamp, file in _stamped(files, fps):
        try:
            pixels = read_pixels(file)
        except BadMessage as error:
            skipped.append(f"{file.name}: {error}")
            continue
        if pixels.dtype != np.uint8:
            deep += 1
            bits = max(bits or _usual_bits(files), likely_bits(pixels))
        image = to_8_bits(pixels, bits)
        yield Frame(stamp, camera(image.shape[1], image.shape[0]), image=image)
    if depths:
        _warn(f"{len(depths)} images of depth left out, which are no pictures: the first is {depths[0].name}")
    if skipped:
        _warn(f"{len(skipped)} of {len(files)} images left out, cannot be read: the first is {skipped[0]}")
    if 0 < bits < 16:
        _warn(f"{deep} images of 16 bits use {bits} of them, by their largest value: these were brought to 8")


def _usual_bits(files: Sequence[Path]) -> int:
    """Bits of a few images spread over all, so that all are stretched alike."""
    found = [8]
    for file in files[:: max(1, len(files) // LOOKED_AT)]:
        try:
            found.append(likely_bits(read_pixels(file)))
        except BadMessage:
            continue
    return max(found)


def _stamped(files: Sequence[Path], fps: float) -> list[tuple[int, Path]]:
    if all(SECONDS.fullmatch(f.stem) for f in files):
        return sorted((int(Decimal(f.stem) * 10**9), f) for f in files)
    if all(NANOSECONDS.fullmatch(f.stem) for f in files):
        return sorted((int(f.stem), f) for f in files)
    return [(round(i / fps * 1e9), f) for i, f in enumerate(files)]


def _warn(text: str) -> None:
    warnings.warn(text, BagWarning, stacklevel=3)
