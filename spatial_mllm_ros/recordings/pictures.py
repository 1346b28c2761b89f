"""Picture files as cameras, phones and programs write them, as upright RGB."""

from contextlib import suppress
from functools import cache
from importlib import import_module
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray

from ..compressed import jpeg_ends
from ..errors import BadMessage
from ..image_size import check_size
from ..versions import install

HEIF_SUFFIXES = (".heic", ".heif")
FORMATS = {
    "JPEG",
    "MPO",
    "PNG",
    "BMP",
    "DIB",
    "PPM",
    "TIFF",
    "WEBP",
    "AVIF",
    "HEIF",
}  # some others run programs
DEPTHS = (8, 10, 12, 14, 16)  # bits that sensors have
ORIENTATION = 0x0112  # EXIF tag


def read_picture(source: Path | bytes) -> NDArray[np.uint8]:
    """A picture, uint8 [H, W, 3] RGB, upright as its EXIF orientation says.

    16 bits are brought to 8 by the range they use, see :func:`likely_bits`. What follows the end of the picture, as in
    motion photos, is ignored; alpha is left out.

    Raises:
        BadMessage: missing, cut off, broken, no picture, or of pixels that are no colours.
    """
    pixels = read_pixels(source)
    return to_8_bits(pixels, likely_bits(pixels))


def read_pixels(source: Path | bytes) -> NDArray:
    """As :func:`read_picture`, but uint16 [H, W, 3] where the file has 16 bits."""
    try:
        data = source if isinstance(source, bytes) else source.read_bytes()
        if data[4:8] == b"ftyp":
            _learn_heif()
        whole = not data.startswith(b"\xff\xd8") or jpeg_ends(data)
        shown = data if whole else data.rstrip(b"\0")  # zeros that were to become its rest would be decoded as gray
        with PIL.Image.open(BytesIO(shown), formats=_formats()) as image:
            check_size(image.width, image.height, len(data))
            if image.mode == "F":
                raise BadMessage("floating point pixels are no colours")
            if image.format == "PNG":
                with PIL.Image.open(BytesIO(data), formats=["PNG"]) as again:
                    again.verify()  # its check sums, which loading does not look at
            deep = _is_deep(image)
            image.load()
            turned = _orientation(image)
            if deep:
                pixels = _deep(data)
            else:
                if "transparency" in image.info:  # else Pillow warns of palettes with it
                    image = image.convert("RGBA")
                pixels = np.asarray(image.convert("RGB"))
    except BadMessage:
        raise
    except Exception as error:  # Pillow has many words for damage
        raise BadMessage(_why(source, error)) from None
    return np.ascontiguousarray(_upright(pixels, turned))


def likely_bits(pixels: NDArray) -> int:
    """The number of bits that a sensor had whose picture this is, by its largest value: 8, 10, 12, 14 or 16."""
    largest = int(pixels.max(initial=0))
    return 8 if pixels.dtype == np.uint8 else next(bits for bits in DEPTHS if largest < 1 << bits)


def to_8_bits(pixels: NDArray, bits: int) -> NDArray[np.uint8]:
    """The 8 highest of ``bits`` bits, uint8 as they are."""
    return pixels if pixels.dtype == np.uint8 else (pixels >> (bits - 8)).clip(0, 255).astype(np.uint8)


def is_deep_gray(file: Path) -> bool:
    """Whether its header says one channel of more than 8 bits, as depth has; not where it cannot be read."""
    try:
        with PIL.Image.open(file, formats=_formats()) as image:
            return image.mode == "F" or image.mode.startswith("I")
    except Exception:
        return False


def _formats() -> list[str]:
    PIL.Image.init()
    return sorted(FORMATS & PIL.Image.OPEN.keys())


@cache
def _learn_heif() -> None:
    """Pillow reads HEIC from now on, where the extra ``media`` is installed."""
    with suppress(ImportError):
        import_module("pillow_heif").register_heif_opener()


def _is_deep(image: PIL.Image.Image) -> bool:
    tile = getattr(image, "tile", None)
    return image.mode.startswith("I") or (image.mode != "F" and bool(tile) and ";16" in str(tile[0][3:]))


def _deep(data: bytes) -> NDArray:
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)  # Pillow has no 16 bit colours
    if pixels is None or pixels.dtype not in (np.uint8, np.uint16):
        raise BadMessage("its pixels are neither of 8 nor of 16 bits")
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    return pixels[..., 2::-1] if pixels.shape[2] >= 3 else pixels[..., :1].repeat(3, axis=2)


def _orientation(image: PIL.Image.Image) -> int:
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # broken EXIF is none
        return 1


def _upright(pixels: NDArray, orientation: int) -> NDArray:
    """What the sensor wrote, [H, W, 3], as it is to be seen: the 8 orientations of EXIF."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels[:, ::-1] if orientation in (2, 3, 6, 7) else pixels


def _why(source: Path | bytes, error: Exception) -> str:
    if isinstance(source, Path) and source.suffix.lower() in HEIF_SUFFIXES and "HEIF" not in PIL.Image.OPEN:
        return f"HEIC needs another library, {install('pillow-heif')}, or save it as JPEG"
    if isinstance(error, PIL.UnidentifiedImageError):
        return "no picture that is known here"
    if "truncated" in str(error).lower():
        return "cut off before its end"
    return getattr(error, "strerror", None) or str(error)
