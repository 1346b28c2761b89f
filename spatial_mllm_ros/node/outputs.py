"""Publishers of the node."""

from collections.abc import Callable

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile
from spatial_mllm_msgs.msg import CoverageStatus, MotionReward, SelectedFrames
from visualization_msgs.msg import MarkerArray

from ..motion.rewards import Reward
from ..scene.memory import FrameKey, FrameMemory
from ..scene.pipeline import Processed
from . import convert
from .markers import coverage_markers


class Outputs:
    """Publishes what the memory holds and what each frame brought.

    Args:
        node: where the publishers are made; they are silent until it is active.
        memory: what is published.
        dropped: says how many frames were dropped so far.
    """

    def __init__(self, node: LifecycleNode, memory: FrameMemory, dropped: Callable[[], int]):
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._node, self._memory, self._dropped = node, memory, dropped
        self._world_frame = memory.config.pose.world_frame
        self._age_ns: int | None = None
        self._published: list[FrameKey] = []
        self.selected = node.create_lifecycle_publisher(SelectedFrames, "~/selected_frames", latched)
        self.coverage = node.create_lifecycle_publisher(CoverageStatus, "~/coverage", 10)
        self.markers = node.create_lifecycle_publisher(MarkerArray, "~/coverage_markers", latched)
        self.rewards = node.create_lifecycle_publisher(MotionReward, "~/motion_reward", 100)
        self.diagnostics = node.create_publisher(DiagnosticArray, "/diagnostics", 10)

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
        """Markers, where somebody looks at them."""
        if self.markers.get_subscription_count():
            state, selected = self._memory.state(), self._memory.selected
            centers = self._memory.covered_voxels()
            self.markers.publish(
                coverage_markers(centers, state.voxel_size, selected, state.stamp_ns, self._world_frame)
            )

    def close(self) -> None:
        for publisher in (self.selected, self.coverage, self.markers, self.rewards):
            self._node.destroy_lifecycle_publisher(publisher)  # pyright: ignore[reportArgumentType]
        self._node.destroy_publisher(self.diagnostics)
