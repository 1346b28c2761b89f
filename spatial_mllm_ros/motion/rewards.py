"""Rewards for motion: how far a target has come, frame by frame."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..config import MotionParams
from ..errors import no_geometry
from ..frames import Frame
from .body import BodyMotion, Region, RegionBody
from .jumps import CameraJumps, Jumps
from .posed import posed, unusable

CERTAIN = 5  # standard errors below which a step is no travel


@dataclass(frozen=True, eq=False)
class Reward:
    """One ``MotionReward``.

    Attributes:
        stamp_ns: time of the frame.
        target: label of what is followed.
        reference_ns: time from which motion counts; 0 before there is one.
        valid: whether the rest may be used.
        distance: metres from the reference position, NaN where not valid.
        path_length: metres travelled since the reference; steps below the dead band are no travel.
        displacement: [3] metres, world frame, NaN where not valid or not known.
        reward: metres since the last valid frame, nearer to the goal or, without a goal, farther from the reference;
            0 where not valid.
        confidence: 0..1, 0 where not valid.
        source: ``geometry``, or ``mllm``: a model was asked.
        reason: why it is not valid, else empty.
        anew: the target or its camera has jumped, and this frame is the new reference; it is not valid itself.
    """

    stamp_ns: int
    target: str
    reference_ns: int
    valid: bool
    distance: float = float("nan")
    path_length: float = 0.0
    displacement: NDArray[np.float64] = field(default_factory=lambda: np.full(3, np.nan))
    reward: float = 0.0
    confidence: float = 0.0
    source: str = "geometry"
    reason: str = ""
    anew: bool = False

    def plain(self) -> dict[str, Any]:
        """The fields of the message that are no messages themselves."""
        numbers = {name: float(getattr(self, name)) for name in ("distance", "path_length", "reward", "confidence")}
        return {"target": self.target, "valid": bool(self.valid), "source": self.source, **numbers}


@dataclass(frozen=True, eq=False)
class Seen:
    """Where a target is, for people to look at.

    Attributes:
        start, now: [3] metres in the world frame, at the reference and where it was measured last; NaN: not yet.
        pixels: [N, 2] of the newest image, of the points that are tracked and visible.
    """

    start: NDArray[np.float64]
    now: NDArray[np.float64]
    pixels: NDArray[np.float64]


class _Account:
    """Turns displacements since the reference into rewards that add up.

    The rewards up to any valid frame sum to the progress there: the distance from the reference or, with a goal, how
    much nearer to it the target is. A gap in between changes nothing in that sum.
    """

    reference_ns: int
    _label: str
    _deadband: float
    _goal: NDArray[np.float64] | None
    _progress: float
    _path: float
    _anchor: NDArray[np.float64]

    def __init__(self, label: str, goal: NDArray | None, params: MotionParams):
        self._label, self._deadband = label, params.deadband
        self._goal = None if goal is None else np.asarray(goal, np.float64)
        self.begin(0)

    def begin(self, stamp_ns: int) -> None:
        """Count from this reference on."""
        self.reference_ns = stamp_ns
        self._progress = self._path = 0.0
        self._anchor = np.zeros(3)

    def valid(
        self, stamp_ns: int, start: NDArray, displacement: NDArray, uncertainty: float = 0.0, confidence: float = 1.0
    ) -> Reward:
        distance = float(np.linalg.norm(displacement))
        progress = distance
        if self._goal is not None:
            progress = float(np.linalg.norm(self._goal - start) - np.linalg.norm(self._goal - start - displacement))
        step = float(np.linalg.norm(displacement - self._anchor))
        if step > max(self._deadband, CERTAIN * uncertainty):
            self._path, self._anchor = self._path + step, displacement
        gained, self._progress = progress - self._progress, progress
        told = stamp_ns, self._label, self.reference_ns
        return Reward(*told, True, distance, self._path, displacement, gained, confidence)

    def invalid(self, stamp_ns: int, reason: str, anew: bool = False) -> Reward:
        told = stamp_ns, self._label, self.reference_ns
        return Reward(*told, False, path_length=self._path, reason=reason, anew=anew)


class CameraTarget:
    """Reward for motion of the camera itself; the reference is the first frame with a pose, and the first after a jump.

    Args:
        label: name in the rewards.
        goal: [3] metres, world frame, or None to reward distance from the reference.
        params: dead band, and what is a jump.
    """

    _account: _Account
    _jumps: CameraJumps
    _start: NDArray[np.float64] | None
    _newest: int | None
    _now: NDArray[np.float64]

    def __init__(self, label: str, goal: NDArray | None = None, params: MotionParams | None = None):
        params = params or MotionParams()
        self._account, self._jumps = _Account(label, goal, params), CameraJumps(params)
        self._start = None
        self._newest = None
        self._now = np.full(3, np.nan)

    @property
    def seen(self) -> Seen:
        """Where it is, with no points."""
        start = self._now if self._start is None else self._start
        return Seen(start, self._now, np.zeros((0, 2)))

    def update(self, frame: Frame) -> Reward:
        """Reward of the next frame; not valid without a pose, when its stamp is not later than the last, or where the
        camera has jumped."""
        reason = _late(frame, self._newest)
        pose = frame.world_from_camera
        if not reason and (pose is None or not np.isfinite(pose).all()):
            reason = "no pose"
        if reason or pose is None:
            return self._account.invalid(frame.stamp_ns, reason)
        self._newest = frame.stamp_ns
        self._now = position = pose[:3, 3].astype(np.float64)
        jump = self._jumps.look(frame)
        if self._start is None or jump:
            self._start = position
            self._account.begin(frame.stamp_ns)
        if jump:
            return self._account.invalid(frame.stamp_ns, jump, anew=True)
        return self._account.valid(frame.stamp_ns, self._start, position - self._start)


class RegionTarget:
    """Reward for motion of what is seen in a region of a frame, which is the reference.

    The moving body is followed as soon as one moves, else the largest (see :class:`RegionBody`). Invisible for longer
    than ``params.max_lost`` it is lost for good (:attr:`lost`). Where its camera or the body itself jumps, the first
    frame in which it is measured again is the new reference.

    Args:
        label: name in the rewards.
        frame: the reference, with image, depth and pose.
        roi: x, y, width, height in pixels; clipped to the image.
        goal: [3] metres, world frame, or None to reward distance from the reference.
        params: tracking, dead band, and what is a jump.
    Raises:
        SpatialError: BAD_REQUEST for a region outside the image, NO_GEOMETRY where the frame or the region has nothing
            to track.
    """

    tracked_points: int
    lost: str
    _params: MotionParams
    _account: _Account
    _jumps: CameraJumps
    _leaps: Jumps
    _jump: str  # after which it was not measured yet
    _body: RegionBody
    _size: tuple[int, int]
    _newest: int
    _missing_ns: int | None  # since when it is invisible

    def __init__(
        self,
        label: str,
        frame: Frame,
        roi: Region,
        goal: NDArray | None = None,
        params: MotionParams | None = None,
    ):
        self._params = params or MotionParams()
        if reason := unusable(frame):
            moment = f"the frame at {frame.stamp_ns / 1e9:.3f} s"
            raise no_geometry(f"{moment} has {reason}; a region needs image, depth and pose")
        self._account, self._jumps = _Account(label, goal, self._params), CameraJumps(self._params)
        self._body = RegionBody(posed(frame), roi, self._params)
        self._size = posed(frame).gray.shape
        self._newest = frame.stamp_ns
        self._jumps.look(frame)
        self._begin(frame.stamp_ns)
        self._missing_ns = None
        self.tracked_points = self._body.points
        self.lost = ""

    @property
    def anchor(self) -> NDArray[np.float64]:
        """The point [3] whose displacement counts: the middle of the body's points at the reference, world frame."""
        return self._body.start

    @property
    def seen(self) -> Seen:
        """Where it is, with its points."""
        return Seen(self._body.start, self._body.now, self._body.pixels)

    def update(self, frame: Frame) -> Reward:
        """Reward of the camera's next frame; not valid, with the reason, where the body cannot be measured."""
        if reason := self.lost or _late(frame, self._newest):
            return self._account.invalid(frame.stamp_ns, reason)
        self._newest = frame.stamp_ns
        if jump := self._jumps.look(frame):
            self._jump, self._missing_ns = jump, None
        reason = unusable(frame)
        if not reason and (shape := posed(frame).gray.shape) != self._size:
            (height, width), (h, w) = self._size, shape
            reason = self.lost = f"the image changed from {width}x{height} to {w}x{h} pixels"
        motion = None if reason else self._body.step(posed(frame))
        return self._missing(frame.stamp_ns, reason) if motion is None else self._measured(frame.stamp_ns, motion)

    def _begin(self, stamp_ns: int) -> None:
        """This is the reference."""
        self._account.begin(stamp_ns)
        self._leaps = Jumps(self._params.max_speed)
        self._leaps.step(stamp_ns, np.zeros(3))
        self._jump = ""

    def _measured(self, stamp_ns: int, motion: BodyMotion) -> Reward:
        self._missing_ns = None
        if not self._jump and (leap := self._leaps.step(stamp_ns, motion.displacement)):
            self._jump = f"it jumped by {leap}"
        if jump := self._jump:
            self._body.restart()
            self._begin(stamp_ns)
            return self._account.invalid(stamp_ns, jump, anew=True)
        return self._account.valid(stamp_ns, motion.start, motion.displacement, motion.uncertainty, motion.confidence)

    def _missing(self, stamp_ns: int, reason: str) -> Reward:
        if self._missing_ns is None:
            self._missing_ns = stamp_ns
        if self._jump and not reason:
            self._body.look_elsewhere()
        if not self.lost and stamp_ns - self._missing_ns > self._params.max_lost * 1e9:
            self.lost = f"invisible for more than {self._params.max_lost:g} s"
        reason = self.lost or reason or self._jump or "too few of its points are visible and agree"
        return self._account.invalid(stamp_ns, reason)


def _late(frame: Frame, newest: int | None) -> str:
    return "the stamp is not later than the last" if newest is not None and frame.stamp_ns <= newest else ""
