"""What rewards follow, frame by frame: cameras, regions, and what a model is asked about."""

import warnings
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ..assembler import JUMP_NS
from ..config import Config, MotionParams
from ..errors import ErrorCode, SpatialError, bad
from ..frames import Frame
from ..mllm.question import Answer
from ..recordings.errors import BagWarning
from .asked import SOURCE as MODEL
from .asked import AskedTargets, MotionQuestion
from .jumps import CameraJumps
from .record import Record, Series
from .rewards import CameraTarget, RegionTarget, Reward, Seen
from .target import CAMERA, MAX_LABEL, Target

if TYPE_CHECKING:
    from ..mllm.answering.engine import Engine

GEOMETRY = "geometry"
MAX_TARGETS = 16  # that are followed or wait
Follower = CameraTarget | RegionTarget
GiveUp = Callable[[Target, Exception], None]


def _fail(_target: Target, error: Exception) -> None:
    raise error


class Targets:
    """Everything that the rewards of one run follow.

    It can be written at any moment and goes on exactly where it was: this class, and those that it holds, declare what
    they remember in their bodies, for :mod:`spatial_mllm_ros.annotate.state`.

    Cameras are followed from their first frame on. A region begins in the first frame of its camera, from its stamp on,
    that has image, depth and pose (an image where the model alone is asked); its rewards begin with the next frame.

    When time jumps back in the frames of a camera, all cameras start anew, and regions, which belong to the past, are
    given up, as are those that were lost for too long or failed. Until it is set again or removed, what was given up
    has a reward that is not valid for every frame of its camera. When the poses of a camera jump, which no motion
    explains, its rewards start anew there; what a model was asked about a region ends.

    Args:
        config: ``cameras`` and the group ``motion``.
        targets: begin by themselves; ``camera`` among them says what the motion of cameras leads to, and from when on.
        own: cameras whose own motion is followed; empty means the one of ``camera``. Of several the labels are
            ``camera NAME``.

    Attributes:
        asked: those that a model is asked about.

    Raises:
        SpatialError: BAD_REQUEST for a target that cannot be followed whatever the frames show.
    """

    asked: AskedTargets
    _params: MotionParams
    _cameras: list[str]
    _measures: bool
    _record: Record
    _own: list[Target]
    _waiting: list[Target]
    _followers: dict[str, Follower]
    _newest: dict[str, int]
    _jumps: dict[str, CameraJumps]
    _jumped_ns: dict[str, int]  # when a camera jumped last

    def __init__(self, config: Config, targets: Collection[Target] = (), own: Collection[str] = ()):
        self._params, self._cameras = config.motion, config.cameras
        self._measures = config.motion.source != "mllm"
        self._record = Record()
        self._start([])
        wanted = {t.label: self.checked(t) for t in (Target(CAMERA), *targets)}
        camera = wanted.pop(CAMERA)
        own = own or [camera.camera]
        names = [CAMERA] if len(own) == 1 else [f"{CAMERA} {name}" for name in own]
        self._own = [replace(camera, label=label, camera=name) for label, name in zip(names, own, strict=True)]
        given = [t.label for t in targets]
        if len(set(given)) < len(given) or len(given) > MAX_TARGETS or not wanted.keys().isdisjoint(names):
            raise bad(f"{len(targets)} targets: expected at most {MAX_TARGETS}, each with its own label")
        self._start([*self._own, *wanted.values()])

    def _start(self, waiting: list[Target]) -> None:
        """Nothing has been seen yet, and these are to begin."""
        self._waiting = waiting
        self._followers = {}
        self._newest = {}
        self._jumps = {name: CameraJumps(self._params) for name in self._cameras}
        self._jumped_ns = {}
        self.asked = AskedTargets(self._params)

    def checked(self, target: Target) -> Target:
        """The target with the name of its camera.

        Raises:
            SpatialError: BAD_REQUEST where it cannot be followed whatever the frames show, or there are too many.
        """
        target = target.checked(self._cameras, self._measures)
        if target.label not in self.labels and len(self.labels) >= MAX_TARGETS:
            raise bad(f"target '{target.label}': {MAX_TARGETS} are followed already; remove or replace one")
        return target

    @property
    def labels(self) -> list[str]:
        """Of all that is followed or waits for its first frame."""
        return list(dict.fromkeys([*(t.label for t in self._waiting), *self._followers, *self.asked.labels]))

    @property
    def waiting(self) -> list[Target]:
        """Those that have not begun."""
        return list(self._waiting)

    @property
    def series(self) -> list[Series]:
        """How each target does by each source of rewards, those that were given up and those that wait among them."""
        sources = {GEOMETRY: self._measures, MODEL: self._params.source != GEOMETRY}
        waiting = [
            Series(target, source)
            for target in self._waiting
            for source, wanted in sources.items()
            if wanted and (source == GEOMETRY or target.goal is None)
        ]
        return [*(replace(s) for s in self._record.series), *waiting]

    @property
    def seen(self) -> dict[str, Seen]:
        """Where those are that are followed by geometry, by label."""
        return {label: follower.seen for label, follower in self._followers.items()}

    def news(self) -> list[str]:
        """What an operator should know of the frames since the last call: what was given up, and jumps."""
        return self._record.news()

    def warn(self) -> None:
        """The same as warnings about a recording."""
        for line in self.news():
            warnings.warn(line, BagWarning, stacklevel=2)

    def newest(self, camera: str) -> int:
        """Stamp of the newest frame of a camera, nanoseconds; 0 before there is one."""
        return self._newest.get(camera, 0)

    def jumped(self, frame: Frame) -> bool:
        """Whether time jumps back with this frame."""
        return frame.stamp_ns < self.newest(frame.camera.name) - JUMP_NS

    def time_jumped(self, stamp_ns: int) -> None:
        """Time has jumped back to this stamp: cameras start anew, led where they were led; regions are given up."""
        live = self._record.live
        cameras = {s.target.label: s.target for s in live if s.target.roi is None}
        for series in live:
            if series.target.roi is not None:
                self._end(series.target.label, series.source, stamp_ns, "time jumped back")
            else:
                self._record.forget(series.target.label, series.source)
        self._start([*cameras.values(), *(t for t in self._waiting if t.label not in cameras)])

    def reset(self) -> None:
        """As at the beginning, but for regions that wait: cameras start anew, all else is forgotten."""
        own = [t.label for t in self._own]
        self._record = Record()
        self._start([*self._own, *(t for t in self._waiting if t.label not in own)])

    def remove(self, label: str) -> None:
        """Follow a target no more, or forget that it was given up.

        Raises:
            SpatialError: BAD_REQUEST where there is none of this label.
        """
        known = dict.fromkeys([*self.labels, *(s.target.label for s in self._record.series)])
        if label not in known:
            raise bad(f"no target '{label[:MAX_LABEL]}'; there are {', '.join(known) or 'none'}")
        self._waiting = [t for t in self._waiting if t.label != label]
        self._followers.pop(label, None)
        self.asked.remove(label)
        for source in (GEOMETRY, MODEL):
            self._record.forget(label, source)

    def update(self, frame: Frame, give_up: GiveUp = _fail) -> list[Reward]:
        """Rewards of the next frame: those of the targets in its camera.

        Args:
            give_up: called with a target that fails and why, which is not followed any more unless this raises.
        Raises:
            BadMessage: a region looks at the frame's pixels and they are broken; it leaves no trace.
            SpatialError: a region is to begin in this frame, but there is nothing to follow in it.
        """
        self.decode(frame)
        if self.jumped(frame):
            self.time_jumped(frame.stamp_ns)
        name = frame.camera.name
        self._newest[name] = max(self.newest(name), frame.stamp_ns)
        if jump := self._jumps[name].look(frame):
            self._camera_jumped(frame, jump)
        rewards = self._record.given_up(name, frame.stamp_ns)
        beginning = self._beginning(frame)
        for target in [t for t in beginning if t.roi is None]:
            self.begin(target, frame, give_up)
        for target in self._measured(name):
            rewards.append(self._reward(target, frame, bool(jump), give_up))
        for target in [t for t in beginning if t.roi is not None]:
            self.begin(target, frame, give_up)
        return rewards

    def judge(self, frame: Frame, engine: "Engine") -> list[Reward]:
        """Rewards of that frame by a model, for the targets that are due; :meth:`update` comes first.

        Raises:
            BadMessage: the frame's image is broken; it leaves no trace.
            SpatialError: the model fails.
        """
        least = engine.calibration.motion_confidence
        if least is None or not self.asked.wants(frame):
            return []
        _ = frame.image
        self.asked.look(frame)
        rewards = []
        while asked := self.asked.next():
            answer = engine.ask([f.image for f in asked.frames if f.image is not None], asked.question)
            rewards += [reward] if (reward := self.answered(asked, answer, least)) else []
        return rewards

    def answered(self, asked: MotionQuestion, answer: Answer, least: float) -> Reward | None:
        """The reward of an answer that needs a confidence of ``least``; None where its target is gone meanwhile."""
        reward = self.asked.add(asked, answer, least)
        if reward is not None:
            self._record.add(reward)
        return reward

    def begin(self, target: Target, frame: Frame, give_up: GiveUp = _fail) -> None:
        """Follow a checked target from this frame on; for ``give_up`` and what it raises see :meth:`update`."""
        try:
            self.set(target, None if target.roi is None else frame, self.follower(target, frame))
        except Exception as error:
            give_up(target, error)
            self._waiting = [t for t in self._waiting if t is not target]

    def follower(self, target: Target, frame: Frame) -> Follower | None:
        """What measures a checked target from a frame on; None where the model alone is asked.

        Raises:
            SpatialError: BAD_REQUEST for a region outside the image, NO_GEOMETRY where there is nothing to follow.
        """
        if not self._measures:
            return None
        goal = None if target.goal is None else np.array(target.goal, np.float64)
        if target.roi is None:
            return CameraTarget(target.label, goal, self._params)
        return RegionTarget(target.label, frame, target.roi, goal, self._params)

    def set(self, target: Target, frame: Frame | None, follower: Follower | None) -> None:
        """Follow a checked target; its label may be known, and is replaced then.

        Args:
            frame: the reference for the model; None: the next that has an image.
            follower: of :meth:`follower`.
        Raises:
            SpatialError: nothing has changed then; the model alone is asked, and the frame has no image for it.
        """
        label, reference_ns = target.label, frame.stamp_ns if frame is not None else 0
        passed = 0 < reference_ns < self._jumped_ns.get(target.camera, 0)  # the model cannot look across a jump
        if passed and target.roi is not None and not self._measures:
            text = f"camera '{target.camera}' has jumped since {reference_ns / 1e9:.3f} s: choose a later frame"
            raise SpatialError(ErrorCode.NO_FRAMES, text)
        unasked = target.goal is not None or (passed and target.roi is not None)
        self.asked.set(label, target.camera, None if passed else frame, target.roi, unasked)
        self._waiting = [t for t in self._waiting if t.label != label]
        followed = {GEOMETRY: follower is not None, MODEL: label in self.asked.labels}
        if follower is not None:
            self._followers[label] = follower
        for source, wanted in followed.items():
            if wanted:
                self._record.begin(target, source, reference_ns)
            else:
                self._record.forget(label, source)

    def needs_image(self, frame: Frame) -> bool:
        """Whether a region or the model will look at this frame."""
        asks = self._params.source != GEOMETRY
        begins = any(asks or t.roi is not None for t in self._beginning(frame))
        return begins or self.needs_depth(frame) or self.asked.wants(frame)

    def needs_depth(self, frame: Frame) -> bool:
        """Whether a region will be measured in this frame."""
        here = [*self._measured(frame.camera.name), *self._beginning(frame)]
        return self._measures and any(t.roi is not None for t in here)

    def decode(self, frame: Frame) -> None:
        """Decode what regions will look at. Raises BadMessage where it is broken."""
        if self.needs_depth(frame):
            _ = frame.gray, frame.depth
        elif any(t.roi is not None for t in self._beginning(frame)):
            _ = frame.image

    def finish(self) -> None:
        """Raises SpatialError NO_FRAMES where a region never began."""
        for target in self._waiting:
            if target.roi is not None:
                needed = "depth and pose" if self._measures else "an image"
                moment = f" from {target.stamp_ns / 1e9:.3f} s on" if target.stamp_ns else ""
                text = f"target '{target.label}': camera '{target.camera}' has no frame with {needed}{moment}"
                raise SpatialError(ErrorCode.NO_FRAMES, text)

    def _beginning(self, frame: Frame) -> list[Target]:
        return [target for target in self._waiting if target.begins(frame, self._measures)]

    def _measured(self, camera: str) -> list[Target]:
        """Those in a camera that are followed by geometry."""
        followed = [self._record.target(label, GEOMETRY) for label in self._followers]
        return [target for target in followed if target.camera == camera]

    def _reward(self, target: Target, frame: Frame, told: bool, give_up: GiveUp) -> Reward:
        """The next reward by geometry; ``told``: that the camera jumps with this frame."""
        follower = self._followers[target.label]
        try:
            reward = follower.update(frame)
        except Exception as error:
            give_up(target, error)
            return self._end(target.label, GEOMETRY, frame.stamp_ns, "it failed")
        self._record.add(reward, told)
        if isinstance(follower, RegionTarget) and follower.lost:
            self._end(target.label, GEOMETRY, frame.stamp_ns, follower.lost)
        return reward

    def _end(self, label: str, source: str, stamp_ns: int, reason: str) -> Reward:
        """Give up a target that is measured, or that a model is asked about; its reward in this frame."""
        if source == GEOMETRY:
            self._followers.pop(label, None)
        else:
            self.asked.remove(label)
        return self._record.give_up(label, source, stamp_ns, reason)

    def _camera_jumped(self, frame: Frame, jump: str) -> None:
        """Rewards start anew, and what a model was asked about regions ends."""
        name, stamp_ns = frame.camera.name, frame.stamp_ns
        self._jumped_ns[name] = stamp_ns
        for label in self.asked.jumped(name):
            self._end(label, MODEL, stamp_ns, jump)
        self._record.camera_jumped(name, stamp_ns, jump)
