"""Messages that are no ROS messages: Foxglove's schemas in JSON and in protobuf, made into the ROS types they match.

https://docs.foxglove.dev/docs/sdk/schemas. Fields have the same names in both encodings; bytes are base64 in JSON.
"""

import json
from base64 import b64decode
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from .errors import BagError
from .limits import DEFINITION, JSON, LINKS
from .topic import Topic, ros_type
from .types import CAMERA_INFO, COMPRESSED_IMAGE, IMAGE, POSE, TRANSFORMS, typestore

Decode = Callable[[bytes], Any]
NO_TYPE = "no type is named (schema_id 0): add the schemas, or record it with them"
PROTOBUF = "it is encoded as protobuf, which is not installed: pip install protobuf"


def foreign_topic(name: str, encoding: str, schema: str, text: bytes) -> Topic:
    """The topic of a channel in another encoding than those of ROS; unread, with the reason, where nobody knows it.

    Args:
        schema, text: name and definition of the type; for protobuf a FileDescriptorSet.
    """
    kind, make = KINDS.get(schema.rpartition(".")[2] if schema.startswith("foxglove.") else "", ("", None))
    if make is None or encoding not in ("json", "protobuf"):
        known = f"of json and protobuf only {', '.join(f'foxglove.{kind}' for kind in KINDS)} are"
        what = f"{schema or 'its type'} in '{encoding}'"
        return Topic(name, ros_type(schema), unread=f"{what}: {known}; convert it to ROS 2 messages (cdr)")
    try:
        decode = _from_json if encoding == "json" else _protobuf(schema, text)
    except ImportError:
        return Topic(name, kind, unread=PROTOBUF)
    except Exception as error:  # the library has many words for a broken descriptor
        return Topic(name, kind, unread=f"its protobuf descriptor cannot be used ({error})")

    def convert(data: bytes) -> Any:
        try:
            return make(decode(data))
        except AttributeError as error:
            raise BagError(f"{schema} in {encoding} without '{error.name}'") from None
        except Exception as error:  # of the libraries, or of values that are of another kind
            raise BagError(f"{schema} in {encoding}: {error}") from None

    return Topic(name, kind, convert=convert)


def _from_json(data: bytes) -> Any:
    JSON.check(sum(map(data.count, (b",", b"[", b"{"))))
    return json.loads(data, object_hook=lambda fields: SimpleNamespace(**fields))


def _protobuf(schema: str, text: bytes) -> Decode:
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    DEFINITION.check(len(text))
    pool = descriptor_pool.DescriptorPool()
    waiting = {file.name: file for file in descriptor_pb2.FileDescriptorSet.FromString(text).file}

    def add(name: str) -> None:
        file = waiting.pop(name, None)
        if file is not None:  # after those that it needs
            for needed in file.dependency:
                add(needed)
            pool.Add(file)

    for name in list(waiting):
        add(name)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(schema)).FromString


def _made(kind: str, *values: Any) -> Any:
    return typestore().types[kind](*values)


def _header(message: Any, frame: str | None = None) -> Any:
    stamp = message.timestamp
    seconds, rest = (stamp.sec, stamp.nsec) if hasattr(stamp, "sec") else (stamp.seconds, stamp.nanos)
    time = _made("builtin_interfaces/msg/Time", int(seconds), int(rest))
    return _made("std_msgs/msg/Header", time, str(message.frame_id if frame is None else frame))


def _bytes(data: Any) -> Any:
    return np.frombuffer(b64decode(data, validate=True) if isinstance(data, str) else data, np.uint8)


def _numbers(message: Any, name: str, count: int = 0) -> Any:
    """Of a field that may be left out; zeros where so many are needed."""
    values = np.array(list(getattr(message, name, ())), np.float64)
    return values if values.size or not count else np.zeros(count)


def _compressed(m: Any) -> Any:
    return _made(COMPRESSED_IMAGE, _header(m), str(m.format), _bytes(m.data))


def _image(m: Any) -> Any:
    return _made(IMAGE, _header(m), int(m.height), int(m.width), str(m.encoding), 0, int(m.step), _bytes(m.data))


def _calibration(m: Any) -> Any:
    roi = _made("sensor_msgs/msg/RegionOfInterest", 0, 0, 0, 0, False)
    arrays = _numbers(m, "D"), _numbers(m, "K", 9), _numbers(m, "R", 9), _numbers(m, "P", 12)
    model = str(getattr(m, "distortion_model", ""))
    return _made(CAMERA_INFO, _header(m), int(m.height), int(m.width), model, *arrays, 0, 0, roi)


def _vector(kind: str, v: Any) -> Any:
    return _made(f"geometry_msgs/msg/{kind}", float(v.x), float(v.y), float(v.z))


def _quaternion(q: Any) -> Any:
    return _made("geometry_msgs/msg/Quaternion", float(q.x), float(q.y), float(q.z), float(q.w))


def _stamped(m: Any) -> Any:
    value = _made("geometry_msgs/msg/Transform", _vector("Vector3", m.translation), _quaternion(m.rotation))
    kind = "geometry_msgs/msg/TransformStamped"
    return _made(kind, _header(m, m.parent_frame_id), str(m.child_frame_id), value)


def _transform(m: Any) -> Any:
    return _made(TRANSFORMS, [_stamped(m)])


def _transforms(m: Any) -> Any:
    LINKS.check(len(m.transforms))
    return _made(TRANSFORMS, [_stamped(one) for one in m.transforms])


def _pose(m: Any) -> Any:
    place = _vector("Point", m.pose.position), _quaternion(m.pose.orientation)
    return _made(POSE, _header(m), _made("geometry_msgs/msg/Pose", *place))


KINDS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "CompressedImage": (COMPRESSED_IMAGE, _compressed),
    "RawImage": (IMAGE, _image),
    "CameraCalibration": (CAMERA_INFO, _calibration),
    "FrameTransform": (TRANSFORMS, _transform),
    "FrameTransforms": (TRANSFORMS, _transforms),
    "PoseInFrame": (POSE, _pose),
}
"""Foxglove's schemas that are read: name -> type in ROS, and what makes such a message."""
