"""Publishers of the node."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PointStamped
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import PointCloud2
from spatial_mllm_msgs.msg import CoverageStatus, MotionReward, SelectedFrames
from visualization_msgs.msg import MarkerArray

from ..errors import BadMessage
from ..frames import Frame
from ..motion.depth import lift
from ..motion.posed import posed
from ..motion.rewards import Reward
from ..scene.memory import FrameKey
from ..scene.pipeline import Processed, SpatialPipeline
from . import convert
from .markers import coverage_markers, target_markers
from .qos import OVERRIDABLE

TOPICS = (
    "~/selected_frames",
    "~/coverage",
    "~/coverage_markers",
    "~/coverage_cloud",
    "~/target_markers",
    "~/motion_reward",
    "~/answer_point",
    "/diagnostics",
)


class Outputs:
    """Publishes what the memory holds and what each frame brought.

    Args:
        node: where the publishers are made; they are silent until it is active.
        pipeline: whose memory and targets are published.
        dropped: says how many frames were dropped so far.
    """

    def __init__(self, node: LifecycleNode, pipeline: SpatialPipeline, dropped: Callable[[], int]):
        self._node, self._pipeline, self._memory, self._dropped = node, pipeline, pipeline.memory, dropped
        self._world_frame = pipeline.config.pose.world_frame
        self._age_ns: int | None = None
        self._published: list[FrameKey] = []
        selected, coverage, markers, cloud, targets, rewards, point, diagnostics = TOPICS

        def publisher(type_: type, topic: str, qos: QoSProfile | int) -> Any:
            return node.create_lifecycle_publisher(type_, topic, qos, qos_overriding_options=OVERRIDABLE)

        self.selected = publisher(SelectedFrames, selected, latched())
        self.coverage = publisher(CoverageStatus, coverage, 10)
        self.markers = publisher(MarkerArray, markers, latched())
        self.cloud = publisher(PointCloud2, cloud, latched())
        self.targets = publisher(MarkerArray, targets, 10)
        self.point = publisher(PointStamped, point, 10)
        self.rewards = publisher(MotionReward, rewards, 100)
        self.diagnostics = node.create_publisher(DiagnosticArray, diagnostics, 10, qos_overriding_options=OVERRIDABLE)

    def frame(self, processed: Processed, age_ns: int | None) -> None:
        """After each frame: rewards always, selection and coverage where they changed."""
        self._age_ns = age_ns
        for reward in processed.rewards:
            self.reward(reward)
        if processed.update.gain or processed.reset:
            self.changed()

    def reward(self, reward: Reward) -> None:
        self.rewards.publish(convert.motion_reward(reward, self._world_frame))

    def changed(self, again: bool = False) -> None:
        """Selection and coverage, as after frames got their geometry from a window."""
        self.selection(again)
        status = convert.coverage_status(self._memory.state(), self._dropped(), self._age_ns, self._world_frame)
        self.coverage.publish(status)

    def forgotten(self) -> None:
        """After memory was reset."""
        self._age_ns = None
        self.changed(again=True)

    def selection(self, again: bool = False) -> None:
        """The selected frames, if they are others than were published last, or again."""
        selected, stamp_ns = self._memory.selected, self._memory.state().stamp_ns
        keys = [s.frame.key for s in selected]
        if again or keys != self._published:
            self._published = keys
            self.selected.publish(convert.selected_frames(selected, stamp_ns, self._world_frame))

    def picture(self) -> None:
        """Markers and cloud of what is covered, and of targets, where somebody looks at them."""
        if self.targets.get_subscription_count():
            seen, series = self._pipeline.targets_seen(), self._pipeline.target_series()
            stamp_ns = self._memory.state().stamp_ns
            self.targets.publish(target_markers(seen, series, stamp_ns, self._world_frame))
        if self.cloud.get_subscription_count():
            centers, stamp_ns = self._memory.covered_voxels(), self._memory.state().stamp_ns
            self.cloud.publish(convert.cloud(centers, stamp_ns, self._world_frame))
        if self.markers.get_subscription_count():
            state, selected = self._memory.state(), self._memory.selected
            centers = self._memory.covered_voxels()
            self.markers.publish(
                coverage_markers(centers, state.voxel_size, selected, state.stamp_ns, self._world_frame)
            )

    def answered(self, frame: Frame, pixel: tuple[float, float]) -> None:
        """The place in the world behind a pixel that was the answer, where depth has a sure reading there."""
        if not self.point.get_subscription_count() or not frame.has_depth or frame.world_from_camera is None:
            return
        with suppress(BadMessage):  # its depth is broken, which says nothing of the answer
            place = lift(posed(frame), np.array([pixel]))[0]
            if np.isfinite(place).all():
                header = convert.header(frame.stamp_ns, self._world_frame)
                self.point.publish(PointStamped(header=header, point=convert.point(place)))

    def close(self) -> None:
        pictures = self.markers, self.cloud, self.targets, self.point
        for publisher in (self.selected, self.coverage, self.rewards, *pictures):
            self._node.destroy_lifecycle_publisher(publisher)
        self._node.destroy_publisher(self.diagnostics)


def latched() -> QoSProfile:
    return QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
