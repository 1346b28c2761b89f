"""A textured wall, 2 m in front of cameras that slide along it: images, depth and poses are known exactly."""

from time import time_ns
from typing import Any

import cv2
import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import TransformStamped
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage

from .process import RELIABLE, Robot, polled, until

WIDTH, HEIGHT, FOCAL, WALL = 96, 72, 80.0, 2.0
STEP = WALL / FOCAL  # m along the wall that shift the image by one pixel
LATCHED = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
TEXTURE = cv2.GaussianBlur(np.random.default_rng(5).integers(0, 255, (HEIGHT, 2000), np.uint8), (5, 5), 0)
TEXTURE = cv2.normalize(TEXTURE, None, 0, 255, cv2.NORM_MINMAX)


def stamp(ns: int) -> Time:
    return Time(sec=ns // 1_000_000_000, nanosec=ns % 1_000_000_000)


def header(ns: int, frame_id: str = "camera_optical") -> Header:
    return Header(stamp=stamp(ns), frame_id=frame_id)


def image(ns: int, i: int, **changes: Any) -> Image:
    """Colour as seen i steps along the wall."""
    view = TEXTURE[:, i : i + WIDTH]
    fields = {"height": HEIGHT, "width": WIDTH, "encoding": "mono8", "step": WIDTH, "data": view.tobytes()}
    return Image(header=header(ns), **(fields | changes))


def depth(ns: int, metres: Any = WALL, **changes: Any) -> Image:
    pixels = np.full((HEIGHT, WIDTH), metres, np.float32)
    fields = {"height": HEIGHT, "width": WIDTH, "encoding": "32FC1", "step": 4 * WIDTH, "data": pixels.tobytes()}
    return Image(header=header(ns), **(fields | changes))


def info(ns: int, frame_id: str = "camera_optical", **changes: Any) -> CameraInfo:
    k = [FOCAL, 0.0, (WIDTH - 1) / 2, 0.0, FOCAL, (HEIGHT - 1) / 2, 0.0, 0.0, 1.0]
    fields = {"height": HEIGHT, "width": WIDTH, "distortion_model": "plumb_bob", "k": k}
    return CameraInfo(header=header(ns, frame_id), **(fields | changes))


def transforms(*links: tuple[int, str, str, float]) -> TFMessage:
    """TFMessage of links (ns, parent, child, x)."""
    made = []
    for ns, parent, child, x in links:
        link = TransformStamped(header=header(ns, parent), child_frame_id=child)
        link.transform.translation.x = x
        link.transform.rotation.w = 1.0
        made.append(link)
    return TFMessage(transforms=made)


class Sensors:
    """Publishers of one camera and its transforms. Topics are below the camera's name."""

    def __init__(self, robot: Robot, camera: str = "camera", prefix: str = "", depth: bool = True):
        top = f"{prefix}/{camera}"
        self.tf = robot.publisher(TFMessage, "/tf", RELIABLE)
        self.tf_static = robot.publisher(TFMessage, "/tf_static", LATCHED)
        self.color = robot.publisher(Image, f"{top}/color/image_raw")
        self.depth = robot.publisher(Image, f"{top}/depth/image_raw", wait=depth)
        self.info = robot.publisher(CameraInfo, f"{top}/color/camera_info")
        self.camera = camera
        self.stamp = 0
        self.tf_static.publish(transforms((0, f"{camera}_base", f"{camera}_optical", 0.0)))

    def processed(self, rewards: list[Any], i: int) -> Any:
        """Send frame i until it is processed: a new subscription may miss the first ones. The last one's reward."""
        sent: list[Time] = []

        def found() -> list[Any]:
            sent.append(stamp(self.send(i)))
            return [r for r in rewards if r.header.stamp in sent]

        polled(found, "a processed frame")
        return until(lambda: [r for r in rewards if r.header.stamp == sent[-1]], "the last frame")[0]

    def send(self, i: int, ns: int = 0, **parts: Any) -> int:
        """Frame i, now or at another time; parts (color, depth, info, tf) that are given replace the good ones.

        Returns:
            Its stamp, ns.
        """
        ns = ns or max(time_ns(), self.stamp + 1_000_000)
        self.stamp = ns
        good = {
            "tf": transforms((ns, "odom", f"{self.camera}_base", i * STEP)),
            "info": info(ns, f"{self.camera}_optical"),
            "depth": depth(ns),
            "color": image(ns, i),
        }
        good["depth"].header.frame_id = good["color"].header.frame_id = f"{self.camera}_optical"
        for name, msg in (good | parts).items():
            if msg is not None:
                getattr(self, name).publish(msg)
        return ns
