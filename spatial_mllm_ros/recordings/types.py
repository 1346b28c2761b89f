"""Message types: those of ROS 2 Jazzy and the project's own, known without any ROS installation."""

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from rosbags.typesys import Stores, get_types_from_msg, get_typestore

if TYPE_CHECKING:
    from rosbags.typesys.store import Typestore
else:
    Typestore = type(get_typestore(Stores.EMPTY))  # a class that rosbags only gives objects of

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
TRANSFORMS = "tf2_msgs/msg/TFMessage"
ODOMETRY = "nav_msgs/msg/Odometry"
POSE = "geometry_msgs/msg/PoseStamped"
REWARD = "spatial_mllm_msgs/msg/MotionReward"
IMAGES = (IMAGE, COMPRESSED_IMAGE)


@cache
def typestore() -> Typestore:
    """The types of Jazzy and of ``spatial_mllm_msgs``; shared, not to be changed."""
    store = get_typestore(Stores.ROS2_JAZZY)
    types = {}
    for definition in files("spatial_mllm_ros").joinpath("definitions").iterdir():
        if definition.name.endswith(".msg"):
            name = f"spatial_mllm_msgs/msg/{definition.name[:-4]}"
            types.update(get_types_from_msg(definition.read_text("utf-8"), name))
    store.register(types)
    return store


def own_store() -> Typestore:
    """A copy of :func:`typestore` that may be changed."""
    store = get_typestore(Stores.EMPTY)
    store.fielddefs.update(typestore().fielddefs)
    store.types.update(typestore().types)
    return store
