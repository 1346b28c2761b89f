"""From ROS messages to arrays: images, depth, camera_info and poses, of rclpy and of recorded bags alike.

Whatever can be checked without decoding is checked at once, so that a broken message is refused where it arrives.
"""

import struct
import sys
from collections.abc import Sequence
from io import BytesIO
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray
from rosbags.image import ImageError, image_to_cvimage

from .errors import BadMessage
from .frames import Camera, Pixels
from .geometry.poses import Matrix, pose_matrix

MAX_SIDE = 16384
LARGEST_PIXEL = 512 * 8  # bytes: OpenCV has no more than 512 channels
GENERIC_COLOR = {"8UC1": "mono8", "8UC3": "bgr8", "8UC4": "bgra8", "16UC1": "mono16"}
DISTORTION_NAMES = {"": "plumb_bob", "fisheye": "equidistant", "none": "plumb_bob"}


def stamp_ns(stamp: Any) -> int:
    """Nanoseconds of a ``builtin_interfaces/Time``, or of a ROS 1 time."""
    return stamp.sec * 1_000_000_000 + stamp.nanosec


def color_pixels(msg: Any) -> Pixels:
    """Colour of an Image or CompressedImage; decodes to uint8 [H, W, 3] RGB.

    Raises:
        BadMessage: unknown encoding, sizes that do not fit the data, or cut-off compressed data.
    """
    if hasattr(msg, "format"):
        width, height, data = _compressed_header(msg.data, msg.format)
        return Pixels(height, width, len(data), lambda: _decode_color(data))
    rows = _raw_rows(msg)
    encoding = GENERIC_COLOR.get(msg.encoding) or str(msg.encoding)
    corner = rows[tuple(slice(min(n, 4 + n % 2)) for n in rows.shape[:2])]  # odd sizes stay odd: some have no meaning
    _to_rgb(corner, encoding)
    return Pixels(rows.shape[0], rows.shape[1], rows.nbytes, lambda: _to_rgb(rows, encoding))


def depth_pixels(msg: Any) -> Pixels:
    """Depth of an Image or CompressedImage; decodes to float32 [H, W] metres with 0 where there is no reading.

    Raw 16UC1 (millimetres) and 32FC1 (metres); PNG in CompressedImage; the compressedDepth transport with PNG.

    Raises:
        BadMessage: unknown encoding, sizes that do not fit the data, or cut-off compressed data.
    """
    if hasattr(msg, "format"):
        data = memoryview(msg.data).cast("B")
        quantisation = None
        if "compressedDepth" in msg.format:
            if "rvl" in msg.format.lower():
                raise BadMessage(
                    f"depth format '{msg.format}': RVL is not supported, set the publisher's format to png"
                )
            if len(data) < 12:
                raise BadMessage(f"compressedDepth of {len(data)} bytes: the 12 byte header is missing")
            quantisation = struct.unpack_from("<ff", data, 4) if "32FC1" in msg.format else None
            data = data[12:]
        width, height, data = _compressed_header(data, msg.format)
        return Pixels(height, width, len(data), lambda: _decode_depth(data, quantisation))
    if msg.encoding not in ("16UC1", "mono16", "32FC1"):
        raise BadMessage(f"depth encoding '{msg.encoding}': expected 16UC1 (millimetres) or 32FC1 (metres)")
    rows = _raw_rows(msg)
    return Pixels(rows.shape[0], rows.shape[1], rows.nbytes, lambda: _metres(rows))


def camera_from_info(name: str, msg: Any) -> Camera:
    """Camera of a CameraInfo.

    Raises:
        BadMessage: not calibrated (zeros), an unknown distortion model, a region of interest, or impossible values.
    """
    k = np.array(msg.k if hasattr(msg, "k") else msg.K, np.float64).reshape(3, 3)
    d = np.array(msg.d if hasattr(msg, "d") else msg.D, np.float64).reshape(-1)
    if not k.any() or not msg.width or not msg.height:
        raise BadMessage(f"camera_info of {msg.width}x{msg.height} with fx = {k[0, 0]:g}: the camera is not calibrated")
    roi = msg.roi
    if roi.width and roi.height and (roi.width, roi.height) != (msg.width, msg.height):
        raise BadMessage(
            "camera_info with a region of interest: publish the full image, or intrinsics of the cropped one"
        )
    model = DISTORTION_NAMES.get(msg.distortion_model) or str(msg.distortion_model)
    if not d.any():
        model, d = "none", np.zeros(0)
    try:
        return Camera(name, msg.header.frame_id.lstrip("/"), int(msg.width), int(msg.height), k, model, d)
    except ValueError as error:
        raise BadMessage(f"camera_info: {error}") from None


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


def _to_rgb(rows: NDArray, encoding: str) -> NDArray[np.uint8]:
    try:
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


def _raw_rows(msg: Any) -> NDArray:
    """The pixels of a raw Image as a view [H, W] or [H, W, C] of its data; only foreign byte order is copied."""
    try:
        pixel = _opencv(msg.encoding, (1, 1), bytes(LARGEST_PIXEL))
    except Exception:  # besides ImageError what numpy says of a number of channels that cannot be
        raise BadMessage(
            f"image encoding '{msg.encoding}' is unknown: expected one of sensor_msgs/image_encodings"
        ) from None
    dtype, channels = pixel.dtype, pixel.size
    row = msg.width * channels * dtype.itemsize
    if not 0 < msg.width <= MAX_SIDE or not 0 < msg.height <= MAX_SIDE:
        raise BadMessage(f"image of {msg.width}x{msg.height}: expected 1 to {MAX_SIDE} pixels a side")
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


def _compressed_header(data: Any, description: str) -> tuple[int, int, memoryview]:
    """Width, height and bytes of JPEG or PNG data whose beginning and end are whole."""
    data = memoryview(data).cast("B")
    try:
        with PIL.Image.open(BytesIO(data)) as header:
            (width, height), kind = header.size, header.format
    except Exception:
        raise BadMessage(
            f"compressed image of {len(data)} bytes, format '{description}': not readable as JPEG or PNG"
        ) from None
    tail = bytes(data).rstrip(b"\0")[-256:]  # some cameras pad to a fixed length
    whole = {"JPEG": b"\xff\xd9" in tail, "PNG": b"IEND" in tail}
    if not whole.get(kind or "", True):
        raise BadMessage(f"compressed image, {kind} of {len(data)} bytes: cut off before its end")
    if width > MAX_SIDE or height > MAX_SIDE:
        raise BadMessage(f"image of {width}x{height}: expected 1 to {MAX_SIDE} pixels a side")
    return width, height, data


def _decode_color(data: memoryview) -> NDArray[np.uint8]:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise BadMessage(f"compressed image of {len(data)} bytes cannot be decoded")
    cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)
    return np.asarray(image, np.uint8)


def _decode_depth(data: memoryview, quantisation: tuple[float, float] | None) -> NDArray[np.float32]:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None or image.dtype != np.uint16 or image.ndim != 2:
        found = "nothing" if image is None else f"{image.dtype} with {image.ndim} axes"
        raise BadMessage(f"compressed depth decodes to {found}: expected 16 bit PNG with one channel")
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
