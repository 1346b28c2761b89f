"""A frame that has everything that motion needs."""

from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from ..errors import BadMessage
from ..frames import Camera, Frame


class PosedFrame(Protocol):
    """A :class:`Frame` with image, depth and pose: none of them is None."""

    stamp_ns: int
    camera: Camera
    world_from_camera: NDArray[np.float64]

    @property
    def gray(self) -> NDArray[np.uint8]: ...
    @property
    def depth(self) -> NDArray[np.float32]: ...
    @property
    def depth_camera(self) -> Camera: ...


def posed(frame: Frame) -> PosedFrame:
    """The same frame, for which :func:`unusable` has nothing to say."""
    return cast(PosedFrame, frame)


def unusable(frame: Frame) -> str:
    """Why points cannot be followed in a frame, empty where they can."""
    if frame.world_from_camera is None or not np.isfinite(frame.world_from_camera).all():
        return "no pose"
    try:
        gray, depth, camera = frame.gray, frame.depth, frame.camera
    except BadMessage as error:
        return str(error)
    if gray is None:
        return "no image"
    if depth is None:
        return "no depth"
    if gray.shape != (camera.height, camera.width):
        size, expected = f"{gray.shape[1]}x{gray.shape[0]}", f"{camera.width}x{camera.height}"
        return f"an image of {size} pixels, the camera has {expected}"
    return ""
