"""The messages of a simulated recording."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..frames import Camera
from ..geometry.poses import quaternion_xyzw
from ..recordings.types import typestore
from .materials import NAMED_COLORS
from .room import BASE_FRAME, WORLD_FRAME, SimObject


class Messages:
    """Builds messages of ROS 2 Jazzy for a bag; stamps in nanoseconds, transforms as parent_from_child [4, 4]."""

    def __init__(self):
        self.types = typestore().types

    def header(self, stamp: int, frame_id: str) -> Any:
        time = self.types["builtin_interfaces/msg/Time"](stamp // 1_000_000_000, stamp % 1_000_000_000)
        return self.types["std_msgs/msg/Header"](time, frame_id)

    def _vector(self, values: NDArray) -> Any:
        return self.types["geometry_msgs/msg/Vector3"](*map(float, values))

    def _quaternion(self, matrix: NDArray) -> Any:
        return self.types["geometry_msgs/msg/Quaternion"](*map(float, quaternion_xyzw(matrix)))

    def _pose(self, matrix: NDArray) -> Any:
        point = self.types["geometry_msgs/msg/Point"](*map(float, matrix[:3, 3]))
        return self.types["geometry_msgs/msg/Pose"](point, self._quaternion(matrix))

    def transforms(self, stamp: int, edges: list[tuple[str, str, NDArray]]) -> Any:
        """(parent, child, parent_from_child) as TFMessage."""
        stamped: list[Any] = [
            self.types["geometry_msgs/msg/TransformStamped"](
                self.header(stamp, parent),
                child,
                self.types["geometry_msgs/msg/Transform"](self._vector(matrix[:3, 3]), self._quaternion(matrix)),
            )
            for parent, child, matrix in edges
        ]
        return self.types["tf2_msgs/msg/TFMessage"](stamped)

    def odometry(self, stamp: int, world_from_base: NDArray) -> Any:
        zero = np.zeros(36)
        still = self.types["geometry_msgs/msg/Twist"](self._vector(np.zeros(3)), self._vector(np.zeros(3)))
        return self.types["nav_msgs/msg/Odometry"](
            self.header(stamp, WORLD_FRAME),
            BASE_FRAME,
            self.types["geometry_msgs/msg/PoseWithCovariance"](self._pose(world_from_base), zero),
            self.types["geometry_msgs/msg/TwistWithCovariance"](still, zero),
        )

    def pose(self, stamp: int, matrix: NDArray) -> Any:
        return self.types["geometry_msgs/msg/PoseStamped"](self.header(stamp, WORLD_FRAME), self._pose(matrix))

    def camera_info(self, stamp: int, camera: Camera) -> Any:
        k = camera.intrinsics
        roi = self.types["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False)
        return self.types["sensor_msgs/msg/CameraInfo"](
            self.header(stamp, camera.frame_id), camera.height, camera.width, "plumb_bob",
            np.zeros(5), k.ravel(), np.eye(3).ravel(), np.hstack([k, np.zeros((3, 1))]).ravel(), 0, 0, roi,
        )  # fmt: skip

    def image(self, stamp: int, camera: Camera, data: bytes, form: str) -> Any:
        return self.types["sensor_msgs/msg/CompressedImage"](
            self.header(stamp, camera.frame_id), form, np.frombuffer(data, np.uint8)
        )

    def markers(self, stamp: int, objects: list[SimObject]) -> Any:
        """One translucent box each, at rest."""
        return self.types["visualization_msgs/msg/MarkerArray"]([self._box(stamp, thing) for thing in objects])

    def _box(self, stamp: int, thing: SimObject) -> Any:
        marker: Any = self.types["visualization_msgs/msg/Marker"]
        color = self.types["std_msgs/msg/ColorRGBA"](*NAMED_COLORS.get(thing.color, (0.6, 0.6, 0.6)), 0.4)
        nothing = np.zeros(0, np.uint8)
        return marker(
            header=self.header(stamp, WORLD_FRAME),
            ns=thing.name,
            id=0,
            type=marker.CUBE,
            action=marker.ADD,
            pose=self._pose(thing.world_from_rest),
            scale=self._vector(thing.size),
            color=color,
            lifetime=self.types["builtin_interfaces/msg/Duration"](0, 0),
            frame_locked=False,
            points=[],
            colors=[],
            texture_resource="",
            texture=self.types["sensor_msgs/msg/CompressedImage"](self.header(0, ""), "", nothing),
            uv_coordinates=[],
            text=f"{thing.color} {thing.label}".strip(),
            mesh_resource="",
            mesh_file=self.types["visualization_msgs/msg/MeshFile"]("", nothing),
            mesh_use_embedded_materials=False,
        )
