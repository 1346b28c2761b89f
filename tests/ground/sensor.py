"""Messages of a small synthetic RGB-D camera, as a bag holds them."""

import struct

import cv2
import numpy as np
from rosbags.typesys import Stores, get_typestore

STORE = get_typestore(Stores.ROS2_JAZZY)
T = STORE.types
WIDTH, HEIGHT, FOCAL = 64, 48, 60.0
MS = 1_000_000


def time(ns):
    return T["builtin_interfaces/msg/Time"](sec=int(ns // 1_000_000_000), nanosec=int(ns % 1_000_000_000))


def header(ns, frame_id="optical"):
    return T["std_msgs/msg/Header"](stamp=time(ns), frame_id=frame_id)


def image(ns, pixels, encoding, step=None, big_endian=0, width=None, height=None):
    data = np.ascontiguousarray(pixels).view(np.uint8).ravel()
    return T["sensor_msgs/msg/Image"](
        header=header(ns),
        height=pixels.shape[0] if height is None else height,
        width=pixels.shape[1] if width is None else width,
        encoding=encoding,
        is_bigendian=big_endian,
        step=pixels.strides[0] if step is None else step,
        data=data,
    )


def compressed(ns, data, form):
    return T["sensor_msgs/msg/CompressedImage"](header=header(ns), format=form, data=np.frombuffer(data, np.uint8))


def encode(extension, pixels):
    return cv2.imencode(extension, pixels)[1].tobytes()


def compressed_depth(ns, stored, form, a=0.0, b=0.0):
    return compressed(ns, struct.pack("<iff", 0, a, b) + encode(".png", stored), form)


def color(ns, value=128, shape=(HEIGHT, WIDTH)):
    return image(ns, np.full((*shape, 3), value, np.uint8), "rgb8")


def depth(ns, metres=2.0, shape=(HEIGHT, WIDTH)):
    return image(ns, np.full(shape, metres * 1000, np.uint16), "16UC1")


def info(ns, width=WIDTH, height=HEIGHT, model="plumb_bob", d=(), k=None, roi=(0, 0, 0, 0)):
    if k is None:
        k = [FOCAL, 0, (width - 1) / 2, 0, FOCAL, (height - 1) / 2, 0, 0, 1]
    region = T["sensor_msgs/msg/RegionOfInterest"](
        x_offset=roi[0], y_offset=roi[1], width=roi[2], height=roi[3], do_rectify=False
    )
    return T["sensor_msgs/msg/CameraInfo"](
        header=header(ns),
        height=height,
        width=width,
        distortion_model=model,
        d=np.array(d, float),
        k=np.array(k, float),
        r=np.eye(3).ravel(),
        p=np.zeros(12),
        binning_x=0,
        binning_y=0,
        roi=region,
    )


def vector(x=0.0, y=0.0, z=0.0):
    return T["geometry_msgs/msg/Vector3"](x=x, y=y, z=z)


def quaternion(x=0.0, y=0.0, z=0.0, w=1.0):
    return T["geometry_msgs/msg/Quaternion"](x=x, y=y, z=z, w=w)


def transforms(*links):
    """TFMessage of (ns, parent, child, x) links; the store's own tf2_msgs type."""
    made = [
        T["geometry_msgs/msg/TransformStamped"](
            header=header(ns, parent),
            child_frame_id=child,
            transform=T["geometry_msgs/msg/Transform"](translation=vector(x), rotation=quaternion()),
        )
        for ns, parent, child, x in links
    ]
    return T["tf2_msgs/msg/TFMessage"](transforms=made)


def pose(x=0.0, q=None):
    point = T["geometry_msgs/msg/Point"](x=x, y=0.0, z=0.0)
    return T["geometry_msgs/msg/Pose"](position=point, orientation=q or quaternion())


def pose_stamped(ns, frame_id, x):
    return T["geometry_msgs/msg/PoseStamped"](header=header(ns, frame_id), pose=pose(x))


def odometry(ns, frame_id, child, x):
    zeros = np.zeros(36)
    twist = T["geometry_msgs/msg/Twist"](linear=vector(), angular=vector())
    return T["nav_msgs/msg/Odometry"](
        header=header(ns, frame_id),
        child_frame_id=child,
        pose=T["geometry_msgs/msg/PoseWithCovariance"](pose=pose(x), covariance=zeros),
        twist=T["geometry_msgs/msg/TwistWithCovariance"](twist=twist, covariance=zeros),
    )
