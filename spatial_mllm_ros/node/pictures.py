"""Debug images, drawn in a thread of their own and only where somebody looks."""

from threading import Event, Thread
from time import monotonic
from traceback import format_exc

import cv2
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CompressedImage, Image

from ..errors import BadMessage, SpatialError
from ..frames import Frame
from ..scene.pipeline import SpatialPipeline
from .convert import header
from .drawing import debug_image, followed

PERIOD = 0.1  # s between two pictures of a camera, at least
TOPIC = "~/debug_image/{}"
COMPRESSED = "/compressed"


class Pictures:
    """``~/debug_image/<camera>`` as Image, and below it ``/compressed`` as JPEG.

    Args:
        node: where publishers are made.
        pipeline: what is drawn.
    """

    def __init__(self, node: LifecycleNode, pipeline: SpatialPipeline):
        self._node, self._pipeline = node, pipeline
        self._publishers = {
            camera: (
                node.create_lifecycle_publisher(Image, TOPIC.format(camera), qos_profile_sensor_data),
                node.create_lifecycle_publisher(
                    CompressedImage, TOPIC.format(camera) + COMPRESSED, qos_profile_sensor_data
                ),
            )
            for camera in pipeline.config.cameras
        }
        self._drawn: dict[str, int] = {}  # stamps of the frames that were drawn last
        self._arrived, self._stopping = Event(), False
        self._thread = Thread(target=self._run, name="pictures")
        self._thread.start()

    def look(self) -> None:
        """A frame was processed."""
        if any(p.get_subscription_count() for publishers in self._publishers.values() for p in publishers):
            self._arrived.set()

    def close(self) -> None:
        self._stopping = True
        self._arrived.set()
        self._thread.join()
        for publishers in self._publishers.values():
            for publisher in publishers:
                self._node.destroy_lifecycle_publisher(publisher)  # pyright: ignore[reportArgumentType]

    def _run(self) -> None:
        while True:
            self._arrived.wait()
            self._arrived.clear()
            if self._stopping:
                return
            start = monotonic()
            try:
                self._draw_all()
            except Exception:
                self._node.get_logger().error(f"no debug image:\n{format_exc()}", throttle_duration_sec=10.0)
            Event().wait(max(0.0, start + PERIOD - monotonic()))

    def _draw_all(self) -> None:
        memory = self._pipeline.memory
        covered, size = memory.covered_voxels(), memory.config.coverage.voxel_size
        selected = {s.frame.key: s for s in memory.selected}
        for camera, (raw, jpeg) in self._publishers.items():
            if not raw.get_subscription_count() and not jpeg.get_subscription_count():
                continue
            try:
                frame = memory.frame_at(camera)
                if self._drawn.get(camera) == frame.stamp_ns:
                    continue
                caption = f"{len(selected)} selected, {len(covered)} voxels covered"
                targets = followed(self._pipeline, camera)
                image = debug_image(frame, covered, size, caption, frame.key in selected, targets)
            except (SpatialError, BadMessage):  # no frame of it yet, or one that cannot be drawn
                continue
            if image is not None:
                self._drawn[camera] = frame.stamp_ns
                self._publish(frame, image, raw, jpeg)

    def _publish(self, frame: Frame, image, raw, jpeg) -> None:
        top = header(frame.stamp_ns, frame.camera.frame_id)
        height, width, _ = image.shape
        if raw.get_subscription_count():
            step, data = 3 * width, image.tobytes()
            raw.publish(Image(header=top, height=height, width=width, encoding="rgb8", step=step, data=data))
        if jpeg.get_subscription_count():
            data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()
            jpeg.publish(CompressedImage(header=top, format="rgb8; jpeg compressed bgr8", data=data))
