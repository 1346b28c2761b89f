"""SpatialPipeline: frames in, coverage and rewards out. The node is thin around it."""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from threading import Lock
from time import monotonic

from ..config import Config
from ..coverage import Update
from ..errors import BadMessage, ErrorCode, SpatialError, bad, no_geometry
from ..evenly import evenly
from ..frames import Frame
from ..geometry.self_check import SelfCheck, Verdict
from ..geometry.window import WindowGeometry
from ..mapping.anchors import Refused
from ..mapping.window_map import WindowMap
from ..mapping.windows import FrameWindows
from ..mllm.question import Answer
from ..motion.asked import MotionQuestion
from ..motion.camera import CameraMotion, camera_motion
from ..motion.measure import PointMotion, measure_point
from ..motion.record import Series
from ..motion.rewards import CameraTarget, RegionTarget, Reward, Seen
from ..motion.targets import CAMERA, Follower, Target, Targets
from .memory import FrameKey, FrameMemory

POINT = "point"
MOST_MEASURED = 200  # frames that a point is followed through; of more, evenly spread ones are taken
WAITING = 0.125  # of memory.megabytes, beside it, for frames that wait for a window; as much is with the model
CATCH_UP = 5.0  # s of work for a target that starts in the past
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Processed:
    """What one frame brought.

    Attributes:
        update: what the sampler did with it.
        rewards: one for every target that its camera shows.
        reset: time had jumped back, so memory was cleared before.
        news: what an operator should know: targets that were given up, jumps, and depth and poses that disagree.
    """

    update: Update
    rewards: list[Reward]
    reset: bool
    news: Sequence[str] = ()


@dataclass(frozen=True)
class WindowResult:
    """What became of a window of frames.

    Attributes:
        accepted: its frames are in the map and compete for selection.
        reason: why not, or how far the map had drifted; else empty.
        residual: how far it disagreed with the map and the known poses, of depth.
    """

    accepted: bool
    reason: str = ""
    residual: float = 0.0


class SpatialPipeline:
    """Memory and reward targets behind one door. Thread safe: one thread processes, one adds windows, others ask.

    Where a model is configured and ``coverage.source`` is vggt, or auto and a frame has no depth, windows of such
    frames wait in :meth:`next_window`; whoever runs the model brings their geometry to :meth:`add_window`. Where
    ``motion.source`` is mllm or both, it is asked :meth:`next_motion` and its answers go to :meth:`add_motion`.

    Attributes:
        windows: how many windows were ``accepted``, ``accepted after drift`` (the map was put right), and how many
            refused, by kind of reason.

    The target ``camera`` follows the first camera from the first frame on; others are set by :meth:`set_target`. Where
    time jumps back memory is forgotten; what becomes of targets then and at jumps of poses, see :class:`Targets`.
    """

    def __init__(self, config: Config):
        self.config = config
        self.memory = FrameMemory(config)
        self.windows: Counter[str] = Counter()
        self._waiting = FrameWindows(config.vggt, WAITING * config.memory.megabytes * 1e6 / len(config.cameras))
        self._map = WindowMap(config)
        self._lock = Lock()
        self._epoch = 0
        self._targets = Targets(config)
        self.reset()

    def reset(self) -> None:
        """Forget all frames and targets; the camera target starts anew with the next frame."""
        with self._lock:
            self._forget(count=True)
            self._targets.reset()

    def _forget(self, count: bool) -> None:
        """Forget all frames; ``count``: also how many were seen."""
        self.memory.clear(count)
        self._waiting.reset()
        self._map.reset()
        self._given_out: dict[str, list[FrameKey]] = {}
        self._checks = {name: SelfCheck() for name in self.config.cameras}
        self._epoch += 1

    def process(self, frame: Frame) -> Processed:
        """Take one frame; frames of one camera come in order of time.

        Raises:
            BadMessage: its pixels turn out to be broken; it leaves no trace.
        """
        with self._lock:
            self._targets.decode(frame)  # broken bytes are found before anything has changed
            if jumped := self._targets.jumped(frame):
                self._forget(count=False)
                self._targets.time_jumped(frame.stamp_ns)
        self._map.world_known |= frame.world_from_camera is not None
        if self._wants_window(frame):
            self._waiting.offer(frame)
        update = self.memory.add(frame)
        with self._lock:
            rewards = self._targets.update(frame, _give_up)
            self._targets.asked.look(frame)
            news = [*self._check(frame), *self._targets.news()]
        frame.release()
        return Processed(update, rewards, jumped, news)

    @property
    def verdicts(self) -> dict[str, Verdict]:
        """By camera, whether depth and poses of its latest frames agree."""
        return {name: check.verdict for name, check in self._checks.items()}

    def _check(self, frame: Frame) -> Iterator[str]:
        """What is new about how depth and poses agree, where they do not."""
        check = self._checks[frame.camera.name]
        before = check.verdict
        with suppress(BadMessage):  # where depth is not used
            check.look(frame)
        if check.verdict.wrong and (check.verdict.cause, True) != (before.cause, before.wrong):
            yield check.verdict.about(frame.camera.name)

    def _wants_window(self, frame: Frame) -> bool:
        source = self.config.coverage.source
        return bool(self.config.geometry_model) and (source == "vggt" or (source == "auto" and not frame.has_depth))

    def next_window(self) -> list[Frame] | None:
        """Frames of one camera to be seen by a model together, in order of time; None while there are too few.

        At most one window of a camera is out: asking again gives the last one up.
        """
        with self._lock:
            frames = self._waiting.next()
            if frames:
                self._given_out[frames[0].camera.name] = [frame.key for frame in frames]
            return frames

    def add_window(self, frames: Sequence[Frame], geometry: WindowGeometry | None) -> WindowResult:
        """What a model made of the frames of :meth:`next_window`; None where it failed.

        A refused window costs its frames their place in the map, not in memory. The next window is tried against the
        frames of the last good one; after three in a row that were not believed the map starts anew.
        """
        camera = frames[0].camera.name
        for frame in frames:
            frame.release()
        with self._lock:
            if self._given_out.pop(camera, None) != [frame.key for frame in frames]:
                return self._refused("not waited for", "memory was reset meanwhile, or a later window was asked for")
            epoch, cleared = self._epoch, self.memory.cleared
        try:
            outcome = self._map.add(frames, geometry)
        except Refused as refused:
            outcome = refused
        with self._lock:
            if epoch != self._epoch:
                return self._refused("not waited for", "memory was reset meanwhile")
            self._waiting.share(camera, self._map.shared(camera, self.memory.placed(camera)))
            if isinstance(outcome, Refused):
                return self._refused(outcome.kind, str(outcome))
            drifted = outcome.residual > self.config.vggt.max_residual
            self.windows["accepted after drift" if drifted else "accepted"] += 1
        self.memory.add_geometry(outcome, cleared)
        reason = f"a place seen before was off by {outcome.residual:.1%} of depth" if drifted else ""
        return WindowResult(True, reason, outcome.residual)

    def _refused(self, kind: str, reason: str) -> WindowResult:
        self.windows[kind] += 1
        return WindowResult(False, reason)

    def next_motion(self) -> MotionQuestion | None:
        """What to ask the model now about the motion of a target; None: nothing yet."""
        with self._lock:
            return self._targets.asked.next()

    def add_motion(self, asked: MotionQuestion, answer: Answer, least: float) -> Reward | None:
        """The reward of an answer that needs a confidence of ``least``; None where its target is gone meanwhile."""
        with self._lock:
            return self._targets.answered(asked, answer, least)

    @property
    def epoch(self) -> int:
        """Changes whenever memory is forgotten; stamps may come again then, of other frames."""
        return self._epoch

    def target_series(self) -> list[Series]:
        """How each target does by each source of rewards; copies."""
        with self._lock:
            return self._targets.series

    def targets_seen(self) -> dict[str, Seen]:
        """Where targets are that are followed by geometry, by label."""
        with self._lock:
            return self._targets.seen

    def remove_target(self, label: str) -> None:
        """Follow a target no more, or forget that it was given up; BAD_REQUEST where there is none of this label."""
        with self._lock:
            self._targets.remove(label)

    def set_target(self, target: Target) -> int:
        """Follow a camera, or what moves in a region of its image, from a moment on; a known label is replaced.

        Returns:
            Number of points tracked, 0 for ``camera``, and where the model alone is asked.
        Raises:
            SpatialError: BAD_REQUEST, NO_FRAMES (also where memory was reset meanwhile), NO_GEOMETRY where the region
                has no trackable points with depth, or TIMEOUT where following it from a past stamp takes too long.
        """
        target = self._targets.checked(target)
        epoch = self._epoch
        frame = self.memory.frame_at(target.camera, target.stamp_ns)
        follower = self._targets.follower(target, frame)
        if follower is not None:
            self._catch_up(target, follower, frame)
        with self._lock:
            if epoch != self._epoch:
                raise SpatialError(ErrorCode.NO_FRAMES, "memory was reset meanwhile: set the target again")
            target = replace(target, stamp_ns=0)  # a camera begins again, after a jump back, with the first frame
            self._targets.set(target, frame, follower)
        return follower.tracked_points if isinstance(follower, RegionTarget) else 0

    def _catch_up(self, target: Target, follower: Follower, frame: Frame) -> None:
        """Let what begins in a frame of the past follow all frames since."""
        if isinstance(follower, CameraTarget):
            follower.update(frame)
        deadline, last = monotonic() + CATCH_UP, frame.stamp_ns
        for most in (None, 10, 2):  # all that came since, then some of what comes meanwhile
            missed = _spread(self.memory.recent(target.camera, last, self._targets.newest(target.camera)), most)
            for late in missed:
                if monotonic() > deadline:
                    past = (self._targets.newest(target.camera) - frame.stamp_ns) / 1e9
                    text = f"following '{target.label}' from {past:.1f} s ago takes too long: choose a later stamp"
                    raise SpatialError(ErrorCode.TIMEOUT, text)
                follower.update(late)
                late.release()
                last = late.stamp_ns

    def measure_motion(
        self, target: str, camera: str = "", from_ns: int = 0, to_ns: int = 0, pixel: tuple[float, float] = (0.0, 0.0)
    ) -> tuple[int, int, CameraMotion | PointMotion]:
        """How a camera, or the point behind a pixel, moved between two moments.

        Args:
            target: ``camera`` or ``point``.
            camera: empty means the first camera.
            from_ns, to_ns: 0 means the oldest recent frame, and the latest.
            pixel: (u, v) in the image at ``from_ns``, for a point.
        Returns:
            Stamps of the two frames really used, nanoseconds, and the motion.
        Raises:
            SpatialError: BAD_REQUEST, NO_FRAMES, or NO_GEOMETRY where depth, pose or the track is missing.
        """
        if target not in (CAMERA, POINT):
            raise bad(f"target '{target[:64]}': expected '{CAMERA}' or '{POINT}'")
        camera = camera or self.config.cameras[0]
        if not from_ns and (oldest := self.memory.recent(camera)):
            from_ns = oldest[0].stamp_ns
        first, last = self.memory.frame_at(camera, from_ns), self.memory.frame_at(camera, to_ns)
        if first.stamp_ns > last.stamp_ns:
            raise bad("from_stamp is after to_stamp")
        if target == CAMERA:
            if first.world_from_camera is None or last.world_from_camera is None:
                raise no_geometry(f"the pose of camera '{camera}' is not known at that time")
            motion = camera_motion(first.world_from_camera, last.world_from_camera)
            return first.stamp_ns, last.stamp_ns, motion
        frames = _spread([first, *self.memory.recent(camera, first.stamp_ns, last.stamp_ns)], MOST_MEASURED)
        try:
            point = measure_point(frames, pixel, self.config.motion)
            return point.from_ns, point.to_ns, point
        finally:
            for frame in frames:
                frame.release()


def _give_up(target: Target, error: Exception) -> None:
    log.error("target '%s' failed and is not followed any more", target.label, exc_info=error)


def _spread(frames: list[Frame], most: int | None) -> list[Frame]:
    """At most so many of the frames, evenly spread, first and last among them."""
    return frames if most is None else [frames[i] for i in evenly(len(frames), most)]
