"""From ROS messages to arrays: images, depth and poses, of rclpy and of recorded bags alike.

Whatever can be checked without decoding is checked at once, so that a broken message is refused where it arrives.
"""

import struct
import sys
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rosbags.image import ImageError, image_to_cvimage

from .compressed import Picture, eight_bits, picture, pixels, significant_bits
from .errors import BadMessage
from .frames import Pixels
from .geometry.poses import Matrix, pose_matrix
from .image_size import MOST_DEPTH, check_size
from .rvl import decode_rvl, rvl_size

LARGEST_PIXEL = 512 * 8  # bytes: OpenCV has no more than 512 channels
GENERIC_COLOR = {"8UC1": "mono8", "8UC3": "bgr8", "8UC4": "bgra8", "16UC1": "mono16"}
DEPTH_HEADER = 12  # bytes before what the compressedDepth transport sends


class NotDepth(BadMessage):
    """What is sent as depth can hold none, whatever its pixels are: not a broken message, but the wrong topic."""


def stamp_ns(stamp: Any) -> int:
    """Nanoseconds of a ``builtin_interfaces/Time``, or of a ROS 1 time."""
    return stamp.sec * 1_000_000_000 + stamp.nanosec


def color_pixels(msg: Any, bits: int = 0) -> Pixels:
    """Colour of an Image or CompressedImage; decodes to uint8 [H, W, 3] RGB.

    Args:
        bits: of samples of 16 bits, how many are in use, see :func:`bits_in_use`; 0: as many as this image needs.

    Raises:
        BadMessage: unknown encoding, sizes that do not fit the data, or cut-off compressed data.
    """
    if hasattr(msg, "format"):
        found = picture(msg.data, msg.format)
        sent = str(msg.format).partition(";")[0].strip()
        return Pixels(found.height, found.width, len(found.data), lambda: _decode_color(found, sent))
    rows = _raw_rows(msg)
    encoding = GENERIC_COLOR.get(msg.encoding) or str(msg.encoding)
    corner = rows[tuple(slice(min(n, 4 + n % 2)) for n in rows.shape[:2])]  # odd sizes stay odd: some have no meaning
    _to_rgb(corner, encoding)
    return Pixels(rows.shape[0], rows.shape[1], rows.nbytes, lambda: _to_rgb(rows, encoding, bits))


def bits_in_use(msg: Any) -> int:
    """How many bits the samples of a raw Image need: 10, 12, 14 or 16 where they have 16, else 0.

    Raises:
        BadMessage: as :func:`color_pixels`.
    """
    if hasattr(msg, "format") or "16" not in str(msg.encoding):
        return 0
    rows = _raw_rows(msg)
    return significant_bits(rows) if rows.dtype == np.uint16 else 0


def depth_pixels(msg: Any) -> Pixels:
    """Depth of an Image or CompressedImage; decodes to float32 [H, W] metres with 0 where there is no reading.

    Raw 16UC1 (millimetres) and 32FC1 (metres); PNG in CompressedImage; the compressedDepth transport with PNG or RVL.

    Raises:
        NotDepth: an encoding or a kind of picture that can hold no depth.
        BadMessage: sizes that do not fit the data, or cut-off compressed data.
    """
    if hasattr(msg, "format"):
        return _compressed_depth(memoryview(msg.data).cast("B"), str(msg.format))
    if msg.encoding not in ("16UC1", "mono16", "32FC1"):
        raise NotDepth(f"depth encoding '{msg.encoding}': expected 16UC1 (millimetres) or 32FC1 (metres)")
    rows = _raw_rows(msg, MOST_DEPTH)
    return Pixels(rows.shape[0], rows.shape[1], rows.nbytes, lambda: _metres(rows))


def pose_from_pose(pose: Any) -> Matrix:
    """4x4 matrix of a ``geometry_msgs/Pose``; BadMessage where it is no pose."""
    return _matrix(pose.position, pose.orientation)


def pose_from_transform(transform: Any) -> Matrix:
    """4x4 matrix of a ``geometry_msgs/Transform``; BadMessage where it is no transform."""
    return _matrix(transform.translation, transform.rotation)


def _matrix(t: Any, q: Any) -> Matrix:
    try:
        return pose_matrix([t.x, t.y, t.z], [q.x, q.y, q.z, q.w])
    except ValueError as error:
        raise BadMessage(str(error)) from None


def _to_rgb(rows: NDArray, encoding: str, bits: int = 0) -> NDArray[np.uint8]:
    try:
        if rows.dtype == np.uint16 and encoding.endswith("16"):
            rows, encoding = eight_bits(rows, bits or significant_bits(rows)), encoding[:-2] + "8"
        return np.asarray(_opencv(encoding, rows.shape[:2], np.ascontiguousarray(rows), "rgb8"), np.uint8)
    except ImageError:
        expected = "expected rgb8, bgr8, mono8, bayer_* or yuv422"
        raise BadMessage(f"image encoding '{encoding[:64]}' is no colour: {expected}") from None
    except cv2.error:
        width, height = rows.shape[1], rows.shape[0]
        raise BadMessage(f"{encoding} image of {width}x{height}: no such size, yuv422 and bayer are even") from None


def _opencv(encoding: str, size: Sequence[int], data: Any, color: str | None = None) -> NDArray:
    """Pixels without gaps between rows, in this machine's byte order, as rosbags has them of an Image."""
    (height, width), big = size, sys.byteorder == "big"
    image: Any = SimpleNamespace(encoding=encoding, height=height, width=width, data=data, is_bigendian=big)
    return image_to_cvimage(image, color)


def _raw_rows(msg: Any, most: int | None = None) -> NDArray:
    """The pixels of a raw Image as a view [H, W] or [H, W, C] of its data; only foreign byte order is copied."""
    try:
        pixel = _opencv(msg.encoding, (1, 1), bytes(LARGEST_PIXEL))
    except Exception:  # besides ImageError what numpy says of a number of channels that cannot be
        raise BadMessage(
            f"image encoding '{msg.encoding}' is unknown: expected one of sensor_msgs/image_encodings"
        ) from None
    dtype, channels = pixel.dtype, pixel.size
    row = msg.width * channels * dtype.itemsize
    check_size(msg.width, msg.height, len(msg.data), most)
    if msg.encoding in ("nv12", "nv21"):
        raise BadMessage(f"image encoding '{msg.encoding}' is planar and not supported: publish rgb8, bgr8 or yuv422")
    data = memoryview(msg.data).cast("B")
    step = msg.step or row
    if step < row or len(data) < step * (msg.height - 1) + row:
        needed = max(step, row) * msg.height
        raise BadMessage(
            f"{msg.width}x{msg.height} {msg.encoding} image with step {msg.step} and {len(data)} bytes:"
            f" expected {needed} bytes"
        )
    shape = (msg.height, msg.width) if channels == 1 else (msg.height, msg.width, channels)
    strides = (step, dtype.itemsize * channels, dtype.itemsize)[: len(shape)]
    rows = np.ndarray(shape, dtype, buffer=data, strides=strides)
    foreign = bool(msg.is_bigendian) != (sys.byteorder == "big") and dtype.itemsize > 1
    return rows.byteswap() if foreign else rows


def _decode_color(found: Picture, sent: str) -> NDArray[np.uint8]:
    """RGB of a picture; ``sent`` is the encoding of the image that was compressed, which may be a mosaic of Bayer."""
    mosaic = sent.startswith("bayer_")
    if not mosaic and found.bits != 16:
        image = pixels(found, cv2.IMREAD_COLOR)
        cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)
        return np.asarray(image, np.uint8)
    image = pixels(found, cv2.IMREAD_UNCHANGED)
    if image.ndim == 2:
        pattern = sent.removesuffix("16").removesuffix("8") if mosaic else "mono"
    else:
        pattern = "bgr" if image.shape[2] == 3 else "bgra"
    return _to_rgb(image, pattern + ("16" if image.dtype == np.uint16 else "8"))


def _compressed_depth(data: memoryview, description: str) -> Pixels:
    quantisation = None
    if "compressedDepth" in description:
        if len(data) < DEPTH_HEADER:
            raise BadMessage(f"compressedDepth of {len(data)} bytes: the {DEPTH_HEADER} byte header is missing")
        quantisation = struct.unpack_from("<ff", data, 4) if "32FC1" in description else None
        data = data[DEPTH_HEADER:]
        if "rvl" in description.lower():
            width, height = rvl_size(data)
            return Pixels(height, width, len(data), lambda: _dequantised(decode_rvl(data), quantisation))
    found = picture(data, description, MOST_DEPTH)
    lost = "metres are lost; expected 16 bit PNG with one channel, as /compressedDepth has it"
    if found.kind == "JPEG":
        raise NotDepth(f"depth in a JPEG, which has 8 bits: {lost}")
    if found.kind == "PNG" and (found.bits, found.channels) != (16, 1):
        raise NotDepth(f"depth in a PNG of {found.bits} bits and {found.channels} channels: {lost}")
    return Pixels(found.height, found.width, len(found.data), lambda: _decode_depth(found, quantisation))


def _decode_depth(found: Picture, quantisation: tuple[float, float] | None) -> NDArray[np.float32]:
    image = pixels(found, cv2.IMREAD_UNCHANGED, "depth")
    if image.dtype != np.uint16 or image.ndim != 2:
        text = f"compressed depth decodes to {image.dtype} with {image.ndim} axes"
        raise BadMessage(f"{text}: expected 16 bit PNG with one channel")
    return _dequantised(image, quantisation)


def _dequantised(image: NDArray[np.uint16], quantisation: tuple[float, float] | None) -> NDArray[np.float32]:
    """Metres of millimetres, or of inverse depth in steps: compressedDepth sends a / z + b of an image in metres."""
    if quantisation is None:
        return _metres(image)
    a, b = quantisation
    with np.errstate(divide="ignore", invalid="ignore"):
        return _metres(np.where(image > 0, np.float32(a) / (image - np.float32(b)), 0).astype(np.float32))


def _metres(depth: NDArray) -> NDArray[np.float32]:
    if depth.dtype == np.uint16:
        return depth * np.float32(0.001)
    with np.errstate(invalid="ignore"):
        return np.where((depth > 0) & (depth < np.inf), depth, np.float32(0))
