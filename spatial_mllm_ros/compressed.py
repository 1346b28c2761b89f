"""Pictures inside of a CompressedImage: what their first bytes say of them, and their pixels."""

import re
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray

from .errors import BadMessage
from .image_size import ANY_PIXELS, MAX_SIDE, MOST_SCANS, check_size

PIL.Image.MAX_IMAGE_PIXELS = MAX_SIDE**2  # Pillow would warn, and refuse photos of phones; check_size bounds them

KINDS = ("JPEG", "PNG", "TIFF")  # what a CompressedImage may hold by its definition
VIDEO = ("h264", "h265", "hevc", "av1", "vp8", "vp9")  # formats of streams of video, as senders name them
START_CODES = b"\0\0\0\1", b"\0\0\1"  # of H.264 and H.265
MARKER = re.compile(rb"\xff([\xc0-\xcf\xd9-\xfe])")  # of a JPEG: all that a length follows, and the end
START_OF_SCAN, END_OF_IMAGE, PNG_END = b"\xda", b"\xd9", b"IEND"
PNG_BITS, PNG_COLORS = 24, 25  # where a PNG says how many bits a sample has, and of what its pixels are made
PNG_GRAY = 0
CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}
DEPTHS = (10, 12, 14, 16)  # bits that sensors have in 16


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as a file holds it, whole as far as can be told without decoding.

    Attributes:
        data: its bytes; what follows its end does no harm.
        kind: one of KINDS.
        width, height: pixels.
        bits: of one sample, and ``channels`` of a pixel; both 0 where the kind does not say so at once.
    """

    data: memoryview
    kind: str
    width: int
    height: int
    bits: int = 0
    channels: int = 0


def picture(data: Any, description: str, most: int | None = None) -> Picture:
    """The picture in these bytes.

    Args:
        description: the ``format`` that the message names.
        most: pixels, see :func:`check_size`.

    Raises:
        BadMessage: it is of no such kind, it is cut off, or too large.
    """
    data = memoryview(data).cast("B")
    try:
        with PIL.Image.open(BytesIO(data), formats=KINDS) as header:
            (width, height), kind = header.size, "JPEG" if header.format == "MPO" else str(header.format)
    except Exception:
        raise BadMessage(_why_unreadable(data, description)) from None
    raw = bytes(data)
    check_size(width, height, len(data), ANY_PIXELS if kind == "TIFF" else most)
    if (kind == "JPEG" and not jpeg_ends(raw)) or (kind == "PNG" and PNG_END not in raw):
        raise BadMessage(f"compressed image, {kind} of {len(data)} bytes: cut off before its end")
    if kind == "PNG":
        return Picture(data, kind, width, height, raw[PNG_BITS], CHANNELS.get(raw[PNG_COLORS], 0))
    return Picture(data, kind, width, height, 8 if kind == "JPEG" else 0)


def pixels(found: Picture, flags: int, what: str = "image") -> NDArray:
    """Its pixels as OpenCV has them, in the order blue, green, red. Raises BadMessage where they are broken."""
    image = cv2.imdecode(np.frombuffer(found.data, np.uint8), flags | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise BadMessage(f"compressed {what} of {len(found.data)} bytes cannot be decoded")
    return np.asarray(image)


def significant_bits(samples: NDArray[np.uint16]) -> int:
    """How many of 16 bits are in use, by the largest sample: 10, 12, 14 or 16, as sensors have them."""
    largest = int(samples.max(initial=0))
    return next(bits for bits in DEPTHS if largest < 1 << bits)


def eight_bits(samples: NDArray[np.uint16], bits: int) -> NDArray[np.uint8]:
    """Samples of which ``bits`` are in use, as 8 bits."""
    return (samples >> (bits - 8)).astype(np.uint8)


def jpeg_ends(data: bytes) -> bool:
    """Whether the coded data of a JPEG end; what follows its end, and what lies in its headers, is not looked at.

    Raises:
        BadMessage: it goes over its pixels more than MOST_SCANS times.
    """
    at, scans = 2, 0
    while found := MARKER.search(data, at):  # in coded data there is none
        if found[1] == END_OF_IMAGE:
            return True
        scans += found[1] == START_OF_SCAN
        if scans > MOST_SCANS:
            raise BadMessage(f"JPEG of more than {MOST_SCANS} scans")
        at = found.end() + int.from_bytes(data[found.end() : found.end() + 2], "big")
    return False


def _why_unreadable(data: memoryview, description: str) -> str:
    shown = description[:64]
    if bytes(data[:4]).startswith(START_CODES) or any(name in shown.lower() for name in VIDEO):
        return (
            f"compressed image of {len(data)} bytes, format '{shown}': a part of a video (H.264 or the like), which"
            " cannot be read: publish or record Image, or CompressedImage with JPEG or PNG"
        )
    return f"compressed image of {len(data)} bytes, format '{shown}': not readable as JPEG or PNG"
