"""Subscriptions: callbacks only store, the frame loop takes. What does not fit pushes out the oldest and is counted."""

from collections import deque
from itertools import chain
from threading import Event, Lock
from time import monotonic, monotonic_ns
from typing import Any

from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Odometry
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from tf2_msgs.msg import TFMessage

from ..config import CameraParams, Config, below
from ..topic_names import TRANSPORTS
from .input_thread import InputThread
from .qos import OVERRIDABLE

TRANSFORMS_WAITING = 1000
UNTAKEN = 10  # messages that DDS keeps until they are taken; what it pushes out itself is not counted, so not 1


class Stream:
    """One topic: the messages that wait, and what is known about the topic.

    Attributes:
        kind: ``image``, ``depth``, ``camera_info``, ``depth_info``, ``pose``, ``tf`` or ``tf_static``.
        camera: name of the camera it belongs to; empty for poses and transforms.
        parameter: name of the parameter that sets the topic; empty for transforms.
        received, dropped, lost: messages that arrived, that were pushed out here, and that DDS says it lost.
        arrived: time of the latest message (or of the subscription), ``time.monotonic()`` seconds.
    """

    def __init__(self, kind: str, camera: str, parameter: str, topic: str, type_: type, qos: QoSProfile, waiting: int):
        self.kind, self.camera, self.parameter = kind, camera, parameter
        self.topic, self.type, self.qos = topic, type_, qos
        self.received = self.dropped = self.lost = 0
        self.arrived = monotonic()
        self._queue: deque[tuple[int, Any]] = deque(maxlen=waiting)
        self._lock = Lock()

    @property
    def is_info(self) -> bool:
        """Whether it is a camera_info: one message is enough, and some drivers send no more."""
        return self.kind in ("camera_info", "depth_info")

    def store(self, msg: Any) -> None:
        with self._lock:
            self.dropped += len(self._queue) == self._queue.maxlen
            self._queue.append((monotonic_ns(), msg))
            self.received += 1
            self.arrived = monotonic()

    def take(self) -> list[tuple[int, Any]]:
        """(arrival in monotonic nanoseconds, message) of all that wait, oldest first."""
        with self._lock:
            waiting = list(self._queue)
            self._queue.clear()
            return waiting

    def count_lost(self, event: Any) -> None:
        self.lost += event.total_count_change


class Inputs:
    """All subscriptions of the node.

    Args:
        node: where they are made, with a callback group and a thread of their own.
        config: cameras and pose source.
        arrived: set whenever a message has been stored.
    """

    def __init__(self, node: LifecycleNode, config: Config, arrived: Event):
        self._node, self._arrived = node, arrived
        self.streams = streams(config)
        self._thread = InputThread(node)
        self._subscriptions = []
        try:
            for stream in self.streams:
                self._subscriptions.append(self._subscribe(stream))
        except Exception:
            self.close()
            raise
        self._thread.start()

    def _subscribe(self, stream: Stream):
        def store(msg: Any) -> None:
            stream.store(msg)
            self._arrived.set()

        subscription = self._node.create_subscription(
            stream.type,
            stream.topic,
            store,
            stream.qos,
            callback_group=self._thread.group,
            event_callbacks=SubscriptionEventCallbacks(message_lost=stream.count_lost, use_default_callbacks=False),
            qos_overriding_options=OVERRIDABLE,
        )
        stream.topic = subscription.topic_name
        return subscription

    def close(self) -> None:
        self._thread.stop()
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)


def streams(config: Config) -> list[Stream]:
    """Everything that is subscribed, in the order in which it is to be fed."""
    cameras = (camera_streams(camera, config.camera(camera), config) for camera in config.cameras)
    return [*transform_streams(config), *chain.from_iterable(cameras)]


def camera_streams(name: str, camera: CameraParams, config: Config) -> list[Stream]:
    """Image, depth and their camera_infos of one camera, in the order in which they are to be fed."""
    waiting = config.sync.queue_size

    def stream(kind: str, topic: str, transport: str, type_: type) -> Stream:
        qos = QoSProfile(depth=max(waiting, UNTAKEN), reliability=reliability(config))
        type_ = type_ if transport == "raw" else CompressedImage
        topic = below(name, topic) + TRANSPORTS[transport]
        return Stream(kind, name, f"{name}.{kind}_topic", topic, type_, qos, waiting)

    depth = [stream("depth", camera.depth_topic, camera.depth_transport, Image)] if camera.depth_topic else []
    if depth and camera.depth_info_topic:
        depth.insert(0, stream("depth_info", camera.depth_info_topic, "raw", CameraInfo))
    image = stream("image", camera.image_topic, camera.image_transport, Image)
    return [stream("camera_info", camera.camera_info_topic, "raw", CameraInfo), *depth, image]


def transform_streams(config: Config) -> list[Stream]:
    """/tf_static always (mounts of cameras), then /tf or the pose topic."""
    latched = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    static = Stream("tf_static", "", "", "/tf_static", TFMessage, latched, TRANSFORMS_WAITING)
    moving = Stream("tf", "", "", "/tf", TFMessage, QoSProfile(depth=100), TRANSFORMS_WAITING)
    if config.pose.source == "tf":
        return [static, moving]
    type_ = Odometry if config.pose.source == "odometry" else PoseStamped
    qos = QoSProfile(depth=100, reliability=reliability(config))
    return [static, moving, Stream("pose", "", "pose.topic", config.pose.topic, type_, qos, TRANSFORMS_WAITING)]


def reliability(config: Config) -> ReliabilityPolicy:
    return ReliabilityPolicy[config.sync.reliability.upper()]
