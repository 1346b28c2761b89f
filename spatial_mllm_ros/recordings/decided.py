"""What is decided about a camera of a recording, by its first messages: how pixels become rays, and depth colour's."""

from typing import Any

import numpy as np

from ..config import CameraParams
from ..errors import BadMessage
from ..frames import Camera
from ..geometry.poses import Matrix
from ..geometry.transform_buffer import Reason, TransformBuffer, TransformError
from ..messages import color_pixels, depth_pixels, pose_from_transform, stamp_ns
from ..optics import Lookup, NotRegistered, Optics
from ..topic_names import is_rectified
from .poses import transform_messages
from .recording import Recording


def decided(recording: Recording, name: str, topics: CameraParams) -> tuple[list[str], list[str]]:
    """What was decided about a camera that is not as it is mostly, and what is wrong with its camera_infos, in words.

    Args:
        name: of the camera. topics: of the recording, that it is read from.
    """
    info, image = recording.first(topics.camera_info_topic), recording.first(topics.image_topic)
    depth = recording.first(topics.depth_topic) if topics.depth_topic else None
    of_depth = recording.first(topics.depth_info_topic) if topics.depth_info_topic else None
    optics, notes = Optics(name, topics), []
    if info is None or image is None:
        return [], []
    try:
        optics.add_info(info)
        camera = optics.camera(color_pixels(image), _frame_id(image))
        for topic, of in ((topics.image_topic, info), (topics.depth_topic, of_depth or info)):
            notes += _rectified(topic, of)
        if (camera.width, camera.height) != (info.width, info.height) and (info.binning_x > 1 or info.roi.width):
            text = f"{camera.width}x{camera.height} are read out of {info.width}x{info.height} pixels"
            notes.append(f"camera '{name}': {text}, by region of interest and binning of {topics.camera_info_topic}")
        if depth is None:
            return notes, []
        if of_depth is not None:
            optics.add_depth_info(of_depth)
        found = optics.registration(camera, depth_pixels(depth), _frame_id(depth), _lookup(recording, depth))
    except BadMessage:  # of one message; reading says more
        return notes, []
    except NotRegistered as error:
        return notes, [f"camera '{name}' has depth that cannot be used: {error}"]
    return notes + ([_carried(name, camera, found.camera, found.camera_from_depth)] if found else []), []


def _carried(name: str, color: Camera, depth: Camera, place: Matrix) -> str:
    apart = 1000 * float(np.linalg.norm(place[:3, 3]))
    cameras = (f"{c.width}x{c.height}, fx {c.intrinsics[0, 0]:.1f}" for c in (depth, color))
    depth_said, color_said = cameras
    return f"camera '{name}': depth ({depth_said}), {apart:.0f} mm beside colour ({color_said}), is registered to it"


def _rectified(topic: str, info: Any) -> list[str]:
    if not topic or not is_rectified(topic):
        return []
    if not info.p[0] > 0:
        return [f"{topic} is rectified by its name, but P of its camera_info is 0: K is used"]
    same = not info.d.any() and np.array_equal(info.p.reshape(3, 4)[:, :3].ravel(), info.k)
    return [] if same else [f"{topic} is rectified by its name: pixels follow P of its camera_info, without distortion"]


def _lookup(recording: Recording, depth: Any) -> Lookup:
    def lookup(to: str, origin: str) -> Matrix:
        buffer = TransformBuffer()
        for static, message in transform_messages(recording):
            for t in message.transforms:
                parent, child = t.header.frame_id.lstrip("/"), t.child_frame_id.lstrip("/")
                try:
                    buffer.add(parent, child, stamp_ns(t.header.stamp), pose_from_transform(t.transform), static)
                except ValueError:  # a broken one
                    continue
        try:
            return buffer.lookup(to, origin, stamp_ns(depth.header.stamp))
        except TransformError as error:
            if error.reason in (Reason.UNKNOWN_FRAME, Reason.NOT_CONNECTED):
                raise
            raise BadMessage("no transform of that moment is among the first ones") from None

    return lookup


def _frame_id(message: Any) -> str:
    return message.header.frame_id.lstrip("/")
