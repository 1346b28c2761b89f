"""What rewards follow, frame by frame: cameras, regions, and what a model is asked about."""

import warnings
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ..assembler import JUMP_NS
from ..config import Config
from ..errors import ErrorCode, SpatialError, bad
from ..frames import Frame
from ..recordings.errors import BagWarning
from .asked import AskedTargets
from .body import Region
from .rewards import CameraTarget, RegionTarget, Reward

if TYPE_CHECKING:
    from ..mllm.answering.engine import Engine

CAMERA = "camera"
MAX_TARGETS = 16
MAX_LABEL = 64
Follower = CameraTarget | RegionTarget


@dataclass(frozen=True)
class Target:
    """What rewards follow.

    Attributes:
        label: name in the rewards; ``camera`` is the camera itself.
        camera: which one, or whose image the region is in; empty means the first.
        roi: x, y, width, height in pixels; not used for ``camera``.
        stamp_ns: moment of the reference, 0 for any: the node takes the frame nearest to it, or the latest; in a
            recording it is the first frame from there on that has what it takes.
        goal: x, y, z in metres, world frame, to reward approach; None rewards distance.
    """

    label: str
    camera: str = ""
    roi: Region | None = None
    stamp_ns: int = 0
    goal: tuple[float, float, float] | None = None


GiveUp = Callable[[Target, Exception], None]


def _fail(_target: Target, error: Exception) -> None:
    raise error


class Targets:
    """Everything that the rewards of one run follow. Can be pickled at any moment and goes on exactly where it was.

    Cameras are followed from their first frame on. A region begins in the first frame of its camera, from its stamp on,
    that has image, depth and pose (an image where the model alone is asked); its rewards begin with the next frame.
    When time jumps back in the frames of a camera, all cameras start anew, and regions, which belong to the past, end.

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

    def __init__(self, config: Config, targets: Collection[Target] = (), own: Collection[str] = ()):
        self._params, self._cameras = config.motion, config.cameras
        self._measures = config.motion.source != "mllm"
        self._followed: dict[str, tuple[Target, Follower]] = {}
        self._waiting: list[Target] = []
        self._newest: dict[str, int] = {}
        self.asked = AskedTargets(self._params)
        wanted = {t.label: self.checked(t) for t in (Target(CAMERA), *targets)}
        camera = wanted.pop(CAMERA)
        own = own or [camera.camera]
        names = [CAMERA] if len(own) == 1 else [f"{CAMERA} {name}" for name in own]
        self._own = [replace(camera, label=label, camera=name) for label, name in zip(names, own, strict=True)]
        given = [t.label for t in targets]
        if len(set(given)) < len(given) or len(given) > MAX_TARGETS or not wanted.keys().isdisjoint(names):
            raise bad(f"{len(targets)} targets: expected at most {MAX_TARGETS}, each with its own label")
        self._waiting = [*self._own, *wanted.values()]

    def checked(self, target: Target) -> Target:
        """The target with the name of its camera.

        Raises:
            SpatialError: BAD_REQUEST where it cannot be followed whatever the frames show, or there are too many.
        """
        label, roi, goal, wrong = target.label, target.roi, target.goal, ""
        if not 0 < len(label) <= MAX_LABEL:
            wrong = f"label of {len(label)} characters: expected 1 to {MAX_LABEL}"
        elif target.camera and target.camera not in self._cameras:
            wrong = f"no camera '{target.camera[:MAX_LABEL]}'; there are {', '.join(self._cameras)}"
        elif label != CAMERA and (roi is None or not (roi[2] >= 1 and roi[3] >= 1)):
            wrong = f"expected a region with a width and height of at least 1 pixel, or the label '{CAMERA}'"
        elif goal is not None and len(goal) != 3:
            wrong = f"goal of {len(goal)} numbers: expected x, y, z in metres, world frame"
        elif goal is not None and not np.isfinite(goal).all():
            wrong = "goal is not finite: expected x, y, z in metres, world frame"
        elif goal is not None and not self._measures:
            wrong = "a goal needs motion.source geometry or both: a model is asked how far, not where to"
        elif label not in self.labels and len(self.labels) >= MAX_TARGETS:
            wrong = f"{MAX_TARGETS} targets are followed already; reset memory or replace one"
        if wrong:
            raise bad(f"target '{label[:MAX_LABEL]}': {wrong}")
        return replace(target, camera=target.camera or self._cameras[0], roi=None if label == CAMERA else roi)

    @property
    def labels(self) -> list[str]:
        """Of all that is followed or waits for its first frame."""
        return list(dict.fromkeys([*(t.label for t in self._waiting), *self._followed, *self.asked.labels]))

    @property
    def waiting(self) -> list[Target]:
        """Those that have not begun."""
        return list(self._waiting)

    def newest(self, camera: str) -> int:
        """Stamp of the newest frame of a camera, nanoseconds; 0 before there is one."""
        return self._newest.get(camera, 0)

    def jumped(self, frame: Frame) -> bool:
        """Whether time jumps back with this frame."""
        return frame.stamp_ns < self.newest(frame.camera.name) - JUMP_NS

    def reset(self) -> list[str]:
        """Cameras start anew with their next frame, all else that was followed ends; what waits goes on to do so.

        Returns:
            Labels of what ended.
        """
        own = [t.label for t in self._own]
        ended = [label for label in dict.fromkeys([*self._followed, *self.asked.labels]) if label not in own]
        self._waiting = [*self._own, *(t for t in self._waiting if t.label not in own)]
        self._followed, self._newest = {}, {}
        self.asked = AskedTargets(self._params)
        return ended

    def update(self, frame: Frame, give_up: GiveUp = _fail) -> list[Reward]:
        """Rewards of the next frame: those of the targets in its camera.

        Args:
            give_up: called with a target that fails and why, which is not followed any more unless this raises.
        Raises:
            BadMessage: a region looks at the frame's pixels and they are broken; it leaves no trace.
            SpatialError: a region is to begin in this frame, but there is nothing to follow in it.
        """
        self.decode(frame)
        if self.jumped(frame) and (ended := self.reset()):
            text = f"time jumps back in the recording: targets {', '.join(ended)} end there"
            warnings.warn(text, BagWarning, stacklevel=2)
        name = frame.camera.name
        self._newest[name] = max(self.newest(name), frame.stamp_ns)
        beginning = self._beginning(frame)
        for target in [t for t in beginning if t.roi is None]:
            self.begin(target, frame, give_up)
        here = [each for each in self._followed.values() if each[0].camera == name]
        rewards = [self._reward(target, follower, frame, give_up) for target, follower in here]
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
            rewards += [reward] if (reward := self.asked.add(asked, answer, least)) else []
        return rewards

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
        self.asked.set(target.label, target.camera, frame, target.roi, target.goal is not None)
        self._waiting = [t for t in self._waiting if t.label != target.label]
        if follower is not None:
            self._followed[target.label] = target, follower

    def needs_image(self, frame: Frame) -> bool:
        """Whether a region or the model will look at this frame."""
        asks = self._params.source != "geometry"
        begins = any(asks or t.roi is not None for t in self._beginning(frame))
        return begins or self.needs_depth(frame) or self.asked.wants(frame)

    def needs_depth(self, frame: Frame) -> bool:
        """Whether a region will be measured in this frame."""
        followed = [target for target, _ in self._followed.values() if target.camera == frame.camera.name]
        return self._measures and any(t.roi is not None for t in (*followed, *self._beginning(frame)))

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
        return [target for target in self._waiting if self._begins(target, frame)]

    def _begins(self, target: Target, frame: Frame) -> bool:
        measurable = frame.has_depth and frame.world_from_camera is not None
        usable = target.roi is None or (frame.has_image and (measurable or not self._measures))
        return usable and frame.camera.name == target.camera and frame.stamp_ns >= target.stamp_ns

    def _reward(self, target: Target, follower: Follower, frame: Frame, give_up: GiveUp) -> Reward:
        try:
            return follower.update(frame)
        except Exception as error:
            give_up(target, error)
            del self._followed[target.label]
            return Reward(frame.stamp_ns, target.label, 0, False, reason="it failed; set the target again")
