"""Small synthetic recordings in every format, written with rosbags alone."""

from pathlib import Path

import numpy as np
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

JAZZY = get_typestore(Stores.ROS2_JAZZY)
NOETIC = get_typestore(Stores.ROS1_NOETIC)
NOETIC.register(get_types_from_msg("geometry_msgs/TransformStamped[] transforms", "tf2_msgs/msg/TFMessage"))
T = JAZZY.types
START = 1_700_000_000_000_000_000
STEP = 33_333_333
WIDTH, HEIGHT, FOCAL = 16, 12, 20.0


def time(ns):
    return T["builtin_interfaces/msg/Time"](sec=ns // 10**9, nanosec=ns % 10**9)


def header(ns, frame):
    return T["std_msgs/msg/Header"](stamp=time(ns), frame_id=frame)


def vector(x, y, z):
    return T["geometry_msgs/msg/Vector3"](x=x, y=y, z=z)


def transforms(*links):
    """TFMessage of (stamp, parent, child, (x, y, z)); no rotation."""
    one = T["geometry_msgs/msg/Quaternion"](x=0.0, y=0.0, z=0.0, w=1.0)
    stamped = [
        T["geometry_msgs/msg/TransformStamped"](
            header=header(ns, parent),
            child_frame_id=child,
            transform=T["geometry_msgs/msg/Transform"](translation=vector(*xyz), rotation=one),
        )
        for ns, parent, child, xyz in links
    ]
    return T["tf2_msgs/msg/TFMessage"](transforms=stamped)


def image(ns, pixels, encoding, frame="optical"):
    height, width = pixels.shape[:2]
    data = np.ascontiguousarray(pixels).view(np.uint8).ravel()
    return T["sensor_msgs/msg/Image"](header(ns, frame), height, width, encoding, 0, data.size // height, data)


def compressed(ns, data, form, frame="optical"):
    return T["sensor_msgs/msg/CompressedImage"](header(ns, frame), form, np.frombuffer(data, np.uint8))


def info(ns, frame="optical", size=(WIDTH, HEIGHT)):
    k = np.array([FOCAL, 0, (size[0] - 1) / 2, 0, FOCAL, (size[1] - 1) / 2, 0, 0, 1.0])
    p = np.array([*k[:3], 0, *k[3:6], 0, *k[6:], 0])
    roi = T["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False)
    return T["sensor_msgs/msg/CameraInfo"](
        header(ns, frame), size[1], size[0], "plumb_bob", np.zeros(5), k, np.eye(3).ravel(), p, 0, 0, roi
    )


def pose(x):
    one = T["geometry_msgs/msg/Quaternion"](x=0.0, y=0.0, z=0.0, w=1.0)
    return T["geometry_msgs/msg/Pose"](position=T["geometry_msgs/msg/Point"](x=x, y=0.0, z=0.0), orientation=one)


def odometry(ns, x, frame="odom", child="base_link"):
    still = T["geometry_msgs/msg/Twist"](linear=vector(0.0, 0.0, 0.0), angular=vector(0.0, 0.0, 0.0))
    return T["nav_msgs/msg/Odometry"](
        header(ns, frame),
        child,
        T["geometry_msgs/msg/PoseWithCovariance"](pose(x), np.zeros(36)),
        T["geometry_msgs/msg/TwistWithCovariance"](still, np.zeros(36)),
    )


def pose_stamped(ns, x, frame="world"):
    return T["geometry_msgs/msg/PoseStamped"](header(ns, frame), pose(x))


def color_pixels(i):
    return np.full((HEIGHT, WIDTH, 3), i % 256, np.uint8)


def depth_pixels(i):
    return np.full((HEIGHT, WIDTH), 1000 + i, np.uint16)


def x_of(i):
    """Where the camera is at frame i, metres along x."""
    return 0.01 * i


def rgbd(frames=20, camera="/camera", poses="tf", frame="optical"):
    """(topic, stamp, message) of an RGB-D camera that moves along x by 1 cm a frame, base_link 0.5 m above it."""
    out = []
    if poses in ("tf", "odometry"):
        out.append(("/tf_static", START, transforms((START, "base_link", frame, (0.0, 0.0, -0.5)))))
    for i in range(frames):
        ns = START + i * STEP
        if poses == "tf":
            out.append(("/tf", ns, transforms((ns, "odom", "base_link", (x_of(i), 0.0, 0.0)))))
        elif poses == "odometry":
            out.append(("/odom", ns, odometry(ns, x_of(i))))
        elif poses == "pose":
            out.append((f"{camera}/pose", ns, pose_stamped(ns, x_of(i))))
        out.append((f"{camera}/color/camera_info", ns, info(ns, frame)))
        out.append((f"{camera}/color/image_raw", ns, image(ns, color_pixels(i), "rgb8", frame)))
        out.append((f"{camera}/depth/image_rect_raw", ns, image(ns, depth_pixels(i), "16UC1", frame)))
    return out


def write_ros2(path: Path, messages, plugin=StoragePlugin.MCAP, compression=None, qos=()) -> Path:
    """A rosbag2 folder at ``path``; ``compression`` is a CompressionMode."""
    writer = Writer(path, version=9, storage_plugin=plugin)
    if compression:
        writer.set_compression(compression, CompressionFormat.ZSTD)
    with writer:
        connections = {}
        for topic, ns, message in messages:
            kind = message.__msgtype__
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=JAZZY, offered_qos_profiles=qos)
            writer.write(connections[topic], ns, JAZZY.serialize_cdr(message, kind))
    return path


def write_ros1(path: Path, messages, compression=None) -> Path:
    """A ROS 1 bag; ``compression`` is a CompressionFormat of rosbags.rosbag1."""
    writer = Writer1(path)
    if compression:
        writer.set_compression(compression)
    with writer:
        connections = {}
        for topic, ns, message in messages:
            kind = message.__msgtype__
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=NOETIC)
            writer.write(connections[topic], ns, JAZZY.cdr_to_ros1(JAZZY.serialize_cdr(message, kind), kind))
    return path


def write(path: Path, messages, kind: str) -> Path:
    """A recording of one of FORMATS below a folder; returns the file or folder to open."""
    if kind == "ros1":
        return write_ros1(path / "r.bag", messages)
    if kind == "ros1-bz2":
        return write_ros1(path / "r.bag", messages, Writer1.CompressionFormat.BZ2)
    if kind == "ros1-lz4":
        return write_ros1(path / "r.bag", messages, Writer1.CompressionFormat.LZ4)
    if kind == "sqlite3":
        return write_ros2(path / "r", messages, StoragePlugin.SQLITE3)
    if kind == "mcap":
        return write_ros2(path / "r", messages)
    assert kind == "mcap-zstd"
    return write_ros2(path / "r", messages, compression=CompressionMode.STORAGE)


FORMATS = ["ros1", "ros1-bz2", "ros1-lz4", "sqlite3", "mcap", "mcap-zstd"]


def data_file(recording: Path) -> Path:
    """The one file with the messages of a recording."""
    return recording if recording.is_file() else next(f for f in recording.iterdir() if f.suffix in (".mcap", ".db3"))
