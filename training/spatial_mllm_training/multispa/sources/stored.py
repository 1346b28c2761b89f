"""Pixels and numbers that stay in their files until somebody looks at them."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray

from spatial_mllm_ros.errors import BadMessage
from spatial_mllm_ros.frames import Camera, Pixels
from spatial_mllm_ros.messages import color_pixels, depth_pixels

from ..item import bad

Size = tuple[int, int]  # width, height
Read = Callable[[], bytes]
LOOKED_AT = 8  # images
SHAPE_TOLERANCE = 0.01  # of the ratio of the sides; ScanNet's 1296x968 stand for the view of its 640x480


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Says what could not be read of a scene of that name, as SpatialError."""
    try:
        yield
    except OSError as error:
        file = Path(error.filename).name if error.filename else "a file"
        raise bad(f"{file} of {name} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise bad(f"a text file of {name} is no text") from None


def usual_size(files: Sequence[Path]) -> Size:
    """The size that most images have, of a few spread over all. Raises SpatialError where none can be read."""
    found = Counter[Size]()
    for file in files[:: max(1, len(files) // LOOKED_AT)]:
        try:
            with PIL.Image.open(file) as image:
                found[image.size] += 1
        except Exception:  # Pillow has many words for damage
            continue
    if not found:
        raise bad("none of its images can be read: expected JPEG or PNG")
    return found.most_common(1)[0][0]


def color(read: Read, name: str, size: Size) -> Pixels:
    """A JPEG or PNG that is read when it is decoded, uint8 [H, W, 3] RGB.

    Decoding raises BadMessage where it cannot be read, is broken or of another size.
    """

    def decode() -> NDArray[np.uint8]:
        return _of_size(color_pixels(_message(read, name)), name, size).decode()

    return Pixels(size[1], size[0], 0, decode)


def depth(read: Read, name: str, size: Size, unit: float, none: int = 0) -> Pixels:
    """A 16 bit PNG of depth that is read when it is decoded, float32 [H, W] metres, 0 where there is no reading.

    Args:
        unit: metres that a value of 1 stands for. none: a value besides 0 that stands for no reading.
    """

    def decode() -> NDArray[np.float32]:
        message = _message(read, name)
        _of_size(depth_pixels(message), name, size)
        raw = cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_UNCHANGED)
        if raw is None or raw.dtype != np.uint16 or raw.ndim != 2:
            raise BadMessage(f"{name}: expected a whole 16 bit PNG with one channel")
        return np.where(raw == none, 0, raw) * np.float32(unit)

    return Pixels(size[1], size[0], 0, decode)


def onto(depth: Pixels, color: Pixels, camera: Camera) -> tuple[Pixels, Camera]:
    """Colour and its camera brought to the pixels of its depth, whose readings stay as they are.

    Raises:
        SpatialError: the two have different shapes.
    """
    size = depth.width, depth.height
    if size == (color.width, color.height):
        return color, camera
    across, down = color.width * depth.height, color.height * depth.width
    if abs(across - down) > SHAPE_TOLERANCE * max(across, down):
        raise bad(f"depth of {size[0]}x{size[1]}, colour of {color.width}x{color.height}: shapes must agree")
    how = cv2.INTER_AREA if depth.width < color.width else cv2.INTER_LINEAR

    def decode() -> NDArray[np.uint8]:
        return np.asarray(cv2.resize(color.decode(), size, interpolation=how), np.uint8)

    return Pixels(depth.height, depth.width, color.nbytes, decode), camera.resized(*size)


def numbers(file: Path) -> NDArray[np.float64]:
    """All numbers of a text file in a row; empty where it is missing or holds something else."""
    try:
        return np.array(file.read_text("utf-8-sig").replace(",", " ").split(), np.float64)
    except (OSError, ValueError):
        return np.zeros(0)


def pose(file: Path) -> NDArray[np.float64] | None:
    """world_from_camera of a text file with the 16 numbers of a matrix; NaN where it has others, None without file."""
    if not file.is_file():
        return None
    values = numbers(file)
    return values.reshape(4, 4) if values.size == 16 else np.full((4, 4), np.nan)


def pinhole(values: NDArray[np.float64], size: Size, file: str) -> Camera:
    """Camera of a 3x3 or 4x4 matrix, or of fx, fy, cx, cy.

    Raises:
        SpatialError: it cannot be a camera; the text names the file.
    """
    k = np.eye(3)
    if values.size == 4:
        k[[0, 1, 0, 1], [0, 1, 2, 2]] = values
    elif values.size in (9, 16):
        side = 3 if values.size == 9 else 4
        k = values.reshape(side, side)[:3, :3].copy()
    else:
        raise bad(f"{file} holds {values.size} numbers: expected fx fy cx cy, or a 3x3 or 4x4 matrix")
    try:
        return Camera("camera", "camera", *size, k)
    except ValueError as error:
        raise bad(f"{file}: {error}") from None


def _message(read: Read, name: str) -> SimpleNamespace:
    try:
        return SimpleNamespace(data=read(), format=name)
    except OSError as error:
        raise BadMessage(f"{name} cannot be read: {error.strerror}") from None


def _of_size(pixels: Pixels, name: str, size: Size) -> Pixels:
    if (pixels.width, pixels.height) != size:
        raise BadMessage(f"{name} is {pixels.width}x{pixels.height}: the others are {size[0]}x{size[1]}")
    return pixels
