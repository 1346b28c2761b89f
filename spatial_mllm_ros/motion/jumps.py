"""What no motion explains: a camera or a body that is elsewhere than anything gets between two frames."""

from math import asin, degrees, inf, sqrt

import numpy as np
from numpy.typing import NDArray

from ..config import MotionParams
from ..frames import Frame
from ..geometry.poses import Matrix

SHORTEST = 0.02  # s; of two moments closer than this the difference is noise of poses and stamps


class Jumps:
    """Goes along with something from place to place, and tells where it jumps.

    A step is a jump where it is faster than the limit, and by more than the limit another velocity than the step
    before. So what does move so fast has jumped at most once, when it was first seen.

    Args:
        speed: the limit, metres a second.
        turn_rate: that of its orientation, radians a second.
    """

    _speed: float
    _turn_rate: float
    _ns: int | None
    _place: NDArray[np.float64]
    _velocity: NDArray[np.float64]
    _rate: float

    def __init__(self, speed: float, turn_rate: float = inf):
        self._speed, self._turn_rate = speed, turn_rate
        self._ns = None
        self._place = self._velocity = np.zeros(3)
        self._rate = 0.0

    def step(self, ns: int, place: NDArray[np.float64], turned: float = 0.0) -> str:
        """The next place, later than the last.

        Args:
            ns: when.
            place: [3] metres.
            turned: radians since the last place.
        Returns:
            How far it jumped, in words; empty where it moved, or this is the first place.
        """
        before_ns, before, self._ns, self._place = self._ns, self._place, ns, place
        if before_ns is None:
            return ""
        seconds = max((ns - before_ns) / 1e9, SHORTEST)
        velocity, rate = (place - before) / seconds, turned / seconds
        change, self._velocity = float(np.linalg.norm(velocity - self._velocity)), velocity
        quicker, self._rate = abs(rate - self._rate), rate
        if min(float(np.linalg.norm(velocity)), change) <= self._speed and min(rate, quicker) <= self._turn_rate:
            return ""
        angle = f" and {degrees(turned):.0f} degrees" if degrees(turned) >= 0.5 else ""
        return f"{np.linalg.norm(place - before):.3f} m{angle} within {(ns - before_ns) / 1e9:.3f} s"


class CameraJumps:
    """The same of a camera, by the poses of its frames.

    Args:
        params: ``max_speed`` and ``max_turn_rate``.
    """

    _jumps: Jumps
    _last: tuple[int, Matrix] | None

    def __init__(self, params: MotionParams):
        self._jumps = Jumps(params.max_speed, params.max_turn_rate)
        self._last = None

    def look(self, frame: Frame) -> str:
        """How the camera jumped, in words; empty where it did not, its pose is not known, or the frame is not later."""
        pose, last = frame.world_from_camera, self._last
        if pose is None or not np.isfinite(pose).all() or (last and frame.stamp_ns <= last[0]):
            return ""
        self._last = frame.stamp_ns, pose
        turned = _angle(last[1], pose) if last else 0.0
        jump = self._jumps.step(frame.stamp_ns, pose[:3, 3].astype(np.float64), turned)
        return jump and f"camera '{frame.camera.name}' jumped by {jump}"


def _angle(a: Matrix, b: Matrix) -> float:
    """Between two orientations, radians, by their chord: asked for every frame, and 20 times as fast as by scipy."""
    return 2 * asin(min(float(np.linalg.norm(b[:3, :3] - a[:3, :3])) / sqrt(8), 1.0))
