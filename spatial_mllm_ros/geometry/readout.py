"""Which pixels of a sensor an image holds: region of interest and binning, as REP 104 has them."""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from ..errors import BadMessage
from ..frames import Camera


@dataclass(frozen=True, eq=False)
class Readout:
    """A camera at the full resolution of its sensor, and what of that is read out.

    Attributes:
        camera: of the full resolution.
        region: x, y, width and height of the region of interest, in pixels of that.
        binning: how many of those pixels are one of the image, across and down.

    Raises:
        ValueError: the region is not within the sensor.
    """

    camera: Camera
    region: tuple[int, int, int, int]
    binning: tuple[int, int] = (1, 1)

    def __post_init__(self):
        (x, y, width, height), camera = self.region, self.camera
        if x + width > camera.width or y + height > camera.height:
            inside = f"not within the {camera.width}x{camera.height} pixels of the sensor"
            raise ValueError(f"region of interest of {width}x{height} at ({x}, {y}) is {inside}")

    def camera_for(self, width: int, height: int, frame_id: str = "") -> Camera:
        """The camera of an image of this size; the same object for the same size.

        What is read out is told by the size: region and binning, only one of them, or neither, where the driver crops
        and bins nothing. Where neither is set, images may be of any resolution, in the shape of the sensor.

        Args:
            frame_id: optical frame of the image, for a camera_info that names none.

        Raises:
            BadMessage: the size fits none of them, or only with a focal length that no camera has.
        """
        try:
            return _camera_for(self, width, height, self.camera.frame_id or frame_id)
        except BadMessage:
            raise
        except ValueError as error:
            size = f"{self.camera.width}x{self.camera.height}"
            raise BadMessage(f"{width}x{height}, camera_info of {size}: {error}") from None

    def same_as(self, other: "Readout | None") -> bool:
        """Whether both say the same."""
        if other is None or (self.region, self.binning) != (other.region, other.binning):
            return False
        a, b = self.camera, other.camera
        plain = (a.frame_id, a.width, a.height, a.distortion_model)
        same = plain == (b.frame_id, b.width, b.height, b.distortion_model)
        return same and np.array_equal(a.intrinsics, b.intrinsics) and np.array_equal(a.distortion, b.distortion)


@lru_cache(maxsize=64)
def _camera_for(readout: Readout, width: int, height: int, frame_id: str) -> Camera:
    camera = readout.camera if readout.camera.frame_id == frame_id else replace(readout.camera, frame_id=frame_id)
    whole = (0, 0, camera.width, camera.height)
    ways = [(region, by) for region in (readout.region, whole) for by in (readout.binning, (1, 1))]
    for region, by in ways:
        if (region[2] // by[0], region[3] // by[1]) == (width, height):
            return _part(camera, (region[0], region[1], width * by[0], height * by[1])).resized(width, height)
    off = abs(width * camera.height - height * camera.width)
    if readout.region == whole and off <= max(camera.width, camera.height):
        return camera.resized(width, height)
    text = f"{width}x{height}, camera_info of {camera.width}x{camera.height}"
    if readout.region != whole:
        x, y, *size = readout.region
        text += f" with a region of interest of {size[0]}x{size[1]} at ({x}, {y})"
    if readout.binning != (1, 1):
        text += f" with binning of {readout.binning[0]}x{readout.binning[1]}"
    raise BadMessage(f"{text}: shapes must agree")


def _part(camera: Camera, region: tuple[int, int, int, int]) -> Camera:
    """The camera of a region of its image."""
    x, y, width, height = region
    if (x, y, width, height) == (0, 0, camera.width, camera.height):
        return camera
    moved = camera.intrinsics - np.array([[0, 0, x], [0, 0, y], [0, 0, 0]])
    return replace(camera, width=width, height=height, intrinsics=moved)
