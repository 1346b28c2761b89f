"""What the camera_infos of one camera say together: of its colour images, and of its depth beside them."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np

from .camera_info import readout_from_info
from .config import CameraParams
from .errors import BadMessage
from .frames import Camera, Pixels
from .geometry.poses import Matrix
from .geometry.readout import Readout
from .geometry.registration import Registration, is_identity, same_view
from .geometry.transform_buffer import TransformError
from .topic_names import is_depth_rectified, is_rectified, is_registered

Lookup = Callable[[str, str], Matrix]
"""``to_from(to, from)``: 4x4 matrix between two frames."""

DEPTH_SIZE, NOT_REGISTERED = "depth size", "depth not registered"  # reasons


class NotRegistered(Exception):
    """Why depth cannot be brought to the pixels of colour: a reason, and it in words.

    Attributes:
        waits: whether messages that are still to come may change that.
    """

    def __init__(self, reason: str, text: str, waits: bool = False):
        super().__init__(text)
        self.reason, self.waits = reason, waits


class Optics:
    """The camera of each image, and how depth comes to its pixels.

    Args:
        name: of the camera.
        params: its topics; their names tell images that are rectified, and depth that is registered.
    """

    def __init__(self, name: str, params: CameraParams):
        self.name, self._params = name, params
        self._color: Readout | None = None
        self._like_depth: Readout | None = None  # by colour's camera_info, rectified where depth is
        self._depth: Readout | None = None
        self._registration: Registration | None = None
        self._rectified = is_rectified(params.image_topic)
        self._depth_rectified = (
            is_rectified(params.depth_topic)
            if params.depth_info_topic
            else is_depth_rectified(params.depth_topic, params.image_topic)
        )

    @property
    def known(self) -> bool:
        """Whether a camera_info has come that can be used."""
        return self._color is not None

    @property
    def frame_id(self) -> str:
        """The frame that camera_info names."""
        return self._color.camera.frame_id if self._color is not None else ""

    def add_info(self, msg: Any) -> None:
        """The CameraInfo of colour; cameras stay the same objects while it says the same. Raises BadMessage."""
        self._color = _newer(self._color, readout_from_info(self.name, msg, self._rectified))
        self._like_depth = self._color
        if self._depth_rectified != self._rectified:
            self._like_depth = _newer(self._like_depth, readout_from_info(self.name, msg, self._depth_rectified))

    def add_depth_info(self, msg: Any) -> None:
        """The CameraInfo of depth. Raises BadMessage."""
        self._depth = _newer(self._depth, readout_from_info(self.name, msg, self._depth_rectified))

    def camera(self, image: Pixels, frame_id: str) -> Camera:
        """The camera of a colour image; ``frame_id`` is its frame where camera_info names none.

        Raises:
            BadMessage: camera_info is of another size. ValueError where none has come.
        """
        if self._color is None:
            raise ValueError("no camera_info has come")
        return self._color.camera_for(image.width, image.height, frame_id)

    def registration(self, color: Camera, depth: Pixels, frame_id: str, lookup: Lookup) -> Registration | None:
        """How depth comes to the pixels of colour; None where it is there.

        Its camera is that of its camera_info, or colour's where it has none of its own; its frame is that of
        camera_info, unless its images name that of colour.

        Args:
            color: camera of the colour image.
            frame_id: what the depth image names.
            lookup: where frames are to each other; raises TransformError.

        Raises:
            NotRegistered: something is missing for it.
        """
        readout = self._depth if self._own_info else self._like_depth
        if readout is None:
            topic = f"{self._params.depth_info_topic} ({self.name}.depth_info_topic)"
            raise NotRegistered(NOT_REGISTERED, f"no camera_info of depth has come on {topic}", waits=True)
        try:
            sensor = readout.camera_for(depth.width, depth.height, frame_id)
        except BadMessage as error:
            raise NotRegistered(DEPTH_SIZE, f"depth of {error}") from None
        place = self._place(color.frame_id, frame_id or sensor.frame_id, sensor.frame_id, lookup)
        if same_view(color, sensor, place):
            return None
        last = self._registration
        if last is None or not last.is_of(color, sensor, place):
            last = self._registration = Registration(color, sensor, place)
        return last

    def _place(self, color: str, image: str, info: str, lookup: Lookup) -> Matrix:
        """Where depth is seen from, in the frame of colour, by the frames that its images and its camera_info name."""
        if image == color or (not self._own_info and is_registered(self._params.depth_topic)):
            return np.eye(4)
        if self._own_info:
            try:
                return lookup(color, info)
            except TransformError as error:
                text = f"depth is to be carried over from '{info}' to colour, but {error}"
                raise NotRegistered(NOT_REGISTERED, text, waits=True) from None
        with suppress(TransformError):
            if is_identity(place := lookup(color, image)):
                return place
        text = (
            f"depth is seen from '{image}', colour from '{color}', and the intrinsics of depth are not known: name its"
            f" camera_info in {self.name}.depth_info_topic, or align depth to colour in the driver"
        )
        raise NotRegistered(NOT_REGISTERED, text)

    @property
    def _own_info(self) -> bool:
        return bool(self._params.depth_info_topic)


def _newer(known: Readout | None, new: Readout) -> Readout:
    return known if known is not None and new.same_as(known) else new
