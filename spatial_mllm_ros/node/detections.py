"""What any detector finds becomes a reward target, by its label: ``vision_msgs/msg/Detection2DArray`` comes in."""

from collections.abc import Iterable
from math import cos, isfinite, sin
from threading import Lock
from time import monotonic
from typing import Any

from rclpy.callback_groups import CallbackGroup
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile, ReliabilityPolicy

from ..config import below
from ..errors import SpatialError
from ..messages import stamp_ns
from ..motion.record import State
from ..motion.target import Target
from ..scene.pipeline import SpatialPipeline
from .qos import OVERRIDABLE

try:
    from vision_msgs.msg import Detection2DArray
except ImportError:  # of a ROS 2 without the package vision_msgs
    Detection2DArray = None

MOST_PIXELS = 1e5  # of a coordinate that is believed
AGAIN = 1.0  # s between two attempts to follow a label
FOLLOWED = (State.WAITING, State.FOLLOWED)


class Detections:
    """Sets a target named by its label where a detection has one of ``motion.follow`` that is not followed yet.

    A target that is lost or given up is set again by the next detection of its label.

    Args:
        node: where the topics of ``<camera>.detections_topic`` are subscribed.
        pipeline: whose targets they become.
        group: callback group; not that of anything an image waits for.
    Raises:
        ValueError: there are such topics, but vision_msgs is not installed.
    """

    def __init__(self, node: LifecycleNode, pipeline: SpatialPipeline, group: CallbackGroup):
        self._node, self._pipeline, self._params = node, pipeline, pipeline.config.motion
        self._wanted = {label.strip() for label in self._params.follow.split(",")} - {""}
        self._tried: dict[str, float] = {}
        self._busy = Lock()
        config = pipeline.config
        topics = {c: below(c, topic) for c in config.cameras if (topic := config.camera(c).detections_topic)}
        if topics and Detection2DArray is None:
            raise ValueError(f"{next(iter(topics))}.detections_topic needs vision_msgs: ros-<distro>-vision-msgs")
        self._subscriptions = [
            node.create_subscription(
                Detection2DArray,
                topic,
                lambda msg, camera=camera: self._take(camera, msg),
                QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT),
                callback_group=group,
                qos_overriding_options=OVERRIDABLE,
            )
            for camera, topic in topics.items()
        ]

    def close(self) -> None:
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)

    def _take(self, camera: str, message: Any) -> None:
        if not self._busy.acquire(blocking=False):
            return  # a target is being set; detections come again
        try:
            followed = {s.target.label for s in self._pipeline.target_series() if s.state in FOLLOWED}
            found = best(message.detections, self._wanted - followed, self._params.follow_score)
            for label, (score, roi) in found.items():
                if monotonic() - self._tried.get(label, -AGAIN) >= AGAIN:
                    self._tried[label] = monotonic()
                    self._follow(Target(label, camera, roi, stamp_ns(message.header.stamp)), score)
        finally:
            self._busy.release()

    def _follow(self, target: Target, score: float) -> None:
        log = self._node.get_logger()
        try:
            points = self._pipeline.set_target(target)
            log.info(f"following '{target.label}', detected with {score:.2f} in '{target.camera}': {points} points")
        except SpatialError as error:
            text = f"'{target.label}', detected in camera '{target.camera}', cannot be followed: {error}"
            log.warning(text, throttle_duration_sec=10.0)


def best(
    detections: Iterable[Any], labels: Iterable[str], least: float
) -> dict[str, tuple[float, tuple[int, int, int, int]]]:
    """The most certain detection of each label: its score, and its box as x, y, width, height in pixels.

    Args:
        detections: ``vision_msgs/msg/Detection2D``; a box that is turned is taken for the upright one around it.
        labels: names that are wanted, as the detector has them (``class_id``).
        least: score below which a detection does not count.
    """
    wanted, found = set(labels), {}
    for detection in detections:
        box = detection.bbox
        numbers = (box.center.position.x, box.center.position.y, box.center.theta, box.size_x, box.size_y)
        if not all(map(isfinite, numbers)) or max(map(abs, numbers)) > MOST_PIXELS or min(numbers[3:]) < 1:
            continue
        for result in detection.results:
            label, score = result.hypothesis.class_id, result.hypothesis.score
            if label in wanted and score >= max(least, found.get(label, (least,))[0]):
                found[label] = score, upright(*numbers)
    return found


def upright(x: float, y: float, theta: float, width: float, height: float) -> tuple[int, int, int, int]:
    """The box with sides along the image's around one that is turned by ``theta`` about its middle; whole pixels."""
    c, s = abs(cos(theta)), abs(sin(theta))
    w, h = width * c + height * s, width * s + height * c
    left, top = max(round(x - w / 2), 0), max(round(y - h / 2), 0)
    return left, top, max(round(x + w / 2) - left, 1), max(round(y + h / 2) - top, 1)
