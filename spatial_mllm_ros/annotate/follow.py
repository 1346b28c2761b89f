"""Reward targets through a recording: what the node does for its targets, for frames that all lie ready."""

import warnings
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..assembler import JUMP_NS
from ..config import Config
from ..frames import Frame
from ..motion.asked import AskedTargets
from ..motion.rewards import CameraTarget, RegionTarget, Reward
from ..recordings.errors import BagError, BagWarning
from ..scene.pipeline import CAMERA, MAX_LABEL, MAX_TARGETS

if TYPE_CHECKING:
    from ..mllm.answering.engine import Engine


@dataclass(frozen=True)
class Target:
    """What rewards follow.

    Attributes:
        label: name in the rewards; ``camera`` is the first camera itself, which is always followed.
        camera: whose image the region is in; empty means the first.
        roi: x, y, width, height in pixels; None for ``camera``.
        stamp_ns: the region is set in the first frame from here on that has depth and pose; 0 means the first of all.
        goal: x, y, z in metres, world frame, to reward approach; None rewards distance.
    """

    label: str
    camera: str = ""
    roi: tuple[float, float, float, float] | None = None
    stamp_ns: int = 0
    goal: tuple[float, float, float] | None = None


class Followers:
    """All targets of one run. Can be pickled at any moment and goes on exactly where it was.

    Raises:
        BagError: a label twice or too long, a camera that is not there, or a region without size.
    """

    def __init__(self, config: Config, targets: Collection[Target]):
        self._params, self._main = config.motion, config.cameras[0]
        self._measures = config.motion.source != "mllm"
        self._camera_goal = None
        self._waiting: list[Target] = []
        self._regions: dict[str, tuple[str, RegionTarget]] = {}
        self._newest: dict[str, int] = {}
        if len({t.label for t in targets}) < len(targets) or len(targets) > MAX_TARGETS:
            raise BagError(f"{len(targets)} targets: expected at most {MAX_TARGETS}, each with its own label")
        for target in targets:
            if target.goal is not None and not self._measures:
                text = "a goal needs the motion source geometry or both: a model is asked how far, not where to"
                raise BagError(f"target '{target.label}': {text}")
            if not 0 < len(target.label) <= MAX_LABEL:
                raise BagError(f"target label of {len(target.label)} characters: expected 1 to {MAX_LABEL}")
            if target.camera and target.camera not in config.cameras:
                raise BagError(
                    f"target '{target.label}': no camera '{target.camera}'; there are {', '.join(config.cameras)}"
                )
            if target.label == CAMERA:
                self._camera_goal = _goal(target)
            elif target.roi is None or not (target.roi[2] >= 1 and target.roi[3] >= 1):
                raise BagError(
                    f"target '{target.label}': expected a region of at least 1 pixel, or the label '{CAMERA}'"
                )
            else:
                self._waiting.append(target)
        self._camera = CameraTarget(CAMERA, self._camera_goal, self._params)
        self._asked = AskedTargets(config.motion, self._main if self._camera_goal is None else "")

    def update(self, frame: Frame) -> list[Reward]:
        """Rewards of the next frame: those of the targets in its camera.

        Raises:
            BadMessage: a region looks at the frame's pixels and they are broken; it leaves no trace.
            SpatialError: a region is to be set in this frame, but there is nothing to follow in it.
        """
        if self.needs_depth(frame):
            _ = frame.gray, frame.depth
        elif self._beginning(frame):
            _ = frame.image
        name = frame.camera.name
        if frame.stamp_ns < self._newest.get(name, 0) - JUMP_NS:
            self._start_anew()
        self._newest[name] = max(self._newest.get(name, 0), frame.stamp_ns)
        followed = [self._camera] if name == self._main and self._measures else []
        rewards = [t.update(frame) for t in (*followed, *(t for camera, t in self._regions.values() if camera == name))]
        for target in self._beginning(frame):
            x, y, width, height = (int(v) for v in target.roi or ())
            if self._measures:
                region = RegionTarget(target.label, frame, (x, y, width, height), _goal(target), self._params)
                self._regions[target.label] = name, region
            self._asked.set(target.label, name, _kept(frame), target.roi, target.goal is not None)
            self._waiting.remove(target)
        return rewards

    def judge(self, frame: Frame, engine: "Engine") -> list[Reward]:
        """Rewards of that frame by a model, for the targets that are due; :meth:`update` comes first.

        Raises:
            BadMessage: the frame's image is broken; it leaves no trace.
            SpatialError: the model fails.
        """
        least = engine.calibration.motion_confidence
        if least is None or not self._asked.wants(frame):
            return []
        self._asked.look(_kept(frame))
        rewards = []
        while asked := self._asked.next():
            answer = engine.ask([f.image for f in asked.frames if f.image is not None], asked.question)
            rewards += [reward] if (reward := self._asked.add(asked, answer, least)) else []
        return rewards

    def needs_image(self, frame: Frame) -> bool:
        """Whether a region or the model will look at this frame."""
        return self.needs_depth(frame) or bool(self._beginning(frame)) or self._asked.wants(frame)

    def needs_depth(self, frame: Frame) -> bool:
        """Whether a region will be measured in this frame."""
        regions = any(camera == frame.camera.name for camera, _ in self._regions.values())
        return regions or (self._measures and bool(self._beginning(frame)))

    def finish(self) -> None:
        """Raises BagError where a region was never set."""
        if self._waiting:
            target = self._waiting[0]
            needed = "depth and pose" if self._measures else "an image"
            moment = f" from {target.stamp_ns / 1e9:.3f} s on" if target.stamp_ns else ""
            camera = target.camera or self._main
            raise BagError(f"target '{target.label}': camera '{camera}' has no frame with {needed}{moment}")

    def _beginning(self, frame: Frame) -> list[Target]:
        return [target for target in self._waiting if self._begins(target, frame)]

    def _begins(self, target: Target, frame: Frame) -> bool:
        measurable = frame.has_depth and frame.world_from_camera is not None
        usable = frame.has_image and (measurable or not self._measures)
        return usable and frame.camera.name == (target.camera or self._main) and frame.stamp_ns >= target.stamp_ns

    def _start_anew(self) -> None:
        """As the node: when time jumps back the camera starts anew and regions, which belong to the past, end."""
        self._newest = {}
        self._asked.reset()
        self._camera = CameraTarget(CAMERA, self._camera_goal, self._params)
        if self._regions:
            text = f"time jumps back in the recording: targets {', '.join(self._regions)} end there"
            warnings.warn(text, BagWarning, stacklevel=3)
            self._regions = {}


def _kept(frame: Frame) -> Frame:
    """A frame with its decoded image alone, which can be pickled."""
    return Frame(frame.stamp_ns, frame.camera, image=frame.image)


def _goal(target: Target) -> np.ndarray | None:
    if target.goal is None:
        return None
    goal = np.array(target.goal, np.float64)
    if goal.shape != (3,) or not np.isfinite(goal).all():
        raise BagError(f"target '{target.label}': goal {target.goal}: expected x, y, z in metres")
    return goal
