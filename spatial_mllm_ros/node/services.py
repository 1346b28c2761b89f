"""Services: check, ask the pipeline, answer with an error code and never with a traceback."""

from collections.abc import Callable
from math import degrees
from threading import BoundedSemaphore
from typing import Any

from rclpy.callback_groups import CallbackGroup
from rclpy.lifecycle import LifecycleNode
from spatial_mllm_msgs.srv import ListRewardTargets, MeasureMotion, RemoveRewardTarget, SetRewardTarget
from std_srvs.srv import Trigger

from ..errors import ErrorCode, SpatialError, bad
from ..motion.camera import CameraMotion
from ..motion.targets import CAMERA, Target
from ..scene.pipeline import SpatialPipeline
from .convert import reward_target, time, vector
from .requests import WAITING, answered, the_camera, time_ns

AT_ONCE = 4  # requests in work; more are answered BUSY


class Services:
    """What callers can ask the node, but for questions to the model.

    Args:
        node: where services are made.
        pipeline: answers.
        reset: forgets everything.
        group: callback group of the services; not that of anything an image waits for.
    """

    def __init__(self, node: LifecycleNode, pipeline: SpatialPipeline, reset: Callable[[], None], group: CallbackGroup):
        self._node, self._pipeline, self._reset = node, pipeline, reset
        self._cameras = pipeline.config.cameras
        self._free = BoundedSemaphore(AT_ONCE)
        self._services = [
            node.create_service(type_, name, self._guarded(handler), qos_profile=WAITING, callback_group=group)
            for type_, name, handler in (
                (MeasureMotion, "~/measure_motion", self._measure),
                (SetRewardTarget, "~/set_reward_target", self._set_target),
                (ListRewardTargets, "~/list_reward_targets", self._list_targets),
                (RemoveRewardTarget, "~/remove_reward_target", self._remove_target),
                (Trigger, "~/reset_memory", self._reset_memory),
            )
        ]

    def close(self) -> None:
        for service in self._services:
            self._node.destroy_service(service)

    def _guarded(self, handler: Callable[[Any, Any], None]) -> Callable[[Any, Any], Any]:
        """A handler that only fills in the response becomes a callback that always answers."""

        def callback(request: Any, response: Any) -> Any:
            with answered(response, self._node, "request"):
                if not self._free.acquire(blocking=False):
                    raise SpatialError(ErrorCode.BUSY, f"{AT_ONCE} requests are in work; ask again later")
                try:
                    handler(request, response)
                finally:
                    self._free.release()
            return response

        return callback

    def _measure(self, request: Any, response: Any) -> None:
        camera = the_camera(request.camera, self._cameras)
        times = time_ns("from_stamp", request.from_stamp), time_ns("to_stamp", request.to_stamp)
        start, end, motion = self._pipeline.measure_motion(request.target, camera, *times, (request.u, request.v))
        response.from_stamp, response.to_stamp = time(start), time(end)
        response.distance = float(motion.distance)
        response.displacement = vector(motion.displacement)
        response.displacement_camera = vector(motion.displacement_camera)
        if isinstance(motion, CameraMotion):
            response.rotation_deg, response.confidence = degrees(motion.rotation), 1.0
        else:
            response.confidence = float(motion.confidence)

    def _set_target(self, request: Any, response: Any) -> None:
        camera = the_camera(request.camera, self._cameras)
        stamp_ns = time_ns("stamp", request.stamp)
        goal = (request.goal.x, request.goal.y, request.goal.z) if request.has_goal else None
        roi = None if request.label == CAMERA else self._region(request.roi, camera, stamp_ns)
        response.tracked_points = self._pipeline.set_target(Target(request.label, camera, roi, stamp_ns, goal))

    def _list_targets(self, _request: Any, response: Any) -> None:
        response.targets = [reward_target(series) for series in self._pipeline.target_series()]

    def _remove_target(self, request: Any, response: Any) -> None:
        self._pipeline.remove_target(request.label)

    def _region(self, roi: Any, camera: str, stamp_ns: int) -> tuple[int, int, int, int]:
        """x, y, width, height; a region of no size is the whole image."""
        image = self._pipeline.memory.frame_at(camera, stamp_ns).camera
        if not roi.width and not roi.height:
            return 0, 0, image.width, image.height
        if roi.x_offset + roi.width > image.width or roi.y_offset + roi.height > image.height:
            region = f"{roi.width}x{roi.height} at ({roi.x_offset}, {roi.y_offset})"
            raise bad(f"roi {region} leaves the image of {image.width}x{image.height} pixels")
        return roi.x_offset, roi.y_offset, roi.width, roi.height

    def _reset_memory(self, _request: Any, response: Any) -> None:
        self._reset()
        response.success, response.message = True, "memory, reward targets and counts were cleared"
